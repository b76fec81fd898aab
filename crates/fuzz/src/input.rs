//! What a target reads out of its bytes.

/// Edits of one forgery: enough to change a length and what it counts, few enough that most stay near the original.
const MAX_EDITS: u8 = 6;

/// Reads decisions from the front. Behind the end everything is zero, so any input means something.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// A number below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.u16()) % count.max(1)
    }

    /// At most `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// What is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    /// `original` with a few edits; also none.
    pub(crate) fn forged(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..self.u8() % (MAX_EDITS + 1) {
            let kind = self.u8() % 8;
            let at = self.below(bytes.len() + 1);
            match kind {
                0..=2 => {
                    let mask = self.u8();
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= mask;
                    }
                }
                3 => bytes.truncate(at),
                4 => {
                    let length = usize::from(self.u8());
                    let new = self.take(length);
                    bytes.splice(at..at, new.iter().copied());
                }
                5 => {
                    let end = (at + usize::from(self.u8())).min(bytes.len());
                    bytes.drain(at..end);
                }
                6 => {
                    let length = usize::from(self.u8());
                    let new = self.take(length);
                    let end = (at + new.len()).min(bytes.len());
                    bytes.splice(at..end, new.iter().copied());
                }
                _ => {
                    let from = self.below(original.len() + 1);
                    let end = (from + usize::from(self.u8())).min(original.len());
                    bytes.splice(at..at, original[from..end].iter().copied());
                }
            }
        }
        bytes
    }
}

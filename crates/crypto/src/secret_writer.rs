//! Builds stored records that hold secrets: what it outgrows is wiped.

use zeroize::Zeroizing;

const START: usize = 1024;

pub(crate) struct SecretWriter {
    bytes: Zeroizing<Vec<u8>>,
}

impl SecretWriter {
    pub(crate) fn new() -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(START)) }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        let needed = self.bytes.len().saturating_add(bytes.len());
        if needed > self.bytes.capacity() {
            // A Vec that grows by itself would leave its old bytes behind in freed memory.
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.saturating_mul(2)));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// The count of a list that is bounded far below `u32::MAX`.
    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX))
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_only_by_itself_and_only_when_it_is_full() {
        let mut writer = SecretWriter::new();
        writer.raw(&[1; START]);
        assert_eq!(writer.bytes.capacity(), START);
        writer.u8(2);
        // A Vec that grew by itself would have doubled.
        assert_eq!(writer.bytes.capacity(), 2 * (START + 1));
        assert_eq!(*writer.finish(), [&[1; START][..], &[2]].concat());
    }
}

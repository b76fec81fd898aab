//! The generator of the vectors: `SHA-256("sotto v1 vectors" || seed u64 || counter u64)`, block after block, the
//! operands joined bare. It remembers the last drawn bytes, for some secrets are drawn inside a library.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

use crate::kdf::sha256;

pub(super) struct SeededRng {
    seed: u64,
    counter: u64,
    block: std::vec::IntoIter<u8>,
    draws: Vec<Vec<u8>>,
}

impl SeededRng {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, counter: 0, block: Vec::new().into_iter(), draws: Vec::new() }
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// What was drawn since this was last asked.
    pub(super) fn draws(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.draws)
    }

    fn byte(&mut self) -> u8 {
        loop {
            if let Some(byte) = self.block.next() {
                return byte;
            }
            let mut input = b"sotto v1 vectors".to_vec();
            input.extend_from_slice(&self.seed.to_be_bytes());
            input.extend_from_slice(&self.counter.to_be_bytes());
            self.counter = self.counter.wrapping_add(1);
            self.block = sha256(&input).to_vec().into_iter();
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for slot in bytes.iter_mut() {
            *slot = self.byte();
        }
        self.draws.push(bytes.to_vec());
    }
}

impl TryRng for SeededRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(self.array()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(self.array()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for SeededRng {}

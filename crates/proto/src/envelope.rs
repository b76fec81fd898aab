//! The sealed envelope as the server stores it. Only its outer form is here; opening it is for `sotto-crypto`.

use sha2::{Digest, Sha256};

use crate::{
    keys::PrekeyPublic,
    limits::{CERTIFICATE_PADDED, MAX_ENVELOPE},
    wire::{Reader, WireError, Writer},
};

/// The version of the envelope that this program writes; associated data of both parts.
pub const ENVELOPE_VERSION: u8 = 1;
/// Bytes of part 1: the padded certificate and its tag.
pub const PART1_LENGTH: usize = CERTIFICATE_PADDED + 16;

/// `version u8, ephemeral X25519 key (32), part 1 (length u32, bytes), part 2 (length u32, bytes)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Fresh for every envelope.
    pub ephemeral: PrekeyPublic,
    /// The sealed certificate of the sender's device, [`PART1_LENGTH`] bytes.
    pub part1: Vec<u8>,
    /// The sealed, padded body.
    pub part2: Vec<u8>,
}

impl Envelope {
    /// The bytes of the envelope.
    pub fn encode(&self) -> Vec<u8> {
        Writer::new()
            .u8(ENVELOPE_VERSION)
            .raw(&self.ephemeral.0)
            .bytes(&self.part1)
            .bytes(&self.part2)
            .finish()
    }

    /// Reads the outer form.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(WireError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != ENVELOPE_VERSION {
            return Err(WireError::Version(version));
        }
        let ephemeral = PrekeyPublic(reader.array()?);
        let part1 = reader.bytes(PART1_LENGTH)?.to_vec();
        let part2 = reader.bytes(MAX_ENVELOPE)?.to_vec();
        reader.finish()?;
        if part1.len() != PART1_LENGTH {
            return Err(WireError::Invalid("part 1"));
        }
        Ok(Self { ephemeral, part1, part2 })
    }

    /// SHA-256 of part 2: the body hash that duplicates are dropped by and re-send requests name.
    pub fn body_hash(&self) -> BodyHash {
        BodyHash(Sha256::digest(&self.part2).into())
    }
}

/// SHA-256 of an envelope's part 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyHash(pub [u8; 32]);

impl BodyHash {
    /// The first 16 bytes, which a device remembers of every body it processed.
    pub fn short(&self) -> [u8; 16] {
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(self.0) {
            *to = from;
        }
        short
    }
}

//! The header of a ratchet message.

use std::sync::Arc;

use sotto_proto::{
    KemKey, PrekeyPublic,
    keys::{KEM_CIPHERTEXT_LENGTH, KEM_KEY_LENGTH},
    wire::{Reader, WireError, Writer},
};

use crate::{kdf::sha256, kem::KemCiphertext};

/// Bytes of the longest header.
pub(crate) const MAX_HEADER: usize = 32 + 4 + 4 + MAX_KEM_PART;
/// Bytes of its KEM part: an offer, and the answer to one.
pub(crate) const MAX_KEM_PART: usize = 1 + KEM_KEY_LENGTH + 1 + 32 + KEM_CIPHERTEXT_LENGTH;

/// The answer to the peer's offer.
pub(crate) struct KemAnswer {
    /// SHA-256 of the offered encapsulation key.
    pub(crate) offer_hash: [u8; 32],
    /// Made for that key.
    pub(crate) ciphertext: KemCiphertext,
}

/// What a chain says about its KEM step; it stands unchanged in every header of the chain:
/// `offer u8 (0 or 1), [encapsulation key (1184)], answer u8 (0 or 1), [offer hash (32), ciphertext (1088)]`.
#[derive(Default)]
pub(crate) struct KemPart {
    pub(crate) offer: Option<KemKey>,
    pub(crate) answer: Option<KemAnswer>,
}

impl KemPart {
    pub(crate) fn encode(&self) -> Arc<[u8]> {
        let mut out = Writer::new();
        match &self.offer {
            None => out.u8(0),
            Some(key) => out.u8(1).raw(key.as_bytes()),
        };
        match &self.answer {
            None => out.u8(0),
            Some(answer) => out.u8(1).raw(&answer.offer_hash).raw(&*answer.ciphertext),
        };
        out.finish().into()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let offer = match reader.u8()? {
            0 => None,
            1 => Some(KemKey::from_slice(reader.raw(KEM_KEY_LENGTH)?)?),
            _ => return Err(WireError::Invalid("KEM offer")),
        };
        let answer = match reader.u8()? {
            0 => None,
            1 => Some(KemAnswer { offer_hash: reader.array()?, ciphertext: Box::new(reader.array()?) }),
            _ => return Err(WireError::Invalid("KEM answer")),
        };
        Ok(Self { offer, answer })
    }
}

/// `ratchet key (32), previous chain length u32, message number u32, KEM part`.
pub(crate) struct RatchetHeader {
    pub(crate) ratchet_key: PrekeyPublic,
    pub(crate) previous_length: u32,
    pub(crate) number: u32,
    pub(crate) kem: KemPart,
    /// SHA-256 of the KEM part as received.
    pub(crate) kem_digest: [u8; 32],
}

impl RatchetHeader {
    pub(crate) fn encode(
        ratchet_key: &PrekeyPublic,
        previous_length: u32,
        number: u32,
        kem_part: &[u8],
    ) -> Vec<u8> {
        Writer::new().raw(&ratchet_key.0).u32(previous_length).u32(number).raw(kem_part).finish()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let ratchet_key = PrekeyPublic(reader.array()?);
        let previous_length = reader.u32()?;
        let number = reader.u32()?;
        let kem_digest = sha256(reader.rest());
        let kem = KemPart::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { ratchet_key, previous_length, number, kem, kem_digest })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_longest_header_is_as_long_as_the_limit() {
        let offer = KemKey::from_slice(&[0; KEM_KEY_LENGTH]).unwrap();
        let answer = KemAnswer { offer_hash: [1; 32], ciphertext: Box::new([2; KEM_CIPHERTEXT_LENGTH]) };
        let part = KemPart { offer: Some(offer), answer: Some(answer) };
        let header = RatchetHeader::encode(&PrekeyPublic([3; 32]), 4, 5, &part.encode());
        assert_eq!(header.len(), MAX_HEADER);
        assert_eq!(RatchetHeader::parse(&header).unwrap().number, 5);
    }
}

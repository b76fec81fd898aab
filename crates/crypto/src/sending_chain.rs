//! The chain in which this side sends.

use std::sync::Arc;

use sotto_proto::wire::{Reader, WireError};

use crate::{
    chain_key::ChainKey,
    curve::CurveSecret,
    header::{MAX_KEM_PART, RatchetHeader},
    kem::KemSecret,
    message_key::MessageKey,
    secret::Secret,
    secret_writer::SecretWriter,
};

/// A KEM key that this chain offers; its private half lives as long as the chain.
pub(crate) struct Offer {
    pub(crate) secret: KemSecret,
    /// SHA-256 of the encapsulation key, by which the answer names it.
    pub(crate) hash: [u8; 32],
}

impl Offer {
    fn duplicate(&self) -> Self {
        Self { secret: self.secret.duplicate(), hash: self.hash }
    }
}

pub(crate) struct SendingChain {
    /// The ratchet key of this chain; its public half is kept with it, never derived anew.
    pub(crate) own: CurveSecret,
    pub(crate) key: ChainKey,
    /// The number of the next message.
    pub(crate) next: u32,
    /// The encoded KEM part of every header.
    pub(crate) kem_part: Arc<[u8]>,
    pub(crate) offer: Option<Offer>,
}

impl SendingChain {
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            own: self.own.duplicate(),
            key: self.key.duplicate(),
            next: self.next,
            kem_part: Arc::clone(&self.kem_part),
            offer: self.offer.as_ref().map(Offer::duplicate),
        }
    }

    /// The key and header of the next message; `None` when the chain's numbers are used up.
    pub(crate) fn advance(&mut self, previous_length: u32) -> Option<(MessageKey, Vec<u8>)> {
        let after = self.next.checked_add(1)?;
        let header = RatchetHeader::encode(&self.own.public(), previous_length, self.next, &self.kem_part);
        let (message_key, key) = self.key.step();
        self.key = key;
        self.next = after;
        Some((message_key, header))
    }

    pub(crate) fn write(&self, out: &mut SecretWriter) {
        out.raw(self.own.secret().expose())
            .raw(&self.own.public().0)
            .raw(self.key.expose())
            .u32(self.next)
            .bytes(&self.kem_part);
        match &self.offer {
            None => out.u8(0),
            Some(offer) => out.u8(1).raw(offer.secret.seed().expose()).raw(&offer.hash),
        };
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let own = CurveSecret::from_parts(
            Secret::from_slice(reader.raw(32)?)?,
            sotto_proto::PrekeyPublic(reader.array()?),
        );
        let key = ChainKey::from_slice(reader.raw(32)?)?;
        let next = reader.u32()?;
        let kem_part = reader.bytes(MAX_KEM_PART)?.into();
        let offer = match reader.u8()? {
            0 => None,
            1 => Some(Offer { secret: KemSecret::from_slice(reader.raw(64)?)?, hash: reader.array()? }),
            _ => return Err(WireError::Invalid("offer")),
        };
        Ok(Self { own, key, next, kem_part, offer })
    }
}

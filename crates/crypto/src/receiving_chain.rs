//! The chain in which the peer sends.

use sotto_proto::{
    KemKey, PrekeyPublic,
    keys::KEM_KEY_LENGTH,
    wire::{Reader, WireError},
};

use crate::{
    chain_key::ChainKey,
    message_key::MessageKey,
    secret_writer::SecretWriter,
    skipped::{SkippedKey, SkippedRun},
};

pub(crate) struct ReceivingChain {
    /// The peer's ratchet key.
    pub(crate) remote: PrekeyPublic,
    pub(crate) key: ChainKey,
    /// The number of the next message that has no key yet.
    pub(crate) next: u32,
    /// SHA-256 of the KEM part that stands in every header of this chain.
    pub(crate) kem_digest: [u8; 32],
    /// The peer's offer that our next sending chain must answer.
    pub(crate) offer: Option<KemKey>,
}

impl ReceivingChain {
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            remote: self.remote,
            key: self.key.duplicate(),
            next: self.next,
            kem_digest: self.kem_digest,
            offer: self.offer.clone(),
        }
    }

    /// Moves up to (not including) `number` and keeps the keys in between. The caller has bounded the distance.
    pub(crate) fn skip_to(&mut self, number: u32, now_ms: u64) -> Option<SkippedRun> {
        let distance = number.checked_sub(self.next).filter(|distance| *distance > 0)?;
        let mut keys = Vec::with_capacity(usize::try_from(distance).ok()?);
        for number in self.next..number {
            let (message_key, key) = self.key.step();
            keys.push(SkippedKey { number, key: *message_key.expose() });
            self.key = key;
        }
        self.next = number;
        Some(SkippedRun { remote: self.remote, kem_digest: self.kem_digest, since_ms: now_ms, keys })
    }

    /// The key of the next message; `None` when the chain's numbers are used up.
    pub(crate) fn advance(&mut self) -> Option<MessageKey> {
        let after = self.next.checked_add(1)?;
        let (message_key, key) = self.key.step();
        self.key = key;
        self.next = after;
        Some(message_key)
    }

    pub(crate) fn write(&self, out: &mut SecretWriter) {
        out.raw(&self.remote.0).raw(self.key.expose()).u32(self.next).raw(&self.kem_digest);
        match &self.offer {
            None => out.u8(0),
            Some(offer) => out.u8(1).raw(offer.as_bytes()),
        };
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            remote: PrekeyPublic(reader.array()?),
            key: ChainKey::from_slice(reader.raw(32)?)?,
            next: reader.u32()?,
            kem_digest: reader.array()?,
            offer: match reader.u8()? {
                0 => None,
                1 => Some(KemKey::from_slice(reader.raw(KEM_KEY_LENGTH)?)?),
                _ => return Err(WireError::Invalid("offer")),
            },
        })
    }
}

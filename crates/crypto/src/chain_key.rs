//! The chain key of the ratchet.

use sotto_proto::wire::WireError;

use crate::{kdf::hmac, message_key::MessageKey, secret::Secret};

pub(crate) struct ChainKey(Secret<32>);

impl ChainKey {
    pub(crate) fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
        Secret::from_slice(bytes).map(Self)
    }

    /// `KDF_CK`: the message key of this place in the chain, and the chain key of the next place.
    pub(crate) fn step(&self) -> (MessageKey, Self) {
        (MessageKey::new(hmac(self.0.expose(), &[0x01])), Self(hmac(self.0.expose(), &[0x02])))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }
}

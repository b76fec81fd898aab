//! X25519 key pairs (RFC 7748) that refuse results of all zeros.

use rand_core::CryptoRng;
use sotto_proto::{PrekeyPublic, wire::WireError};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::secret::Secret;

/// The other side's point has small order: the result would be known to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a Diffie-Hellman result is all zeros")]
pub(crate) struct LowOrder;

/// A private key with its public key, which is computed once.
pub(crate) struct CurveSecret {
    secret: Secret<32>,
    public: PrekeyPublic,
}

impl CurveSecret {
    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_secret(Secret::random(rng))
    }

    pub(crate) fn from_secret(secret: Secret<32>) -> Self {
        let scalar = StaticSecret::from(*secret.expose());
        let public = PrekeyPublic(PublicKey::from(&scalar).to_bytes());
        Self { secret, public }
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
        Secret::from_slice(bytes).map(Self::from_secret)
    }

    /// Takes a public key that was computed before; for records of our own, which hold both.
    pub(crate) fn from_parts(secret: Secret<32>, public: PrekeyPublic) -> Self {
        Self { secret, public }
    }

    pub(crate) fn public(&self) -> PrekeyPublic {
        self.public
    }

    pub(crate) fn secret(&self) -> &Secret<32> {
        &self.secret
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self { secret: self.secret.duplicate(), public: self.public }
    }

    /// `DH(self, theirs)`.
    pub(crate) fn agree(&self, theirs: &[u8; 32]) -> Result<Secret<32>, LowOrder> {
        let shared = StaticSecret::from(*self.secret.expose()).diffie_hellman(&PublicKey::from(*theirs));
        if shared.was_contributory() {
            Ok(Secret::build(|out| out.copy_from_slice(shared.as_bytes())))
        } else {
            Err(LowOrder)
        }
    }
}

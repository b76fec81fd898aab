//! This device and one remote device: what is the same in every envelope between them.

use std::sync::Arc;

use sotto_proto::{IdentityKey, SignedCertificate};
use thiserror::Error;

use crate::{device::DeviceSecret, secret::Secret};

/// Why two devices cannot be paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PairError {
    /// The own certificate is for other keys than the own secret.
    #[error("the certificate is not this device's")]
    NotMine,
    /// The remote identity key has small order: a broken or hostile certificate.
    #[error("the remote identity key is not usable")]
    LowOrder,
}

/// This device and one remote device, by their certificates, with the static Diffie-Hellman result of their identity
/// keys (about 50 µs; keep the pair as long as the remote certificate does not change).
///
/// A pair says nothing about trust: whether the remote certificate stands in the signed device list of a pinned
/// account is for the caller to know.
pub struct Pair {
    pub(crate) me: Arc<DeviceSecret>,
    mine: SignedCertificate,
    theirs: SignedCertificate,
    pub(crate) my_hash: [u8; 32],
    pub(crate) their_hash: [u8; 32],
    pub(crate) static_dh: Secret<32>,
}

impl Pair {
    /// Pairs this device (`me`, certified by `mine`) with the device certified by `theirs`.
    pub fn new(
        me: &Arc<DeviceSecret>,
        mine: &SignedCertificate,
        theirs: &SignedCertificate,
    ) -> Result<Self, PairError> {
        if !me.owns(mine) {
            return Err(PairError::NotMine);
        }
        let static_dh = me
            .identity()
            .agree(theirs.certificate().identity_key.as_bytes())
            .map_err(|_| PairError::LowOrder)?;
        Ok(Self {
            me: Arc::clone(me),
            mine: mine.clone(),
            theirs: theirs.clone(),
            my_hash: mine.hash(),
            their_hash: theirs.hash(),
            static_dh,
        })
    }

    /// This device's certificate.
    pub fn mine(&self) -> &SignedCertificate {
        &self.mine
    }

    /// The remote device's certificate.
    pub fn theirs(&self) -> &SignedCertificate {
        &self.theirs
    }

    pub(crate) fn their_identity(&self) -> &IdentityKey {
        &self.theirs.certificate().identity_key
    }
}

//! The root key of the ratchet.

use sotto_proto::wire::WireError;

use crate::{chain_key::ChainKey, kdf::hkdf, secret::Secret};

pub(crate) struct RootKey(Secret<32>);

impl RootKey {
    pub(crate) fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
        Secret::from_slice(bytes).map(Self)
    }

    /// `KDF_RK`: the next root key and the chain key of a new chain.
    pub(crate) fn step(&self, dh: &Secret<32>, kem: Option<&Secret<32>>) -> (Self, ChainKey) {
        let kem: &[u8] = kem.map_or(&[], |secret| secret.expose());
        let output: Secret<64> = hkdf(self.0.expose(), &[dh.expose(), kem], b"sotto v1 root");
        let (root, chain) = output.expose().split_at(32);
        (
            Self(Secret::build(|out| out.copy_from_slice(root))),
            ChainKey::new(Secret::build(|out| out.copy_from_slice(chain))),
        )
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }
}

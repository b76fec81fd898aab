//! Secret bytes: boxed, so that moving them leaves no copy behind, and wiped when dropped. The only type of this
//! crate that exposes the bytes of a key, and only inside the crate.

use rand_core::CryptoRng;
use sotto_proto::wire::WireError;
use zeroize::Zeroize;

/// `N` secret bytes.
pub(crate) struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Lets `write` fill `N` zero bytes in place.
    pub(crate) fn build(write: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        write(&mut secret.0);
        secret
    }

    pub(crate) fn random(rng: &mut impl CryptoRng) -> Self {
        Self::build(|bytes| rng.fill_bytes(bytes))
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() != N {
            return Err(WireError::Invalid("secret length"));
        }
        Ok(Self::build(|to| to.copy_from_slice(bytes)))
    }

    pub(crate) fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A second copy, for the next state of something whose present state stays valid until it is replaced.
    pub(crate) fn duplicate(&self) -> Self {
        Self::build(|to| to.copy_from_slice(&*self.0))
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

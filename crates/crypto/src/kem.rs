//! ML-KEM-768 (FIPS 203). A private key is kept as its 64-byte seed `d || z`.
//!
//! RustCrypto's `ml-kem` is used although `libcrux-ml-kem` and aws-lc are three to five times as fast: a handshake or
//! a healing step costs 55 to 75 µs once in dozens of messages, and in return this crate stays pure Rust without
//! assembly or a C compiler, under MIT or Apache-2.0, and shares its hash and randomness crates with everything else.

use ml_kem::{
    DecapsulationKey768, Encapsulate, EncapsulationKey768, KeyExport, kem::Decapsulate,
    ml_kem_768::Ciphertext,
};
use rand_core::CryptoRng;
use sotto_proto::{
    KemKey,
    keys::{KEM_CIPHERTEXT_LENGTH, KEM_KEY_LENGTH},
    wire::WireError,
};
use zeroize::Zeroize;

use crate::secret::Secret;

/// An encapsulation key that fails the checks of FIPS 203, section 7.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadKemKey;

/// A ciphertext on the wire.
pub(crate) type KemCiphertext = Box<[u8; KEM_CIPHERTEXT_LENGTH]>;

/// A decapsulation key.
pub(crate) struct KemSecret {
    seed: Secret<64>,
}

impl KemSecret {
    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        Self { seed: Secret::random(rng) }
    }

    pub(crate) fn from_slice(seed: &[u8]) -> Result<Self, WireError> {
        Secret::from_slice(seed).map(|seed| Self { seed })
    }

    pub(crate) fn seed(&self) -> &Secret<64> {
        &self.seed
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self { seed: self.seed.duplicate() }
    }

    fn expand(&self) -> DecapsulationKey768 {
        DecapsulationKey768::from_seed((*self.seed.expose()).into())
    }

    /// The encapsulation key; expands the seed, so keep the result where it is needed again.
    pub(crate) fn public(&self) -> [u8; KEM_KEY_LENGTH] {
        self.expand().encapsulation_key().to_bytes().into()
    }

    /// The shared secret. A ciphertext made for another key gives a pseudorandom one (implicit rejection).
    pub(crate) fn decapsulate(&self, ciphertext: &[u8; KEM_CIPHERTEXT_LENGTH]) -> Secret<32> {
        let ciphertext: &Ciphertext = ciphertext.into();
        let mut shared = self.expand().decapsulate(ciphertext);
        let secret = Secret::build(|out| out.copy_from_slice(&shared));
        shared.as_mut_slice().zeroize();
        secret
    }
}

fn checked(key: &KemKey) -> Result<EncapsulationKey768, BadKemKey> {
    EncapsulationKey768::new(key.as_bytes().into()).map_err(|_| BadKemKey)
}

/// The modulus check of FIPS 203, section 7.2.
pub(crate) fn check(key: &KemKey) -> Result<(), BadKemKey> {
    checked(key).map(|_| ())
}

/// A ciphertext for `key` and the secret in it.
pub(crate) fn encapsulate(
    key: &KemKey,
    rng: &mut impl CryptoRng,
) -> Result<(KemCiphertext, Secret<32>), BadKemKey> {
    let (ciphertext, mut shared) = checked(key)?.encapsulate_with_rng(rng);
    let secret = Secret::build(|out| out.copy_from_slice(&shared));
    shared.as_mut_slice().zeroize();
    Ok((Box::new(ciphertext.into()), secret))
}

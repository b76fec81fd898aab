//! The key of the local store, wrapped by a password.

use rand_core::CryptoRng;
use sotto_proto::wire::{Reader, WireError, Writer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    aead::{self, ZERO_NONCE},
    kdf::sha256,
    passphrase::{COST, Cost, PassphraseError, argon2id},
    secret::Secret,
};

const VERSION: u8 = 1;
const CHECKSUM: usize = 8;
/// More memory than any version of Sotto writes: a damaged record must not exhaust the machine.
const MOST: Cost = Cost { memory_kib: 1024 * 1024, passes: 64, lanes: 16 };

/// Why a wrapped key did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VaultError {
    /// The record is whole, the password is not the one it was wrapped with.
    #[error("wrong password")]
    WrongPassword,
    /// The record is damaged, or of a version that this program does not know.
    #[error("the wrapped key is damaged: {0}")]
    Damaged(#[from] WireError),
    /// The password could not be worked on.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
}

/// The random 32-byte key of a profile's local store. A password wraps it, so changing the password wraps it anew and
/// leaves the store as it is.
pub struct VaultKey(Secret<32>);

impl VaultKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    /// The key, for the store's cipher.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Wraps the key under a password and a fresh salt: `version u8, memory u32 (KiB), passes u32, lanes u32, salt
    /// (16), sealed key (48), checksum (8)`. Takes a sixth of a second and 64 MiB.
    pub fn wrap(&self, rng: &mut impl CryptoRng, password: &str) -> Result<Vec<u8>, VaultError> {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let head = Writer::new()
            .u8(VERSION)
            .u32(COST.memory_kib)
            .u32(COST.passes)
            .u32(COST.lanes)
            .raw(&salt)
            .finish();
        let wrapping = argon2id(password, &salt, COST)?;
        // The salt is fresh, so the wrapping key is used once and the nonce may be zero.
        let sealed = aead::seal(wrapping.expose(), &ZERO_NONCE, &head, self.0.expose())
            .map_err(|_| WireError::TooLong)?;
        let mut record = Writer::new().raw(&head).raw(&sealed).finish();
        record.extend_from_slice(&checksum(&record));
        Ok(record)
    }

    /// Opens what [`Self::wrap`] made.
    pub fn open(record: &[u8], password: &str) -> Result<Self, VaultError> {
        let mut reader = Reader::new(record);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version).into());
        }
        let cost = Cost { memory_kib: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? };
        let salt = reader.array::<16>()?;
        let head = record.get(..1 + 12 + 16).ok_or(WireError::Short)?;
        let sealed = reader.array::<48>()?;
        let sum = reader.array::<CHECKSUM>()?;
        reader.finish()?;
        let body = record.get(..record.len().saturating_sub(CHECKSUM)).ok_or(WireError::Short)?;
        // Tells damage from a wrong password; whoever can forge it can as well delete the store.
        if sum != checksum(body) {
            return Err(WireError::Invalid("checksum").into());
        }
        if !payable(&cost) {
            return Err(WireError::Invalid("cost").into());
        }
        let wrapping = argon2id(password, &salt, cost)?;
        let key: Zeroizing<Vec<u8>> = aead::open(wrapping.expose(), &ZERO_NONCE, head, &sealed)
            .map_err(|_| VaultError::WrongPassword)?;
        Ok(Self(Secret::from_slice(&key)?))
    }
}

fn payable(cost: &Cost) -> bool {
    cost.memory_kib <= MOST.memory_kib && cost.passes <= MOST.passes && cost.lanes <= MOST.lanes
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    for (to, from) in sum.iter_mut().zip(sha256(bytes)) {
        *to = from;
    }
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn error(record: &[u8], password: &str) -> Option<VaultError> {
        VaultKey::open(record, password).err()
    }

    #[test]
    fn the_password_opens_it_another_does_not_and_damage_is_told_apart() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = VaultKey::generate(&mut rng);
        let record = key.wrap(&mut rng, "correct horse").unwrap();
        assert_eq!(VaultKey::open(&record, "correct horse").ok().unwrap().expose(), key.expose());
        assert_eq!(error(&record, "correct horsf"), Some(VaultError::WrongPassword));
        assert_ne!(record, key.wrap(&mut rng, "correct horse").unwrap());
        for at in 0..record.len() {
            let mut damaged = record.clone();
            damaged[at] ^= 1;
            assert!(matches!(error(&damaged, "correct horse"), Some(VaultError::Damaged(_))), "byte {at}");
            assert!(
                matches!(error(&record[..at], "correct horse"), Some(VaultError::Damaged(_))),
                "length {at}"
            );
        }
    }

    #[test]
    fn what_costs_too_much_is_refused_before_it_is_paid() {
        assert!(payable(&MOST));
        for over in [
            Cost { memory_kib: MOST.memory_kib + 1, ..COST },
            Cost { passes: MOST.passes + 1, ..COST },
            Cost { lanes: MOST.lanes + 1, ..COST },
        ] {
            assert!(!payable(&over), "{over:?}");
        }
        let mut rng = StdRng::seed_from_u64(2);
        let mut record = VaultKey::generate(&mut rng).wrap(&mut rng, "correct horse").unwrap();
        record[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
        let body = record.len() - CHECKSUM;
        let sum = checksum(&record[..body]);
        record[body..].copy_from_slice(&sum);
        let refused = VaultError::Damaged(WireError::Invalid("cost"));
        assert_eq!(error(&record, "correct horse"), Some(refused));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(matches!(error(&bytes, ""), Some(VaultError::Damaged(_))));
        }
    }
}

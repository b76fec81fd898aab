//! Argon2id (RFC 9106) over a password as a person types it.

use argon2::{Algorithm, Argon2, Params, Version};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Why no key could be made of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PassphraseError {
    /// The machine has not the memory that Argon2id takes.
    #[error("there is not enough memory to work on the password")]
    OutOfMemory,
    /// The parameters are not possible ones.
    #[error("the password hash has impossible parameters")]
    Parameters,
}

/// What Argon2id costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Memory in KiB.
    pub(crate) memory_kib: u32,
    /// Passes over it.
    pub(crate) passes: u32,
    /// Lanes.
    pub(crate) lanes: u32,
}

/// 64 MiB and three passes: a sixth of a second on the machine this was built on.
pub(crate) const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

/// `Argon2id(NFC(password), salt)`, 32 bytes.
pub(crate) fn argon2id(password: &str, salt: &[u8], cost: Cost) -> Result<Secret<32>, PassphraseError> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
        .map_err(|_| PassphraseError::Parameters)?;
    let normal = nfc(password);
    let mut outcome = Ok(());
    let key = Secret::build(|out| {
        outcome = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
            normal.as_bytes(),
            salt,
            out,
        );
    });
    match outcome {
        Ok(()) => Ok(key),
        Err(argon2::Error::OutOfMemory) => Err(PassphraseError::OutOfMemory),
        Err(_) => Err(PassphraseError::Parameters),
    }
}

/// NFC, so that one password typed on two keyboards is one password.
fn nfc(password: &str) -> Zeroizing<String> {
    // NFC at most triples a UTF-8 string (Unicode annex 15), so the buffer never moves.
    let mut normal = Zeroizing::new(String::with_capacity(password.len().saturating_mul(3)));
    normal.extend(password.nfc());
    normal
}

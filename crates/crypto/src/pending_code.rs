//! The code by which the holder of the account key recognises a new device.

use std::fmt;

use sotto_proto::{
    AccountId, AccountKey, DeviceId, DeviceKey, IdentityKey,
    ids::{base32_in_fours, parse_base32_in_fours},
    wire::{WireError, labelled},
};
use subtle::ConstantTimeEq;

use crate::kdf::sha256;

/// 16 base32 characters (80 bits) of `SHA-256("sotto v1 pending device" || account id || account key || device id ||
/// signing key || identity key)`. The account key signs only the keys whose code was typed or scanned, so a server cannot
/// slip in a device of its own; and the new device computed it from the account key that it was shown, so a server cannot
/// show it another account either. Compared in constant time.
#[derive(Clone, Copy)]
pub struct PendingCode([u8; 10]);

impl PendingCode {
    /// Of a device that waits to be added to an account.
    pub fn of(
        account: &AccountId,
        account_key: &AccountKey,
        device: &DeviceId,
        device_key: &DeviceKey,
        identity: &IdentityKey,
    ) -> Self {
        let input = labelled(
            "sotto v1 pending device",
            &[&account.0, &account_key.0, &device.0, &device_key.0, &identity.0],
        );
        let mut code = [0; 10];
        for (to, from) in code.iter_mut().zip(sha256(&input)) {
            *to = from;
        }
        Self(code)
    }

    /// Reads a code as typed: white space, dashes and case do not matter.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        parse_base32_in_fours(text).map(Self)
    }
}

impl PartialEq for PendingCode {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for PendingCode {}

/// 16 lower-case characters in groups of four, joined by dashes.
impl fmt::Display for PendingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32_in_fours(&self.0))
    }
}

impl fmt::Debug for PendingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingCode({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_code_reads_back_and_depends_on_every_input(
            a: [u8; 16], ak: [u8; 32], d: [u8; 16], k: [u8; 32], i: [u8; 32],
        ) {
            let code = |a, ak, d, k, i| {
                PendingCode::of(&AccountId(a), &AccountKey(ak), &DeviceId(d), &DeviceKey(k), &IdentityKey(i))
            };
            let here = code(a, ak, d, k, i);
            let shown = here.to_string();
            prop_assert_eq!(shown.len(), 19);
            prop_assert_eq!(PendingCode::parse(&shown), Ok(here));
            prop_assert_eq!(PendingCode::parse(&shown.to_uppercase().replace('-', " ")), Ok(here));
            let turned = |mut bytes: [u8; 32]| { bytes[31] ^= 1; bytes };
            let id = |mut bytes: [u8; 16]| { bytes[15] ^= 1; bytes };
            prop_assert_ne!(code(id(a), ak, d, k, i), here);
            prop_assert_ne!(code(a, turned(ak), d, k, i), here);
            prop_assert_ne!(code(a, ak, id(d), k, i), here);
            prop_assert_ne!(code(a, ak, d, turned(k), i), here);
            prop_assert_ne!(code(a, ak, d, k, turned(i)), here);
        }

        #[test]
        fn any_text_is_refused_or_read(text in "\\PC{0,80}") {
            let _ = PendingCode::parse(&text).is_ok();
        }
    }
}

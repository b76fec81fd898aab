//! The code by which the operator recognises whose new identity waits for a name.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{
    device_list::DeviceList,
    ids::{base32_in_fours, parse_base32_in_fours},
    wire::{WireError, labelled},
};

/// 16 base32 characters (80 bits) of `SHA-256("sotto v1 reset code" || username || account id || account key)` of the
/// new identity. It is no secret: who asked for the identity reads it to the operator, who lets only that one take effect
/// and not one that somebody else with the password asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResetCode([u8; 10]);

impl ResetCode {
    /// Of the identity that a device list is for.
    pub fn of(list: &DeviceList) -> Self {
        let name = list.username.as_str().as_bytes();
        let input = labelled("sotto v1 reset code", &[name, &list.account.0, &list.account_key.0]);
        let mut code = [0; 10];
        for (to, from) in code.iter_mut().zip(Sha256::digest(input)) {
            *to = from;
        }
        Self(code)
    }

    /// Reads a code as typed: white space, dashes and case do not matter.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        parse_base32_in_fours(text).map(Self)
    }
}

/// 16 lower-case characters in groups of four, joined by dashes.
impl fmt::Display for ResetCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32_in_fours(&self.0))
    }
}

impl fmt::Debug for ResetCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResetCode({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{AccountId, AccountKey, ListHash, Username};

    fn list(name: &str, account: u8, key: u8) -> DeviceList {
        DeviceList {
            username: Username::parse(name).unwrap(),
            account: AccountId([account; 16]),
            account_key: AccountKey([key; 32]),
            number: 1,
            previous: ListHash([0; 32]),
            devices: Vec::new(),
            revocations: Vec::new(),
        }
    }

    #[test]
    fn a_code_is_that_of_name_id_and_key_and_reads_back_as_people_type_it() {
        let code = ResetCode::of(&list("alice", 1, 2));
        // Computed by another program from the specification.
        assert_eq!(code.to_string(), "tohk-2nsw-a4wh-og3v");
        for typed in ["tohk-2nsw-a4wh-og3v", "TOHK 2NSW a4wh og3v\n", "tohk2nswa4whog3v"] {
            assert_eq!(ResetCode::parse(typed), Ok(code));
        }
        for other in [list("alicf", 1, 2), list("alice", 3, 2), list("alice", 1, 3)] {
            assert_ne!(ResetCode::of(&other), code);
        }
        assert_eq!(ResetCode::of(&DeviceList { number: 9, ..list("alice", 1, 2) }), code);
        for junk in ["", "tohk-2nsw-a4wh", "tohk-2nsw-a4wh-og3v-aaaa", "????", &"a".repeat(100_000)] {
            assert!(ResetCode::parse(junk).is_err());
        }
    }
}

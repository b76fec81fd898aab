//! Ids: 16 random bytes made by the client, unless said otherwise. A collision is refused by whoever notices it.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use crate::wire::WireError;

/// Lower-case RFC 4648 base32 without padding: 26 characters for 16 bytes, 52 for 32.
pub fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// Reads what [`base32`] writes, in either case, into exactly `N` bytes.
pub fn parse_base32<const N: usize>(text: &str) -> Result<[u8; N], WireError> {
    // 52 characters hold the longest id; refusing more first keeps the decoder from allocating for junk.
    if text.len() > 64 {
        return Err(WireError::TooLong);
    }
    let bytes = BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| WireError::Invalid("base32"))?;
    <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| WireError::Invalid("length"))
}

/// [`base32`] in groups of four, joined by dashes: for people who read it to each other.
pub fn base32_in_fours(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for (index, character) in base32(bytes).chars().enumerate() {
        if index > 0 && index % 4 == 0 {
            shown.push('-');
        }
        shown.push(character);
    }
    shown
}

/// Reads what [`base32_in_fours`] writes as people type it: white space, dashes and case do not matter.
pub fn parse_base32_in_fours<const N: usize>(text: &str) -> Result<[u8; N], WireError> {
    let typed: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(65).collect();
    parse_base32(&typed)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// Takes exactly [`Self::LENGTH`] bytes, as a store hands them back.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
                <[u8; $length]>::try_from(bytes).map(Self).map_err(|_| WireError::Invalid("length"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&base32(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = WireError;

            fn from_str(text: &str) -> Result<Self, WireError> {
                parse_base32(text).map(Self)
            }
        }
    };
}

id!(
    /// An account.
    AccountId, 16
);
id!(
    /// A device of an account; unique over the whole server.
    DeviceId, 16
);
id!(
    /// A message; unique per (conversation, sender account).
    MessageId, 16
);
id!(
    /// One Submit; the same id again gets the same answer and stores nothing twice.
    SubmissionId, 16
);
id!(
    /// Under which the sender asks what became of one envelope; known to the sender and the server only.
    FateTag, 16
);
id!(
    /// The first 16 bytes of SHA-256(handshake header).
    SessionId, 16
);
id!(
    /// A random mark of one life of a queue; new after any restore of the server's data.
    Incarnation, 16
);
id!(
    /// The server: SHA-256 of the DER SubjectPublicKeyInfo of the first key of its chain.
    ServerId, 32
);
id!(
    /// SHA-256 of the bytes of a device list.
    ListHash, 32
);

/// A place in a queue. Numbers rise, with gaps; 0 stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct QueueNumber(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_as_26_characters_and_reads_back_in_either_case() {
        let id = MessageId([0xa5; 16]);
        let text = id.to_string();
        assert_eq!(text.len(), 26);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert!("".parse::<MessageId>().is_err());
        assert!(text[1..].parse::<MessageId>().is_err());
        assert!(format!("{text}a").parse::<MessageId>().is_err());
        assert!("a".repeat(1_000_000).parse::<MessageId>().is_err());
        assert_eq!(parse_base32(&base32(&[7; 40])), Ok([7; 40]));
        assert_eq!(parse_base32::<41>(&base32(&[7; 41])), Err(WireError::TooLong));
    }
}

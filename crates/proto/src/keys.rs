//! Public keys and signatures. Each kind has a type of its own, so a device key can never stand for an account key.

use std::fmt;

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ids::base32, wire::WireError};

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature does not hold")]
pub struct BadSignature;

/// Length of an ML-KEM-768 encapsulation key, bytes (FIPS 203, table 3).
pub const KEM_KEY_LENGTH: usize = 1184;
/// Length of an ML-KEM-768 ciphertext, bytes (FIPS 203, table 3).
pub const KEM_CIPHERTEXT_LENGTH: usize = 1088;

/// An Ed25519 signature (RFC 8032), 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "serde_bytes")] pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", base32(&self.0))
    }
}

/// Strict verification: refuses small-order keys and non-canonical encodings, so one message has one signer.
fn verify_strict(key: &[u8; 32], message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| BadSignature)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(message, &signature).map_err(|_| BadSignature)
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Takes exactly 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
                <[u8; 32]>::try_from(bytes).map(Self).map_err(|_| WireError::Invalid("key length"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), base32(&self.0))
            }
        }
    };
}

key!(
    /// An account's long-term Ed25519 public key: signs certificates and device lists.
    AccountKey
);
key!(
    /// A device's Ed25519 signing public key: signs logins and prekeys.
    DeviceKey
);
key!(
    /// A device's X25519 identity public key (RFC 7748).
    IdentityKey
);
key!(
    /// An X25519 public key that is not an identity: prekey, ephemeral or ratchet key.
    PrekeyPublic
);

impl AccountKey {
    /// Verifies strictly.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        verify_strict(&self.0, message, signature)
    }
}

impl DeviceKey {
    /// Verifies strictly.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        verify_strict(&self.0, message, signature)
    }
}

/// The DER prefix of an Ed25519 SubjectPublicKeyInfo (RFC 8410, section 4); the 32 key bytes follow.
pub const ED25519_SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Verifies strictly under the Ed25519 key of a DER SubjectPublicKeyInfo; any other algorithm is refused.
pub fn verify_spki(spki: &[u8], message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
    let key = spki.strip_prefix(&ED25519_SPKI_PREFIX[..]).ok_or(BadSignature)?;
    let key = <[u8; 32]>::try_from(key).map_err(|_| BadSignature)?;
    verify_strict(&key, message, signature)
}

/// An ML-KEM-768 encapsulation key (FIPS 203), 1184 bytes. Boxed: it is forty times the size of any other key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteBuf", into = "serde_bytes::ByteBuf")]
pub struct KemKey(Box<[u8; KEM_KEY_LENGTH]>);

impl KemKey {
    /// Takes exactly [`KEM_KEY_LENGTH`] bytes. Whether they are a valid key shows when they are used.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
        let bytes: Box<[u8]> = bytes.into();
        <Box<[u8; KEM_KEY_LENGTH]>>::try_from(bytes)
            .map(Self)
            .map_err(|_| WireError::Invalid("KEM key length"))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; KEM_KEY_LENGTH] {
        &self.0
    }
}

impl fmt::Debug for KemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, _) = self.0.split_at(8);
        write!(f, "KemKey({}…)", base32(head))
    }
}

impl TryFrom<serde_bytes::ByteBuf> for KemKey {
    type Error = WireError;

    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, WireError> {
        Self::from_slice(&bytes)
    }
}

impl From<KemKey> for serde_bytes::ByteBuf {
    fn from(key: KemKey) -> Self {
        serde_bytes::ByteBuf::from(key.0.to_vec())
    }
}

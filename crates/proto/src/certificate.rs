//! A device's certificate: the account key's word that a device belongs to the account.

use sha2::{Digest, Sha256};

use crate::{
    ids::{AccountId, DeviceId},
    keys::{AccountKey, BadSignature, DeviceKey, IdentityKey, Signature},
    limits::{CERTIFICATE_PADDED, MAX_NAME_LENGTH},
    name::Username,
    wire::{Reader, WireError, Writer, labelled},
};

const VERSION: u8 = 1;
const LABEL: &str = "sotto v1 certificate";

/// What a certificate says. It vouches only for itself: whether the account key is the right one for the name is for
/// the signed device list and the pin to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The account's name.
    pub username: Username,
    /// The account's id.
    pub account: AccountId,
    /// The account's key, which signs this certificate.
    pub account_key: AccountKey,
    /// The device's id.
    pub device: DeviceId,
    /// The device's Ed25519 key.
    pub device_key: DeviceKey,
    /// The device's X25519 key.
    pub identity_key: IdentityKey,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
}

impl Certificate {
    /// The bytes that are signed, after the label.
    pub fn encode(&self) -> Vec<u8> {
        Writer::new()
            .u8(VERSION)
            .str(self.username.as_str())
            .raw(&self.account.0)
            .raw(&self.account_key.0)
            .raw(&self.device.0)
            .raw(&self.device_key.0)
            .raw(&self.identity_key.0)
            .u64(self.created_ms)
            .finish()
    }

    /// The input of the account key's signature.
    pub fn signing_input(encoded: &[u8]) -> Vec<u8> {
        labelled(LABEL, &[encoded])
    }

    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let username = Username::try_from(reader.str(MAX_NAME_LENGTH)?.to_owned())
            .map_err(|_| WireError::Invalid("username"))?;
        let certificate = Self {
            username,
            account: AccountId(reader.array()?),
            account_key: AccountKey(reader.array()?),
            device: DeviceId(reader.array()?),
            device_key: DeviceKey(reader.array()?),
            identity_key: IdentityKey(reader.array()?),
            created_ms: reader.u64()?,
        };
        reader.finish()?;
        Ok(certificate)
    }
}

/// Why a certificate or a list was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bytes are not a certificate.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The signature is not the account key's.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// A certificate whose signature has been verified, with its bytes as received: `length u32, encoded certificate,
/// signature (64)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCertificate {
    certificate: Certificate,
    bytes: Vec<u8>,
}

impl SignedCertificate {
    /// Puts a certificate and its signature together, and verifies it.
    pub fn assemble(encoded: &[u8], signature: &Signature) -> Result<Self, CertificateError> {
        Self::parse(&Writer::new().bytes(encoded).raw(&signature.0).finish())
    }

    /// Reads and verifies; the bytes must end with the signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let mut reader = Reader::new(bytes);
        let encoded = reader.bytes(CERTIFICATE_PADDED)?;
        let signature = Signature(reader.array()?);
        reader.finish()?;
        let certificate = Certificate::decode(encoded)?;
        certificate.account_key.verify(&Certificate::signing_input(encoded), &signature)?;
        Ok(Self { certificate, bytes: bytes.to_vec() })
    }

    /// Zero-padded to [`CERTIFICATE_PADDED`] bytes, as part 1 of an envelope holds it.
    pub fn padded(&self) -> [u8; CERTIFICATE_PADDED] {
        let mut padded = [0; CERTIFICATE_PADDED];
        for (to, from) in padded.iter_mut().zip(&self.bytes) {
            *to = *from;
        }
        padded
    }

    /// Reads what [`Self::padded`] wrote; the padding must be zeros.
    pub fn parse_padded(padded: &[u8]) -> Result<Self, CertificateError> {
        let length = {
            let mut reader = Reader::new(padded);
            reader.bytes(CERTIFICATE_PADDED)?;
            reader.array::<64>()?;
            padded.len().saturating_sub(reader.rest().len())
        };
        let (bytes, padding) = padded.split_at_checked(length).ok_or(WireError::Short)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(WireError::Invalid("padding").into());
        }
        Self::parse(bytes)
    }

    /// What it says.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The bytes as received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes as received.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }
}

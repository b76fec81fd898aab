//! An account's signed device list: which devices it has, which it revoked, in a numbered, hash-linked sequence.

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    certificate::{CertificateError, SignedCertificate},
    ids::{AccountId, DeviceId, ListHash},
    keys::{AccountKey, BadSignature, Signature},
    limits::{MAX_DEVICE_LIST, MAX_DEVICES, MAX_NAME_LENGTH, MAX_REVOCATIONS},
    name::Username,
    wire::{Reader, WireError, Writer, labelled},
};

const VERSION: u8 = 1;
const LABEL: &str = "sotto v1 device list";
/// How far a list's number may run ahead of a clock, seconds: a day, so that one wrong clock cannot burn the numbers.
pub const MAX_AHEAD_S: u64 = 24 * 60 * 60;

/// A device that no longer belongs to the account; permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Which device.
    pub device: DeviceId,
    /// When, Unix milliseconds.
    pub revoked_ms: u64,
}

/// What a device list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList {
    /// The account's name.
    pub username: Username,
    /// The account's id.
    pub account: AccountId,
    /// The account's key, which signs the list.
    pub account_key: AccountKey,
    /// max(previous + 1, Unix seconds): see [`DeviceList::next_number`].
    pub number: u64,
    /// SHA-256 of the previous list's bytes; zeros in the first.
    pub previous: ListHash,
    /// The unrevoked devices, at most [`MAX_DEVICES`].
    pub devices: Vec<SignedCertificate>,
    /// Every revocation there ever was.
    pub revocations: Vec<Revocation>,
}

/// Why a list was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DeviceListError {
    /// The bytes are not a list.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A certificate in it does not hold.
    #[error("a certificate in the list: {0}")]
    Certificate(CertificateError),
    /// The signature is not the account key's.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// A certificate in it is for another name, account or key.
    #[error("a certificate in the list belongs to another account")]
    ForeignCertificate,
    /// A device stands in it twice, or is both listed and revoked.
    #[error("a device stands in the list twice")]
    Repeated,
    /// The list has no device and no revocation.
    #[error("the list is empty")]
    Empty,
}

/// Why one list cannot follow another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SuccessionError {
    /// Another name, account or account key.
    #[error("the list belongs to another identity")]
    Identity,
    /// The number is lower: an old list.
    #[error("the list is older than the one known")]
    Older,
    /// The number is equal, the content is not: somebody signed two lists with one number.
    #[error("two different lists have the same number")]
    Fork,
    /// A device has another certificate than before: a device id stands for one pair of keys, for ever.
    #[error("a device has another certificate than before")]
    Recertified,
    /// A revocation once seen is missing, or a revoked device is listed again.
    #[error("a revocation is missing from the list")]
    RevocationLost,
}

impl DeviceList {
    /// The number of a list that follows `previous` and is made at `now_s`, Unix seconds.
    pub fn next_number(previous: u64, now_s: u64) -> u64 {
        previous.saturating_add(1).max(now_s)
    }

    /// The bytes that are signed, after the label.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION)
            .str(self.username.as_str())
            .raw(&self.account.0)
            .raw(&self.account_key.0)
            .u64(self.number)
            .raw(&self.previous.0)
            .count(self.devices.len());
        for device in &self.devices {
            out.bytes(device.as_bytes());
        }
        out.count(self.revocations.len());
        for revocation in &self.revocations {
            out.raw(&revocation.device.0).u64(revocation.revoked_ms);
        }
        out.finish()
    }

    /// The input of the account key's signature.
    pub fn signing_input(encoded: &[u8]) -> Vec<u8> {
        labelled(LABEL, &[encoded])
    }

    fn decode(bytes: &[u8]) -> Result<Self, DeviceListError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version).into());
        }
        let username = Username::try_from(reader.str(MAX_NAME_LENGTH)?.to_owned())
            .map_err(|_| WireError::Invalid("username"))?;
        let account = AccountId(reader.array()?);
        let account_key = AccountKey(reader.array()?);
        let number = reader.u64()?;
        let previous = ListHash(reader.array()?);
        let count = reader.count(MAX_DEVICES)?;
        let mut devices = Vec::with_capacity(count);
        for _ in 0..count {
            let bytes = reader.bytes(MAX_DEVICE_LIST)?;
            devices.push(SignedCertificate::parse(bytes).map_err(DeviceListError::Certificate)?);
        }
        let count = reader.count(MAX_REVOCATIONS)?;
        let mut revocations = Vec::with_capacity(count);
        for _ in 0..count {
            revocations.push(Revocation { device: DeviceId(reader.array()?), revoked_ms: reader.u64()? });
        }
        reader.finish()?;
        let list = Self { username, account, account_key, number, previous, devices, revocations };
        list.check()?;
        Ok(list)
    }

    fn check(&self) -> Result<(), DeviceListError> {
        if self.devices.is_empty() && self.revocations.is_empty() {
            return Err(DeviceListError::Empty);
        }
        let mut seen = std::collections::BTreeSet::new();
        for signed in &self.devices {
            let certificate = signed.certificate();
            if certificate.username != self.username
                || certificate.account != self.account
                || certificate.account_key != self.account_key
            {
                return Err(DeviceListError::ForeignCertificate);
            }
            if !seen.insert(certificate.device) {
                return Err(DeviceListError::Repeated);
            }
        }
        for revocation in &self.revocations {
            if !seen.insert(revocation.device) {
                return Err(DeviceListError::Repeated);
            }
        }
        Ok(())
    }

    /// The certificate of an unrevoked device.
    pub fn device(&self, device: &DeviceId) -> Option<&SignedCertificate> {
        self.devices.iter().find(|signed| signed.certificate().device == *device)
    }

    /// Whether the device was revoked.
    pub fn revoked(&self, device: &DeviceId) -> bool {
        self.revocations.iter().any(|revocation| revocation.device == *device)
    }
}

/// A device list whose signature and certificates have been verified, with its bytes as received: `length u32,
/// encoded list, signature (64)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDeviceList {
    list: DeviceList,
    bytes: Vec<u8>,
}

impl SignedDeviceList {
    /// Puts a list and its signature together, and verifies it.
    pub fn assemble(encoded: &[u8], signature: &Signature) -> Result<Self, DeviceListError> {
        Self::parse(&Writer::new().bytes(encoded).raw(&signature.0).finish())
    }

    /// Reads and verifies.
    pub fn parse(bytes: &[u8]) -> Result<Self, DeviceListError> {
        if bytes.len() > MAX_DEVICE_LIST {
            return Err(WireError::TooLong.into());
        }
        let mut reader = Reader::new(bytes);
        let encoded = reader.bytes(MAX_DEVICE_LIST)?;
        let signature = Signature(reader.array()?);
        reader.finish()?;
        let list = DeviceList::decode(encoded)?;
        list.account_key.verify(&DeviceList::signing_input(encoded), &signature)?;
        Ok(Self { list, bytes: bytes.to_vec() })
    }

    /// What it says.
    pub fn list(&self) -> &DeviceList {
        &self.list
    }

    /// The bytes as received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes as received: what the next list and every content name.
    pub fn hash(&self) -> ListHash {
        ListHash(Sha256::digest(&self.bytes).into())
    }

    /// Whether `self` may take the place of `known`: same identity, not older, no fork, no revocation undone, no device
    /// with other keys.
    /// The same list again is accepted.
    pub fn follows(&self, known: &Self) -> Result<(), SuccessionError> {
        let (new, old) = (&self.list, &known.list);
        if new.username != old.username || new.account != old.account || new.account_key != old.account_key {
            return Err(SuccessionError::Identity);
        }
        if new.number < old.number {
            return Err(SuccessionError::Older);
        }
        if new.number == old.number {
            return if self.bytes == known.bytes { Ok(()) } else { Err(SuccessionError::Fork) };
        }
        if !old.revocations.iter().all(|revocation| new.revoked(&revocation.device)) {
            return Err(SuccessionError::RevocationLost);
        }
        let same = |device: &SignedCertificate| {
            new.device(&device.certificate().device).is_none_or(|certificate| certificate == device)
        };
        if old.devices.iter().all(same) { Ok(()) } else { Err(SuccessionError::Recertified) }
    }
}

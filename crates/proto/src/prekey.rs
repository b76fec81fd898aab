//! Published prekeys of a device, and their verification.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ids::{AccountId, DeviceId},
    keys::{BadSignature, DeviceKey, KemKey, PrekeyPublic, Signature},
    limits::PREKEY_LIFETIME_MS,
    wire::labelled,
};

/// The number of a prekey; counts up per device and kind, never re-used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrekeyId(pub u32);

/// What a signed prekey is for; each kind has a signature label of its own, so a curve key can never stand for a KEM
/// key, nor a last-resort key for a one-time key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SignedPrekeyKind {
    /// The signed X25519 prekey.
    Curve,
    /// The ML-KEM-768 prekey that is handed out when no one-time one is left.
    LastResortKem,
    /// A one-time ML-KEM-768 prekey.
    OneTimeKem,
}

impl SignedPrekeyKind {
    /// The signature label: `sotto v1 sig <kind>`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Curve => "sotto v1 sig curve prekey",
            Self::LastResortKem => "sotto v1 sig last-resort kem prekey",
            Self::OneTimeKem => "sotto v1 sig one-time kem prekey",
        }
    }
}

/// Why a prekey was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrekeyError {
    /// Not signed by the device.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// Out of date, or valid for longer than any honest key.
    #[error("the prekey has expired")]
    Expired,
}

/// The times in a signed prekey, Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// When it was made.
    pub created_ms: u64,
    /// When it stops being valid.
    pub expires_ms: u64,
}

impl Validity {
    /// Valid from `now_ms` for [`PREKEY_LIFETIME_MS`].
    pub fn from(now_ms: u64) -> Self {
        Self { created_ms: now_ms, expires_ms: now_ms.saturating_add(PREKEY_LIFETIME_MS) }
    }

    /// Refuses what has expired by `now_ms`, and what claims more than the longest lifetime.
    pub fn check(&self, now_ms: u64) -> Result<(), PrekeyError> {
        let lifetime = self.expires_ms.checked_sub(self.created_ms).ok_or(PrekeyError::Expired)?;
        if now_ms >= self.expires_ms || lifetime > PREKEY_LIFETIME_MS {
            Err(PrekeyError::Expired)
        } else {
            Ok(())
        }
    }
}

/// `"sotto v1 sig <kind>" || account || device || key id || created || expires || key`: what a device signs.
pub fn signing_input(
    kind: SignedPrekeyKind,
    account: &AccountId,
    device: &DeviceId,
    id: PrekeyId,
    validity: Validity,
    key: &[u8],
) -> Vec<u8> {
    labelled(
        kind.label(),
        &[
            &account.0,
            &device.0,
            &id.0.to_be_bytes(),
            &validity.created_ms.to_be_bytes(),
            &validity.expires_ms.to_be_bytes(),
            key,
        ],
    )
}

/// A signed X25519 prekey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPrekey {
    /// Its number.
    pub id: PrekeyId,
    /// From when to when it is valid.
    pub validity: Validity,
    /// The public key.
    pub key: PrekeyPublic,
    /// By the device's signing key, over [`signing_input`].
    pub signature: Signature,
}

impl SignedPrekey {
    /// Verifies the signature and the dates.
    pub fn verify(
        &self,
        account: &AccountId,
        device: &DeviceId,
        device_key: &DeviceKey,
        now_ms: u64,
    ) -> Result<(), PrekeyError> {
        let input =
            signing_input(SignedPrekeyKind::Curve, account, device, self.id, self.validity, &self.key.0);
        device_key.verify(&input, &self.signature)?;
        self.validity.check(now_ms)
    }
}

/// A signed ML-KEM-768 prekey, one-time or last-resort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KemPrekey {
    /// Its number.
    pub id: PrekeyId,
    /// From when to when it is valid.
    pub validity: Validity,
    /// The encapsulation key.
    pub key: KemKey,
    /// By the device's signing key, over [`signing_input`] with the kind it is used as.
    pub signature: Signature,
}

impl KemPrekey {
    /// Verifies the signature as `kind`, and the dates.
    pub fn verify(
        &self,
        kind: SignedPrekeyKind,
        account: &AccountId,
        device: &DeviceId,
        device_key: &DeviceKey,
        now_ms: u64,
    ) -> Result<(), PrekeyError> {
        let input = signing_input(kind, account, device, self.id, self.validity, self.key.as_bytes());
        device_key.verify(&input, &self.signature)?;
        self.validity.check(now_ms)
    }
}

/// A one-time X25519 prekey; unsigned, as in PQXDH: the handshake's other keys authenticate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimePrekey {
    /// Its number.
    pub id: PrekeyId,
    /// The public key.
    pub key: PrekeyPublic,
}

/// What a device uploads. Absent signed keys leave the published ones as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct PrekeyUpload {
    /// A new signed prekey, in place of the old one.
    pub signed: Option<SignedPrekey>,
    /// A new last-resort KEM prekey, in place of the old one.
    pub last_resort: Option<KemPrekey>,
    /// More one-time X25519 prekeys.
    pub one_time: Vec<OneTimePrekey>,
    /// More one-time KEM prekeys.
    pub one_time_kem: Vec<KemPrekey>,
}

impl PrekeyUpload {
    /// Verifies every signature in it; the counts are for the receiver to check.
    pub fn verify(
        &self,
        account: &AccountId,
        device: &DeviceId,
        device_key: &DeviceKey,
        now_ms: u64,
    ) -> Result<(), PrekeyError> {
        if let Some(signed) = &self.signed {
            signed.verify(account, device, device_key, now_ms)?;
        }
        if let Some(kem) = &self.last_resort {
            kem.verify(SignedPrekeyKind::LastResortKem, account, device, device_key, now_ms)?;
        }
        self.one_time_kem
            .iter()
            .try_for_each(|kem| kem.verify(SignedPrekeyKind::OneTimeKem, account, device, device_key, now_ms))
    }
}

/// What a handshake with one device needs; the one-time parts are handed out once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrekeyBundle {
    /// Whose.
    pub device: DeviceId,
    /// The signed X25519 prekey.
    pub signed: SignedPrekey,
    /// The KEM prekey.
    pub kem: KemPrekey,
    /// Whether `kem` is one-time; it is signed under another label then.
    pub kem_one_time: bool,
    /// The one-time X25519 prekey, if one was left.
    pub one_time: Option<OneTimePrekey>,
}

impl PrekeyBundle {
    /// Verifies all signatures and dates against the device's certified signing key.
    pub fn verify(
        &self,
        account: &AccountId,
        device_key: &DeviceKey,
        now_ms: u64,
    ) -> Result<(), PrekeyError> {
        self.signed.verify(account, &self.device, device_key, now_ms)?;
        let kind =
            if self.kem_one_time { SignedPrekeyKind::OneTimeKem } else { SignedPrekeyKind::LastResortKem };
        self.kem.verify(kind, account, &self.device, device_key, now_ms)
    }
}

/// How many one-time prekeys a device has left on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct PrekeyCounts {
    /// One-time X25519 prekeys.
    pub one_time: u32,
    /// One-time KEM prekeys.
    pub one_time_kem: u32,
    /// The number of the published signed prekey, if there is one.
    pub signed: Option<PrekeyId>,
    /// The number of the published last-resort KEM prekey, if there is one.
    pub last_resort: Option<PrekeyId>,
}

//! The private halves of a device's prekeys.

use rand_core::CryptoRng;
use sotto_proto::{
    AccountId, DeviceId, KemKey,
    prekey::{KemPrekey, OneTimePrekey, PrekeyId, SignedPrekey, SignedPrekeyKind, Validity, signing_input},
    wire::{Reader, WireError},
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{curve::CurveSecret, device::DeviceSecret, kem::KemSecret};

const VERSION: u8 = 1;

/// What a KEM prekey is for; the two are numbered apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KemUse {
    /// Handed out when no one-time one is left.
    LastResort,
    /// Handed out once.
    OneTime,
}

impl KemUse {
    fn signed_kind(self) -> SignedPrekeyKind {
        match self {
            Self::LastResort => SignedPrekeyKind::LastResortKem,
            Self::OneTime => SignedPrekeyKind::OneTimeKem,
        }
    }

    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::LastResort => 0,
            Self::OneTime => 1,
        }
    }

    pub(crate) fn from_tag(tag: u8) -> Result<Self, WireError> {
        match tag {
            0 => Ok(Self::LastResort),
            1 => Ok(Self::OneTime),
            _ => Err(WireError::Invalid("KEM prekey kind")),
        }
    }
}

/// A one-time prekey that a handshake has used up: delete its private half in the transaction that commits the
/// sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsumedPrekey {
    /// A one-time X25519 prekey.
    Curve(PrekeyId),
    /// A one-time ML-KEM prekey.
    Kem(PrekeyId),
}

/// The store of prekeys could not be read; carries the store's own error.
#[derive(Debug, Error)]
#[error("the prekeys cannot be read: {0}")]
pub struct SourceFailed(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where the private halves of this device's prekeys are kept. `Ok(None)` means that there is no such key (used up,
/// expired, never made), which makes a row and a re-send request; a store that cannot be read is an error, and then
/// nothing is concluded about the message.
pub trait PrekeySource {
    /// A signed X25519 prekey, current or replaced.
    fn signed(&self, id: PrekeyId) -> Result<Option<SignedPrekeySecret>, SourceFailed>;
    /// A one-time X25519 prekey that is not used up.
    fn one_time(&self, id: PrekeyId) -> Result<Option<OneTimePrekeySecret>, SourceFailed>;
    /// A KEM prekey: last-resort (current or replaced), or one-time and not used up.
    fn kem(&self, kem_use: KemUse, id: PrekeyId) -> Result<Option<KemPrekeySecret>, SourceFailed>;
}

fn head(tag: u8, id: PrekeyId, validity: Option<Validity>, secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(1 + 1 + 4 + 16 + secret.len()));
    out.extend_from_slice(&[VERSION, tag]);
    out.extend_from_slice(&id.0.to_be_bytes());
    if let Some(validity) = validity {
        out.extend_from_slice(&validity.created_ms.to_be_bytes());
        out.extend_from_slice(&validity.expires_ms.to_be_bytes());
    }
    out.extend_from_slice(secret);
    out
}

fn read_head(reader: &mut Reader<'_>) -> Result<(u8, PrekeyId), WireError> {
    let version = reader.u8()?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    Ok((reader.u8()?, PrekeyId(reader.u32()?)))
}

fn read_validity(reader: &mut Reader<'_>) -> Result<Validity, WireError> {
    Ok(Validity { created_ms: reader.u64()?, expires_ms: reader.u64()? })
}

const TAG_SIGNED: u8 = 1;
const TAG_ONE_TIME: u8 = 2;
const TAG_KEM_LAST_RESORT: u8 = 3;
const TAG_KEM_ONE_TIME: u8 = 4;

/// The private half of a signed X25519 prekey.
pub struct SignedPrekeySecret {
    id: PrekeyId,
    validity: Validity,
    pub(crate) secret: CurveSecret,
}

impl SignedPrekeySecret {
    /// A new one, valid from `now_ms` for the longest lifetime.
    pub fn generate(rng: &mut impl CryptoRng, id: PrekeyId, now_ms: u64) -> Self {
        Self { id, validity: Validity::from(now_ms), secret: CurveSecret::generate(rng) }
    }

    /// Its number.
    pub fn id(&self) -> PrekeyId {
        self.id
    }

    /// From when to when it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The record to publish, signed by the device it belongs to.
    pub fn publish(&self, device: &DeviceSecret, account: &AccountId, device_id: &DeviceId) -> SignedPrekey {
        let key = self.secret.public();
        let input =
            signing_input(SignedPrekeyKind::Curve, account, device_id, self.id, self.validity, &key.0);
        SignedPrekey { id: self.id, validity: self.validity, key, signature: device.sign(&input) }
    }

    /// For the encrypted local store.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        head(TAG_SIGNED, self.id, Some(self.validity), self.secret.secret().expose())
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (TAG_SIGNED, id) = read_head(&mut reader)? else {
            return Err(WireError::Invalid("prekey kind"));
        };
        let validity = read_validity(&mut reader)?;
        let secret = CurveSecret::from_slice(reader.rest())?;
        Ok(Self { id, validity, secret })
    }
}

/// The private half of a one-time X25519 prekey.
pub struct OneTimePrekeySecret {
    id: PrekeyId,
    pub(crate) secret: CurveSecret,
}

impl OneTimePrekeySecret {
    /// A new one.
    pub fn generate(rng: &mut impl CryptoRng, id: PrekeyId) -> Self {
        Self { id, secret: CurveSecret::generate(rng) }
    }

    /// Its number.
    pub fn id(&self) -> PrekeyId {
        self.id
    }

    /// The record to publish.
    pub fn publish(&self) -> OneTimePrekey {
        OneTimePrekey { id: self.id, key: self.secret.public() }
    }

    /// For the encrypted local store.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        head(TAG_ONE_TIME, self.id, None, self.secret.secret().expose())
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (TAG_ONE_TIME, id) = read_head(&mut reader)? else {
            return Err(WireError::Invalid("prekey kind"));
        };
        Ok(Self { id, secret: CurveSecret::from_slice(reader.rest())? })
    }
}

/// The private half of an ML-KEM-768 prekey, kept as its 64-byte seed.
pub struct KemPrekeySecret {
    id: PrekeyId,
    validity: Validity,
    kem_use: KemUse,
    pub(crate) secret: KemSecret,
}

impl KemPrekeySecret {
    /// A new one, valid from `now_ms` for the longest lifetime.
    pub fn generate(rng: &mut impl CryptoRng, kem_use: KemUse, id: PrekeyId, now_ms: u64) -> Self {
        Self { id, validity: Validity::from(now_ms), kem_use, secret: KemSecret::generate(rng) }
    }

    /// Its number.
    pub fn id(&self) -> PrekeyId {
        self.id
    }

    /// From when to when it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// What it is for.
    pub fn kem_use(&self) -> KemUse {
        self.kem_use
    }

    /// The record to publish, signed by the device it belongs to.
    pub fn publish(
        &self,
        device: &DeviceSecret,
        account: &AccountId,
        device_id: &DeviceId,
    ) -> Result<KemPrekey, WireError> {
        let public = self.secret.public();
        let kind = self.kem_use.signed_kind();
        let input = signing_input(kind, account, device_id, self.id, self.validity, &public);
        Ok(KemPrekey {
            id: self.id,
            validity: self.validity,
            key: KemKey::from_slice(&public)?,
            signature: device.sign(&input),
        })
    }

    /// For the encrypted local store.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let tag = match self.kem_use {
            KemUse::LastResort => TAG_KEM_LAST_RESORT,
            KemUse::OneTime => TAG_KEM_ONE_TIME,
        };
        head(tag, self.id, Some(self.validity), self.secret.seed().expose())
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (tag, id) = read_head(&mut reader)?;
        let kem_use = match tag {
            TAG_KEM_LAST_RESORT => KemUse::LastResort,
            TAG_KEM_ONE_TIME => KemUse::OneTime,
            _ => return Err(WireError::Invalid("prekey kind")),
        };
        let validity = read_validity(&mut reader)?;
        Ok(Self { id, validity, kem_use, secret: KemSecret::from_slice(reader.rest())? })
    }
}

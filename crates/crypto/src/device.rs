//! A device's secret: its signing key and its X25519 identity.

use ed25519_dalek::{Signer, SigningKey};
use rand_core::CryptoRng;
use sotto_proto::{
    DeviceKey, IdentityKey, ListHash, ServerId, Signature, SignedCertificate,
    frame::AuthKey,
    login::{device_login, registration},
    wire::{Reader, WireError},
};
use zeroize::Zeroizing;

use crate::{curve::CurveSecret, secret::Secret};

const VERSION: u8 = 1;
const LENGTH: usize = 1 + 32 + 32;

/// The Ed25519 signing key (RFC 8032) and the X25519 identity key (RFC 7748) of a device. Live state of a device is
/// never put into a backup: a restored profile is a new device.
pub struct DeviceSecret {
    signing: Box<SigningKey>,
    identity: CurveSecret,
}

impl DeviceSecret {
    /// A new device.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let seed = Secret::random(rng);
        Self {
            signing: Box::new(SigningKey::from_bytes(seed.expose())),
            identity: CurveSecret::generate(rng),
        }
    }

    /// For the encrypted local store: `version u8, signing seed (32), identity secret (32)`.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(LENGTH));
        out.push(VERSION);
        out.extend_from_slice(self.signing.as_bytes());
        out.extend_from_slice(self.identity.secret().expose());
        out
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let seed = Secret::<32>::from_slice(reader.raw(32)?)?;
        let identity = CurveSecret::from_slice(reader.raw(32)?)?;
        reader.finish()?;
        Ok(Self { signing: Box::new(SigningKey::from_bytes(seed.expose())), identity })
    }

    /// The public signing key.
    pub fn device_key(&self) -> DeviceKey {
        DeviceKey(self.signing.verifying_key().to_bytes())
    }

    /// The public identity key.
    pub fn identity_key(&self) -> IdentityKey {
        IdentityKey(self.identity.public().0)
    }

    /// Whether `certificate` is for this device's keys.
    pub fn owns(&self, certificate: &SignedCertificate) -> bool {
        let certificate = certificate.certificate();
        certificate.device_key == self.device_key() && certificate.identity_key == self.identity_key()
    }

    /// Signs a login by this device: `challenge` is the server's, `exporter` the 32 bytes exported from this TLS
    /// session.
    pub fn sign_login(&self, server: &ServerId, challenge: &[u8; 32], exporter: &[u8; 32]) -> Signature {
        self.sign(&device_login(server, challenge, exporter))
    }

    /// Signs the registration of an account with a device list that has this device.
    pub fn sign_registration(
        &self,
        server: &ServerId,
        challenge: &[u8; 32],
        exporter: &[u8; 32],
        list: &ListHash,
        auth_key: &AuthKey,
    ) -> Signature {
        self.sign(&registration(server, challenge, exporter, list, auth_key))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.signing.sign(message).to_bytes())
    }

    /// The 32-byte seed of the signing key.
    pub(crate) fn signing_seed(&self) -> &[u8; 32] {
        self.signing.as_bytes()
    }

    pub(crate) fn identity(&self) -> &CurveSecret {
        &self.identity
    }
}

//! An account's long-term secret.

use ed25519_dalek::{Signer, SigningKey};
use rand_core::CryptoRng;
use sotto_proto::{
    AccountKey, Certificate, DeviceList, ServerId, Signature, SignedCertificate, SignedDeviceList,
    certificate::CertificateError, device_list::DeviceListError, login::account_login,
};
use zeroize::Zeroizing;

/// The Ed25519 secret of an account (RFC 8032), from a 32-byte seed. It signs certificates and device lists, is made
/// on the account's first device and never sent anywhere; the recovery phrase is another spelling of the seed.
pub struct AccountSecret(Box<SigningKey>);

impl AccountSecret {
    /// A new account.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// From the seed that [`Self::seed`] gave.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed)))
    }

    /// The 32-byte seed, for the encrypted local store.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> AccountKey {
        AccountKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a device's certificate. Fails if the certificate names another account key, for nobody could verify it.
    pub fn sign_certificate(&self, certificate: &Certificate) -> Result<SignedCertificate, CertificateError> {
        let encoded = certificate.encode();
        SignedCertificate::assemble(&encoded, &self.sign(&Certificate::signing_input(&encoded)))
    }

    /// Signs a device list. Fails if the list breaks one of its own rules (a foreign certificate, a device twice, no
    /// device at all, another account key).
    pub fn sign_device_list(&self, list: &DeviceList) -> Result<SignedDeviceList, DeviceListError> {
        let encoded = list.encode();
        SignedDeviceList::assemble(&encoded, &self.sign(&DeviceList::signing_input(&encoded)))
    }

    /// Signs a login by the account key: `challenge` is the server's, `exporter` the 32 bytes exported from this TLS
    /// session.
    pub fn sign_login(&self, server: &ServerId, challenge: &[u8; 32], exporter: &[u8; 32]) -> Signature {
        self.sign(&account_login(server, challenge, exporter))
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn ed25519_known_answer() {
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let account = AccountSecret::from_seed(seed.as_slice().try_into().unwrap());
        assert_eq!(
            account.public().0.as_slice(),
            hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
        );
        let signature = account.sign(b"");
        assert_eq!(
            signature.0.as_slice(),
            hex(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            )
        );
        assert!(account.public().verify(b"", &signature).is_ok());
        assert!(account.public().verify(b"x", &signature).is_err());
    }

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }
}

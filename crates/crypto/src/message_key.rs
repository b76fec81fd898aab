//! The key of one message.

use zeroize::Zeroizing;

use crate::{
    aead::{self, AeadFailed},
    kdf::hkdf,
    secret::Secret,
};

pub(crate) struct MessageKey(Secret<32>);

impl MessageKey {
    pub(crate) fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The cipher's key (32 bytes) and nonce (12 bytes).
    pub(crate) fn cipher(&self) -> Secret<44> {
        hkdf(&[0; 32], &[self.0.expose()], b"sotto v1 message")
    }

    pub(crate) fn seal(&self, associated: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, AeadFailed> {
        let cipher = self.cipher();
        let (key, nonce) = split(&cipher)?;
        aead::seal(key, nonce, associated, plaintext)
    }

    pub(crate) fn open(
        &self,
        associated: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, AeadFailed> {
        let cipher = self.cipher();
        let (key, nonce) = split(&cipher)?;
        aead::open(key, nonce, associated, ciphertext)
    }
}

fn split(cipher: &Secret<44>) -> Result<(&[u8; 32], &[u8; 12]), AeadFailed> {
    let (key, nonce) = cipher.expose().split_first_chunk::<32>().ok_or(AeadFailed)?;
    Ok((key, nonce.first_chunk::<12>().ok_or(AeadFailed)?))
}

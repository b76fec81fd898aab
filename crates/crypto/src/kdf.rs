//! HKDF-SHA-256 (RFC 5869) and HMAC-SHA-256 (RFC 2104) with outputs that are wiped.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::secret::Secret;

/// `HKDF-SHA-256(salt, ikm, info)`, `N` bytes; the parts of `ikm` are joined bare.
pub(crate) fn hkdf<const N: usize>(salt: &[u8], ikm: &[&[u8]], info: &[u8]) -> Secret<N> {
    const {
        assert!(N <= 255 * 32, "RFC 5869 allows at most 255 blocks of output");
    }
    let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(salt));
    for part in ikm {
        extract.input_ikm(part);
    }
    let (mut prk, hkdf): (_, Hkdf<Sha256>) = extract.finalize();
    prk.as_mut_slice().zeroize();
    Secret::build(|out| {
        let expanded = hkdf.expand(info, out);
        // The length was checked when this was compiled; a key of zeros must never leave here.
        assert!(expanded.is_ok(), "HKDF output length");
    })
}

/// `HMAC-SHA-256(key, data)`.
pub(crate) fn hmac(key: &[u8; 32], data: &[u8]) -> Secret<32> {
    // HMAC fills a short key up with zeros to the hash's block length; done here, no length can be refused.
    let block = Secret::<64>::build(|block| {
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
    });
    let mut mac = Hmac::<Sha256>::new(block.expose().into());
    mac.update(data);
    let mut output = mac.finalize().into_bytes();
    let secret = Secret::build(|out| out.copy_from_slice(&output));
    output.as_mut_slice().zeroize();
    secret
}

/// SHA-256 of public bytes.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

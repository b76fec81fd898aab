//! ChaCha20-Poly1305 (RFC 8439).

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use zeroize::Zeroizing;

/// The tag does not hold, or the plaintext is longer than the cipher allows (256 GiB).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AeadFailed;

/// Bytes that sealing adds.
pub(crate) const TAG_LENGTH: usize = 16;
/// For a key that is used once.
pub(crate) const ZERO_NONCE: [u8; 12] = [0; 12];

/// Seals `plaintext`: the ciphertext, then the tag.
pub(crate) fn seal(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, AeadFailed> {
    // The capacity holds the tag as well, so the buffer never moves and leaves no plaintext behind.
    let mut buffer = Vec::with_capacity(plaintext.len().saturating_add(TAG_LENGTH));
    buffer.extend_from_slice(plaintext);
    ChaCha20Poly1305::new(key.into())
        .encrypt_in_place(nonce.into(), associated, &mut buffer)
        .map_err(|_| AeadFailed)?;
    Ok(buffer)
}

/// Opens what [`seal`] made.
pub(crate) fn open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, AeadFailed> {
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    ChaCha20Poly1305::new(key.into())
        .decrypt_in_place(nonce.into(), associated, &mut *buffer)
        .map_err(|_| AeadFailed)?;
    Ok(buffer)
}

//! What is signed at login. The TLS exporter binds the signature to the session, so a relayed login is useless.

use sha2::{Digest, Sha256};

use crate::{
    frame::AuthKey,
    ids::{ListHash, ServerId},
    name::Username,
    wire::labelled,
};

/// The label of the TLS exporter (RFC 8446, section 7.5) whose 32 bytes go into every login signature; no context.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-sotto-login";

/// `"sotto v1 device login" || server id || challenge || TLS exporter`, signed by the device's signing key.
pub fn device_login(server: &ServerId, challenge: &[u8; 32], exporter: &[u8; 32]) -> Vec<u8> {
    labelled("sotto v1 device login", &[&server.0, challenge, exporter])
}

/// `"sotto v1 account login" || server id || challenge || TLS exporter`, signed by the account key.
pub fn account_login(server: &ServerId, challenge: &[u8; 32], exporter: &[u8; 32]) -> Vec<u8> {
    labelled("sotto v1 account login", &[&server.0, challenge, exporter])
}

/// `"sotto v1 register" || server id || challenge || TLS exporter || list hash || SHA-256(auth key)`, signed by the signing
/// key of a device in the list: lists are public, and nobody else's may come with another auth key. The auth key's
/// hash stands for it, so that no copy of the key itself is left behind.
pub fn registration(
    server: &ServerId,
    challenge: &[u8; 32],
    exporter: &[u8; 32],
    list: &ListHash,
    auth_key: &AuthKey,
) -> Vec<u8> {
    let auth_key: [u8; 32] = Sha256::digest(auth_key.0).into();
    labelled("sotto v1 register", &[&server.0, challenge, exporter, &list.0, &auth_key])
}

/// `SHA-256("sotto v1 auth salt" || server id || username)`: the salt of the client's Argon2id, which turns a
/// password into the auth key.
pub fn auth_salt(server: &ServerId, username: &Username) -> [u8; 32] {
    Sha256::digest(labelled("sotto v1 auth salt", &[&server.0, username.as_str().as_bytes()])).into()
}

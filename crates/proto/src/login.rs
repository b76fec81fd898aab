//! What is signed at login. The TLS exporter binds the signature to the session, so a relayed login is useless.

use sha2::{Digest, Sha256};

use crate::{ids::ServerId, name::Username, wire::labelled};

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

/// `SHA-256("sotto v1 auth salt" || server id || username)`: the salt of the client's Argon2id, which turns a
/// password into the auth key.
pub fn auth_salt(server: &ServerId, username: &Username) -> [u8; 32] {
    Sha256::digest(labelled("sotto v1 auth salt", &[&server.0, username.as_str().as_bytes()])).into()
}

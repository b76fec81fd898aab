//! The key that proves a password to the server, which never sees the password.

use sotto_proto::{ServerId, Username, login::auth_salt};
use zeroize::Zeroizing;

use crate::passphrase::{COST, PassphraseError, argon2id};

/// `Argon2id(NFC(password), SHA-256("sotto v1 auth salt" || server id || username), m = 64 MiB, t = 3, p = 1)`. Takes a
/// sixth of a second and 64 MiB: call it off the async threads.
pub fn auth_key(
    password: &str,
    server: &ServerId,
    username: &Username,
) -> Result<Zeroizing<[u8; 32]>, PassphraseError> {
    let key = argon2id(password, &auth_salt(server, username), COST)?;
    Ok(Zeroizing::new(*key.expose()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_password_typed_in_two_ways_is_one_key_and_every_input_matters() {
        let name = Username::parse("alice").unwrap();
        let key = |password, server: u8, name: &Username| {
            *auth_key(password, &ServerId([server; 32]), name).unwrap()
        };
        let composed = key("caf\u{e9}", 1, &name);
        assert_eq!(composed, key("cafe\u{301}", 1, &name));
        assert_ne!(composed, key("cafe", 1, &name));
        assert_ne!(composed, key("caf\u{e9}", 2, &name));
        assert_ne!(composed, key("caf\u{e9}", 1, &Username::parse("bob").unwrap()));
    }
}

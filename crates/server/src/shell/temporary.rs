//! A password that the operator gives to somebody who has forgotten theirs. It is made, hashed as a client would hash it,
//! and printed in the operator's own command; the daemon is only told the hash.

use argon2::{Algorithm, Argon2, Params, Version};
use rand::{TryRng, rngs::SysRng};
use sotto_proto::{ServerId, Username, ids::base32, login::auth_salt};
use zeroize::Zeroizing;

use super::workers;

/// The client's Argon2id: 64 MiB, three passes, one lane (docs/spec/wire.md, section 5).
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// Random bytes of a password: 20 characters, 100 bits of them used.
const LENGTH: usize = 20;
/// Characters between two dashes.
const GROUP: usize = 5;

/// A fresh random password: four groups of five characters.
pub(crate) fn password() -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new([0; 16]);
    SysRng.try_fill_bytes(bytes.as_mut()).map_err(|error| error.to_string())?;
    let text = Zeroizing::new(base32(bytes.as_ref()));
    let mut password = Zeroizing::new(String::with_capacity(LENGTH + LENGTH / GROUP));
    for (place, character) in text.chars().take(LENGTH).enumerate() {
        if place > 0 && place % GROUP == 0 {
            password.push('-');
        }
        password.push(character);
    }
    Ok(password)
}

/// What the server keeps of a password: the hash, as a PHC string, of what a client makes of it.
pub(crate) fn hash(server: &ServerId, name: &Username, password: &str) -> Result<String, String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| error.to_string())?;
    let mut auth_key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), &auth_salt(server, name), auth_key.as_mut())
        .map_err(|error| error.to_string())?;
    workers::hash(&auth_key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_random_and_can_be_typed() {
        let (one, two) = (password().unwrap(), password().unwrap());
        assert_ne!(one, two);
        let groups: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(groups, [GROUP; 4]);
    }
}

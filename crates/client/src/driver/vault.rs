//! The key file: the store's random key, wrapped by the password.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sotto_crypto::{VaultError, VaultKey};
use sotto_proto::wire::{Reader, WireError, Writer};

use super::{
    os_rng,
    profile::{file_error, sync_folder},
};
use crate::api::{ClientError, ErrorKind};

const FILE: &str = "vault";
const FILE_NEW: &str = "vault.new";
const VERSION: u8 = 1;
/// A password change keeps the old wrap beside the new one until the server has answered.
const MAX_WRAPS: usize = 2;
/// Bytes of one wrap; today's has 101.
const MAX_WRAP: usize = 1024;
const MAX_FILE: u64 = 4096;

/// The key file as it stands on disk: `version u8, count u32, wraps`.
#[derive(Debug)]
pub(super) struct Vault {
    wraps: Vec<Vec<u8>>,
}

impl Vault {
    /// Where it stands in a profile's folder.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }

    /// Makes a new key, and a file with one wrap of it.
    pub(super) fn make(dir: &Path, password: &str) -> Result<(), ClientError> {
        let key = VaultKey::generate(&mut os_rng());
        let wrap = key.wrap(&mut os_rng(), password).map_err(vault_error)?;
        Self { wraps: vec![wrap] }.write(dir)
    }

    /// Reads the file.
    pub(super) fn read(dir: &Path) -> Result<Self, ClientError> {
        let path = Self::path(dir);
        let size = path.metadata().map_err(|error| file_error("read", &path, &error))?.len();
        if size > MAX_FILE {
            return Err(damaged(&WireError::TooLong));
        }
        let bytes = std::fs::read(&path).map_err(|error| file_error("read", &path, &error))?;
        Self::decode(&bytes).map_err(|error| damaged(&error))
    }

    /// The key, if the password opens one of the wraps. Takes a sixth of a second for each.
    pub(super) fn open(&self, password: &str) -> Result<VaultKey, ClientError> {
        let mut worst = None;
        for wrap in &self.wraps {
            match VaultKey::open(wrap, password) {
                Ok(key) => return Ok(key),
                // One wrap may be damaged and the other one whole: then the answer is about the whole one.
                Err(error @ VaultError::Damaged(_)) => worst = worst.or(Some(error)),
                Err(error) => worst = Some(error),
            }
        }
        Err(vault_error(worst.unwrap_or(VaultError::Damaged(WireError::Invalid("no wrap")))))
    }

    /// Puts the file in its place in one step that a power cut does not split.
    fn write(&self, dir: &Path) -> Result<(), ClientError> {
        let mut out = Writer::new();
        out.u8(VERSION).count(self.wraps.len());
        for wrap in &self.wraps {
            out.bytes(wrap);
        }
        let bytes = out.finish();
        let new = dir.join(FILE_NEW);
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, Self::path(dir))
        };
        write().map_err(|error| file_error("write", &new, &error))?;
        sync_folder(dir)
    }

    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let count = reader.count(MAX_WRAPS)?;
        let mut wraps = Vec::with_capacity(count);
        for _ in 0..count {
            wraps.push(reader.bytes(MAX_WRAP)?.to_vec());
        }
        reader.finish()?;
        Ok(Self { wraps })
    }
}

fn damaged(error: &WireError) -> ClientError {
    ClientError::new(ErrorKind::LocalStore, "the profile's key file is damaged")
        .cause(error)
        .hint("bring the file `vault` back from a copy, or sign this machine in as a new device in another --profile")
}

fn vault_error(error: VaultError) -> ClientError {
    match error {
        VaultError::WrongPassword => {
            ClientError::new(ErrorKind::LocalStore, "the password does not open this profile")
                .hint("use the password that was given when this machine was registered or signed in")
        }
        VaultError::Damaged(error) => damaged(&error),
        VaultError::Passphrase(error) => {
            ClientError::new(ErrorKind::Invalid, "the password cannot be worked on").cause(error)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn either_of_two_wraps_opens_and_every_damaged_byte_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let key = VaultKey::generate(&mut os_rng());
        let wraps = ["old", "new"]
            .iter()
            .map(|password| key.wrap(&mut os_rng(), password).unwrap())
            .collect::<Vec<_>>();
        Vault { wraps: wraps.clone() }.write(root.path()).unwrap();
        let vault = Vault::read(root.path()).unwrap();
        for password in ["old", "new"] {
            assert_eq!(vault.open(password).ok().unwrap().expose(), key.expose(), "{password}");
        }
        let text = |password| vault.open(password).err().unwrap().message;
        assert!(text("other").contains("password"));

        Vault { wraps: wraps[..1].to_vec() }.write(root.path()).unwrap();
        let bytes = std::fs::read(Vault::path(root.path())).unwrap();
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            let error =
                Vault::decode(&broken).map_err(|error| damaged(&error)).and_then(|vault| vault.open("old"));
            let error = error.err().unwrap();
            assert_eq!(error.kind, ErrorKind::LocalStore);
            assert!(error.message.contains("damaged"), "byte {at}: {}", error.message);
            assert!(Vault::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}

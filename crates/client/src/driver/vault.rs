//! The key file: the store's random key, wrapped by the password.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sotto_crypto::{VaultError, VaultKey};
use sotto_proto::wire::{Reader, WireError, Writer};
use subtle::ConstantTimeEq;

use super::{
    os_rng,
    profile::{file_error, sync_folder},
};
use crate::{
    api::{ClientError, ErrorKind},
    store::WrapId,
};

const FILE: &str = "vault";
const FILE_NEW: &str = "vault.new";
/// Version 1 had no ids of wraps; it is still read.
const VERSION: u8 = 2;
/// A file that starts with a higher number is no newer one but no key file at all.
const PLAUSIBLE: u8 = 16;
/// A password change keeps the old wrap beside the new one until the server has answered.
const MAX_WRAPS: usize = 2;
/// Bytes of one wrap; today's has 101.
const MAX_WRAP: usize = 1024;
const MAX_FILE: u64 = 4096;

/// The key file as it stands on disk: `version u8, count u32, wraps`, a wrap being `id (8), bytes`; the oldest first.
#[derive(Debug)]
pub(super) struct Vault {
    wraps: Vec<(WrapId, Vec<u8>)>,
}

/// Which of several wraps stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The first one.
    Oldest,
    /// The last one.
    Newest,
    /// This one; where it is not there, the oldest.
    Id(WrapId),
}

impl Vault {
    /// Where it stands in a profile's folder.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }

    /// Makes a new key, and a file with one wrap of it.
    pub(super) fn make(dir: &Path, password: &str) -> Result<VaultKey, ClientError> {
        let key = VaultKey::generate(&mut os_rng());
        let wrap = key.wrap(&mut os_rng(), password).map_err(vault_error)?;
        Self { wraps: vec![(random_id(), wrap)] }.write(dir)?;
        Ok(key)
    }

    /// Adds a wrap of the key under another password, durably: from here on both open the store.
    pub(super) fn add(dir: &Path, key: &VaultKey, password: &str) -> Result<WrapId, ClientError> {
        let mut vault = Self::read(dir)?;
        if vault.wraps.len() >= MAX_WRAPS {
            let text = "an earlier change of the password is not settled yet";
            return Err(ClientError::new(ErrorKind::Unreachable, text)
                .hint("it is once the server has answered; try again then"));
        }
        let wrap = key.wrap(&mut os_rng(), password).map_err(vault_error)?;
        let id = random_id();
        vault.wraps.push((id, wrap));
        vault.write(dir)?;
        Ok(id)
    }

    /// Removes all wraps but one.
    pub(super) fn keep(dir: &Path, keep: Keep) -> Result<(), ClientError> {
        let mut vault = Self::read(dir)?;
        if vault.wraps.len() < 2 {
            return Ok(());
        }
        let kept = match keep {
            Keep::Oldest => 0,
            Keep::Newest => vault.wraps.len() - 1,
            Keep::Id(right) => vault.wraps.iter().position(|(id, _)| *id == right).unwrap_or(0),
        };
        vault.wraps = vec![vault.wraps.swap_remove(kept)];
        vault.write(dir)
    }

    /// Reads the file.
    pub(super) fn read(dir: &Path) -> Result<Self, ClientError> {
        let path = Self::path(dir);
        let size = path.metadata().map_err(|error| file_error("read", &path, &error))?.len();
        if size > MAX_FILE {
            return Err(damaged(&WireError::TooLong));
        }
        let bytes = std::fs::read(&path).map_err(|error| file_error("read", &path, &error))?;
        Self::decode(&bytes).map_err(|error| match error {
            WireError::Version(version) if (VERSION + 1..=PLAUSIBLE).contains(&version) => {
                ClientError::new(ErrorKind::Version, "the profile's key file was written by a newer sotto")
                    .cause(format!("its version is {version}, this program knows {VERSION}"))
                    .hint("update sotto")
            }
            error => damaged(&error),
        })
    }

    /// The key, if the password opens one of the wraps. Takes a sixth of a second for each.
    pub(super) fn open(&self, password: &str) -> Result<VaultKey, ClientError> {
        let mut worst = None;
        for (_, wrap) in &self.wraps {
            match VaultKey::open(wrap, password) {
                Ok(key) => return Ok(key),
                // One wrap may be damaged and the other one whole: then the answer is about the whole one.
                Err(error @ VaultError::Damaged(_)) => worst = worst.or(Some(error)),
                Err(error) => worst = Some(error),
            }
        }
        Err(vault_error(worst.unwrap_or(VaultError::Damaged(WireError::Invalid("no wrap")))))
    }

    /// Whether the password opens this very key. A file that another program put here, with another key, is not opened by
    /// anybody's password.
    pub(super) fn opens(&self, key: &VaultKey, password: &str) -> Result<bool, ClientError> {
        for (_, wrap) in &self.wraps {
            match VaultKey::open(wrap, password) {
                Ok(opened) if opened.expose().ct_eq(key.expose()).into() => return Ok(true),
                Ok(_) | Err(VaultError::WrongPassword) => {}
                Err(error) => return Err(vault_error(error)),
            }
        }
        Ok(false)
    }

    /// Puts the file in its place in one step that a power cut does not split.
    fn write(&self, dir: &Path) -> Result<(), ClientError> {
        let bytes = self.encode();
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

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION).count(self.wraps.len());
        for (id, wrap) in &self.wraps {
            out.raw(&id.0).bytes(wrap);
        }
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if !(1..=VERSION).contains(&version) {
            return Err(WireError::Version(version));
        }
        let count = reader.count(MAX_WRAPS)?;
        let mut wraps = Vec::with_capacity(count);
        for _ in 0..count {
            let id = WrapId(if version == 1 { [0; 8] } else { reader.array()? });
            wraps.push((id, reader.bytes(MAX_WRAP)?.to_vec()));
        }
        reader.finish()?;
        Ok(Self { wraps })
    }
}

#[cfg(feature = "fuzzing")]
impl Vault {
    pub(super) fn into_wraps(self) -> Vec<Vec<u8>> {
        self.wraps.into_iter().map(|(_, wrap)| wrap).collect()
    }
}

fn random_id() -> WrapId {
    use rand::Rng;
    let mut id = [0; 8];
    os_rng().fill_bytes(&mut id);
    WrapId(id)
}

fn damaged(error: &WireError) -> ClientError {
    ClientError::new(ErrorKind::LocalStore, "the profile's key file is damaged")
        .cause(error)
        .hint("bring the file `vault` back from a copy, or sign this machine in as a new device in another --profile")
}

fn vault_error(error: VaultError) -> ClientError {
    match error {
        VaultError::WrongPassword => ClientError::new(
            ErrorKind::LocalStore,
            "the password does not open this profile",
        )
        .hint(
            "use the password that was given when this machine was registered or signed in; or, where it was \
                     changed on this machine, the new one; if that change was interrupted, try both",
        ),
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

    fn wrong(vault: &Vault, password: &str) -> String {
        vault.open(password).err().unwrap().message
    }

    #[test]
    fn a_change_adds_a_wrap_and_settling_it_leaves_the_right_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        Vault::make(dir, "old").unwrap();
        let key = Vault::read(dir).unwrap().open("old").ok().unwrap();
        for (keep, right, gone) in [(Keep::Oldest, "old", "new"), (Keep::Newest, "new", "old")] {
            let before = std::fs::read(Vault::path(dir)).unwrap();
            Vault::add(dir, &key, "new").unwrap();
            assert_eq!(Vault::add(dir, &key, "third").unwrap_err().kind, ErrorKind::Unreachable);
            let vault = Vault::read(dir).unwrap();
            for password in ["old", "new"] {
                assert_eq!(vault.open(password).ok().unwrap().expose(), key.expose(), "{password}");
            }
            assert!(wrong(&vault, "other").contains("password"));
            assert!(vault.open("other").err().unwrap().hint.unwrap().contains("changed"));
            Vault::keep(dir, keep).unwrap();
            let vault = Vault::read(dir).unwrap();
            assert_eq!(vault.open(right).ok().unwrap().expose(), key.expose());
            assert!(wrong(&vault, gone).contains("password"));
            Vault::keep(dir, Keep::Newest).unwrap();
            assert_eq!(keep == Keep::Oldest, std::fs::read(Vault::path(dir)).unwrap() == before);
        }
        // After a crash, what the store says is right stays; what it does not name was never confirmed.
        let id = Vault::add(dir, &key, "next").unwrap();
        Vault::keep(dir, Keep::Id(WrapId([9; 8]))).unwrap();
        assert!(wrong(&Vault::read(dir).unwrap(), "next").contains("password"));
        let again = Vault::add(dir, &key, "next").unwrap();
        assert_ne!(again, id);
        Vault::keep(dir, Keep::Id(again)).unwrap();
        assert!(Vault::read(dir).unwrap().open("next").is_ok());
    }

    #[test]
    fn a_file_of_version_1_opens_and_a_newer_one_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        let key = VaultKey::generate(&mut os_rng());
        let wrap = key.wrap(&mut os_rng(), "old").unwrap();
        std::fs::write(Vault::path(dir), Writer::new().u8(1).count(1).bytes(&wrap).finish()).unwrap();
        assert_eq!(Vault::read(dir).unwrap().open("old").ok().unwrap().expose(), key.expose());
        let id = Vault::add(dir, &key, "new").unwrap();
        let vault = Vault::read(dir).unwrap();
        assert!(vault.open("old").is_ok() && vault.open("new").is_ok());
        Vault::keep(dir, Keep::Id(id)).unwrap();
        assert!(Vault::read(dir).unwrap().open("old").is_err());
        std::fs::write(Vault::path(dir), Writer::new().u8(3).count(0).finish()).unwrap();
        assert_eq!(Vault::read(dir).unwrap_err().kind, ErrorKind::Version);
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        Vault::make(root.path(), "old").unwrap();
        let bytes = std::fs::read(Vault::path(root.path())).unwrap();
        // The id names the wrap and nothing else: a changed one leaves the file as good.
        for at in (0..bytes.len()).filter(|at| !(5..13).contains(at)) {
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

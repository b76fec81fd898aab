//! The data folder: one process at a time, reachable by the operator's commands over a socket in it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use super::identity::{IdentityError, make_folder};

const LOCK_FILE: &str = "lock";
const SOCKET_FILE: &str = "admin.sock";
/// The store's folder in the data folder.
const STORE_FOLDER: &str = "store";

/// Why a data folder cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FolderError {
    /// Another process has it.
    #[error("the data folder {0} is in use by another process")]
    InUse(PathBuf),
    /// It cannot be made.
    #[error(transparent)]
    Make(#[from] IdentityError),
    /// It cannot be locked.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

/// A data folder that this process holds.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Released when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Makes it if need be, and takes it.
    pub(crate) fn take(path: &Path) -> Result<Self, FolderError> {
        make_folder(path)?;
        let lock = path.join(LOCK_FILE);
        let failed = |error| FolderError::Io(lock.clone(), error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join(STORE_FOLDER)
    }
}

/// The admin socket's place. A Unix socket's path has at most 108 bytes; through the folder's descriptor it is short
/// however deep the folder lies.
#[derive(Debug)]
pub(crate) struct SocketPlace {
    folder: OwnedFd,
}

impl SocketPlace {
    /// In this data folder.
    pub(crate) fn in_folder(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { folder: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// A path that works as long as `self` lives.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", self.folder.as_raw_fd()))
    }

    /// Removes what an earlier process left. Only who holds the folder may do this.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er");
        let held = Folder::take(&path).unwrap();
        assert!(matches!(Folder::take(&path), Err(FolderError::InUse(_))));
        drop(held);
        Folder::take(&path).unwrap();
    }

    #[test]
    fn the_socket_works_however_long_the_path_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a".repeat(100)).join("b".repeat(100));
        fs::create_dir_all(&path).unwrap();
        let place = SocketPlace::in_folder(&path).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(place.path()).unwrap();
        std::os::unix::net::UnixStream::connect(place.path()).unwrap();
        listener.accept().unwrap();
        assert!(path.join(SOCKET_FILE).exists());
        place.clear().unwrap();
        place.clear().unwrap();
        assert!(!path.join(SOCKET_FILE).exists());
    }
}

//! The data folder: who has it, which generation of the database is the active one, and what must be synced when.
//!
//! ```text
//! lock            locked as long as the store is open
//! files/          large values
//! g-1/            a generation: conf, db, blobs/, snap.* are sled's
//! g-1/witness     how many commits there were, written after each, not synced
//! g-1/made        the marker: everything else here was durable before it was written
//! ```
//! The active generation is the highest one with a marker. One without was never finished, lower ones are left over:
//! both are removed. So a compaction becomes visible, whole, by the rename that makes its marker.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::StoreError;

const LOCK: &str = "lock";
const FILES: &str = "files";
const MARKER: &str = "made";
const WITNESS: &str = "witness";
const GENERATION: &str = "g-";
/// What stands in a marker.
const MARKER_TEXT: &[u8] = b"sotto store\n";
/// How long sled's threads may take to let go of a database that was dropped in this process.
pub(crate) const LET_GO: Duration = Duration::from_secs(10);

/// The data folder, locked.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

/// One generation of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(crate) u64);

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Folder {
    /// Makes the folder if it is not there, and takes it for this process.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        create_durably(path)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.path.join(FILES)
    }

    pub(crate) fn generation(&self, generation: Generation) -> PathBuf {
        self.path.join(format!("{GENERATION}{}", generation.0))
    }

    /// Every generation there is, finished or not, in order.
    fn generations(&self) -> io::Result<Vec<Generation>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(GENERATION));
            found.extend(number.and_then(|number| number.parse().ok()).map(Generation));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The highest generation with a marker.
    pub(crate) fn active(&self) -> Result<Option<Generation>, StoreError> {
        for generation in self.generations()?.into_iter().rev() {
            match fs::read(self.generation(generation).join(MARKER)) {
                Ok(text) if text == MARKER_TEXT => return Ok(Some(generation)),
                Ok(_) => return Err(StoreError::Damaged("the marker of the store has changed".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Removes every generation but the active one. Commits are made in finished generations only: one that has some,
    /// where none is active, has lost its marker and is not removed.
    pub(crate) fn remove_others(&self, active: Option<Generation>) -> Result<(), StoreError> {
        for generation in self.generations()? {
            if Some(generation) != active {
                let path = self.generation(generation);
                if active.is_none() && Witness::open(&path)?.read()?.is_some_and(|commits| commits > 0) {
                    return Err(StoreError::Damaged("the marker of the store is missing".to_owned()));
                }
                // The marker first: a removal that is cut short must not leave a store that looks whole.
                if path.join(MARKER).exists() {
                    fs::remove_file(path.join(MARKER))?;
                    sync_folder(&path)?;
                }
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(sync_folder(&self.path)?)
    }

    /// A folder for a new generation above all others; not the active one until [`Self::finish`].
    pub(crate) fn begin(&self) -> io::Result<Generation> {
        let next = self.generations()?.last().map_or(1, |last| last.0.saturating_add(1));
        let generation = Generation(next);
        fs::DirBuilder::new().mode(0o700).create(self.generation(generation))?;
        Ok(generation)
    }

    /// Makes a generation durable and then, by its marker, the active one. `data` syncs the database's own file.
    pub(crate) fn finish(&self, generation: Generation) -> io::Result<()> {
        let path = self.generation(generation);
        for name in ["conf", "db"] {
            File::open(path.join(name))?.sync_all()?;
        }
        for folder in [&path.join("blobs"), &path, &self.files(), &self.path] {
            sync_folder(folder)?;
        }
        sync_parent(&self.path)?;
        let unfinished = path.join("made.unfinished");
        let mut marker = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
        marker.write_all(MARKER_TEXT)?;
        marker.sync_all()?;
        fs::rename(&unfinished, path.join(MARKER))?;
        sync_folder(&path)
    }

    /// Free bytes for this process on the folder's disk.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Makes a folder and what is missing above it; each name is durable.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent()
        && parent != Path::new("")
    {
        create_durably(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.canonicalize()?.parent() {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Removes half-written snapshots of sled's: it would read them as its newest.
pub(crate) fn remove_unfinished_snapshots(generation: &Path) -> io::Result<()> {
    for entry in fs::read_dir(generation)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Waits until sled's threads have let go of a database that this process dropped: its file is locked until then.
pub(crate) fn wait_until_free(generation: &Path, longest: Duration) -> Result<(), StoreError> {
    let file = File::open(generation.join("db"))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < longest => {
                // There is no event for it: the last of sled's threads drops the file whenever it ends.
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// The number of commits, told outside of the database, so that a database which lost its end is noticed. It is written
/// after a commit is durable and never synced: after a power cut it may be behind, never ahead.
#[derive(Debug)]
pub(crate) struct Witness(File);

impl Witness {
    pub(crate) fn open(generation: &Path) -> io::Result<Self> {
        let path = generation.join(WITNESS);
        Ok(Self(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?))
    }

    fn check(commit: [u8; 8]) -> [u8; 32] {
        Sha256::new_with_prefix(b"sotto v1 witness").chain_update(commit).finalize().into()
    }

    pub(crate) fn write(&self, commit: u64) -> io::Result<()> {
        let commit = commit.to_be_bytes();
        self.0.write_all_at(&[&commit[..], &Self::check(commit)].concat(), 0)
    }

    /// What was written last; `None` where it was torn or is not there.
    pub(crate) fn read(&self) -> io::Result<Option<u64>> {
        let mut bytes = Vec::new();
        (&self.0).take(64).read_to_end(&mut bytes)?;
        let Some((commit, check)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
        Ok((Self::check(*commit)[..] == *check).then_some(u64::from_be_bytes(*commit)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A folder with a finished generation.
    fn finished() -> (tempfile::TempDir, Folder, Generation) {
        let spare = tempfile::tempdir().unwrap();
        let folder = Folder::take(&spare.path().join("store")).unwrap();
        let generation = folder.begin().unwrap();
        // What sled and the store make.
        for name in ["conf", "db"] {
            fs::write(folder.generation(generation).join(name), b"").unwrap();
        }
        for made in [folder.generation(generation).join("blobs"), folder.files()] {
            fs::create_dir(made).unwrap();
        }
        folder.finish(generation).unwrap();
        (spare, folder, generation)
    }

    #[test]
    fn a_generation_is_active_by_its_marker_as_it_was_written() {
        let (_spare, folder, generation) = finished();
        let marker = folder.generation(generation).join(MARKER);
        assert_eq!(folder.active(), Ok(Some(generation)));
        fs::write(&marker, [MARKER_TEXT, b"!"].concat()).unwrap();
        assert!(matches!(folder.active(), Err(StoreError::Damaged(_))));
        fs::remove_file(&marker).unwrap();
        assert_eq!(folder.active(), Ok(None));
        // It cannot be read: that is not the same as that it is not there.
        fs::create_dir(&marker).unwrap();
        assert!(matches!(folder.active(), Err(StoreError::Failed(_))));
    }

    #[test]
    fn a_witness_that_was_torn_says_nothing() {
        let (_spare, folder, generation) = finished();
        let path = folder.generation(generation);
        let witness = || Witness::open(&path).unwrap();
        witness().write(7).unwrap();
        assert_eq!(witness().read().unwrap(), Some(7));
        witness().0.write_all_at(&8_u64.to_be_bytes(), 0).unwrap();
        assert_eq!(witness().read().unwrap(), None);
    }

    #[test]
    fn a_file_that_stays_locked_is_not_waited_for_without_end() {
        let spare = tempfile::tempdir().unwrap();
        let held = File::create(spare.path().join("db")).unwrap();
        held.lock().unwrap();
        assert_eq!(wait_until_free(spare.path(), Duration::ZERO), Err(StoreError::InUse));
        held.unlock().unwrap();
        assert_eq!(wait_until_free(spare.path(), Duration::ZERO), Ok(()));
    }
}

//! Backups: a folder with the server's key, its chain and a dump of its store.
//!
//! A live data folder that is merely copied is no backup. A restored server has new incarnations and no one-time prekeys, so that
//! clients notice and none of them is handed out twice.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sotto_store::{SledStore, StoreError, dump};
use thiserror::Error;

use super::{
    folder::{Folder, FolderError},
    identity::{CHAIN_FILE, Identity, IdentityError, KEY_FILE, make_folder, write_file},
};
use crate::config::Config;

const DUMP_FILE: &str = "store.dump";
/// Stands in the data folder from the beginning of a restore to its end: half of one must not look like a server.
const RESTORING_FILE: &str = "restoring";

/// Why a backup was not made, checked or restored.
#[derive(Debug, Error)]
pub(crate) enum BackupError {
    #[error("{0} exists and is not empty")]
    NotEmpty(PathBuf),
    #[error("{0} has a server already; restore into a folder that has none")]
    HasServer(PathBuf),
    #[error("{0}: a restore was not finished; run it again")]
    Unfinished(PathBuf),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the store: {0}")]
    Store(#[from] StoreError),
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
    move |error| BackupError::File { path: path.to_owned(), error }
}

/// Makes the backup's folder, which must be new or empty.
pub(crate) fn prepare(backup: &Path) -> Result<(), BackupError> {
    if backup.exists() && fs::read_dir(backup).map_err(at(backup))?.next().is_some() {
        return Err(BackupError::NotEmpty(backup.to_owned()));
    }
    Ok(make_folder(backup)?)
}

/// Writes a backup of the data folder, whose store is open, into a prepared folder. The store's changes wait meanwhile.
pub(crate) async fn create(
    data_dir: &Path,
    store: &SledStore,
    backup: &Path,
) -> Result<dump::Summary, BackupError> {
    let summary = store.export(backup.join(DUMP_FILE)).await?;
    // Last: where that failed or was called off, no key lies about.
    copy_keys(data_dir, backup)?;
    Ok(summary)
}

fn copy_keys(from: &Path, to: &Path) -> Result<(), BackupError> {
    for name in [KEY_FILE, CHAIN_FILE] {
        let path = from.join(name);
        let bytes = zeroize::Zeroizing::new(fs::read(&path).map_err(at(&path))?);
        write_file(to, name, &bytes)?;
    }
    Ok(())
}

/// Reads a backup from front to back.
pub(crate) fn check(backup: &Path) -> Result<dump::Summary, BackupError> {
    Identity::load(backup)?;
    Ok(dump::verify(&backup.join(DUMP_FILE))?)
}

/// Makes a server of a backup, in a data folder that has none.
pub(crate) fn restore(backup: &Path, config: &Config) -> Result<dump::Summary, BackupError> {
    check(backup)?;
    let folder = Folder::take(&config.data_dir)?;
    let (data_dir, store) = (folder.path(), folder.store());
    if data_dir.join(RESTORING_FILE).exists() {
        // What an earlier attempt left is no server.
        gone(fs::remove_dir_all(&store)).map_err(at(&store))?;
    } else if data_dir.join(KEY_FILE).exists() || data_dir.join(CHAIN_FILE).exists() || store.exists() {
        return Err(BackupError::HasServer(data_dir.to_owned()));
    }
    write_file(data_dir, RESTORING_FILE, &[])?;
    copy_keys(backup, data_dir)?;
    let summary = dump::import(&backup.join(DUMP_FILE), &store, &crate::storage::config(config))?;
    let restoring = data_dir.join(RESTORING_FILE);
    gone(fs::remove_file(&restoring)).map_err(at(&restoring))?;
    Ok(summary)
}

/// Refuses a data folder in which a restore was begun and not finished.
pub(crate) fn finished(data_dir: &Path) -> Result<(), BackupError> {
    if data_dir.join(RESTORING_FILE).exists() {
        return Err(BackupError::Unfinished(data_dir.to_owned()));
    }
    Ok(())
}

/// What is not there need not be removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

//! Large values as plain files: `files/<id in 16 hex digits>`. A file is whole and synced, under its name, before the
//! row that names it is written; it is removed after the row's removal is durable, and what no row names is removed at
//! the next opening.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    folder::sync_folder,
    row::{Content, FileName, MAX_INLINE},
};
use crate::StoreError;

/// The folder `files/`.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    /// The folder is made if it is not there.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        if !folder.exists() {
            fs::create_dir(&folder)?;
            folder.parent().map_or(Ok(()), sync_folder)?;
        }
        Ok(Self { folder })
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:016x}"))
    }

    /// Content for a row: small stays inside; large is written to the file `id`, synced but for the folder: call
    /// [`Self::sync`] before the row is written.
    pub(crate) fn put(&self, bytes: Vec<u8>, id: u64) -> io::Result<Content> {
        if bytes.len() <= MAX_INLINE {
            return Ok(Content::Inline(bytes));
        }
        let name = FileName::of(id, &bytes);
        let unfinished = self.folder.join("unfinished");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&unfinished, self.path(name.id))?;
        Ok(Content::File(name))
    }

    /// Makes the names of all files durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.folder)
    }

    /// The bytes. `None` if the file is not there: its row may have been removed a moment ago.
    pub(crate) fn read(&self, content: &Content) -> Result<Option<Vec<u8>>, StoreError> {
        let name = match content {
            Content::Inline(bytes) => return Ok(Some(bytes.clone())),
            Content::File(name) => name,
        };
        match fs::read(self.path(name.id)) {
            Ok(bytes) if FileName::of(name.id, &bytes) == *name => Ok(Some(bytes)),
            Ok(_) => Err(StoreError::Damaged(format!("the file {:016x} has changed", name.id))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Failed(format!("the file {:016x}: {error}", name.id))),
        }
    }

    /// Whether the file is there with its length.
    pub(crate) fn holds(&self, name: &FileName) -> bool {
        fs::metadata(self.path(name.id)).is_ok_and(|found| found.len() == u64::from(name.length))
    }

    /// Removes a file whose row is gone. Not synced: one that comes back is removed at the next opening.
    pub(crate) fn remove(&self, name: &FileName) -> io::Result<()> {
        match fs::remove_file(self.path(name.id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes every file but these.
    pub(crate) fn retain(&self, named: &HashSet<u64>) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
            if id.is_none_or(|id| !named.contains(&id) || entry.path() != self.path(id)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Reads a whole file that must be there.
pub(crate) fn read_content(files: &Files, content: &Content) -> Result<Vec<u8>, StoreError> {
    let missing = || StoreError::Damaged("a file that a row names is not there".to_owned());
    files.read(content)?.ok_or_else(missing)
}

/// Bytes of a file on the disk, not of its holes.
pub(crate) fn bytes_on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    File::open(path).and_then(|file| file.metadata()).map_or(0, |found| found.blocks().saturating_mul(512))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_from_what_cannot_be_read() {
        let spare = tempfile::tempdir().unwrap();
        let files = Files::open(spare.path().join("files")).unwrap();
        let bytes = vec![7; MAX_INLINE + 1];
        let content = files.put(bytes.clone(), 1).unwrap();
        let Content::File(name) = content.clone() else { panic!("a large value inside") };
        assert_eq!(files.read(&content), Ok(Some(bytes)));
        assert!(files.holds(&name));
        fs::write(files.path(1), b"shorter").unwrap();
        assert!(!files.holds(&name));
        assert!(matches!(files.read(&content), Err(StoreError::Damaged(_))));
        files.remove(&name).unwrap();
        assert!(!files.holds(&name));
        assert_eq!(files.read(&content), Ok(None));
        files.remove(&name).unwrap();
        // A folder stands for whatever the system refuses to read and remove.
        fs::create_dir(files.path(1)).unwrap();
        assert!(matches!(files.read(&content), Err(StoreError::Failed(_))));
        assert!(files.remove(&name).is_err());
    }
}

//! The engine-neutral copy of a store in one file: for backups, for moving to another engine, as a fixture.
//!
//! ```text
//! "sotto store dump"          16 bytes
//! format                      u32, 1
//! schema version              u32
//! rows, each:                 1, role (u8 length), key (u32 length), value (u32 length)
//! end:                        0, count of rows (u64)
//! SHA-256 of all of it        32 bytes
//! ```
//! Rows come by role in the order of names and by key in order. Values are as in the tree; where a row names a file, the
//! file follows as a row of the role `file` whose key is its id. docs/spec/store.md describes the rows.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

use sha2::{Digest as _, Sha256};
use sotto_migrations::server::{LAYOUT_KEY, Layout, META_TREE, SERVER_VERSION};

use crate::{
    StoreConfig, StoreError,
    sled::{
        database::{Database, guarded},
        files::{Files, read_content},
        folder::{Folder, sync_folder},
        prekeys,
        record::AccountRow,
        row::{Content, EnvelopeRow, FileName, directory, queue},
    },
};
use sotto_migrations::server::{DIRECTORY, QUEUE};

const MAGIC: &[u8; 16] = b"sotto store dump";
const FORMAT: u32 = 1;
/// The role of large values.
const FILE: &str = "file";
/// Bytes of a key, and of a value: no row or file comes near.
const MAX_KEY: u32 = 1024;
const MAX_VALUE: u32 = 16 * 1024 * 1024;

/// What a dump holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The schema version of the rows.
    pub version: u32,
    /// Rows, files included.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A running hash over rows.
#[derive(Debug, Clone)]
pub(crate) struct Digest(Sha256, u64);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(Sha256::new(), 0)
    }

    pub(crate) fn row(&mut self, role: &str, key: &[u8], value: &[u8]) {
        for part in [role.as_bytes(), key, value] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
        self.1 = self.1.saturating_add(1);
    }

    pub(crate) fn rows(&self) -> u64 {
        self.1
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1 && self.0.clone().finalize() == other.0.clone().finalize()
    }
}

/// Every role of a store, in order.
pub(crate) fn roles(layout: &Layout) -> Vec<String> {
    let mut roles: Vec<_> = layout.trees.keys().cloned().chain([META_TREE.to_owned()]).collect();
    roles.sort_unstable();
    roles
}

/// What stands next in a dump.
enum Next {
    Row {
        role: String,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// The count of all rows.
    End(u64),
}

/// Hashes and counts what passes through it.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
    bytes: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
    }
}

impl<T: Write> Hashing<T> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.saw(bytes);
        self.inner.write_all(bytes)
    }

    fn row(&mut self, role: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let too_long = |_| StoreError::Failed("a row is too long for a dump".to_owned());
        self.put(&[1, u8::try_from(role.len()).map_err(too_long)?])?;
        self.put(role.as_bytes())?;
        self.put(&u32::try_from(key.len()).map_err(too_long)?.to_be_bytes())?;
        self.put(key)?;
        self.put(&u32::try_from(value.len()).map_err(too_long)?.to_be_bytes())?;
        Ok(self.put(value)?)
    }
}

impl<T: Read> Hashing<T> {
    fn take(&mut self, length: usize) -> Result<Vec<u8>, StoreError> {
        // Grows as bytes come: a length in a damaged file is only a claim.
        let mut bytes = Vec::new();
        (&mut self.inner).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(StoreError::Damaged("the dump ends too early".to_owned()));
        }
        self.saw(&bytes);
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| StoreError::Damaged("the dump ends too early".to_owned()))
    }

    fn part(&mut self, max: u32) -> Result<Vec<u8>, StoreError> {
        let length = u32::from_be_bytes(self.array()?);
        if length > max {
            return Err(StoreError::Damaged("a row in the dump is too long".to_owned()));
        }
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The next row, or the count at the end.
    fn next(&mut self) -> Result<Next, StoreError> {
        let damaged = |what: &str| StoreError::Damaged(format!("the dump has {what}"));
        match self.array()? {
            [1] => {
                let [length] = self.array()?;
                let role = self.take(usize::from(length))?;
                let role = String::from_utf8(role).map_err(|_| damaged("a role that is no text"))?;
                let (key, value) = (self.part(MAX_KEY)?, self.part(MAX_VALUE)?);
                Ok(Next::Row { role, key, value })
            }
            [0] => Ok(Next::End(u64::from_be_bytes(self.array()?))),
            _ => Err(damaged("an unknown mark")),
        }
    }
}

/// The file a row names.
fn named_file(role: &str, key: &[u8], value: &[u8]) -> Result<Option<FileName>, StoreError> {
    match (role, key.first()) {
        (QUEUE, Some(&queue::ENVELOPE)) => Ok(EnvelopeRow::decode(value)?.content.file()),
        (DIRECTORY, Some(&directory::ACCOUNT)) => Ok(AccountRow::decode(value)?.content.file()),
        _ => Ok(None),
    }
}

/// Writes everything that is committed into a new file, which appears whole or not at all; gives up ([`StoreError::Stopped`])
/// when nobody awaits it any more.
pub(crate) fn export(
    database: &Database,
    files: &Files,
    path: &Path,
    awaited: impl Fn() -> bool,
) -> Result<Summary, StoreError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
    let summary = write(database, files, file, awaited).inspect_err(|_| {
        // It takes room that may be the reason, and is worth nothing.
        drop(fs::remove_file(&unfinished));
    })?;
    fs::rename(&unfinished, path)?;
    if let Some(parent) = path.canonicalize()?.parent() {
        sync_folder(parent)?;
    }
    Ok(summary)
}

fn write(
    database: &Database,
    files: &Files,
    file: File,
    awaited: impl Fn() -> bool,
) -> Result<Summary, StoreError> {
    let mut out = Hashing::new(BufWriter::new(file));
    out.put(MAGIC)?;
    out.put(&FORMAT.to_be_bytes())?;
    out.put(&database.layout.version.to_be_bytes())?;
    let mut rows = 0_u64;
    for role in roles(&database.layout) {
        let Some(tree) = database.role(&role) else { continue };
        for row in tree {
            if !awaited() {
                return Err(StoreError::Stopped);
            }
            let (key, value) = row?;
            out.row(&role, &key, &value)?;
            rows = rows.saturating_add(1);
            if let Some(name) = named_file(&role, &key, &value)? {
                let bytes = read_content(files, &Content::File(name))?;
                out.row(FILE, &name.id.to_be_bytes(), &bytes)?;
                rows = rows.saturating_add(1);
            }
        }
    }
    out.put(&[0])?;
    out.put(&rows.to_be_bytes())?;
    let hash = out.hash.clone().finalize();
    out.put(&hash)?;
    let file = out.inner.into_inner().map_err(|error| StoreError::from(error.into_error()))?;
    file.sync_all()?;
    Ok(Summary { version: database.layout.version, rows, bytes: out.bytes })
}

fn header(dump: &mut Hashing<impl Read>) -> Result<u32, StoreError> {
    if dump.array::<16>()? != *MAGIC {
        return Err(StoreError::Damaged("the file is no dump of a store".to_owned()));
    }
    let format = u32::from_be_bytes(dump.array()?);
    if format > FORMAT {
        return Err(StoreError::TooNew { found: format, known: FORMAT });
    }
    let version = u32::from_be_bytes(dump.array()?);
    if version > SERVER_VERSION {
        return Err(StoreError::TooNew { found: version, known: SERVER_VERSION });
    }
    Ok(version)
}

/// Reads a dump from front to back; hands out each row.
pub(crate) fn rows(
    dump: impl Read,
    mut row: impl FnMut(&str, &[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<Summary, StoreError> {
    let mut dump = Hashing::new(dump);
    let version = header(&mut dump)?;
    let mut count = 0_u64;
    let expected = loop {
        match dump.next()? {
            Next::Row { role, key, value } => {
                count = count.saturating_add(1);
                row(&role, &key, &value)?;
            }
            Next::End(expected) => break expected,
        }
    };
    let hash = dump.hash.clone().finalize();
    let there: [u8; 32] = dump.array()?;
    if there != *hash || expected != count || dump.inner.read(&mut [0])? != 0 {
        return Err(StoreError::Damaged("the dump's checksum or count is wrong".to_owned()));
    }
    Ok(Summary { version, rows: count, bytes: dump.bytes })
}

fn opened(path: &Path) -> io::Result<BufReader<File>> {
    File::open(path).map(BufReader::new)
}

/// Checks a dump from front to back.
pub fn verify(path: &Path) -> Result<Summary, StoreError> {
    rows(opened(path)?, |_, _, _| Ok(()))
}

/// Makes a store from a dump in a folder that has none. A damaged dump is refused whole, before anything is written. The
/// new store has no one-time prekeys, since some may have been handed out after the dump, and new incarnations, so that
/// clients notice.
pub fn import(path: &Path, folder: &Path, config: &StoreConfig) -> Result<Summary, StoreError> {
    let summary = verify(path)?;
    let folder = Folder::take(folder)?;
    if folder.active()?.is_some() {
        return Err(StoreError::Failed("there is a store in the folder already".to_owned()));
    }
    folder.remove_others(None)?;
    let files = Files::open(folder.files())?;
    files.retain(&std::collections::HashSet::new())?;
    let generation = folder.begin()?;
    let database = Database::bare(&folder, generation, config)?;
    guarded(|| {
        rows(opened(path)?, |role, key, value| insert(&database, &files, role, key, value))?;
        files.sync()?;
        let removed = prekeys::remove_one_time(&database.trees.prekey)?;
        database.begin_anew(removed)?;
        database.sync()
    })?;
    folder.finish(generation)?;
    database.witness.write(database.state()?.commit)?;
    database.close()?;
    Ok(summary)
}

fn insert(
    database: &Database,
    files: &Files,
    role: &str,
    key: &[u8],
    value: &[u8],
) -> Result<(), StoreError> {
    if role == META_TREE && key == LAYOUT_KEY.as_bytes() {
        return Ok(());
    }
    if role == FILE {
        let id = key.try_into().map(u64::from_be_bytes);
        let id = id.map_err(|_| StoreError::Damaged("a file's id in the dump".to_owned()))?;
        files.put(value.to_vec(), id)?;
        return Ok(());
    }
    let tree = database.role(role);
    let tree = tree.ok_or_else(|| StoreError::Damaged(format!("the dump has an unknown role {role}")))?;
    tree.insert(key, value)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::SledStore;

    /// A dump of this format and version with these rows.
    fn made(format: u32, version: u32, rows: &[(&str, &[u8], &[u8])]) -> Vec<u8> {
        let mut out = Hashing::new(Vec::new());
        out.put(MAGIC).unwrap();
        out.put(&format.to_be_bytes()).unwrap();
        out.put(&version.to_be_bytes()).unwrap();
        for (role, key, value) in rows {
            out.row(role, key, value).unwrap();
        }
        out.put(&[0]).unwrap();
        out.put(&(rows.len() as u64).to_be_bytes()).unwrap();
        let hash = out.hash.clone().finalize();
        out.put(&hash).unwrap();
        out.inner
    }

    fn read(dump: &[u8]) -> Result<Summary, StoreError> {
        rows(dump, |_, _, _| Ok(()))
    }

    #[test]
    fn a_dump_of_a_newer_format_or_version_says_so() {
        assert_eq!(read(&made(FORMAT, SERVER_VERSION, &[])).unwrap().rows, 0);
        assert_eq!(read(&made(FORMAT, 1, &[])).unwrap().version, 1);
        assert_eq!(read(&made(2, 1, &[])), Err(StoreError::TooNew { found: 2, known: 1 }));
        let newer = StoreError::TooNew { found: SERVER_VERSION + 1, known: SERVER_VERSION };
        assert_eq!(read(&made(1, SERVER_VERSION + 1, &[])), Err(newer));
    }

    #[test]
    fn keys_and_values_have_a_longest_length() {
        let (key, value) = (vec![1; 1_025], vec![2; 16_777_217]);
        let good: (&str, &[u8], &[u8]) = ("role", &key[..1_024], &value[..16_777_216]);
        assert_eq!(read(&made(1, 1, &[good])).unwrap().rows, 1);
        let too_long = Err(StoreError::Damaged("a row in the dump is too long".to_owned()));
        assert_eq!(read(&made(1, 1, &[("role", &key, b"")])), too_long);
        assert_eq!(read(&made(1, 1, &[("role", b"", &value)])), too_long);
    }

    #[test]
    fn a_dump_that_is_cut_ends_too_early() {
        let whole = made(1, 1, &[("role", b"key", b"value")]);
        assert_eq!(read(&whole).unwrap().bytes, whole.len() as u64);
        for length in 0..whole.len() {
            let cut = Err(StoreError::Damaged("the dump ends too early".to_owned()));
            assert_eq!(read(&whole[..length]), cut, "{length}");
        }
    }

    #[test]
    fn the_layout_in_a_dump_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let (file, copy) = (folder.path().join("dump"), folder.path().join("copy"));
        let store = SledStore::open(&folder.path().join("store"), StoreConfig::default()).unwrap();
        store.export(file.clone()).wait().unwrap();
        let mut all = Vec::new();
        let keep = |role: &str, key: &[u8], value: &[u8]| {
            let layout = role == META_TREE && key == LAYOUT_KEY.as_bytes();
            let value = if layout { b"no layout".to_vec() } else { value.to_vec() };
            all.push((role.to_owned(), key.to_vec(), value));
            Ok(())
        };
        rows(opened(&file).unwrap(), keep).unwrap();
        assert_eq!(all.iter().filter(|(.., value)| value == b"no layout").count(), 1);
        let all: Vec<_> =
            all.iter().map(|(role, key, value)| (role.as_str(), &key[..], &value[..])).collect();
        fs::write(&file, made(FORMAT, SERVER_VERSION, &all)).unwrap();
        import(&file, &copy, &StoreConfig::default()).unwrap();
        SledStore::open(&copy, StoreConfig::default()).unwrap();
    }

    #[test]
    fn a_digest_tells_rows_apart() {
        type Row<'a> = (&'a str, &'a [u8], &'a [u8]);
        let of = |rows: &[Row<'_>]| {
            let mut digest = Digest::new();
            for (role, key, value) in rows {
                digest.row(role, key, value);
            }
            assert_eq!(digest.rows(), rows.len() as u64);
            digest
        };
        let row: Row<'_> = ("a", b"bc", b"d");
        assert!(of(&[row]) == of(&[row]) && of(&[row, row]) == of(&[row, row]));
        assert!(of(&[row]) != of(&[row, row]));
        let others: [Row<'_>; 3] = [("ab", b"c", b"d"), ("a", b"b", b"cd"), ("a", b"bc", b"e")];
        for other in others {
            assert!(of(&[row]) != of(&[other]), "{other:?}");
        }
    }
}

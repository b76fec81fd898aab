//! One generation opened: sled with its trees, made durable by an own sync.

use std::{
    fs::{File, OpenOptions},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use rand::{TryRng, rngs::SysRng};
use sotto_migrations::server::{self, DIRECTORY, Layout, META_TREE, PREKEY, QUEUE, ServerMigrationError};

use super::{
    folder::{Folder, Generation, LET_GO, Witness, remove_unfinished_snapshots, wait_until_free},
    row::{MailboxRow, StateRow, decode_number, encode_number, queue},
};
use crate::{StoreConfig, StoreError};

/// The row of `meta` with the random salt of every mailbox's incarnation.
pub(crate) const SALT: &str = "salt";
/// The row of `meta` with the counter's reserved end.
pub(crate) const RESERVED: &str = "reserved";
/// The row of `meta` that each commit writes last.
pub(crate) const STATE: &str = "state";
/// Numbers are reserved in blocks of so many: one durable write in a million. With what each opening skips
/// ([`super::opening`]) the counter lasts for eight thousand million openings.
pub(crate) const BLOCK: u64 = 1_000_000;

/// sled's trees.
#[derive(Debug, Clone)]
pub(crate) struct Trees {
    pub(crate) meta: ::sled::Tree,
    pub(crate) directory: ::sled::Tree,
    pub(crate) queue: ::sled::Tree,
    pub(crate) prekey: ::sled::Tree,
}

/// An open generation.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) trees: Trees,
    pub(crate) layout: Layout,
    pub(crate) witness: Witness,
    db: ::sled::Db,
    /// An own handle on sled's data file: sled's flush is no barrier.
    data: File,
    path: PathBuf,
}

/// Runs engine code that may panic on damaged data.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            Err(StoreError::Damaged(format!("the engine gave up: {text}")))
        }
    }
}

fn open_sled(path: &Path, config: &StoreConfig) -> Result<::sled::Db, StoreError> {
    guarded(|| {
        // No flushes in the background: the writer alone flushes.
        let config = ::sled::Config::new().path(path).cache_capacity(config.cache_bytes).flush_every_ms(None);
        Ok(config.open()?)
    })
}

/// Opens sled in a generation that was finished once: what is missing there is not made anew.
fn open_finished(path: &Path, config: &StoreConfig) -> Result<::sled::Db, StoreError> {
    let length = std::fs::metadata(path.join("db"))
        .map_err(|error| StoreError::Damaged(format!("the database's file: {error}")))?
        .len();
    if length == 0 || !path.join("conf").exists() {
        return Err(StoreError::Damaged("the database's files are empty or missing".to_owned()));
    }
    remove_unfinished_snapshots(path)?;
    open_sled(path, config)
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(bytes)
}

impl Database {
    /// An empty database in a folder that [`Folder::begin`] made, without rows but for its layout.
    pub(crate) fn bare(folder: &Folder, at: Generation, config: &StoreConfig) -> Result<Self, StoreError> {
        let path = folder.generation(at);
        let db = open_sled(&path, config)?;
        let layout = server::create(&db)?;
        Self::with_layout(db, layout, path)
    }

    /// A new store: a bare database with what every store has.
    pub(crate) fn create(folder: &Folder, at: Generation, config: &StoreConfig) -> Result<Self, StoreError> {
        let database = Self::bare(folder, at, config)?;
        database.trees.meta.insert(RESERVED, encode_number(1))?;
        database.trees.meta.insert(STATE, StateRow::default().encode())?;
        database.renew_salt()?;
        database.sync()?;
        database.witness.write(0)?;
        Ok(database)
    }

    /// The version of a finished generation, which is left as it is.
    pub(crate) fn version(folder: &Folder, at: Generation, config: &StoreConfig) -> Result<u32, StoreError> {
        let path = folder.generation(at);
        let db = open_finished(&path, config)?;
        let version = guarded(|| match server::read(&db) {
            Ok(layout) => Ok(layout.version),
            Err(ServerMigrationError::TooNew { found }) => Ok(found),
            Err(error) => Err(error.into()),
        });
        guarded(|| {
            drop(db);
            Ok(())
        })?;
        wait_until_free(&path, LET_GO)?;
        version
    }

    /// Opens a finished generation and brings it to the newest version.
    pub(crate) fn open(folder: &Folder, at: Generation, config: &StoreConfig) -> Result<Self, StoreError> {
        let path = folder.generation(at);
        let db = open_finished(&path, config)?;
        let layout = guarded(|| {
            let data = OpenOptions::new().read(true).write(true).open(path.join("db"))?;
            let mut sync = || -> Result<(), ServerMigrationError> {
                db.flush()?;
                Ok(data.sync_data()?)
            };
            Ok(server::migrate(&db, &mut sync)?)
        })?;
        let database = Self::with_layout(db, layout, path)?;
        let state = database.state()?;
        // The database's end may be missing, which sled takes for a torn write.
        if let Some(commit) = database.witness.read()?
            && commit > state.commit
        {
            let text = format!("{} of {commit} commits are there", state.commit);
            return Err(StoreError::Damaged(text));
        }
        Ok(database)
    }

    fn with_layout(db: ::sled::Db, layout: Layout, path: PathBuf) -> Result<Self, StoreError> {
        let trees = guarded(|| {
            Ok(Trees {
                meta: db.open_tree(META_TREE)?,
                directory: layout.tree(&db, DIRECTORY)?,
                queue: layout.tree(&db, QUEUE)?,
                prekey: layout.tree(&db, PREKEY)?,
            })
        })?;
        let data = OpenOptions::new().read(true).write(true).open(path.join("db"))?;
        let witness = Witness::open(&path)?;
        Ok(Self { trees, layout, witness, db, data, path })
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        Ok(self.data.sync_data()?)
    }

    /// Gives every mailbox a new incarnation, in a copy from which so many bytes of prekeys were left out.
    pub(crate) fn begin_anew(&self, removed: u64) -> Result<(), StoreError> {
        self.renew_salt()?;
        let state = self.state()?;
        let state = StateRow { side_bytes: state.side_bytes.saturating_sub(removed), ..state };
        self.trees.meta.insert(STATE, state.encode())?;
        // Nothing counts as acked in it, or its readers, who start from the front, would look like old copies.
        let begun = self.reserved()?;
        for row in self.trees.queue.scan_prefix([queue::MAILBOX]) {
            let (key, value) = row?;
            let row = MailboxRow { begun, ..MailboxRow::decode(&value)? };
            self.trees.queue.insert(key, row.encode())?;
        }
        Ok(())
    }

    fn renew_salt(&self) -> Result<(), StoreError> {
        self.trees.meta.insert(SALT, &random::<16>()?)?;
        Ok(())
    }

    fn meta(&self, name: &str) -> Result<::sled::IVec, StoreError> {
        let row = guarded(|| Ok(self.trees.meta.get(name)?))?;
        row.ok_or_else(|| StoreError::Damaged(format!("the row {name} is not there")))
    }

    pub(crate) fn state(&self) -> Result<StateRow, StoreError> {
        StateRow::decode(&self.meta(STATE)?)
    }

    pub(crate) fn salt(&self) -> Result<[u8; 16], StoreError> {
        <[u8; 16]>::try_from(&*self.meta(SALT)?)
            .map_err(|_| StoreError::Damaged("the salt has another length".to_owned()))
    }

    /// The first number that was never given.
    pub(crate) fn reserved(&self) -> Result<u64, StoreError> {
        decode_number(&self.meta(RESERVED)?)
    }

    /// A tree of the layout, or `meta`, by its role.
    pub(crate) fn role(&self, role: &str) -> Option<&::sled::Tree> {
        match role {
            META_TREE => Some(&self.trees.meta),
            DIRECTORY => Some(&self.trees.directory),
            QUEUE => Some(&self.trees.queue),
            PREKEY => Some(&self.trees.prekey),
            _ => None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets go of the files; returns when sled has. The caller must hold the only handle on the trees.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        let Self { trees, layout: _, witness: _, db, data, path } = self;
        drop(data);
        // sled syncs once more when it is dropped, and panics if that fails.
        guarded(|| {
            drop((trees, db));
            Ok(())
        })?;
        wait_until_free(&path, LET_GO)
    }
}

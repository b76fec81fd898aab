//! The local store: SQLite with SQLCipher, one file a profile, changed only in transactions. The core works on a
//! [`Tx`]; what the core decides is on disk before anything it wants sent leaves.

mod account;
mod certified;
mod contact;
mod fate;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod history;
mod identity;
mod outbox;
mod prekey;
mod resend;

use std::{path::Path, sync::Once};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, types::FromSql};
use sotto_migrations::client::{ClientMigrationError, migrate};
use sotto_proto::wire::WireError;
use thiserror::Error;
use zeroize::Zeroizing;

pub use account::{BlockRecord, PasswordChange, WaitingDevice, WrapId};
pub use contact::{ContactRecord, PinState};
pub use fate::CopyFate;
pub use history::{NewMessage, StoredMessage};
pub use identity::{Cursor, Identity, ServerPin};
pub use outbox::{Copy, Entry, NewEntry};
pub use prekey::{OwnPrekey, PrekeySlot};
pub use resend::{ClaimedIdentity, NO_MESSAGE, SentBody, WantedBody};

use self::contact::ParsedLists;
use crate::api::{ClientError, ErrorKind};

/// Why the local store did not do something. Nothing of the transaction has happened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file is no store under this key: damaged, for the key itself was checked before.
    #[error("the local store is damaged: {0}")]
    Damaged(String),
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// Written by a newer program.
    #[error("{0}")]
    TooNew(String),
    /// The disk or the database failed.
    #[error("the local store failed: {0}")]
    Failed(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<WireError> for StoreError {
    fn from(error: WireError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull => {
                Self::new(ErrorKind::DiskFull, "the local disk is full; nothing was changed")
                    .hint("free some space and run the command again")
            }
            StoreError::TooNew(message) => {
                Self::new(ErrorKind::Version, message).hint("update sotto on this machine")
            }
            StoreError::Damaged(cause) => Self::new(ErrorKind::LocalStore, "the local store cannot be read")
                .cause(cause)
                .hint("sign this machine in as a new device: sotto --profile NEW login SERVER USER"),
            // After a failed sync nobody knows whether the last change is on the disk: the next start sees.
            StoreError::Failed(cause) => Self::new(ErrorKind::LocalStore, "the local store failed").cause(cause).hint(
                "look at this machine's disk; then see what was kept (sotto outbox list) before you run the command again",
            ),
        }
    }
}

/// The library makes itself ready at the first opening of a process, and lets others open before its cipher is
/// (`sqlite3_initialize` says that it is done, then SQLCipher's part begins): theirs would be refused now and then.
static READY: Once = Once::new();

/// An opened store; there is one in a process, and one process a profile.
#[derive(Debug)]
pub struct LocalStore {
    connection: Connection,
    lists: ParsedLists,
}

impl LocalStore {
    /// Opens or makes the store at `path` under a raw 32-byte key, and brings it to the newest version.
    pub fn open(path: &Path, key: &[u8; 32]) -> Result<Self, StoreError> {
        let new = !path.exists();
        // Where this fails, the next one says why.
        READY.call_once(|| drop(Connection::open_in_memory()));
        let connection = Connection::open(path)?;
        let mut hex = Zeroizing::new(String::with_capacity(67));
        hex.push_str("x'");
        for byte in key {
            for digit in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        hex.push('\'');
        // What goes wrong is said once, by this program; not by the library on stderr as well.
        connection.pragma_update_and_check(None, "cipher_log_level", "NONE", |_| Ok(()))?;
        connection.pragma_update(None, "key", hex.as_str())?;
        let store = Self::prepare(connection)?;
        if new {
            // The file's name must survive a power cut as surely as what is in it.
            for folder in path.ancestors().skip(1).take(2).filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::File::open(folder)
                    .and_then(|folder| folder.sync_all())
                    .map_err(|error| StoreError::Failed(error.to_string()))?;
            }
        }
        Ok(store)
    }

    /// A store in memory, for tests and simulation.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?)
    }

    fn prepare(mut connection: Connection) -> Result<Self, StoreError> {
        // One process owns the store, so the write-ahead log needs no shared memory; FULL syncs it at each commit.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "secure_delete", true)?;
        // Nothing of a query may reach the disk unencrypted.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(128);
        migrate(&mut connection).map_err(|error| match error {
            ClientMigrationError::TooNew { .. } => StoreError::TooNew(error.to_string()),
            ClientMigrationError::Foreign => StoreError::Damaged(error.to_string()),
            ClientMigrationError::Database(error) => error.into(),
        })?;
        Ok(Self { connection, lists: ParsedLists::default() })
    }

    /// Runs `work` in a transaction: on `Ok` it is committed to stable storage before this returns, on `Err` nothing
    /// of it has happened.
    pub fn transaction<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| E::from(error.into()))?;
        let tx = Tx { transaction, lists: &self.lists };
        let result = work(&tx)?;
        tx.transaction.commit().map_err(|error| E::from(error.into()))?;
        Ok(result)
    }

    /// Reads the whole store and says whether it is sound.
    pub fn check(&self) -> Result<(), StoreError> {
        let verdict: String = self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict == "ok" { Ok(()) } else { Err(StoreError::Damaged(verdict)) }
    }
}

/// A transaction on the store.
#[derive(Debug)]
pub struct Tx<'a> {
    transaction: Transaction<'a>,
    lists: &'a ParsedLists,
}

impl Tx<'_> {
    /// One row, or none.
    fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        use rusqlite::OptionalExtension;
        Ok(self.transaction.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    /// All rows.
    fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.transaction.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Changes rows; answers how many.
    fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.transaction.prepare_cached(sql)?.execute(params)?)
    }

    /// A count.
    fn count(&self, sql: &str, params: impl rusqlite::Params) -> Result<u64, StoreError> {
        Ok(self.one(sql, params, |row| column(row, 0).map(unsigned))?.unwrap_or(0))
    }
}

/// SQLite has signed integers only; ours are counts and times that stay far below 2^63, list numbers aside, which
/// keep their bits.
fn signed(value: u64) -> i64 {
    value.cast_signed()
}

fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}

fn column<T: FromSql>(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<T> {
    row.get(index)
}

/// A blob of a fixed length.
fn array<const N: usize>(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<[u8; N]> {
    row.get(index)
}

fn time(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(unsigned)
}

//! What can go wrong in a store.

use sotto_migrations::server::{SERVER_VERSION, ServerMigrationError};
use thiserror::Error;

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Too many operations wait; nothing was done, try again.
    #[error("the store is busy")]
    Busy,
    /// The store is closed, or stopped after an earlier failure.
    #[error("the store has stopped")]
    Stopped,
    /// The disk is nearly full: nothing was done. Reads, acks and expiry still work.
    #[error("the server's disk is full")]
    DiskFull,
    /// The engine or the disk failed; final (see [`crate::Store`]).
    #[error("the store failed: {0}")]
    Failed(String),
    /// A record cannot be read.
    #[error("a record in the store is damaged: {0}")]
    Damaged(String),
    /// Another process has the store.
    #[error("the data folder is in use by another process")]
    InUse,
    /// The data was written by a newer program.
    #[error("the data is of version {found}, this program reads up to {known}")]
    TooNew {
        /// What stands in the store.
        found: u32,
        /// What this program knows.
        known: u32,
    },
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<::sled::Error> for StoreError {
    fn from(error: ::sled::Error) -> Self {
        match error {
            // An unsupported configuration or an inconsistency is how sled meets damage it did not expect.
            ::sled::Error::Io(_) => Self::Failed(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<ServerMigrationError> for StoreError {
    fn from(error: ServerMigrationError) -> Self {
        match error {
            ServerMigrationError::TooNew { found } => Self::TooNew { found, known: SERVER_VERSION },
            ServerMigrationError::Unreadable(_) => Self::Damaged(error.to_string()),
            ServerMigrationError::Database(error) => error.into(),
            ServerMigrationError::Disk(error) => error.into(),
        }
    }
}

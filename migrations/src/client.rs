//! The client's store: numbered SQL, applied in order, each step in one transaction with the version it leads to.

use rusqlite::Connection;
use thiserror::Error;

/// Marks a file as a Sotto client store (SQLite header, `application_id`): "SOTT".
pub const APPLICATION_ID: i32 = 0x534f_5454;

/// The steps; step n leads from version n to version n + 1. Released steps are never edited.
const STEPS: &[&str] = &[
    include_str!("../client/0001.sql"),
    include_str!("../client/0002.sql"),
    include_str!("../client/0003.sql"),
];

/// The version this program reads and writes.
pub const CLIENT_VERSION: u32 = 3;

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum ClientMigrationError {
    /// Written by a newer program.
    #[error("the local store is of version {found}, this program knows up to {CLIENT_VERSION}")]
    TooNew {
        /// What stands in the store.
        found: u32,
    },
    /// A database of some other program.
    #[error("the file is not a Sotto store")]
    Foreign,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

/// Brings an opened store to [`CLIENT_VERSION`]; refuses what a newer program wrote before anything is touched.
pub fn migrate(connection: &mut Connection) -> Result<(), ClientMigrationError> {
    migrate_to(connection, STEPS)
}

fn migrate_to(connection: &mut Connection, steps: &[&str]) -> Result<(), ClientMigrationError> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(ClientMigrationError::TooNew { found });
    }
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if found > 0 && application != APPLICATION_ID {
        return Err(ClientMigrationError::Foreign);
    }
    for (step, version) in steps.iter().zip(1u32..).skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> u32 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_new_store_gets_the_newest_version_and_an_old_one_only_what_it_lacks() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(version(&connection), CLIENT_VERSION);
        assert_eq!(usize::try_from(CLIENT_VERSION).unwrap(), STEPS.len());
        connection.execute("INSERT INTO meta VALUES ('kept', x'01')", []).unwrap();
        let more = [STEPS, &["CREATE TABLE later (x INTEGER) STRICT;"]].concat();
        migrate_to(&mut connection, &more).unwrap();
        assert_eq!(version(&connection), CLIENT_VERSION + 1);
        let kept: Vec<u8> =
            connection.query_row("SELECT value FROM meta WHERE name = 'kept'", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, [1]);
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it_whole() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = [STEPS[0], "CREATE TABLE later (x INTEGER) STRICT; CREATE TABLE later (x INTEGER);"];
        assert!(migrate_to(&mut connection, &broken).is_err());
        assert_eq!(version(&connection), 1);
        let tables: u32 = connection
            .query_row("SELECT count(*) FROM sqlite_master WHERE name = 'later'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0);
    }

    #[test]
    fn data_of_a_newer_program_and_of_another_program_is_refused_untouched() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.pragma_update(None, "user_version", CLIENT_VERSION + 1).unwrap();
        assert!(
            matches!(migrate(&mut connection), Err(ClientMigrationError::TooNew { found }) if found == CLIENT_VERSION + 1)
        );
        let mut foreign = Connection::open_in_memory().unwrap();
        foreign.execute_batch("CREATE TABLE theirs (x INTEGER); PRAGMA user_version = 1;").unwrap();
        assert!(matches!(migrate(&mut foreign), Err(ClientMigrationError::Foreign)));
    }
}

//! Stores as version 1 wrote them, made of today's: what later versions added is taken out again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rusqlite::Connection;
use serde::Serialize;
use sotto_crypto::VaultKey;
use sotto_migrations::client::CLIENT_VERSION;
use sotto_migrations::server::{DIRECTORY, LAYOUT_KEY, Layout, META_TREE, PREKEY, QUEUE, read};
use sotto_proto::wire::Reader;
use sotto_proto::{AccountId, AccountKey, DeviceId, Username, codec};
use sotto_store::AccountRecord;
use sotto_tests::faultfs::FaultFs;

/// An account's record in the form of version 1.
#[derive(Serialize)]
struct AccountRecordV1 {
    revision: u64,
    username: Username,
    account: AccountId,
    account_key: AccountKey,
    password_hash: String,
    #[serde(with = "serde_bytes")]
    list: Vec<u8>,
    devices: Vec<DeviceId>,
    disabled: bool,
    created_ms: u64,
}

/// What the versions of the client's store after the first one added.
const NEW_TABLES: [&str; 4] = ["credential", "block", "device_name", "sent_receipt"];

/// Rows by role and key.
pub(crate) type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// Opens the newest finished generation, as the store's documentation says.
fn open_sled(server: &FaultFs) -> anyhow::Result<sled::Db> {
    let folders = fs::read_dir(server.path().join("data/store")).context("the store's folder")?;
    let mut finished: Vec<PathBuf> = folders.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    finished.retain(|path| path.join("made").exists());
    finished.sort_unstable();
    let newest = finished.last().context("a finished generation")?;
    for entry in fs::read_dir(newest)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(sled::Config::new().path(newest).flush_every_ms(None).open()?)
}

/// Makes the store of a server that does not run one of version 1.
pub(crate) fn make_server_old(server: &FaultFs) -> anyhow::Result<()> {
    let db = open_sled(server)?;
    let layout = read(&db)?;
    let directory = layout.tree(&db, DIRECTORY)?;
    for row in directory.scan_prefix(b"a") {
        let (key, value) = row?;
        // The form of the record, and the kind of its content: in the row itself.
        let bytes = value.strip_prefix(&[2, 0]).context("a record of version 2 in its row")?;
        let new: AccountRecord = codec::decode(bytes)?;
        ensure!(new.blocked.is_empty() && new.reset.is_none(), "more than version 1 could say");
        let AccountRecord { revision, username, account, account_key, password_hash, list, .. } = new;
        let AccountRecord { devices, disabled, created_ms, .. } = new;
        let old = AccountRecordV1 {
            revision,
            username,
            account,
            account_key,
            password_hash,
            list,
            devices,
            disabled,
            created_ms,
        };
        directory.insert(key, [&[1, 0][..], &codec::encode(&old)?].concat())?;
    }
    // Version 1 did not count what waits.
    layout.tree(&db, QUEUE)?.remove(b"n")?;
    let old = Layout { version: 1, trees: layout.trees };
    db.open_tree(META_TREE)?.insert(LAYOUT_KEY, old.encode())?;
    db.flush()?;
    Ok(())
}

/// Lets the store of a server that does not run take at least this much on its disk, with what is in it unchanged.
pub(crate) fn grow(server: &FaultFs, bytes: usize) -> anyhow::Result<()> {
    let db = open_sled(server)?;
    let queue = read(&db)?.tree(&db, QUEUE)?;
    let value = vec![0x5a; 4096];
    let rows = u64::try_from(bytes / value.len())?;
    let keys = || (0..rows).map(|number| [&b"z"[..], &number.to_be_bytes()].concat());
    for key in keys() {
        queue.insert(key, value.as_slice())?;
    }
    db.flush()?;
    for key in keys() {
        queue.remove(key)?;
    }
    db.flush()?;
    Ok(())
}

/// The version of a server's store and all its rows but `meta`'s; read from a copy of the disk, which stays as it is.
pub(crate) fn server_rows(server: &FaultFs) -> anyhow::Result<(u32, Rows)> {
    let copy = server.mount_copy()?;
    let db = open_sled(&copy)?;
    let layout = read(&db)?;
    let mut rows = Rows::new();
    for role in [DIRECTORY, QUEUE, PREKEY] {
        for row in &layout.tree(&db, role)? {
            let (key, value) = row?;
            rows.insert((role.to_owned(), key.to_vec()), value.to_vec());
        }
    }
    Ok((layout.version, rows))
}

/// The store of a client's profile, opened with its password.
fn open_profile(client: &FaultFs, password: &str) -> anyhow::Result<Connection> {
    let store = find(client.path(), "store.db").context("the profile's store")?;
    let vault = fs::read(store.with_file_name("vault"))?;
    let mut reader = Reader::new(&vault);
    ensure!(reader.u8()? == 2, "a key file of version 2");
    ensure!(reader.count(1)? == 1, "one wrap");
    let _id: [u8; 8] = reader.array()?;
    let key = VaultKey::open(reader.bytes(1024)?, password).ok().context("the key")?;
    let connection = Connection::open(store)?;
    // Else SQLite maps a file of this disk, which this very process serves: unmapping it waits for itself.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    let mut hex = String::new();
    for byte in key.expose() {
        write!(hex, "{byte:02x}")?;
    }
    connection.pragma_update(None, "key", format!("x'{hex}'"))?;
    Ok(connection)
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries
        .map(|entry| entry.path())
        .find_map(|path| if path.is_dir() { find(&path, name) } else { path.ends_with(name).then_some(path) })
}

fn version(connection: &Connection) -> anyhow::Result<u32> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Names of tables and indices, and how they were made.
fn schema(connection: &Connection) -> anyhow::Result<BTreeMap<String, String>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes the store of a client that does not run one of version 1.
pub(crate) fn make_client_old(client: &FaultFs, password: &str) -> anyhow::Result<()> {
    let connection = open_profile(client, password)?;
    ensure!(version(&connection)? == CLIENT_VERSION, "today's version");
    for table in NEW_TABLES {
        connection.execute_batch(&format!("DROP TABLE {table}"))?;
    }
    connection.pragma_update(None, "user_version", 1)?;
    let first = Connection::open_in_memory()?;
    first.execute_batch(include_str!("../../../migrations/client/0001.sql"))?;
    ensure!(schema(&connection)? == schema(&first)?, "not what version 1 made");
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// The version of a client's store and how many rows each table of version 1 has; read from a copy of the disk, which stays
/// as it is. Fails if the store is damaged.
pub(crate) fn client_rows(client: &FaultFs, password: &str) -> anyhow::Result<(u32, BTreeMap<String, i64>)> {
    let copy = client.mount_copy()?;
    let connection = open_profile(&copy, password)?;
    let sound: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    ensure!(sound == "ok", "{sound}");
    let mut rows = BTreeMap::new();
    let tables = schema(&connection)?.into_iter().filter(|(_, sql)| sql.starts_with("CREATE TABLE"));
    for table in tables.map(|(name, _)| name).filter(|name| !NEW_TABLES.contains(&name.as_str())) {
        let count = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        rows.insert(table, count);
    }
    Ok((version(&connection)?, rows))
}

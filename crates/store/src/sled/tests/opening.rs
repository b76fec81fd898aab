use std::fs;

use super::*;
use crate::{
    conformance::{Person, envelope, put, tag},
    sled::{
        database::Database,
        folder::{Folder, Generation},
        row::{DeviceRow, MailboxRow, directory, queue},
    },
};
use sotto_proto::frame::FateState;

/// Opens the closed store's database, changes it, closes it: what a crash or an older program might leave.
pub(super) fn tamper(path: &Path, config: &StoreConfig, change: impl FnOnce(&Database)) {
    let folder = Folder::take(path).unwrap();
    let active = folder.active().unwrap().unwrap();
    let database = Database::open(&folder, active, config).unwrap();
    change(&database);
    database.sync().unwrap();
    database.close().unwrap();
}

#[test]
fn a_folder_belongs_to_one_at_a_time() {
    let engine = OnDisk::create(StoreConfig::default());
    let again = SledStore::open(&engine.path(), engine.config);
    assert_eq!(again.unwrap_err(), StoreError::InUse);
    let (folder, path, config) = engine.close();
    SledStore::open(&path, config).unwrap();
    SledStore::open(&folder.path().join("far/below/store"), config).unwrap();
}

#[test]
fn an_unfinished_creation_is_begun_again() {
    let engine = OnDisk::create(StoreConfig::default());
    let (_folder, path, config) = engine.close();
    fs::remove_file(path.join("g-1/made")).unwrap();
    fs::write(path.join("g-1/conf"), b"half").unwrap();
    let store = SledStore::open(&path, config).unwrap();
    Person::new("alice", 1).register(&store);
    assert!(path.join("g-1/made").exists());
}

#[test]
fn a_store_that_lost_its_marker_is_not_taken_for_an_unfinished_one() {
    let engine = OnDisk::create(StoreConfig::default());
    Person::new("alice", 1).register(engine.store());
    let (_folder, path, config) = engine.close();
    fs::remove_file(path.join("g-1/made")).unwrap();
    let found = SledStore::open(&path, config).map(drop);
    assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
    fs::write(path.join("g-1/made"), b"sotto store\n").unwrap();
    assert_eq!(SledStore::open(&path, config).unwrap().usage().wait().unwrap().accounts, 1);
}

#[test]
fn a_half_written_snapshot_is_not_read() {
    let engine = OnDisk::create(StoreConfig::default());
    Person::new("alice", 1).register(engine.store());
    let (_folder, path, config) = engine.close();
    fs::write(path.join("g-1/snap.7FFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    let store = SledStore::open(&path, config).unwrap();
    assert_eq!(store.usage().wait().unwrap().accounts, 1);
}

#[test]
fn data_of_a_newer_program_is_refused() {
    use sotto_migrations::server::{LAYOUT_KEY, Layout};
    let engine = OnDisk::create(StoreConfig::default());
    let (_folder, path, config) = engine.close();
    tamper(&path, &config, |database| {
        let newer = Layout { version: 7, ..Layout::new() };
        database.trees.meta.insert(LAYOUT_KEY, newer.encode()).unwrap();
    });
    assert_eq!(SledStore::version(&path, &config), Ok(Some(7)));
    let found = SledStore::open(&path, config).unwrap_err();
    assert_eq!(found, StoreError::TooNew { found: 7, known: 2 });
}

#[test]
fn a_removal_that_was_cut_short_is_finished() {
    let mut engine = OnDisk::create(StoreConfig::default());
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    for person in [&alice, &bob] {
        person.register(engine.store());
    }
    let first =
        put(engine.store(), 1, 1, (0..4).map(|number| envelope(alice.device, number, 9000)).collect());
    put(engine.store(), 2, 1, vec![envelope(bob.device, 10, 9000), envelope(bob.device, 11, 10)]);
    engine.store().put_prekeys(bob.device, PrekeyUpload::default()).wait().unwrap();
    let (folder, path, config) = engine.close();
    tamper(&path, &config, |database| {
        let row = |person: &Person| {
            let row = database.trees.directory.get(directory::device(&person.device)).unwrap().unwrap();
            DeviceRow::decode(&row).unwrap()
        };
        // An ack whose number was written, but not yet the removals; a device that left the directory alone.
        let acked = MailboxRow { acked: first.numbers[1].unwrap().0, lost_through: 0, begun: 0 };
        database.trees.queue.insert(queue::mailbox(row(&alice).queue), acked.encode()).unwrap();
        database.trees.directory.remove(directory::device(&bob.device)).unwrap();
    });
    let store = SledStore::open(&path, config).unwrap();
    engine = OnDisk { folder, config, store: Some(store), full: false };
    for _ in 0..2 {
        let store = engine.store();
        let waiting = store.read(alice.device, QueueNumber(0), usize::MAX).wait().unwrap();
        let numbers: Vec<_> = waiting.iter().map(|delivery| Some(delivery.number)).collect();
        assert_eq!(numbers, first.numbers[2..]);
        assert_eq!(store.mailbox(bob.device).wait(), Ok(None));
        let (taken, waiting, expired) = (FateState::Taken, FateState::Waiting, FateState::Expired);
        let fates = store.fates([0, 1, 2, 10, 11].map(tag).to_vec()).wait();
        assert_eq!(fates, Ok(vec![taken, taken, waiting, expired, expired]));
        let usage = store.usage().wait().unwrap();
        assert_eq!((usage.envelopes, usage.envelope_bytes), (2, 18_000));
        assert_eq!(fs::read_dir(engine.path().join("files")).unwrap().count(), 2);
        engine.reopen();
    }
}

/// The directory's batch of a reset was written, and nothing after it.
#[test]
fn a_reset_that_was_cut_short_is_finished() {
    let mut engine = OnDisk::create(StoreConfig::default());
    let (old, new) = (Person::new("alice", 1), Person::new("alice", 2));
    let record = old.register(engine.store());
    put(engine.store(), 1, 1, vec![envelope(old.device, 1, 9_000), envelope(old.device, 2, 10)]);
    engine.store().put_prekeys(old.device, conformance::upload(1, 1..4, 1..4)).wait().unwrap();
    let (folder, path, config) = engine.close();
    // What it writes is taken from a store in which it was not cut short.
    let whole = OnDisk::create(StoreConfig::default());
    let first = old.register(whole.store());
    let list = new.list(1, &[new.device]);
    whole.store().reset_account(&first, list.clone(), 5_000).wait().unwrap();
    let (whole, whole_path, whole_config) = whole.close();
    let mut rows = Vec::new();
    tamper(&whole_path, &whole_config, |database| {
        rows.extend(database.trees.directory.iter().map(Result::unwrap));
    });
    drop(whole);
    tamper(&path, &config, |database| {
        database.trees.directory.clear().unwrap();
        for (key, value) in rows {
            database.trees.directory.insert(key, value).unwrap();
        }
    });
    let store = SledStore::open(&path, config).unwrap();
    engine = OnDisk { folder, config, store: Some(store), full: false };
    for _ in 0..2 {
        let store = engine.store();
        assert_eq!(store.account(record.account).wait(), Ok(None));
        assert_eq!(store.account_by_name(&new.name).wait().unwrap().unwrap().list, list.as_bytes());
        assert_eq!(store.mailbox(old.device).wait(), Ok(None));
        assert_eq!(store.claim_prekeys(vec![old.device], true, 0).wait(), Ok(vec![None]));
        assert_eq!(store.fates(vec![tag(1), tag(2)]).wait(), Ok(vec![FateState::Expired; 2]));
        let usage = store.usage().wait().unwrap();
        assert_eq!((usage.accounts, usage.envelopes, usage.envelope_bytes), (1, 0, 0));
        assert_eq!(fs::read_dir(engine.path().join("files")).unwrap().count(), 0);
        engine.reopen();
    }
    let stored = put(engine.store(), 2, 1, vec![envelope(new.device, 3, 10)]);
    assert_eq!(stored.numbers.iter().flatten().count(), 1);
}

#[test]
fn files_that_no_row_names_are_removed() {
    let mut engine = OnDisk::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    let appended = put(engine.store(), 1, 1, vec![envelope(alice.device, 1, 10_000)]);
    let files = engine.path().join("files");
    for name in ["unfinished", "00000000000fffff", "not a number"] {
        fs::write(files.join(name), b"left over").unwrap();
    }
    engine.reopen();
    assert_eq!(fs::read_dir(&files).unwrap().count(), 1);
    engine.store().ack(alice.device, appended.numbers[0].unwrap()).wait().unwrap();
    assert_eq!(fs::read_dir(&files).unwrap().count(), 0, "removed with the ack");
}

#[test]
fn the_highest_finished_generation_is_the_store() {
    let engine = OnDisk::create(StoreConfig::default());
    Person::new("alice", 1).register(engine.store());
    let (_folder, path, config) = engine.close();
    let folder = Folder::take(&path).unwrap();
    let unfinished = folder.begin().unwrap();
    assert_eq!(folder.active().unwrap(), Some(Generation(1)));
    assert_eq!(unfinished, Generation(2));
    drop(folder);
    let store = SledStore::open(&path, config).unwrap();
    assert_eq!(store.usage().wait().unwrap().accounts, 1);
    assert!(!path.join("g-2").exists());
}

fn opened(path: &Path, config: &StoreConfig) -> (folder::Folder, folder::Generation, database::Database) {
    let folder = folder::Folder::take(path).unwrap();
    let active = folder.active().unwrap().unwrap();
    let database = database::Database::open(&folder, active, config).unwrap();
    (folder, active, database)
}

#[test]
fn each_store_has_a_salt_of_its_own_and_keeps_it() {
    let salt = || {
        let (_spare, path, config) = OnDisk::create(StoreConfig::default()).close();
        let read = || {
            let (_folder, _, database) = opened(&path, &config);
            let salt = database.salt().unwrap();
            database.close().unwrap();
            salt
        };
        let salt = read();
        assert_eq!(read(), salt);
        salt
    };
    assert_ne!(salt(), salt());
}

#[test]
fn a_database_that_was_closed_is_free_at_once() {
    let (_spare, path, config) = OnDisk::create(StoreConfig::default()).close();
    // Each time sled's threads have their chance to be late.
    for _ in 0..20 {
        let (folder, active, database) = opened(&path, &config);
        database.close().unwrap();
        assert_eq!(folder::wait_until_free(&folder.generation(active), std::time::Duration::ZERO), Ok(()));
    }
}

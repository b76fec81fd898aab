use std::fs;

use super::*;
use crate::{
    conformance::{Person, envelope, put, tag},
    sled::files::bytes_on_disk,
};

/// Writes and removes until the database's file is many times its live bytes.
fn churned(config: StoreConfig) -> OnDisk {
    let engine = OnDisk::create(config);
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    for round in 0..15_u64 {
        let submissions: Vec<_> = (0..12)
            .map(|submission| {
                let first = (round * 12 + submission) * 40;
                let envelopes =
                    (first..first + 40).map(|number| envelope(alice.device, number, 5000)).collect();
                let key = crate::conformance::key(round * 12 + submission);
                engine.store().append(Submission { key, envelopes, now_ms: 1 })
            })
            .collect();
        for pending in submissions {
            pending.wait().unwrap();
        }
        if round < 14 {
            take_all(engine.store());
        }
    }
    put(engine.store(), 10_000, 1, vec![envelope(alice.device, 10_000, 20_000)]);
    engine
}

fn all(store: &SledStore) -> Vec<Delivery> {
    store.read(Person::new("alice", 1).device, QueueNumber(0), usize::MAX).wait().unwrap()
}

fn take_all(store: &SledStore) {
    let last = all(store).last().unwrap().number;
    store.ack(Person::new("alice", 1).device, last).wait().unwrap();
}

#[test]
fn compaction_gives_space_back_and_loses_nothing() {
    let engine = churned(StoreConfig::default());
    let before = all(engine.store());
    assert_eq!(before.len(), 481);
    let fates = engine.store().fates((0..8000).map(tag).collect()).wait().unwrap();
    let mailbox = engine.store().mailbox(Person::new("alice", 1).device).wait();
    let (_folder, path, config) = engine.close();
    let old_size = bytes_on_disk(&path.join("g-1/db"));
    compact(&path, &config).unwrap();
    let new_size = bytes_on_disk(&path.join("g-2/db"));
    println!("{old_size} to {new_size} bytes");
    assert!(new_size < old_size);
    assert!(!path.join("g-1").exists());
    let store = SledStore::open(&path, config).unwrap();
    assert_eq!(all(&store), before);
    assert_eq!(store.fates((0..8000).map(tag).collect()).wait().unwrap(), fates);
    assert_eq!(store.mailbox(Person::new("alice", 1).device).wait(), mailbox);
}

#[test]
fn a_store_far_above_its_live_bytes_is_compacted_when_it_opens() {
    let config = StoreConfig { compact_floor_bytes: 8 * 1024 * 1024, ..StoreConfig::default() };
    let mut engine = churned(config);
    let alice = Person::new("alice", 1);
    take_all(engine.store());
    put(engine.store(), 10_001, 1, vec![envelope(alice.device, 10_001, 4000)]);
    let before = all(engine.store());
    engine.reopen();
    assert!(engine.path().join("g-2/made").exists() && !engine.path().join("g-1").exists());
    assert_eq!(all(engine.store()), before);
    engine.reopen();
    assert!(engine.path().join("g-2/made").exists(), "once is enough");
}

#[test]
fn a_compaction_that_was_cut_short_leaves_one_whole_store() {
    let engine = churned(StoreConfig::default());
    let before = all(engine.store());
    let (_folder, path, config) = engine.close();
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(path.join("g-1")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    compact(&path, &config).unwrap();
    // Cut before the old generation was removed: both have their marker, the new one is the store.
    let old = path.join("g-1");
    fs::create_dir_all(old.join("blobs")).unwrap();
    for entry in fs::read_dir(copy.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), old.join(entry.file_name())).unwrap();
    }
    let store = SledStore::open(&path, config).unwrap();
    assert_eq!(all(&store), before);
    assert!(!old.exists());
    drop(store);
    // Cut before the marker: the new one is nothing yet.
    fs::rename(path.join("g-2"), path.join("g-3")).unwrap();
    fs::create_dir(path.join("g-4")).unwrap();
    fs::write(path.join("g-4/db"), [1; 5000]).unwrap();
    let store = SledStore::open(&path, config).unwrap();
    assert_eq!(all(&store), before);
    assert!(!path.join("g-4").exists());
}

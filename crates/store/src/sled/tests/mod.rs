#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod compaction;
mod damage;
mod dump;
mod fixture;
mod opening;
mod running;

use std::fs;

use proptest::{prelude::ProptestConfig, proptest};
use tempfile::TempDir;

use super::*;
use crate::{
    MemoryStore,
    conformance::{self, Engine, Script, apply},
};

/// A store in a temporary folder.
pub(super) struct OnDisk {
    folder: TempDir,
    config: StoreConfig,
    store: Option<SledStore>,
    full: bool,
}

impl OnDisk {
    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Closes it, and hands out the folder.
    fn close(mut self) -> (TempDir, PathBuf, StoreConfig) {
        self.store().close().wait().unwrap();
        self.store = None;
        let path = self.path();
        (self.folder, path, self.config)
    }
}

/// What is in the files at this moment.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What compaction takes the rows for that are not counted when a store is opened, and what they are.
fn side_bytes(store: &SledStore) -> (u64, u64) {
    let look = store.look(|shared| {
        let state = shared.trees.meta.get(database::STATE)?.expect("a state");
        let told = row::StateRow::decode(&state)?.side_bytes;
        let side = [row::queue::SUBMISSION, row::queue::FATE, row::queue::EXPIRY];
        let queue =
            shared.trees.queue.iter().filter(|row| row.as_ref().is_ok_and(|(key, _)| side.contains(&key[0])));
        let found = queue
            .chain(shared.trees.prekey.iter())
            .map(|row| row.map(|(key, value)| key.len() + value.len()));
        Ok((told, found.sum::<Result<usize, _>>()? as u64))
    });
    look.wait().unwrap()
}

/// A small cache, so that rows come from the disk; no reserve, so that a full machine fails no test.
fn small(config: StoreConfig) -> StoreConfig {
    StoreConfig { cache_bytes: 1024 * 1024, disk_reserve_bytes: 0, ..config }
}

impl Engine for OnDisk {
    type Store = SledStore;

    fn create(config: StoreConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = small(config);
        let store = SledStore::open(&folder.path().join("store"), config).unwrap();
        Self { folder, config, store: Some(store), full: false }
    }

    fn store(&self) -> &SledStore {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store().close().wait().unwrap();
        self.store = None;
        let store = SledStore::open(&self.path(), self.config).unwrap();
        store.pretend_disk_full(self.full);
        self.store = Some(store);
    }

    fn set_disk_full(&mut self, full: bool) {
        self.full = full;
        self.store().pretend_disk_full(full);
    }
}

#[test]
fn the_sled_engine_conforms() {
    conformance::all::<OnDisk>();
}

/// Small mailboxes, so that scripts fill them; a short retention, so that everything ends within a script's time.
fn scripted() -> StoreConfig {
    StoreConfig {
        mailbox_envelopes: 12,
        mailbox_floor_places: 5,
        mailbox_bytes: 40_000,
        retention_ms: 10 * sotto_proto::limits::DAY_MS,
        ..StoreConfig::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_engines_show_the_same(operations in conformance::operations()) {
        let mut memory = MemoryStore::new(scripted());
        let mut sled = OnDisk::create(scripted());
        let (mut left, mut right) = (Script::default(), Script::default());
        for operation in &operations {
            let expected = apply(&mut memory, &mut left, operation);
            assert_eq!(apply(&mut sled, &mut right, operation), expected, "{operation:?}");
            assert_eq!(right.view(sled.store()), left.view(&memory), "after {operation:?}");
        }
        sled.reopen();
        assert_eq!(right.view(sled.store()), left.view(&memory));
    }
}

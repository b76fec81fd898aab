use tempfile::TempDir;

use super::*;
use crate::conformance::{self, Engine};

struct OnDisk {
    folder: TempDir,
    config: StoreConfig,
    store: Option<SledStore>,
    full: bool,
}

impl OnDisk {
    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }
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

//! Writes the fixture of the store's current version:
//! `cargo run -p sotto-store --features testing --example fixture -- migrations/fixtures/server-vN.dump`. Done once for
//! each released version; `sled/tests/fixture.rs` then reads all of them for ever.

#![allow(clippy::expect_used, missing_docs)]

use sotto_store::{SledStore, StoreConfig, conformance};

fn main() {
    let path = std::env::args_os().nth(1).expect("give the path of the file to write");
    let path = std::path::PathBuf::from(path);
    assert!(!path.exists(), "a fixture that exists is never written again");
    let folder = tempfile::tempdir().expect("a folder");
    let store = SledStore::open(&folder.path().join("store"), StoreConfig::default()).expect("open");
    conformance::fill(&store);
    store.export(path).wait().expect("export");
}

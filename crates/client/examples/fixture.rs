//! Writes the fixture of the client store's current version: `cargo run -p sotto-client --example fixture -- PATH`.
//! Done once for each released version; `tests/fixture.rs` then opens all of them for ever.

#![allow(clippy::expect_used, clippy::indexing_slicing, missing_docs)]

#[path = "../tests/support/fixture.rs"]
#[allow(dead_code, unreachable_pub)]
mod fixture;

use sotto_client::store::LocalStore;

fn main() {
    let path = std::env::args().nth(1).expect("give the path of the file to write");
    let path = std::path::Path::new(&path);
    assert!(!path.exists(), "a fixture that exists is never written again");
    let mut store = LocalStore::open(path, &fixture::KEY).expect("open");
    fixture::fill(&mut store).expect("fill");
}

//! What every engine must do. An engine's tests hand in an [`Engine`] and call [`all`]; each check starts on a fresh
//! store, and opens it again where the contract speaks of restarts. A check that fails panics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod accounts;
mod endings;
mod fixture;
mod invites;
mod mailboxes;
mod model;
mod prekeys;
mod released;
mod submissions;

use crate::{Store, StoreConfig};

pub use fixture::{Person, envelope, key, outcomes, put, tag, upload};
pub use model::{Operation, Script, apply, operations};
pub use released::{fill, fixture_invite, lived_in};

/// One store that can be closed and opened again.
pub trait Engine: Sync {
    /// What the store is.
    type Store: Store;

    /// A fresh, empty store.
    fn create(config: StoreConfig) -> Self;

    /// The open store.
    fn store(&self) -> &Self::Store;

    /// Closes it and opens it again on the same data.
    fn reopen(&mut self);

    /// Lets the disk count as full, or not.
    fn set_disk_full(&mut self, full: bool);
}

/// Runs every check.
pub fn all<E: Engine>() {
    accounts::all::<E>();
    endings::all::<E>();
    invites::all::<E>();
    prekeys::all::<E>();
    submissions::all::<E>();
    mailboxes::all::<E>();
}

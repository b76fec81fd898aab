//! The IO around the core: the profile's folder and its lock, the key file, TLS, the reconnecting loop, and the local
//! socket through which further programs use a profile that has an owner.
//!
//! ```text
//! face ── Client ──┬── Driver (run.rs) ── Engine (a thread: store and core, one transaction a batch)
//!                  │        └─ Connection (TLS; a reading and a writing task)
//! face ── Client ──┴─ local socket (attach.rs ── socket.rs)
//! ```
//! The driver decides nothing that the core could decide. Its one rule: what the core gives out is performed after the
//! transaction that it came from has been committed, in order, and not at all if the commit failed.

mod attach;
mod backoff;
mod client;
mod clock;
mod connection;
mod engine;
mod errors;
mod events;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod link;
mod local;
mod password;
mod profile;
mod request;
mod run;
mod socket;
mod vault;

pub use client::{Client, ClientOptions, all_ended};
pub use errors::server_error;
pub use events::{Events, Notice, State};
pub use profile::{OpenProfile, Profile};

pub(crate) use clock::now_ms;
pub(crate) use connection::Connection;
pub(crate) use profile::{StoreKey, off_thread};

/// The operating system's generator. It fails only where the system has none, and there nothing can be done safely.
pub fn os_rng() -> rand_core::UnwrapErr<rand::rngs::SysRng> {
    rand_core::UnwrapErr(rand::rngs::SysRng)
}

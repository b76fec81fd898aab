//! What the server keeps: accounts, prekeys, mailboxes. [`Store`] is the trait; `memory` is for tests, `sled` is the
//! engine that the daemon runs on.

pub mod account;
pub mod config;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod conformance;
pub mod dump;
pub mod ended;
pub mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod invite;
pub mod mailbox;
pub mod memory;
mod quota;
pub mod sled;
mod store;

pub use account::{AccountRecord, CreateOutcome, Day, NewAccount, ReplaceOutcome, WaitingReset};
pub use config::StoreConfig;
pub use ended::Ending;
pub use error::StoreError;
pub use invite::{Invite, InviteHash};
pub use mailbox::{AckOutcome, Appended, Delivery, NewEnvelope, Submission, SubmissionKey, Usage};
pub use memory::MemoryStore;
pub use sled::SledStore;
pub use sotto_migrations::server::{SERVER_VERSION, StepAhead, steps_from};
pub use store::{Pending, Promise, Store};

//! What the server keeps: accounts, prekeys, mailboxes. [`Store`] is the trait; `memory` is for tests, `sled` is the
//! engine that the daemon runs on.

pub mod account;
pub mod error;
pub mod mailbox;
mod store;

pub use account::{AccountRecord, CreateOutcome, NewAccount, ReplaceOutcome};
pub use error::StoreError;
pub use mailbox::{Appended, Delivery, NewEnvelope, Submission, SubmissionKey, Usage};
pub use store::{Pending, Promise, Store};

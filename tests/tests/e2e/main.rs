//! The real programs, end to end: what people type, what scripts read, and what goes wrong.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod attacks;
mod chat;
mod conversation;
mod crowd;
mod directory;
mod disk;
mod enrolment;
mod errors;
mod hostile;
mod household;
mod identity;
mod lies;
mod limits;
mod plaintext;
mod race;
mod rotation;
mod start;
mod store;
mod town;

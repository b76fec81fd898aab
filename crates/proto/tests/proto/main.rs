//! What the wire format promises: bytes that never change, values that come back, bytes that never panic, signatures
//! that hold only for what was signed, and limits that fit each other. The specification is `docs/spec/wire.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod address;
mod chain;
mod content;
mod envelope;
mod frames;
mod hostile;
mod identity;
mod limits;
mod prekeys;
mod samples;
mod snapshot;
mod specification;
mod strategies;

//! The failing disk itself: what it forgets, what it keeps, how it fails, and that it shows a known fault of a real store.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod durability;
mod faults;
mod programs;
mod sled;
mod strikes;

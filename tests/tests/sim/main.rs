//! Simulation: the real client and server cores, one thread, virtual time, an in-memory network and store. Everything
//! is driven by a printed seed, so what fails can be repeated.
//!
//! `SOTTO_SIM_SEEDS=N` runs N seeds of the random test in place of the short fixed part.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod random;
mod scenarios;
mod world;

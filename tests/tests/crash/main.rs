//! Nothing is lost, doubled or reordered when programs are killed and when the power fails.
//!
//! A short part runs by default. `SOTTO_CRASH_ROUNDS` (rounds of each kind), `SOTTO_CRASH_MESSAGES` (messages a round) and
//! `SOTTO_CRASH_SEED` (the first round's seed) make it longer or repeat one round; each round prints its seed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod delivery;
mod plan;
mod power;
mod recipient;
mod server;
mod world;

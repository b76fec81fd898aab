//! Nothing is lost, doubled or reordered when programs are killed and when the power fails.
//!
//! Programs are killed at random moments (`server`, `recipient`), and at chosen points: before or after the n-th write, sync
//! or change of a name on their disk (`points_sending`, `points_opening`), which is where a crash can make a difference. Disks break at random operations
//! (`broken`) and lose what was not synced (`power`).
//!
//! A short part runs by default. `SOTTO_CRASH_ROUNDS` (rounds of each kind), `SOTTO_CRASH_MESSAGES` (messages a round) and
//! `SOTTO_CRASH_SEED` (the first round's seed) make it longer or repeat one round; each round prints its seed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod accounts;
mod broken;
mod delivery;
mod old_stores;
mod plan;
mod points;
mod points_opening;
mod points_sending;
mod power;
mod recipient;
mod server;
mod stage;
mod world;

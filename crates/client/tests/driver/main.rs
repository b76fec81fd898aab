//! The driver and the setup against a real server: a process of its own, which these tests start, kill and restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod accounts;
mod attach;
mod conversation;
mod full_disk;
mod living;
mod server;
mod world;

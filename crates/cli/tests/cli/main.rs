//! `sotto` as scripts and people meet it: the program is started, and its output and exit code are looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod alone;
mod shape;
mod stage;
mod terminal;
mod together;
mod trouble;

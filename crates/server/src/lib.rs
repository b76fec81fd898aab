//! The server daemon `sottod`: relays ciphertext that it has no code to read.
//!
//! [`core`] decides, without any IO; `shell` holds the sockets, tasks and clocks around it. The specification is in
//! `docs/spec/server.md`.

mod cli;
mod commands;
mod config;
pub mod core;
mod duration;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod log;
mod nearest;
mod qr;
mod shell;
mod storage;
mod tap;

pub use commands::{main_from, main_tapped};
pub use tap::{Tap, Untapped};

use std::io::Write as _;

/// Prints to stdout. A reader that has gone away is no reason to end.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

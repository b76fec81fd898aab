//! The bodies of the fuzz targets. `fuzz/` at the top makes programs for libFuzzer of them (with cargo-fuzz), and the test
//! `replay` runs each over its committed corpus, `fuzz/corpus/TARGET`, in an ordinary build.
//!
//! A target takes bytes and panics when something does not hold. Everything in it follows from the bytes: randomness comes
//! from seeded generators, and time is an argument.

// A target reports by panicking, and indexes what it made itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc
)]

mod client_records;
mod config;
mod content;
mod envelope;
mod export;
mod frames;
mod handshake;
mod input;
mod lists;
mod ratchet;
pub mod seeds;
mod server_records;
mod session;
mod terminal;
mod world;

pub use client_records::client_records;
pub use config::config;
pub use content::content;
pub use envelope::envelope;
pub use export::export;
pub use frames::frames;
pub use handshake::handshake;
pub use lists::lists;
pub use ratchet::ratchet;
pub use server_records::server_records;
pub use session::session;
pub use terminal::terminal;

/// A target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("client_records", client_records),
    ("config", config),
    ("content", content),
    ("envelope", envelope),
    ("export", export),
    ("frames", frames),
    ("handshake", handshake),
    ("lists", lists),
    ("ratchet", ratchet),
    ("server_records", server_records),
    ("session", session),
    ("terminal", terminal),
];

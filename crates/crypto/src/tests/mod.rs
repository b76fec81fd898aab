//! Tests over several files of the crate; those of one file stand in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod conversation;
mod device;
mod healing;
mod hostile;
mod known_answers;
mod parsers;
mod random_events;
mod sessions;
mod skipping;
mod vectors;

/// Hexadecimal text as bytes.
fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

//! A line editor for one line that stays below what arrives. Bytes of a terminal go in, keys and lines come out, and what has
//! to be written so that the screen is right; nothing here reads or writes by itself but [`tty`].
//!
//! It is our own because rustyline's printer can bring two messages into the wrong order or block when a line is entered
//! at the moment in which they arrive, its prompt cannot be changed or taken away while it waits, and a thread that waits
//! in it cannot be ended.

mod console;
mod editor;
mod fold;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod keys;
mod screen;
mod tty;
mod view;

pub(super) use self::console::{Console, Heard};
pub(crate) use self::tty::restore;

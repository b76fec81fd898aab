//! Shared parts of the test programs in `tests/`: the real programs under control, a disk that fails on demand, and a
//! search for planted text.

#[cfg(target_os = "linux")]
pub mod faultfs;
pub mod planted;
mod programs;
pub mod running;
pub mod screen;
pub mod sotto;
pub mod sottod;

//! Shared parts of the test programs in `tests/`: a disk that fails on demand, and the real programs under control.

#[cfg(target_os = "linux")]
pub mod faultfs;

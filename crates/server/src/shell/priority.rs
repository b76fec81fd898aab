//! Threads that stand back for others.

use rustix::{
    io::Result,
    process::{getpriority_process, setpriority_process},
};
use tracing::debug;

/// Behind those who serve who has signed in: the lobby, and who verifies signatures, for one or the other.
pub(super) const BEHIND_INSIDERS: i32 = 5;
/// Behind all others: a flood of passwords takes only the processor time that is left.
pub(super) const BEHIND_ALL: i32 = 10;

/// Lowers the calling thread's priority by so many steps; with each it gets a fifth less of what others want too. On Linux priorities are
/// those of threads. Where it is refused, the thread goes on as it is.
pub(super) fn stand_back(by: i32) {
    // Relative to what the operator gave the whole server.
    let lowered = || -> Result<()> { setpriority_process(None, getpriority_process(None)? + by) };
    if let Err(error) = lowered() {
        debug!("the priority of a thread stays: {error}");
    }
}

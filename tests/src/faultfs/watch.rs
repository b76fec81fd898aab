//! One chosen operation of a program: operations are counted, and when the chosen one comes, the program is killed or the
//! disk breaks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::faults::{Answer, On};

/// How long the chosen operation takes before the program dies of it: what the program wrongly did not wait for has left by
/// then. A disk may be that slow at any time; a memory file system never is.
const SLOW: Duration = Duration::from_millis(30);

/// Which operations count: of these kinds, on a path that contains this part (`""`: all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    /// The kinds.
    pub on: Vec<On>,
    /// Part of the path.
    pub path_part: String,
}

impl Which {
    /// Operations of these kinds on paths that contain this.
    pub fn new(on: &[On], path_part: &str) -> Self {
        Self { on: on.to_vec(), path_part: path_part.to_owned() }
    }
}

/// What happens when the chosen operation comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// SIGKILL for the program; the operation is not done.
    KillBefore,
    /// The operation is done; SIGKILL for the program before it hears of it.
    KillAfter,
    /// The disk breaks, first for this operation.
    Break(Break),
}

/// How a disk breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Room for this many more bytes.
    Full(u64),
    /// Nothing can be changed.
    ReadOnly,
    /// Every operation of this kind fails.
    Fails(On, Answer),
}

/// What is counted and waited for.
#[derive(Debug, Default)]
pub(super) struct Watch {
    which: Option<Which>,
    counted: BTreeMap<On, u64>,
    strike: Option<(u64, Strike)>,
    struck: bool,
    /// The program that was killed. None of its operations is done any more, also of those that were on their way.
    killed: Option<u32>,
}

impl Watch {
    pub(super) fn begin(&mut self, which: Which, strike: Option<(u64, Strike)>) {
        *self = Self { which: Some(which), strike, killed: self.killed, ..Self::default() };
    }

    pub(super) fn end(&mut self) {
        self.which = None;
        self.strike = None;
    }

    pub(super) fn counted(&self, on: On) -> u64 {
        self.counted.get(&on).copied().unwrap_or(0)
    }

    pub(super) fn waits(&self) -> bool {
        self.strike.is_some()
    }

    pub(super) fn struck(&self) -> bool {
        self.struck
    }

    /// Whether the thread belongs to a program that was killed.
    pub(super) fn is_dead(&self, thread: u32) -> bool {
        self.killed.is_some_and(|program| Path::new(&format!("/proc/{program}/task/{thread}")).exists())
    }

    /// Counts an operation of a thread; answers what is to happen at it. The test's own operations do not count.
    pub(super) fn arrives(&mut self, thread: u32, on: On, path: impl FnOnce() -> String) -> Option<Strike> {
        let which = self.which.as_ref()?;
        if !which.on.contains(&on) || is_own(thread) || !path().contains(&which.path_part) {
            return None;
        }
        *self.counted.entry(on).or_default() += 1;
        let all: u64 = self.counted.values().sum();
        let (_, strike) = self.strike.take_if(|(nth, _)| *nth == all)?;
        self.struck = true;
        Some(strike)
    }

    /// SIGKILL for the program that a thread belongs to, after the operation has taken its time. When this returns, none of its
    /// threads runs any code of the program's but what is on a processor at this very moment.
    pub(super) fn kill(&mut self, thread: u32) {
        std::thread::sleep(SLOW);
        self.killed = program_of(thread);
        let pid = self.killed.and_then(|program| i32::try_from(program).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // One that has just ended by itself needs none.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Whether it is a thread of this process, or of the kernel.
fn is_own(thread: u32) -> bool {
    thread == 0 || Path::new(&format!("/proc/self/task/{thread}")).exists()
}

fn program_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

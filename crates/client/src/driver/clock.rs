//! The two clocks, and the moment at which they part.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How far the wall clock and the monotonic clock may part between two looks before the machine is taken to
/// have slept, or its clock to have been set: far above any correction by a time daemon that slews, far below the keep-alive.
const JUMP: Duration = Duration::from_secs(10);

/// Unix milliseconds. A clock before 1970 counts as 1970.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Notices that the machine slept, or that its clock was set: timers of the monotonic clock did not run meanwhile, and
/// connections may be dead without a word.
#[derive(Debug)]
pub(super) struct SleepWatch {
    wall_ms: u64,
    steady: Instant,
}

impl SleepWatch {
    /// Starts to watch.
    pub(super) fn new(wall_ms: u64, steady: Instant) -> Self {
        Self { wall_ms, steady }
    }

    /// Whether the clocks have parted since the last look.
    pub(super) fn jumped(&mut self, wall_ms: u64, steady: Instant) -> bool {
        let passed = steady.saturating_duration_since(self.steady);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let expected_ms = self.wall_ms.saturating_add(passed_ms);
        self.wall_ms = wall_ms;
        self.steady = steady;
        Duration::from_millis(wall_ms.abs_diff(expected_ms)) > JUMP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_shows_once_and_so_does_a_clock_that_is_set() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut watch = SleepWatch::new(1_000_000, start);
        assert!(!watch.jumped(1_015_000, after(15)));
        assert!(!watch.jumped(1_034_000, after(30)), "four seconds of slew are no sleep");
        assert!(watch.jumped(4_634_000, after(45)), "an hour passed outside");
        assert!(!watch.jumped(4_649_000, after(60)));
        assert!(!watch.jumped(4_655_000, after(75)), "nine seconds back are none");
        assert!(watch.jumped(1_000, after(90)), "set back");
        assert!(!watch.jumped(16_000, after(105)));
    }
}

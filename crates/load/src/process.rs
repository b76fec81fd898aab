//! What a process costs, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// A process to watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// Processor time so far, user and system, of all threads; the kernel counts in ticks of usually 10 ms.
    pub(crate) fn cpu(self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).context("the process has ended")?;
        ticks(&stat)
            .map(|ticks| Duration::from_secs(ticks) / tick_rate())
            .context("/proc/PID/stat is not as known")
    }

    /// Anonymous memory that is resident, in KiB: what the process itself holds, without its code and mapped files.
    pub(crate) fn memory_kib(self) -> anyhow::Result<u64> {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.0)).context("the process has ended")?;
        memory(&status).context("/proc/PID/status has no RssAnon")
    }
}

fn tick_rate() -> u32 {
    u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100)
}

/// utime and stime: fields 14 and 15; the name in field 2 may hold anything, so counting begins behind it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn memory(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "77 (a) b 1 (x) S 1 77 77 0 -1 4194560 1 2 3 4 250 31 5 6 20 0 9 0 100 1 1";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("77 (x) S 1"), None);
        assert_eq!(memory("Name:\tx\nRssAnon:\t    1234 kB\n"), Some(1234));
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = Process(std::process::id());
        assert!(own.memory_kib().unwrap() > 0);
        let before = own.cpu().unwrap();
        let begun = Instant::now();
        let mut sum = 0u64;
        while own.cpu().unwrap() == before && begun.elapsed() < Duration::from_secs(60) {
            sum = std::hint::black_box((0..100_000u64).fold(sum, u64::wrapping_add));
        }
        assert!(own.cpu().unwrap() > before, "work is counted");
    }
}

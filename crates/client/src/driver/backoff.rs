//! When to try the server again.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// The range of the first wait: a server that restarts is back after about this long.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait: after an outage everybody is back within half a minute, spread over it.
const LONGEST: Duration = Duration::from_secs(30);
/// No wait is shorter, so that a server that refuses at once is not asked in a tight loop.
const SHORTEST: Duration = Duration::from_millis(50);
/// A login that held this long starts the row anew; a server that falls over at each login does not.
const STABLE: Duration = Duration::from_secs(5);

/// Exponential backoff with full jitter: a wait is drawn evenly from zero to a bound that doubles with each failure, so
/// that clients that lost their server in one moment do not come back in one moment.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    online_since: Option<Instant>,
}

impl Backoff {
    /// The login succeeded.
    pub(super) fn online(&mut self, now: Instant) {
        self.online_since = Some(now);
    }

    /// The connection broke or did not come about: how long to wait.
    pub(super) fn failed(&mut self, now: Instant, rng: &mut impl Rng) -> Duration {
        let stable =
            self.online_since.take().is_some_and(|since| now.saturating_duration_since(since) >= STABLE);
        if stable {
            self.failures = 0;
        }
        let bound = FIRST.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1).min(16);
        bound.mul_f64(rng.random_range(0.0..=1.0)).max(SHORTEST)
    }

    /// Somebody asks, or the machine woke up: begin anew.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn waits_grow_to_the_cap_with_full_jitter() {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(1);
        for failures in 0..40u32 {
            let bound = FIRST.saturating_mul(1 << failures.min(12)).min(LONGEST);
            let waits: Vec<_> = (0..200)
                .map(|_| Backoff { failures: failures.min(16), online_since: None }.failed(now, &mut rng))
                .collect();
            assert!(waits.iter().all(|wait| *wait <= bound && *wait >= SHORTEST));
            assert!(waits.iter().any(|wait| *wait > bound.mul_f64(0.9)), "the upper end is reached");
            assert!(waits.iter().any(|wait| *wait < bound.mul_f64(0.3)), "and the lower");
        }
    }

    #[test]
    fn only_a_login_that_held_starts_anew() {
        let start = Instant::now();
        let mut rng = StdRng::seed_from_u64(2);
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.failed(start, &mut rng);
        }
        backoff.online(start);
        backoff.failed(start + STABLE / 2, &mut rng);
        assert_eq!(backoff.failures, 11);
        backoff.online(start);
        assert!(backoff.failed(start + STABLE, &mut rng) <= FIRST);
        backoff.failed(start, &mut rng);
        backoff.reset();
        assert!(backoff.failed(start, &mut rng) <= FIRST);
    }
}

//! Token buckets: so many at once, then so many a time.

use std::{collections::HashMap, hash::Hash};

/// Keys remembered; beyond this the full buckets are forgotten, which changes nothing for their owners.
const REMEMBERED: usize = 50_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Milliseconds of refilling that are used up.
    used_ms: u64,
    at_ms: u64,
}

/// A bucket for each key.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rows: HashMap<K, Bucket>,
    burst: u64,
    refill_ms: u64,
}

impl<K: Hash + Eq> Buckets<K> {
    /// `burst` at once, and one more every `refill_ms`.
    pub(super) fn new(burst: u64, refill_ms: u64) -> Self {
        Self { rows: HashMap::new(), burst, refill_ms }
    }

    /// From now on so many at once.
    pub(super) fn set_burst(&mut self, burst: u64) {
        self.burst = burst;
    }

    /// Takes `count` tokens (at most `burst`) or none; `Err` holds the milliseconds until there are enough.
    pub(super) fn take(&mut self, key: K, count: u64, now_ms: u64) -> Result<(), u64> {
        let (whole, refill_ms, count) = (self.whole_ms(), self.refill_ms, count.min(self.burst));
        let bucket = self.bucket(key, now_ms);
        let after = bucket.used_ms.saturating_add(count.saturating_mul(refill_ms));
        if after > whole {
            return Err(after - whole);
        }
        bucket.used_ms = after;
        Ok(())
    }

    /// Takes `count` tokens also where there are not so many: the milliseconds until what was taken has dripped in, and at
    /// most `longest_ms`, beyond which nothing more is owed. Who comes later waits for longer, so nobody is overtaken.
    pub(super) fn spend(&mut self, key: K, count: u64, now_ms: u64, longest_ms: u64) -> u64 {
        let (whole, refill_ms) = (self.whole_ms(), self.refill_ms);
        let bucket = self.bucket(key, now_ms);
        let used_ms = bucket.used_ms.saturating_add(count.saturating_mul(refill_ms));
        bucket.used_ms = used_ms.min(whole.saturating_add(longest_ms));
        bucket.used_ms.saturating_sub(whole)
    }

    /// The milliseconds until one token can be taken, 0 for now.
    pub(super) fn wait_ms(&mut self, key: K, now_ms: u64) -> u64 {
        let (whole, refill_ms) = (self.whole_ms(), self.refill_ms);
        self.bucket(key, now_ms).used_ms.saturating_add(refill_ms).saturating_sub(whole)
    }

    /// All are full again.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }

    /// What fills an empty bucket, milliseconds.
    fn whole_ms(&self) -> u64 {
        self.burst.saturating_mul(self.refill_ms)
    }

    /// A bucket as it is by now.
    fn bucket(&mut self, key: K, now_ms: u64) -> &mut Bucket {
        if self.rows.len() >= REMEMBERED && !self.rows.contains_key(&key) {
            self.sweep(now_ms);
        }
        let bucket = self.rows.entry(key).or_insert(Bucket { used_ms: 0, at_ms: now_ms });
        bucket.used_ms = bucket.used_ms.saturating_sub(now_ms.saturating_sub(bucket.at_ms));
        bucket.at_ms = now_ms;
        bucket
    }

    /// Forgets the buckets that are full again.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        self.rows.retain(|_, bucket| bucket.at_ms.saturating_add(bucket.used_ms) > now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_it_drips() {
        let mut buckets = Buckets::new(3, 100);
        assert_eq!(buckets.take("a", 2, 1_000), Ok(()));
        assert_eq!(buckets.take("a", 2, 1_000), Err(100));
        assert_eq!(buckets.take("a", 1, 1_000), Ok(()));
        assert_eq!(buckets.take("b", 3, 1_000), Ok(()), "each has a bucket of its own");
        assert_eq!(
            (buckets.wait_ms("a", 1_000), buckets.wait_ms("b", 1_000), buckets.wait_ms("c", 1_000)),
            (100, 100, 0)
        );
        assert_eq!(buckets.take("a", 1, 1_050), Err(50));
        assert_eq!(buckets.take("a", 1, 1_100), Ok(()));
        buckets.sweep(5_000);
        assert!(buckets.rows.is_empty());
    }

    #[test]
    fn what_is_spent_beyond_the_burst_is_waited_for() {
        let mut buckets = Buckets::new(3, 100);
        let mut spend = |key, count, now_ms| buckets.spend(key, count, now_ms, 650);
        assert_eq!(spend("a", 3, 1_000), 0);
        assert_eq!(spend("a", 5, 1_000), 500);
        assert_eq!(spend("a", 1, 1_000), 600, "who comes later waits for longer");
        assert_eq!(spend("a", 50, 1_000), 650, "but not without end");
        assert_eq!(spend("b", 1, 1_000), 0);
        assert_eq!(spend("a", 0, 1_600), 50);
        assert_eq!(spend("a", 0, 1_650), 0);
        assert_eq!(buckets.take("a", 1, 1_650), Err(100), "the burst comes back afterwards");
        buckets.clear();
        assert_eq!(buckets.take("a", 3, 1_650), Ok(()));
    }
}

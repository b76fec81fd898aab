//! Memory that all connections share, counted in bytes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sotto_proto::limits::MAX_FRAME_BEFORE_LOGIN;
use tokio::{sync::Notify, time::timeout};

/// What a connection may always hold: a sign-in and a short message never wait for what others hold.
const ALWAYS: usize = MAX_FRAME_BEFORE_LOGIN;
/// Beyond that a connection may hold such a part of what is free. So those who take all they can leave some to who wants
/// little, however many they are (dynamic queue length thresholds, Choudhury and Hahne 1998).
const PART: usize = 8;
/// Who waits for room looks again after so long, or when it is their turn: one is woken each time that something is given
/// back. To wake all of them at each answer to somebody would be work without end.
const AGAIN: Duration = Duration::from_millis(50);

/// So many bytes for everybody.
#[derive(Debug)]
pub(crate) struct Budget {
    taken: AtomicUsize,
    limit: usize,
    freed: Notify,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), limit, freed: Notify::new() })
    }

    /// A share that holds nothing yet.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), held: AtomicUsize::new(0) }
    }
}

/// What one connection holds; dropped, it gives everything back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    held: AtomicUsize,
}

impl Share {
    /// Waits until this share may hold so many bytes more, and takes them.
    pub(crate) async fn take(&self, bytes: usize) {
        while !self.try_take(bytes) {
            drop(timeout(AGAIN, self.budget.freed.notified()).await);
        }
    }

    fn try_take(&self, bytes: usize) -> bool {
        let held = self.held.load(Ordering::Relaxed) + bytes;
        self.try_add(bytes, |taken| {
            let free = self.budget.limit.saturating_sub(taken);
            held <= ALWAYS || held <= free / PART
        })
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.freed.notify_one();
    }

    /// Holds exactly so much from here on; `false`, and nothing is changed, if that goes beyond the budget.
    pub(crate) fn set(&self, bytes: usize) -> bool {
        let held = self.held.load(Ordering::Relaxed);
        if bytes <= held {
            self.sub(held - bytes);
            return true;
        }
        self.try_add(bytes - held, |taken| taken + bytes - held <= self.budget.limit)
    }

    /// Takes so many bytes if that may be with what is taken already.
    fn try_add(&self, bytes: usize, may: impl Fn(usize) -> bool) -> bool {
        let more = |taken| may(taken).then_some(taken + bytes);
        let added = self.budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if added {
            self.held.fetch_add(bytes, Ordering::Relaxed);
        }
        added
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.sub(self.held.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn those_who_hold_all_they_can_leave_room_to_who_wants_little() {
        let budget = Budget::new(256 * MIB);
        let greedy: Vec<_> = (0..1000).map(|_| budget.share()).collect();
        for share in &greedy {
            while share.held.load(Ordering::Relaxed) < 2 * MIB && share.try_take(MIB) {}
        }
        let held = |share: Option<&Share>| share.map(|share| share.held.load(Ordering::Relaxed));
        assert_eq!(held(greedy.first()), Some(2 * MIB), "the first have all that they want");
        let late = budget.share();
        assert!(!late.try_take(MIB), "nothing is left for one more like them");
        assert!(late.try_take(128 * 1024), "but for a few messages");
        // They take what is left in small pieces as well.
        for share in &greedy {
            while share.held.load(Ordering::Relaxed) < 2 * MIB && share.try_take(ALWAYS / 2) {}
        }
        let later = budget.share();
        assert!(later.try_take(ALWAYS) && !later.try_take(1), "a short one is always taken");
        // Bounded all the same.
        let most = 256 * MIB + (greedy.len() + 2) * ALWAYS;
        assert!(budget.taken.load(Ordering::Relaxed) <= most);
        drop(greedy);
        assert!(later.try_take(MIB));
        drop((late, later));
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_to_wait_goes_on_when_there_is_room() {
        let budget = Budget::new(PART * MIB);
        let (first, second) = (budget.share(), budget.share());
        first.take(MIB).await;
        let waits = async {
            second.take(MIB).await;
            second.held.load(Ordering::Relaxed)
        };
        let frees = async {
            tokio::time::sleep(10 * AGAIN).await;
            assert_eq!(second.held.load(Ordering::Relaxed), 0);
            first.sub(MIB);
        };
        assert_eq!(tokio::join!(waits, frees), (MIB, ()));
    }
}

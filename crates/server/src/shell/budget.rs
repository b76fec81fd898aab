//! Memory that all connections share, counted in bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

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

    fn full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.limit
    }

    /// Waits until there is room for anything.
    pub(crate) async fn room(&self) {
        while self.full() {
            let freed = self.freed.notified();
            if !self.full() {
                return;
            }
            freed.await;
        }
    }
}

/// What one connection holds; dropped, it gives everything back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    held: AtomicUsize,
}

impl Share {
    pub(crate) fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.freed.notify_waiters();
    }

    /// Holds exactly so much from here on; `false` if that goes beyond the budget.
    pub(crate) fn set(&self, bytes: usize) -> bool {
        let held = self.held.load(Ordering::Relaxed);
        if bytes > held {
            self.add(bytes - held);
        } else if bytes < held {
            self.sub(held - bytes);
        }
        bytes == 0 || self.budget.taken.load(Ordering::Relaxed) <= self.budget.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.sub(self.held.load(Ordering::Relaxed));
    }
}

//! Removing what is past its time, in small steps.
//!
//! While the store removes rows no mailbox is read, so that a batch and the `lost_through` that is sent with it
//! always belong together.

use std::collections::BTreeSet;

use super::{ConnectionId, Core, Event, StoreCall, step::Step};

/// Between two sweeps; retention is counted in days.
const INTERVAL_MS: u64 = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing to do before this time, Unix milliseconds.
    Until(u64),
    /// Waits for the last read to come back.
    Wanted,
    /// The store is at it.
    Running,
}

/// How far the sweeping is.
#[derive(Debug)]
pub(super) struct Sweep {
    state: State,
    /// Nothing expires before this time, Unix milliseconds.
    kept_until_ms: u64,
    /// Reads of mailboxes under way.
    reads: usize,
    /// Readers that wait for the end of the sweep.
    held: BTreeSet<ConnectionId>,
    /// Sweeps that removed something.
    epoch: u64,
    /// The last connection whose day was looked at, see [`Core::note_present`].
    pub(super) looked_at: Option<ConnectionId>,
}

impl Sweep {
    pub(super) fn new() -> Self {
        Self {
            state: State::Until(0),
            kept_until_ms: 0,
            reads: 0,
            held: BTreeSet::new(),
            epoch: 0,
            looked_at: None,
        }
    }

    pub(super) fn next_ms(&self) -> u64 {
        match self.state {
            State::Until(at_ms) => at_ms,
            // The end of a read or of the step wakes it.
            State::Wanted | State::Running => u64::MAX,
        }
    }

    /// Sweeps that removed something so far: another number than before means that `lost_through` may have risen.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a read may start now; if not, the reader is started when the sweep is over.
    pub(super) fn may_read(&mut self, connection: ConnectionId) -> bool {
        if matches!(self.state, State::Until(_)) {
            self.reads += 1;
            return true;
        }
        self.held.insert(connection);
        false
    }

    pub(super) fn read_done(&mut self) {
        self.reads = self.reads.saturating_sub(1);
    }

    /// Nothing expires before then.
    pub(super) fn keep_until(&mut self, until_ms: u64) {
        self.kept_until_ms = until_ms;
    }

    /// The clock was set back from `before_ms`. What is kept is kept for as long as before: it may still be far ahead.
    pub(super) fn set_back(&mut self, before_ms: u64, now_ms: u64) {
        let left_ms = self.kept_until_ms.saturating_sub(before_ms);
        self.kept_until_ms = now_ms.saturating_add(left_ms);
        if let State::Until(at_ms) = &mut self.state {
            *at_ms = now_ms.saturating_add(INTERVAL_MS).min(*at_ms);
        }
    }

    pub(super) fn finished(&mut self, now_ms: u64, rows: usize) {
        if rows > 0 {
            self.epoch += 1;
        }
        self.state = State::Until(if rows > 0 { now_ms } else { now_ms + INTERVAL_MS });
    }
}

impl Core {
    /// Starts a sweep if it is time and no mailbox is being read.
    pub(super) fn sweep_due(&mut self, now_ms: u64) {
        if matches!(self.sweep.state, State::Until(at_ms) if at_ms <= now_ms) {
            if self.stopping {
                self.sweep.state = State::Until(u64::MAX);
                return;
            }
            self.sweep.state = State::Wanted;
        }
        if self.sweep.state == State::Wanted && self.sweep.reads == 0 {
            self.sweep.state = State::Running;
            self.tries.sweep(now_ms);
            self.claims.sweep(now_ms);
            self.registrations.sweep(now_ms);
            self.invitations.sweep(now_ms);
            self.blocks.sweep(now_ms);
            self.resets.sweep(now_ms);
            self.pace.sweep(now_ms);
            self.waiting.sweep(now_ms, self.config.retention_ms);
            self.sweep_pending(now_ms);
            self.note_present(now_ms);
            if now_ms < self.sweep.kept_until_ms {
                return self.expired(now_ms, 0);
            }
            self.call(Step::Expire, StoreCall::Expire(now_ms));
        }
    }

    pub(super) fn expired(&mut self, now_ms: u64, rows: usize) {
        self.sweep.finished(now_ms, rows);
        if rows > 0 {
            self.log(Event::Expired { rows });
        }
        self.feed_held(now_ms);
    }

    /// Lets the readers go on that waited for the sweep.
    pub(super) fn feed_held(&mut self, now_ms: u64) {
        if matches!(self.sweep.state, State::Until(_)) {
            for connection in std::mem::take(&mut self.sweep.held) {
                self.feed(connection);
            }
        }
        self.sweep_due(now_ms);
    }
}

//! What is done where the clock was set: what was put off until some time does not wait for that time to come again, which can be
//! months, and what seems to have waited for months is not removed before somebody could set the clock right.

use sotto_proto::limits::{DAY_MS, INVITE_TIMEOUT_MS};

use super::{Core, Event, LOGIN_TIMEOUT_MS};

/// How far the clock may go back before anything is done about it: less is not worth the work.
const SET_BACK_MS: u64 = 1_000;
/// How far it may go on between two inputs: the sweep wants one every minute.
const SET_FORWARD_MS: u64 = DAY_MS;
/// How long nothing expires after a start: a machine may have started with a wrong clock.
const KEEPS_AT_START_MS: u64 = 10 * 60_000;
/// How long nothing expires after the clock went on as far as that.
const KEEPS_MS: u64 = DAY_MS;

impl Core {
    /// Takes note of the time of an input. Answers whether the clock was set back.
    pub(super) fn look_at_clock(&mut self, now_ms: u64) -> bool {
        let (first, latest_ms) = (self.started_ms.is_none(), self.latest_ms);
        self.now_ms = now_ms;
        self.started_ms.get_or_insert(now_ms);
        let set_back = now_ms.saturating_add(SET_BACK_MS) < latest_ms;
        self.latest_ms = if set_back { now_ms } else { latest_ms.max(now_ms) };
        if first {
            self.sweep.keep_until(now_ms.saturating_add(KEEPS_AT_START_MS));
        } else if now_ms > latest_ms.saturating_add(SET_FORWARD_MS) {
            self.sweep.keep_until(now_ms.saturating_add(KEEPS_MS));
            let days = (now_ms - latest_ms) / DAY_MS;
            self.log(Event::Trouble(format!(
                "the clock went on by {days} days at once: nothing expires for 24 h; look whether the time is right"
            )));
        }
        if set_back {
            self.set_back(latest_ms, now_ms);
        }
        set_back
    }

    /// Nothing waits for longer than it would if it had begun now.
    fn set_back(&mut self, before_ms: u64, now_ms: u64) {
        self.started_ms = self.started_ms.map(|started_ms| started_ms.min(now_ms));
        let latest_ms = now_ms.saturating_add(LOGIN_TIMEOUT_MS);
        for (due_ms, _) in &mut self.logins_due {
            *due_ms = latest_ms.min(*due_ms);
        }
        self.chats.end_by(now_ms.saturating_add(INVITE_TIMEOUT_MS));
        self.sweep.set_back(before_ms, now_ms);
        self.tries.set_back(now_ms);
        self.pending.set_back(now_ms);
        self.waiting.set_back(now_ms);
    }
}

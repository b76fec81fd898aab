//! What becomes of all that was put off until some time when the clock is set back: left alone, it would wait for that time to
//! come again, which can be months.

use sotto_proto::limits::INVITE_TIMEOUT_MS;

use super::{Core, LOGIN_TIMEOUT_MS};

impl Core {
    /// The clock shows an earlier time than before: nothing waits for longer than it would if it had begun now.
    pub(super) fn set_back(&mut self, now_ms: u64) {
        self.started_ms = self.started_ms.map(|started_ms| started_ms.min(now_ms));
        let latest_ms = now_ms.saturating_add(LOGIN_TIMEOUT_MS);
        for (due_ms, _) in &mut self.logins_due {
            *due_ms = latest_ms.min(*due_ms);
        }
        self.chats.end_by(now_ms.saturating_add(INVITE_TIMEOUT_MS));
        self.sweep.set_back(now_ms);
        self.tries.set_back(now_ms);
        self.pending.set_back(now_ms);
    }
}

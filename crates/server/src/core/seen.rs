//! The last day on which a device of an account was there: written at a sign-in, once a day while a device stays
//! connected, and at a connection's end; at most once a day an account. A reset asks for it.

use std::ops::Bound;

use sotto_proto::AccountId;
use sotto_store::{AccountRecord, Day};

use super::{ConnectionId, Core, changes::Editor, edit::Edit, known::AccountRef, line::look_up, step::Step};

/// In so many sweeps, an hour of them, all connections are looked at once.
const SWEEPS: usize = 60;
/// Connections looked at in one sweep, at least: at 10,000 connections, the default's most, it is 166.
const AT_LEAST: usize = 64;

impl Core {
    /// Notes that a device of the account is or was signed in today, once a day.
    pub(super) fn note_seen(&mut self, now_ms: u64, account: AccountId) {
        let wanted = AccountRef::Id(account);
        if let Some(known) = self.known.find(&wanted) {
            return self.edit(now_ms, Editor::Server, known, Edit::Seen(Day::of(now_ms)));
        }
        let call = look_up(&wanted);
        let forgotten = self.known.forgotten();
        self.call(Step::Note { day: Day::of(now_ms), forgotten }, call);
    }

    pub(super) fn noted(&mut self, now_ms: u64, (day, forgotten): (Day, u64), record: Option<AccountRecord>) {
        // An account that went meanwhile needs no note, and must not be remembered.
        if forgotten != self.known.forgotten() {
            return;
        }
        if let Some(known) = record.and_then(|record| self.remember(record, None)) {
            self.edit(now_ms, Editor::Server, known, Edit::Seen(day));
        }
    }

    /// The store has the day: the account's connections need not be looked at again before the next.
    pub(super) fn seen_noted(&mut self, record: &AccountRecord) {
        for id in self.connections_of(&record.devices) {
            if let Some(session) = self.connections.get_mut(&id).and_then(|state| state.session.as_mut()) {
                session.seen = session.seen.max(record.seen);
            }
        }
    }

    /// Looks at the next connections, and notes the day for those that have lasted into another one. Were it left to
    /// their end, a server that is killed would not know who was there.
    pub(super) fn note_present(&mut self, now_ms: u64) {
        let today = Some(Day::of(now_ms));
        let count = (self.connections.len() / SWEEPS).max(AT_LEAST);
        let from = self.sweep.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<(ConnectionId, Option<AccountId>)> = self
            .connections
            .range((from, Bound::Unbounded))
            .take(count)
            .map(|(id, connection)| {
                let session = connection.session.as_ref().filter(|session| session.seen < today);
                (*id, session.map(|session| session.account))
            })
            .collect();
        self.sweep.looked_at = if next.len() < count { None } else { next.last().map(|(id, _)| *id) };
        for account in next.into_iter().filter_map(|(_, account)| account) {
            self.note_seen(now_ms, account);
        }
    }
}

//! The pace of questions: an account may ask much at once, and then so much a time. What is beyond that waits, and what
//! stands behind it in its connection's line with it; nothing is refused, so no client need know of it.
//!
//! Counted is what signed-in devices ask: of those an account has few, and only its owner. Who knows the password alone can
//! not make them wait.

use std::collections::BTreeSet;

use sotto_proto::{
    AccountId,
    frame::{ClientFrame, Submit},
    limits,
};

use super::{
    ConnectionId, Core, Found,
    bucket::Buckets,
    known::{AccountRef, KnownAccounts},
    submit::{Compared, compare},
};

/// What an account may ask at once, in parts: the lists of some two hundred contacts, or the fates of sixteen thousand
/// messages. With four times as many the first moment of thirty hostile accounts is felt by who signs in just then.
const BURST: u64 = 256;
/// After the burst, how often one more part is answered. A page of a mailbox or of the directory is then there in a
/// tenth of a second, and thirty accounts that ask without pause take a small share of one processor.
const REFILL_MS: u64 = 10;
/// The longest that a request waits for this: a device of the owner's that another one, which is in wrong hands, keeps in
/// debt must still be able to sign in and remove it.
const LONGEST_WAIT_MS: u64 = 2_000;
/// Names of the directory to a part.
const NAMES: usize = 64;
/// Fate tags to a part.
const FATES: usize = 64;
/// Bytes of a long answer to a part.
const ANSWER: usize = 8 * 1024;
/// Parts of beginning to read a mailbox: the store is read until the peer's window is full.
const READING: u64 = 16;
/// Parts of a login on a connection that has a device's session: a signature is verified.
const LOGIN: u64 = 8;

/// What accounts have asked of late, and whose line waits for that.
#[derive(Debug)]
pub(super) struct Pace {
    asked: Buckets<AccountId>,
    waiting: BTreeSet<(u64, ConnectionId)>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { asked: Buckets::new(BURST, REFILL_MS), waiting: BTreeSet::new() }
    }

    /// When the next line goes on, Unix milliseconds.
    pub(super) fn next_ms(&self) -> u64 {
        self.waiting.first().map_or(u64::MAX, |(due_ms, _)| *due_ms)
    }

    /// Forgets who has asked little of late.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        self.asked.sweep(now_ms);
    }
}

impl Core {
    /// Counts the request at the head of a connection's line, whose accounts are known. Whether it has to wait: then the line
    /// goes on when it is time.
    pub(super) fn has_to_wait(&mut self, now_ms: u64, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return true };
        let Some(account) = connection.session.as_ref().map(|session| session.account) else { return false };
        let Some(head) = connection.queue.front_mut() else { return true };
        if head.counted {
            return false;
        }
        head.counted = true;
        let parts = match &head.frame {
            ClientFrame::Submit(submit) => stale(submit, &Found { found: &head.found }, &mut self.known),
            frame => parts(frame),
        };
        if parts == 0 {
            return false;
        }
        let wait_ms = self.pace.asked.spend(account, parts, now_ms, LONGEST_WAIT_MS);
        if wait_ms == 0 {
            return false;
        }
        let due_ms = now_ms.saturating_add(wait_ms);
        connection.due_ms = Some(due_ms);
        self.pace.waiting.insert((due_ms, id));
        true
    }

    /// Counts a long answer: the same question may cost little or much.
    pub(super) fn answered_at_length(&mut self, id: ConnectionId, bytes: usize) {
        let session = self.connections.get(&id).and_then(|connection| connection.session.as_ref());
        if let Some(account) = session.map(|session| session.account) {
            let parts = (bytes / ANSWER) as u64;
            // What comes of it is for the next question to wait for.
            let _wait_ms = self.pace.asked.spend(account, parts, self.now_ms, LONGEST_WAIT_MS);
        }
    }

    /// Lets the lines go on that have waited for long enough. Where the clock was set back nobody knows how long that is, and
    /// nobody owes anything any more.
    pub(super) fn go_on(&mut self, now_ms: u64, set_back: bool) {
        if set_back {
            self.pace.asked.clear();
        }
        let due = self.pace.waiting.iter().take_while(|(due_ms, _)| set_back || *due_ms <= now_ms);
        for id in due.map(|(_, id)| *id).collect::<Vec<_>>() {
            self.waits_no_more(id);
            self.advance(now_ms, id);
        }
    }

    /// Takes a connection out of those that wait.
    pub(super) fn waits_no_more(&mut self, id: ConnectionId) {
        if let Some(due_ms) = self.connections.get_mut(&id).and_then(|connection| connection.due_ms.take()) {
            self.pace.waiting.remove(&(due_ms, id));
        }
    }
}

/// The lists that a Submit is answered with because it used other ones; of a Submit that is only that, nothing else costs.
fn stale(submit: &Submit, found: &Found<'_>, known: &mut KnownAccounts) -> u64 {
    let stale = submit.lists.iter().take(limits::MAX_LISTS).filter(|used| {
        let known = found.find(known, &AccountRef::Id(used.account));
        matches!(compare(used, known), Compared::Stale(_))
    });
    stale.count() as u64
}

/// What a request costs beside the bytes of its answer. Requests that change something have limits of their own, by what
/// they change. An Ack is the pace of a conversation.
fn parts(frame: &ClientFrame) -> u64 {
    let of = |count: usize, most: usize, to_a_part: usize| count.min(most).div_ceil(to_a_part).max(1) as u64;
    match frame {
        ClientFrame::Ping | ClientFrame::QuerySubmission(_) | ClientFrame::ListPending => 1,
        ClientFrame::LookupLists(lookup) => {
            of(lookup.names.len().saturating_add(lookup.accounts.len()), limits::MAX_LISTS, 1)
        }
        // One-time keys have a limit of their own.
        ClientFrame::ClaimBundles(claim) if !claim.one_time => {
            of(claim.devices.len(), limits::MAX_DEVICES, 1)
        }
        ClientFrame::ListUsers(list) => of(usize::from(list.limit), limits::MAX_USERS_PER_PAGE, NAMES),
        ClientFrame::QueryFates(query) => of(query.tags.len(), limits::MAX_FATES_PER_QUERY, FATES),
        ClientFrame::Attach(_) => READING,
        ClientFrame::AccountLogin(_) | ClientFrame::DeviceLogin(_) => LOGIN,
        // The signature of each is verified.
        ClientFrame::PublishKeys(publish) => {
            of(publish.upload.one_time_kem.len(), limits::MAX_ONE_TIME_KEM_PREKEYS, 1)
        }
        _ => 0,
    }
}

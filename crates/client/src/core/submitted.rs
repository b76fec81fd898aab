//! What the server says of a Submit.

use std::collections::BTreeSet;

use sotto_proto::{
    AccountId, FateTag, SignedDeviceList, SubmissionId,
    content::kind,
    frame::{
        ClientFrame, ErrorCode, ErrorReply, FateState, Outcome, QueryFates, Refusal, StaleDevices, Submitted,
    },
    limits::{MAX_FATES_PER_QUERY, OUTBOX_LIFETIME_MS},
};

use super::{Core, CoreError, Step, content::is_message, due::expire_copy, lists::Sought, requests::Asked};
use crate::{
    api::{ClientError, Fate, NOT_ACCEPTED},
    store::{Copy, CopyFate, Entry},
};

/// After how long a Submit that the server could not take is sent again, where it does not say, milliseconds.
const AGAIN_MS: u64 = 1_000;

/// Why an envelope was not taken, in words; some of them the exit code hangs on.
pub(super) fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::MailboxFull => "the recipient's mailbox is full",
        Refusal::SenderShare => "too many of your messages wait in the recipient's mailbox",
        Refusal::NotAccepted => NOT_ACCEPTED,
        Refusal::TooLarge => "the message is too large",
        Refusal::DiskFull => "the server's disk is full",
    }
}

impl Core {
    /// A Submit was stored, each envelope with its own outcome.
    pub(super) fn submitted(
        &mut self,
        step: &mut Step<'_, '_>,
        lane: (AccountId, bool),
        submission: &SubmissionId,
        submitted: &Submitted,
    ) -> Result<(), CoreError> {
        let state = self.lanes.entry(lane).or_default();
        state.in_flight = false;
        if std::mem::take(&mut state.repeats) {
            self.fates_again_ms = Some(step.now_ms);
        }
        let entries = step.tx.submission_entries(submission)?;
        let mut outcomes: Vec<_> = submitted.devices.iter().map(Some).collect();
        for entry in &entries {
            let (mut connected, mut unknown) = (false, false);
            for copy in step.tx.copies(entry.entry)?.into_iter().filter(|copy| copy.refused.is_none()) {
                // The answer is in the order of the Submit; of one device, the next one that was not used.
                let outcome = outcomes
                    .iter_mut()
                    .find(|outcome| outcome.is_some_and(|outcome| outcome.device == copy.device))
                    .and_then(Option::take)
                    .map(|outcome| outcome.outcome);
                let state = match outcome {
                    // Settled, not retried: who is accepted again later did not ask for what was written before.
                    Some(Outcome::Refused(Refusal::NotAccepted)) => Fate::Refused,
                    Some(Outcome::Refused(refusal)) => {
                        step.tx.set_refused(entry.entry, &copy.device, refusal_text(refusal))?;
                        self.note_refusing(step, copy.device);
                        continue;
                    }
                    Some(Outcome::Stored { connected: online }) => {
                        connected |= online && copy.account == lane.0;
                        self.refusing.remove(&copy.device);
                        Fate::Stored
                    }
                    Some(Outcome::Passed | Outcome::Dropped) => Fate::Stored,
                    Some(Outcome::UnknownDevice) | None => {
                        // Whose is the name now? Only the list served for it tells.
                        unknown |= copy.account == lane.0;
                        step.tx.remove_copy(entry.entry, &copy.device)?;
                        continue;
                    }
                };
                settle_copy(step, entry, &copy, state, submitted.stored_ms)?;
            }
            if unknown && entry.user && !step.tx.reached(&entry.message, &lane.0)? {
                step.tx.unseal(entry.entry)?;
                self.doubt(step, lane.0)?;
            } else if unknown && !entry.user && Self::lately_restored(step)? {
                // The server lost the account, which may come back.
                step.tx.unseal(entry.entry)?;
                self.doubt(step, lane.0)?;
            } else {
                self.finish_entry(step, entry, connected)?;
            }
        }
        Ok(())
    }

    /// The server does not know a contact's account any more: nothing is sent to it before the name was looked up.
    pub(super) fn doubt(&mut self, step: &mut Step<'_, '_>, account: AccountId) -> Result<(), CoreError> {
        if self.doubted.insert(account)
            && let Some(contact) = step.tx.contact(&account)?
        {
            self.lookups.remove(&Sought::Name(contact.username));
        }
        Ok(())
    }

    fn finish_entry(
        &mut self,
        step: &mut Step<'_, '_>,
        entry: &Entry,
        connected: bool,
    ) -> Result<(), CoreError> {
        let done = step.tx.copies(entry.entry)?.is_empty();
        let missed = match entry.account {
            Some(account) if entry.user => !step.tx.reached(&entry.message, &account)?,
            _ => false,
        };
        if done && missed {
            // Only one's own devices have it: it is no message yet.
            step.tx.unseal(entry.entry)?;
        } else if done {
            self.note_left_out(step, entry)?;
            step.tx.remove_entry(entry.entry)?;
        } else {
            step.tx.set_submission(entry.entry, None)?;
        }
        // A copy that was lost and is sent again is a part of its message.
        if entry.user || is_message(entry.kind) {
            return self.refresh_fate(step, &entry.message, connected && entry.user);
        }
        Ok(())
    }

    /// Of a message that is on its way: the devices that it went without have no copy, and will get none.
    fn note_left_out(&mut self, step: &mut Step<'_, '_>, entry: &Entry) -> Result<(), CoreError> {
        let Some(account) = entry.account.filter(|_| entry.user) else { return Ok(()) };
        // What the server says of a Submit only when its messages have expired may be of another connection.
        let old = entry.created_ms < step.now_ms.saturating_sub(OUTBOX_LIFETIME_MS);
        if self.left_out.is_empty() && !old {
            return Ok(());
        }
        for target in self.unsettled(step, entry, account)? {
            if old || self.left_out.contains(&target.device()) {
                let tag = FateTag(step.random());
                expire_copy(step, entry, target.account, target.device(), tag)?;
            }
        }
        Ok(())
    }

    /// Nothing was stored: some list was not the newest. The lane goes on with the newest lists, under a new id.
    pub(super) fn stale(
        &mut self,
        step: &mut Step<'_, '_>,
        lane: (AccountId, bool),
        submission: &SubmissionId,
        stale: &StaleDevices,
    ) -> Result<(), CoreError> {
        self.lanes.entry(lane).or_default().in_flight = false;
        let renamed = SubmissionId(step.random());
        step.tx.rename_submission(submission, &renamed)?;
        let mut news = BTreeSet::new();
        let contact = step.tx.contact(&lane.0)?.map(|contact| contact.username);
        for bytes in &stale.lists {
            match SignedDeviceList::parse(bytes) {
                Ok(list)
                    if list.list().account != self.me.account
                        && contact.as_ref().is_some_and(|name| *name != list.list().username) =>
                {
                    step.warn("the server named a device list that has nothing to do with the message");
                }
                Ok(list) => {
                    let account = list.list().account;
                    let before = step.tx.contact(&account)?.map(|known| known.list.hash());
                    let handed_over = self.hand_over.contains(&account);
                    self.served(step, &list)?;
                    let news_of_it = before != step.tx.contact(&account)?.map(|known| known.list.hash());
                    // An old list is answered with the newer one, at once.
                    if news_of_it || handed_over != self.hand_over.contains(&account) {
                        news.insert(account);
                    }
                }
                Err(error) => {
                    step.warn(format!("the server served a device list that does not hold: {error}"));
                }
            }
        }
        for account in &stale.wanted {
            if self.hand_over.insert(*account) {
                news.insert(*account);
            }
        }
        if news.is_empty() {
            // The server keeps calling stale what cannot be mended: not without end.
            self.lanes.entry(lane).or_default().not_before_ms = step.now_ms.saturating_add(30 * AGAIN_MS);
        }
        Ok(())
    }

    /// A Submit was not done.
    pub(super) fn submit_failed(
        &mut self,
        step: &mut Step<'_, '_>,
        lane: (AccountId, bool),
        submission: &SubmissionId,
        error: &ErrorReply,
        told: &ClientError,
    ) -> Result<(), CoreError> {
        let again_ms = error.retry_after_ms.unwrap_or(AGAIN_MS);
        let state = self.lanes.entry(lane).or_default();
        state.in_flight = false;
        state.not_before_ms = step.now_ms.saturating_add(again_ms);
        match error.code {
            ErrorCode::BUSY | ErrorCode::RATE_LIMITED | ErrorCode::STORE => {}
            ErrorCode::DISK_FULL => {
                state.not_before_ms = step.now_ms.saturating_add(again_ms.max(10 * AGAIN_MS));
                for entry in step.tx.submission_entries(submission)? {
                    self.settle(step, &entry.message, Fate::Refused, Some(refusal_text(Refusal::DiskFull)))?;
                }
            }
            _ => {
                // The server will never take this Submit; its messages say so and wait for the user.
                state.not_before_ms = step.now_ms.saturating_add(600 * AGAIN_MS);
                for entry in step.tx.submission_entries(submission)? {
                    self.settle(step, &entry.message, Fate::Refused, Some(&told.message))?;
                }
            }
        }
        Ok(())
    }

    /// Whether a Submit that has waited too long was stored after all.
    pub(super) fn submission_state(
        &mut self,
        step: &mut Step<'_, '_>,
        submission: &SubmissionId,
        submitted: Option<&Submitted>,
    ) -> Result<(), CoreError> {
        let entries = step.tx.submission_entries(submission)?;
        let lanes: BTreeSet<_> =
            entries.iter().filter_map(|entry| entry.account.map(|account| (account, entry.user))).collect();
        for lane in lanes {
            let state = self.lanes.entry(lane).or_default();
            state.in_flight = false;
            state.repeats = true;
            if let Some(submitted) = submitted {
                self.submitted(step, lane, submission, submitted)?;
            }
        }
        if submitted.is_none() {
            self.ask_copies(step, submission, &entries)?;
        }
        Ok(())
    }

    /// The server does not know a Submit that has waited too long. It forgets those sooner than what became of envelopes.
    fn ask_copies(
        &mut self,
        step: &mut Step<'_, '_>,
        submission: &SubmissionId,
        entries: &[Entry],
    ) -> Result<(), CoreError> {
        let mut tags = Vec::new();
        for entry in entries {
            tags.extend(step.tx.copies(entry.entry)?.into_iter().map(|copy| copy.tag));
            if let Some(account) = entry.account {
                self.lanes.entry((account, entry.user)).or_default().in_flight = true;
            }
        }
        tags.truncate(MAX_FATES_PER_QUERY);
        let frame = ClientFrame::QueryFates(QueryFates { tags: tags.clone() });
        self.send(step, Asked::Copies { submission: *submission, tags }, frame);
        Ok(())
    }

    /// What became of the copies of a Submit that the server does not know: what it has had is settled, and of the rest, what is
    /// old itself expires. What is younger is sent.
    pub(super) fn copies_state(
        &mut self,
        step: &mut Step<'_, '_>,
        submission: &SubmissionId,
        tags: &[FateTag],
        states: &[FateState],
    ) -> Result<(), CoreError> {
        let before_ms = step.now_ms.saturating_sub(OUTBOX_LIFETIME_MS);
        for entry in step.tx.submission_entries(submission)? {
            let Some(account) = entry.account else { continue };
            let lane = self.lanes.entry((account, entry.user)).or_default();
            lane.in_flight = false;
            lane.repeats = true;
            let mut had = false;
            for copy in step.tx.copies(entry.entry)? {
                let known = tags.iter().position(|tag| *tag == copy.tag).and_then(|place| states.get(place));
                let state = match known {
                    None | Some(FateState::Unknown) => continue,
                    Some(FateState::Waiting) => Fate::Stored,
                    Some(FateState::Taken) => Fate::Taken,
                    Some(FateState::Expired) => Fate::Expired,
                };
                had = true;
                // It was stored then or later.
                let stored_ms = self.by_server_clock(entry.created_ms);
                settle_copy(step, &entry, &copy, state, stored_ms)?;
            }
            if entry.created_ms < before_ms {
                self.expire_entry(step, &entry)?;
            } else if had {
                self.finish_entry(step, &entry, false)?;
            }
        }
        Ok(())
    }
}

/// The server has had a copy: it leaves the outbox, and what became of it is kept.
fn settle_copy(
    step: &mut Step<'_, '_>,
    entry: &Entry,
    copy: &Copy,
    state: Fate,
    stored_ms: u64,
) -> Result<(), CoreError> {
    step.tx.remove_copy(entry.entry, &copy.device)?;
    // A SyncSent with an entry of its own is a copy for an own device that the server had lost.
    if entry.user || is_message(entry.kind) || entry.kind == kind::SYNC_SENT {
        step.tx.add_fate(&CopyFate {
            message: entry.message,
            account: copy.account,
            device: copy.device,
            tag: copy.tag,
            state,
            stored_ms,
        })?;
    }
    Ok(())
}

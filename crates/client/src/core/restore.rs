//! A server whose data was restored: what it lost is sent again, and contacts whose account it lost are waited for.

use std::collections::{BTreeMap, BTreeSet};

use sotto_proto::{
    FateTag,
    content::{Body, Place, kind},
    limits::{DAY_MS, OUTBOX_LIFETIME_MS},
};

use super::{
    Core, CoreError, RESTORED, RESTORED_MS, Step,
    fates::for_recipient,
    lanes::LANE_LIMIT,
    lists::{ASK_AGAIN_MS, Sought},
};
use crate::{
    api::Fate,
    store::{ContactRecord, CopyFate, NewEntry, StoredMessage},
};

/// Why what the server lost is not sent again.
pub(super) const FOR_BEFORE: &str = "the server lost it, and it was for the identity before";

/// The longest time between two looks for a contact whose account the server lost, milliseconds: the first is after
/// [`ASK_AGAIN_MS`], each further one after twice as long.
const ASK_MISSING_MS: u64 = 10 * 60_000;

/// A server that says again and again that it has lost something does not have all of it sent again at that pace.
const PUT_BACK_AGAIN_MS: u64 = 10 * 60_000;

/// Whether the server lost what it had, and what it lost is being found and sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restoring {
    No,
    /// It was noticed in the middle of a connection; what is under way is awaited.
    Noticed,
    UnderWay,
}

impl Core {
    /// The server's data was restored, or lost: what it does not know any more is to be found and sent again.
    ///
    /// What was sealed is sealed anew: the server that is gone may have delivered it, and then its recipient drops the same
    /// bytes without a word, while the receipt is gone with that server. Nothing is under way on this connection yet.
    pub(super) fn begin_restore(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        self.restoring = Restoring::UnderWay;
        step.tx.set_number(RESTORED, 1)?;
        step.tx.set_number(RESTORED_MS, step.now_ms)?;
        // Which blocks the server knows is not known any more.
        step.tx.forget_told()?;
        Ok(step.tx.unseal_outbox()?)
    }

    /// The server does not know what it has said to be stored, though its mailboxes go on: its data was put back to a copy, by
    /// whoever may do that to its machine. From here on it is as after a restore.
    pub(super) fn put_back(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        let lost = std::mem::take(&mut self.lost);
        let last_ms = step.tx.number(RESTORED_MS)?;
        let again_ms = last_ms.saturating_add(PUT_BACK_AGAIN_MS);
        if (last_ms..again_ms).contains(&step.now_ms) {
            self.fates_again_ms = Some(again_ms);
            return Ok(());
        }
        let mut messages = BTreeSet::new();
        for tag in lost {
            messages.extend(step.tx.fate_by_tag(&tag)?.map(|copy| copy.message));
        }
        let messages =
            if messages.len() == 1 { "a message".to_owned() } else { format!("{} messages", messages.len()) };
        step.warn(format!(
            "the server has lost {messages} of yours that it had stored, as after an older copy of its data was put back: \
             what it lost is sent again"
        ));
        self.restoring = Restoring::Noticed;
        step.tx.set_number(RESTORED, 1)?;
        step.tx.set_number(RESTORED_MS, step.now_ms)?;
        Ok(step.tx.forget_told()?)
    }

    /// Begins the restore that [`Self::put_back`] has noticed, once nothing is under way any more. Whether that is still to be
    /// waited for.
    pub(super) fn put_back_waits(&mut self, step: &mut Step<'_, '_>) -> Result<bool, CoreError> {
        if self.restoring == Restoring::Noticed {
            if self.requests.sends() || self.requests.asks_fates() {
                return Ok(true);
            }
            self.restoring = Restoring::UnderWay;
            step.tx.unseal_unsent()?;
            self.ask_fates(step, None)?;
        }
        Ok(false)
    }

    /// Whether the server's data was restored so lately that contacts whose account it lost may still come back.
    pub(super) fn lately_restored(step: &Step<'_, '_>) -> Result<bool, CoreError> {
        let restored_ms = step.tx.number(RESTORED_MS)?;
        let over_ms = restored_ms.saturating_add(OUTBOX_LIFETIME_MS);
        // A clock that was corrected meanwhile gives nobody up; one that was months ahead does not make them wait for months.
        let since_ms = restored_ms.saturating_sub(DAY_MS);
        Ok(restored_ms > 0 && (since_ms..over_ms).contains(&step.now_ms))
    }

    /// The server's data was restored to before it stored these copies. They are sealed again under the same message
    /// ids, so that who has them drops them. A message of which its recipient has nothing goes back to the head of
    /// the outbox, in the order of the history; of others, the copies that are gone.
    pub(super) fn send_lost(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        let mut messages: BTreeMap<i64, (StoredMessage, Vec<CopyFate>)> = BTreeMap::new();
        for tag in std::mem::take(&mut self.lost) {
            let Some(fate) = step.tx.fate_by_tag(&tag)? else { continue };
            let Some(said) = step.tx.sent_message(&fate.message)? else { continue };
            if fate.account != said.conversation && fate.account != self.me.account {
                self.leave_lost(step, &said, &tag)?;
                continue;
            }
            messages.entry(said.place).or_insert_with(|| (said, Vec::new())).1.push(fate);
        }
        let me = self.me.account;
        let mut whole = Vec::new();
        for (said, lost) in messages.into_values() {
            let left =
                step.tx.fates_of(&said.message)?.into_iter().any(|fate| {
                    for_recipient(&fate, &said, &me) && lost.iter().all(|lost| lost.tag != fate.tag)
                });
            // A copy for an own device alone is never a reason to send it to somebody else.
            if !left && lost.iter().any(|copy| for_recipient(copy, &said, &me)) {
                whole.push((said, lost));
            } else {
                for fate in &lost {
                    self.send_copy_again(step, &said, fate)?;
                }
            }
        }
        // The last one first, each before all others.
        for (said, lost) in whole.iter().rev() {
            self.send_message_again(step, said, lost)?;
        }
        Ok(())
    }

    /// What the identity before was sent, and the server lost, is not for the one that was accepted since.
    fn leave_lost(
        &mut self,
        step: &mut Step<'_, '_>,
        said: &StoredMessage,
        tag: &FateTag,
    ) -> Result<(), CoreError> {
        step.tx.remove_fate(tag)?;
        let left = step.tx.fates_of(&said.message)?;
        if left.iter().any(|copy| for_recipient(copy, said, &self.me.account)) {
            return self.refresh_fate(step, &said.message, false);
        }
        self.settle(step, &said.message, Fate::Refused, Some(FOR_BEFORE))
    }

    fn send_message_again(
        &mut self,
        step: &mut Step<'_, '_>,
        said: &StoredMessage,
        lost: &[CopyFate],
    ) -> Result<(), CoreError> {
        for fate in lost {
            step.tx.remove_fate(&fate.tag)?;
        }
        // Where some device's copy has not left yet, the entry keeps its place, and is sealed for all.
        if let Some(entry) = step.tx.entry_of(&said.message)? {
            step.tx.unseal(entry.entry)?;
        } else {
            step.tx.enqueue_first(&NewEntry {
                account: Some(said.conversation),
                username: None,
                device: None,
                message: said.message,
                user: true,
                kind: said.kind,
                body: &said.body,
                clock_ms: said.sent_ms,
                // Later than it was first written, whatever the clock says: it shows that the message was lost.
                now_ms: step.now_ms.max(said.sent_ms.saturating_add(1)),
            })?;
        }
        self.settle(step, &said.message, Fate::Waiting, Some("the server lost it; it is sent again"))
    }

    fn send_copy_again(
        &mut self,
        step: &mut Step<'_, '_>,
        said: &StoredMessage,
        fate: &CopyFate,
    ) -> Result<(), CoreError> {
        // Under its old tag nothing will be heard of it.
        step.tx.remove_fate(&fate.tag)?;
        if step.tx.waits_for(&fate.message, &fate.device)? {
            return Ok(());
        }
        let (kind, body) = if fate.account == self.me.account && said.conversation != self.me.account {
            let (place, body) = (Place::Account(said.conversation), said.body.clone());
            let body = Body::SyncSent { place, kind: said.kind, body };
            (kind::SYNC_SENT, body.encode())
        } else {
            (said.kind, said.body.clone())
        };
        step.tx.enqueue(&NewEntry {
            account: Some(fate.account),
            username: None,
            device: Some(fate.device),
            message: fate.message,
            user: false,
            kind,
            body: &body,
            clock_ms: said.sent_ms,
            now_ms: step.now_ms,
        })?;
        Ok(())
    }

    /// The server has lost a contact's account: its client is expected to enrol again, and what is for it waits.
    pub(super) fn wait_for_missing(
        &mut self,
        step: &mut Step<'_, '_>,
        gone: &ContactRecord,
    ) -> Result<(), CoreError> {
        let name = &gone.username;
        let reason =
            format!("the server lost the account of {name}; it leaves when {name} has connected again");
        for entry in step.tx.lane(&gone.account, true, LANE_LIMIT)? {
            self.settle(step, &entry.message, Fate::Waiting, Some(&reason))?;
        }
        let first = !self.missing.contains_key(&gone.account);
        let wait_ms = self.missing.entry(gone.account).or_insert(ASK_AGAIN_MS / 2);
        *wait_ms = wait_ms.saturating_mul(2).min(ASK_MISSING_MS);
        let again_ms = step.now_ms.saturating_add(*wait_ms);
        self.lookups.insert(Sought::Name(name.clone()), again_ms);
        if first {
            step.warn(format!(
                "the server has lost the account of {name}: what is for {name} waits here until their client has \
                 connected again"
            ));
        }
        Ok(())
    }
}

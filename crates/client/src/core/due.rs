//! What falls due: entries that waited too long, receipts to be sent, envelopes to be asked for.

use std::collections::BTreeMap;

use sotto_proto::{
    AccountId, DeviceId, FateTag,
    content::{Body, kind},
    envelope::BodyHash,
    frame::{ClientFrame, QuerySubmission},
    limits::{DAY_MS, FATE_MARGIN_MS, MAX_HASHES_PER_REQUEST, OUTBOX_LIFETIME_MS},
};

use super::{
    Core, CoreError, Step,
    content::{is_message, tell},
    lanes::Lane,
    requests::Asked,
    retention::retention_ms,
    sealing::Target,
};
use crate::{
    api::Fate,
    store::{CopyFate, Entry},
};

/// Why a message expired that was never sent.
const WAITED: &str = "it waited here for 14 days";
/// Why a message counts as expired of which the server could have said something for so long only.
pub(super) const MAYBE_SENT: &str =
    "it waited here for 14 days; whether the server had taken it before cannot be known any more";
/// The same of the copies for some devices, where others have theirs.
pub(super) const MAYBE_COPIED: &str = "for some devices it waited here for 14 days; whether the server had taken it before cannot be known any more";

/// Between two requests to a device of which nothing has opened since the first one, at first, milliseconds.
const ASK_AFTER_MS: u64 = 60_000;

impl Core {
    /// What has waited too long: expired, if it was never sent; else the server is asked whether it was stored.
    pub(super) fn expire_entries(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        let before_ms = step.now_ms.saturating_sub(OUTBOX_LIFETIME_MS);
        for entry in step.tx.entries_before(before_ms, 64)? {
            let lane = entry.account.map(|account| (account, entry.user));
            let state = lane.and_then(|lane| self.lanes.get(&lane));
            // A server that was too busy to answer is not asked again at once.
            let waits = |lane: &Lane| entry.submission.is_some() && lane.not_before_ms > step.now_ms;
            if state.is_some_and(|lane| lane.in_flight || waits(lane)) {
                continue;
            }
            if let (Some(submission), Some(lane)) = (entry.submission, lane) {
                self.lanes.entry(lane).or_default().in_flight = true;
                let frame = ClientFrame::QuerySubmission(QuerySubmission { submission });
                self.send(step, Asked::Submission { submission }, frame);
            } else {
                self.expire_entry(step, &entry)?;
            }
        }
        Ok(())
    }

    /// The devices that an entry should have gone to, and of whose copies nothing is known: neither stored nor refused.
    pub(super) fn unsettled(
        &self,
        step: &Step<'_, '_>,
        entry: &Entry,
        account: AccountId,
    ) -> Result<Vec<Target>, CoreError> {
        let (Some(contact), Some(own)) = (step.tx.contact(&account)?, step.tx.contact(&self.me.account)?)
        else {
            return Ok(Vec::new());
        };
        let settled = step.tx.fates_of(&entry.message)?;
        let mut targets = self.targets(&contact, &own, entry);
        targets.retain(|target| !settled.iter().any(|fate| fate.device == target.device()));
        Ok(targets)
    }

    /// Gives up what has waited too long. The copies that are left with it were not stored, as far as the server can say.
    pub(super) fn expire_entry(&mut self, step: &mut Step<'_, '_>, entry: &Entry) -> Result<(), CoreError> {
        if entry.user {
            let remembered_ms = entry.created_ms.saturating_add(retention_ms(step)? + FATE_MARGIN_MS);
            let forgotten = entry.submission.is_some() && remembered_ms < step.now_ms;
            let reasons = if forgotten { (MAYBE_SENT, Some(MAYBE_COPIED)) } else { (WAITED, None) };
            return self.give_up(step, entry, reasons);
        }
        step.tx.remove_entry(entry.entry)?;
        if is_message(entry.kind)
            && let (Some(account), Some(device)) = (entry.account, entry.device)
        {
            // A copy that the server lost, and that could not be sent again; unless it was, and only the answer was lost.
            let known = step.tx.fates_of(&entry.message)?;
            if !known.iter().any(|copy| copy.account == account && copy.device == device) {
                let tag = FateTag(step.random());
                expire_copy(step, entry, account, device, tag)?;
            }
            self.refresh_fate(step, &entry.message, false)?;
        }
        Ok(())
    }

    /// Takes a message out of the outbox, and says what became of each copy: of those that are left, and of those that were never
    /// sealed. The reason is the first one where nobody has it, and the second one, if any, where other devices do.
    pub(super) fn give_up(
        &mut self,
        step: &mut Step<'_, '_>,
        entry: &Entry,
        (for_all, for_some): (&str, Option<&str>),
    ) -> Result<(), CoreError> {
        let left = step.tx.copies(entry.entry)?;
        step.tx.remove_entry(entry.entry)?;
        let Some(account) = entry.account else {
            return self.settle(step, &entry.message, Fate::Expired, Some(for_all));
        };
        let reached = step.tx.reached(&entry.message, &account)?;
        let mut lost: Vec<(AccountId, DeviceId, FateTag)> =
            left.into_iter().map(|copy| (copy.account, copy.device, copy.tag)).collect();
        for target in self.unsettled(step, entry, account)? {
            if !lost.iter().any(|(_, device, _)| *device == target.device()) {
                lost.push((target.account, target.device(), FateTag(step.random())));
            }
        }
        for (account, device, tag) in lost {
            expire_copy(step, entry, account, device, tag)?;
        }
        // Where the list has no device, no copy says it.
        self.settle(step, &entry.message, Fate::Expired, Some(for_all))?;
        let reason = if reached { for_some } else { Some(for_all) };
        self.refresh_doubtful_fate(step, &entry.message, false, reason)?;
        self.undelivered.look_at(entry.message, step.now_ms);
        Ok(())
    }
}

impl Core {
    /// Asks for what did not open, and asks again daily until it is answered. Answers when something that was put off is due.
    ///
    /// As long as nothing of a device opens, it is asked less and less often: where a server has handed out wrong keys to both
    /// sides, neither can read the other's requests, and each would ask for the other's request without end.
    pub(super) fn queue_requests(&mut self, step: &mut Step<'_, '_>) -> Result<Option<u64>, CoreError> {
        let before_ms = step.now_ms.saturating_sub(DAY_MS);
        let limit = u32::try_from(MAX_HASHES_PER_REQUEST).unwrap_or(u32::MAX);
        let put_off: Vec<(DeviceId, u64)> = self
            .asking
            .iter()
            .filter(|(_, (again_ms, _))| *again_ms > step.now_ms)
            .map(|(device, (again_ms, _))| (*device, *again_ms))
            .collect();
        let without: Vec<DeviceId> = put_off.iter().map(|(device, _)| *device).collect();
        let mut by_device: BTreeMap<(AccountId, DeviceId), Vec<BodyHash>> = BTreeMap::new();
        for wanted in step.tx.bodies_to_ask((before_ms, step.now_ms), &without, limit)? {
            step.tx.asked(&wanted.reference, step.now_ms)?;
            by_device.entry((wanted.account, wanted.device)).or_default().push(BodyHash(wanted.reference));
        }
        for ((account, device), failed) in by_device {
            let wait_ms =
                self.asking.get(&device).map_or(ASK_AFTER_MS, |(_, wait_ms)| wait_ms.saturating_mul(2));
            let wait_ms = wait_ms.min(DAY_MS);
            self.asking.insert(device, (step.now_ms.saturating_add(wait_ms), wait_ms));
            tell(step, account, device, &Body::ResendRequest(failed), None)?;
        }
        Ok(put_off.into_iter().map(|(_, again_ms)| again_ms).min())
    }
}

/// Receipts leave together: one envelope names many messages.
pub(super) fn queue_receipts(step: &mut Step<'_, '_>) -> Result<(), CoreError> {
    for (account, device) in step.tx.receipt_devices()? {
        if step.tx.tells(&account, &device, kind::DELIVERED)? {
            // One envelope at a time: what comes until it has left goes into the next one. A device that never reads
            // its mailbox costs one envelope here, not one a message.
            continue;
        }
        let limit = u32::try_from(MAX_HASHES_PER_REQUEST).unwrap_or(u32::MAX);
        let messages = step.tx.take_receipts(&account, &device, limit)?;
        tell(step, account, device, &Body::Delivered(messages), None)?;
    }
    Ok(())
}

/// A copy of a message will reach its device no more.
pub(super) fn expire_copy(
    step: &Step<'_, '_>,
    entry: &Entry,
    account: AccountId,
    device: DeviceId,
    tag: FateTag,
) -> Result<(), CoreError> {
    let (message, state, stored_ms) = (entry.message, Fate::Expired, entry.created_ms);
    Ok(step.tx.add_fate(&CopyFate { message, account, device, tag, state, stored_ms })?)
}

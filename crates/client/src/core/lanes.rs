//! Lanes: what goes out next, and when. Each conversation has two, one for messages of the user's and one for what
//! devices tell each other, so that a receipt does not wait behind a message that a full mailbox refused. A lane has
//! one Submit under way, with as many messages as fit, so that nothing overtakes.

use std::collections::BTreeSet;

use sotto_proto::{AccountId, DeviceId, SubmissionId, limits::MAX_PIPELINED};

use super::{
    Core, CoreError, Step,
    claims::{KEYLESS_AGAIN_MS, Ready},
    due::queue_receipts,
    lists::Sought,
    restore::Restoring,
};
use crate::{api::Trust, store::ContactRecord};

/// Entries of a lane that are looked at together.
pub(crate) const LANE_LIMIT: u32 = 10_000;
/// Messages sealed for one Submit: as many as a frame holds to a few devices.
const BATCH: usize = 128;
/// A full mailbox is tried again after this, and then after twice as long each time, milliseconds.
const REFUSED_AGAIN_MS: u64 = 10_000;
/// The longest such wait.
const REFUSED_AGAIN_MAX_MS: u64 = 10 * 60_000;

/// What a lane has under way on this connection.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) in_flight: bool,
    /// What is under way may have been stored by an earlier Submit, and taken before anybody here knew of its fate tags.
    pub(crate) repeats: bool,
    pub(crate) not_before_ms: u64,
}

/// The earlier of two times that may not be.
pub(super) fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Core {
    /// Sends what can be sent. Answers when to look again.
    pub(super) fn pump(&mut self, step: &mut Step<'_, '_>) -> Result<Option<u64>, CoreError> {
        if !self.up() {
            return Ok(None);
        }
        self.expire_entries(step)?;
        queue_receipts(step)?;
        let ask_ms = self.queue_requests(step)?;
        let mut sought = Vec::new();
        for name in step.tx.unresolved_names()? {
            if let Ok(name) = name.parse() {
                sought.push(Sought::Name(name));
            }
        }
        for (_, name) in step.tx.held_identities()? {
            sought.push(Sought::Name(name));
        }
        let mut wake_ms = earlier(self.look_up(step, sought), self.recount(step));
        wake_ms = earlier(earlier(wake_ms, ask_ms), self.ask_fates_again(step)?);
        if self.put_back_waits(step)? {
            return Ok(wake_ms);
        }
        for (account, user) in step.tx.lanes()? {
            // The server takes this many requests at a time; what is more waits here as well as there.
            if self.requests.len() >= MAX_PIPELINED / 2 {
                break;
            }
            let lane = self.lanes.entry((account, user)).or_default();
            if lane.in_flight {
                continue;
            }
            if lane.not_before_ms > step.now_ms {
                wake_ms = earlier(wake_ms, Some(lane.not_before_ms));
                continue;
            }
            wake_ms = earlier(wake_ms, self.pump_lane(step, account, user)?);
            let waits_ms = self.lanes.get(&(account, user)).map_or(0, |lane| lane.not_before_ms);
            wake_ms = earlier(wake_ms, Some(waits_ms).filter(|waits_ms| *waits_ms > step.now_ms));
        }
        Ok(earlier(earlier(wake_ms, self.held_due_ms()), Some(self.upkeep_ms)))
    }

    fn pump_lane(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        user: bool,
    ) -> Result<Option<u64>, CoreError> {
        let Some(contact) = step.tx.contact(&account)? else {
            return Ok(self.look_up(step, vec![Sought::Account(account)]));
        };
        let Some(own) = step.tx.contact(&self.me.account)? else {
            return Err(CoreError::Bug("the profile does not hold its own device list".to_owned()));
        };
        if user && self.restoring != Restoring::No {
            // What the server lost has to leave first: the answers to come tell.
            return Ok(None);
        }
        if self.doubted.contains(&account) || self.missing.contains_key(&account) {
            return Ok(self.look_up(step, vec![Sought::Name(contact.username)]));
        }
        if !Self::may_send(&contact) {
            let sought = Sought::Name(contact.username.clone());
            let asked = self.was_answered(&sought);
            let wake_ms = self.look_up(step, vec![sought]);
            if user && (contact.changed.is_some() || asked) {
                self.hold_lane(step, &contact)?;
            }
            return Ok(wake_ms);
        }
        let behind = if user { self.left_behind(step, &contact, &own)? } else { Vec::new() };
        let under_way = step.tx.lane_submission(&account, user)?;
        if under_way.is_some() {
            self.lanes.entry((account, user)).or_default().repeats = true;
        }
        if under_way.is_some() || !behind.is_empty() {
            let submission = under_way.unwrap_or_else(|| SubmissionId(step.random()));
            for entry in behind {
                step.tx.set_submission(entry, Some(&submission))?;
            }
            return self.submit_again(step, &contact, &own, user, submission);
        }
        if let Some(submission) = self.retry_refused(step, account, user)? {
            return self.submit_again(step, &contact, &own, user, submission);
        }
        // What is for one device alone does not hold up what is for others.
        let put_off = if user { Vec::new() } else { self.put_off(step) };
        let without: Vec<DeviceId> = put_off.iter().map(|(device, _)| *device).collect();
        let entries = step.tx.fresh(&account, user, &without, u32::try_from(BATCH).unwrap_or(u32::MAX))?;
        if entries.is_empty() {
            let waiting = step.tx.refusing_devices(&account, user)?;
            let times =
                waiting.iter().filter_map(|(device, _)| self.refusing.get(device)).map(|(again, _)| *again);
            return Ok(times.chain(put_off.into_iter().map(|(_, again_ms)| again_ms)).min());
        }
        match self.ready(step, &contact, &own, &entries)? {
            Ready::Later(wake_ms) => Ok(wake_ms),
            Ready::Yes => {
                let submission = SubmissionId(step.random());
                self.seal_batch(step, &contact, &own, &entries, &submission)?;
                self.submit(step, &contact, &own, user, submission)?;
                Ok(None)
            }
        }
    }

    /// Messages that some device has not taken, and that were sealed before another one was added. They leave for that one before
    /// anything that was written later.
    fn left_behind(
        &self,
        step: &Step<'_, '_>,
        contact: &ContactRecord,
        own: &ContactRecord,
    ) -> Result<Vec<i64>, CoreError> {
        let mut behind = BTreeSet::new();
        if step.tx.refusing_devices(&contact.account, true)?.is_empty() {
            return Ok(Vec::new());
        }
        let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
        for certificate in contact.list.list().devices.iter().chain(&own.list.list().devices) {
            let device = certificate.certificate().device;
            if device != self.me.device && !self.given_up(step, &device) {
                behind.extend(step.tx.sealed_without(&contact.account, &device, limit)?);
            }
        }
        Ok(behind.into_iter().take(BATCH).collect())
    }

    /// Puts what a device's mailbox had no room for into a Submit again, when its time has come.
    fn retry_refused(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        user: bool,
    ) -> Result<Option<SubmissionId>, CoreError> {
        for (device, _) in step.tx.refusing_devices(&account, user)? {
            // Not known on this connection: a reconnect is a good time to try.
            let (again_ms, wait_ms) =
                self.refusing.get(&device).copied().unwrap_or((0, REFUSED_AGAIN_MS / 2));
            if again_ms > step.now_ms {
                continue;
            }
            let next_ms = wait_ms.saturating_mul(2).min(REFUSED_AGAIN_MAX_MS);
            self.refusing.insert(device, (step.now_ms.saturating_add(next_ms), next_ms));
            let submission = SubmissionId(step.random());
            let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
            if step.tx.retry_refused(&account, user, &device, &submission, limit)? > 0 {
                return Ok(Some(submission));
            }
        }
        Ok(None)
    }

    /// Keeps the lanes to an account waiting for a while.
    pub(super) fn delay_lanes(&mut self, step: &Step<'_, '_>, account: AccountId, after_ms: u64) {
        for user in [true, false] {
            let lane = self.lanes.entry((account, user)).or_default();
            lane.not_before_ms = step.now_ms.saturating_add(after_ms);
        }
    }

    /// Lets a lane wait for a moment; answers until when.
    pub(super) fn delay(&mut self, step: &Step<'_, '_>, lane: (AccountId, bool)) -> u64 {
        let until_ms = step.now_ms.saturating_add(KEYLESS_AGAIN_MS);
        self.lanes.entry(lane).or_default().not_before_ms = until_ms;
        until_ms
    }

    /// A device's mailbox did not take an envelope: when to try again.
    pub(super) fn note_refusing(&mut self, step: &Step<'_, '_>, device: DeviceId) {
        let first = (step.now_ms.saturating_add(REFUSED_AGAIN_MS), REFUSED_AGAIN_MS);
        self.refusing.entry(device).or_insert(first);
    }

    /// Whether something is on its way that could leave, or be settled, within moments: who closes a client waits for it.
    pub fn is_busy(&self) -> bool {
        self.undelivered.untold()
            || self.up()
                && (self.lanes.values().any(|lane| lane.in_flight)
                    || !self.claiming.is_empty()
                    || !self.blocking.is_empty()
                    || self.looking_up())
    }

    /// How sure it is that a recipient is who they were; what a face needs to say why something waits.
    pub(super) fn held_trust(contact: &ContactRecord) -> Option<Trust> {
        (!Self::may_send(contact)).then_some(Trust::Changed)
    }
}

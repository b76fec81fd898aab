//! What the engine holds, and every change of it.

use std::collections::{BTreeMap, BTreeSet};

use sotto_proto::{
    AccountId, DeviceId, FateTag, QueueNumber, SignedDeviceList, Username,
    frame::{DeviceOutcome, FateState, Outcome, Submitted},
    limits::{FATE_MARGIN_MS, SUBMISSION_MEMORY_MS},
};

use super::{EXPIRE_ROWS, prekeys::Prekeys};
use crate::{
    AccountRecord, AckOutcome, Appended, CreateOutcome, Ending, Invite, InviteHash, NewAccount,
    ReplaceOutcome, StoreConfig, StoreError, Submission, SubmissionKey,
    ended::{Ended, outdated},
    invite::MAX_INVITES,
    quota::{Admission, Load},
};

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) closed: bool,
    pub(super) disk_full: bool,
    pub(super) restores: u64,
    pub(super) last_number: u64,
    pub(super) names: BTreeMap<String, (Username, AccountId)>,
    pub(super) accounts: BTreeMap<AccountId, AccountRecord>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) invites: BTreeMap<InviteHash, Invite>,
    pub(super) ended: BTreeMap<AccountId, Ended>,
    pub(super) submissions: BTreeMap<SubmissionKey, Submitted>,
    pub(super) fates: BTreeMap<FateTag, Fate>,
}

#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) account: AccountId,
    /// Given once, so that a device that comes back gets another queue.
    pub(super) queue: u64,
    pub(super) acked: u64,
    pub(super) lost_through: u64,
    /// The counter's state when the incarnation began, 0 in the first.
    pub(super) begun: u64,
    pub(super) load: Load,
    pub(super) envelopes: BTreeMap<u64, Waiting>,
    pub(super) prekeys: Prekeys,
}

#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) tag: FateTag,
    pub(super) stored_ms: u64,
    pub(super) expires_ms: u64,
    pub(super) envelope: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct Fate {
    pub(super) number: u64,
    pub(super) state: FateState,
    pub(super) forget_ms: u64,
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn open_mailbox(&mut self, account: AccountId, device: DeviceId) {
        let queue = self.next_number();
        let mailbox = Device {
            account,
            queue,
            acked: 0,
            lost_through: 0,
            begun: 0,
            load: Load::default(),
            envelopes: BTreeMap::new(),
            prekeys: Prekeys::default(),
        };
        self.devices.insert(device, mailbox);
    }

    fn close_mailbox(&mut self, device: DeviceId) {
        if let Some(removed) = self.devices.remove(&device) {
            for (number, waiting) in removed.envelopes {
                self.mark(waiting.tag, number, FateState::Expired);
            }
        }
    }

    /// Only the newest envelope under a tag counts: a sender that uses one twice blurs its own fates.
    fn mark(&mut self, tag: FateTag, number: u64, state: FateState) {
        if let Some(fate) = self.fates.get_mut(&tag)
            && fate.number == number
        {
            fate.state = state;
        }
    }

    pub(super) fn create(&mut self, new: &NewAccount) -> CreateOutcome {
        let list = new.list.list();
        if let Some(why) = self.ended(&list.account, new.now_ms) {
            return CreateOutcome::Ended(why);
        }
        if let Some((name, account)) = self.names.get(&list.username.skeleton()) {
            if *name != list.username {
                return CreateOutcome::LooksLike(name.clone());
            }
            let same = *account == list.account
                && self.accounts.get(account).is_some_and(|record| {
                    record.account_key == list.account_key && record.list == new.list.as_bytes()
                });
            return if same { CreateOutcome::Created } else { CreateOutcome::NameTaken };
        }
        let record = AccountRecord::first(new);
        let in_use = record.devices.iter().any(|device| self.devices.contains_key(device));
        if in_use || self.accounts.contains_key(&list.account) {
            return CreateOutcome::Collision;
        }
        if let Some(hash) = new.invite {
            let Some(invite) = self.invites.remove(&hash) else { return CreateOutcome::NotInvited };
            if !invite.valid(new.now_ms) {
                self.invites.insert(hash, invite);
                return CreateOutcome::NotInvited;
            }
            self.invites.extend(invite.used().map(|left| (hash, left)));
        }
        self.add(record);
        CreateOutcome::Created
    }

    fn add(&mut self, record: AccountRecord) {
        for device in &record.devices {
            self.open_mailbox(record.account, *device);
        }
        self.names.insert(record.username.skeleton(), (record.username.clone(), record.account));
        self.accounts.insert(record.account, record);
    }

    pub(super) fn remove(&mut self, account: AccountId) -> bool {
        let Some(record) = self.accounts.remove(&account) else { return false };
        self.names.remove(&record.username.skeleton());
        for device in record.devices {
            self.close_mailbox(device);
        }
        true
    }

    /// How an account ended, if that is remembered.
    pub(super) fn ended(&self, account: &AccountId, now_ms: u64) -> Option<Ending> {
        self.ended.get(account).and_then(|ended| ended.remembered(now_ms))
    }

    /// Remembers the end of an account, and nothing that need not be remembered any more.
    pub(super) fn end(&mut self, account: AccountId, ended: Ended, now_ms: u64, limit: usize) {
        self.ended.remove(&account);
        for old in outdated(self.ended.iter().map(|(account, ended)| (*account, *ended)), now_ms, limit) {
            self.ended.remove(&old);
        }
        self.ended.insert(account, ended);
    }

    pub(super) fn reset(
        &mut self,
        config: &StoreConfig,
        (account, revision): (AccountId, u64),
        list: &SignedDeviceList,
        now_ms: u64,
    ) -> Result<ReplaceOutcome, StoreError> {
        if self.disk_full {
            return Err(StoreError::DiskFull);
        }
        let Some(current) = self.accounts.get(&account) else { return Ok(ReplaceOutcome::Unknown) };
        if current.revision != revision {
            return Ok(ReplaceOutcome::Conflict(Box::new(current.clone())));
        }
        let next = current.reset_to(list, now_ms);
        let in_use = next.devices.iter().any(|device| self.devices.contains_key(device))
            || self.accounts.contains_key(&next.account)
            || self.ended(&next.account, now_ms).is_some();
        if in_use || next.username != current.username {
            return Ok(ReplaceOutcome::Collision);
        }
        let revision = next.revision;
        self.remove(account);
        self.end(account, Ended::new(Ending::Replaced, now_ms), now_ms, config.ended_accounts);
        self.add(next);
        Ok(ReplaceOutcome::Replaced(revision))
    }

    pub(super) fn create_invite(&mut self, invite: Invite) -> bool {
        self.invites.retain(|_, other| other.valid(invite.created_ms));
        let room = self.invites.len() < MAX_INVITES;
        if room {
            self.invites.insert(invite.hash, invite);
        }
        room
    }

    pub(super) fn replace(
        &mut self,
        id: AccountId,
        revision: u64,
        new: AccountRecord,
    ) -> Result<ReplaceOutcome, StoreError> {
        let Some(current) = self.accounts.get(&id) else { return Ok(ReplaceOutcome::Unknown) };
        if current.revision != revision {
            return Ok(ReplaceOutcome::Conflict(Box::new(current.clone())));
        }
        let next = current.succeeded_by(new);
        let foreign =
            |device: &DeviceId| self.devices.get(device).is_some_and(|known| known.account != next.account);
        if next.devices.iter().any(foreign) {
            return Ok(ReplaceOutcome::Collision);
        }
        let gone: Vec<_> =
            current.devices.iter().filter(|device| !next.devices.contains(device)).copied().collect();
        let added: Vec<_> =
            next.devices.iter().filter(|device| !self.devices.contains_key(device)).copied().collect();
        if self.disk_full && !added.is_empty() {
            return Err(StoreError::DiskFull);
        }
        for device in gone {
            self.close_mailbox(device);
        }
        for device in added {
            self.open_mailbox(next.account, device);
        }
        let revision = next.revision;
        self.accounts.insert(next.account, next);
        Ok(ReplaceOutcome::Replaced(revision))
    }

    pub(super) fn append(&mut self, config: &StoreConfig, submission: Submission) -> Appended {
        if let Some(submitted) = self.submissions.get(&submission.key) {
            return Appended {
                submitted: submitted.clone(),
                numbers: vec![None; submission.envelopes.len()],
            };
        }
        let mut admission = Admission::new(config, self.disk_full);
        let (mut devices, mut numbers) = (Vec::new(), Vec::new());
        for envelope in submission.envelopes {
            let load = self.devices.get(&envelope.device).map(|device| device.load);
            let outcome = admission.decide(&envelope, load);
            devices.push(DeviceOutcome { device: envelope.device, outcome });
            let stored = matches!(outcome, Outcome::Stored { .. });
            numbers.push(stored.then(|| QueueNumber(self.next_number())));
            let (Some(Some(number)), Some(device)) = (numbers.last(), self.devices.get_mut(&envelope.device))
            else {
                continue;
            };
            let expires_ms = submission.now_ms.saturating_add(config.retention_ms);
            device.load.add(envelope.envelope.len());
            let fate = Fate {
                number: number.0,
                state: FateState::Waiting,
                forget_ms: expires_ms.saturating_add(FATE_MARGIN_MS),
            };
            self.fates.insert(envelope.fate_tag, fate);
            let waiting = Waiting {
                tag: envelope.fate_tag,
                stored_ms: submission.now_ms,
                expires_ms,
                envelope: envelope.envelope,
            };
            device.envelopes.insert(number.0, waiting);
        }
        let submitted = Submitted { devices, stored_ms: submission.now_ms };
        if !self.disk_full {
            self.submissions.insert(submission.key, submitted.clone());
        }
        Appended { submitted, numbers }
    }

    pub(super) fn ack(&mut self, device: DeviceId, through: u64) -> AckOutcome {
        let last_number = self.last_number;
        let Some(mailbox) = self.devices.get_mut(&device) else { return AckOutcome::Removed(Vec::new()) };
        if through > last_number {
            mailbox.begun = last_number + 1;
            mailbox.lost_through = 0;
            self.last_number += 1;
            return AckOutcome::BegunAnew;
        }
        if through <= mailbox.acked {
            return AckOutcome::Removed(Vec::new());
        }
        mailbox.acked = through;
        let later = mailbox.envelopes.split_off(&through.saturating_add(1));
        let taken = std::mem::replace(&mut mailbox.envelopes, later);
        for waiting in taken.values() {
            mailbox.load.remove(waiting.envelope.len());
        }
        let tags = taken.values().map(|waiting| waiting.tag).collect();
        for (number, waiting) in taken {
            self.mark(waiting.tag, number, FateState::Taken);
        }
        AckOutcome::Removed(tags)
    }

    pub(super) fn expire(&mut self, now_ms: u64) -> usize {
        let mut expired = Vec::new();
        for mailbox in self.devices.values_mut() {
            let due: BTreeSet<u64> = mailbox
                .envelopes
                .iter()
                .filter(|(_, waiting)| waiting.expires_ms <= now_ms)
                .map(|(number, _)| *number)
                .take(EXPIRE_ROWS.saturating_sub(expired.len()))
                .collect();
            for number in due {
                if let Some(waiting) = mailbox.envelopes.remove(&number) {
                    mailbox.load.remove(waiting.envelope.len());
                    mailbox.lost_through = mailbox.lost_through.max(number);
                    expired.push((waiting.tag, number));
                }
            }
        }
        let mut count = expired.len();
        for (tag, number) in expired {
            self.mark(tag, number, FateState::Expired);
        }
        let room = EXPIRE_ROWS.saturating_sub(count);
        let old: Vec<_> = self
            .submissions
            .iter()
            .filter(|(_, submitted)| submitted.stored_ms.saturating_add(SUBMISSION_MEMORY_MS) <= now_ms)
            .map(|(key, _)| *key)
            .take(room)
            .collect();
        count += old.len();
        for key in old {
            self.submissions.remove(&key);
        }
        let room = EXPIRE_ROWS.saturating_sub(count);
        let old: Vec<_> = self
            .fates
            .iter()
            .filter(|(_, fate)| fate.forget_ms <= now_ms)
            .map(|(tag, _)| *tag)
            .take(room)
            .collect();
        count += old.len();
        for tag in old {
            self.fates.remove(&tag);
        }
        count
    }
}

//! The memory engine: the store's semantics in plain maps, for tests and simulation. Every answer is there at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use sotto_proto::{
    AccountId, DeviceId, FateTag, Incarnation, QueueNumber, SignedDeviceList, Username,
    frame::{DeviceOutcome, FateState, MailboxState, Outcome, Submitted},
    limits::{FATE_MARGIN_MS, MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS, SUBMISSION_MEMORY_MS},
    prekey::{KemPrekey, OneTimePrekey, PrekeyBundle, PrekeyCounts, PrekeyId, PrekeyUpload, SignedPrekey},
};

use crate::{
    AccountRecord, AckOutcome, Appended, CreateOutcome, Delivery, Ending, Invite, InviteHash, NewAccount,
    Pending, ReplaceOutcome, Store, StoreConfig, StoreError, Submission, SubmissionKey, Usage,
    ended::{Ended, outdated},
    invite::MAX_INVITES,
    quota::{Admission, Load},
};

/// Rows one call of [`Store::expire`] removes at most.
pub(crate) const EXPIRE_ROWS: usize = 512;

/// A store in memory. Clones are handles on the same data, so a simulated server can be stopped and started again on
/// what it had: everything answered was "durable".
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    config: StoreConfig,
}

#[derive(Debug, Clone, Default)]
struct State {
    closed: bool,
    disk_full: bool,
    restores: u64,
    last_number: u64,
    names: BTreeMap<String, (Username, AccountId)>,
    accounts: BTreeMap<AccountId, AccountRecord>,
    devices: BTreeMap<DeviceId, Device>,
    invites: BTreeMap<InviteHash, Invite>,
    ended: BTreeMap<AccountId, Ended>,
    submissions: BTreeMap<SubmissionKey, Submitted>,
    fates: BTreeMap<FateTag, Fate>,
}

#[derive(Debug, Clone)]
struct Device {
    account: AccountId,
    /// Given once, so that a device that comes back gets another queue.
    queue: u64,
    acked: u64,
    lost_through: u64,
    /// The counter's state when the incarnation began, 0 in the first.
    begun: u64,
    load: Load,
    envelopes: BTreeMap<u64, Waiting>,
    prekeys: Prekeys,
}

#[derive(Debug, Clone)]
struct Waiting {
    tag: FateTag,
    stored_ms: u64,
    expires_ms: u64,
    envelope: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Fate {
    number: u64,
    state: FateState,
    forget_ms: u64,
}

#[derive(Debug, Clone, Default)]
struct Prekeys {
    signed: Option<SignedPrekey>,
    last_resort: Option<KemPrekey>,
    one_time: BTreeMap<PrekeyId, OneTimePrekey>,
    one_time_kem: BTreeMap<PrekeyId, KemPrekey>,
    /// Ids up to these were used before.
    highest: Option<PrekeyId>,
    highest_kem: Option<PrekeyId>,
}

impl Prekeys {
    fn counts(&self) -> PrekeyCounts {
        PrekeyCounts {
            one_time: u32::try_from(self.one_time.len()).unwrap_or(u32::MAX),
            one_time_kem: u32::try_from(self.one_time_kem.len()).unwrap_or(u32::MAX),
            signed: self.signed.as_ref().map(|key| key.id),
            last_resort: self.last_resort.as_ref().map(|key| key.id),
        }
    }

    fn put(&mut self, mut upload: PrekeyUpload) {
        if upload.signed.is_some() {
            self.signed = upload.signed;
        }
        if upload.last_resort.is_some() {
            self.last_resort = upload.last_resort;
        }
        upload.one_time.sort_by_key(|key| key.id);
        for key in upload.one_time {
            if Some(key.id) > self.highest && self.one_time.len() < MAX_ONE_TIME_PREKEYS {
                self.highest = Some(key.id);
                self.one_time.insert(key.id, key);
            }
        }
        upload.one_time_kem.sort_by_key(|key| key.id);
        for key in upload.one_time_kem {
            if Some(key.id) > self.highest_kem && self.one_time_kem.len() < MAX_ONE_TIME_KEM_PREKEYS {
                self.highest_kem = Some(key.id);
                self.one_time_kem.insert(key.id, key);
            }
        }
    }

    fn claim(&mut self, device: DeviceId, one_time: bool, now_ms: u64) -> Option<PrekeyBundle> {
        let signed = self.signed.clone()?;
        let last_resort = self.last_resort.clone()?;
        let (mut kem, mut curve) = (None, None);
        if one_time {
            kem = std::iter::from_fn(|| self.one_time_kem.pop_first())
                .map(|(_, key)| key)
                .find(|key| now_ms < key.validity.expires_ms);
            curve = self.one_time.pop_first().map(|(_, key)| key);
        }
        Some(PrekeyBundle {
            device,
            signed,
            kem_one_time: kem.is_some(),
            kem: kem.unwrap_or(last_resort),
            one_time: curve,
        })
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new(config: StoreConfig) -> Self {
        Self { state: Arc::default(), config }
    }

    /// Another handle on the same data, open again after [`Store::close`].
    pub fn reopen(&self) -> Self {
        self.lock().closed = false;
        self.clone()
    }

    /// From now on the disk counts as full, or as not full.
    pub fn set_disk_full(&self, full: bool) {
        self.lock().disk_full = full;
    }

    /// What a restore from a backup does: no one-time prekeys are left, mailboxes get a new incarnation.
    pub fn restored(&self) {
        let mut state = self.lock();
        state.restores += 1;
        let last_number = state.last_number;
        for device in state.devices.values_mut() {
            device.begun = last_number;
            device.prekeys.one_time.clear();
            device.prekeys.one_time_kem.clear();
        }
    }

    /// A copy of all data, as somebody may take it of a folder and put it back later. Like any opening it skips some numbers.
    #[must_use]
    pub fn copy(&self, skipped_numbers: u64) -> Self {
        let mut state = self.lock().clone();
        state.last_number += skipped_numbers;
        Self { state: Arc::new(Mutex::new(state)), config: self.config }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test thread must not hide what the test was about.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> Result<T, StoreError>) -> Pending<T> {
        let mut state = self.lock();
        Pending::ready(if state.closed { Err(StoreError::Stopped) } else { work(&mut state) })
    }
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

    fn create(&mut self, new: &NewAccount) -> CreateOutcome {
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

    fn remove(&mut self, account: AccountId) -> bool {
        let Some(record) = self.accounts.remove(&account) else { return false };
        self.names.remove(&record.username.skeleton());
        for device in record.devices {
            self.close_mailbox(device);
        }
        true
    }

    /// How an account ended, if that is remembered.
    fn ended(&self, account: &AccountId, now_ms: u64) -> Option<Ending> {
        self.ended.get(account).and_then(|ended| ended.remembered(now_ms))
    }

    /// Remembers the end of an account, and nothing that need not be remembered any more.
    fn end(&mut self, account: AccountId, ended: Ended, now_ms: u64, limit: usize) {
        self.ended.remove(&account);
        for old in outdated(self.ended.iter().map(|(account, ended)| (*account, *ended)), now_ms, limit) {
            self.ended.remove(&old);
        }
        self.ended.insert(account, ended);
    }

    fn reset(
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

    fn create_invite(&mut self, invite: Invite) -> bool {
        self.invites.retain(|_, other| other.valid(invite.created_ms));
        let room = self.invites.len() < MAX_INVITES;
        if room {
            self.invites.insert(invite.hash, invite);
        }
        room
    }

    fn replace(
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

    fn append(&mut self, config: &StoreConfig, submission: Submission) -> Appended {
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

    fn ack(&mut self, device: DeviceId, through: u64) -> AckOutcome {
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

    fn expire(&mut self, now_ms: u64) -> usize {
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

impl Store for MemoryStore {
    fn create_account(&self, account: NewAccount) -> Pending<CreateOutcome> {
        self.with(
            |state| if state.disk_full { Err(StoreError::DiskFull) } else { Ok(state.create(&account)) },
        )
    }

    fn account_by_name(&self, name: &Username) -> Pending<Option<AccountRecord>> {
        self.with(|state| {
            let found = state.names.get(&name.skeleton()).filter(|(known, _)| known == name);
            Ok(found.and_then(|(_, account)| state.accounts.get(account)).cloned())
        })
    }

    fn account(&self, account: AccountId) -> Pending<Option<AccountRecord>> {
        self.with(|state| Ok(state.accounts.get(&account).cloned()))
    }

    fn replace_account(&self, expected: &AccountRecord, new: AccountRecord) -> Pending<ReplaceOutcome> {
        self.with(|state| state.replace(expected.account, expected.revision, new))
    }

    fn reset_account(
        &self,
        expected: &AccountRecord,
        list: SignedDeviceList,
        now_ms: u64,
    ) -> Pending<ReplaceOutcome> {
        self.with(|state| state.reset(&self.config, (expected.account, expected.revision), &list, now_ms))
    }

    fn remove_account(&self, account: AccountId, now_ms: u64) -> Pending<bool> {
        self.with(|state| {
            let was = state.remove(account);
            if was {
                let ended = Ended::new(Ending::Removed, now_ms);
                state.end(account, ended, now_ms, self.config.ended_accounts);
            }
            Ok(was)
        })
    }

    fn ended(&self, account: AccountId, now_ms: u64) -> Pending<Option<Ending>> {
        self.with(|state| Ok(state.ended(&account, now_ms)))
    }

    fn create_invite(&self, invite: Invite) -> Pending<bool> {
        self.with(
            |state| if state.disk_full { Err(StoreError::DiskFull) } else { Ok(state.create_invite(invite)) },
        )
    }

    fn invite(&self, hash: InviteHash) -> Pending<Option<Invite>> {
        self.with(|state| Ok(state.invites.get(&hash).cloned()))
    }

    fn invites(&self) -> Pending<Vec<Invite>> {
        self.with(|state| Ok(state.invites.values().cloned().collect()))
    }

    fn revoke_invite(&self, hash: InviteHash) -> Pending<bool> {
        self.with(|state| Ok(state.invites.remove(&hash).is_some()))
    }

    fn names(&self, after: Option<Username>, limit: usize) -> Pending<Vec<(Username, AccountId)>> {
        self.with(|state| {
            let all: BTreeMap<_, _> = state.names.values().cloned().collect();
            let later = all.into_iter().filter(|(name, _)| after.as_ref().is_none_or(|after| name > after));
            Ok(later.take(limit).collect())
        })
    }

    fn put_prekeys(&self, device: DeviceId, upload: PrekeyUpload) -> Pending<PrekeyCounts> {
        self.with(|state| {
            if state.disk_full {
                return Err(StoreError::DiskFull);
            }
            let Some(mailbox) = state.devices.get_mut(&device) else { return Ok(PrekeyCounts::default()) };
            mailbox.prekeys.put(upload);
            Ok(mailbox.prekeys.counts())
        })
    }

    fn prekey_counts(&self, device: DeviceId) -> Pending<PrekeyCounts> {
        self.with(|state| {
            Ok(state.devices.get(&device).map(|mailbox| mailbox.prekeys.counts()).unwrap_or_default())
        })
    }

    fn claim_prekeys(
        &self,
        devices: Vec<DeviceId>,
        one_time: bool,
        now_ms: u64,
    ) -> Pending<Vec<Option<PrekeyBundle>>> {
        self.with(|state| {
            let mut claim =
                |device: DeviceId| state.devices.get_mut(&device)?.prekeys.claim(device, one_time, now_ms);
            Ok(devices.into_iter().map(&mut claim).collect())
        })
    }

    fn append(&self, submission: Submission) -> Pending<Appended> {
        self.with(|state| Ok(state.append(&self.config, submission)))
    }

    fn submission(&self, key: SubmissionKey) -> Pending<Option<Submitted>> {
        self.with(|state| Ok(state.submissions.get(&key).cloned()))
    }

    fn mailbox(&self, device: DeviceId) -> Pending<Option<MailboxState>> {
        self.with(|state| {
            let restores = state.restores;
            Ok(state.devices.get(&device).map(|mailbox| MailboxState {
                incarnation: incarnation([restores, mailbox.queue, mailbox.begun]),
                acked: QueueNumber(if mailbox.acked > mailbox.begun { mailbox.acked } else { 0 }),
                lost_through: QueueNumber(mailbox.lost_through),
            }))
        })
    }

    fn read(&self, device: DeviceId, after: QueueNumber, max_bytes: usize) -> Pending<Vec<Delivery>> {
        self.with(|state| {
            let Some(mailbox) = state.devices.get(&device) else { return Ok(Vec::new()) };
            let mut bytes = 0;
            let mut deliveries = Vec::new();
            for (number, waiting) in mailbox.envelopes.range(after.0.saturating_add(1)..) {
                if bytes >= max_bytes && !deliveries.is_empty() {
                    break;
                }
                bytes += waiting.envelope.len();
                deliveries.push(Delivery {
                    number: QueueNumber(*number),
                    stored_ms: waiting.stored_ms,
                    envelope: waiting.envelope.clone(),
                });
            }
            Ok(deliveries)
        })
    }

    fn ack(&self, device: DeviceId, through: QueueNumber) -> Pending<AckOutcome> {
        self.with(|state| Ok(state.ack(device, through.0)))
    }

    fn fates(&self, tags: Vec<FateTag>) -> Pending<Vec<FateState>> {
        self.with(|state| {
            let fate = |tag| state.fates.get(tag).map_or(FateState::Unknown, |fate| fate.state);
            Ok(tags.iter().map(fate).collect())
        })
    }

    fn expire(&self, now_ms: u64) -> Pending<usize> {
        self.with(|state| Ok(state.expire(now_ms)))
    }

    fn usage(&self) -> Pending<Usage> {
        self.with(|state| {
            let load = |f: fn(&Load) -> u64| state.devices.values().map(|device| f(&device.load)).sum();
            Ok(Usage {
                accounts: state.accounts.len() as u64,
                envelopes: load(|load| load.envelopes),
                envelope_bytes: load(|load| load.bytes),
                disk_bytes: 0,
            })
        })
    }

    fn close(&self) -> Pending<()> {
        self.lock().closed = true;
        Pending::ready(Ok(()))
    }
}

fn incarnation(of: [u64; 3]) -> Incarnation {
    let mut hash = Sha256::new();
    for number in of {
        hash.update(number.to_be_bytes());
    }
    let mut bytes = [0; Incarnation::LENGTH];
    for (to, from) in bytes.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    Incarnation(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Engine};

    impl Engine for MemoryStore {
        type Store = Self;

        fn create(config: StoreConfig) -> Self {
            Self::new(config)
        }

        fn store(&self) -> &Self {
            self
        }

        fn reopen(&mut self) {
            MemoryStore::reopen(self);
        }

        fn set_disk_full(&mut self, full: bool) {
            MemoryStore::set_disk_full(self, full);
        }
    }

    #[test]
    fn the_memory_engine_conforms() {
        conformance::all::<MemoryStore>();
    }
}

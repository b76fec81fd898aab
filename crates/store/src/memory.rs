//! The memory engine: the store's semantics in plain maps, for tests and simulation. Every answer is there at once.

mod prekeys;
mod state;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use sotto_proto::{
    AccountId, DeviceId, FateTag, Incarnation, QueueNumber, SignedDeviceList, Username,
    frame::{FateState, MailboxState, Submitted},
    prekey::{PrekeyBundle, PrekeyCounts, PrekeyUpload},
};

use self::state::State;
use crate::{
    AccountRecord, AckOutcome, Appended, CreateOutcome, Delivery, Ending, Invite, InviteHash, NewAccount,
    Pending, ReplaceOutcome, Store, StoreConfig, StoreError, Submission, SubmissionKey, Usage, ended::Ended,
    quota::Load,
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
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::conformance::{self, Engine, Person};

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

    #[test]
    fn a_restore_begins_new_mailboxes_and_has_no_one_time_keys() {
        let store = MemoryStore::new(StoreConfig::default());
        let bob = Person::new("bob", 1);
        bob.register(&store);
        let counts = store.put_prekeys(bob.device, conformance::upload(1, 1..3, 1..4)).wait().unwrap();
        assert_eq!((counts.one_time, counts.one_time_kem), (2, 3));
        let number =
            conformance::put(&store, 1, 1, vec![conformance::envelope(bob.device, 1, 10)]).numbers[0];
        store.ack(bob.device, number.unwrap()).wait().unwrap();
        let mailbox = || store.mailbox(bob.device).wait().unwrap().unwrap();
        let incarnation = || mailbox().incarnation;
        assert_eq!(Some(mailbox().acked), number);
        let mut seen = vec![incarnation()];
        assert_eq!(incarnation(), seen[0]);
        for _ in 0..2 {
            store.restored();
            assert!(!seen.contains(&incarnation()), "also where nothing happened in between");
            seen.push(incarnation());
            assert_eq!(mailbox().acked, QueueNumber(0), "nothing in this life");
        }
        let counts = store.prekey_counts(bob.device).wait().unwrap();
        assert_eq!((counts.one_time, counts.one_time_kem), (0, 0));
        assert!(counts.signed.is_some());
    }

    #[test]
    fn a_copy_has_data_of_its_own_and_skips_numbers() {
        let store = MemoryStore::new(StoreConfig::default());
        let bob = Person::new("bob", 1);
        bob.register(&store);
        let put = |store: &MemoryStore, n| {
            conformance::put(store, n, n, vec![conformance::envelope(bob.device, n, 10)]).numbers[0].unwrap()
        };
        let first = put(&store, 1);
        let copy = store.copy(1_000);
        let next = put(&store, 2);
        assert_eq!((next.0, put(&copy, 3).0), (first.0 + 1, first.0 + 1_001));
        let waiting =
            |store: &MemoryStore| store.read(bob.device, QueueNumber(0), 9_999).wait().unwrap().len();
        put(&copy, 4);
        assert_eq!((waiting(&store), waiting(&copy)), (2, 3));
    }
}

//! What readers see: the trees, and of them only what is committed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use sha2::{Digest, Sha256};
use sotto_proto::{
    AccountId, DeviceId, FateTag, Incarnation, QueueNumber, Username,
    frame::{FateState, MailboxState, Submitted},
    prekey::PrekeyCounts,
    wire::labelled,
};

use super::{
    database::Trees,
    files::{Files, bytes_on_disk},
    prekeys,
    record::{AccountRow, decode_invite},
    row::{
        DeviceRow, EnvelopeRow, FateRow, MailboxRow, SubmissionRow, decode_ended, decode_owner, directory,
        envelope_place, id_of_key, queue,
    },
};
use crate::{AccountRecord, Delivery, Ending, Invite, InviteHash, StoreError, SubmissionKey, Usage};

/// How often a reader looks again when a file went away under it; each time the row must have changed.
const ATTEMPTS: usize = 4;

/// Mailboxes as of the last commit.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    pub(crate) devices: HashMap<DeviceId, DeviceRow>,
    pub(crate) queues: HashMap<u64, MailboxRow>,
}

/// Counts as of the last commit.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accounts: AtomicU64,
    pub(crate) envelopes: AtomicU64,
    pub(crate) envelope_bytes: AtomicU64,
    pub(crate) file_bytes: AtomicU64,
}

/// Shared by the writer and the readers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) trees: Trees,
    pub(crate) files: Files,
    pub(crate) data_file: std::path::PathBuf,
    salt: [u8; 16],
    /// Rows whose number is above this are not committed yet.
    pub(crate) committed: AtomicU64,
    pub(crate) counts: Counts,
    mailboxes: RwLock<Mailboxes>,
    /// Rows of the directory that the group under way changed, as they were before: readers go by these.
    before: RwLock<HashMap<Vec<u8>, Option<::sled::IVec>>>,
}

impl Shared {
    pub(crate) fn new(
        trees: Trees,
        files: Files,
        data_file: std::path::PathBuf,
        salt: [u8; 16],
        mailboxes: Mailboxes,
        committed: u64,
    ) -> Self {
        Self {
            trees,
            files,
            data_file,
            salt,
            committed: AtomicU64::new(committed),
            counts: Counts::default(),
            mailboxes: RwLock::new(mailboxes),
            before: RwLock::default(),
        }
    }

    pub(crate) fn mailboxes(&self) -> RwLockReadGuard<'_, Mailboxes> {
        self.mailboxes.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mailboxes_mut(&self) -> RwLockWriteGuard<'_, Mailboxes> {
        self.mailboxes.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn before_mut(&self) -> RwLockWriteGuard<'_, HashMap<Vec<u8>, Option<::sled::IVec>>> {
        self.before.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn before(&self) -> RwLockReadGuard<'_, HashMap<Vec<u8>, Option<::sled::IVec>>> {
        self.before.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A committed row of the directory.
    fn directory(&self, key: &[u8]) -> Result<Option<::sled::IVec>, StoreError> {
        // Held while sled is read: the writer registers the old row before it writes the new one.
        let before = self.before();
        match before.get(key) {
            Some(old) => Ok(old.clone()),
            None => Ok(self.trees.directory.get(key)?),
        }
    }

    pub(crate) fn account(&self, account: AccountId) -> Result<Option<AccountRecord>, StoreError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let Some(row) = self.directory(&directory::account(&account))? else { return Ok(None) };
            let decoded = AccountRow::decode(&row)?;
            if let Some(bytes) = self.files.read(&decoded.content)? {
                return decoded.record(&bytes).map(Some);
            }
            if last.as_ref() == Some(&row) {
                break;
            }
            last = Some(row);
        }
        Err(StoreError::Damaged("the file of an account is not there".to_owned()))
    }

    pub(crate) fn account_by_name(&self, name: &Username) -> Result<Option<AccountRecord>, StoreError> {
        let mut seen = None;
        for _ in 0..ATTEMPTS {
            let Some(row) = self.directory(&directory::name(name))? else { return Ok(None) };
            // The two rows are two looks: between them the name may have come to another account.
            let found = self.account(decode_owner(&row)?.0)?;
            if found.is_some() {
                return Ok(found);
            }
            if seen.as_ref() == Some(&row) {
                return Err(StoreError::Damaged("a name without its account".to_owned()));
            }
            seen = Some(row);
        }
        // So often did it change hands while it was looked up.
        Err(StoreError::Busy)
    }

    pub(crate) fn ended(&self, account: &AccountId, now_ms: u64) -> Result<Option<Ending>, StoreError> {
        let row = self.directory(&directory::ended(account))?;
        let ended = row.map(|row| decode_ended(&row)).transpose()?;
        Ok(ended.and_then(|ended| ended.remembered(now_ms)))
    }

    pub(crate) fn names(
        &self,
        after: Option<&Username>,
        limit: usize,
    ) -> Result<Vec<(Username, AccountId)>, StoreError> {
        let start = match after {
            // The next possible key: a name, and a byte below all that names have.
            Some(name) => [&directory::name(name)[..], &[0]].concat(),
            None => vec![directory::NAME],
        };
        let rows = self.directory_range(start, vec![directory::NAME + 1], limit)?;
        let owner = |(_, row): (_, ::sled::IVec)| decode_owner(&row).map(|(account, name)| (name, account));
        rows.into_iter().map(owner).collect()
    }

    /// Committed rows of the directory in order, at most `limit`.
    fn directory_range(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, ::sled::IVec)>, StoreError> {
        let range = start..end;
        // Held while sled is read, as in `directory`.
        let before = self.before();
        // What the group under way has removed is not in the tree any more.
        let mut rows: BTreeMap<_, _> = before
            .iter()
            .filter(|(key, _)| range.contains(*key))
            .filter_map(|(key, old)| Some((key.clone(), old.clone()?)))
            .collect();
        let mut taken = 0;
        for row in self.trees.directory.range(range) {
            if taken >= limit {
                break;
            }
            let (key, value) = row?;
            if !before.contains_key(&*key) {
                rows.insert(key.to_vec(), value);
            }
            taken += usize::from(!matches!(before.get(&*key), Some(None)));
        }
        Ok(rows.into_iter().take(limit).collect())
    }

    pub(crate) fn invite(&self, hash: InviteHash) -> Result<Option<Invite>, StoreError> {
        self.directory(&directory::invite(&hash))?.map(|row| decode_invite(hash, &row)).transpose()
    }

    pub(crate) fn invites(&self) -> Result<Vec<Invite>, StoreError> {
        let rows = self.directory_range(vec![directory::INVITE], vec![directory::INVITE + 1], usize::MAX)?;
        rows.into_iter().map(|(key, row)| decode_invite(InviteHash(id_of_key(&key)?), &row)).collect()
    }

    pub(crate) fn prekey_counts(&self, device: DeviceId) -> Result<PrekeyCounts, StoreError> {
        prekeys::counts(&self.trees.prekey, &device)
    }

    pub(crate) fn submission(&self, key: &SubmissionKey) -> Result<Option<Submitted>, StoreError> {
        let Some(row) = self.trees.queue.get(queue::submission(key))? else { return Ok(None) };
        let row = SubmissionRow::decode(&row)?;
        Ok((row.mark <= self.committed.load(Ordering::Acquire)).then_some(row.submitted))
    }

    pub(crate) fn mailbox(&self, device: DeviceId) -> Option<MailboxState> {
        let mailboxes = self.mailboxes();
        let queue = mailboxes.devices.get(&device)?.queue;
        let row = mailboxes.queues.get(&queue).copied().unwrap_or_default();
        Some(MailboxState {
            incarnation: self.incarnation(queue, row.begun),
            acked: QueueNumber(row.acked_since()),
            lost_through: QueueNumber(row.lost_through),
        })
    }

    fn incarnation(&self, queue: u64, begun: u64) -> Incarnation {
        let (queue, begun) = (queue.to_be_bytes(), begun.to_be_bytes());
        let parts: &[&[u8]] =
            if begun == [0; 8] { &[&self.salt, &queue] } else { &[&self.salt, &queue, &begun] };
        let hash = Sha256::digest(labelled("sotto v1 incarnation", parts));
        let mut bytes = [0; Incarnation::LENGTH];
        for (to, from) in bytes.iter_mut().zip(hash) {
            *to = from;
        }
        Incarnation(bytes)
    }

    pub(crate) fn read(
        &self,
        device: DeviceId,
        after: QueueNumber,
        max_bytes: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        // Before the rows: what is committed later may be missing, what was committed by then may not.
        let committed = self.committed.load(Ordering::Acquire);
        let (queue, acked) = {
            let mailboxes = self.mailboxes();
            let Some(row) = mailboxes.devices.get(&device) else { return Ok(Vec::new()) };
            (row.queue, mailboxes.queues.get(&row.queue).map_or(0, |row| row.acked))
        };
        let from = after.0.max(acked).saturating_add(1);
        let (mut deliveries, mut bytes) = (Vec::new(), 0_usize);
        if from > committed {
            return Ok(deliveries);
        }
        for row in self.trees.queue.range(queue::envelope(queue, from)..=queue::envelope(queue, committed)) {
            if bytes >= max_bytes && !deliveries.is_empty() {
                break;
            }
            let (key, value) = row?;
            let (_, number) = envelope_place(&key)?;
            let row = EnvelopeRow::decode(&value)?;
            let Some(envelope) = self.files.read(&row.content)? else {
                // Acked or expired a moment ago, or lost with the disk.
                if self.trees.queue.get(&key)?.is_some_and(|again| again == value) {
                    return Err(StoreError::Damaged("the file of an envelope is not there".to_owned()));
                }
                continue;
            };
            bytes = bytes.saturating_add(envelope.len());
            deliveries.push(Delivery { number: QueueNumber(number), stored_ms: row.stored_ms, envelope });
        }
        Ok(deliveries)
    }

    pub(crate) fn fates(&self, tags: &[FateTag]) -> Result<Vec<FateState>, StoreError> {
        tags.iter().map(|tag| self.fate(tag)).collect()
    }

    fn fate(&self, tag: &FateTag) -> Result<FateState, StoreError> {
        let Some(row) = self.trees.queue.get(queue::fate(tag))? else { return Ok(FateState::Unknown) };
        let row = FateRow::decode(&row)?;
        let committed = self.committed.load(Ordering::Acquire);
        if row.number > committed {
            return Ok(FateState::Unknown);
        }
        if row.expired_at != 0 && row.expired_at <= committed {
            return Ok(FateState::Expired);
        }
        let mailboxes = self.mailboxes();
        let waiting = mailboxes.queues.get(&row.queue).is_some_and(|mailbox| row.number > mailbox.acked);
        Ok(if waiting { FateState::Waiting } else { FateState::Taken })
    }

    pub(crate) fn usage(&self) -> Usage {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Usage {
            accounts: load(&self.counts.accounts),
            envelopes: load(&self.counts.envelopes),
            envelope_bytes: load(&self.counts.envelope_bytes),
            disk_bytes: bytes_on_disk(&self.data_file).saturating_add(load(&self.counts.file_bytes)),
        }
    }
}

//! The one thread that writes: takes what waits, applies it, makes it durable, answers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sotto_proto::DeviceId;
use tracing::{error, warn};

use super::{
    database::{BLOCK, Database, RESERVED, STATE, guarded},
    folder::Folder,
    group::{Group, Publish},
    line::Line,
    request::Request,
    row::{
        Content, DeviceRow, EXPIRING_PER_ROW, MAX_INLINE, MailboxRow, StateRow, encode_expiring,
        encode_number, encode_tally, queue,
    },
    shared::Shared,
};
use crate::{StoreConfig, StoreError, dump, quota::Load};

/// Requests in one group: at 256 senders a group is 130 to 150 of them, so this bounds a burst, not the usual.
const GROUP_REQUESTS: usize = 1024;
/// Bytes in one group: a disk takes them in well under a tenth of a second.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Rows in one batch: beyond this a large mailbox is removed in several, each of which is valid by itself.
const BATCH_ROWS: usize = 4096;

/// A mailbox as the writer knows it, ahead of what is committed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mailbox {
    pub(crate) row: MailboxRow,
    pub(crate) load: Load,
}

/// Counts over everything.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) accounts: u64,
    pub(crate) load: Load,
    pub(crate) file_bytes: u64,
}

/// What the opening scan found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) devices: HashMap<DeviceId, DeviceRow>,
    pub(crate) mailboxes: HashMap<u64, Mailbox>,
    pub(crate) totals: Totals,
    pub(crate) invites: usize,
}

/// The writer's own state.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) database: Database,
    pub(crate) folder: Folder,
    pub(crate) config: StoreConfig,
    pub(crate) devices: HashMap<DeviceId, DeviceRow>,
    pub(crate) mailboxes: HashMap<u64, Mailbox>,
    pub(crate) totals: Totals,
    pub(crate) invites: usize,
    pub(crate) state: StateRow,
    /// The next number to give.
    pub(crate) next: u64,
    /// Numbers below this may be given.
    pub(crate) reserved: u64,
    pub(crate) pretend_full: Arc<AtomicBool>,
}

impl Writer {
    /// Works until the line is closed and empty, or something fails. After a failure nothing is written any more, and
    /// everything that waits or comes is answered with it.
    pub(crate) fn run(&mut self, line: &Line<Request>) -> Result<(), StoreError> {
        while let Some(requests) = line.take(GROUP_REQUESTS, GROUP_BYTES) {
            let mut group = Group::default();
            let result = guarded(|| self.group(requests, &mut group));
            group.answer_all(&result);
            if let Err(reason) = result {
                error!(%reason, "the store failed and stops");
                for request in line.abort(reason.clone()) {
                    request.fail(reason.clone());
                }
                return Err(reason);
            }
        }
        Ok(())
    }

    fn group(&mut self, requests: Vec<Request>, group: &mut Group) -> Result<(), StoreError> {
        group.disk_full = self.disk_full()?;
        let mut requests = requests.into_iter();
        while let Some(request) = requests.next() {
            if let Err(reason) = self.apply(request, group) {
                for request in requests {
                    request.fail(reason.clone());
                }
                return Err(reason);
            }
        }
        self.commit(group)
    }

    fn disk_full(&self) -> Result<bool, StoreError> {
        let full = self.folder.free_bytes()? < self.config.disk_reserve_bytes;
        Ok(full || self.pretend_full.load(Ordering::Relaxed))
    }

    fn apply(&mut self, request: Request, group: &mut Group) -> Result<(), StoreError> {
        // What concerns one request alone is its answer; all else stops the store.
        macro_rules! answer {
            ($promise:ident, $result:expr) => {
                match $result {
                    Err(reason) if reason != StoreError::DiskFull => {
                        $promise.keep(Err(reason.clone()));
                        return Err(reason);
                    }
                    result => group.answer($promise, result),
                }
            };
        }
        match request {
            Request::Create(new, promise) => answer!(promise, self.create(&new, group)),
            Request::Replace(replacement, promise) => answer!(promise, self.replace(*replacement, group)),
            Request::Reset(reset, promise) => answer!(promise, self.reset(&reset, group)),
            Request::Remove(account, now_ms, promise) => {
                answer!(promise, self.remove(account, now_ms, group));
            }
            Request::CreateInvite(invite, promise) => answer!(promise, self.create_invite(&invite, group)),
            Request::RevokeInvite(hash, promise) => answer!(promise, self.revoke_invite(hash, group)),
            Request::PutPrekeys(device, upload, promise) => {
                answer!(promise, self.put_prekeys(device, *upload, group));
            }
            Request::Claim(devices, one_time, now_ms, promise) => {
                answer!(promise, self.claim(devices, one_time, now_ms, group));
            }
            Request::Append(submission, promise) => answer!(promise, self.append(submission, group)),
            Request::Ack(device, through, promise) => answer!(promise, self.ack(device, through.0, group)),
            Request::Expire(now_ms, promise) => answer!(promise, self.expire(now_ms, group)),
            Request::Export(path, promise) => {
                // What was asked before belongs into the copy.
                self.commit(group)?;
                group.answer_all(&Ok(()));
                // A copy that cannot be written is no failure of the store.
                let copy = || {
                    let awaited = || promise.is_awaited();
                    dump::export(&self.database, &self.shared.files, &path, awaited)
                };
                let copied = guarded(copy);
                promise.keep(copied);
            }
        }
        Ok(())
    }

    /// A number that was never given, and is never given again.
    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        if self.next >= self.reserved {
            self.reserve()?;
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        Ok(number)
    }

    /// Makes a further block of numbers durable before the first of it is used.
    pub(crate) fn reserve(&mut self) -> Result<(), StoreError> {
        let end = self.next.saturating_add(BLOCK);
        self.database.trees.meta.insert(RESERVED, encode_number(end))?;
        self.database.sync()?;
        self.reserved = end;
        Ok(())
    }

    /// Puts bytes where a row can hold or name them.
    pub(crate) fn content(&mut self, bytes: Vec<u8>, group: &mut Group) -> Result<Content, StoreError> {
        if bytes.len() <= MAX_INLINE {
            return Ok(Content::Inline(bytes));
        }
        let id = self.number()?;
        self.totals.file_bytes = self.totals.file_bytes.saturating_add(bytes.len() as u64);
        group.files_written = true;
        Ok(self.shared.files.put(bytes, id)?)
    }

    /// A row is gone that may have named a file.
    pub(crate) fn drop_content(&mut self, content: &Content, group: &mut Group) {
        if let Some(file) = content.file() {
            self.totals.file_bytes = self.totals.file_bytes.saturating_sub(u64::from(file.length));
            group.removed_files.push(file);
        }
    }

    /// Makes the names of files durable before rows name them.
    pub(crate) fn sync_files(&self, group: &mut Group) -> Result<(), StoreError> {
        if std::mem::take(&mut group.files_written) {
            self.shared.files.sync()?;
        }
        Ok(())
    }

    /// Writes what was collected for the tree `queue`, in one step.
    pub(crate) fn write_batch(&mut self, group: &mut Group) -> Result<(), StoreError> {
        let expiring = std::mem::take(&mut group.expiring);
        for (at_ms, entries) in expiring {
            for entries in entries.chunks(EXPIRING_PER_ROW) {
                let (key, value) = (queue::expiry(at_ms, self.number()?), encode_expiring(entries));
                self.insert_side(key, value, group);
            }
        }
        self.sync_files(group)?;
        if group.batch_rows > 0 {
            group.dirty = true;
            group.insert(queue::TALLY.to_vec(), encode_tally(self.totals.load));
            self.shared.trees.queue.apply_batch(std::mem::take(&mut group.batch))?;
        }
        group.batch_rows = 0;
        group.staged_queues.clear();
        group.submissions.clear();
        Ok(())
    }

    /// Writes the batch if it has grown large. Only between steps that are valid by themselves.
    pub(crate) fn write_large_batch(&mut self, group: &mut Group) -> Result<(), StoreError> {
        if group.batch_rows >= BATCH_ROWS { self.write_batch(group) } else { Ok(()) }
    }

    pub(crate) fn commit(&mut self, group: &mut Group) -> Result<(), StoreError> {
        self.write_batch(group)?;
        if !std::mem::take(&mut group.dirty) {
            return Ok(());
        }
        self.state.commit = self.state.commit.saturating_add(1);
        self.database.trees.meta.insert(STATE, self.state.encode())?;
        self.database.sync()?;
        self.database.witness.write(self.state.commit)?;
        self.publish(group);
        for file in group.removed_files.drain(..) {
            if let Err(reason) = self.shared.files.remove(&file) {
                warn!(%reason, "a file could not be removed; the next start tries again");
            }
        }
        Ok(())
    }

    fn publish(&mut self, group: &mut Group) {
        let mut mailboxes = self.shared.mailboxes_mut();
        for change in group.publish.drain(..) {
            match change {
                Publish::Open(device, row) => {
                    mailboxes.devices.insert(device, row);
                    mailboxes.queues.entry(row.queue).or_default();
                }
                Publish::Close(device, queue) => {
                    mailboxes.devices.remove(&device);
                    mailboxes.queues.remove(&queue);
                }
                Publish::Mailbox(queue, row) => {
                    // Not `insert`: the mailbox may have been closed in the same group.
                    mailboxes.queues.entry(queue).and_modify(|known| *known = row);
                }
            }
        }
        drop(mailboxes);
        self.shared.committed.store(self.next.saturating_sub(1), Ordering::Release);
        self.shared.before_mut().clear();
        self.publish_counts();
    }

    pub(crate) fn publish_counts(&self) {
        let counts = &self.shared.counts;
        counts.accounts.store(self.totals.accounts, Ordering::Relaxed);
        counts.envelopes.store(self.totals.load.envelopes, Ordering::Relaxed);
        counts.envelope_bytes.store(self.totals.load.bytes, Ordering::Relaxed);
        counts.file_bytes.store(self.totals.file_bytes, Ordering::Relaxed);
    }

    /// Adds a row that is not counted when the store is opened.
    pub(crate) fn insert_side(&mut self, key: Vec<u8>, value: Vec<u8>, group: &mut Group) {
        let bytes = (key.len() + value.len()) as u64;
        self.state.side_bytes = self.state.side_bytes.saturating_add(bytes);
        group.insert(key, value);
    }

    /// Removes such a row.
    pub(crate) fn remove_side(&mut self, key: Vec<u8>, value: &[u8], group: &mut Group) {
        self.uncount_side(&key, value);
        group.remove(key);
    }

    /// Such a row counts no longer.
    pub(crate) fn uncount_side(&mut self, key: &[u8], value: &[u8]) {
        let bytes = (key.len() + value.len()) as u64;
        self.state.side_bytes = self.state.side_bytes.saturating_sub(bytes);
    }
}

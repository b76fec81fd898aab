//! The sled engine. sled 0.34's `flush` is no barrier, its large values and configuration are never synced, and it may
//! read a half-written snapshot: what is done about each stands at its place (`folder`, `database`, `row`) and in
//! docs/spec/store.md.
//!
//! One thread writes (`writer`), a few read (`shared`). A change is answered when it is on stable storage; readers
//! see only what is.

mod accounts;
mod compaction;
pub(crate) mod database;
mod ended;
pub(crate) mod files;
pub(crate) mod folder;
mod group;
mod invites;
mod line;
mod mailboxes;
mod opening;
pub(crate) mod prekeys;
pub(crate) mod record;
mod request;
pub(crate) mod row;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle},
};

use sotto_proto::{
    AccountId, DeviceId, FateTag, QueueNumber, SignedDeviceList, Username,
    frame::{FateState, MailboxState, Submitted},
    prekey::{PrekeyBundle, PrekeyCounts, PrekeyUpload},
};

use self::{
    database::guarded,
    line::Line,
    request::{Replacement, Request, Reset},
    shared::Shared,
    writer::Writer,
};
use crate::{
    AccountRecord, AckOutcome, Appended, CreateOutcome, Delivery, Ending, Invite, InviteHash, NewAccount,
    Pending, Promise, ReplaceOutcome, Store, StoreConfig, StoreError, Submission, SubmissionKey, Usage,
    dump::Summary,
};

/// Changes that wait: eight full groups. More means that the disk does not keep up, and callers should hear of it.
const WAITING_CHANGES: usize = 8 * 1024;
/// Bytes of changes that wait: eight full groups.
const WAITING_BYTES: usize = 32 * 1024 * 1024;
/// Reads that wait: a few for each of some thousand connections.
const WAITING_READS: usize = 16 * 1024;
/// Threads that read: enough to keep a disk busy, few enough for a small machine.
const READERS: usize = 4;

type Job = Box<dyn FnOnce(&Shared) + Send>;
type FailureHook = Box<dyn FnOnce(StoreError) + Send>;

/// The lines to the threads, and what is known of their end.
struct Lines {
    writes: Line<Request>,
    reads: Line<Job>,
    end: Mutex<End>,
}

#[derive(Default)]
struct End {
    /// The writer has let go of the files.
    reached: bool,
    /// What ended it, if it was not asked to.
    failure: Option<StoreError>,
    waiting: Vec<Promise<()>>,
    hook: Option<FailureHook>,
}

impl Lines {
    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store in a folder. Dropping it finishes what is enqueued and waits until the files are let go of, as
/// [`Store::close`] does without blocking.
pub struct SledStore {
    lines: Arc<Lines>,
    pretend_full: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens the store in `folder`, and makes it if there is none. Blocks: for a million envelopes that wait some
    /// seconds, since they are counted.
    pub fn open(folder: &Path, config: StoreConfig) -> Result<Self, StoreError> {
        let pretend_full = Arc::new(AtomicBool::new(false));
        let writer = opening::open(folder, config, Arc::clone(&pretend_full))?;
        let lines = Arc::new(Lines {
            writes: Line::new(WAITING_CHANGES, WAITING_BYTES),
            reads: Line::new(WAITING_READS, usize::MAX),
            end: Mutex::default(),
        });
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let (lines, shared) = (Arc::clone(&lines), Arc::clone(&writer.shared));
            let reader = move || read(&lines.reads, &shared);
            readers.push(Builder::new().name("store-read".to_owned()).spawn(reader)?);
        }
        let thread = {
            let lines = Arc::clone(&lines);
            Builder::new().name("store-write".to_owned()).spawn(move || write(writer, &lines, readers))?
        };
        Ok(Self { lines, pretend_full, writer: Some(thread) })
    }

    /// Which version the store in `folder` has, also a newer one than this program reads; `None` where there is none.
    /// Opening is what migrates it; this leaves it as it is. Blocks.
    pub fn version(folder: &Path, config: &StoreConfig) -> Result<Option<u32>, StoreError> {
        opening::version(folder, config)
    }

    /// Calls this once when the store has failed: nothing is written any more, and the program should end. At once, if
    /// it failed before.
    pub fn on_failure(&self, hook: impl FnOnce(StoreError) + Send + 'static) {
        let mut end = self.lines.end();
        match end.failure.clone() {
            Some(failure) => {
                drop(end);
                hook(failure);
            }
            None => end.hook = Some(Box::new(hook)),
        }
    }

    /// From now on the disk counts as full, or is asked again: for tests, and for an operator who wants room.
    pub fn pretend_disk_full(&self, full: bool) {
        self.pretend_full.store(full, Ordering::Relaxed);
    }

    /// Copies everything that was enqueued before into one file ([`crate::dump`]). Changes wait meanwhile; who drops the
    /// pending calls it off.
    pub fn export(&self, path: PathBuf) -> Pending<Summary> {
        self.change(|promise| Request::Export(path, promise))
    }

    fn change<T>(&self, request: impl FnOnce(Promise<T>) -> Request) -> Pending<T> {
        let (promise, pending) = Pending::pair();
        let request = request(promise);
        let bytes = request.bytes();
        match self.lines.writes.push(request, bytes) {
            Ok(()) => pending,
            Err(reason) => Pending::ready(Err(reason)),
        }
    }

    fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<T> {
        let (promise, pending) = Pending::pair();
        let job: Job = Box::new(move |shared| promise.keep(guarded(|| work(shared))));
        match self.lines.reads.push(job, 0) {
            Ok(()) => pending,
            Err(reason) => Pending::ready(Err(reason)),
        }
    }
}

/// Copies the live rows of a closed store into a fresh database, which gives disk space back.
pub fn compact(folder: &Path, config: &StoreConfig) -> Result<(), StoreError> {
    let folder = folder::Folder::take(folder)?;
    let Some(mut active) = folder.active()? else {
        return Err(StoreError::Failed("there is no store in the folder".to_owned()));
    };
    folder.remove_others(Some(active))?;
    let old = database::Database::open(&folder, active, config)?;
    compaction::compact(&folder, old, &mut active, config)?.close()
}

fn read(line: &Line<Job>, shared: &Shared) {
    while let Some(jobs) = line.take(1, usize::MAX) {
        for job in jobs {
            job(shared);
        }
    }
}

fn write(mut writer: Writer, lines: &Lines, readers: Vec<JoinHandle<()>>) {
    let result = writer.run(&lines.writes);
    if let Err(failure) = &result {
        let hook = {
            let mut end = lines.end();
            end.failure = Some(failure.clone());
            end.hook.take()
        };
        if let Some(hook) = hook {
            hook(failure.clone());
        }
        // After a failed sync the engine's cache is not to be trusted: what waits is dropped unread.
        drop(lines.reads.abort(failure.clone()));
    }
    lines.reads.close(StoreError::Stopped);
    for reader in readers {
        // A reader that panicked has nothing left to let go of.
        drop(reader.join());
    }
    let Writer { shared, database, folder, .. } = writer;
    drop(shared);
    if let Err(reason) = database.close() {
        tracing::warn!(%reason, "the database did not close cleanly");
    }
    drop(folder);
    let mut end = lines.end();
    end.reached = true;
    for promise in end.waiting.drain(..) {
        promise.keep(Ok(()));
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        drop(self.close());
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

impl Store for SledStore {
    fn create_account(&self, account: NewAccount) -> Pending<CreateOutcome> {
        self.change(|promise| Request::Create(Box::new(account), promise))
    }

    fn account_by_name(&self, name: &Username) -> Pending<Option<AccountRecord>> {
        let name = name.clone();
        self.look(move |shared| shared.account_by_name(&name))
    }

    fn account(&self, account: AccountId) -> Pending<Option<AccountRecord>> {
        self.look(move |shared| shared.account(account))
    }

    fn replace_account(&self, expected: &AccountRecord, new: AccountRecord) -> Pending<ReplaceOutcome> {
        let replacement = Replacement { account: expected.account, revision: expected.revision, new };
        self.change(|promise| Request::Replace(Box::new(replacement), promise))
    }

    fn reset_account(
        &self,
        expected: &AccountRecord,
        list: SignedDeviceList,
        now_ms: u64,
    ) -> Pending<ReplaceOutcome> {
        let reset = Reset { account: expected.account, revision: expected.revision, list, now_ms };
        self.change(|promise| Request::Reset(Box::new(reset), promise))
    }

    fn remove_account(&self, account: AccountId, now_ms: u64) -> Pending<bool> {
        self.change(|promise| Request::Remove(account, now_ms, promise))
    }

    fn ended(&self, account: AccountId, now_ms: u64) -> Pending<Option<Ending>> {
        self.look(move |shared| shared.ended(&account, now_ms))
    }

    fn create_invite(&self, invite: Invite) -> Pending<bool> {
        self.change(|promise| Request::CreateInvite(Box::new(invite), promise))
    }

    fn invite(&self, hash: InviteHash) -> Pending<Option<Invite>> {
        self.look(move |shared| shared.invite(hash))
    }

    fn invites(&self) -> Pending<Vec<Invite>> {
        self.look(Shared::invites)
    }

    fn revoke_invite(&self, hash: InviteHash) -> Pending<bool> {
        self.change(|promise| Request::RevokeInvite(hash, promise))
    }

    fn names(&self, after: Option<Username>, limit: usize) -> Pending<Vec<(Username, AccountId)>> {
        self.look(move |shared| shared.names(after.as_ref(), limit))
    }

    fn put_prekeys(&self, device: DeviceId, upload: PrekeyUpload) -> Pending<PrekeyCounts> {
        self.change(|promise| Request::PutPrekeys(device, Box::new(upload), promise))
    }

    fn prekey_counts(&self, device: DeviceId) -> Pending<PrekeyCounts> {
        self.look(move |shared| shared.prekey_counts(device))
    }

    fn claim_prekeys(
        &self,
        devices: Vec<DeviceId>,
        one_time: bool,
        now_ms: u64,
    ) -> Pending<Vec<Option<PrekeyBundle>>> {
        self.change(|promise| Request::Claim(devices, one_time, now_ms, promise))
    }

    fn append(&self, submission: Submission) -> Pending<Appended> {
        self.change(|promise| Request::Append(submission, promise))
    }

    fn submission(&self, key: SubmissionKey) -> Pending<Option<Submitted>> {
        self.look(move |shared| shared.submission(&key))
    }

    fn mailbox(&self, device: DeviceId) -> Pending<Option<MailboxState>> {
        self.look(move |shared| Ok(shared.mailbox(device)))
    }

    fn read(&self, device: DeviceId, after: QueueNumber, max_bytes: usize) -> Pending<Vec<Delivery>> {
        self.look(move |shared| shared.read(device, after, max_bytes))
    }

    fn ack(&self, device: DeviceId, through: QueueNumber) -> Pending<AckOutcome> {
        self.change(|promise| Request::Ack(device, through, promise))
    }

    fn fates(&self, tags: Vec<FateTag>) -> Pending<Vec<FateState>> {
        self.look(move |shared| shared.fates(&tags))
    }

    fn expire(&self, now_ms: u64) -> Pending<usize> {
        self.change(|promise| Request::Expire(now_ms, promise))
    }

    fn usage(&self) -> Pending<Usage> {
        self.look(move |shared| Ok(shared.usage()))
    }

    fn close(&self) -> Pending<()> {
        self.lines.writes.close(StoreError::Stopped);
        self.lines.reads.close(StoreError::Stopped);
        let (promise, pending) = Pending::pair();
        let mut end = self.lines.end();
        if end.reached {
            promise.keep(Ok(()));
        } else {
            end.waiting.push(promise);
        }
        pending
    }
}

//! The store's trait: what a server needs kept, in the domain's own words, small enough for every engine.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use sotto_proto::{
    AccountId, DeviceId, FateTag, QueueNumber, SignedDeviceList, Username,
    frame::{FateState, MailboxState, Submitted},
    prekey::{PrekeyBundle, PrekeyCounts, PrekeyUpload},
};
use tokio::sync::oneshot;

use crate::{
    account::{AccountRecord, CreateOutcome, NewAccount, ReplaceOutcome},
    ended::Ending,
    error::StoreError,
    invite::{Invite, InviteHash},
    mailbox::{AckOutcome, Appended, Delivery, Submission, SubmissionKey, Usage},
};

/// What an operation will come to. The operation was enqueued when the method was called, so effects happen in the
/// order of the calls, whether or not anybody waits; dropping this loses only the answer.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<Result<T, StoreError>>);

/// The engine's end of a [`Pending`].
#[derive(Debug)]
pub struct Promise<T>(oneshot::Sender<Result<T, StoreError>>);

impl<T> Pending<T> {
    /// An answer to come.
    pub fn pair() -> (Promise<T>, Self) {
        let (sender, receiver) = oneshot::channel();
        (Promise(sender), Self(receiver))
    }

    /// An answer that is there.
    pub fn ready(result: Result<T, StoreError>) -> Self {
        let (promise, pending) = Self::pair();
        promise.keep(result);
        pending
    }

    /// Blocks this thread until the answer is there. Not for async tasks: there it panics; await instead.
    pub fn wait(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Stopped))
    }
}

impl<T> Promise<T> {
    /// Answers. Nobody waiting any more is no error: the work is done all the same.
    pub fn keep(self, result: Result<T, StoreError>) {
        drop(self.0.send(result));
    }

    /// Whether somebody still waits for the answer.
    pub fn is_awaited(&self) -> bool {
        !self.0.is_closed()
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A promise that was dropped means that the engine stopped before it came to this operation.
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Stopped)))
    }
}

/// What the server keeps.
///
/// Every method enqueues its operation at once and returns; effects happen in the order of the calls. A [`Pending`] of
/// a change resolves only when the change is on stable storage. A full queue answers [`StoreError::Busy`], and nothing
/// was done. Any other error of a change means that it may or may not have happened, and from then on every change
/// fails: the daemon stops writing and says so. Reads never wait behind changes.
pub trait Store: Send + Sync + 'static {
    /// Makes an account, its name and its first device's mailbox. Of two that race for one skeleton exactly one gets
    /// it. The same request again (same id, account key and device list) is answered as the first time. The id of an
    /// account that has ended makes none as long as that is remembered. An invite
    /// that it names loses one use in the same step, so that an invite of one use makes one account, whoever races or
    /// crashes; one that is not valid makes none.
    fn create_account(&self, account: NewAccount) -> Pending<CreateOutcome>;

    /// The account with this name.
    fn account_by_name(&self, name: &Username) -> Pending<Option<AccountRecord>>;

    /// The account with this id.
    fn account(&self, account: AccountId) -> Pending<Option<AccountRecord>>;

    /// Replaces the record if its revision is still `expected.revision`. Opens mailboxes for devices that are new in
    /// the list, and removes mailbox and prekeys of those that are no longer in it (their waiting envelopes' fates
    /// become expired). A device id that another account has is a collision.
    fn replace_account(&self, expected: &AccountRecord, new: AccountRecord) -> Pending<ReplaceOutcome>;

    /// Puts the account of `list` in the place of `expected`, if that still has its revision: one name, a new id, key
    /// and device. The old account and its mailboxes go in the same step; what waited in them has expired.
    fn reset_account(
        &self,
        expected: &AccountRecord,
        list: SignedDeviceList,
        now_ms: u64,
    ) -> Pending<ReplaceOutcome>;

    /// Removes an account with its name, mailboxes and prekeys (the fates of what waited become expired). Whether
    /// there was one. That it ended is remembered from the same step on, as after a reset.
    fn remove_account(&self, account: AccountId, now_ms: u64) -> Pending<bool>;

    /// How an account ended that is no more, as long as that is remembered.
    fn ended(&self, account: AccountId, now_ms: u64) -> Pending<Option<Ending>>;

    /// Keeps an invite. Those that were out of date when it was made are dropped; `false` if there are
    /// [`crate::invite::MAX_INVITES`] others.
    fn create_invite(&self, invite: Invite) -> Pending<bool>;

    /// The invite with this hash, valid or not.
    fn invite(&self, hash: InviteHash) -> Pending<Option<Invite>>;

    /// All invites.
    fn invites(&self) -> Pending<Vec<Invite>>;

    /// Removes an invite. Whether there was one.
    fn revoke_invite(&self, hash: InviteHash) -> Pending<bool>;

    /// Names in order, after `after`, at most `limit`.
    fn names(&self, after: Option<Username>, limit: usize) -> Pending<Vec<(Username, AccountId)>>;

    /// Publishes prekeys of a device: signed ones take the place of the old; one-time ones are added, up to the
    /// limits of [`sotto_proto::limits`], ids that were ever used before are ignored.
    fn put_prekeys(&self, device: DeviceId, upload: PrekeyUpload) -> Pending<PrekeyCounts>;

    /// What is left.
    fn prekey_counts(&self, device: DeviceId) -> Pending<PrekeyCounts>;

    /// What handshakes with these devices need, `None` for a device without published keys. A one-time key is handed
    /// out exactly once: its removal is on stable storage before the answer. Without `one_time` none is taken. One
    /// that has expired is removed and not handed out: nobody could use it.
    fn claim_prekeys(
        &self,
        devices: Vec<DeviceId>,
        one_time: bool,
        now_ms: u64,
    ) -> Pending<Vec<Option<PrekeyBundle>>>;

    /// Stores a submission, all in one step, with an outcome for each envelope; the same key again gets the same
    /// answer and stores nothing. Quotas are checked here, in order: once an envelope for a device is refused, every
    /// later one for that device in the same submission is refused with the same reason, so that nothing overtakes it.
    fn append(&self, submission: Submission) -> Pending<Appended>;

    /// The answer to an earlier submission.
    fn submission(&self, key: SubmissionKey) -> Pending<Option<Submitted>>;

    /// The mailbox of a device, `None` if it has none. `acked` is what was acked in this incarnation.
    fn mailbox(&self, device: DeviceId) -> Pending<Option<MailboxState>>;

    /// Envelopes after a number, in order, until `max_bytes` are reached (at least one, if there is one). Only what is
    /// on stable storage.
    fn read(&self, device: DeviceId, after: QueueNumber, max_bytes: usize) -> Pending<Vec<Delivery>>;

    /// Everything up to `through` is on the reader's disk: removes it. Cumulative; a lower number than before changes
    /// nothing, one that was never given begins the mailbox anew.
    fn ack(&self, device: DeviceId, through: QueueNumber) -> Pending<AckOutcome>;

    /// What became of envelopes, in order.
    fn fates(&self, tags: Vec<FateTag>) -> Pending<Vec<FateState>>;

    /// Removes what is past its time at `now_ms`: envelopes (raising `lost_through`, their fates becoming expired),
    /// submission records, fate tags. At most a few hundred rows; answers how many, 0 when nothing is left to do.
    fn expire(&self, now_ms: u64) -> Pending<usize>;

    /// Counts and sizes, for the operator.
    fn usage(&self) -> Pending<Usage>;

    /// Finishes everything enqueued, then refuses all more. Resolves when the engine has let go of its files.
    fn close(&self) -> Pending<()>;
}

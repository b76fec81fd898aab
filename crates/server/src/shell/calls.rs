//! Calls of the store for the core: changes in order and with their answers in order, reads beside them.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
};

use sotto_store::{Pending, Store, StoreError};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::core::{Input, Operation, StoreCall, StoreReply};

/// Changes in the store's own line at a time, and their bytes: below what its line takes (8,192 and 32 MiB), so that
/// it never has to refuse one out of the middle of a connection's messages.
const OUTSTANDING: usize = 2_000;
const OUTSTANDING_BYTES: usize = 16 * 1024 * 1024;

/// What a call comes to.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<StoreReply, StoreError>> + Send>>;

/// Calls the store.
#[derive(Debug)]
pub(super) struct Caller {
    store: Reads,
    finished: mpsc::UnboundedSender<Input>,
    changes: mpsc::UnboundedSender<(Operation, StoreCall)>,
    lane: JoinHandle<()>,
}

struct Reads(Arc<dyn Store>);

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Caller {
    pub(super) fn start(store: Arc<dyn Store>, finished: mpsc::UnboundedSender<Input>) -> Self {
        let (changes, calls) = mpsc::unbounded_channel();
        let lane = tokio::spawn(lane(Arc::clone(&store), calls, finished.clone()));
        Self { store: Reads(store), finished, changes, lane }
    }

    pub(super) fn call(&self, operation: Operation, call: StoreCall) {
        if changes(&call) {
            // The lane ends only after this sender is gone, or by a panic, which ends the core's steps too.
            if self.changes.send((operation, call)).is_err() {
                let result = Err(StoreError::Stopped);
                drop(self.finished.send(Input::Stored { operation, result }));
            }
            return;
        }
        let answer = enqueue(self.store.0.as_ref(), call);
        let finished = self.finished.clone();
        tokio::spawn(async move {
            let result = answer.await;
            drop(finished.send(Input::Stored { operation, result }));
        });
    }

    /// Waits until every change was answered.
    pub(super) async fn finish(self) {
        drop(self.changes);
        drop(self.lane.await);
    }
}

async fn lane(
    store: Arc<dyn Store>,
    mut calls: mpsc::UnboundedReceiver<(Operation, StoreCall)>,
    finished: mpsc::UnboundedSender<Input>,
) {
    let mut outstanding: VecDeque<(Operation, usize, Answer)> = VecDeque::new();
    let mut bytes = 0;
    let mut open = true;
    while open || !outstanding.is_empty() {
        let room = open && outstanding.len() < OUTSTANDING && bytes < OUTSTANDING_BYTES;
        let first = async {
            match outstanding.front_mut() {
                Some((_, _, answer)) => poll_fn(|context| answer.as_mut().poll(context)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = first => {
                if let Some((operation, size, _)) = outstanding.pop_front() {
                    bytes -= size;
                    drop(finished.send(Input::Stored { operation, result }));
                }
            }
            call = calls.recv(), if room => match call {
                Some((operation, call)) => {
                    let size = size(&call);
                    bytes += size;
                    outstanding.push_back((operation, size, enqueue(store.as_ref(), call)));
                }
                None => open = false,
            },
        }
    }
}

/// Bytes of what is to be stored, as far as they count.
fn size(call: &StoreCall) -> usize {
    match call {
        StoreCall::Append(submission) => {
            submission.envelopes.iter().map(|envelope| envelope.envelope.len()).sum()
        }
        _ => 0,
    }
}

/// Whether the order of this call among others matters.
fn changes(call: &StoreCall) -> bool {
    match call {
        StoreCall::CreateAccount(_)
        | StoreCall::ReplaceAccount { .. }
        | StoreCall::ResetAccount { .. }
        | StoreCall::RemoveAccount(..)
        | StoreCall::PutPrekeys(..)
        | StoreCall::ClaimPrekeys(..)
        | StoreCall::Append(_)
        | StoreCall::Ack(..)
        | StoreCall::Expire(_) => true,
        StoreCall::AccountByName(_)
        | StoreCall::Account(_)
        | StoreCall::Ended(..)
        | StoreCall::Invite(_)
        | StoreCall::Names { .. }
        | StoreCall::PrekeyCounts(_)
        | StoreCall::Submission(_)
        | StoreCall::Mailbox(_)
        | StoreCall::Read { .. }
        | StoreCall::Fates(_) => false,
    }
}

/// Calls the store; what comes of it is to be awaited.
pub(crate) fn enqueue(store: &dyn Store, call: StoreCall) -> Answer {
    fn map<T: Send + 'static>(
        pending: Pending<T>,
        reply: impl FnOnce(T) -> StoreReply + Send + 'static,
    ) -> Answer {
        Box::pin(async move { pending.await.map(reply) })
    }
    match call {
        StoreCall::CreateAccount(account) => map(store.create_account(account), StoreReply::Created),
        StoreCall::AccountByName(name) => map(store.account_by_name(&name), StoreReply::Account),
        StoreCall::Account(account) => map(store.account(account), StoreReply::Account),
        StoreCall::ReplaceAccount { expected, new } => {
            map(store.replace_account(&expected, new), StoreReply::Replaced)
        }
        StoreCall::ResetAccount { expected, list, now_ms } => {
            map(store.reset_account(&expected, list, now_ms), StoreReply::Replaced)
        }
        StoreCall::RemoveAccount(account, now_ms) => {
            map(store.remove_account(account, now_ms), StoreReply::Removed)
        }
        StoreCall::Ended(account, now_ms) => map(store.ended(account, now_ms), StoreReply::Ended),
        StoreCall::Invite(hash) => map(store.invite(hash), StoreReply::Invite),
        StoreCall::Names { after, limit } => map(store.names(after, limit), StoreReply::Names),
        StoreCall::PutPrekeys(device, upload) => {
            map(store.put_prekeys(device, upload), StoreReply::PrekeyCounts)
        }
        StoreCall::PrekeyCounts(device) => map(store.prekey_counts(device), StoreReply::PrekeyCounts),
        StoreCall::ClaimPrekeys(devices, one_time, now_ms) => {
            map(store.claim_prekeys(devices, one_time, now_ms), StoreReply::Bundles)
        }
        StoreCall::Append(submission) => map(store.append(submission), StoreReply::Appended),
        StoreCall::Submission(key) => map(store.submission(key), StoreReply::Submission),
        StoreCall::Mailbox(device) => map(store.mailbox(device), StoreReply::Mailbox),
        StoreCall::Read { device, after, max_bytes } => {
            map(store.read(device, after, max_bytes), StoreReply::Deliveries)
        }
        StoreCall::Ack(device, through) => map(store.ack(device, through), StoreReply::Acked),
        StoreCall::Fates(tags) => map(store.fates(tags), StoreReply::Fates),
        StoreCall::Expire(now_ms) => map(store.expire(now_ms), StoreReply::Expired),
    }
}

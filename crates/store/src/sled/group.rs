//! One group commit in the making.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use sotto_proto::{DeviceId, frame::Submitted};

use super::row::{DeviceRow, Expiring, FileName, MailboxRow};
use crate::{Promise, StoreError, SubmissionKey};

/// What readers learn when the group is committed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Publish {
    Open(DeviceId, DeviceRow),
    Close(DeviceId, u64),
    Mailbox(u64, MailboxRow),
}

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What the requests of one group came to so far. Rows of the tree `queue` are collected and written as one batch, so
/// that a submission is there whole or not at all; those of the other trees are written at once.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) batch: ::sled::Batch,
    pub(crate) batch_rows: usize,
    /// Queues whose envelopes the batch adds or removes, which a range over the tree would not see.
    pub(crate) staged_queues: HashSet<u64>,
    /// Submissions in this group, for the same reason.
    pub(crate) submissions: HashMap<SubmissionKey, Submitted>,
    pub(crate) expiring: BTreeMap<u64, Vec<Expiring>>,
    pub(crate) publish: Vec<Publish>,
    /// Files whose rows this group removes.
    pub(crate) removed_files: Vec<FileName>,
    /// Files were written whose names are not synced yet.
    pub(crate) files_written: bool,
    pub(crate) dirty: bool,
    pub(crate) disk_full: bool,
    answers: Vec<Answer>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("rows", &self.batch_rows).finish_non_exhaustive()
    }
}

impl Group {
    pub(crate) fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.batch.insert(key, value);
        self.batch_rows += 1;
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.batch.remove(key);
        self.batch_rows += 1;
    }

    /// Answers when the group is committed, or with the error that stopped it.
    pub(crate) fn answer<T: Send + 'static>(&mut self, promise: Promise<T>, value: Result<T, StoreError>) {
        self.answers.push(Box::new(move |committed| promise.keep(committed.and(value))));
    }

    pub(crate) fn answer_all(&mut self, committed: &Result<(), StoreError>) {
        for answer in self.answers.drain(..) {
            answer(committed.clone());
        }
    }
}

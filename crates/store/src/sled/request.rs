//! What the writer is asked to do.

use std::path::PathBuf;

use sotto_proto::{
    AccountId, DeviceId, QueueNumber, SignedDeviceList,
    prekey::{PrekeyBundle, PrekeyCounts, PrekeyUpload},
};

use crate::{
    AccountRecord, AckOutcome, Appended, CreateOutcome, Invite, InviteHash, NewAccount, Promise,
    ReplaceOutcome, StoreError, Submission, dump::Summary,
};

/// A replacement of an account's record.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) account: AccountId,
    pub(crate) revision: u64,
    pub(crate) new: AccountRecord,
}

/// A new identity in the place of an old one.
#[derive(Debug)]
pub(crate) struct Reset {
    pub(crate) account: AccountId,
    pub(crate) revision: u64,
    pub(crate) list: SignedDeviceList,
    pub(crate) now_ms: u64,
}

/// A change, and to whom its answer goes.
#[derive(Debug)]
pub(crate) enum Request {
    Create(Box<NewAccount>, Promise<CreateOutcome>),
    Replace(Box<Replacement>, Promise<ReplaceOutcome>),
    Reset(Box<Reset>, Promise<ReplaceOutcome>),
    Remove(AccountId, u64, Promise<bool>),
    CreateInvite(Box<Invite>, Promise<bool>),
    RevokeInvite(InviteHash, Promise<bool>),
    PutPrekeys(DeviceId, Box<PrekeyUpload>, Promise<PrekeyCounts>),
    Claim(Vec<DeviceId>, bool, u64, Promise<Vec<Option<PrekeyBundle>>>),
    Append(Submission, Promise<Appended>),
    Ack(DeviceId, QueueNumber, Promise<AckOutcome>),
    Expire(u64, Promise<usize>),
    Export(PathBuf, Promise<Summary>),
}

impl Request {
    /// About how much memory it takes, bytes: what the line and a group are bounded by.
    pub(crate) fn bytes(&self) -> usize {
        // A KEM prekey with its signature is the largest thing that comes in numbers beside envelopes.
        const PREKEY: usize = 1400;
        256 + match self {
            Self::Create(new, _) => new.list.as_bytes().len(),
            Self::Replace(replacement, _) => {
                replacement.new.list.len() + replacement.new.blocked.len() * AccountId::LENGTH
            }
            Self::Reset(reset, _) => reset.list.as_bytes().len(),
            Self::PutPrekeys(_, upload, _) => upload.one_time.len() * 64 + upload.one_time_kem.len() * PREKEY,
            Self::Append(submission, _) => {
                submission.envelopes.iter().map(|envelope| envelope.envelope.len() + 256).sum()
            }
            Self::Claim(..)
            | Self::Ack(..)
            | Self::Expire(..)
            | Self::Export(..)
            | Self::Remove(..)
            | Self::CreateInvite(..)
            | Self::RevokeInvite(..) => 0,
        }
    }

    /// Answers that it was not done.
    pub(crate) fn fail(self, error: StoreError) {
        match self {
            Self::Create(_, promise) => promise.keep(Err(error)),
            Self::Replace(_, promise) | Self::Reset(_, promise) => promise.keep(Err(error)),
            Self::Remove(_, _, promise) | Self::CreateInvite(_, promise) | Self::RevokeInvite(_, promise) => {
                promise.keep(Err(error));
            }
            Self::PutPrekeys(_, _, promise) => promise.keep(Err(error)),
            Self::Claim(_, _, _, promise) => promise.keep(Err(error)),
            Self::Append(_, promise) => promise.keep(Err(error)),
            Self::Ack(_, _, promise) => promise.keep(Err(error)),
            Self::Expire(_, promise) => promise.keep(Err(error)),
            Self::Export(_, promise) => promise.keep(Err(error)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        Pending,
        conformance::{self, Person, envelope, key},
    };

    #[test]
    fn a_request_counts_with_what_it_holds() {
        let alice = Person::new("alice", 1);
        let append = |envelopes| {
            let submission = Submission { key: key(1), envelopes, now_ms: 1 };
            Request::Append(submission, Pending::pair().0).bytes()
        };
        assert_eq!(append(Vec::new()), 256);
        assert_eq!(
            append(vec![envelope(alice.device, 1, 1000), envelope(alice.device, 2, 10)]),
            256 + 1010 + 512
        );
        let upload = |one_time, one_time_kem| {
            let upload = Box::new(conformance::upload(1, 0..one_time, 0..one_time_kem));
            Request::PutPrekeys(alice.device, upload, Pending::pair().0).bytes()
        };
        assert_eq!((upload(0, 0), upload(3, 0), upload(0, 2)), (256, 256 + 192, 256 + 2800));
        let list = alice.list(1, &[alice.device]).as_bytes().len();
        let create = Request::Create(Box::new(alice.new_account()), Pending::pair().0);
        assert_eq!(create.bytes(), 256 + list);
        let replacement = |blocked| {
            let record = AccountRecord { blocked: vec![alice.account; blocked], ..record(&alice) };
            let new = Replacement { account: alice.account, revision: 1, new: record };
            Request::Replace(Box::new(new), Pending::pair().0).bytes()
        };
        assert_eq!((replacement(0), replacement(3)), (256 + list, 256 + list + 48));
    }

    fn record(of: &Person) -> AccountRecord {
        of.register(&crate::MemoryStore::new(crate::StoreConfig::default()))
    }

    /// Not only that it is gone, but why.
    #[test]
    fn what_fails_is_answered_with_the_reason() {
        let (promise, pending) = Pending::pair();
        Request::Ack(DeviceId([1; 16]), QueueNumber(1), promise).fail(StoreError::DiskFull);
        assert_eq!(pending.wait(), Err(StoreError::DiskFull));
        let (promise, pending) = Pending::pair();
        Request::Claim(Vec::new(), false, 0, promise).fail(StoreError::Busy);
        assert_eq!(pending.wait(), Err(StoreError::Busy));
    }
}

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

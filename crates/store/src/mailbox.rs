//! Mailboxes, submissions and deliveries as the server keeps them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sotto_proto::{
    AccountId, DeviceId, FateTag, QueueNumber, SubmissionId, frame::Submitted, wire::labelled,
};

/// Under which a submission's answer is kept: `SHA-256("sotto v1 submission" || account || submission id)`, so that
/// the record does not name the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubmissionKey(pub [u8; 32]);

impl SubmissionKey {
    /// Of a sender's submission.
    pub fn new(sender: &AccountId, submission: &SubmissionId) -> Self {
        Self(Sha256::digest(labelled("sotto v1 submission", &[&sender.0, &submission.0])).into())
    }
}

/// One envelope to store.
#[derive(Debug, Clone)]
pub struct NewEnvelope {
    /// Whose mailbox.
    pub device: DeviceId,
    /// What the sender asks by.
    pub fate_tag: FateTag,
    /// Opaque.
    pub envelope: Vec<u8>,
    /// Whether the device is connected, for the answer.
    pub connected: bool,
    /// Refused before it came here (not accepted, sender's share used up): only its outcome is recorded.
    pub refused: Option<sotto_proto::frame::Refusal>,
}

/// Envelopes to store in one step.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Under which the answer is kept.
    pub key: SubmissionKey,
    /// The envelopes.
    pub envelopes: Vec<NewEnvelope>,
    /// The server's clock, Unix milliseconds.
    pub now_ms: u64,
}

/// What came of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The answer for the sender.
    pub submitted: Submitted,
    /// For each envelope, its number, if it was stored by this call; `None` for one that was refused or, in a
    /// submission that was known already, stored before.
    pub numbers: Vec<Option<QueueNumber>>,
}

/// One envelope to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its place in the queue.
    pub number: QueueNumber,
    /// When it was stored, Unix milliseconds.
    pub stored_ms: u64,
    /// Opaque.
    pub envelope: Vec<u8>,
}

/// What came of an ack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckOutcome {
    /// Everything up to there is gone; these are the fate tags of what was removed by this call.
    Removed(Vec<FateTag>),
    /// The number is above the last one that was ever given, so the reader has read from a newer state of this store,
    /// which is an old copy. Nothing was removed. The mailbox has a new incarnation, in which nothing is acked: its
    /// reader starts from the front.
    BegunAnew,
}

/// Counts and sizes, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Accounts.
    pub accounts: u64,
    /// Envelopes in all mailboxes.
    pub envelopes: u64,
    /// Their bytes.
    pub envelope_bytes: u64,
    /// Bytes of the store's files.
    pub disk_bytes: u64,
}

//! What a server sends.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{
    ErrorReply,
    account::{Approved, ListChanged, PendingDevices, ResetState},
    begin,
    chat::{ChatEnded, ChatStarted, InviteEnded, Invited, Inviting},
    finish, frames,
};
use crate::{
    chain::KeyChain,
    codec::{self, CodecError},
    ids::{AccountId, DeviceId, FateTag, Incarnation, ListHash, QueueNumber},
    prekey::{PrekeyBundle, PrekeyCounts},
};

frames! {
    /// Responses, pushes, and the data frame Deliver.
    ServerFrame {
        /// The request was done; there is nothing to say about it.
        0x0101 => Done,
        /// The request was not done.
        0x0102 => Error(ErrorReply),
        /// To Hello.
        0x0103 => Welcome(Welcome),
        /// To Ping.
        0x0104 => Pong,
        /// To PasswordLogin and AccountLogin.
        0x0110 => AccountIn(AccountIn),
        /// To DeviceLogin.
        0x0111 => DeviceIn(DeviceIn),
        /// To LookupLists.
        0x0120 => Lists(Lists),
        /// To PublishKeys; also pushed when few are left.
        0x0121 => KeyCounts(KeyCounts),
        /// To ClaimBundles.
        0x0122 => Bundles(Bundles),
        /// To ListPending; also pushed when a device asks to be added.
        0x0123 => PendingDevices(PendingDevices),
        /// To ResetAccount; also pushed to the account's devices when a reset is asked for, and when they sign in.
        0x0124 => Reset(ResetState),
        /// To ListUsers.
        0x0130 => Users(Users),
        /// To QueryFates.
        0x0140 => Fates(Fates),
        /// To QuerySubmission.
        0x0141 => SubmissionState(SubmissionState),
        /// To Submit: everything is on stable storage.
        0x0142 => Submitted(Submitted),
        /// To Submit: nothing was stored.
        0x0143 => StaleDevices(StaleDevices),
        /// To Invite.
        0x0150 => Inviting(Inviting),
        /// Push, first of all: the server's key chain.
        0x0201 => Chain(KeyChain),
        /// Push: all that was in the mailbox has been sent once; what follows is new.
        0x0202 => Drained(Drained),
        /// Push: recipients have taken these.
        0x0203 => Taken(Taken),
        /// Push: another connection of the same device takes this one's place; the server closes.
        0x0204 => Replaced,
        /// Push: the server stops; the client comes back later.
        0x0205 => Stopping,
        /// Push: the device that waits on this connection was added.
        0x0206 => Approved(Approved),
        /// Push: another device, or a Submit that handed it over, has changed the account's device list.
        0x0207 => ListChanged(ListChanged),
        /// Push: somebody asks for a live chat.
        0x0210 => Invited(Invited),
        /// Push: an invitation came to nothing, or was answered on another device.
        0x0211 => InviteEnded(InviteEnded),
        /// Push: a live chat starts.
        0x0212 => ChatStarted(ChatStarted),
        /// Push: a live chat ended.
        0x0213 => ChatEnded(ChatEnded),
        /// Push: the next envelope of the mailbox.
        0x1002 => Deliver(Deliver),
    }
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registration {
    /// Everybody.
    Open,
    /// Who has an invite.
    Invite,
    /// Nobody.
    Closed,
}

/// The server's limits that a client wants to know before it runs into them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerLimits {
    /// Bytes of a frame's body after login.
    pub max_frame: u32,
    /// Requests of one connection without an answer.
    pub max_pipelined: u16,
    /// How long an envelope waits for its recipient, milliseconds.
    pub retention_ms: u64,
}

/// The server's side of the opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version both speak from here on.
    pub version: u16,
    /// Random; goes into every login signature of this connection.
    pub challenge: [u8; 32],
    /// The server's clock, Unix milliseconds.
    pub now_ms: u64,
    /// Who may make an account.
    pub registration: Registration,
    /// What the client should not exceed.
    pub limits: ServerLimits,
}

/// The account is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountIn {
    /// Its id.
    pub account: AccountId,
    /// Its newest [`crate::SignedDeviceList`].
    pub list: ByteBuf,
}

/// A mailbox, seen from its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxState {
    /// Another one than before: the server's data was restored.
    pub incarnation: Incarnation,
    /// The highest number the reader has acked.
    pub acked: QueueNumber,
    /// The highest number that was removed without an ack.
    pub lost_through: QueueNumber,
}

/// The device is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceIn {
    /// The number of the account's newest device list.
    pub list_number: u64,
    /// Its hash.
    pub list_hash: ListHash,
    /// The device's mailbox.
    pub mailbox: MailboxState,
    /// What is left of the device's prekeys.
    pub prekeys: PrekeyCounts,
}

/// Signed device lists, in the order of the request: names first, then ids; `None` where there is no such account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lists {
    /// [`crate::SignedDeviceList`] each.
    pub lists: Vec<Option<ByteBuf>>,
}

/// What is left of the device's prekeys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCounts {
    /// The counts.
    pub counts: PrekeyCounts,
}

/// What handshakes need; one-time keys in it are handed out to nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundles {
    /// One for each device that has published keys.
    pub bundles: Vec<PrekeyBundle>,
    /// Devices that the server does not know, or that have published none yet.
    pub missing: Vec<DeviceId>,
}

/// What a person does, as far as the server knows; never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// No interactive device is connected.
    Offline,
    /// Connected, and in no live chat.
    Available,
    /// In a live chat with these.
    Busy(Vec<String>),
}

/// One line of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserEntry {
    /// The name.
    pub name: String,
    /// What they do.
    pub presence: Presence,
}

/// A page of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// In order of names.
    pub users: Vec<UserEntry>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// What became of an envelope, as far as the server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FateState {
    /// In the mailbox.
    Waiting,
    /// Acked by the device.
    Taken,
    /// Removed after the retention time, unfetched; or with its device.
    Expired,
    /// Never stored, or forgotten since.
    Unknown,
}

/// In the order of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// One for each tag.
    pub states: Vec<FateState>,
}

/// Why one device's envelope was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The mailbox has no room.
    MailboxFull,
    /// The sender's share of the mailbox is used up.
    SenderShare,
    /// The recipient does not accept the sender.
    NotAccepted,
    /// The envelope is too large.
    TooLarge,
    /// The server's disk is full.
    DiskFull,
}

/// What became of one device's envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// On stable storage.
    Stored {
        /// Whether the device is connected.
        connected: bool,
    },
    /// Not stored, and why.
    Refused(Refusal),
    /// There is no such account, or it has no such device.
    UnknownDevice,
    /// Transient: given to a connected device.
    Passed,
    /// Transient: the device is not connected.
    Dropped,
}

/// One device's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOutcome {
    /// Whose envelope.
    pub device: DeviceId,
    /// What became of it.
    pub outcome: Outcome,
}

/// The answer to a Submit, the same each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// One for each envelope, in the order of the Submit. After a refusal every later envelope of the same Submit for
    /// the same device is refused with the same reason, so that nothing overtakes a refused message.
    pub devices: Vec<DeviceOutcome>,
    /// When it was stored, the server's clock, Unix milliseconds.
    pub stored_ms: u64,
}

/// Whether a Submit is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmissionState {
    /// Its answer, if it was stored within the last 21 days.
    pub submitted: Option<Submitted>,
}

/// Lists that are newer than the ones the Submit was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleDevices {
    /// The server's newest [`crate::SignedDeviceList`] of each account whose list was stale.
    pub lists: Vec<ByteBuf>,
    /// Accounts of which the server has an older list than the Submit used: hand the list over.
    pub wanted: Vec<AccountId>,
}

/// The mailbox has been sent up to here once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// The highest number sent, or the cursor where there was nothing.
    pub through: QueueNumber,
    /// As in [`Deliver`].
    pub lost_through: QueueNumber,
}

/// Envelopes that their recipients have acked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Of envelopes this connection submitted.
    pub tags: Vec<FateTag>,
}

/// An envelope from the mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// Its place in the queue.
    pub number: QueueNumber,
    /// The highest number that was removed without an ack; above the reader's cursor it is a hole.
    pub lost_through: QueueNumber,
    /// When it was stored, the server's clock, Unix milliseconds.
    pub stored_ms: u64,
    /// [`crate::Envelope`].
    pub envelope: ByteBuf,
}

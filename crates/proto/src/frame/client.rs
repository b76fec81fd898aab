//! What a client sends.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    account::{Block, DropPending, RequestDevice, ResetAccount, SetInteractive},
    begin,
    chat::{InChat, Invite},
    finish, frames,
};
use crate::{
    codec::{self, CodecError},
    ids::{AccountId, DeviceId, FateTag, Incarnation, ListHash, QueueNumber, SubmissionId},
    keys::Signature,
    prekey::PrekeyUpload,
    version::VersionRange,
};

frames! {
    /// Requests, and the data frame Submit. The comment of each says which logins it needs and what answers it.
    ClientFrame {
        /// First of all, after the server's chain has been verified. Answer: Welcome.
        0x0001 => Hello(Hello),
        /// Keeps the connection alive. Answer: Pong.
        0x0002 => Ping,
        /// The client ends. Answer: Done, then the server closes.
        0x0003 => Bye,
        /// Makes an account. Answer: Done once it is on stable storage. The same request again is answered the same.
        0x0010 => Register(Register),
        /// Proves the password. Answer: AccountIn.
        0x0011 => PasswordLogin(PasswordLogin),
        /// Proves the account key. Answer: AccountIn.
        0x0012 => AccountLogin(AccountLogin),
        /// Proves a device's key; from here on the connection is that device's. Answer: DeviceIn.
        0x0013 => DeviceLogin(DeviceLogin),
        /// Needs AccountLogin, or a device and the old password. Answer: Done.
        0x0014 => SetPassword(SetPassword),
        /// Needs a device. Answer: Lists.
        0x0020 => LookupLists(LookupLists),
        /// Needs AccountLogin, or PasswordLogin on the account's device. Answer: Done, or CONFLICT.
        0x0021 => ReplaceList(ReplaceList),
        /// Needs a device. Answer: KeyCounts.
        0x0022 => PublishKeys(PublishKeys),
        /// Needs a device. Answer: Bundles, after the claims are on stable storage.
        0x0023 => ClaimBundles(ClaimBundles),
        /// Needs PasswordLogin: this device waits to be approved by another. Answer: Done; Approved is pushed later.
        0x0024 => RequestDevice(RequestDevice),
        /// Needs a device. Answer: PendingDevices.
        0x0025 => ListPending,
        /// Needs a device. Answer: Done.
        0x0026 => DropPending(DropPending),
        /// Needs a device. Answer: Done once it is on stable storage.
        0x0027 => Block(Block),
        /// Needs PasswordLogin. Answer: Reset.
        0x0028 => ResetAccount(ResetAccount),
        /// Needs a device: a reset that waits is refused. Answer: Done.
        0x0029 => RefuseReset,
        /// Needs a device. Answer: Users.
        0x0030 => ListUsers(ListUsers),
        /// Needs a device. Answer: Done.
        0x0031 => SetInteractive(SetInteractive),
        /// Needs a device: starts delivery. Answer: Done, then Deliver pushes and one Drained.
        0x0040 => Attach(Attach),
        /// Needs Attach: all up to here is on the reader's own disk. Answer: Done.
        0x0041 => Ack(Ack),
        /// Needs a device. Answer: Fates.
        0x0042 => QueryFates(QueryFates),
        /// Needs a device. Answer: SubmissionState.
        0x0043 => QuerySubmission(QuerySubmission),
        /// Needs an interactive device. Answer: Inviting.
        0x0050 => Invite(Invite),
        /// Needs an interactive device that was invited. Answer: Done.
        0x0051 => Accept(InChat),
        /// Needs an interactive device that was invited. Answer: Done.
        0x0052 => Deny(InChat),
        /// Needs the device that invited. Answer: Done.
        0x0053 => Cancel(InChat),
        /// Needs a device in the chat: ends it for all. Answer: Done.
        0x0054 => Quit(InChat),
        /// Needs a device. Answer: Submitted once everything is on stable storage, or StaleDevices and nothing stored.
        0x1001 => Submit(Submit),
    }
}

/// The key that stands for the password: Argon2id(password, [`crate::login::auth_salt`]). Whoever has it can log in
/// by password, so it is wiped and never printed; it is here because it travels in frames.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct AuthKey(pub [u8; 32]);

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(…)")
    }
}

/// Opens the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What the client speaks.
    pub versions: VersionRange,
    /// Program and version, for the operator's log; at most 64 bytes are read.
    pub software: String,
}

/// A new account with its first device; or one that the server lost, with the devices it has by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Where the server asks for one.
    pub invite: Option<String>,
    /// As typed; the server checks it again.
    pub username: String,
    /// Stands for the password.
    pub auth_key: AuthKey,
    /// A [`crate::SignedDeviceList`] for this name; empty to ask only whether the name is taken.
    pub list: ByteBuf,
    /// A device in the list.
    pub device: DeviceId,
    /// That device's, over [`crate::login::registration`]; looked at only with a list.
    pub signature: Signature,
}

impl Register {
    /// Asks whether a name is taken, and registers nothing.
    pub fn question(username: String) -> Self {
        Self {
            invite: None,
            username,
            auth_key: AuthKey([0; 32]),
            list: ByteBuf::new(),
            device: DeviceId([0; 16]),
            signature: Signature([0; 64]),
        }
    }
}

/// By password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordLogin {
    /// As typed.
    pub username: String,
    /// Stands for the password.
    pub auth_key: AuthKey,
}

/// By the account key, which the recovery phrase holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLogin {
    /// As typed.
    pub username: String,
    /// Over [`crate::login::account_login`].
    pub signature: Signature,
}

/// By a device's signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLogin {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// Over [`crate::login::device_login`].
    pub signature: Signature,
    /// Whether a person sits there: only then the account counts as available.
    pub interactive: bool,
}

/// A new password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPassword {
    /// The old one, unless this connection proved the account key.
    pub old: Option<AuthKey>,
    /// The new one.
    pub new: AuthKey,
}

/// Asks for signed device lists, at most [`crate::limits::MAX_LISTS`] together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupLists {
    /// By name.
    pub names: Vec<String>,
    /// By id.
    pub accounts: Vec<AccountId>,
}

/// A new device list for one's own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceList {
    /// The hash of the list the server is believed to have; another one there is a CONFLICT.
    pub expected: ListHash,
    /// The new [`crate::SignedDeviceList`].
    pub list: ByteBuf,
}

/// Prekeys of this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishKeys {
    /// The keys.
    pub upload: PrekeyUpload,
}

/// Asks for what handshakes with these devices need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimBundles {
    /// Whose devices.
    pub account: AccountId,
    /// Which, at most [`crate::limits::MAX_DEVICES`].
    pub devices: Vec<DeviceId>,
    /// Whether one-time keys are wanted.
    pub one_time: bool,
}

/// Asks for a page of the directory, in order of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListUsers {
    /// Only names after this one.
    pub after: Option<String>,
    /// At most this many, and at most [`crate::limits::MAX_USERS_PER_PAGE`].
    pub limit: u16,
}

/// Starts delivery from the reader's own cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Of the queue, as DeviceIn named it.
    pub incarnation: Incarnation,
    /// Everything up to here is on the reader's disk.
    pub after: QueueNumber,
}

/// Cumulative: everything up to `through` is on the reader's own disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Of the queue.
    pub incarnation: Incarnation,
    /// The highest number committed.
    pub through: QueueNumber,
}

/// Asks what became of envelopes, at most [`crate::limits::MAX_FATES_PER_QUERY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryFates {
    /// Their tags.
    pub tags: Vec<FateTag>,
}

/// Asks whether a Submit was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuerySubmission {
    /// Its id.
    pub submission: SubmissionId,
}

/// A device list that a Submit was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedList {
    /// Whose.
    pub account: AccountId,
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: ListHash,
    /// The signed list itself, where the client knows (or must assume) that the server's is older.
    pub list: Option<ByteBuf>,
}

/// One envelope for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingEnvelope {
    /// The recipient's account.
    pub account: AccountId,
    /// The recipient's device.
    pub device: DeviceId,
    /// Under which the sender asks later what became of it; random, kept from the recipient.
    pub fate_tag: FateTag,
    /// Passed on or dropped, never stored.
    pub transient: bool,
    /// [`crate::Envelope`], at most [`crate::limits::MAX_ENVELOPE`] bytes.
    pub envelope: ByteBuf,
}

/// Envelopes to store, all in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// The same id again gets the same answer and stores nothing twice.
    pub submission: SubmissionId,
    /// The device lists of every account in `envelopes`, the sender's own included.
    pub lists: Vec<UsedList>,
    /// At most [`crate::limits::MAX_ENVELOPES_PER_SUBMIT`].
    pub envelopes: Vec<OutgoingEnvelope>,
}

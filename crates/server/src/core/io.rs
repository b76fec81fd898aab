//! What goes into the core and what comes out of it.

use std::net::SocketAddr;

use sotto_proto::{
    AccountId, DeviceId, DeviceKey, FateTag, QueueNumber, SignedDeviceList, Username,
    frame::{AuthKey, ClientFrame, FateState, MailboxState, Submitted},
    prekey::{PrekeyBundle, PrekeyCounts, PrekeyUpload},
};
use sotto_store::{
    AccountRecord, AckOutcome, Appended, CreateOutcome, Delivery, Ending, Invite, InviteHash, NewAccount,
    ReplaceOutcome, StoreError, Submission, SubmissionKey,
};

use super::{config::CoreConfig, event::Event, operator::Roster, orders::Order};

/// A connection, counted up from the start of the program, never re-used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A call of the store or a job of the workers, counted up from the start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation(pub u64);

/// A question of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A peer finished its TLS handshake.
    Connected {
        /// Its number from here on.
        connection: ConnectionId,
        /// Where it comes from.
        peer: SocketAddr,
        /// Fresh random bytes for the login signatures of this connection.
        challenge: [u8; 32],
        /// 32 bytes from the TLS exporter ([`sotto_proto::login::EXPORTER_LABEL`]).
        exporter: [u8; 32],
    },
    /// A request.
    Frame {
        /// Whose.
        connection: ConnectionId,
        /// Its id.
        request: u32,
        /// Bytes of its payload, for the log.
        size: usize,
        /// What is asked.
        frame: ClientFrame,
    },
    /// A request of a kind that this program does not know.
    Unsupported {
        /// Whose.
        connection: ConnectionId,
        /// Its id.
        request: u32,
        /// Bytes of its payload.
        size: usize,
        /// Its kind.
        kind: u16,
    },
    /// Bytes that are no frame, or a payload that is not what its kind says.
    Malformed {
        /// Whose.
        connection: ConnectionId,
        /// Its id, or 0 where it could not be read.
        request: u32,
        /// What is wrong, for the peer and the log; holds none of the bytes.
        problem: String,
    },
    /// Bytes that the core counts have been given to the operating system.
    Written {
        /// Whose.
        connection: ConnectionId,
        /// How many of pushes.
        pushes: usize,
        /// How many of answers.
        answers: usize,
    },
    /// The peer is gone.
    Disconnected {
        /// Which.
        connection: ConnectionId,
    },
    /// The store answered. Answers of changes come in the order of the calls.
    Stored {
        /// To which call.
        operation: Operation,
        /// What it said.
        result: Result<StoreReply, StoreError>,
    },
    /// A worker finished.
    Worked {
        /// Which job.
        operation: Operation,
        /// What came of it.
        result: WorkResult,
    },
    /// The operator asks.
    Operator {
        /// The answer carries the same number.
        question: Question,
    },
    /// The operator wants something done to an account.
    Order {
        /// The answer carries the same number.
        question: Question,
        /// What.
        order: Order,
    },
    /// The operator changed the limits.
    Reload(CoreConfig),
    /// The program is to end.
    Stop,
    /// Time passed; see [`super::Core::wake_at_ms`].
    Tick,
}

/// What is to be done, in this order. Each is used up at once, so a box for the large ones would only cost.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Output {
    /// Send bytes.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// Whole frames.
        bytes: Vec<u8>,
        /// What they are, for the accounts.
        class: SendClass,
    },
    /// The peer has proven who it is; from here on it may send longer frames.
    SignedIn {
        /// Who.
        connection: ConnectionId,
        /// Bytes of a frame's body at most.
        frame_limit: usize,
    },
    /// Send what waits, then close. The core has forgotten the connection.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Call the store, in the order of these outputs.
    Store {
        /// The answer carries the same number.
        operation: Operation,
        /// The call.
        call: StoreCall,
    },
    /// Work for a thread that may block.
    Work {
        /// The answer carries the same number.
        operation: Operation,
        /// What to do.
        job: Job,
    },
    /// Metadata for the log.
    Log(Event),
    /// The operator's answer.
    Operator {
        /// To which question.
        question: Question,
        /// Who is there.
        roster: Roster,
    },
    /// The operator's answer to an order: done, or why not.
    Ordered {
        /// To which.
        question: Question,
        /// What came of it.
        result: Result<(), String>,
    },
    /// The store failed, so nothing can be promised any more: say so and end.
    Failed(String),
}

/// Why bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendClass {
    /// An answer: once it is written, the peer may have one more request on its way.
    Answer {
        /// Bytes of the request's payload.
        size: usize,
    },
    /// An answer that the core counts beside that: report it with [`Input::Written`].
    LongAnswer {
        /// Bytes of the request's payload.
        size: usize,
        /// Bytes to be reported.
        length: usize,
    },
    /// A push that the core counts: report it with [`Input::Written`].
    Push,
    /// Neither.
    Notice,
}

/// A call of [`sotto_store::Store`].
#[derive(Debug)]
pub enum StoreCall {
    /// `create_account`
    CreateAccount(NewAccount),
    /// `account_by_name`
    AccountByName(Username),
    /// `account`
    Account(AccountId),
    /// `replace_account`
    ReplaceAccount {
        /// The record it takes the place of.
        expected: AccountRecord,
        /// The new one.
        new: AccountRecord,
    },
    /// `reset_account`
    ResetAccount {
        /// The record it takes the place of.
        expected: AccountRecord,
        /// The new identity.
        list: SignedDeviceList,
        /// The server's clock, Unix milliseconds.
        now_ms: u64,
    },
    /// `remove_account`
    RemoveAccount(AccountId, u64),
    /// `ended`
    Ended(AccountId, u64),
    /// `invite`
    Invite(InviteHash),
    /// `names`
    Names {
        /// Only names after this one.
        after: Option<Username>,
        /// At most so many.
        limit: usize,
    },
    /// `put_prekeys`
    PutPrekeys(DeviceId, PrekeyUpload),
    /// `prekey_counts`
    PrekeyCounts(DeviceId),
    /// `claim_prekeys`
    ClaimPrekeys(Vec<DeviceId>, bool, u64),
    /// `append`
    Append(Submission),
    /// `submission`
    Submission(SubmissionKey),
    /// `mailbox`
    Mailbox(DeviceId),
    /// `read`
    Read {
        /// Whose mailbox.
        device: DeviceId,
        /// Only what stands after this.
        after: QueueNumber,
        /// About so much.
        max_bytes: usize,
    },
    /// `ack`
    Ack(DeviceId, QueueNumber),
    /// `fates`
    Fates(Vec<FateTag>),
    /// `expire`
    Expire(u64),
}

/// The answer to a [`StoreCall`] of the same name.
#[derive(Debug)]
pub enum StoreReply {
    /// To `CreateAccount`.
    Created(CreateOutcome),
    /// To `AccountByName` and `Account`.
    Account(Option<AccountRecord>),
    /// To `ReplaceAccount` and `ResetAccount`.
    Replaced(ReplaceOutcome),
    /// To `RemoveAccount`.
    Removed(bool),
    /// To `Ended`.
    Ended(Option<Ending>),
    /// To `Invite`.
    Invite(Option<Invite>),
    /// To `Names`.
    Names(Vec<(Username, AccountId)>),
    /// To `PutPrekeys` and `PrekeyCounts`.
    PrekeyCounts(PrekeyCounts),
    /// To `ClaimPrekeys`.
    Bundles(Vec<Option<PrekeyBundle>>),
    /// To `Append`.
    Appended(Appended),
    /// To `Submission`.
    Submission(Option<Submitted>),
    /// To `Mailbox`.
    Mailbox(Option<MailboxState>),
    /// To `Read`.
    Deliveries(Vec<Delivery>),
    /// To `Ack`.
    Acked(AckOutcome),
    /// To `Fates`.
    Fates(Vec<FateState>),
    /// To `Expire`.
    Expired(usize),
}

/// Work that takes too long for the core's task.
#[derive(Debug)]
pub enum Job {
    /// Argon2id of a new auth key, with a random salt.
    HashPassword(AuthKey),
    /// Whether the auth key is the one of the hash, a PHC string.
    VerifyPassword {
        /// What the peer says.
        auth_key: AuthKey,
        /// What is stored.
        hash: String,
    },
    /// Whether signatures hold.
    Verify(Verification),
}

/// Many signatures that come in one request.
#[derive(Debug)]
pub enum Verification {
    /// All signatures and dates of an upload.
    Prekeys {
        /// The device's account.
        account: AccountId,
        /// The device.
        device: DeviceId,
        /// Its certified signing key.
        device_key: DeviceKey,
        /// The keys.
        upload: Box<PrekeyUpload>,
        /// The server's clock, Unix milliseconds.
        now_ms: u64,
    },
    /// A device list: its own signature and those of the certificates in it.
    List(Vec<u8>),
}

impl Verification {
    /// Verifies them; the same bytes give the same result.
    pub fn run(self) -> WorkResult {
        match self {
            Self::Prekeys { account, device, device_key, upload, now_ms } => {
                let verified = upload.verify(&account, &device, &device_key, now_ms);
                WorkResult::Prekeys(verified.map(|()| upload).map_err(|error| error.to_string()))
            }
            Self::List(bytes) => {
                let parsed = SignedDeviceList::parse(&bytes);
                WorkResult::List(parsed.map(Box::new).map_err(|error| error.to_string()))
            }
        }
    }
}

/// What came of a [`Job`].
#[derive(Debug)]
pub enum WorkResult {
    /// A PHC string.
    Hashed(String),
    /// Whether the password is right.
    Verified(bool),
    /// The upload back, or why it was refused.
    Prekeys(Result<Box<PrekeyUpload>, String>),
    /// The list, or what is wrong with it.
    List(Result<Box<SignedDeviceList>, String>),
    /// The machine could not do it (out of memory).
    Failed(String),
}

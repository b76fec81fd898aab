//! What a face of Sotto (command line, line client, screen, bot) asks of the client, and what it is told. All of it
//! can travel over the local socket, so a face works the same in the process that owns the profile and beside it.

mod account;
mod chat;

use serde::{Deserialize, Serialize};
use sotto_proto::{
    MessageId, Username,
    frame::{ChatId, ResetState},
};
use thiserror::Error;

pub use account::{AccountCommand, Device, DeviceStanding, Password};
pub use chat::{ChatCommand, ChatEvent};

/// What can be asked of a running client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Who and where this profile is. Answer: [`Reply::Whoami`].
    Whoami,
    /// How the connection stands. Answer: [`Reply::Connection`].
    Connection,
    /// Writes a text to a user, or to one's own other devices. It is in the outbox, on disk, when the answer comes;
    /// [`Event::Fate`] tells the rest. Answer: [`Reply::Queued`].
    Send {
        /// To whom.
        to: Recipient,
        /// The text.
        text: String,
    },
    /// What became of a message. Answer: [`Reply::Fate`].
    Fate(MessageId),
    /// Rows that were not printed yet, oldest first. Answer: [`Reply::Rows`].
    Unprinted {
        /// Only rows after this print number: what a filter has passed over.
        after: u64,
        /// At most this many.
        limit: u32,
    },
    /// Rows that arrived after the row with this print number, without moving the cursor. Answer: [`Reply::Rows`].
    PrintedAfter {
        /// A [`Row::print`] number; 0 for all.
        after: u64,
        /// At most this many.
        limit: u32,
    },
    /// The row with this print number has been printed. Answer: [`Reply::Done`].
    Printed(u64),
    /// The newest rows of a conversation, or of all, oldest first. Answer: [`Reply::Rows`].
    History {
        /// Only this conversation.
        with: Option<Recipient>,
        /// At most this many.
        limit: u32,
        /// Only rows before this message.
        before: Option<MessageId>,
    },
    /// What waits, oldest first. Answer: [`Reply::Outbox`].
    Outbox,
    /// Gives up a message that waits. Answer: [`Reply::Done`]; it may have left already.
    DropOutbox(MessageId),
    /// The server's directory. Needs a connection. Answer: [`Reply::Users`].
    Users,
    /// People one has written with. Answer: [`Reply::Contacts`].
    Contacts,
    /// The safety number with a user; fetches the device list if it is not known. Answer: [`Reply::Safety`].
    Safety(Username),
    /// Says that the safety number was compared: pins the identity it belongs to, and releases what was held.
    /// Answer: [`Reply::Safety`].
    Trust {
        /// Whose.
        user: Username,
        /// 60 digits; spaces are ignored.
        number: String,
    },
    /// Refuses what a user sends from now on, or no longer does, on all devices of the account. Answer: [`Reply::Done`].
    Block {
        /// Whom.
        user: Username,
        /// Whether they are blocked.
        blocked: bool,
    },
    /// Invitations and live chats.
    Chat(ChatCommand),
    /// Devices, password, reset.
    Account(AccountCommand),
    /// Checks the local store, and says what the server knows of this device. Answer: [`Reply::Doctor`].
    Doctor,
}

/// To whom a message goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recipient {
    /// A user.
    User(Username),
    /// One's own other devices: notes to oneself.
    Me,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done; there is nothing to say about it.
    Done,
    /// To [`Command::Whoami`].
    Whoami(Whoami),
    /// To [`Command::Connection`].
    Connection(Connection),
    /// To [`Command::Send`]: in the outbox.
    Queued {
        /// The message's id.
        message: MessageId,
        /// [`Fate::Waiting`] or [`Fate::Held`].
        fate: Fate,
    },
    /// To [`Command::Fate`].
    Fate(MessageFate),
    /// To [`Command::Unprinted`], [`Command::PrintedAfter`] and [`Command::History`].
    Rows(Vec<Row>),
    /// To [`Command::Outbox`].
    Outbox(Vec<OutboxEntry>),
    /// To [`Command::Users`].
    Users(Vec<User>),
    /// To [`Command::Contacts`].
    Contacts(Vec<Contact>),
    /// To [`Command::Safety`] and [`Command::Trust`].
    Safety(Safety),
    /// To [`ChatCommand::Invite`].
    Inviting {
        /// The invitation.
        chat: ChatId,
        /// How long the invited may take.
        expires_in_ms: u64,
    },
    /// To some of [`AccountCommand`].
    Devices(Vec<Device>),
    /// To [`Command::Doctor`].
    Doctor(Vec<Finding>),
}

/// What happens without being asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The connection changed.
    Connection(Connection),
    /// Everything that waited in the mailbox when the client connected has been received.
    Drained,
    /// A row was added, or took the place of one that could not be read.
    Row(Row),
    /// What became of a message changed.
    Fate(MessageFate),
    /// Something the user must know: an identity changed, an old list, a hole in the mailbox. In words.
    Warning(String),
    /// Something about invitations and live chats.
    Chat(ChatEvent),
    /// Devices wait to be approved: their ids, base32. Their codes are on their own screens.
    DevicesWait(Vec<String>),
    /// Somebody who knows the password asked for a new identity of this account, or how that ended.
    Reset(ResetState),
    /// This device cannot go on: replaced by another connection, revoked, or an old copy of the profile. In words.
    Stopped(ClientError),
}

/// How the connection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connection {
    /// Trying.
    Connecting,
    /// Logged in.
    Online,
    /// Not connected.
    Offline {
        /// Why.
        error: ClientError,
        /// After how many milliseconds it is tried again; `None` if it is not.
        retry_in_ms: Option<u64>,
    },
}

/// Who and where a profile is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whoami {
    /// The account's name.
    pub username: Username,
    /// The account's id, base32.
    pub account: String,
    /// This device's id, base32.
    pub device: String,
    /// The account's devices, base32.
    pub devices: Vec<String>,
    /// `sotto://HOST:PORT/FINGERPRINT`.
    pub server: String,
    /// How the connection stands.
    pub connection: Connection,
}

/// What became of a message, or of one device's copy of it, in rising order of worth; a receipt outranks everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The server knows no such user.
    UnknownUser,
    /// The server did not take it.
    Refused,
    /// It was not fetched in time, or waited too long here.
    Expired,
    /// In the local outbox.
    Waiting,
    /// In the local outbox, because the recipient's identity changed.
    Held,
    /// On the server's disk.
    Stored,
    /// Acked by a recipient device.
    Taken,
    /// A recipient device said, end to end, that it has it.
    Delivered,
    /// A person has seen it.
    Read,
}

impl Fate {
    /// As scripts see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Stored => "stored",
            Self::Taken => "taken",
            Self::Delivered => "delivered",
            Self::Read => "read",
        }
    }

    /// Reads what [`Fate::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::UnknownUser,
            Self::Refused,
            Self::Expired,
            Self::Waiting,
            Self::Held,
            Self::Stored,
            Self::Taken,
            Self::Delivered,
            Self::Read,
        ]
        .into_iter()
        .find(|fate| fate.as_str() == text)
    }
}

/// The reason of a message that was refused for good: who it was for does not want it. Every other refusal is tried again.
pub const NOT_ACCEPTED: &str = "the recipient does not accept it";

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFate {
    /// Which message.
    pub message: MessageId,
    /// The best of its devices.
    pub fate: Fate,
    /// Why, where it was refused or held: in words.
    pub reason: Option<String>,
    /// Whether a recipient device was connected when the server stored it: `sent`, not only `queued`.
    pub connected: bool,
    /// Each recipient device (base32) and what became of its copy.
    pub devices: Vec<(String, Fate)>,
}

impl MessageFate {
    /// The recipient's devices that do not get it, though others do.
    pub fn unreached(&self) -> Vec<String> {
        let misses = |fate| matches!(fate, Fate::Expired | Fate::Refused | Fate::UnknownUser);
        if misses(self.fate) {
            return Vec::new();
        }
        self.devices.iter().filter(|(_, fate)| misses(*fate)).map(|(device, _)| device.clone()).collect()
    }
}

/// How sure it is that a name belongs to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// This account itself.
    Own,
    /// Pinned at first use.
    Pinned,
    /// The safety number was compared.
    Compared,
    /// The server now shows another key under the name; nothing is sent.
    Changed,
    /// The sender's device has not been found in the list that the server serves for the name.
    Unconfirmed,
}

impl Trust {
    /// As scripts see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Pinned => "pinned",
            Self::Compared => "compared",
            Self::Changed => "changed",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its place among what arrived here; 0 for what this device sent itself.
    pub print: u64,
    /// The message's id; of one that could not be read, an id of its own.
    pub message: MessageId,
    /// The other side's name; one's own for notes to oneself.
    pub conversation: String,
    /// The sender's name.
    pub from: String,
    /// Whether this account sent it.
    pub outgoing: bool,
    /// How sure it is that `from` is right.
    pub trust: Trust,
    /// The sender's clock, Unix milliseconds; of one that could not be read, when it arrived.
    pub sent_ms: u64,
    /// When this device committed it, Unix milliseconds.
    pub received_ms: u64,
    /// What it says.
    pub body: RowBody,
    /// Of outgoing ones, what became of it.
    pub fate: Option<Fate>,
    /// Of outgoing ones, why, in words.
    pub reason: Option<String>,
    /// Of outgoing ones, the recipient's devices (base32) that do not get it, though others do.
    pub unreached: Vec<String>,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowBody {
    /// Text, raw: sanitise it before it is shown.
    Text(String),
    /// Could not be read, and why.
    Undecryptable(String),
    /// Of a kind this program does not know; kept, and read after an update.
    Newer(u16),
}

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// The message's id.
    pub message: MessageId,
    /// To whom.
    pub to: String,
    /// [`Fate::Waiting`], [`Fate::Held`] or [`Fate::Refused`].
    pub fate: Fate,
    /// Why, in words.
    pub reason: Option<String>,
    /// When it was written, Unix milliseconds.
    pub created_ms: u64,
    /// The text, raw.
    pub text: String,
}

/// One line of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// `available`, `busy` or `offline`.
    pub presence: String,
    /// With whom, where busy.
    pub with: Vec<String>,
}

/// Somebody one has written with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The name.
    pub name: String,
    /// How sure it is.
    pub trust: Trust,
    /// Rows of the conversation.
    pub rows: u64,
    /// How many envelopes came under this name with another account key; they were attributed to nobody.
    pub impostors: u64,
    /// Whether what they send is refused.
    pub blocked: bool,
}

/// The safety number with a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Safety {
    /// The user.
    pub user: String,
    /// How sure it is.
    pub trust: Trust,
    /// 12 groups of 5 digits with a space between, for the identity that is pinned.
    pub number: String,
    /// The same for the identity that the server shows now, if it is another one.
    pub new_number: Option<String>,
    /// Messages that are held for this user.
    pub held: u64,
}

/// One line of the doctor's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whether it is well.
    pub ok: bool,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub found: String,
}

/// What went wrong, for a program ([`ErrorKind`]) and for a person.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ClientError {
    /// For programs; decides the exit code.
    pub kind: ErrorKind,
    /// What.
    pub message: String,
    /// The cause, where it is known.
    pub cause: Option<String>,
    /// What to do: an exact command where there is one.
    pub hint: Option<String>,
}

impl ClientError {
    /// An error without cause or hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None, hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }
}

/// Who is to blame, as exit codes sort it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Bad input: a name, a text, an option's value.
    Invalid,
    /// The name belongs to somebody, or looks like somebody's.
    NameTaken,
    /// The local disk is full.
    DiskFull,
    /// The server does not answer.
    Unreachable,
    /// A wrong password, a refused login, no account here yet.
    LoginNeeded,
    /// The server's key or a contact's key is not the pinned one.
    IdentityChanged,
    /// A rate, quota or count is reached.
    Limit,
    /// The local store cannot be opened: wrong passphrase, or damaged.
    LocalStore,
    /// Another process owns the profile.
    ProfileInUse,
    /// No such user, message or room.
    NotFound,
    /// The configuration cannot be used.
    Configuration,
    /// No protocol version in common, or data of a newer program.
    Version,
    /// Time is up.
    Timeout,
    /// The user said stop.
    Interrupted,
    /// A bug.
    Bug,
}

impl ErrorKind {
    /// The exit code of a command that ends with this.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid | Self::NameTaken | Self::DiskFull => 1,
            Self::Unreachable => 3,
            Self::LoginNeeded => 4,
            Self::IdentityChanged => 5,
            Self::Limit => 7,
            Self::LocalStore => 8,
            Self::ProfileInUse => 9,
            Self::NotFound => 10,
            Self::Configuration => 11,
            Self::Version => 12,
            Self::Bug => 70,
            Self::Timeout => 124,
            Self::Interrupted => 130,
        }
    }
}

//! What the core goes on with when the store answers.

use std::sync::Arc;

use sotto_proto::{
    AccountId, DeviceId, FateTag, QueueNumber, Username,
    frame::{MailboxState, ServerFrame},
};

use sotto_store::Day;

use super::{
    changes::UnderWay,
    connection::{Session, Ticket},
    io::{ConnectionId, Question},
    known::{AccountRef, Known},
    orders::Order,
    register::Registering,
    submit::Outline,
};

/// One envelope of a Submit on its way into the store.
#[derive(Debug)]
pub(super) struct Planned {
    /// The account whose device it is for.
    pub(super) to: Arc<Known>,
    pub(super) device: DeviceId,
    /// Under which it is counted.
    pub(super) tag: FateTag,
    /// Whether this Submit counted it in [`super::waiting::Waiting`].
    pub(super) counted: bool,
    /// A copy for a reader that is caught up: then it need not be read back.
    pub(super) copy: Option<Vec<u8>>,
}

/// A call of the store that is under way.
#[derive(Debug)]
pub(super) enum Step {
    /// An account that a request in the line names.
    Find { connection: ConnectionId, wanted: AccountRef, forgotten: u64 },
    /// The invite of a registration.
    Invite { ticket: Ticket, registering: Box<Registering> },
    /// A registration.
    Register { ticket: Ticket, name: Username },
    /// A device of an account that is not here signs in: whether the account has ended.
    Ended { ticket: Ticket },
    /// A change of one account's record.
    Change(Box<UnderWay>),
    /// An account that was signed in on a day, and is not known here.
    Note { day: Day, forgotten: u64 },
    /// The account of an order.
    Order { question: Question, order: Order, forgotten: u64 },
    /// An account that the operator removes.
    Remove { question: Question, known: Arc<Known> },
    /// A device signed in: its mailbox.
    SignInMailbox { ticket: Ticket, session: Box<Session>, known: Arc<Known>, forgotten: u64 },
    /// A device signed in: its prekeys.
    SignInPrekeys {
        ticket: Ticket,
        session: Box<Session>,
        known: Arc<Known>,
        mailbox: MailboxState,
        forgotten: u64,
    },
    /// Prekeys published.
    Publish { ticket: Ticket },
    /// Bundles claimed, then what the server knows to be missing.
    Claim { ticket: Ticket, devices: Vec<DeviceId>, missing: Vec<DeviceId> },
    /// How many prekeys a device has left after a claim.
    Left { device: DeviceId },
    /// A page of the directory.
    Names { ticket: Ticket, limit: usize },
    /// Fates asked for.
    Fates { ticket: Ticket },
    /// A submission asked for.
    AskSubmission { ticket: Ticket },
    /// A Submit of which nothing is stored now: whether it was stored before.
    Recall { ticket: Ticket, outline: Vec<Outline>, otherwise: Box<ServerFrame> },
    /// A Submit on its way to stable storage.
    Append { ticket: Ticket, sender: AccountId, outline: Vec<Outline>, planned: Vec<Planned> },
    /// An acknowledgement.
    Ack { ticket: Ticket },
    /// The cursor in an Attach.
    AttachAck { ticket: Ticket, after: QueueNumber },
    /// A reader that has fallen behind: its mailbox's state.
    ReaderMailbox { connection: ConnectionId },
    /// A reader that has fallen behind: the next envelopes.
    ReaderBatch { connection: ConnectionId },
    /// Rows past their time.
    Expire,
}

impl Step {
    /// Whether its connection's line waits for it.
    pub(super) fn holds_the_line(&self) -> bool {
        match self {
            Self::Register { .. }
            | Self::Invite { .. }
            | Self::Ended { .. }
            | Self::SignInMailbox { .. }
            | Self::SignInPrekeys { .. }
            | Self::Change(_)
            | Self::Names { .. }
            | Self::Fates { .. }
            | Self::AttachAck { .. } => true,
            Self::Find { .. }
            | Self::Note { .. }
            | Self::Order { .. }
            | Self::Remove { .. }
            | Self::Publish { .. }
            | Self::Claim { .. }
            | Self::Left { .. }
            | Self::AskSubmission { .. }
            | Self::Recall { .. }
            | Self::Append { .. }
            | Self::Ack { .. }
            | Self::ReaderMailbox { .. }
            | Self::ReaderBatch { .. }
            | Self::Expire => false,
        }
    }

    /// The request that an error is answered to.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Register { ticket, .. }
            | Self::Invite { ticket, .. }
            | Self::Ended { ticket }
            | Self::SignInMailbox { ticket, .. }
            | Self::SignInPrekeys { ticket, .. }
            | Self::Publish { ticket }
            | Self::Claim { ticket, .. }
            | Self::Names { ticket, .. }
            | Self::Fates { ticket }
            | Self::AskSubmission { ticket }
            | Self::Recall { ticket, .. }
            | Self::Append { ticket, .. }
            | Self::Ack { ticket }
            | Self::AttachAck { ticket, .. } => Some(*ticket),
            Self::Change(under_way) => under_way.ticket(),
            Self::Find { .. }
            | Self::Note { .. }
            | Self::Order { .. }
            | Self::Remove { .. }
            | Self::Left { .. }
            | Self::ReaderMailbox { .. }
            | Self::ReaderBatch { .. }
            | Self::Expire => None,
        }
    }
}

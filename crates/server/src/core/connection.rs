//! A connection as the core knows it.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use sotto_proto::{
    AccountId, DeviceId, DeviceKey, SignedDeviceList, Username,
    frame::{ClientFrame, MailboxState, ResetState},
};

use sotto_store::Day;

use super::{
    io::{ConnectionId, Operation},
    known::{AccountRef, Known},
    reader::Reader,
};

/// A request that is to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) connection: ConnectionId,
    pub(super) request: u32,
    /// The request's kind, for the log.
    pub(super) kind: &'static str,
    /// Bytes of its payload, for the log.
    pub(super) size: usize,
}

/// A device list, or what is wrong with it.
pub(super) type VerifiedList = Result<Box<SignedDeviceList>, String>;

/// A request in its connection's line. Requests start in the order in which they came, so Submits keep theirs.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) ticket: Ticket,
    pub(super) frame: ClientFrame,
    /// The accounts it names, as far as the store had to be asked; `None` for one that does not exist.
    pub(super) found: Vec<(AccountRef, Option<Arc<Known>>)>,
    /// Which calls of the store it waits for.
    pub(super) fetching: Vec<Operation>,
    /// Whether it was counted among what its account asks.
    pub(super) counted: bool,
    /// Whether its accounts have been looked for.
    pub(super) looked: bool,
    /// The device list in it, or what is wrong with that, once its signatures were verified.
    pub(super) list: Option<VerifiedList>,
    /// How often it was started again because an account's record changed under it.
    pub(super) attempts: u8,
}

/// How an account was proven on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Password,
    AccountKey,
}

/// A device that signed in.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) account: AccountId,
    pub(super) device: DeviceId,
    pub(super) device_key: DeviceKey,
    pub(super) name: Username,
    pub(super) interactive: bool,
    pub(super) mailbox: MailboxState,
    /// The sweep after which `mailbox.lost_through` was read.
    pub(super) sweep: u64,
    /// The last day on which the store has it that a device of the account was there, as far as is known here.
    pub(super) seen: Option<Day>,
}

/// A connection's state.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) challenge: [u8; 32],
    pub(super) exporter: [u8; 32],
    /// Whether versions were agreed on.
    pub(super) greeted: bool,
    pub(super) proven: Option<(AccountId, Proof)>,
    pub(super) session: Option<Session>,
    pub(super) reader: Option<Reader>,
    pub(super) queue: VecDeque<Queued>,
    /// Whether the line stands still: a login or a change that later requests build on is under way.
    pub(super) blocked: bool,
    /// The request whose device list is being verified, and its [`Queued::attempts`].
    pub(super) verifying: Option<(ClientFrame, u8)>,
    /// Until when its line waits because its account asks much, Unix milliseconds.
    pub(super) due_ms: Option<u64>,
    /// Bytes of pushes that the peer has not taken yet.
    pub(super) unwritten: usize,
    /// Bytes of long answers that the peer has not taken yet.
    pub(super) unread: usize,
    /// Logins on it whose signature did not hold.
    pub(super) false_proofs: u32,
    /// The device that waits on it to be approved, and its account.
    pub(super) pending: Option<(AccountId, DeviceId)>,
    /// How a reset of the account stands, if the peer took too little to be told yet.
    pub(super) owed_reset: Option<ResetState>,
    /// Requests that have no answer yet.
    pub(super) unanswered: usize,
    /// The Bye that is answered when no other request is left to be.
    pub(super) leaving: Option<Ticket>,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, challenge: [u8; 32], exporter: [u8; 32]) -> Self {
        Self {
            peer,
            challenge,
            exporter,
            greeted: false,
            proven: None,
            session: None,
            reader: None,
            queue: VecDeque::new(),
            blocked: false,
            verifying: None,
            due_ms: None,
            unwritten: 0,
            unread: 0,
            false_proofs: 0,
            pending: None,
            owed_reset: None,
            unanswered: 0,
            leaving: None,
        }
    }

    /// The account that has proven itself or signed in.
    pub(super) fn account(&self) -> Option<AccountId> {
        let session = self.session.as_ref().map(|session| session.account);
        session.or(self.proven.map(|(account, _)| account))
    }

    /// Whether any login succeeded.
    pub(super) fn signed_in(&self) -> bool {
        self.proven.is_some() || self.session.is_some()
    }
}

//! The server's decision making, as a state machine: [`Core::handle`] takes what happened, [`Core::next_output`] says
//! what is to be done about it. No sockets, disks, clocks, randomness or tasks in here: the shell has them, and a
//! simulation can have others.
//!
//! What holds at every step:
//! - Every request gets exactly one answer, unless its connection ends first. Requests of one connection start in the
//!   order in which they came; answers may overtake each other.
//! - "Stored", "Done" and claimed keys are said only after the store said that they are on stable storage.
//! - What is delivered to a reader rises in number without a gap that is not stated.
//! - Everything that a peer can make grow has a limit, in `sotto_proto::limits` or beside its type here.

mod answer;
mod bucket;
mod changes;
mod chats;
mod clock;
mod config;
mod connection;
mod directory;
mod edit;
mod event;
mod io;
mod known;
mod line;
mod lists;
mod live;
mod login;
mod opening;
mod operator;
mod orders;
mod pace;
mod partners;
mod password;
mod pending;
mod prekeys;
mod reader;
mod register;
mod reset;
mod seen;
mod source;
mod step;
mod submit;
mod sweep;
#[cfg(test)]
mod tests;
mod toil;
mod tries;
mod waiting;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use sotto_proto::{
    AccountId, DeviceId, KeyChain, ServerId, SignedDeviceList,
    frame::{ChatEnd, ErrorCode, ErrorReply, PUSH, ServerFrame},
};
use sotto_store::{AccountRecord, Day, StoreError};

pub use config::{CoreConfig, Directory};
pub use event::{Event, Level};
pub use io::{
    ConnectionId, Input, Job, Operation, Output, Question, SendClass, StoreCall, StoreReply, Verification,
    WorkResult,
};
pub use operator::{OnlineDevice, Roster};
pub use orders::Order;
pub(crate) use source::source;

use bucket::Buckets;
use changes::Changes;
use chats::Chats;
use connection::{Connection, Session, Ticket};
use known::{AccountRef, Known, KnownAccounts};
use line::Found;
use pace::Pace;
use partners::Partners;
use pending::Pending;
use step::Step;
use sweep::Sweep;
use toil::{Requester, Toil};
use tries::Tries;
use waiting::Waiting;

/// How long a connection may stay without any login: a client types its password before it connects.
const LOGIN_TIMEOUT_MS: u64 = 60_000;
/// After the burst, how often one more one-time key may be claimed by an account.
const CLAIM_REFILL_MS: u64 = 1_000;
/// After the burst, how often one more account may be registered from an address.
const REGISTER_REFILL_MS: u64 = 2_000;
/// How often a request starts again because a record changed under it, before it is told to come again.
const ATTEMPTS: u8 = 4;

/// A request's refusal, before it is answered.
type Refused = (ErrorCode, Cow<'static, str>);

/// The server's state machine.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    server: ServerId,
    /// The first frame of every connection.
    chain: Vec<u8>,
    /// A hash that no password has: an unknown name costs the same time as a known one.
    nobody: String,
    outputs: VecDeque<Output>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Where each signed-in device is.
    devices: HashMap<DeviceId, ConnectionId>,
    /// Where the interactive devices of each account are.
    interactive: HashMap<AccountId, BTreeSet<ConnectionId>>,
    chats: Chats,
    /// Connections without a login, oldest first; holds some that have signed in since.
    logins_due: VecDeque<(u64, ConnectionId)>,
    known: KnownAccounts,
    changes: Changes,
    steps: HashMap<Operation, Step>,
    toils: HashMap<Operation, Toil>,
    /// Of them those with a password.
    hashing: usize,
    /// The others, by whose signatures are verified; none is zero.
    verifying: HashMap<Requester, usize>,
    next_operation: u64,
    tries: Tries,
    claims: Buckets<AccountId>,
    registrations: Buckets<IpAddr>,
    invitations: Buckets<AccountId>,
    blocks: Buckets<AccountId>,
    resets: Buckets<AccountId>,
    pace: Pace,
    waiting: Waiting,
    /// Filled only where the directory is closed.
    partners: Partners,
    pending: Pending,
    sweep: Sweep,
    stopping: bool,
    /// The time of the first input: before it no device could sign in.
    started_ms: Option<u64>,
    /// The time of the input that is being handled.
    now_ms: u64,
    /// The latest of all, since the clock was set back.
    latest_ms: u64,
}

impl Core {
    /// A server that shows `chain`. `nobody` is a PHC string with the cost of the real ones that no password has.
    /// Fails if the chain is too long for a frame.
    pub fn new(
        config: CoreConfig,
        chain: &KeyChain,
        nobody: String,
    ) -> Result<Self, sotto_proto::codec::CodecError> {
        let claims = Buckets::new(config.claim_burst, CLAIM_REFILL_MS);
        let registrations = Buckets::new(config.register_burst, REGISTER_REFILL_MS);
        Ok(Self {
            config,
            server: chain.server_id(),
            chain: ServerFrame::Chain(chain.clone()).encode(PUSH)?,
            nobody,
            outputs: VecDeque::new(),
            connections: BTreeMap::new(),
            devices: HashMap::new(),
            interactive: HashMap::new(),
            chats: Chats::default(),
            logins_due: VecDeque::new(),
            known: KnownAccounts::default(),
            changes: Changes::default(),
            steps: HashMap::new(),
            toils: HashMap::new(),
            hashing: 0,
            verifying: HashMap::new(),
            next_operation: 0,
            tries: Tries::new(),
            claims,
            registrations,
            invitations: Buckets::new(live::INVITE_BURST, live::INVITE_REFILL_MS),
            blocks: Buckets::new(edit::BLOCK_BURST, edit::BLOCK_REFILL_MS),
            resets: Buckets::new(reset::RESET_BURST, reset::RESET_REFILL_MS),
            pace: Pace::new(),
            waiting: Waiting::default(),
            partners: Partners::default(),
            pending: Pending::default(),
            sweep: Sweep::new(),
            stopping: false,
            started_ms: None,
            now_ms: 0,
            latest_ms: 0,
        })
    }

    /// Takes in what happened at `now_ms`, the server's clock in Unix milliseconds. Drain the outputs afterwards.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        let set_back = self.look_at_clock(now_ms);
        self.go_on(now_ms, set_back);
        match input {
            Input::Connected { connection, peer, challenge, exporter } => {
                self.connected(now_ms, connection, Connection::new(peer, challenge, exporter));
            }
            Input::Frame { connection, request, size, frame } => {
                self.frame(now_ms, connection, request, size, frame);
            }
            Input::Unsupported { connection, request, size, kind } => {
                let ticket = Ticket { connection, request, kind: "unknown request", size };
                self.unsupported(ticket, kind);
            }
            Input::Malformed { connection, request, problem } => {
                self.malformed(connection, request, problem);
            }
            Input::Written { connection, pushes, answers } => {
                self.written(now_ms, connection, pushes, answers);
            }
            Input::Disconnected { connection } => self.forget(connection),
            Input::Stored { operation, result } => self.stored(now_ms, operation, result),
            Input::Worked { operation, result } => self.worked(now_ms, operation, result),
            Input::Operator { question } => {
                let roster = self.roster();
                self.outputs.push_back(Output::Operator { question, roster });
            }
            Input::Order { question, order } => self.order(question, order),
            Input::Reload(config) => self.reload(config),
            Input::Stop => self.stop(),
            Input::Tick => self.tick(now_ms),
        }
    }

    /// What is to be done next, in order; `None` when all is done until the next input.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next [`Input::Tick`] is wanted, Unix milliseconds.
    pub fn wake_at_ms(&self) -> u64 {
        let login = self.logins_due.front().map_or(u64::MAX, |(due_ms, _)| *due_ms);
        login.min(self.sweep.next_ms()).min(self.chats.next_ms()).min(self.pace.next_ms())
    }

    /// Whether nothing is under way in the store or with the workers.
    pub fn idle(&self) -> bool {
        self.steps.is_empty() && self.toils.is_empty()
    }

    fn reload(&mut self, config: CoreConfig) {
        self.claims.set_burst(config.claim_burst);
        self.registrations.set_burst(config.register_burst);
        if config.directory == Directory::Open {
            // An open server needs not know who writes to whom.
            self.partners = Partners::default();
        }
        // The store keeps what it was opened with.
        let CoreConfig { retention_ms, mailbox_envelopes, .. } = self.config;
        self.config = CoreConfig { retention_ms, mailbox_envelopes, ..config };
    }

    fn connected(&mut self, now_ms: u64, id: ConnectionId, connection: Connection) {
        let peer = connection.peer;
        self.outputs.push_back(Output::Send {
            connection: id,
            bytes: self.chain.clone(),
            class: SendClass::Notice,
        });
        let refusal = if self.stopping {
            Some((ErrorCode::BUSY, "the server is stopping; come back in a moment".into()))
        } else if self.connections.len() >= self.config.max_clients {
            let message = format!("the server has as many clients as it takes ({})", self.config.max_clients);
            Some((ErrorCode::TOO_MANY_CLIENTS, message))
        } else {
            None
        };
        if let Some((code, message)) = refusal {
            let reply = ErrorReply { code, message: message.clone(), retry_after_ms: Some(10_000) };
            self.send(id, PUSH, &ServerFrame::Error(reply), SendClass::Notice);
            self.outputs.push_back(Output::Close { connection: id });
            self.log(Event::Refused { peer, reason: message.into() });
            return;
        }
        self.connections.insert(id, connection);
        self.logins_due.push_back((now_ms + LOGIN_TIMEOUT_MS, id));
        self.log(Event::Connected { peer });
    }

    fn malformed(&mut self, connection: ConnectionId, request: u32, problem: String) {
        let Some(state) = self.connections.get(&connection) else { return };
        let peer = state.peer;
        let reply = ErrorReply { code: ErrorCode::MALFORMED, message: problem.clone(), retry_after_ms: None };
        self.send(connection, request, &ServerFrame::Error(reply), SendClass::Notice);
        self.log(Event::Refused { peer, reason: problem.into() });
        self.close(connection);
    }

    fn unsupported(&mut self, ticket: Ticket, kind: u16) {
        if self.admit(ticket.connection) {
            let message = format!("this server does not know the request kind {kind:#06x}");
            self.refuse(ticket, (ErrorCode::UNSUPPORTED, message.into()));
        }
    }

    fn stored(&mut self, now_ms: u64, operation: Operation, result: Result<StoreReply, StoreError>) {
        let Some(step) = self.steps.remove(&operation) else { return };
        let step = match step {
            Step::Find { connection, wanted, forgotten } => {
                return self.account_found(now_ms, operation, (connection, wanted, forgotten), result);
            }
            step => step,
        };
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => return self.step_failed(now_ms, step, error),
        };
        match (step, reply) {
            (Step::Register { ticket, name }, StoreReply::Created(outcome)) => {
                self.registered(now_ms, ticket, &name, outcome);
            }
            (Step::Invite { ticket, registering }, StoreReply::Invite(invite)) => {
                self.invite_found(now_ms, ticket, *registering, invite);
            }
            (Step::Ended { ticket }, StoreReply::Ended(why)) => self.no_account(now_ms, ticket, why),
            (Step::Change(under_way), StoreReply::Replaced(outcome)) => {
                self.change_stored(now_ms, *under_way, outcome);
            }
            (Step::Note { day, forgotten }, StoreReply::Account(record)) => {
                self.noted(now_ms, (day, forgotten), record);
            }
            (Step::Order { question, order, forgotten }, StoreReply::Account(record)) => {
                self.order_found(now_ms, (question, order, forgotten), record);
            }
            (Step::Remove { question, known }, StoreReply::Removed(was)) => {
                self.removed(question, &known, was);
            }
            (Step::SignInMailbox { ticket, session, known, forgotten }, StoreReply::Mailbox(mailbox)) => {
                self.sign_in_mailbox(now_ms, ticket, session, (known, forgotten), mailbox);
            }
            (
                Step::SignInPrekeys { ticket, session, known, mailbox, forgotten },
                StoreReply::PrekeyCounts(counts),
            ) => {
                self.signed_in(now_ms, ticket, (*session, mailbox), (known, forgotten), counts);
            }
            (Step::Publish { ticket }, StoreReply::PrekeyCounts(counts)) => {
                self.published(ticket, counts);
            }
            (Step::Claim { ticket, devices, missing }, StoreReply::Bundles(bundles)) => {
                self.claimed(ticket, &devices, missing, bundles);
            }
            (Step::Left { device }, StoreReply::PrekeyCounts(counts)) => self.left(device, counts),
            (Step::Names { ticket, limit }, StoreReply::Names(names)) => {
                self.names(ticket, limit, names);
                self.unblock(now_ms, ticket.connection);
            }
            (Step::Fates { ticket }, StoreReply::Fates(states)) => {
                self.fates(ticket, states);
                self.unblock(now_ms, ticket.connection);
            }
            (Step::AskSubmission { ticket }, StoreReply::Submission(submitted)) => {
                self.submission_asked(ticket, submitted);
            }
            (Step::Recall { ticket, outline, otherwise }, StoreReply::Submission(recorded)) => {
                self.recalled(ticket, &outline, &otherwise, recorded);
            }
            (Step::Append { ticket, sender, outline, planned }, StoreReply::Appended(appended)) => {
                self.appended(ticket, sender, &outline, planned, appended);
            }
            (Step::Ack { ticket }, StoreReply::Acked(outcome)) => {
                if self.acked(ticket, outcome) {
                    self.answer_routine(ticket, &ServerFrame::Done);
                }
            }
            (Step::AttachAck { ticket, after }, StoreReply::Acked(outcome)) => {
                if self.acked(ticket, outcome) {
                    self.attached(ticket, after);
                    self.unblock(now_ms, ticket.connection);
                }
            }
            (Step::ReaderMailbox { connection }, StoreReply::Mailbox(mailbox)) => {
                self.reader_mailbox(now_ms, connection, mailbox);
            }
            (Step::ReaderBatch { connection }, StoreReply::Deliveries(batch)) => {
                self.reader_batch(now_ms, connection, batch);
            }
            (Step::Expire, StoreReply::Expired(rows)) => self.expired(now_ms, rows),
            (step, _) => {
                let error = StoreError::Damaged("the store answered something else".into());
                self.step_failed(now_ms, step, error);
            }
        }
    }

    /// The store could not. What a step had taken hold of is let go.
    fn step_failed(&mut self, now_ms: u64, step: Step, error: StoreError) {
        let (ticket, held) = (step.ticket(), step.holds_the_line());
        let changed = match &step {
            Step::Change(under_way) => Some(under_way.account()),
            _ => None,
        };
        match step {
            Step::Append { ticket, outline, planned, .. } => {
                return self.append_failed(ticket, &outline, &planned, now_ms, error);
            }
            Step::ReaderMailbox { connection } | Step::ReaderBatch { connection } => {
                self.reader_failed(now_ms, connection, &error);
            }
            Step::Expire => self.sweep.finished(now_ms, 0),
            Step::Change(under_way) => {
                if let Some(question) = under_way.question() {
                    self.order_failed(question, &error);
                }
            }
            Step::Order { question, .. } | Step::Remove { question, .. } => {
                self.order_failed(question, &error);
            }
            _ => {}
        }
        self.store_refused(ticket, error);
        if let Some(ticket) = ticket.filter(|_| held) {
            self.unblock(now_ms, ticket.connection);
        }
        if let Some(account) = changed {
            self.next_change(now_ms, account);
        }
        self.feed_held(now_ms);
    }

    /// Answers a request that the store could not serve. An error that is final ends the server.
    fn store_refused(&mut self, ticket: Option<Ticket>, error: StoreError) {
        let (code, message): (ErrorCode, &'static str) = match &error {
            StoreError::Busy => (ErrorCode::BUSY, "the server is busy; try again"),
            StoreError::DiskFull => (ErrorCode::DISK_FULL, "the server's disk is full; nothing was stored"),
            _ => (ErrorCode::STORE, "the server's store failed; nothing was promised"),
        };
        if let Some(ticket) = ticket {
            self.refuse(ticket, (code, message.into()));
        }
        match error {
            StoreError::Busy | StoreError::DiskFull => {}
            StoreError::Damaged(what) => self.log(Event::Trouble(format!("a record is damaged: {what}"))),
            StoreError::Stopped if self.stopping => {}
            error => self.outputs.push_back(Output::Failed(error.to_string())),
        }
    }

    fn operation(&mut self) -> Operation {
        self.next_operation += 1;
        Operation(self.next_operation)
    }

    fn call(&mut self, step: Step, call: StoreCall) -> Operation {
        let operation = self.operation();
        self.steps.insert(operation, step);
        self.outputs.push_back(Output::Store { operation, call });
        operation
    }

    fn log(&mut self, event: Event) {
        self.outputs.push_back(Output::Log(event));
    }

    /// Takes a record as the newest there is, with its list where that was just read; `None` if its list cannot be read,
    /// which is logged.
    fn remember(&mut self, record: AccountRecord, list: Option<SignedDeviceList>) -> Option<Arc<Known>> {
        // Ten signatures are not verified again where something else changed.
        let same = |list: &SignedDeviceList| list.as_bytes() == record.list;
        let list = list.filter(same).or_else(|| {
            let before = self.known.find(&AccountRef::Id(record.account))?;
            same(&before.list).then(|| before.list.clone())
        });
        let known = match list {
            Some(list) => Ok(Known::with(record, list)),
            None => Known::new(record),
        };
        match known {
            Ok(known) => Some(self.known.insert(known)),
            Err(error) => {
                self.log(Event::Trouble(format!("an account's device list is damaged: {error}")));
                None
            }
        }
    }

    fn session(&self, id: ConnectionId) -> Result<&Session, Refused> {
        self.connections
            .get(&id)
            .and_then(|connection| connection.session.as_ref())
            .ok_or((ErrorCode::LOGIN_NEEDED, "a device must sign in first".into()))
    }

    fn peer(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.connections.get(&id).map(|connection| connection.peer)
    }

    /// Closes from our side.
    fn close(&mut self, id: ConnectionId) {
        if self.connections.contains_key(&id) {
            self.outputs.push_back(Output::Close { connection: id });
            self.forget(id);
        }
    }

    /// Drops all that is kept for a connection.
    fn forget(&mut self, id: ConnectionId) {
        self.waits_no_more(id);
        let Some(connection) = self.connections.remove(&id) else { return };
        let peer = connection.peer;
        if let Some((account, _)) = connection.pending {
            self.pending.disconnected(&account, id);
        }
        let Some(session) = connection.session else {
            return self.log(Event::Disconnected { peer });
        };
        if self.devices.get(&session.device) == Some(&id) {
            self.devices.remove(&session.device);
        }
        self.log(Event::Offline { peer, name: session.name.clone() });
        if session.interactive {
            self.person_left(id, session.account, &session.name, ChatEnd::Lost);
        }
        // It was there until now. When the server stops they all go, and come back.
        if !self.stopping && session.seen < Some(Day::of(self.now_ms)) {
            self.note_seen(self.now_ms, session.account);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        let all: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in all {
            self.send(id, PUSH, &ServerFrame::Stopping, SendClass::Notice);
        }
    }

    fn tick(&mut self, now_ms: u64) {
        while let Some((due_ms, id)) = self.logins_due.front().copied() {
            let waits = self.connections.get(&id).is_some_and(|connection| !connection.signed_in());
            if waits && due_ms > now_ms {
                break;
            }
            self.logins_due.pop_front();
            if waits && let Some(peer) = self.peer(id) {
                self.log(Event::Refused { peer, reason: "no login in time".into() });
                self.close(id);
            }
        }
        self.time_out_invitations(now_ms);
        self.sweep_due(now_ms);
    }
}

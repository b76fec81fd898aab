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

mod bucket;
mod config;
mod connection;
mod directory;
mod event;
#[cfg(feature = "hostile")]
mod hostile;
mod io;
mod known;
mod lists;
mod login;
mod opening;
mod operator;
mod password;
mod prekeys;
mod reader;
mod register;
mod source;
mod step;
mod submit;
mod sweep;
#[cfg(test)]
mod tests;
mod tries;
mod waiting;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use sotto_proto::{
    AccountId, DeviceId, KeyChain, ServerId,
    frame::{ClientFrame, ErrorCode, ErrorReply, PUSH, ServerFrame},
    limits,
};
use sotto_store::{AccountRecord, StoreError};

pub use config::CoreConfig;
pub use event::{Event, Level};
pub use io::{
    ConnectionId, Input, Job, Operation, Output, Question, SendClass, StoreCall, StoreReply, WorkResult,
};
pub use operator::{OnlineDevice, Roster};

use bucket::Buckets;
use connection::{Connection, Queued, Session, Ticket};
use known::{AccountRef, Known, KnownAccounts};
use step::{Step, Toil};
use sweep::Sweep;
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
    /// How many interactive devices of each account are there.
    interactive: HashMap<AccountId, u32>,
    /// Connections without a login, oldest first; holds some that have signed in since.
    logins_due: VecDeque<(u64, ConnectionId)>,
    known: KnownAccounts,
    steps: HashMap<Operation, Step>,
    toils: HashMap<Operation, Toil>,
    next_operation: u64,
    tries: Tries,
    claims: Buckets<AccountId>,
    registrations: Buckets<IpAddr>,
    waiting: Waiting,
    sweep: Sweep,
    stopping: bool,
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
            logins_due: VecDeque::new(),
            known: KnownAccounts::default(),
            steps: HashMap::new(),
            toils: HashMap::new(),
            next_operation: 0,
            tries: Tries::new(),
            claims,
            registrations,
            waiting: Waiting::default(),
            sweep: Sweep::new(),
            stopping: false,
        })
    }

    /// Takes in what happened at `now_ms`, the server's clock in Unix milliseconds. Drain the outputs afterwards.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        match input {
            Input::Connected { connection, peer, challenge, exporter } => {
                self.connected(now_ms, connection, Connection::new(peer, challenge, exporter));
            }
            Input::Frame { connection, request, size, frame } => {
                self.frame(now_ms, connection, request, size, frame);
            }
            Input::Unsupported { connection, request, size, kind } => {
                let ticket = Ticket { connection, request, kind: "unknown request", size };
                let message = format!("this server does not know the request kind {kind:#06x}");
                self.refuse(ticket, (ErrorCode::UNSUPPORTED, message.into()));
            }
            Input::Malformed { connection, request, problem } => {
                self.malformed(connection, request, problem);
            }
            Input::Written { connection, bytes } => self.written(connection, bytes),
            Input::Disconnected { connection } => self.forget(connection),
            Input::Stored { operation, result } => self.stored(now_ms, operation, result),
            Input::Worked { operation, result } => self.worked(now_ms, operation, result),
            Input::Operator { question } => {
                let roster = self.roster();
                self.outputs.push_back(Output::Operator { question, roster });
            }
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
        login.min(self.sweep.next_ms())
    }

    /// Whether nothing is under way in the store or with the workers.
    pub fn idle(&self) -> bool {
        self.steps.is_empty() && self.toils.is_empty()
    }

    fn reload(&mut self, config: CoreConfig) {
        self.claims.set_burst(config.claim_burst);
        self.registrations.set_burst(config.register_burst);
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

    fn frame(&mut self, now_ms: u64, id: ConnectionId, request: u32, size: usize, frame: ClientFrame) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let ticket = Ticket { connection: id, request, kind: frame.name(), size };
        connection.queue.push_back(Queued {
            ticket,
            frame,
            found: Vec::new(),
            fetching: Vec::new(),
            looked: false,
            attempts: 0,
        });
        self.advance(now_ms, id);
    }

    /// Starts the requests at the head of a connection's line, as far as their accounts are known.
    fn advance(&mut self, now_ms: u64, id: ConnectionId) {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            if connection.blocked {
                return;
            }
            let proven = connection.proven.map(|(account, _)| account);
            let own = connection.session.as_ref().map(|session| session.account).or(proven);
            let Some(head) = connection.queue.front_mut() else { return };
            if !head.looked {
                head.looked = true;
                let wanted = accounts_named(&head.frame, own);
                let mut missing = Vec::new();
                for wanted in wanted {
                    match self.known.find(&wanted) {
                        Some(known) => head.found.push((wanted, Some(known))),
                        None => missing.push(wanted),
                    }
                }
                for wanted in missing {
                    let call = match &wanted {
                        AccountRef::Name(name) => StoreCall::AccountByName(name.clone()),
                        AccountRef::Id(account) => StoreCall::Account(*account),
                    };
                    let operation = self.call(Step::Find { connection: id, wanted }, call);
                    let head = self.connections.get_mut(&id).and_then(|state| state.queue.front_mut());
                    if let Some(head) = head {
                        head.fetching.push(operation);
                    }
                }
                continue;
            }
            if !head.fetching.is_empty() {
                return;
            }
            let Some(queued) = connection.queue.pop_front() else { return };
            self.start(now_ms, queued);
        }
    }

    /// Does a request whose accounts are known.
    fn start(&mut self, now_ms: u64, queued: Queued) {
        let Queued { ticket, frame, found, attempts, .. } = queued;
        let found = Found { found: &found };
        let Some(connection) = self.connections.get(&ticket.connection) else { return };
        if !connection.greeted
            && !matches!(frame, ClientFrame::Hello(_) | ClientFrame::Ping | ClientFrame::Bye)
        {
            return self.refuse(ticket, (ErrorCode::OUT_OF_ORDER, "Hello comes first".into()));
        }
        let result = match frame {
            ClientFrame::Hello(hello) => self.hello(now_ms, ticket, &hello),
            ClientFrame::Ping => {
                self.answer(ticket, &ServerFrame::Pong, "answered");
                Ok(())
            }
            ClientFrame::Bye => {
                self.answer(ticket, &ServerFrame::Done, "left");
                self.close(ticket.connection);
                Ok(())
            }
            ClientFrame::Register(register) => self.register(now_ms, ticket, register),
            ClientFrame::PasswordLogin(login) => self.password_login(now_ms, ticket, login, &found),
            ClientFrame::AccountLogin(login) => self.account_login(ticket, &login, &found),
            ClientFrame::DeviceLogin(login) => self.device_login(ticket, &login, &found),
            ClientFrame::SetPassword(set) => self.set_password(now_ms, ticket, set, &found),
            ClientFrame::LookupLists(lookup) => self.lookup_lists(ticket, &lookup, &found),
            ClientFrame::ReplaceList(replace) => self.replace_list(now_ms, ticket, &replace, &found),
            ClientFrame::PublishKeys(publish) => self.publish_keys(now_ms, ticket, publish),
            ClientFrame::ClaimBundles(claim) => self.claim_bundles(now_ms, ticket, claim, &found),
            ClientFrame::ListUsers(list) => self.list_users(ticket, &list),
            ClientFrame::Attach(attach) => self.attach(ticket, &attach),
            ClientFrame::Ack(ack) => self.ack(ticket, &ack),
            ClientFrame::QueryFates(query) => self.query_fates(ticket, query),
            ClientFrame::QuerySubmission(query) => self.query_submission(ticket, &query),
            ClientFrame::Submit(submit) => self.submit(now_ms, ticket, submit, attempts, &found),
        };
        if let Err(refused) = result {
            self.refuse(ticket, refused);
        }
    }

    /// An account that a request in the line waited for.
    fn account_found(
        &mut self,
        now_ms: u64,
        operation: Operation,
        (id, wanted): (ConnectionId, AccountRef),
        result: Result<StoreReply, StoreError>,
    ) {
        let known = match result {
            Ok(StoreReply::Account(None)) => Ok(None),
            Ok(StoreReply::Account(Some(record))) => match Known::new(record) {
                Ok(known) => Ok(Some(self.known.insert(known))),
                Err(error) => Err(StoreError::Damaged(format!("an account's device list: {error}"))),
            },
            Ok(_) => Err(StoreError::Damaged("the store answered something else".into())),
            Err(error) => Err(error),
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let waiting = connection.queue.iter().position(|queued| queued.fetching.contains(&operation));
        let Some(queued) = waiting.and_then(|place| connection.queue.get_mut(place)) else { return };
        queued.fetching.retain(|fetching| *fetching != operation);
        match known {
            Ok(known) => queued.found.push((wanted, known)),
            Err(error) => {
                let ticket = queued.ticket;
                // Its other look-ups find nothing in the line any more when they come back.
                let _gone = waiting.and_then(|place| connection.queue.remove(place));
                self.store_refused(Some(ticket), error);
            }
        }
        self.advance(now_ms, id);
    }

    fn stored(&mut self, now_ms: u64, operation: Operation, result: Result<StoreReply, StoreError>) {
        let Some(step) = self.steps.remove(&operation) else { return };
        let step = match step {
            Step::Find { connection, wanted } => {
                return self.account_found(now_ms, operation, (connection, wanted), result);
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
            (Step::SetPassword { ticket, new, attempts }, StoreReply::Replaced(outcome)) => {
                self.password_set(now_ms, ticket, *new, attempts, outcome);
            }
            (Step::ReplaceList { source, known, list }, StoreReply::Replaced(outcome)) => {
                self.list_replaced(now_ms, source, &known, &list, outcome);
            }
            (Step::SignInMailbox { ticket, session, known }, StoreReply::Mailbox(mailbox)) => {
                self.sign_in_mailbox(now_ms, ticket, session, known, mailbox);
            }
            (Step::SignInPrekeys { ticket, session, known, mailbox }, StoreReply::PrekeyCounts(counts)) => {
                self.signed_in(now_ms, ticket, *session, &known, mailbox, counts);
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
            }
            (Step::Fates { ticket }, StoreReply::Fates(states)) => self.fates(ticket, states),
            (Step::AskSubmission { ticket }, StoreReply::Submission(submitted)) => {
                self.submission_asked(ticket, submitted);
            }
            (Step::Recall { ticket, outline, otherwise }, StoreReply::Submission(recorded)) => {
                self.recalled(ticket, &outline, &otherwise, recorded);
            }
            (Step::Append { ticket, outline, planned }, StoreReply::Appended(appended)) => {
                self.appended(ticket, &outline, planned, appended);
            }
            (Step::Ack { ticket }, StoreReply::Acked(tags)) => {
                self.taken(&tags);
                self.answer_routine(ticket, &ServerFrame::Done);
            }
            (Step::AttachAck { ticket, after }, StoreReply::Acked(tags)) => {
                self.taken(&tags);
                self.attached(ticket, after);
                self.unblock(now_ms, ticket.connection);
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
        let ticket = step.ticket();
        match step {
            Step::Append { ticket, outline, planned } => {
                return self.append_failed(ticket, &outline, &planned, now_ms, error);
            }
            Step::ReaderMailbox { connection } | Step::ReaderBatch { connection } => {
                self.reader_failed(now_ms, connection, &error);
            }
            Step::Expire => self.sweep.finished(now_ms, 0),
            _ => {}
        }
        self.store_refused(ticket, error);
        if let Some(ticket) = ticket {
            self.unblock(now_ms, ticket.connection);
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

    fn worked(&mut self, now_ms: u64, operation: Operation, result: WorkResult) {
        let Some(toil) = self.toils.remove(&operation) else { return };
        let ticket = toil.ticket();
        match (toil, result) {
            (Toil::Register { ticket, name, list }, WorkResult::Hashed(hash)) => {
                self.register_hashed(now_ms, ticket, name, *list, hash);
            }
            (Toil::PasswordLogin { ticket, name, known }, WorkResult::Verified(right)) => {
                self.password_verified(now_ms, ticket, &name, known.filter(|_| right));
            }
            (Toil::OldPassword { ticket, known, new }, WorkResult::Verified(right)) => {
                self.old_password_verified(now_ms, ticket, known, new, right);
            }
            (Toil::NewPassword { ticket, known }, WorkResult::Hashed(hash)) => {
                self.replace_password(ticket, &known, hash, 0);
            }
            (Toil::Publish { ticket, device }, WorkResult::Prekeys(result)) => {
                self.prekeys_verified(ticket, device, result);
            }
            (toil, result) => {
                if let Toil::PasswordLogin { name, .. } = &toil {
                    self.no_guess(ticket, name);
                }
                if let WorkResult::Failed(what) = result {
                    self.log(Event::Trouble(format!("a password could not be hashed: {what}")));
                }
                self.refuse(ticket, (ErrorCode::BUSY, "the server is short of memory; try again".into()));
                self.unblock(now_ms, ticket.connection);
            }
        }
    }

    /// Lets the next requests of a connection start.
    fn unblock(&mut self, now_ms: u64, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.blocked = false;
            self.advance(now_ms, id);
        }
    }

    fn block(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.blocked = true;
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

    /// Gives the workers something to do, unless their line is too long.
    fn toil(&mut self, toil: Toil, job: Job) -> Result<(), Refused> {
        if self.toils.len() >= self.config.hashing_line {
            return Err((ErrorCode::BUSY, "too many logins wait; try again".into()));
        }
        let operation = self.operation();
        self.toils.insert(operation, toil);
        self.outputs.push_back(Output::Work { operation, job });
        Ok(())
    }

    fn log(&mut self, event: Event) {
        self.outputs.push_back(Output::Log(event));
    }

    fn send(&mut self, connection: ConnectionId, request: u32, frame: &ServerFrame, class: SendClass) {
        match frame.encode(request) {
            Ok(bytes) => {
                if class == SendClass::Push
                    && let Some(state) = self.connections.get_mut(&connection)
                {
                    state.unwritten += bytes.len();
                }
                self.outputs.push_back(Output::Send { connection, bytes, class });
            }
            Err(error) => {
                // Every answer is bounded below the largest frame; a client that waits for ever would be worse.
                self.log(Event::Trouble(format!("a {} frame could not be encoded: {error}", frame.name())));
                self.close(connection);
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, frame: &ServerFrame, action: impl Into<Cow<'static, str>>) {
        self.answer_logged(ticket, frame, action.into(), matches!(frame, ServerFrame::Pong));
    }

    fn answer_routine(&mut self, ticket: Ticket, frame: &ServerFrame) {
        self.answer_logged(ticket, frame, Cow::Borrowed("done"), true);
    }

    fn answer_logged(
        &mut self,
        ticket: Ticket,
        frame: &ServerFrame,
        action: Cow<'static, str>,
        routine: bool,
    ) {
        let Some(connection) = self.connections.get(&ticket.connection) else { return };
        let name = connection.session.as_ref().map(|session| session.name.clone());
        let peer = connection.peer;
        self.send(ticket.connection, ticket.request, frame, SendClass::Answer { size: ticket.size });
        self.log(Event::Request { peer, name, request: ticket.kind, size: ticket.size, action, routine });
    }

    fn refuse(&mut self, ticket: Ticket, (code, message): Refused) {
        self.refuse_until(ticket, (code, message), None);
    }

    fn refuse_until(&mut self, ticket: Ticket, (code, message): Refused, retry_after_ms: Option<u64>) {
        let action = format!("refused, {message}");
        let retry_after_ms = retry_after_ms.or((code == ErrorCode::BUSY).then_some(1_000));
        let reply = ErrorReply { code, message: message.into_owned(), retry_after_ms };
        self.answer(ticket, &ServerFrame::Error(reply), action);
    }

    /// Takes a record as the newest there is; `None` if its list cannot be read, which is logged.
    fn remember(&mut self, record: AccountRecord) -> Option<Arc<Known>> {
        match Known::new(record) {
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
        let Some(connection) = self.connections.remove(&id) else { return };
        let peer = connection.peer;
        let Some(session) = connection.session else {
            return self.log(Event::Disconnected { peer });
        };
        if self.devices.get(&session.device) == Some(&id) {
            self.devices.remove(&session.device);
        }
        if session.interactive
            && let Some(count) = self.interactive.get_mut(&session.account)
        {
            *count -= 1;
            if *count == 0 {
                self.interactive.remove(&session.account);
            }
        }
        self.log(Event::Offline { peer, name: session.name });
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
        self.sweep_due(now_ms);
    }
}

/// The accounts that a request's start looks at.
fn accounts_named(frame: &ClientFrame, own: Option<AccountId>) -> Vec<AccountRef> {
    let by_name = |text: &str| sotto_proto::Username::parse(text).ok().map(AccountRef::Name);
    match frame {
        ClientFrame::PasswordLogin(login) => by_name(&login.username).into_iter().collect(),
        ClientFrame::AccountLogin(login) => by_name(&login.username).into_iter().collect(),
        ClientFrame::DeviceLogin(login) => vec![AccountRef::Id(login.account)],
        ClientFrame::SetPassword(_) | ClientFrame::ReplaceList(_) => {
            own.map(AccountRef::Id).into_iter().collect()
        }
        // Without a login nothing is looked up; more than the limit is refused without looking.
        _ if own.is_none() => Vec::new(),
        ClientFrame::ClaimBundles(claim) => vec![AccountRef::Id(claim.account)],
        ClientFrame::LookupLists(lookup)
            if lookup.names.len().saturating_add(lookup.accounts.len()) <= limits::MAX_LISTS =>
        {
            let names = lookup.names.iter().filter_map(|name| by_name(name));
            names.chain(lookup.accounts.iter().copied().map(AccountRef::Id)).collect()
        }
        ClientFrame::Submit(submit) if submit.lists.len() <= limits::MAX_LISTS => {
            submit.lists.iter().map(|used| AccountRef::Id(used.account)).collect()
        }
        _ => Vec::new(),
    }
}

/// The accounts that were found for one request.
struct Found<'a> {
    found: &'a [(AccountRef, Option<Arc<Known>>)],
}

impl Found<'_> {
    fn find(&self, known: &mut KnownAccounts, wanted: &AccountRef) -> Option<Arc<Known>> {
        // What was found when the request came may have been replaced while it stood in the line.
        known.find(wanted).or_else(|| {
            self.found.iter().find(|(found, _)| found == wanted).and_then(|(_, known)| known.clone())
        })
    }
}

//! A connection's line of requests: each starts when the accounts it names are known, in the order in which they came.

use std::sync::Arc;

use sotto_proto::{
    AccountId,
    frame::{ClientFrame, ErrorCode, Registration, ServerFrame},
    limits,
};
use sotto_store::StoreError;

use super::{
    ConnectionId, Core, Event, Operation, StoreCall, StoreReply,
    connection::{Queued, Ticket},
    known::{AccountRef, Known, KnownAccounts},
    source,
    step::Step,
};

/// Bytes of long answers that may wait for one peer; beyond this its requests wait too. Who asks and never reads would
/// otherwise have the server keep megabytes for each connection.
const UNREAD_LIMIT: usize = 256 * 1024;
/// Logins by key on one connection whose signature does not hold, before it is closed: nobody mistypes a key, and each
/// costs the server more than who makes it up.
const FALSE_PROOFS: u32 = 8;

impl Core {
    pub(super) fn frame(
        &mut self,
        now_ms: u64,
        id: ConnectionId,
        request: u32,
        size: usize,
        frame: ClientFrame,
    ) {
        if !self.admit(id) {
            return;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let ticket = Ticket { connection: id, request, kind: frame.name(), size };
        connection.queue.push_back(Queued {
            ticket,
            frame,
            found: Vec::new(),
            fetching: Vec::new(),
            counted: false,
            looked: false,
            list: None,
            attempts: 0,
        });
        self.advance(now_ms, id);
    }

    /// Starts the requests at the head of a connection's line, as far as their accounts are known.
    pub(super) fn advance(&mut self, now_ms: u64, id: ConnectionId) {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            if connection.blocked || connection.due_ms.is_some() || connection.unread >= UNREAD_LIMIT {
                return;
            }
            let own = connection.account();
            let signed_in = connection.session.is_some();
            let (greeted, peer) = (connection.greeted, connection.peer);
            let closed = self.config.registration == Registration::Closed;
            let Some(head) = connection.queue.front_mut() else { return };
            if !head.looked {
                let wait_ms = match &head.frame {
                    // What is verified already was counted.
                    ClientFrame::Register(_) if greeted && head.list.is_none() => {
                        self.registrations.wait_ms(source(peer.ip()), now_ms)
                    }
                    _ => 0,
                };
                if wait_ms > 0 {
                    // Before the store is asked for the name.
                    let ticket = head.ticket;
                    connection.queue.pop_front();
                    self.too_many_registrations(ticket, wait_ms);
                    continue;
                }
                head.looked = true;
                let registers =
                    matches!(&head.frame, ClientFrame::Register(register) if !register.list.is_empty());
                let refused = !greeted || closed && registers;
                let wanted = if refused { Vec::new() } else { accounts_named(&head.frame, own, signed_in) };
                let mut missing = Vec::new();
                for wanted in wanted {
                    match self.known.find(&wanted) {
                        Some(known) => head.found.push((wanted, Some(known))),
                        None => missing.push(wanted),
                    }
                }
                for wanted in missing {
                    let call = look_up(&wanted);
                    let forgotten = self.known.forgotten();
                    let operation = self.call(Step::Find { connection: id, wanted, forgotten }, call);
                    let head = self.connections.get_mut(&id).and_then(|state| state.queue.front_mut());
                    if let Some(head) = head {
                        head.fetching.push(operation);
                    }
                }
                continue;
            }
            if !head.fetching.is_empty() || self.has_to_wait(now_ms, id) {
                return;
            }
            let connection = self.connections.get_mut(&id);
            let Some(queued) = connection.and_then(|connection| connection.queue.pop_front()) else { return };
            self.start(now_ms, queued);
        }
    }

    /// Does a request whose accounts are known.
    pub(super) fn start(&mut self, now_ms: u64, queued: Queued) {
        let Queued { ticket, frame, found, list, attempts, .. } = queued;
        let found = Found { found: &found };
        let Some(connection) = self.connections.get(&ticket.connection) else { return };
        if !connection.greeted
            && !matches!(frame, ClientFrame::Hello(_) | ClientFrame::Ping | ClientFrame::Bye)
        {
            return self.refuse(ticket, (ErrorCode::OUT_OF_ORDER, "Hello comes first".into()));
        }
        let proof = matches!(frame, ClientFrame::AccountLogin(_) | ClientFrame::DeviceLogin(_));
        let result = match frame {
            ClientFrame::Hello(hello) => self.hello(now_ms, ticket, &hello),
            ClientFrame::Ping => {
                self.answer(ticket, &ServerFrame::Pong, "answered");
                Ok(())
            }
            ClientFrame::Bye => {
                self.leave(ticket);
                Ok(())
            }
            ClientFrame::Register(register) => self.register(now_ms, ticket, register, list, &found),
            ClientFrame::PasswordLogin(login) => self.password_login(now_ms, ticket, login, &found),
            ClientFrame::AccountLogin(login) => self.account_login(ticket, &login, &found),
            ClientFrame::DeviceLogin(login) => self.device_login(now_ms, ticket, &login, &found),
            ClientFrame::SetPassword(set) => self.set_password(now_ms, ticket, set, &found),
            ClientFrame::LookupLists(lookup) => self.lookup_lists(ticket, &lookup, &found),
            ClientFrame::ReplaceList(replace) => self.replace_list(now_ms, ticket, replace, list, &found),
            ClientFrame::PublishKeys(publish) => self.publish_keys(now_ms, ticket, publish),
            ClientFrame::RequestDevice(request) => self.request_device(now_ms, ticket, &request, &found),
            ClientFrame::ListPending => self.list_pending(ticket),
            ClientFrame::DropPending(drop) => self.drop_pending(ticket, &drop, &found),
            ClientFrame::Block(block) => self.set_blocked(now_ms, ticket, block, &found),
            ClientFrame::ResetAccount(reset) => self.reset_account(now_ms, ticket, reset, list, &found),
            ClientFrame::RefuseReset => self.refuse_reset(now_ms, ticket, &found),
            ClientFrame::ClaimBundles(claim) => self.claim_bundles(now_ms, ticket, claim, &found),
            ClientFrame::ListUsers(list) => self.list_users(ticket, &list),
            ClientFrame::Attach(attach) => self.attach(ticket, &attach),
            ClientFrame::Ack(ack) => self.ack(ticket, &ack),
            ClientFrame::QueryFates(query) => self.query_fates(ticket, query),
            ClientFrame::QuerySubmission(query) => self.query_submission(ticket, &query),
            ClientFrame::Submit(submit) => self.submit(now_ms, ticket, submit, (list, attempts), &found),
            ClientFrame::SetInteractive(set) => self.set_interactive(now_ms, ticket, set),
            ClientFrame::Invite(invite) => self.invite(now_ms, ticket, &invite, &found),
            ClientFrame::Accept(accept) => self.accept(now_ms, ticket, accept),
            ClientFrame::Deny(deny) => self.deny(now_ms, ticket, deny),
            ClientFrame::Cancel(cancel) => self.cancel(now_ms, ticket, cancel),
            ClientFrame::Quit(quit) => self.quit(ticket, quit),
        };
        if let Err(refused) = result {
            let forged = proof && refused.0 == ErrorCode::BAD_CREDENTIALS;
            self.refuse(ticket, refused);
            if forged {
                self.false_proof(ticket.connection);
            }
        }
    }

    fn false_proof(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.false_proofs += 1;
        if connection.false_proofs >= FALSE_PROOFS {
            let peer = connection.peer;
            self.log(Event::Refused { peer, reason: "too many logins whose signature does not hold".into() });
            self.close(id);
        }
    }

    /// Counts a request that came. Whether it is to be answered: after Bye nothing is taken any more.
    pub(super) fn admit(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        if connection.leaving.is_some() {
            return false;
        }
        connection.unanswered += 1;
        true
    }

    /// Bye: what was started before it is answered first, and what came after it never starts. Nothing more is delivered
    /// meanwhile: who leaves acks nothing.
    fn leave(&mut self, bye: Ticket) {
        let Some(connection) = self.connections.get_mut(&bye.connection) else { return };
        connection.unanswered -= connection.queue.len();
        connection.queue.clear();
        connection.reader = None;
        connection.leaving = Some(bye);
        self.left_alone(bye.connection);
    }

    /// Answers Bye and closes, if nothing else is left to be answered.
    pub(super) fn left_alone(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.unanswered > 1 {
            return;
        }
        let Some(bye) = connection.leaving.take() else { return };
        self.answer(bye, &ServerFrame::Done, "left");
        self.close(id);
    }

    /// An account that a request in the line waited for.
    pub(super) fn account_found(
        &mut self,
        now_ms: u64,
        operation: Operation,
        (id, wanted, forgotten): (ConnectionId, AccountRef, u64),
        result: Result<StoreReply, StoreError>,
    ) {
        if forgotten != self.known.forgotten() && matches!(result, Ok(StoreReply::Account(Some(_)))) {
            // The answer may be older than the end of the account.
            let call = look_up(&wanted);
            let forgotten = self.known.forgotten();
            let again = self.call(Step::Find { connection: id, wanted, forgotten }, call);
            let queue = self.connections.get_mut(&id).map(|connection| &mut connection.queue);
            let mut fetching = queue.into_iter().flatten().flat_map(|queued| &mut queued.fetching);
            if let Some(place) = fetching.find(|fetching| **fetching == operation) {
                *place = again;
            }
            return;
        }
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

    /// Lets the next requests of a connection start.
    pub(super) fn unblock(&mut self, now_ms: u64, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.blocked = false;
            self.advance(now_ms, id);
        }
    }

    pub(super) fn block(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.blocked = true;
        }
    }
}

/// How the store is asked for an account.
pub(super) fn look_up(wanted: &AccountRef) -> StoreCall {
    match wanted {
        AccountRef::Name(name) => StoreCall::AccountByName(name.clone()),
        AccountRef::Id(account) => StoreCall::Account(*account),
    }
}

/// The accounts that a request's start looks at.
fn accounts_named(frame: &ClientFrame, own: Option<AccountId>, signed_in: bool) -> Vec<AccountRef> {
    let by_name = |text: &str| sotto_proto::Username::parse(text).ok().map(AccountRef::Name);
    match frame {
        ClientFrame::PasswordLogin(login) => by_name(&login.username).into_iter().collect(),
        ClientFrame::AccountLogin(login) => by_name(&login.username).into_iter().collect(),
        ClientFrame::DeviceLogin(login) => vec![AccountRef::Id(login.account)],
        ClientFrame::Register(register) => by_name(&register.username).into_iter().collect(),
        ClientFrame::SetPassword(_)
        | ClientFrame::ReplaceList(_)
        | ClientFrame::RequestDevice(_)
        | ClientFrame::DropPending(_)
        | ClientFrame::Block(_)
        | ClientFrame::ResetAccount(_)
        | ClientFrame::RefuseReset => own.map(AccountRef::Id).into_iter().collect(),
        // Without a device's session nothing is looked up; more than the limit is refused without looking.
        _ if !signed_in => Vec::new(),
        ClientFrame::ClaimBundles(claim) => vec![AccountRef::Id(claim.account)],
        ClientFrame::LookupLists(lookup)
            if lookup.names.len().saturating_add(lookup.accounts.len()) <= limits::MAX_LISTS =>
        {
            let names = lookup.names.iter().filter_map(|name| by_name(name));
            names.chain(lookup.accounts.iter().copied().map(AccountRef::Id)).collect()
        }
        ClientFrame::Invite(invite) if invite.users.len() <= limits::MAX_INVITED => {
            invite.users.iter().filter_map(|name| by_name(name)).collect()
        }
        ClientFrame::Submit(submit) if submit.lists.len() <= limits::MAX_LISTS => {
            submit.lists.iter().map(|used| AccountRef::Id(used.account)).collect()
        }
        _ => Vec::new(),
    }
}

/// The accounts that were found for one request.
pub(super) struct Found<'a> {
    pub(super) found: &'a [(AccountRef, Option<Arc<Known>>)],
}

impl Found<'_> {
    pub(super) fn find(&self, known: &mut KnownAccounts, wanted: &AccountRef) -> Option<Arc<Known>> {
        // What was found when the request came may have been replaced while it stood in the line.
        known.find(wanted).or_else(|| {
            self.found.iter().find(|(found, _)| found == wanted).and_then(|(_, known)| known.clone())
        })
    }
}

//! Proving an account by password or account key, and a device by its signing key.

use std::sync::Arc;

use sotto_proto::{
    Username,
    frame::{
        AccountIn, AccountLogin, DeviceIn, DeviceLogin, ErrorCode, MailboxState, PUSH, PasswordLogin,
        ResetState, ServerFrame,
    },
    limits,
    login::{account_login, device_login},
    prekey::PrekeyCounts,
};

use sotto_store::{Day, Ending};

use super::{
    Core, Event, Found, Job, Output, Refused, SendClass, StoreCall,
    changes::Editor,
    connection::{Proof, Session, Ticket},
    edit::Edit,
    known::{AccountRef, Known},
    register::{ended, parse_name},
    source::source,
    step::Step,
    toil::Toil,
};

/// The same words for a wrong password and for an unknown name.
const BAD_CREDENTIALS: &str = "wrong password, or no such account";

impl Core {
    pub(super) fn password_login(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        login: PasswordLogin,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let name = parse_name(&login.username)?;
        let known = found.find(&mut self.known, &AccountRef::Name(name.clone()));
        if !self.may_try(now_ms, ticket, &name) {
            return Ok(());
        }
        let hash =
            known.as_ref().map_or_else(|| self.nobody.clone(), |known| known.record.password_hash.clone());
        let job = Job::VerifyPassword { auth_key: login.auth_key, hash };
        let forgotten = self.known.forgotten();
        let toil = Toil::PasswordLogin { ticket, name: name.clone(), known, forgotten };
        if let Err(refused) = self.toil(toil, job) {
            self.not_checked(ticket, &name);
            return Err(refused);
        }
        self.block(ticket.connection);
        Ok(())
    }

    /// Whether a password may be tried now; if not, says when.
    pub(super) fn may_try(&mut self, now_ms: u64, ticket: Ticket, name: &Username) -> bool {
        let Some(peer) = self.peer(ticket.connection) else { return false };
        let Err(wait_ms) = self.tries.begin(name, source(peer.ip()), now_ms) else { return true };
        let message = format!("too many wrong passwords; try again in {} s", wait_ms.div_ceil(1000));
        self.refuse_until(ticket, (ErrorCode::RATE_LIMITED, message.into()), Some(wait_ms));
        false
    }

    pub(super) fn right_password(&mut self, ticket: Ticket, name: &Username) {
        if let Some(peer) = self.peer(ticket.connection) {
            self.tries.right(name, source(peer.ip()));
        }
    }

    /// The password was not checked after all.
    pub(super) fn not_checked(&mut self, ticket: Ticket, name: &Username) {
        if let Some(peer) = self.peer(ticket.connection) {
            self.tries.not_checked(name, source(peer.ip()));
        }
    }

    pub(super) fn password_verified(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        name: &Username,
        (known, forgotten): (Option<Arc<Known>>, u64),
    ) {
        let bad = (ErrorCode::BAD_CREDENTIALS, BAD_CREDENTIALS.into());
        let checked = known.ok_or(bad.clone()).and_then(|known| {
            // It may have been changed while it was checked.
            self.same_password(&known, forgotten)?.ok_or(bad)
        });
        match checked {
            Ok(known) => {
                self.right_password(ticket, name);
                self.account_proven(ticket, &known, Proof::Password);
            }
            Err(refused) => {
                if refused.0 == ErrorCode::BUSY {
                    self.not_checked(ticket, name);
                }
                self.refuse(ticket, refused);
            }
        }
        self.unblock(now_ms, ticket.connection);
    }

    /// The account as it is now, if it still has the password that it had in an earlier record. An error where it may be
    /// no more: `forgotten` is the number from when the earlier record was found.
    pub(super) fn same_password(
        &mut self,
        earlier: &Arc<Known>,
        forgotten: u64,
    ) -> Result<Option<Arc<Known>>, Refused> {
        match self.known.find(&AccountRef::Id(earlier.record.account)) {
            Some(now) if now.record.password_hash == earlier.record.password_hash => Ok(Some(now)),
            Some(_) => Ok(None),
            None if forgotten == self.known.forgotten() => Ok(Some(Arc::clone(earlier))),
            None => Err((ErrorCode::BUSY, "an account was removed meanwhile; log in again".into())),
        }
    }

    pub(super) fn account_login(
        &mut self,
        ticket: Ticket,
        login: &AccountLogin,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let name = parse_name(&login.username)?;
        let Some(connection) = self.connections.get(&ticket.connection) else { return Ok(()) };
        let input = account_login(&self.server, &connection.challenge, &connection.exporter);
        let known = found
            .find(&mut self.known, &AccountRef::Name(name))
            .filter(|known| known.record.account_key.verify(&input, &login.signature).is_ok())
            .ok_or((ErrorCode::BAD_CREDENTIALS, "not this account's key, or no such account".into()))?;
        self.account_proven(ticket, &known, Proof::AccountKey);
        Ok(())
    }

    fn account_proven(&mut self, ticket: Ticket, known: &Known, proof: Proof) {
        if known.record.disabled {
            return self.refuse(ticket, disabled());
        }
        let Some(connection) = self.connections.get_mut(&ticket.connection) else { return };
        let account = known.record.account;
        if connection.session.as_ref().is_some_and(|session| session.account != account) {
            let message = "another account's device has signed in on this connection";
            return self.refuse(ticket, (ErrorCode::OUT_OF_ORDER, message.into()));
        }
        // The stronger proof of the same account stands.
        if connection.proven != Some((account, Proof::AccountKey)) {
            connection.proven = Some((account, proof));
        }
        let list = known.list.as_bytes().to_vec().into();
        let action = format!("account proven [ {} ]", known.record.username);
        self.let_in(ticket);
        self.answer(ticket, &ServerFrame::AccountIn(AccountIn { account, list }), action);
    }

    fn let_in(&mut self, ticket: Ticket) {
        // Before the answer, which the peer waits for before it sends a longer frame.
        self.outputs
            .push_back(Output::SignedIn { connection: ticket.connection, frame_limit: limits::MAX_FRAME });
    }

    pub(super) fn device_login(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        login: &DeviceLogin,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let Some(connection) = self.connections.get(&ticket.connection) else { return Ok(()) };
        if connection.session.is_some() {
            return Err((ErrorCode::OUT_OF_ORDER, "a device has signed in on this connection".into()));
        }
        if connection.proven.is_some_and(|(account, _)| account != login.account) {
            return Err((ErrorCode::OUT_OF_ORDER, "another account was proven on this connection".into()));
        }
        let Some(known) = found.find(&mut self.known, &AccountRef::Id(login.account)) else {
            // A device brings back an account that was lost, and not one that ended.
            self.block(ticket.connection);
            self.call(Step::Ended { ticket }, StoreCall::Ended(login.account, now_ms));
            return Ok(());
        };
        let device = known.list.list().device(&login.device).ok_or((
            ErrorCode::UNKNOWN_DEVICE,
            "the account's device list does not have this device".into(),
        ))?;
        let device_key = device.certificate().device_key;
        let input = device_login(&self.server, &connection.challenge, &connection.exporter);
        device_key
            .verify(&input, &login.signature)
            .map_err(|_| (ErrorCode::BAD_CREDENTIALS, "the device's signature does not hold".into()))?;
        if known.record.disabled {
            return Err(disabled());
        }
        let session = Box::new(Session {
            account: login.account,
            device: login.device,
            device_key,
            name: known.record.username.clone(),
            interactive: login.interactive,
            mailbox: MailboxState {
                incarnation: sotto_proto::Incarnation([0; 16]),
                acked: sotto_proto::QueueNumber(0),
                lost_through: sotto_proto::QueueNumber(0),
            },
            sweep: self.sweep.epoch(),
            seen: known.record.seen,
        });
        self.block(ticket.connection);
        let forgotten = self.known.forgotten();
        let step = Step::SignInMailbox { ticket, session, known, forgotten };
        self.call(step, StoreCall::Mailbox(login.device));
        Ok(())
    }

    /// The account of a DeviceLogin is not here.
    pub(super) fn no_account(&mut self, now_ms: u64, ticket: Ticket, why: Option<Ending>) {
        let unknown = (ErrorCode::UNKNOWN_USER, "this server has no such account".into());
        self.refuse(ticket, why.map_or(unknown, ended));
        self.unblock(now_ms, ticket.connection);
    }

    pub(super) fn sign_in_mailbox(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        session: Box<Session>,
        (known, forgotten): (Arc<Known>, u64),
        mailbox: Option<MailboxState>,
    ) {
        let Some(mailbox) = mailbox else {
            return self.device_removed(now_ms, ticket);
        };
        let call = StoreCall::PrekeyCounts(session.device);
        self.call(Step::SignInPrekeys { ticket, session, known, mailbox, forgotten }, call);
    }

    /// The device was removed while it signed in.
    fn device_removed(&mut self, now_ms: u64, ticket: Ticket) {
        self.refuse(ticket, (ErrorCode::UNKNOWN_DEVICE, "the device was removed from the account".into()));
        self.unblock(now_ms, ticket.connection);
    }

    pub(super) fn signed_in(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        (mut session, mailbox): (Session, MailboxState),
        (known, forgotten): (Arc<Known>, u64),
        prekeys: PrekeyCounts,
    ) {
        // The list may have been replaced meanwhile, and who closes a removed device's connection did not see this one.
        let known = match self.known.find(&AccountRef::Id(session.account)) {
            Some(known) => known,
            None if forgotten == self.known.forgotten() => known,
            None => {
                // It may be this account that is no more: who comes again hears so.
                let message = "an account was removed meanwhile; sign in again";
                self.refuse(ticket, (ErrorCode::BUSY, message.into()));
                return self.unblock(now_ms, ticket.connection);
            }
        };
        if !known.has_device(&session.device) {
            return self.device_removed(now_ms, ticket);
        }
        if known.record.disabled {
            self.refuse(ticket, disabled());
            return self.unblock(now_ms, ticket.connection);
        }
        // It waits for nothing any more.
        self.withdraw_own(ticket.connection);
        let Some(connection) = self.connections.get_mut(&ticket.connection) else { return };
        let peer = connection.peer;
        session.mailbox = mailbox;
        let name = session.name.clone();
        let (account, device, interactive) = (session.account, session.device, session.interactive);
        connection.session = Some(session);
        if interactive {
            // Before the other one goes: an invitation that only it could answer passes to this one.
            self.person_came(ticket.connection, account);
        }
        if let Some(other) = self.devices.insert(device, ticket.connection) {
            self.send(other, PUSH, &ServerFrame::Replaced, SendClass::Notice);
            self.close(other);
        }
        self.let_in(ticket);
        let device_in = DeviceIn { list_number: known.number(), list_hash: known.hash, mailbox, prekeys };
        self.log(Event::Online { peer, name });
        self.answer(ticket, &ServerFrame::DeviceIn(device_in), "device signed in");
        if let Some(reset) = known.record.waiting_reset() {
            self.owe_reset(ticket.connection, ResetState::Pending(reset.due_ms));
        }
        self.tell_waiting(ticket.connection, &account);
        self.tell_invitation(now_ms, ticket.connection, account);
        self.edit(now_ms, Editor::Server, known, Edit::Seen(Day::of(now_ms)));
        self.unblock(now_ms, ticket.connection);
    }
}

pub(super) fn disabled() -> Refused {
    (ErrorCode::DISABLED, "the operator of this server disabled the account".into())
}

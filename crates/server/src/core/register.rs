//! Register: a new account with its first device; or one that this server lost, with the devices it has by now.

use sotto_proto::{
    SignedDeviceList, Username,
    device_list::MAX_AHEAD_S,
    frame::{AuthKey, ClientFrame, ErrorCode, Register, Registration, ServerFrame},
    login::registration,
};
use sotto_store::{CreateOutcome, Ending, Invite, InviteHash, NewAccount};

use super::{
    Core, Found, Job, Refused, StoreCall,
    connection::{Ticket, VerifiedList},
    known::AccountRef,
    lists::valid,
    source::source,
    step::Step,
    toil::Toil,
};

/// Bytes of an invite's token that are looked at: twice what this server makes.
const MAX_TOKEN: usize = 64;

/// A registration on its way.
#[derive(Debug)]
pub(super) struct Registering {
    name: Username,
    list: Box<SignedDeviceList>,
    auth_key: AuthKey,
    invite: Option<InviteHash>,
}

impl Core {
    pub(super) fn register(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        register: Register,
        list: Option<VerifiedList>,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        if register.list.is_empty() {
            return self.ask_for_name(now_ms, ticket, &register, found);
        }
        if self.config.registration == Registration::Closed {
            return Err((ErrorCode::REGISTRATION_CLOSED, "this server takes no new accounts".into()));
        }
        let name = parse_name(&register.username)?;
        let Some(list) = list else {
            // Before anything is verified: the signatures of a long list cost more than who sends them.
            if self.may_register(now_ms, ticket) {
                self.verify_list(ticket, register.list.to_vec(), ClientFrame::Register(register), 0)?;
            }
            return Ok(());
        };
        let list = valid(list)?;
        let says = list.list();
        if says.username != name {
            return Err((ErrorCode::BAD_KEYS, "the device list is for another name".into()));
        }
        if says.devices.is_empty() {
            return Err((ErrorCode::BAD_KEYS, "the device list has no device".into()));
        }
        if says.number > (now_ms / 1000).saturating_add(MAX_AHEAD_S) {
            return Err((ErrorCode::BAD_KEYS, too_far_ahead().into()));
        }
        self.owns(ticket, &register, &list)?;
        let registering = Registering { name, list, auth_key: register.auth_key, invite: None };
        match (self.config.registration, register.invite) {
            (Registration::Invite, token) => self.ask_invite(now_ms, ticket, registering, token, found),
            _ => self.hash_registration(ticket, registering),
        }
    }

    /// Whether who registers has a device of the list: lists are public, and whoever brings one sets the password.
    fn owns(&self, ticket: Ticket, register: &Register, list: &SignedDeviceList) -> Result<(), Refused> {
        let Some(connection) = self.connections.get(&ticket.connection) else { return Ok(()) };
        let signer = list.list().device(&register.device).ok_or((
            ErrorCode::BAD_KEYS,
            "the device that signed the registration is not in its list".into(),
        ))?;
        let (challenge, exporter) = (&connection.challenge, &connection.exporter);
        let input = registration(&self.server, challenge, exporter, &list.hash(), &register.auth_key);
        let device_key = signer.certificate().device_key;
        let message =
            "the signature of the registration does not hold: only a device of the list can register it";
        device_key.verify(&input, &register.signature).map_err(|_| (ErrorCode::BAD_KEYS, message.into()))
    }

    /// Has the password hashed, which ends in the account.
    fn hash_registration(&mut self, ticket: Ticket, registering: Registering) -> Result<(), Refused> {
        let Registering { name, list, auth_key, invite } = registering;
        self.toil(Toil::Register { ticket, name, list, invite }, Job::HashPassword(auth_key))?;
        self.block(ticket.connection);
        Ok(())
    }

    /// Whether the name is taken: what a client has to know before it asks its user for the password of an account, or for
    /// a new one twice. It tells no more than a registration does, and is limited with them.
    fn ask_for_name(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        register: &Register,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let name = parse_name(&register.username)?;
        if !self.may_register(now_ms, ticket) {
            return Ok(());
        }
        if found.find(&mut self.known, &AccountRef::Name(name.clone())).is_some() {
            return Err(name_taken(&name));
        }
        Err((ErrorCode::BAD_KEYS, "the name is free; a registration needs a device list".into()))
    }

    fn may_register(&mut self, now_ms: u64, ticket: Ticket) -> bool {
        let Some(peer) = self.peer(ticket.connection) else { return false };
        let Err(wait_ms) = self.registrations.take(source(peer.ip()), 1, now_ms) else { return true };
        self.too_many_registrations(ticket, wait_ms);
        false
    }

    /// Refuses what is beyond an address's registrations.
    pub(super) fn too_many_registrations(&mut self, ticket: Ticket, wait_ms: u64) {
        let refused = (ErrorCode::RATE_LIMITED, "too many registrations from this address".into());
        self.refuse_until(ticket, refused, Some(wait_ms));
    }

    /// Looks the invite up before anything is hashed. A wrong one counts for its address as a wrong password does.
    fn ask_invite(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        registering: Registering,
        token: Option<String>,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let known = found.find(&mut self.known, &AccountRef::Name(registering.name.clone()));
        if known.is_some_and(|known| known.list.as_bytes() == registering.list.as_bytes()) {
            // Made before, and the answer was lost; the invite may be used up since.
            let name = registering.name;
            self.answer_registration(ticket, &name, CreateOutcome::Created);
            return Ok(());
        }
        let Some(token) = token.filter(|token| token.len() <= MAX_TOKEN) else {
            let message = "this server takes new accounts by invite only; ask its operator for one";
            return Err((ErrorCode::REGISTRATION_CLOSED, message.into()));
        };
        let Some(peer) = self.peer(ticket.connection) else { return Ok(()) };
        if let Err(wait_ms) = self.tries.begin_invite(source(peer.ip()), now_ms) {
            let message = format!("too many wrong invites; try again in {} s", wait_ms.div_ceil(1000));
            self.refuse_until(ticket, (ErrorCode::RATE_LIMITED, message.into()), Some(wait_ms));
            return Ok(());
        }
        let hash = InviteHash::of(&token);
        let registering = Box::new(Registering { invite: Some(hash), ..registering });
        self.block(ticket.connection);
        self.call(Step::Invite { ticket, registering }, StoreCall::Invite(hash));
        Ok(())
    }

    pub(super) fn invite_found(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        registering: Registering,
        invite: Option<Invite>,
    ) {
        let result = if invite.is_some_and(|invite| invite.valid(now_ms)) {
            if let Some(peer) = self.peer(ticket.connection) {
                self.tries.right_invite(source(peer.ip()));
            }
            self.hash_registration(ticket, registering)
        } else {
            Err(not_invited())
        };
        if let Err(refused) = result {
            self.refuse(ticket, refused);
            self.unblock(now_ms, ticket.connection);
        }
    }

    pub(super) fn register_hashed(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        name: Username,
        (list, invite): (SignedDeviceList, Option<InviteHash>),
        password_hash: String,
    ) {
        let account = NewAccount { password_hash, list, invite, now_ms };
        self.call(Step::Register { ticket, name }, StoreCall::CreateAccount(account));
    }

    pub(super) fn registered(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        name: &Username,
        outcome: CreateOutcome,
    ) {
        self.answer_registration(ticket, name, outcome);
        self.unblock(now_ms, ticket.connection);
    }

    fn answer_registration(&mut self, ticket: Ticket, name: &Username, outcome: CreateOutcome) {
        let refused: Refused = match outcome {
            CreateOutcome::Created => {
                return self.answer(ticket, &ServerFrame::Done, format!("registered [ {name} ]"));
            }
            CreateOutcome::NameTaken => name_taken(name),
            CreateOutcome::LooksLike(other) => (
                ErrorCode::NAME_LOOKS_ALIKE,
                format!("the name {name} looks like {other}, which belongs to somebody").into(),
            ),
            CreateOutcome::Collision => {
                (ErrorCode::COLLISION, "the account's or device's id is in use; make new ones".into())
            }
            CreateOutcome::NotInvited => not_invited(),
            CreateOutcome::Ended(why) => ended(why),
        };
        self.refuse(ticket, refused);
    }
}

/// What is said to the devices of an account that is no more, and not lost.
pub(super) fn ended(why: Ending) -> Refused {
    match why {
        Ending::Removed => {
            (ErrorCode::ACCOUNT_REMOVED, "the operator of this server removed the account".into())
        }
        Ending::Replaced => {
            let message =
                "the account was reset: its name has a new identity, to which this device does not belong";
            (ErrorCode::ACCOUNT_REPLACED, message.into())
        }
    }
}

fn name_taken(name: &Username) -> Refused {
    (ErrorCode::NAME_TAKEN, format!("the name {name} belongs to somebody").into())
}

fn not_invited() -> Refused {
    let message = "the invite is wrong, used up or out of date; ask the server's operator for another";
    (ErrorCode::REGISTRATION_CLOSED, message.into())
}

pub(super) fn parse_name(text: &str) -> Result<Username, Refused> {
    Username::parse(text).map_err(|error| (ErrorCode::BAD_NAME, error.to_string().into()))
}

pub(super) fn too_far_ahead() -> &'static str {
    "the device list's number is more than a day ahead of the server's clock; check the clock of this machine"
}

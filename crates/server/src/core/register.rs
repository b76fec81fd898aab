//! Register: a new account with its first device; or one that this server lost, with the devices it has by now.

use sotto_proto::{
    SignedDeviceList, Username,
    device_list::MAX_AHEAD_S,
    frame::{ErrorCode, Register, Registration, ServerFrame},
};
use sotto_store::{CreateOutcome, NewAccount};

use super::{
    Core, Job, Refused, StoreCall,
    connection::Ticket,
    source::source,
    step::{Step, Toil},
};

impl Core {
    pub(super) fn register(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        register: Register,
    ) -> Result<(), Refused> {
        match self.config.registration {
            Registration::Open => {}
            Registration::Invite | Registration::Closed => {
                return Err((ErrorCode::REGISTRATION_CLOSED, "this server takes no new accounts".into()));
            }
        }
        let name = parse_name(&register.username)?;
        let list = SignedDeviceList::parse(&register.list)
            .map_err(|error| (ErrorCode::BAD_KEYS, format!("the device list: {error}").into()))?;
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
        let Some(peer) = self.peer(ticket.connection) else { return Ok(()) };
        if let Err(wait_ms) = self.registrations.take(source(peer.ip()), 1, now_ms) {
            let refused = (ErrorCode::RATE_LIMITED, "too many registrations from this address".into());
            self.refuse_until(ticket, refused, Some(wait_ms));
            return Ok(());
        }
        let toil = Toil::Register { ticket, name, list: Box::new(list) };
        self.toil(toil, Job::HashPassword(register.auth_key))?;
        self.block(ticket.connection);
        Ok(())
    }

    pub(super) fn register_hashed(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        name: Username,
        list: SignedDeviceList,
        password_hash: String,
    ) {
        let account = NewAccount { password_hash, list, now_ms };
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
            CreateOutcome::NameTaken => {
                (ErrorCode::NAME_TAKEN, format!("the name {name} belongs to somebody").into())
            }
            CreateOutcome::LooksLike(other) => (
                ErrorCode::NAME_LOOKS_ALIKE,
                format!("the name {name} looks like {other}, which belongs to somebody").into(),
            ),
            CreateOutcome::Collision => {
                (ErrorCode::COLLISION, "the account's or device's id is in use; make new ones".into())
            }
        };
        self.refuse(ticket, refused);
    }
}

pub(super) fn parse_name(text: &str) -> Result<Username, Refused> {
    Username::parse(text).map_err(|error| (ErrorCode::BAD_NAME, error.to_string().into()))
}

pub(super) fn too_far_ahead() -> &'static str {
    "the device list's number is more than a day ahead of the server's clock; check the clock of this machine"
}

//! What the workers do for the core: passwords hashed, signatures verified, each in a line with a bound.

use std::sync::Arc;

use sotto_proto::{
    AccountId, DeviceId, SignedDeviceList, Username,
    frame::{AuthKey, ErrorCode},
    limits::MAX_DEVICES,
};
use sotto_store::InviteHash;

use super::{
    ConnectionId, Core, Event, Job, Operation, Output, Refused, WorkResult,
    connection::{Connection, Ticket},
    known::Known,
};

/// For whom signatures are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Requester {
    /// An account that has proven itself on the connection.
    Account(AccountId),
    /// Somebody.
    Stranger,
}

impl Requester {
    /// Places in the line of what is to be verified: an account has one for each device that it may have, all strangers
    /// together a quarter, which is their share elsewhere too.
    pub(super) fn places(self) -> usize {
        match self {
            Self::Account(_) => MAX_DEVICES,
            Self::Stranger => VERIFYING_LINE / 4,
        }
    }
}

/// Prekeys and device lists that wait to be verified, of all connections: 64 KiB and a millisecond each, about.
pub(super) const VERIFYING_LINE: usize = 1_024;

/// A job of the workers that is under way.
#[derive(Debug)]
pub(super) enum Toil {
    /// A registration's password.
    Register { ticket: Ticket, name: Username, list: Box<SignedDeviceList>, invite: Option<InviteHash> },
    /// A login's password; `known` is `None` for an unknown name, which costs the same.
    PasswordLogin { ticket: Ticket, name: Username, known: Option<Arc<Known>>, forgotten: u64 },
    /// The old password of a change.
    OldPassword { ticket: Ticket, known: Arc<Known>, new: AuthKey, forgotten: u64 },
    /// The new password of a change; `by_old`, if the old one is what allows it.
    NewPassword { ticket: Ticket, known: Arc<Known>, by_old: bool },
    /// Prekeys to publish.
    Publish { ticket: Ticket, device: DeviceId, requester: Requester },
    /// The device list of a request, which its connection keeps meanwhile and then starts again.
    List { ticket: Ticket, requester: Requester },
}

impl Toil {
    /// For whom signatures are verified; `None` where a password is hashed, which costs far more.
    pub(super) fn verifies(&self) -> Option<Requester> {
        match self {
            Self::Publish { requester, .. } | Self::List { requester, .. } => Some(*requester),
            Self::Register { .. }
            | Self::PasswordLogin { .. }
            | Self::OldPassword { .. }
            | Self::NewPassword { .. } => None,
        }
    }

    pub(super) fn ticket(&self) -> Ticket {
        match self {
            Self::Register { ticket, .. }
            | Self::PasswordLogin { ticket, .. }
            | Self::OldPassword { ticket, .. }
            | Self::NewPassword { ticket, .. }
            | Self::Publish { ticket, .. }
            | Self::List { ticket, .. } => *ticket,
        }
    }
}

impl Core {
    /// Goes on with what a worker has done.
    pub(super) fn worked(&mut self, now_ms: u64, operation: Operation, result: WorkResult) {
        let Some(toil) = self.toils.remove(&operation) else { return };
        match toil.verifies() {
            None => self.hashing -= 1,
            Some(requester) => {
                if let Some(count) = self.verifying.get_mut(&requester) {
                    *count -= 1;
                    if *count == 0 {
                        self.verifying.remove(&requester);
                    }
                }
            }
        }
        let ticket = toil.ticket();
        match (toil, result) {
            (Toil::Register { ticket, name, list, invite }, WorkResult::Hashed(hash)) => {
                self.register_hashed(now_ms, ticket, name, (*list, invite), hash);
            }
            (Toil::PasswordLogin { ticket, name, known, forgotten }, WorkResult::Verified(right)) => {
                self.password_verified(now_ms, ticket, &name, (known.filter(|_| right), forgotten));
            }
            (Toil::OldPassword { ticket, known, new, forgotten }, WorkResult::Verified(right)) => {
                self.old_password_verified(now_ms, ticket, (known, forgotten), new, right);
            }
            (Toil::NewPassword { ticket, known, by_old }, WorkResult::Hashed(hash)) => {
                self.password_hashed(now_ms, ticket, (known, by_old), hash);
            }
            (Toil::Publish { ticket, device, .. }, WorkResult::Prekeys(result)) => {
                self.prekeys_verified(now_ms, ticket, device, result);
            }
            (Toil::List { ticket, .. }, WorkResult::List(result)) => {
                self.list_verified(now_ms, ticket, result);
            }
            (toil, result) => {
                match &toil {
                    Toil::PasswordLogin { name, .. } => self.not_checked(ticket, name),
                    Toil::OldPassword { known, .. } => self.not_checked(ticket, &known.record.username),
                    Toil::List { .. } => {
                        let connection = self.connections.get_mut(&ticket.connection);
                        drop(connection.and_then(|state| state.verifying.take()));
                    }
                    _ => {}
                }
                if let WorkResult::Failed(what) = result {
                    self.log(Event::Trouble(format!("work could not be done: {what}")));
                }
                self.refuse(ticket, (ErrorCode::BUSY, "the server is short of memory; try again".into()));
                self.unblock(now_ms, ticket.connection);
            }
        }
    }

    /// Gives the workers something to do, unless too much waits. Passwords and signatures have a line each; each connection
    /// has at most one place.
    pub(super) fn toil(&mut self, toil: Toil, job: Job) -> Result<(), Refused> {
        let Some(requester) = toil.verifies() else {
            if self.hashing >= self.config.hashing_line {
                return Err((ErrorCode::BUSY, "too many logins wait; try again".into()));
            }
            self.hashing += 1;
            self.work(toil, job);
            return Ok(());
        };
        let full = self.toils.len() - self.hashing >= VERIFYING_LINE;
        let count = self.verifying.entry(requester).or_default();
        if full || *count >= requester.places() {
            if *count == 0 {
                self.verifying.remove(&requester);
            }
            return Err((ErrorCode::BUSY, "too many keys wait to be verified; try again".into()));
        }
        *count += 1;
        self.work(toil, job);
        Ok(())
    }

    fn work(&mut self, toil: Toil, job: Job) {
        let operation = self.operation();
        self.toils.insert(operation, toil);
        self.outputs.push_back(Output::Work { operation, job });
    }

    /// For whom a connection's signatures are verified.
    pub(super) fn requester(&self, id: ConnectionId) -> Requester {
        let account = self.connections.get(&id).and_then(Connection::account);
        account.map_or(Requester::Stranger, Requester::Account)
    }
}

//! A new identity under an old name, for somebody who has the password and has lost all keys.
//!
//! While a device of the account signed in lately it waits, and any of them can refuse it. It takes effect when its
//! asker comes back after that: until then the old devices can still refuse.

use std::sync::Arc;

use sotto_proto::{
    SignedDeviceList,
    device_list::MAX_AHEAD_S,
    frame::{ErrorCode, PUSH, ResetAccount, ResetState, ServerFrame},
    limits::RESET_DELAY_MS,
};
use sotto_store::{AccountRecord, ReplaceOutcome, StoreError, WaitingReset};

use super::{
    ATTEMPTS, ConnectionId, Core, Event, Found, Question, Refused, StoreCall,
    connection::{Proof, Ticket},
    edit::{Edit, Editor},
    known::Known,
    reader::UNWRITTEN_LIMIT,
    register::too_far_ahead,
    step::Step,
};

/// Who wants a reset to take effect.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    /// Who has the password; how often it was tried because the record changed.
    Client(Ticket, u8),
    /// The operator.
    Operator(Question),
}

impl Core {
    pub(super) fn reset_account(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        reset: &ResetAccount,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let proven = self.connections.get(&ticket.connection).and_then(|connection| connection.proven);
        let (account, _) =
            proven.ok_or((ErrorCode::LOGIN_NEEDED, "a login by password comes first".into()))?;
        let known = self.own(found, account)?;
        let list = SignedDeviceList::parse(&reset.list)
            .map_err(|error| (ErrorCode::BAD_KEYS, format!("the device list: {error}").into()))?;
        // It took effect before, and the answer was lost.
        if known.list.as_bytes() == list.as_bytes() {
            self.answer(ticket, &ServerFrame::Reset(ResetState::Done), "the new identity stands");
            return Ok(());
        }
        check_new_identity(&known, &list, now_ms)?;
        self.block(ticket.connection);
        self.consider_reset(now_ms, ticket, known, list, 0);
        Ok(())
    }

    /// Lets it wait or take effect, as things stand now.
    fn consider_reset(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        known: Arc<Known>,
        list: SignedDeviceList,
        attempts: u8,
    ) {
        let waiting = known.record.reset.as_ref();
        match waiting.filter(|waiting| waiting.list == list.as_bytes()) {
            Some(same) if same.refused => {
                return self.edit(now_ms, Editor::Client(ticket), known, Edit::ForgetReset);
            }
            Some(same) if same.due_ms > now_ms => {
                let state = ResetState::Pending(same.due_ms);
                self.answer(ticket, &ServerFrame::Reset(state), "the new identity still waits");
                return self.unblock(now_ms, ticket.connection);
            }
            // One that waits shows that there was a device that can refuse: another list waits as long.
            None if known.record.waiting_reset().is_some() || self.lived_in(now_ms, &known) => {
                return self.let_wait(now_ms, ticket, known, &list);
            }
            // Due, or nobody is there to ask.
            Some(_) | None => {}
        }
        self.take_reset(Asker::Client(ticket, attempts), known, list);
    }

    fn let_wait(&mut self, now_ms: u64, ticket: Ticket, known: Arc<Known>, list: &SignedDeviceList) {
        let reset = WaitingReset {
            list: list.as_bytes().to_vec(),
            asked_ms: now_ms,
            due_ms: now_ms.saturating_add(RESET_DELAY_MS),
            refused: false,
        };
        self.edit(now_ms, Editor::Client(ticket), known, Edit::Reset(reset));
    }

    /// Whether a device of the account is signed in, or was lately, as far as is known: the store has the day only, and
    /// a record that says nothing counts as lately. So does the time before this server started, in which nobody could
    /// sign in; nor does what an old backup says about it count.
    fn lived_in(&self, now_ms: u64, known: &Known) -> bool {
        let lately = known.record.seen.is_none_or(|day| now_ms < day.end_ms().saturating_add(RESET_DELAY_MS));
        let started_ms = self.started_ms.unwrap_or(now_ms);
        let just_started = now_ms < started_ms.saturating_add(RESET_DELAY_MS);
        lately || just_started || !self.connections_of(&known.record.devices).is_empty()
    }

    pub(super) fn take_reset(&mut self, asker: Asker, known: Arc<Known>, list: SignedDeviceList) {
        let call = StoreCall::ResetAccount {
            expected: known.record.clone(),
            list: list.clone(),
            now_ms: self.now_ms,
        };
        self.call(Step::Reset { asker, known, list: Box::new(list) }, call);
    }

    pub(super) fn reset_stored(
        &mut self,
        now_ms: u64,
        asker: Asker,
        known: &Known,
        list: SignedDeviceList,
        outcome: ReplaceOutcome,
    ) {
        let refused: Refused = match outcome {
            ReplaceOutcome::Replaced(_) => return self.reset_done(now_ms, asker, known, &list),
            ReplaceOutcome::Conflict(newest) => match (self.remember(*newest), asker) {
                // A device may have signed in, or refused it.
                (Some(known), Asker::Client(ticket, attempts)) if attempts < ATTEMPTS => {
                    return self.consider_reset(now_ms, ticket, known, list, attempts + 1);
                }
                _ => (ErrorCode::BUSY, "the account changed meanwhile; try again".into()),
            },
            ReplaceOutcome::Unknown => {
                (ErrorCode::UNKNOWN_USER, "this server has no such account any more".into())
            }
            ReplaceOutcome::Collision => {
                (ErrorCode::COLLISION, "the new account's or device's id is in use; make new ones".into())
            }
        };
        match asker {
            Asker::Client(ticket, _) => {
                self.refuse(ticket, refused);
                self.unblock(now_ms, ticket.connection);
            }
            Asker::Operator(question) => self.ordered(question, Err(refused.1.into_owned())),
        }
    }

    fn reset_done(&mut self, now_ms: u64, asker: Asker, known: &Known, list: &SignedDeviceList) {
        let name = known.record.username.clone();
        if let Asker::Client(ticket, _) = asker
            && let Some(connection) = self.connections.get_mut(&ticket.connection)
            && connection.session.is_none()
        {
            // It is the new account's from here on.
            connection.proven = Some((list.list().account, Proof::Password));
            connection.pending = None;
        }
        let message =
            "the account was reset: its name has a new identity, to which this device does not belong";
        self.forget_account(&known.record.account, (ErrorCode::UNKNOWN_DEVICE, message.into()));
        self.log(Event::Device { name, action: "a new identity took the place of the old one" });
        match asker {
            Asker::Client(ticket, _) => {
                self.answer(ticket, &ServerFrame::Reset(ResetState::Done), "a new identity");
                self.unblock(now_ms, ticket.connection);
            }
            Asker::Operator(question) => self.ordered(question, Ok(())),
        }
    }

    pub(super) fn reset_failed(&mut self, asker: Asker, error: &StoreError) {
        if let Asker::Operator(question) = asker {
            self.ordered(question, Err(error.to_string()));
        }
    }

    pub(super) fn refuse_reset(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let account = self.session(ticket.connection)?.account;
        let known = self.own(found, account)?;
        self.edit(now_ms, Editor::Client(ticket), known, Edit::RefuseReset);
        Ok(())
    }

    /// Tells all devices of the account how a reset stands.
    pub(super) fn tell_reset(&mut self, record: &AccountRecord, state: ResetState) {
        for connection in self.connections_of(&record.devices) {
            self.owe_reset(connection, state);
        }
    }

    /// Tells a device how a reset stands, at once or, where it does not take what it is sent, as soon as it does: this is
    /// no hint that may be lost.
    pub(super) fn owe_reset(&mut self, connection: ConnectionId, state: ResetState) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.owed_reset = Some(state);
        self.pay_reset(connection);
    }

    pub(super) fn pay_reset(&mut self, connection: ConnectionId) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        if known.unwritten > UNWRITTEN_LIMIT {
            return;
        }
        if let Some(state) = known.owed_reset.take() {
            self.hint(connection, PUSH, &ServerFrame::Reset(state));
        }
    }
}

/// Whether a list can begin a new identity under the account's name.
fn check_new_identity(known: &Known, list: &SignedDeviceList, now_ms: u64) -> Result<(), Refused> {
    let (old, new) = (known.list.list(), list.list());
    if new.username != old.username {
        return Err((ErrorCode::BAD_KEYS, "the device list is for another name".into()));
    }
    if new.account == old.account || new.account_key == old.account_key {
        return Err((
            ErrorCode::BAD_KEYS,
            "a new identity has a new account id and a new account key".into(),
        ));
    }
    if new.devices.len() != 1 || !new.revocations.is_empty() {
        return Err((ErrorCode::BAD_KEYS, "the first device list has exactly one device".into()));
    }
    let kept = |device| known.record.devices.contains(&device) || old.revoked(&device);
    if new.devices.iter().any(|device| kept(device.certificate().device)) {
        return Err((ErrorCode::COLLISION, "a new identity has a new device id".into()));
    }
    if new.number > (now_ms / 1000).saturating_add(MAX_AHEAD_S) {
        return Err((ErrorCode::BAD_KEYS, too_far_ahead().into()));
    }
    Ok(())
}

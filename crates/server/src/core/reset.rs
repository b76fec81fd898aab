//! A new identity under an old name, for somebody who has the password and has lost all keys.
//!
//! While a device of the account signed in lately it waits, and any of them can refuse it. It takes effect when its
//! asker comes back after that: until then the old devices can still refuse.

use sotto_proto::{
    ResetCode, SignedDeviceList,
    device_list::MAX_AHEAD_S,
    frame::{ClientFrame, ErrorCode, PUSH, ResetAccount, ResetState, ServerFrame},
    limits::RESET_DELAY_MS,
};
use sotto_store::{AccountRecord, Ending, WaitingReset};

use super::{
    ConnectionId, Core, Event, Found, Refused,
    changes::{Change, Editor, Effect, What},
    connection::{Proof, Ticket, VerifiedList},
    edit::Edit,
    known::Known,
    lists::valid,
    reader::UNWRITTEN_LIMIT,
    register::{ended, too_far_ahead},
};

/// Resets of one account that are asked for at once; enough for somebody who begins again a few times.
pub(super) const RESET_BURST: u64 = 10;
/// After the burst, how often one more: two people who know the password and take each other's place do not keep the
/// server busy, nor the account's devices.
pub(super) const RESET_REFILL_MS: u64 = 60_000;

impl Core {
    pub(super) fn reset_account(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        reset: ResetAccount,
        list: Option<VerifiedList>,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let proven = self.connections.get(&ticket.connection).and_then(|connection| connection.proven);
        let (account, _) =
            proven.ok_or((ErrorCode::LOGIN_NEEDED, "a login by password comes first".into()))?;
        let known = self.own(found, account)?;
        // It took effect before, and the answer was lost.
        if known.list.as_bytes() == reset.list.as_slice() {
            self.answer(ticket, &ServerFrame::Reset(ResetState::Done), "the new identity stands");
            return Ok(());
        }
        let Some(list) = list else {
            return self.verify_list(ticket, reset.list.to_vec(), ClientFrame::ResetAccount(reset), 0);
        };
        let list = valid(list)?;
        check_new_identity(&known, &list, now_ms)?;
        // Who comes back for the one that waits changes nothing, or lets it take effect.
        let waits = known.record.waiting_reset().is_some_and(|waiting| waiting.list == list.as_bytes());
        if !waits && let Err(wait_ms) = self.resets.take(account, 1, now_ms) {
            let message = format!("too many new identities; try again in {} s", wait_ms.div_ceil(1000));
            self.refuse_until(ticket, (ErrorCode::RATE_LIMITED, message.into()), Some(wait_ms));
            return Ok(());
        }
        let what = What::Reset(list);
        self.change(now_ms, known, Change::new(Editor::Client(ticket), what));
        Ok(())
    }

    /// Lets it wait or take effect, as things stand now; `None` if nothing is to be changed.
    pub(super) fn reset_effect(
        &self,
        now_ms: u64,
        list: &SignedDeviceList,
        known: &Known,
    ) -> Result<Option<Effect>, Refused> {
        if known.list.as_bytes() == list.as_bytes() {
            return Ok(None);
        }
        check_new_identity(known, list, now_ms)?;
        let asked = known.record.reset.as_ref().filter(|asked| asked.list == list.as_bytes());
        let edit = match asked {
            Some(same) if same.refused => Edit::ForgetReset,
            Some(same) if same.due_ms > now_ms => return Ok(None),
            // One that waits shows that there was a device that can refuse: another list waits as long.
            None if known.record.waiting_reset().is_some() || self.lived_in(now_ms, known) => {
                Edit::Reset(WaitingReset {
                    list: list.as_bytes().to_vec(),
                    asked_ms: now_ms,
                    due_ms: now_ms.saturating_add(RESET_DELAY_MS),
                    refused: false,
                })
            }
            // Due, or nobody is there to ask.
            Some(_) | None => return Ok(Some(Effect::Reset(Box::new(list.clone())))),
        };
        Ok(edit.of(&known.record)?.map(|new| Effect::Edit(edit, new)))
    }

    /// Answers a request that changed nothing.
    pub(super) fn reset_stands(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        known: &Known,
        list: &SignedDeviceList,
    ) {
        let (state, action) = match known.record.waiting_reset() {
            Some(waiting) if waiting.list == list.as_bytes() => {
                (ResetState::Pending(waiting.due_ms), "the new identity still waits")
            }
            _ => (ResetState::Done, "the new identity stands"),
        };
        self.answer(ticket, &ServerFrame::Reset(state), action);
        self.unblock(now_ms, ticket.connection);
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

    pub(super) fn reset_done(&mut self, now_ms: u64, by: Editor, known: &Known, list: &SignedDeviceList) {
        let name = known.record.username.clone();
        if let Editor::Client(ticket) = by
            && let Some(connection) = self.connections.get_mut(&ticket.connection)
            && connection.session.is_none()
        {
            // It is the new account's from here on.
            connection.proven = Some((list.list().account, Proof::Password));
            connection.pending = None;
        }
        self.forget_account(&known.record.account, ended(Ending::Replaced));
        self.log(Event::Device { name, action: "a new identity took the place of the old one" });
        match by {
            Editor::Client(ticket) => {
                self.answer(ticket, &ServerFrame::Reset(ResetState::Done), "a new identity");
                self.unblock(now_ms, ticket.connection);
            }
            Editor::Operator(question) => self.ordered(question, Ok(())),
            Editor::Server => {}
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

/// The new identity that waits, if it is the one that the operator lets take effect.
pub(super) fn waiting_identity(
    record: &AccountRecord,
    code: ResetCode,
) -> Result<Box<SignedDeviceList>, Refused> {
    let name = &record.username;
    let waiting = record
        .waiting_reset()
        .ok_or_else(|| (ErrorCode::UNKNOWN_USER, format!("no new identity waits for {name}").into()))?;
    let list = SignedDeviceList::parse(&waiting.list)
        .map_err(|error| (ErrorCode::STORE, format!("the device list that waits: {error}").into()))?;
    if ResetCode::of(list.list()) != code {
        let message = format!(
            "the new identity that waits for {name} has another code: somebody else asked for it, or it was asked for \
             anew; have the code read to you again"
        );
        return Err((ErrorCode::BAD_KEYS, message.into()));
    }
    Ok(Box::new(list))
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

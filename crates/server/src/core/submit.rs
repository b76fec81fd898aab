//! Submit: envelopes for devices, all stored in one step, or the lists that the sender lacks.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use sotto_proto::{
    AccountId, DeviceId,
    frame::{
        ClientFrame, DeviceOutcome, ErrorCode, Outcome, OutgoingEnvelope, Refusal, ServerFrame, StaleDevices,
        Submit, Submitted, UsedList,
    },
    limits::{MAILBOX_SENDER_SHARE, MAX_ENVELOPE, MAX_ENVELOPES_PER_SUBMIT, MAX_LISTS},
};
use sotto_store::{Appended, NewEnvelope, StoreError, Submission, SubmissionKey};

use super::{
    Core, Found, Refused, StoreCall,
    connection::{Ticket, VerifiedList},
    known::{AccountRef, Known},
    lists::{check_successor, valid},
    step::{Planned, Step},
};

/// An envelope of a Submit, and what becomes of it if no record says otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outline {
    device: DeviceId,
    outcome: Outcome,
    /// Whether it was never meant for the store.
    transient: bool,
}

/// A list that a Submit used, beside the server's.
pub(super) enum Compared {
    /// The same, or the account does not exist: its envelopes have an outcome of their own.
    Fits,
    /// The server's is newer, or another with the same number.
    Stale(Arc<Known>),
    /// The sender's is newer, and it is here.
    HandedOver(Arc<Known>),
    /// The sender's is newer, and the server does not have it.
    Wanted,
}

pub(super) fn compare(used: &UsedList, known: Option<Arc<Known>>) -> Compared {
    let Some(known) = known else { return Compared::Fits };
    if used.number == known.number() && used.hash == known.hash {
        Compared::Fits
    } else if used.number <= known.number() {
        Compared::Stale(known)
    } else if used.list.is_some() {
        Compared::HandedOver(known)
    } else {
        Compared::Wanted
    }
}

/// The answer: what is recorded stands, whatever would come of the envelopes now. A device's records stand in the order
/// of its envelopes.
fn merge(outline: &[Outline], recorded: Submitted) -> Submitted {
    let mut records: HashMap<DeviceId, VecDeque<DeviceOutcome>> = HashMap::new();
    for record in recorded.devices {
        records.entry(record.device).or_default().push_back(record);
    }
    let devices = outline
        .iter()
        .map(|outline| {
            let record = records.get_mut(&outline.device).filter(|_| !outline.transient);
            let own = DeviceOutcome { device: outline.device, outcome: outline.outcome };
            record.and_then(VecDeque::pop_front).unwrap_or(own)
        })
        .collect();
    Submitted { devices, stored_ms: recorded.stored_ms }
}

fn told(submitted: &Submitted) -> String {
    let stored = submitted
        .devices
        .iter()
        .filter(|device| matches!(device.outcome, Outcome::Stored { .. } | Outcome::Passed))
        .count();
    format!("stored {stored} of {} envelopes", submitted.devices.len())
}

impl Core {
    pub(super) fn submit(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        mut submit: Submit,
        (list, attempts): (Option<VerifiedList>, u8),
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let sender = self.session(ticket.connection)?.account;
        check_shape(&submit, &sender)?;
        let known: Vec<(AccountId, Option<Arc<Known>>)> = submit
            .lists
            .iter()
            .map(|used| (used.account, found.find(&mut self.known, &AccountRef::Id(used.account))))
            .collect();
        let mut stale = StaleDevices { lists: Vec::new(), wanted: Vec::new() };
        let mut handed_over = None;
        for (used, (account, known)) in submit.lists.iter().zip(&known) {
            match compare(used, known.clone()) {
                Compared::Fits => {}
                Compared::Stale(known) => stale.lists.push(known.list.as_bytes().to_vec().into()),
                Compared::Wanted => stale.wanted.push(*account),
                Compared::HandedOver(known) => {
                    handed_over =
                        Some((known, used.list.as_ref().map(|list| list.to_vec()).unwrap_or_default()));
                }
            }
        }
        if !stale.lists.is_empty() || !stale.wanted.is_empty() {
            // It may have been stored before the lists changed: then its answer stands.
            let outline = submit.envelopes.iter().map(|envelope| outline(envelope, Outcome::UnknownDevice));
            let key = SubmissionKey::new(&sender, &submit.submission);
            let outline = outline.collect();
            let otherwise = Box::new(ServerFrame::StaleDevices(stale));
            self.call(Step::Recall { ticket, outline, otherwise }, StoreCall::Submission(key));
            return Ok(());
        }
        if let Some((known, bytes)) = handed_over {
            let list = list.map(valid).transpose()?;
            let Some(list) = list.filter(|list| list.as_bytes() == bytes) else {
                // Not the one that was verified: somebody has put that one in its place meanwhile. No list comes back, so
                // each is verified once.
                return self.verify_list(ticket, bytes, ClientFrame::Submit(submit), attempts);
            };
            check_successor(&known, &list, now_ms)?;
            // If the list must not stand, the Submit starts again without it.
            if let Some(used) = submit.lists.iter_mut().find(|used| used.account == known.record.account) {
                used.list = None;
            }
            self.change_list(now_ms, ticket, known, list, Some(Box::new((submit, attempts))));
            return Ok(());
        }
        self.append(now_ms, ticket, sender, submit, &known);
        Ok(())
    }

    fn append(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        sender: AccountId,
        submit: Submit,
        known: &[(AccountId, Option<Arc<Known>>)],
    ) {
        let key = SubmissionKey::new(&sender, &submit.submission);
        let mut outlines = Vec::with_capacity(submit.envelopes.len());
        let mut planned = Vec::new();
        let mut envelopes = Vec::new();
        // Nothing overtakes a refused envelope: later ones for the same device are refused with it.
        let mut refused = HashMap::new();
        let mut asked = false;
        for envelope in submit.envelopes {
            let account = known.iter().find(|(account, _)| *account == envelope.account);
            let account = account.and_then(|(_, known)| known.as_ref());
            let Some(to) = account.filter(|known| known.has_device(&envelope.device)) else {
                asked |= !envelope.transient;
                outlines.push(outline(&envelope, Outcome::UnknownDevice));
                continue;
            };
            let blocked = to.blocks(&sender);
            if blocked && envelope.transient {
                outlines.push(outline(&envelope, Outcome::Refused(Refusal::NotAccepted)));
            } else if envelope.transient {
                // It would leave no trace with who gets it, so a stranger could ask all day long who is there.
                let may = self.sees(&sender, &envelope.account) && envelope.envelope.len() <= MAX_ENVELOPE;
                let outline = outline(&envelope, Outcome::Dropped);
                let passed = may && self.pass(now_ms, &envelope.device, envelope.envelope.into_vec());
                let outcome = if passed { Outcome::Passed } else { Outcome::Dropped };
                outlines.push(Outline { outcome, ..outline });
            } else {
                outlines.push(outline(&envelope, Outcome::UnknownDevice));
                if blocked {
                    refused.insert(envelope.device, Refusal::NotAccepted);
                }
                let (plan, envelope) = self.plan(now_ms, ticket, sender, (to, envelope), &mut refused);
                planned.push(plan);
                envelopes.push(envelope);
            }
        }
        if !envelopes.is_empty() {
            let submission = Submission { key, envelopes, now_ms };
            let step = Step::Append { ticket, sender, outline: outlines, planned };
            self.call(step, StoreCall::Append(submission));
            return;
        }
        let submitted = merge(&outlines, Submitted { devices: Vec::new(), stored_ms: now_ms });
        if asked {
            // Devices that are gone now may have had their envelopes when this was first sent.
            let otherwise = Box::new(ServerFrame::Submitted(submitted));
            self.call(Step::Recall { ticket, outline: outlines, otherwise }, StoreCall::Submission(key));
        } else {
            let action = told(&submitted);
            self.answer(ticket, &ServerFrame::Submitted(submitted), action);
        }
    }

    fn plan(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        sender: AccountId,
        (to, envelope): (&Arc<Known>, OutgoingEnvelope),
        refused_before: &mut HashMap<DeviceId, Refusal>,
    ) -> (Planned, NewEnvelope) {
        let OutgoingEnvelope { device, fate_tag, envelope, .. } = envelope;
        let envelope = envelope.into_vec();
        let share = self.config.mailbox_envelopes / MAILBOX_SENDER_SHARE;
        let refused = if let Some(before) = refused_before.get(&device) {
            Some(*before)
        } else if envelope.len() > MAX_ENVELOPE {
            Some(Refusal::TooLarge)
        } else if self.waiting.count(&device, &sender) >= share {
            Some(Refusal::SenderShare)
        } else {
            None
        };
        if let Some(reason) = refused {
            refused_before.insert(device, reason);
        }
        let counted =
            refused.is_none() && self.waiting.add(fate_tag, sender, device, ticket.connection, now_ms);
        let copy = self.caught_up(&device).filter(|_| refused.is_none()).map(|_| envelope.clone());
        let connected = self.devices.contains_key(&device);
        let envelope = if refused.is_some() { Vec::new() } else { envelope };
        (
            Planned { to: Arc::clone(to), device, tag: fate_tag, counted, copy },
            NewEnvelope { device, fate_tag, envelope, connected, refused },
        )
    }

    pub(super) fn appended(
        &mut self,
        ticket: Ticket,
        sender: AccountId,
        outline: &[Outline],
        planned: Vec<Planned>,
        appended: Appended,
    ) {
        let stored_ms = appended.submitted.stored_ms;
        for (plan, number) in planned.into_iter().zip(&appended.numbers) {
            match number {
                Some(number) => {
                    self.met(sender, &plan.to.record);
                    self.arrived(&plan.device, *number, stored_ms, plan.copy);
                }
                None if plan.counted => {
                    self.waiting.remove(&plan.tag);
                }
                None => {}
            }
        }
        let submitted = merge(outline, appended.submitted);
        let action = told(&submitted);
        self.answer(ticket, &ServerFrame::Submitted(submitted), action);
    }

    pub(super) fn append_failed(
        &mut self,
        ticket: Ticket,
        outline: &[Outline],
        planned: &[Planned],
        now_ms: u64,
        error: StoreError,
    ) {
        for plan in planned.iter().filter(|plan| plan.counted) {
            self.waiting.remove(&plan.tag);
        }
        if error != StoreError::DiskFull {
            return self.store_refused(Some(ticket), error);
        }
        // Nothing was recorded: the same submission may come again when there is room.
        let full = |plan: &Planned| DeviceOutcome {
            device: plan.device,
            outcome: Outcome::Refused(Refusal::DiskFull),
        };
        let recorded = Submitted { devices: planned.iter().map(full).collect(), stored_ms: now_ms };
        let submitted = merge(outline, recorded);
        self.answer(ticket, &ServerFrame::Submitted(submitted), "refused, the disk is full");
    }

    pub(super) fn recalled(
        &mut self,
        ticket: Ticket,
        outline: &[Outline],
        otherwise: &ServerFrame,
        recorded: Option<Submitted>,
    ) {
        if let Some(recorded) = recorded {
            let submitted = merge(outline, recorded);
            return self.answer(ticket, &ServerFrame::Submitted(submitted), "stored before");
        }
        let action = match otherwise {
            ServerFrame::StaleDevices(_) => "nothing stored, device lists are stale".to_owned(),
            ServerFrame::Submitted(submitted) => told(submitted),
            _ => String::new(),
        };
        self.answer(ticket, otherwise, action);
    }
}

fn outline(envelope: &OutgoingEnvelope, outcome: Outcome) -> Outline {
    Outline { device: envelope.device, outcome, transient: envelope.transient }
}

fn check_shape(submit: &Submit, sender: &AccountId) -> Result<(), Refused> {
    if submit.envelopes.len() > MAX_ENVELOPES_PER_SUBMIT || submit.lists.len() > MAX_LISTS {
        let message = format!("at most {MAX_ENVELOPES_PER_SUBMIT} envelopes and {MAX_LISTS} lists");
        return Err((ErrorCode::LIMIT, message.into()));
    }
    let mut accounts = HashSet::new();
    if !submit.lists.iter().all(|used| accounts.insert(used.account)) {
        return Err((ErrorCode::MALFORMED, "an account's list stands twice in the Submit".into()));
    }
    let named = submit.envelopes.iter().map(|envelope| &envelope.account);
    if !named.chain([sender]).all(|account| accounts.contains(account)) {
        let message = "a Submit names the lists of all its accounts and of its sender's";
        return Err((ErrorCode::MALFORMED, message.into()));
    }
    let mut tags = HashSet::new();
    if !submit.envelopes.iter().all(|envelope| tags.insert(envelope.fate_tag)) {
        return Err((ErrorCode::MALFORMED, "a fate tag stands twice in the Submit".into()));
    }
    Ok(())
}

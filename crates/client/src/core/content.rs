//! What an opened message means here. Content is bound to its place: what does not belong where it came from is a row
//! with its reason, never acted on.

use sotto_proto::{
    AccountId, DeviceId, Envelope, MessageId, SessionId,
    content::{Body, Content, Place, kind},
    envelope::BodyHash,
};

use super::{
    Core, CoreError, Step,
    blocks::{is_unbounded, said_then},
    lists::{FORK, Sought, list_ref},
    receive::reference,
};
use crate::{
    api::{Event, Fate},
    store::{BlockRecord, ContactRecord, NO_MESSAGE, NewEntry, NewMessage},
};

/// A body that takes a place in the history.
struct Said<'a> {
    conversation: AccountId,
    sender: AccountId,
    message: MessageId,
    outgoing: bool,
    kind: u16,
    body: &'a [u8],
    clock_ms: u64,
}

impl Core {
    #[allow(clippy::too_many_arguments, reason = "the parts of one event, each used once")]
    pub(super) fn content(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        device: DeviceId,
        session: SessionId,
        envelope: &Envelope,
        bytes: &[u8],
        stored_ms: u64,
    ) -> Result<(), CoreError> {
        let content = match Content::decode(bytes) {
            Ok(content) => content,
            Err(error) => {
                let reason = format!("its content is malformed ({error})");
                return self.unreadable(step, contact, device, envelope, Some(session), &reason, stored_ms);
            }
        };
        self.note_lists(step, contact, &content)?;
        let own = contact.account == self.me.account;
        if content.place != Place::Account(self.me.account) {
            let reason = "it belongs to another conversation than the one it came in";
            return self.misplaced(step, contact, envelope, reason, stored_ms);
        }
        let body = match Body::decode(content.kind, &content.body) {
            // What became of one's own messages counts, whoever says it.
            Ok(body) if contact.blocked && !matches!(body, Some(Body::Delivered(_) | Body::Read(_))) => {
                return Self::drop_blocked(step);
            }
            Ok(body) => body,
            Err(error) => {
                let reason = format!("its content is malformed ({error})");
                return self.unreadable(step, contact, device, envelope, Some(session), &reason, stored_ms);
            }
        };
        match body {
            Some(Body::Text(_)) | None => {
                let said = Said {
                    conversation: contact.account,
                    sender: contact.account,
                    message: content.message,
                    outgoing: own,
                    kind: content.kind,
                    body: &content.body,
                    clock_ms: content.clock_ms,
                };
                self.say(step, &said)?;
                step.tx.add_receipt(&contact.account, &device, &content.message)?;
            }
            Some(Body::Delivered(messages)) => {
                for message in messages {
                    self.device_fate(step, &message, contact.account, device, Fate::Delivered)?;
                }
            }
            Some(Body::Read(messages)) => {
                for message in messages {
                    self.device_fate(step, &message, contact.account, device, Fate::Read)?;
                }
            }
            Some(Body::ResendRequest(failed)) => self.send_again(step, contact, device, session, &failed)?,
            Some(Body::Resent { failed, kind, body }) => {
                self.resent(step, contact, device, &content, &failed, kind, &body)?;
            }
            Some(Body::Gone(failed)) => {
                let why =
                    format!("cannot be read, and {} cannot send it again: it may be lost", contact.username);
                self.answered(step, contact, device, &failed, &why)?;
            }
            Some(Body::NoMessage(failed)) => {
                // Only its sender knows; a server that swallows a message needs no such answer for it.
                let why = format!("could not be read; {} says that it was no message", contact.username);
                self.answered(step, contact, device, &failed, &why)?;
            }
            Some(Body::SyncBlock { .. } | Body::SyncDeviceName { .. }) if !own => {
                let reason = "only one's own devices tell such things";
                return self.misplaced(step, contact, envelope, reason, stored_ms);
            }
            Some(Body::SyncBlock { account, blocked }) => {
                let clock_ms = said_then(step.now_ms, stored_ms, content.clock_ms);
                let block = BlockRecord { account, blocked, clock_ms };
                self.synced_block(step, &block)?;
            }
            Some(Body::SyncDeviceName { device, name }) => {
                let clock_ms = said_then(step.now_ms, stored_ms, content.clock_ms);
                if is_unbounded(step.now_ms, step.tx.device_name(&device)?.1) {
                    step.tx.decide_device_name(&device, &name, clock_ms)?;
                } else {
                    step.tx.set_device_name(&device, &name, clock_ms)?;
                }
            }
            Some(Body::SyncSent { place, kind, body }) => {
                let Place::Account(other) = place else {
                    return self.misplaced(step, contact, envelope, "it belongs to a room", stored_ms);
                };
                if !own {
                    let reason = "only one's own devices tell what one has sent";
                    return self.misplaced(step, contact, envelope, reason, stored_ms);
                }
                self.synced(step, &content, other, kind, &body)?;
                step.tx.add_receipt(&contact.account, &device, &content.message)?;
            }
        }
        Ok(())
    }

    /// A higher list number seen in any content obliges to fetch that list before sending: so a withheld list shows.
    fn note_lists(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        content: &Content,
    ) -> Result<(), CoreError> {
        let known = list_ref(&contact.list);
        if content.sender_list.number > known.number {
            step.tx.want_list(&contact.account, content.sender_list.number)?;
            if self.up() {
                self.look_up(step, vec![Sought::Name(contact.username.clone())]);
            }
        } else if content.sender_list.number == known.number && content.sender_list.hash != known.hash {
            let alarm = format!(
                "{0} has another device list than the server serves for {0}, {FORK}: the server or somebody with {0}'s \
                 key is lying. Compare the safety number",
                contact.username
            );
            if contact.alarm.as_ref() != Some(&alarm) {
                step.tx.set_alarm(&contact.account, Some(&alarm))?;
                step.warn(alarm);
            }
        }
        // Somebody knows a newer list of this account: another device of it may have made one.
        let own = step.tx.contact(&self.me.account)?.map_or(0, |own| own.list.list().number);
        if content.recipient_list.number > own && self.up() {
            self.look_up(step, vec![Sought::Name(self.me.username.clone())]);
        }
        Ok(())
    }

    /// Adds a message to the history, once, however often it comes.
    fn say(&mut self, step: &mut Step<'_, '_>, said: &Said<'_>) -> Result<(), CoreError> {
        let fate = said.outgoing.then_some(Fate::Stored);
        let added = step.tx.add_message(&NewMessage {
            conversation: said.conversation,
            name: None,
            sender: said.sender,
            message: said.message,
            arrived: true,
            outgoing: said.outgoing,
            kind: said.kind,
            body: said.body,
            problem: None,
            failed: None,
            sent_ms: said.clock_ms,
            received_ms: step.now_ms,
            fate,
        })?;
        if let Some(row) = added {
            let row = self.row(step.tx, row)?;
            step.event(Event::Row(row));
        }
        Ok(())
    }

    /// Another own device tells what it has sent.
    fn synced(
        &mut self,
        step: &mut Step<'_, '_>,
        content: &Content,
        other: AccountId,
        kind: u16,
        body: &[u8],
    ) -> Result<(), CoreError> {
        if step.tx.sent_message(&content.message)?.is_some() {
            // Known already, perhaps from when the name belonged to another account.
            return Ok(());
        }
        if step.tx.contact(&other)?.is_none() && self.up() {
            self.look_up(step, vec![Sought::Account(other)]);
        }
        let said = Said {
            conversation: other,
            sender: self.me.account,
            message: content.message,
            outgoing: true,
            kind,
            body,
            clock_ms: content.clock_ms,
        };
        self.say(step, &said)
    }

    /// The device that was asked for what did not open has nothing to send: its row says so.
    fn answered(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        device: DeviceId,
        failed: &[BodyHash],
        why: &str,
    ) -> Result<(), CoreError> {
        for failed in failed {
            if step.tx.settle_wanted(&failed.0, &contact.account, &device)?
                && let Some(row) = step.tx.set_problem(&failed.0, why)?
            {
                let row = self.row(step.tx, row)?;
                step.event(Event::Row(row));
            }
        }
        Ok(())
    }

    /// A message again, for an envelope that did not open here.
    #[allow(clippy::too_many_arguments, reason = "the parts of one event, each used once")]
    fn resent(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        device: DeviceId,
        content: &Content,
        failed: &BodyHash,
        inner: u16,
        body: &[u8],
    ) -> Result<(), CoreError> {
        // Only the device that was asked may fill the place; anything else is an ordinary message that came late.
        let asked = step.tx.settle_wanted(&failed.0, &contact.account, &device)?;
        let own = contact.account == self.me.account;
        let (conversation, kind, body) = match Body::decode(inner, body) {
            Ok(Some(Body::SyncSent { place: Place::Account(other), kind, body })) if own => {
                (other, kind, body)
            }
            Ok(Some(Body::Text(_)) | None) => (contact.account, inner, body.to_vec()),
            _ => return Ok(()),
        };
        let new = NewMessage {
            conversation,
            name: None,
            sender: contact.account,
            message: content.message,
            arrived: true,
            outgoing: own,
            kind,
            body: &body,
            problem: None,
            failed: None,
            sent_ms: content.clock_ms,
            received_ms: step.now_ms,
            fate: own.then_some(Fate::Stored),
        };
        let healed = if asked { step.tx.heal(&failed.0, &new)? } else { None };
        let row = match healed {
            Some(row) => Some(row),
            None => step.tx.add_message(&new)?,
        };
        if let Some(row) = row {
            let row = self.row(step.tx, row)?;
            step.event(Event::Row(row));
        }
        step.tx.add_receipt(&contact.account, &device, &content.message)?;
        Ok(())
    }

    /// A device asks for messages that it could not open. Only the very device that a body was sealed to gets it.
    fn send_again(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        device: DeviceId,
        request_in: SessionId,
        failed: &[BodyHash],
    ) -> Result<(), CoreError> {
        let (mut gone, mut no_message) = (Vec::new(), Vec::new());
        for failed in failed {
            let sent = step
                .tx
                .sent_body(&failed.0)?
                .filter(|sent| sent.account == contact.account && sent.device == device);
            let Some(sent) = sent else {
                gone.push(*failed);
                continue;
            };
            if !step.tx.send_again(&failed.0, step.now_ms)? {
                continue;
            }
            // A session in which a body did not open is not used for sending again: whoever planted a session with a
            // high generation would otherwise own the conversation for ever.
            let sessions = self.sessions.with(step.tx, contact.account, device)?;
            let condemned = sessions.condemn(sent.session, request_in);
            self.sessions.replace(contact.account, device, condemned);
            if sent.message == NO_MESSAGE {
                for message in step.tx.sent_receipts(&failed.0)? {
                    step.tx.add_receipt(&contact.account, &device, &message)?;
                }
                no_message.push(*failed);
                continue;
            }
            let Some(said) = step.tx.sent_message(&sent.message)? else {
                gone.push(*failed);
                continue;
            };
            let (kind, body) = if contact.account == self.me.account && said.conversation != self.me.account {
                let place = Place::Account(said.conversation);
                let inner = Body::SyncSent { place, kind: said.kind, body: said.body };
                (inner.kind(), inner.encode())
            } else {
                (said.kind, said.body)
            };
            let again = Body::Resent { failed: *failed, kind, body };
            tell(step, contact.account, device, &again, Some((said.message, said.sent_ms)))?;
        }
        if !gone.is_empty() && !step.tx.tells(&contact.account, &device, kind::GONE)? {
            tell(step, contact.account, device, &Body::Gone(gone), None)?;
        }
        if !no_message.is_empty() && !step.tx.tells(&contact.account, &device, kind::NO_MESSAGE)? {
            tell(step, contact.account, device, &Body::NoMessage(no_message), None)?;
        }
        Ok(())
    }

    fn misplaced(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        envelope: &Envelope,
        reason: &str,
        stored_ms: u64,
    ) -> Result<(), CoreError> {
        if contact.blocked {
            return Self::drop_blocked(step);
        }
        let outgoing = contact.account == self.me.account;
        let reason = format!("not shown: {reason}");
        self.failed_row(
            step,
            contact.account,
            contact.account,
            outgoing,
            reference(envelope).0,
            &reason,
            stored_ms,
        )
    }
}

/// Whether a kind is a message of the user's, with a fate, rather than something devices tell each other.
pub(crate) fn is_message(kind: u16) -> bool {
    !matches!(
        kind,
        kind::DELIVERED
            | kind::READ
            | kind::RESEND_REQUEST
            | kind::RESENT
            | kind::GONE
            | kind::NO_MESSAGE
            | kind::SYNC_SENT
            | kind::SYNC_BLOCK
            | kind::SYNC_DEVICE_NAME
    )
}

/// Puts something for one device into the outbox: what devices tell each other, or a message again.
pub(super) fn tell(
    step: &mut Step<'_, '_>,
    account: AccountId,
    device: DeviceId,
    body: &Body,
    as_message: Option<(MessageId, u64)>,
) -> Result<(), CoreError> {
    let (message, clock_ms) =
        if let Some(as_message) = as_message { as_message } else { (MessageId(step.random()), step.now_ms) };
    step.tx.enqueue(&NewEntry {
        account: Some(account),
        username: None,
        device: Some(device),
        message,
        user: false,
        kind: body.kind(),
        body: &body.encode(),
        clock_ms,
        now_ms: step.now_ms,
    })?;
    Ok(())
}

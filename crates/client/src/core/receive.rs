//! From an envelope in the mailbox to content. Whatever an envelope is, it is dealt with once: a row, a receipt, a
//! count, and the cursor moves on in the same transaction. Nothing in a mailbox can block what comes after it.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};
use sotto_crypto::{OpenError, Opening, UnsealError, open_sender};
use sotto_proto::{
    AccountId, Envelope, MessageId, QueueNumber, SessionId, SignedCertificate, Username,
    envelope::BodyHash,
    limits::{DAY_MS, MAILBOX_ENVELOPES},
    wire::labelled,
};

use super::{Core, CoreError, Step, lists::Sought, sessions::OwnPrekeys};
use crate::{
    api::Event,
    store::{
        ClaimedIdentity, ContactRecord, Cursor, NewMessage, PinState, PrekeySlot, StoreError, WantedBody,
    },
};

/// Unattributed rows a day: who floods a mailbox with junk gets no more of the screen.
const MAX_UNATTRIBUTED: u64 = 100;
/// Envelopes under way to be asked for again, of one account.
const MAX_WANTED: u64 = 2_000;
/// The number in `meta` of envelopes that were nobody's.
pub(crate) const NOBODYS: &str = "nobodys";

/// What a re-send request names an envelope by: `SHA-256("sotto v1 envelope" || E)`. Its ephemeral key is fresh for
/// every envelope, and stays readable when the server has damaged the sealed body, whose own hash would then mean
/// nothing to the sender.
pub(crate) fn reference(envelope: &Envelope) -> BodyHash {
    BodyHash(Sha256::digest(labelled("sotto v1 envelope", &[&envelope.ephemeral.0])).into())
}

/// Envelopes that may be held under one name: a whole mailbox of them waits when somebody new has written all of it. And the
/// certificates they may come with: far more than the devices of an account.
const MAX_HELD_NAME: u64 = MAILBOX_ENVELOPES;
const MAX_HELD_IDENTITIES: u64 = 32;
/// Envelopes that may be held in all.
const MAX_HELD: u64 = 2 * MAILBOX_ENVELOPES;

/// Who sent an envelope, as far as that is known.
struct Sender<'a> {
    contact: &'a ContactRecord,
    opening: Opening,
    revoked: bool,
    /// When it is taken to have come. For what was held until the sender's list was there, when the server stored it: the peer may
    /// have dropped the session since, and must not be answered in it.
    heard_ms: u64,
}

/// What a pinned contact's lists say of a certificate under the contact's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// In the newest list.
    Listed,
    /// Its device was removed.
    Revoked,
    /// Signed by the pinned key, and in no list that is known.
    Missing,
    /// In the list of another identity that the server now serves for the name.
    Changed,
    /// Anything else.
    Foreign,
}

impl Standing {
    fn of(contact: &ContactRecord, signed: &SignedCertificate) -> Self {
        let certificate = signed.certificate();
        let list = contact.list.list();
        let same = contact.account == certificate.account && contact.account_key == certificate.account_key;
        let new = contact.changed.as_ref();
        if same && list.device(&certificate.device) == Some(signed) {
            Self::Listed
        } else if same && list.revoked(&certificate.device) {
            Self::Revoked
        } else if same && list.device(&certificate.device).is_none() {
            Self::Missing
        } else if new.is_some_and(|new| new.list().device(&certificate.device) == Some(signed)) {
            Self::Changed
        } else {
            Self::Foreign
        }
    }
}

impl Core {
    /// An envelope from the mailbox.
    pub(super) fn deliver(
        &mut self,
        step: &mut Step<'_, '_>,
        number: QueueNumber,
        stored_ms: u64,
        bytes: &[u8],
    ) -> Result<(), CoreError> {
        let Some(cursor) = step.tx.cursor()? else { return Ok(()) };
        self.ack_due = true;
        if number <= cursor.number {
            return Ok(());
        }
        step.tx.set_cursor(&Cursor { number, ..cursor })?;
        self.envelope(step, bytes, stored_ms)
    }

    fn envelope(&mut self, step: &mut Step<'_, '_>, bytes: &[u8], stored_ms: u64) -> Result<(), CoreError> {
        let Ok(envelope) = Envelope::parse(bytes) else { return self.damaged(step, bytes, stored_ms) };
        let Ok(opening) = open_sender(&self.me.secret, &envelope) else {
            return self.damaged(step, bytes, stored_ms);
        };
        let username = opening.certificate().certificate().username.clone();
        let identity = ClaimedIdentity::new(opening.certificate());
        if step.tx.held_count(&identity)? == 0
            && let Some(contact) = step.tx.contact_by_name(&username)?
        {
            let standing = Standing::of(&contact, opening.certificate());
            if matches!(standing, Standing::Listed | Standing::Revoked) {
                let revoked = standing == Standing::Revoked;
                let sender = Sender { contact: &contact, opening, revoked, heard_ms: step.now_ms };
                return self.open_envelope(step, &envelope, sender, stored_ms);
            }
        }
        // Unknown, or a device that was added since, or another identity under a known name: only the list served for the
        // name can tell. What came first from a sender is shown first.
        self.hold(step, &identity, &username, bytes, stored_ms)
    }

    fn hold(
        &mut self,
        step: &mut Step<'_, '_>,
        identity: &ClaimedIdentity,
        username: &Username,
        bytes: &[u8],
        stored_ms: u64,
    ) -> Result<(), CoreError> {
        let (envelopes, identities) = step.tx.held_under(username)?;
        let new = step.tx.held_count(identity)? == 0;
        let full = envelopes >= MAX_HELD_NAME || (new && identities >= MAX_HELD_IDENTITIES);
        if full || step.tx.all_held()? >= MAX_HELD {
            return self.damaged(step, bytes, stored_ms);
        }
        step.tx.hold(identity, username, bytes, stored_ms)?;
        self.look_up(step, vec![Sought::Name(username.clone())]);
        Ok(())
    }

    /// The certificate that the envelopes held for an identity came with.
    fn held_certificate(
        &self,
        step: &Step<'_, '_>,
        identity: &ClaimedIdentity,
    ) -> Result<Option<SignedCertificate>, CoreError> {
        let first = step.tx.first_held(identity)?;
        Ok(first
            .and_then(|bytes| Envelope::parse(&bytes).ok())
            .and_then(|envelope| open_sender(&self.me.secret, &envelope).ok())
            .map(|opening| opening.certificate().clone()))
    }

    /// The list served for a name is known now: envelopes that waited for it are opened, or are nobody's.
    pub(super) fn release_held(&mut self, step: &mut Step<'_, '_>, name: &Username) -> Result<(), CoreError> {
        let Some(contact) = step.tx.contact_by_name(name)? else { return Ok(()) };
        for (identity, held) in step.tx.held_identities()? {
            if held != *name {
                continue;
            }
            let Some(certificate) = self.held_certificate(step, &identity)? else { continue };
            let standing = Standing::of(&contact, &certificate);
            match standing {
                // Only the account can make such a certificate: the list that the server serves lacks the device, so a
                // newer one is raced or withheld. It is asked for again until it comes.
                Standing::Missing => {
                    if self.warned.insert(identity) {
                        step.warn(format!(
                            "{name} wrote from a device that is not in the device list which the server serves for \
                             {name}; the messages are shown once it is"
                        ));
                    }
                }
                // What the name's new identity wrote is shown once the user has accepted it.
                Standing::Changed => {}
                // A certificate vouches only for itself: under this name the server serves another key.
                Standing::Foreign => {
                    let dropped = step.tx.take_held(&identity)?.len();
                    step.tx.count_impostor(name)?;
                    count_nobodys(step, dropped)?;
                }
                Standing::Listed | Standing::Revoked => {
                    for (bytes, stored_ms) in step.tx.take_held(&identity)? {
                        let revoked = standing == Standing::Revoked;
                        self.open_held(step, &contact, revoked, &bytes, stored_ms)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn open_held(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        revoked: bool,
        bytes: &[u8],
        stored_ms: u64,
    ) -> Result<(), CoreError> {
        let Ok(envelope) = Envelope::parse(bytes) else { return self.damaged(step, bytes, stored_ms) };
        match open_sender(&self.me.secret, &envelope) {
            Ok(opening) => {
                let heard_ms = stored_ms.min(step.now_ms);
                let sender = Sender { contact, opening, revoked, heard_ms };
                self.open_envelope(step, &envelope, sender, stored_ms)
            }
            Err(_) => self.damaged(step, bytes, stored_ms),
        }
    }

    /// There is no such name: what was held under it is nobody's, unless the pinned account itself has certified the
    /// device; then the server is lying, or was set back, and the list may still come.
    pub(super) fn drop_held(&mut self, step: &mut Step<'_, '_>, name: &Username) -> Result<(), CoreError> {
        let pinned = step.tx.contact_by_name(name)?;
        for (identity, held) in step.tx.held_identities()? {
            if held != *name {
                continue;
            }
            if let Some(contact) = &pinned
                && let Some(certificate) = self.held_certificate(step, &identity)?
                && Standing::of(contact, &certificate) != Standing::Foreign
            {
                continue;
            }
            let dropped = step.tx.take_held(&identity)?.len();
            count_nobodys(step, dropped)?;
        }
        Ok(())
    }

    fn open_envelope(
        &mut self,
        step: &mut Step<'_, '_>,
        envelope: &Envelope,
        sender: Sender<'_>,
        stored_ms: u64,
    ) -> Result<(), CoreError> {
        let Sender { contact, opening, revoked, heard_ms } = sender;
        let device = opening.certificate().certificate().device;
        let Ok(pair) = self.sessions.pair(&self.me.secret, &self.me.certificate, opening.certificate())
        else {
            return self.damaged(step, &envelope.encode(), stored_ms);
        };
        let body = match opening.open_body(&pair) {
            Ok(body) => body,
            Err(_) if revoked => return count_nobodys(step, 1),
            Err(UnsealError::Malformed(error)) => {
                if step.tx.first_sight(&envelope.body_hash().short())? {
                    let reason = format!("the message is malformed ({error})");
                    self.unreadable(step, contact, device, envelope, None, &reason, stored_ms)?;
                }
                return Ok(());
            }
            // Anybody can put anybody's certificate into part 1: no row under that name, but the named device is
            // asked, for if the server damaged its message, it alone can send it again.
            Err(_) => return self.damaged_from(step, contact, device, envelope, stored_ms),
        };
        if !step.tx.first_sight(&envelope.body_hash().short())? {
            return Ok(());
        }
        if revoked {
            return self.revoked(step, envelope, contact, stored_ms);
        }
        let session = body.session();
        let sessions = self.sessions.with(step.tx, contact.account, device)?;
        match sessions.open(&pair, &body, &OwnPrekeys(step.tx), heard_ms) {
            Ok(opened) => {
                self.asking.remove(&device);
                if self.keyless.contains_key(&device) {
                    self.keyed(step, &device)?;
                }
                self.sessions.replace(contact.account, device, opened.next);
                for consumed in opened.consumed {
                    let (slot, id) = match consumed {
                        sotto_crypto::ConsumedPrekey::Curve(id) => (PrekeySlot::OneTime, id),
                        sotto_crypto::ConsumedPrekey::Kem(id) => (PrekeySlot::OneTimeKem, id),
                    };
                    step.tx.remove_prekey(slot, id)?;
                }
                self.content(step, contact, device, session, envelope, &opened.content, stored_ms)
            }
            Err(OpenError::Source(error)) => Err(StoreError::Failed(error.to_string()).into()),
            Err(OpenError::MissingPrekey { next }) => {
                self.sessions.replace(contact.account, device, *next);
                let reason = "it was sealed to a key that is not here any more";
                self.unreadable(step, contact, device, envelope, Some(session), reason, stored_ms)
            }
            Err(error) => {
                let reason = error.to_string();
                self.unreadable(step, contact, device, envelope, Some(session), &reason, stored_ms)
            }
        }
    }

    /// A row in place of a message that did not open, and its sender is asked for it.
    #[allow(clippy::too_many_arguments, reason = "the parts of one event, each used once")]
    pub(super) fn unreadable(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        device: sotto_proto::DeviceId,
        envelope: &Envelope,
        session: Option<SessionId>,
        reason: &str,
        stored_ms: u64,
    ) -> Result<(), CoreError> {
        if contact.blocked {
            return Self::drop_blocked(step);
        }
        let failed = reference(envelope).0;
        let reason = format!("cannot be read: {reason}; {} was asked to send it again", contact.username);
        let outgoing = contact.account == self.me.account;
        self.failed_row(step, contact.account, contact.account, outgoing, failed, &reason, stored_ms)?;
        want(step, contact, device, failed, session)
    }

    /// An envelope whose body does not open under the certificate it names. The row is attributed to nobody.
    fn damaged_from(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        device: sotto_proto::DeviceId,
        envelope: &Envelope,
        stored_ms: u64,
    ) -> Result<(), CoreError> {
        count_nobodys(step, 1)?;
        if contact.blocked {
            return Ok(());
        }
        let own = self.me.account;
        let failed = reference(envelope).0;
        want(step, contact, device, failed, None)?;
        if step.tx.failed_rows(&own, lately(step))? < MAX_UNATTRIBUTED {
            let reason = format!(
                "a message was damaged on its way, so who sent it cannot be told; {} was asked whether it was theirs",
                contact.username
            );
            self.failed_row(step, own, own, false, failed, &reason, stored_ms)?;
        }
        Ok(())
    }

    /// An envelope of which nothing can be read.
    fn damaged(&mut self, step: &mut Step<'_, '_>, bytes: &[u8], stored_ms: u64) -> Result<(), CoreError> {
        count_nobodys(step, 1)?;
        let own = self.me.account;
        if step.tx.failed_rows(&own, lately(step))? < MAX_UNATTRIBUTED {
            let failed = Sha256::digest(bytes).into();
            let reason = "a message was damaged on its way, and who sent it cannot be told";
            self.failed_row(step, own, own, false, failed, reason, stored_ms)?;
        }
        Ok(())
    }

    fn revoked(
        &mut self,
        step: &mut Step<'_, '_>,
        envelope: &Envelope,
        contact: &ContactRecord,
        stored_ms: u64,
    ) -> Result<(), CoreError> {
        if contact.blocked {
            return Self::drop_blocked(step);
        }
        let reason = format!("it comes from a device that {} has removed from the account", contact.username);
        let failed = reference(envelope).0;
        let outgoing = contact.account == self.me.account;
        self.failed_row(step, contact.account, contact.account, outgoing, failed, &reason, stored_ms)
    }

    #[allow(clippy::too_many_arguments, reason = "the columns of a row")]
    pub(super) fn failed_row(
        &mut self,
        step: &mut Step<'_, '_>,
        conversation: AccountId,
        sender: AccountId,
        outgoing: bool,
        failed: [u8; 32],
        reason: &str,
        stored_ms: u64,
    ) -> Result<(), CoreError> {
        let added = step.tx.add_message(&NewMessage {
            conversation,
            name: None,
            sender,
            message: MessageId(BodyHash(failed).short()),
            arrived: true,
            outgoing,
            kind: 0,
            body: &[],
            problem: Some(reason),
            failed: Some(failed),
            sent_ms: stored_ms,
            received_ms: step.now_ms,
            fate: None,
        })?;
        if let Some(row) = added {
            let row = self.row(step.tx, row)?;
            step.event(Event::Row(row));
        }
        Ok(())
    }

    /// A row that tells of something that is missing, in the conversation with oneself.
    pub(super) fn notice_row(&mut self, step: &mut Step<'_, '_>, text: &str) -> Result<(), CoreError> {
        let failed = step.random::<32>();
        let (own, now_ms) = (self.me.account, step.now_ms);
        self.failed_row(step, own, own, false, failed, text, now_ms)
    }

    /// Such a row about what the server says and can repeat: at most one a day under a name in `meta`, so that no server fills
    /// the disk with them. Answers whether there is one now.
    pub(super) fn daily_row(
        &mut self,
        step: &mut Step<'_, '_>,
        name: &str,
        text: &str,
    ) -> Result<bool, CoreError> {
        let last_ms = step.tx.number(name)?;
        // A last one from the future is from a clock that was set back.
        if last_ms <= step.now_ms && step.now_ms < last_ms.saturating_add(DAY_MS) {
            return Ok(false);
        }
        step.tx.set_number(name, step.now_ms)?;
        self.notice_row(step, text)?;
        Ok(true)
    }

    /// Whether messages to a contact may leave.
    pub(super) fn may_send(contact: &ContactRecord) -> bool {
        contact.state != PinState::Changed && contact.wanted <= contact.list.list().number
    }
}

fn want(
    step: &mut Step<'_, '_>,
    contact: &ContactRecord,
    device: sotto_proto::DeviceId,
    reference: [u8; 32],
    session: Option<SessionId>,
) -> Result<(), CoreError> {
    if step.tx.wanted_of(&contact.account)? < MAX_WANTED {
        step.tx.want_body(&WantedBody { reference, account: contact.account, device, session })?;
    }
    Ok(())
}

/// The last day, Unix milliseconds. What came in the future, by a clock that was set back, is not of it.
fn lately(step: &Step<'_, '_>) -> RangeInclusive<u64> {
    step.now_ms.saturating_sub(DAY_MS)..=step.now_ms
}

/// Counts envelopes that were attributed to nobody.
pub(super) fn count_nobodys(step: &mut Step<'_, '_>, count: usize) -> Result<(), CoreError> {
    let known = step.tx.number(NOBODYS)?;
    step.tx.set_number(NOBODYS, known.saturating_add(u64::try_from(count).unwrap_or(u64::MAX)))?;
    Ok(())
}

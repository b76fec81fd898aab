//! Sealing: from entries of the outbox to envelopes for devices.

use sotto_crypto::{PeerSessions, Purpose, SealError};
use sotto_proto::{
    AccountId, DeviceId, FateTag, SessionId, SignedCertificate, SubmissionId,
    content::{Body, Content, ListRef, Place, kind},
    limits::MAX_ENVELOPES_PER_SUBMIT,
};

use super::{Core, CoreError, Step, content::is_message, lists::list_ref, receive::reference};
use crate::{
    api::Fate,
    store::{ContactRecord, Copy, Entry, NO_MESSAGE, SentBody},
};

/// Bytes of envelopes in one Submit: well below a frame, for devices that are added on a stale list must still fit, and what a
/// slow line has sent within the time that a frame may take (a megabyte in two minutes would need nine kilobytes a second).
const BATCH_BYTES: usize = 128 * 1024;
/// What waits behind a message that was not taken.
const BEHIND: &str = "waits behind an earlier message that was not taken";

/// A device that an entry goes to.
pub(super) struct Target {
    pub(super) account: AccountId,
    certificate: SignedCertificate,
}

impl Target {
    pub(super) fn device(&self) -> DeviceId {
        self.certificate.certificate().device
    }
}

impl Core {
    /// The devices that an entry goes to: the recipient's, and of a message of the user's, one's own others.
    pub(super) fn targets(&self, contact: &ContactRecord, own: &ContactRecord, entry: &Entry) -> Vec<Target> {
        let mut targets = Vec::new();
        for certificate in &contact.list.list().devices {
            let device = certificate.certificate().device;
            if device != self.me.device && entry.device.is_none_or(|only| only == device) {
                targets.push(Target { account: contact.account, certificate: certificate.clone() });
            }
        }
        if entry.user && contact.account != own.account {
            for certificate in &own.list.list().devices {
                if certificate.certificate().device != self.me.device {
                    targets.push(Target { account: own.account, certificate: certificate.clone() });
                }
            }
        }
        targets
    }

    /// Seals entries until a Submit is full, and puts them into it.
    pub(super) fn seal_batch(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        own: &ContactRecord,
        entries: &[Entry],
        submission: &SubmissionId,
    ) -> Result<(), CoreError> {
        let (mut bytes, mut count) = (0, 0);
        for entry in entries {
            let targets = self.targets(contact, own, entry);
            if targets.is_empty() {
                // The only device it was for is gone; or a note to oneself, from the only device there is.
                step.tx.remove_entry(entry.entry)?;
                if entry.user {
                    let reason = "the account has no device that could read it";
                    self.settle(step, &entry.message, Fate::Refused, Some(reason))?;
                } else if is_message(entry.kind) {
                    self.refresh_fate(step, &entry.message, false)?;
                }
                continue;
            }
            if count > 0 && (count + targets.len() > MAX_ENVELOPES_PER_SUBMIT || bytes > BATCH_BYTES) {
                break;
            }
            let (left_out, usable): (Vec<&Target>, Vec<&Target>) =
                targets.iter().partition(|target| self.given_up(step, &target.device()));
            self.left_out.extend(left_out.into_iter().map(Target::device));
            if usable.is_empty() && entry.device.is_some() {
                // For that device alone: others' entries do not wait for its keys.
                continue;
            }
            if !usable.iter().any(|target| target.account == contact.account) {
                // Nobody who is meant could read it; one's own devices alone make no message.
                break;
            }
            for target in usable {
                let Some(length) = self.seal_copy(step, contact, own, entry, target)? else {
                    // All of its devices or none, so that none is left out.
                    return Ok(step.tx.unseal(entry.entry)?);
                };
                bytes += length;
                count += 1;
            }
            step.tx.set_submission(entry.entry, Some(submission))?;
        }
        Ok(())
    }

    /// Seals one entry for one device; answers the envelope's length, or `None` if that cannot be done now.
    pub(super) fn seal_copy(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        own: &ContactRecord,
        entry: &Entry,
        target: &Target,
    ) -> Result<Option<usize>, CoreError> {
        let device = target.device();
        let sync = target.account == own.account && contact.account != own.account;
        let list = if target.account == own.account { own } else { contact };
        let content =
            content_of(entry, target.account, sync.then_some(contact.account), list_ref(&own.list), list);
        let bytes = content.encode().map_err(|error| CoreError::Bug(format!("content: {error}")))?;
        let Ok(pair) = self.sessions.pair(&self.me.secret, &self.me.certificate, &target.certificate) else {
            // Its owner has made a key that nothing can be sealed to: their device goes without.
            self.unusable.insert(device);
            return Ok(None);
        };
        let failed_in = failed_in(step, entry)?;
        let purpose = purpose(entry, &failed_in);
        let sessions = self.sessions.with(step.tx, target.account, device)?;
        let sealed = match sessions.seal(&mut step.rng, &pair, &bytes, purpose, step.now_ms) {
            Ok(sealed) => sealed,
            Err(SealError::Exhausted(session)) => {
                // Condemned, the session is replaced by a new handshake at the next try.
                let condemned = sessions.condemn(session, SessionId([0; 16]));
                self.sessions.replace(target.account, device, condemned);
                return Ok(None);
            }
            Err(SealError::NeedsBundle(_)) => return Ok(None),
            Err(SealError::WrongPair) => {
                // The sessions are of another certificate of that device: they are of no use any more.
                self.sessions.replace(target.account, device, PeerSessions::new());
                return Ok(None);
            }
            Err(error) => return Err(CoreError::Bug(format!("sealing: {error}"))),
        };
        let named = reference(&sealed.envelope).0;
        let blocked = self.refusing.contains_key(&device)
            && step
                .tx
                .refusing_devices(&contact.account, entry.user)?
                .iter()
                .any(|(known, _)| *known == device);
        let copy = Copy {
            account: target.account,
            device,
            tag: FateTag(step.random()),
            envelope: sealed.envelope.encode(),
            reference: named,
            session: sealed.session,
            refused: blocked.then(|| BEHIND.to_owned()),
        };
        let length = copy.envelope.len();
        step.tx.add_copy(entry.entry, &copy)?;
        self.sessions.replace(target.account, device, sealed.next);
        let length = Some(length);
        // What devices tell each other as well: only so is a session known that the peer cannot read, and not answered in.
        let sent = SentBody {
            account: target.account,
            device,
            session: sealed.session,
            conversation: contact.account,
            message: if entry.user || entry.kind == kind::RESENT || is_message(entry.kind) {
                entry.message
            } else {
                NO_MESSAGE
            },
        };
        step.tx.add_sent_body(&named, &sent, step.now_ms)?;
        if entry.kind == kind::DELIVERED
            && let Ok(Some(Body::Delivered(messages))) = Body::decode(entry.kind, &entry.body)
        {
            step.tx.add_sent_receipts(&named, &messages)?;
        }
        Ok(length)
    }
}

pub(super) fn purpose<'a>(entry: &Entry, failed_in: &'a [SessionId]) -> Purpose<'a> {
    if entry.kind == kind::RESEND_REQUEST { Purpose::ResendRequest { failed_in } } else { Purpose::Message }
}

/// The content of an entry for one device; to one's own other devices, what was sent to whom.
fn content_of(
    entry: &Entry,
    target: AccountId,
    sync: Option<AccountId>,
    own: ListRef,
    recipient: &ContactRecord,
) -> Content {
    let (kind, body) = match sync {
        None => (entry.kind, entry.body.clone()),
        Some(other) => {
            let body =
                Body::SyncSent { place: Place::Account(other), kind: entry.kind, body: entry.body.clone() };
            (body.kind(), body.encode())
        }
    };
    Content {
        message: entry.message,
        clock_ms: entry.clock_ms,
        place: Place::Account(target),
        sender_list: own,
        recipient_list: list_ref(&recipient.list),
        kind,
        body,
    }
}

pub(super) fn failed_in(step: &Step<'_, '_>, entry: &Entry) -> Result<Vec<SessionId>, CoreError> {
    if entry.kind != kind::RESEND_REQUEST {
        return Ok(Vec::new());
    }
    let Ok(Some(Body::ResendRequest(failed))) = Body::decode(entry.kind, &entry.body) else {
        return Ok(Vec::new());
    };
    let mut sessions = Vec::new();
    for failed in failed {
        if let Some(session) = step.tx.wanted_body(&failed.0)?.and_then(|wanted| wanted.session) {
            sessions.push(session);
        }
    }
    sessions.sort_unstable();
    sessions.dedup();
    Ok(sessions)
}

//! From the outbox to the server. Each conversation has two lanes, one for messages of the user's and one for what
//! devices tell each other, so that a receipt does not wait behind a message that a full mailbox refused. A lane has
//! one Submit under way, with as many messages as fit, so that nothing overtakes.

use std::collections::{BTreeMap, BTreeSet};

use serde_bytes::ByteBuf;
use sotto_crypto::{PeerSessions, Purpose, SealError};
use sotto_proto::{
    AccountId, DeviceId, FateTag, SessionId, SignedCertificate, SubmissionId,
    content::{Body, Content, ListRef, Place, kind},
    frame::{Bundles, ClaimBundles, ClientFrame, OutgoingEnvelope, Submit, UsedList},
    limits::{MAX_DEVICE_LIST, MAX_ENVELOPES_PER_SUBMIT, MAX_FRAME, MAX_PIPELINED},
};

use super::{
    Core, CoreError, Step,
    content::is_message,
    due::{queue_receipts, queue_requests},
    lists::{Sought, list_ref},
    receive::reference,
    requests::Asked,
};
use crate::{
    api::{Fate, Trust},
    store::{ContactRecord, Copy, Entry, SentBody},
};

/// Entries of a lane that are looked at together.
pub(crate) const LANE_LIMIT: u32 = 10_000;
/// Messages sealed for one Submit: as many as a frame holds to a few devices.
const BATCH: usize = 128;
/// Bytes of envelopes in one Submit, well below a frame: devices that are added on a stale list must still fit.
const BATCH_BYTES: usize = 600 * 1024;
/// Bytes of envelopes in one Submit at the most: what is left of a frame holds the lists and the encoding.
const SUBMIT_BYTES: usize = MAX_FRAME - 2 * MAX_DEVICE_LIST - 1024;
/// Bytes that an envelope takes in a Submit beside its own.
const ENVELOPE_OVERHEAD: usize = 64;
/// After how long a device without published keys is asked again, milliseconds; it has just been added.
const KEYLESS_AGAIN_MS: u64 = 2_000;
/// After how long messages go on without such a device.
const KEYLESS_GIVE_UP_MS: u64 = 60_000;
/// A full mailbox is tried again after this, and then after twice as long each time, milliseconds.
const REFUSED_AGAIN_MS: u64 = 10_000;
/// The longest such wait.
const REFUSED_AGAIN_MAX_MS: u64 = 10 * 60_000;
/// What waits behind a message that was not taken.
const BEHIND: &str = "waits behind an earlier message that was not taken";

/// What a lane has under way on this connection.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) in_flight: bool,
    pub(crate) not_before_ms: u64,
}

/// A device that an entry goes to.
struct Target {
    account: AccountId,
    certificate: SignedCertificate,
}

impl Target {
    fn device(&self) -> DeviceId {
        self.certificate.certificate().device
    }
}

/// Whether a batch can be sealed now.
enum Ready {
    Yes,
    /// Not before this time; `None` when an answer will tell.
    Later(Option<u64>),
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Core {
    /// Sends what can be sent. Answers when to look again.
    pub(super) fn pump(&mut self, step: &mut Step<'_, '_>) -> Result<Option<u64>, CoreError> {
        if !self.up() {
            return Ok(None);
        }
        self.expire_entries(step)?;
        queue_receipts(step)?;
        queue_requests(step)?;
        let mut sought = Vec::new();
        for name in step.tx.unresolved_names()? {
            if let Ok(name) = name.parse() {
                sought.push(Sought::Name(name));
            }
        }
        for (_, name) in step.tx.held_identities()? {
            sought.push(Sought::Name(name));
        }
        let mut wake_ms = self.look_up(step, sought);
        for (account, user) in step.tx.lanes()? {
            // The server takes this many requests at a time; what is more waits here as well as there.
            if self.requests.len() >= MAX_PIPELINED / 2 {
                break;
            }
            let lane = self.lanes.entry((account, user)).or_default();
            if lane.in_flight {
                continue;
            }
            if lane.not_before_ms > step.now_ms {
                wake_ms = earlier(wake_ms, Some(lane.not_before_ms));
                continue;
            }
            wake_ms = earlier(wake_ms, self.pump_lane(step, account, user)?);
            let waits_ms = self.lanes.get(&(account, user)).map_or(0, |lane| lane.not_before_ms);
            wake_ms = earlier(wake_ms, Some(waits_ms).filter(|waits_ms| *waits_ms > step.now_ms));
        }
        Ok(earlier(wake_ms, Some(self.upkeep_ms)))
    }

    fn pump_lane(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        user: bool,
    ) -> Result<Option<u64>, CoreError> {
        let Some(contact) = step.tx.contact(&account)? else {
            return Ok(self.look_up(step, vec![Sought::Account(account)]));
        };
        let Some(own) = step.tx.contact(&self.me.account)? else {
            return Err(CoreError::Bug("the profile does not hold its own device list".to_owned()));
        };
        if self.doubted.contains(&account) {
            return Ok(self.look_up(step, vec![Sought::Name(contact.username)]));
        }
        if !Self::may_send(&contact) {
            let sought = Sought::Name(contact.username.clone());
            let asked = self.was_answered(&sought);
            let wake_ms = self.look_up(step, vec![sought]);
            if user && (contact.changed.is_some() || asked) {
                self.hold_lane(step, &contact)?;
            }
            return Ok(wake_ms);
        }
        if let Some(submission) = step.tx.lane_submission(&account, user)? {
            return self.submit_again(step, &contact, &own, user, submission);
        }
        if let Some(submission) = self.retry_refused(step, account, user)? {
            return self.submit_again(step, &contact, &own, user, submission);
        }
        let entries = step.tx.fresh(&account, user, u32::try_from(BATCH).unwrap_or(u32::MAX))?;
        if entries.is_empty() {
            let waiting = step.tx.refusing_devices(&account, user)?;
            let times =
                waiting.iter().filter_map(|(device, _)| self.refusing.get(device)).map(|(again, _)| *again);
            return Ok(times.min());
        }
        match self.ready(step, &contact, &own, &entries)? {
            Ready::Later(wake_ms) => Ok(wake_ms),
            Ready::Yes => {
                let submission = SubmissionId(step.random());
                self.seal_batch(step, &contact, &own, &entries, &submission)?;
                self.submit(step, &contact, &own, user, submission)?;
                Ok(None)
            }
        }
    }

    /// The devices that an entry goes to: the recipient's, and of a message of the user's, one's own others.
    fn targets(&self, contact: &ContactRecord, own: &ContactRecord, entry: &Entry) -> Vec<Target> {
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

    /// Claims what is missing for sessions with the devices that a batch goes to.
    fn ready(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        own: &ContactRecord,
        entries: &[Entry],
    ) -> Result<Ready, CoreError> {
        let mut lacking: BTreeMap<(AccountId, bool, bool), BTreeSet<DeviceId>> = BTreeMap::new();
        let mut waits = false;
        for entry in entries {
            let failed_in = failed_in(step, entry)?;
            let purpose = purpose(entry, &failed_in);
            for target in self.targets(contact, own, entry) {
                if self.unusable.contains(&target.device()) {
                    continue;
                }
                let given_up = self.given_up(step, &target.device());
                let sessions = self.sessions.with(step.tx, target.account, target.device())?;
                if let Some(bundle) = sessions.needs_bundle(purpose, step.now_ms) {
                    let key = (target.account, bundle.one_time, entry.kind == kind::RESEND_REQUEST);
                    lacking.entry(key).or_default().insert(target.device());
                    // One that was given up is asked for all the same, but nothing waits for it.
                    waits |= !given_up;
                }
            }
        }
        let mut wake_ms = None;
        for ((account, one_time, for_requests), devices) in lacking {
            if self.claiming.contains(&account) {
                continue;
            }
            let again_ms =
                devices.iter().filter_map(|device| self.keyless.get(device)).map(|(_, again)| *again).max();
            if let Some(again_ms) = again_ms.filter(|again_ms| *again_ms > step.now_ms) {
                wake_ms = earlier(wake_ms, Some(again_ms));
                continue;
            }
            self.claiming.insert(account);
            let devices: Vec<DeviceId> = devices.into_iter().collect();
            let frame =
                ClientFrame::ClaimBundles(ClaimBundles { account, devices: devices.clone(), one_time });
            self.send(step, Asked::Bundles { account, devices, for_requests }, frame);
        }
        Ok(if waits { Ready::Later(wake_ms) } else { Ready::Yes })
    }

    /// Whether messages go on without a device: it stands in its account's list but has published no keys for a while.
    fn given_up(&self, step: &Step<'_, '_>, device: &DeviceId) -> bool {
        if self.unusable.contains(device) {
            return true;
        }
        self.keyless
            .get(device)
            .is_some_and(|(since_ms, _)| step.now_ms.saturating_sub(*since_ms) > KEYLESS_GIVE_UP_MS)
    }

    /// Bundles that were claimed: a handshake with each.
    pub(super) fn bundles(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        asked: &[DeviceId],
        for_requests: bool,
        bundles: Bundles,
    ) -> Result<(), CoreError> {
        self.claiming.remove(&account);
        let Some(contact) = step.tx.contact(&account)? else { return Ok(()) };
        let mut bad = BTreeSet::new();
        for bundle in bundles.bundles {
            let device = bundle.device;
            let Some(certificate) = contact.list.list().device(&device).filter(|_| asked.contains(&device))
            else {
                continue;
            };
            let Ok(pair) = self.sessions.pair(&self.me.secret, &self.me.certificate, certificate) else {
                bad.insert(device);
                continue;
            };
            // A request's handshake may serve no message's session and the other way round; the purpose decides.
            let purpose =
                if for_requests { Purpose::ResendRequest { failed_in: &[] } } else { Purpose::Message };
            let sessions = self.sessions.with(step.tx, account, device)?;
            match sessions.start(&mut step.rng, &pair, &bundle, purpose, step.now_ms) {
                Ok(next) => {
                    self.keyless.remove(&device);
                    self.sessions.replace(account, device, next);
                }
                Err(error) => {
                    step.warn(format!("the server handed out bad keys for {}: {error}", contact.username));
                    bad.insert(device);
                }
            }
        }
        for device in bundles.missing.into_iter().chain(bad).filter(|device| asked.contains(device)) {
            let after_ms = if self.given_up(step, &device) { KEYLESS_GIVE_UP_MS } else { KEYLESS_AGAIN_MS };
            let again_ms = step.now_ms.saturating_add(after_ms);
            let since_ms = self.keyless.get(&device).map_or(step.now_ms, |(since_ms, _)| *since_ms);
            self.keyless.insert(device, (since_ms, again_ms));
        }
        Ok(())
    }

    /// Keeps the lanes to an account waiting for a while.
    pub(super) fn delay_lanes(&mut self, step: &Step<'_, '_>, account: AccountId, after_ms: u64) {
        for user in [true, false] {
            let lane = self.lanes.entry((account, user)).or_default();
            lane.not_before_ms = step.now_ms.saturating_add(after_ms);
        }
    }

    /// Seals entries until a Submit is full, and puts them into it.
    fn seal_batch(
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
                }
                continue;
            }
            if count > 0 && (count + targets.len() > MAX_ENVELOPES_PER_SUBMIT || bytes > BATCH_BYTES) {
                break;
            }
            let usable: Vec<&Target> =
                targets.iter().filter(|target| !self.given_up(step, &target.device())).collect();
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
    fn seal_copy(
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
        if is_message(entry.kind) || matches!(entry.kind, kind::RESENT | kind::SYNC_SENT) {
            let sent = SentBody {
                account: target.account,
                device,
                session: sealed.session,
                conversation: contact.account,
                message: entry.message,
            };
            step.tx.add_sent_body(&named, &sent, step.now_ms)?;
        }
        Ok(length)
    }

    /// Sends a Submit that was sealed before: after a reconnect, on a stale list, or because a mailbox was full. The
    /// devices may have changed in between.
    fn submit_again(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        own: &ContactRecord,
        user: bool,
        submission: SubmissionId,
    ) -> Result<Option<u64>, CoreError> {
        let entries = step.tx.submission_entries(&submission)?;
        let mut missing = Vec::new();
        for entry in &entries {
            let targets = self.targets(contact, own, entry);
            let copies = step.tx.copies(entry.entry)?;
            let settled = step.tx.fates_of(&entry.message)?;
            for copy in &copies {
                if !targets.iter().any(|target| target.device() == copy.device) {
                    step.tx.remove_copy(entry.entry, &copy.device)?;
                }
            }
            for target in targets {
                let device = target.device();
                let sealed = copies.iter().any(|copy| copy.device == device);
                let stored = entry.user && settled.iter().any(|fate| fate.device == device);
                if !sealed && !stored && !self.given_up(step, &device) {
                    missing.push((entry, target));
                }
            }
        }
        let mut submission = submission;
        if !missing.is_empty() {
            if let Ready::Later(wake_ms) = self.ready(step, contact, own, &entries)? {
                return Ok(wake_ms);
            }
            for (entry, target) in &missing {
                if self.seal_copy(step, contact, own, entry, target)?.is_none() {
                    return Ok(Some(self.delay(step, (contact.account, user))));
                }
            }
            // Another Submit than before, so another id: under the old one the server may have an answer that does not
            // cover the new devices. What it has stored already is dropped by its recipients as a duplicate.
            let renamed = SubmissionId(step.random());
            step.tx.rename_submission(&submission, &renamed)?;
            submission = renamed;
        }
        self.submit(step, contact, own, user, submission)?;
        Ok(None)
    }

    /// Sends a Submit with everything sealed for it.
    fn submit(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        own: &ContactRecord,
        user: bool,
        submission: SubmissionId,
    ) -> Result<(), CoreError> {
        let mut submission = submission;
        let mut envelopes: Vec<OutgoingEnvelope> = Vec::new();
        let (mut bytes, mut rest) = (0, None);
        for entry in step.tx.submission_entries(&submission)? {
            let copies = step.tx.copies(entry.entry)?;
            if copies.is_empty() {
                // No device could be sealed to yet: fresh again.
                step.tx.set_submission(entry.entry, None)?;
            }
            let copies: Vec<Copy> = copies.into_iter().filter(|copy| copy.refused.is_none()).collect();
            let length: usize = copies.iter().map(|copy| copy.envelope.len() + ENVELOPE_OVERHEAD).sum();
            let full =
                envelopes.len() + copies.len() > MAX_ENVELOPES_PER_SUBMIT || bytes + length > SUBMIT_BYTES;
            if rest.is_none() && full && !envelopes.is_empty() {
                rest = Some(SubmissionId(step.random()));
            }
            if let Some(rest) = &rest {
                step.tx.set_submission(entry.entry, Some(rest))?;
                continue;
            }
            bytes += length;
            for copy in copies {
                envelopes.push(OutgoingEnvelope {
                    account: copy.account,
                    device: copy.device,
                    fate_tag: copy.tag,
                    transient: false,
                    envelope: ByteBuf::from(copy.envelope),
                });
            }
        }
        let lane = (contact.account, user);
        if envelopes.is_empty() {
            for entry in step.tx.submission_entries(&submission)? {
                step.tx.set_submission(entry.entry, None)?;
                self.refresh_fate(step, &entry.message, false)?;
            }
            self.delay(step, lane);
            return Ok(());
        }
        if rest.is_some() {
            // It may have been sent before with what follows now: a Submit that holds less has another id.
            let renamed = SubmissionId(step.random());
            step.tx.rename_submission(&submission, &renamed)?;
            submission = renamed;
        }
        let mut lists = vec![self.used_list(own)];
        if contact.account != own.account {
            lists.push(self.used_list(contact));
        }
        self.lanes.entry(lane).or_default().in_flight = true;
        let frame = ClientFrame::Submit(Submit { submission, lists, envelopes });
        self.send(step, Asked::Submit { lane, submission }, frame);
        Ok(())
    }

    /// Lets a lane wait for a moment; answers until when.
    fn delay(&mut self, step: &Step<'_, '_>, lane: (AccountId, bool)) -> u64 {
        let until_ms = step.now_ms.saturating_add(KEYLESS_AGAIN_MS);
        self.lanes.entry(lane).or_default().not_before_ms = until_ms;
        until_ms
    }

    fn used_list(&self, contact: &ContactRecord) -> UsedList {
        let list = list_ref(&contact.list);
        UsedList {
            account: contact.account,
            number: list.number,
            hash: list.hash,
            list: self
                .hand_over
                .contains(&contact.account)
                .then(|| ByteBuf::from(contact.list.as_bytes().to_vec())),
        }
    }

    /// Puts what a device's mailbox had no room for into a Submit again, when its time has come.
    fn retry_refused(
        &mut self,
        step: &mut Step<'_, '_>,
        account: AccountId,
        user: bool,
    ) -> Result<Option<SubmissionId>, CoreError> {
        for (device, _) in step.tx.refusing_devices(&account, user)? {
            // Not known on this connection: a reconnect is a good time to try.
            let (again_ms, wait_ms) =
                self.refusing.get(&device).copied().unwrap_or((0, REFUSED_AGAIN_MS / 2));
            if again_ms > step.now_ms {
                continue;
            }
            let next_ms = wait_ms.saturating_mul(2).min(REFUSED_AGAIN_MAX_MS);
            self.refusing.insert(device, (step.now_ms.saturating_add(next_ms), next_ms));
            let submission = SubmissionId(step.random());
            let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
            if step.tx.retry_refused(&account, user, &device, &submission, limit)? > 0 {
                return Ok(Some(submission));
            }
        }
        Ok(None)
    }

    /// A device's mailbox did not take an envelope: when to try again.
    pub(super) fn note_refusing(&mut self, step: &Step<'_, '_>, device: DeviceId) {
        let first = (step.now_ms.saturating_add(REFUSED_AGAIN_MS), REFUSED_AGAIN_MS);
        self.refusing.entry(device).or_insert(first);
    }

    /// Whether something is on its way that could leave, or be settled, within moments: who closes a client waits for it.
    pub fn is_busy(&self) -> bool {
        self.up()
            && (self.lanes.values().any(|lane| lane.in_flight)
                || !self.claiming.is_empty()
                || self.looking_up())
    }

    /// How sure it is that a recipient is who they were; what a face needs to say why something waits.
    pub(super) fn held_trust(contact: &ContactRecord) -> Option<Trust> {
        (!Self::may_send(contact)).then_some(Trust::Changed)
    }
}

fn purpose<'a>(entry: &Entry, failed_in: &'a [SessionId]) -> Purpose<'a> {
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

fn failed_in(step: &Step<'_, '_>, entry: &Entry) -> Result<Vec<SessionId>, CoreError> {
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

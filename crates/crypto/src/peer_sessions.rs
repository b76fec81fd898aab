//! All sessions of this device with one remote device.

use std::{fmt, sync::Arc};

use rand_core::CryptoRng;
use sotto_proto::{
    Envelope, SessionId,
    limits::{MAX_CONTENT, MAX_GENERATION, MAX_SESSIONS_PER_DEVICE, session_kept_ms},
    prekey::PrekeyBundle,
    wire::{Reader, WireError},
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    curve::LowOrder,
    handshake::{HandshakeHeader, header_hash, session_id},
    pair::Pair,
    pqxdh::{self, HandshakeError, NamedSecrets},
    prekeys::{ConsumedPrekey, KemUse, PrekeySource, SourceFailed},
    ratchet::{Ratchet, RatchetError},
    seal::{self, BodyKind, SealedBody},
    secret_writer::SecretWriter,
    session::{MAX_HANDSHAKE, Session},
};

const VERSION: u8 = 1;
/// Sessions that are remembered after they are gone, so that their header is not taken for a new one: ten times as
/// many as are kept.
const MAX_GONE: usize = 10 * MAX_SESSIONS_PER_DEVICE;

/// What is to be sent; it decides which session may carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Anything but a re-send request: the session of the highest generation that is neither condemned nor unanswered
    /// for seven days, however often it was answered before.
    Message,
    /// A re-send request: a handshake of this device that is younger than a day, or answered within a day. Never a
    /// session in which one of the named bodies was sealed, for a request that comes in another session is what
    /// condemns it.
    ResendRequest {
        /// The sessions of the failed bodies ([`SealedBody::session`]).
        failed_in: &'a [SessionId],
    },
}

/// Which prekeys to claim from the server for a new handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleRequest {
    /// Whether one-time keys are to be claimed. False for a second handshake in a row that only carries re-send
    /// requests, so that damaged messages cannot drain the peer's one-time keys.
    pub one_time: bool,
}

/// Why no handshake was started. The sessions have not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the handshake: {0}")]
pub struct StartError(#[from] pub HandshakeError);

/// Why nothing was sealed. The sessions have not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// No session may carry this: claim a bundle and call [`PeerSessions::start`] first.
    #[error("a new handshake is needed")]
    NeedsBundle(BundleRequest),
    /// The content is larger than [`MAX_CONTENT`].
    #[error("the content is larger than {MAX_CONTENT} bytes")]
    TooLarge,
    /// The session was made between other certificates than the pair's: a mistake of the caller.
    #[error("the session belongs to another certificate")]
    WrongPair,
    /// The session has used up its numbers: condemn it and start another.
    #[error("the session can send no more")]
    Exhausted(SessionId),
}

/// What sealing gives. Commit `next` and the envelope's bytes together before any byte leaves; a retry sends the same
/// bytes.
#[must_use]
pub struct Sealed {
    /// The sessions afterwards.
    pub next: PeerSessions,
    /// To be submitted.
    pub envelope: Envelope,
    /// In which session it was sealed: keep it with the body hash, for [`PeerSessions::condemn`].
    pub session: SessionId,
}

/// What opening gives. Commit `next`, the content's effect, the deletion of the consumed prekeys and the cursor
/// together.
#[must_use]
pub struct Opened {
    /// The sessions afterwards.
    pub next: PeerSessions,
    /// What the peer sealed.
    pub content: Zeroizing<Vec<u8>>,
    /// In which session it came.
    pub session: SessionId,
    /// One-time prekeys whose private halves are to be deleted.
    pub consumed: Vec<ConsumedPrekey>,
}

/// Why a body did not open. All but [`OpenError::Source`] and [`OpenError::WrongPair`] make a row with the reason and
/// a re-send request (with the body's session in [`Purpose::ResendRequest`]); the sessions have not changed, except
/// that [`OpenError::MissingPrekey`] carries a next state.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Not a body of this version, or a handshake with a generation above the limit.
    #[error("malformed: {0}")]
    Malformed(WireError),
    /// A ratchet message of a session that this device never had.
    #[error("the session is not known here")]
    UnknownSession,
    /// A message of a session that this device once had and has dropped.
    #[error("the session is no longer kept here")]
    GoneSession,
    /// The handshake names a prekey that this device does not have (used up, wiped, or never made).
    #[error("the handshake names a key that is not here")]
    MissingPrekey {
        /// Commit it: it remembers the handshake's generation, so that this device's next handshake is above it.
        next: Box<PeerSessions>,
    },
    /// The handshake holds a key of small order.
    #[error("the handshake's keys are not usable")]
    Handshake,
    /// The ratchet refused the message: see [`RatchetError`] (forged, too many skipped, already used, …).
    #[error(transparent)]
    Ratchet(RatchetError),
    /// The session was made between other certificates than the pair's: the peer's device has another certificate
    /// now, or the caller mixed two peers up.
    #[error("the session belongs to another certificate")]
    WrongPair,
    /// The prekeys could not be read: nothing is known about the message; try again.
    #[error(transparent)]
    Source(#[from] SourceFailed),
}

struct Gone {
    session: SessionId,
    since_ms: u64,
}

/// All sessions of this device with one remote device, as an immutable value: every operation takes `&self` and
/// returns the next state, which the caller stores (one record per remote device) in the transaction that also stores
/// what the operation was for. Two operations on one state fork it: always go on from the last `next`.
///
/// The record holds live ratchet state: it is never put into a backup.
#[derive(Default)]
pub struct PeerSessions {
    /// The highest generation of own headers, accepted headers, and headers that named a missing key.
    highest: u64,
    /// Handshakes in a row that were made for re-send requests, with nothing opened since.
    request_starts: u32,
    sessions: Vec<Arc<Session>>,
    gone: Vec<Gone>,
}

impl fmt::Debug for PeerSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerSessions({} sessions, generation {})", self.sessions.len(), self.highest)
    }
}

impl PeerSessions {
    /// No session yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn duplicate(&self) -> Self {
        Self {
            highest: self.highest,
            request_starts: self.request_starts,
            sessions: self.sessions.clone(),
            gone: self
                .gone
                .iter()
                .map(|gone| Gone { session: gone.session, since_ms: gone.since_ms })
                .collect(),
        }
    }

    fn sender(&self, purpose: Purpose<'_>, now_ms: u64) -> Option<&Arc<Session>> {
        self.sessions
            .iter()
            .filter(|session| match purpose {
                Purpose::Message => session.carries_messages(now_ms),
                Purpose::ResendRequest { failed_in } => {
                    session.carries_requests(now_ms) && !failed_in.contains(&session.id())
                }
            })
            .max_by_key(|session| session.rank())
    }

    /// What to claim before something can be sealed for this purpose; `None` if a session can carry it.
    pub fn needs_bundle(&self, purpose: Purpose<'_>, now_ms: u64) -> Option<BundleRequest> {
        if self.sender(purpose, now_ms).is_some() {
            return None;
        }
        let one_time = match purpose {
            Purpose::Message => true,
            Purpose::ResendRequest { .. } => self.request_starts == 0,
        };
        Some(BundleRequest { one_time })
    }

    /// Makes a handshake with a claimed bundle, which is verified against the remote certificate. Nothing is sent by
    /// it: the next [`Self::seal`] carries the header, and so does every message until the peer answers. The new
    /// session's generation is above every other known one, so it becomes the one that sends.
    pub fn start(
        &self,
        rng: &mut impl CryptoRng,
        pair: &Pair,
        bundle: &PrekeyBundle,
        purpose: Purpose<'_>,
        now_ms: u64,
    ) -> Result<Self, StartError> {
        // At the limit the generation stays where it is: the tie is broken by hash, and a session that one side cannot
        // read is condemned. Otherwise one header with the highest generation would forbid every later handshake.
        let generation = self.highest.saturating_add(1).min(MAX_GENERATION);
        let initiated = pqxdh::initiate(rng, pair, bundle, generation, now_ms)?;
        let secret = initiated.agreement.session_secret(&initiated.transcript);
        let ratchet =
            Ratchet::initiator(rng, secret, &bundle.signed.key.0, now_ms).map_err(HandshakeError::from)?;
        let header = initiated.header.encode();
        let session = Session::initiated(pair, &header, generation, ratchet, now_ms);
        let mut next = self.duplicate();
        if matches!(purpose, Purpose::ResendRequest { .. }) {
            next.request_starts = next.request_starts.saturating_add(1);
        }
        next.add(session, now_ms);
        Ok(next)
    }

    /// Seals content (at most [`MAX_CONTENT`] bytes) for the remote device.
    pub fn seal(
        &self,
        rng: &mut impl CryptoRng,
        pair: &Pair,
        content: &[u8],
        purpose: Purpose<'_>,
        now_ms: u64,
    ) -> Result<Sealed, SealError> {
        if content.len() > MAX_CONTENT {
            return Err(SealError::TooLarge);
        }
        let Some(session) = self.sender(purpose, now_ms) else {
            let one_time = self.needs_bundle(purpose, now_ms).is_none_or(|request| request.one_time);
            return Err(SealError::NeedsBundle(BundleRequest { one_time }));
        };
        if !session.belongs_to(pair) {
            return Err(SealError::WrongPair);
        }
        let id = session.id();
        let (moved, body) = session.seal(rng, content, now_ms).map_err(|_| SealError::Exhausted(id))?;
        let envelope = seal::seal(rng, pair, &body).ok_or(SealError::Exhausted(id))?;
        Ok(Sealed { next: self.with(moved), envelope, session: id })
    }

    /// Opens a body from the remote device.
    pub fn open(
        &self,
        pair: &Pair,
        body: &SealedBody,
        prekeys: &dyn PrekeySource,
        now_ms: u64,
    ) -> Result<Opened, OpenError> {
        let (header, message) = match body.kind() {
            BodyKind::Ratchet => (None, body.message()),
            BodyKind::Initial => {
                let mut reader = Reader::new(body.message());
                let header = reader.bytes(MAX_HANDSHAKE).map_err(OpenError::Malformed)?;
                if session_id(&header_hash(header)) != body.session() {
                    return Err(OpenError::Malformed(WireError::Invalid("session id")));
                }
                (Some(header), reader.rest())
            }
        };
        if let Some(session) = self.sessions.iter().find(|session| session.id() == body.session()) {
            if !session.belongs_to(pair) {
                return Err(OpenError::WrongPair);
            }
            let (moved, content) = session.open(message, now_ms).map_err(OpenError::Ratchet)?;
            let mut next = self.with(moved);
            next.request_starts = 0;
            return Ok(Opened { next, content, session: body.session(), consumed: Vec::new() });
        }
        if self.gone.iter().any(|gone| gone.session == body.session()) {
            return Err(OpenError::GoneSession);
        }
        match header {
            None => Err(OpenError::UnknownSession),
            Some(header) => self.accept(pair, header, message, prekeys, now_ms),
        }
    }

    fn accept(
        &self,
        pair: &Pair,
        header_bytes: &[u8],
        message: &[u8],
        prekeys: &dyn PrekeySource,
        now_ms: u64,
    ) -> Result<Opened, OpenError> {
        let header = HandshakeHeader::parse(header_bytes).map_err(OpenError::Malformed)?;
        let Some(secrets) = named_secrets(&header, prekeys)? else {
            let mut next = self.duplicate();
            next.highest = next.highest.max(header.generation);
            return Err(OpenError::MissingPrekey { next: Box::new(next) });
        };
        let secret = pqxdh::respond(pair, &header, &secrets).map_err(|LowOrder| OpenError::Handshake)?;
        let ratchet = Ratchet::responder(secret, &secrets.signed.secret, now_ms);
        let (session, content) = Session::accepted(pair, header_bytes, header.generation, ratchet, now_ms)
            .open(message, now_ms)
            .map_err(OpenError::Ratchet)?;
        let id = session.id();
        let mut next = self.duplicate();
        next.request_starts = 0;
        next.add(session, now_ms);
        let curve = header.one_time.map(ConsumedPrekey::Curve);
        let kem = (header.kem_use == KemUse::OneTime).then_some(ConsumedPrekey::Kem(header.kem));
        Ok(Opened { next, content, session: id, consumed: curve.into_iter().chain(kem).collect() })
    }

    /// Never again uses a session for sending, because a re-send request that came in `request_in` names a body that
    /// was sealed in `named`. A request that came in the same session proves that the peer has it, and condemns
    /// nothing. The session stays readable.
    pub fn condemn(&self, named: SessionId, request_in: SessionId) -> Self {
        match self.sessions.iter().find(|session| session.id() == named) {
            Some(session) if named != request_in => self.with(session.condemned()),
            _ => self.duplicate(),
        }
    }

    /// Drops sessions, skipped keys and marks of dropped sessions that have not been used for as long as something can still
    /// come in them: this device's last message waits in its outbox and at the server, the peer writes in the session until it
    /// has not been answered for seven days, and that message waits as long. The session that sends is kept. Call it at start
    /// and daily.
    pub fn prune(&self, now_ms: u64, retention_ms: u64) -> Self {
        let oldest_ms = now_ms.saturating_sub(session_kept_ms(retention_ms));
        let sender = self.sender(Purpose::Message, now_ms).map(|session| session.id());
        let mut next = self.duplicate();
        next.gone.retain(|gone| gone.since_ms >= oldest_ms);
        let old: Vec<SessionId> = next
            .sessions
            .iter()
            .filter(|session| session.last_used_ms() < oldest_ms && Some(session.id()) != sender)
            .map(|session| session.id())
            .collect();
        for session in old {
            next.drop_session(session, now_ms);
        }
        for session in &mut next.sessions {
            *session = Arc::new(session.pruned(oldest_ms));
        }
        next
    }

    /// The sessions, newest use first: for diagnosis.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        let mut sessions: Vec<_> = self.sessions.iter().collect();
        sessions.sort_by_key(|session| std::cmp::Reverse(session.last_used_ms()));
        sessions.into_iter().map(|session| session.id())
    }

    /// The session that would carry a message now.
    pub fn sending_session(&self, now_ms: u64) -> Option<SessionId> {
        self.sender(Purpose::Message, now_ms).map(|session| session.id())
    }

    fn with(&self, moved: Session) -> Self {
        let mut next = self.duplicate();
        let moved = Arc::new(moved);
        if let Some(slot) = next.sessions.iter_mut().find(|session| session.id() == moved.id()) {
            *slot = moved;
        }
        next
    }

    fn add(&mut self, session: Session, now_ms: u64) {
        self.highest = self.highest.max(session.generation());
        let added = session.id();
        self.sessions.push(Arc::new(session));
        while self.sessions.len() > MAX_SESSIONS_PER_DEVICE {
            let sender = self.sender(Purpose::Message, now_ms).map(|session| session.id());
            let oldest = self
                .sessions
                .iter()
                .filter(|session| session.id() != added && Some(session.id()) != sender)
                .min_by_key(|session| session.last_used_ms())
                .map(|session| session.id());
            let Some(oldest) = oldest else { return };
            self.drop_session(oldest, now_ms);
        }
    }

    fn drop_session(&mut self, session: SessionId, now_ms: u64) {
        self.sessions.retain(|kept| kept.id() != session);
        self.gone.push(Gone { session, since_ms: now_ms });
        let excess = self.gone.len().saturating_sub(MAX_GONE);
        self.gone.drain(..excess);
    }

    /// The record for the encrypted local store.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = SecretWriter::new();
        out.u8(VERSION).u64(self.highest).u32(self.request_starts).count(self.gone.len());
        for gone in &self.gone {
            out.raw(&gone.session.0).u64(gone.since_ms);
        }
        out.count(self.sessions.len());
        for session in &self.sessions {
            session.write(&mut out);
        }
        out.finish()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let highest = reader.u64()?;
        let request_starts = reader.u32()?;
        let count = reader.count(MAX_GONE)?;
        let mut gone = Vec::with_capacity(count);
        for _ in 0..count {
            gone.push(Gone { session: SessionId(reader.array()?), since_ms: reader.u64()? });
        }
        let count = reader.count(MAX_SESSIONS_PER_DEVICE)?;
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            sessions.push(Arc::new(Session::read(&mut reader)?));
        }
        reader.finish()?;
        Ok(Self { highest, request_starts, sessions, gone })
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn skipped_len(&self) -> usize {
        self.sessions.iter().map(|session| session.skipped_len()).sum()
    }

    #[cfg(test)]
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }
}

/// The private halves that a header names; `None` if one of them is missing.
fn named_secrets(
    header: &HandshakeHeader,
    prekeys: &dyn PrekeySource,
) -> Result<Option<NamedSecrets>, SourceFailed> {
    let signed = prekeys.signed(header.signed)?.filter(|found| found.id() == header.signed);
    let kem = prekeys
        .kem(header.kem_use, header.kem)?
        .filter(|found| found.id() == header.kem && found.kem_use() == header.kem_use);
    let one_time = match header.one_time {
        None => None,
        Some(id) => match prekeys.one_time(id)?.filter(|found| found.id() == id) {
            None => return Ok(None),
            found => found,
        },
    };
    Ok(signed.zip(kem).map(|(signed, kem)| NamedSecrets { signed, kem, one_time }))
}

//! One session with a remote device: a handshake and the ratchet that came of it.

use std::sync::Arc;

use rand_core::CryptoRng;
use sotto_proto::{
    SessionId,
    limits::{DAY_MS, UNANSWERED_SESSION_MS},
    wire::{Reader, WireError, Writer},
};
use zeroize::Zeroizing;

use crate::{
    handshake::{header_hash, session_id},
    pair::Pair,
    ratchet::{EncryptError, Ratchet, RatchetError, flag},
    seal::{BodyKind, SealedBody},
    secret_writer::SecretWriter,
};

const VERSION: u8 = 1;
/// A handshake header is 1,142 bytes at most.
pub(crate) const MAX_HANDSHAKE: usize = 1_200;

/// Who made the handshake, and how far it has come.
enum Role {
    /// This device, and nothing has come back: every message repeats the header.
    Unanswered { header: Arc<[u8]> },
    /// This device, and the peer has answered in it.
    Initiator,
    /// The peer.
    Responder,
}

impl Role {
    fn duplicate(&self) -> Self {
        match self {
            Self::Unanswered { header } => Self::Unanswered { header: Arc::clone(header) },
            Self::Initiator => Self::Initiator,
            Self::Responder => Self::Responder,
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Unanswered { .. } => 0,
            Self::Initiator => 1,
            Self::Responder => 2,
        }
    }

    /// `AD`: SHA-256 of the initiator's certificate, then of the responder's.
    fn associated(&self, pair: &Pair) -> [u8; 64] {
        let (first, second) = match self {
            Self::Unanswered { .. } | Self::Initiator => (&pair.my_hash, &pair.their_hash),
            Self::Responder => (&pair.their_hash, &pair.my_hash),
        };
        let mut associated = [0; 64];
        for (to, from) in associated.iter_mut().zip(first.iter().chain(second)) {
            *to = *from;
        }
        associated
    }
}

pub(crate) struct Session {
    header_hash: [u8; 32],
    generation: u64,
    role: Role,
    /// Fixed when the session was made.
    associated: [u8; 64],
    created_ms: u64,
    last_used_ms: u64,
    /// When a message last opened in it, 0 for never.
    last_received_ms: u64,
    condemned: bool,
    ratchet: Ratchet,
}

impl Session {
    pub(crate) fn initiated(
        pair: &Pair,
        header: &[u8],
        generation: u64,
        ratchet: Ratchet,
        now_ms: u64,
    ) -> Self {
        let role = Role::Unanswered { header: header.into() };
        Self::new(pair, role, header_hash(header), generation, ratchet, now_ms)
    }

    pub(crate) fn accepted(
        pair: &Pair,
        header: &[u8],
        generation: u64,
        ratchet: Ratchet,
        now_ms: u64,
    ) -> Self {
        Self::new(pair, Role::Responder, header_hash(header), generation, ratchet, now_ms)
    }

    fn new(
        pair: &Pair,
        role: Role,
        header_hash: [u8; 32],
        generation: u64,
        ratchet: Ratchet,
        now_ms: u64,
    ) -> Self {
        Self {
            header_hash,
            generation,
            associated: role.associated(pair),
            role,
            created_ms: now_ms,
            last_used_ms: now_ms,
            last_received_ms: 0,
            condemned: false,
            ratchet,
        }
    }

    fn with_ratchet(&self, ratchet: Ratchet, now_ms: u64) -> Self {
        Self {
            header_hash: self.header_hash,
            generation: self.generation,
            role: self.role.duplicate(),
            associated: self.associated,
            created_ms: self.created_ms,
            last_used_ms: self.last_used_ms.max(now_ms),
            last_received_ms: self.last_received_ms,
            condemned: self.condemned,
            ratchet,
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        session_id(&self.header_hash)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn associated(&self) -> &[u8; 64] {
        &self.associated
    }

    pub(crate) fn ratchet(&self) -> &Ratchet {
        &self.ratchet
    }

    pub(crate) fn last_used_ms(&self) -> u64 {
        self.last_used_ms
    }

    /// Higher means preferred for sending: the generation, then the smaller hash.
    pub(crate) fn rank(&self) -> (u64, std::cmp::Reverse<[u8; 32]>) {
        (self.generation, std::cmp::Reverse(self.header_hash))
    }

    /// Whether a session belongs to this pair of certificates.
    pub(crate) fn belongs_to(&self, pair: &Pair) -> bool {
        self.associated == self.role.associated(pair)
    }

    /// Whether new messages may be sealed in it. What the peer has not answered in for long it may have forgotten by the time
    /// that they arrive.
    pub(crate) fn carries_messages(&self, now_ms: u64) -> bool {
        let answered_ms = self.created_ms.max(self.last_received_ms);
        !self.condemned && now_ms.saturating_sub(answered_ms) < UNANSWERED_SESSION_MS
    }

    /// Whether a re-send request may be sealed in it: only in a handshake of this device, which nobody else can have
    /// planted, made within a day, or answered within a day.
    pub(crate) fn carries_requests(&self, now_ms: u64) -> bool {
        let proven_ms = match self.role {
            Role::Unanswered { .. } => self.created_ms,
            Role::Initiator => self.last_received_ms,
            Role::Responder => return false,
        };
        !self.condemned && now_ms.saturating_sub(proven_ms) < DAY_MS
    }

    pub(crate) fn condemned(&self) -> Self {
        Self { condemned: true, ..self.with_ratchet(self.ratchet.duplicate(), 0) }
    }

    /// The same without keys that were skipped before `oldest_ms`.
    pub(crate) fn pruned(&self, oldest_ms: u64) -> Self {
        self.with_ratchet(self.ratchet.prune(oldest_ms), 0)
    }

    /// Seals content: the next state and the body for the envelope.
    pub(crate) fn seal(
        &self,
        rng: &mut impl CryptoRng,
        content: &[u8],
        now_ms: u64,
    ) -> Result<(Self, SealedBody), EncryptError> {
        let (ratchet, message) = self.ratchet.encrypt(rng, &self.associated, content, now_ms)?;
        let (kind, message) = match &self.role {
            Role::Unanswered { header } => {
                (BodyKind::Initial, Writer::new().bytes(header).raw(&message).finish())
            }
            Role::Initiator | Role::Responder => (BodyKind::Ratchet, message),
        };
        Ok((self.with_ratchet(ratchet, now_ms), SealedBody::new(kind, self.id(), message)))
    }

    /// Opens a ratchet message: the next state and the content.
    pub(crate) fn open(
        &self,
        message: &[u8],
        now_ms: u64,
    ) -> Result<(Self, Zeroizing<Vec<u8>>), RatchetError> {
        let (ratchet, content) = self.ratchet.decrypt(&self.associated, message, now_ms)?;
        let mut next = self.with_ratchet(ratchet, now_ms);
        next.last_received_ms = next.last_received_ms.max(now_ms);
        if matches!(next.role, Role::Unanswered { .. }) {
            next.role = Role::Initiator;
        }
        Ok((next, content))
    }

    pub(crate) fn write(&self, out: &mut SecretWriter) {
        out.u8(VERSION)
            .raw(&self.header_hash)
            .u64(self.generation)
            .raw(&self.associated)
            .u64(self.created_ms)
            .u64(self.last_used_ms)
            .u64(self.last_received_ms)
            .u8(u8::from(self.condemned))
            .u8(self.role.tag());
        if let Role::Unanswered { header } = &self.role {
            out.bytes(header);
        }
        self.ratchet.write(out);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let header_hash = reader.array()?;
        let generation = reader.u64()?;
        let associated = reader.array()?;
        let created_ms = reader.u64()?;
        let last_used_ms = reader.u64()?;
        let last_received_ms = reader.u64()?;
        let condemned = flag(reader)?;
        let role = match reader.u8()? {
            0 => Role::Unanswered { header: reader.bytes(MAX_HANDSHAKE)?.into() },
            1 => Role::Initiator,
            2 => Role::Responder,
            _ => return Err(WireError::Invalid("role")),
        };
        let ratchet = Ratchet::read(reader)?;
        Ok(Self {
            header_hash,
            generation,
            role,
            associated,
            created_ms,
            last_used_ms,
            last_received_ms,
            condemned,
            ratchet,
        })
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn skipped_len(&self) -> usize {
        self.ratchet.skipped_len()
    }
}

//! Signal's Double Ratchet, revision 4, without header encryption, with ML-KEM-768 healing.
//!
//! Every operation takes the state by reference and returns the next one. A new sending chain is made when something
//! is sent, not when the peer's chain arrives: receiving needs no randomness, and the private half of the old chain is
//! gone as soon as the peer has answered it.

use rand_core::CryptoRng;
use sotto_proto::{
    KemKey,
    limits::{KEM_STEP_MESSAGES, KEM_STEP_MS, MAX_ENVELOPE, MAX_SKIPPED_KEYS},
    wire::{Reader, WireError, Writer},
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    curve::{CurveSecret, LowOrder},
    header::{KemAnswer, KemPart, MAX_HEADER, RatchetHeader},
    kdf::sha256,
    kem::{self, KemSecret},
    message_key::MessageKey,
    receiving_chain::ReceivingChain,
    root_key::RootKey,
    secret::Secret,
    secret_writer::SecretWriter,
    sending_chain::{Offer, SendingChain},
    skipped::{SkippedKeys, SkippedRun},
};

const VERSION: u8 = 1;

/// Why a ratchet message was refused. The state has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RatchetError {
    /// The bytes are not a ratchet message.
    #[error("malformed: {0}")]
    Malformed(#[from] WireError),
    /// The message is further ahead than a mailbox is long, so it is not worth the work.
    #[error("more than {MAX_SKIPPED_KEYS} messages are missing before it")]
    TooManySkipped,
    /// The number was opened before, or its key has been dropped.
    #[error("its key was used before or has been dropped")]
    AlreadyUsed,
    /// A new chain without the answer that it owes, with one that nobody asked for, or with one for another offer.
    #[error("the answer to the post-quantum offer is missing or wrong")]
    KemAnswer,
    /// The offer is no valid encapsulation key (FIPS 203, section 7.2).
    #[error("the post-quantum offer is not a valid key")]
    KemOffer,
    /// The KEM part differs from that of the chain's other messages.
    #[error("the post-quantum part changed within a chain")]
    KemChanged,
    /// A new chain although the last one has not been answered, or one that is shorter than what was received of it.
    #[error("the chain is out of turn")]
    OutOfTurn,
    /// The ratchet key has small order.
    #[error("a Diffie-Hellman result is all zeros")]
    LowOrder,
    /// The tag does not hold: forged, damaged, or sealed under other keys.
    #[error("the message does not authenticate")]
    Forged,
}

impl From<LowOrder> for RatchetError {
    fn from(_: LowOrder) -> Self {
        Self::LowOrder
    }
}

/// Why nothing could be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum EncryptError {
    /// The chain's numbers are used up, or the peer's keys do not work.
    #[error("the session can send no more")]
    Exhausted,
}

pub(crate) enum Turn {
    /// The responder before the first message: its signed prekey stands as its ratchet key.
    Waiting(CurveSecret),
    /// A sending chain exists.
    Sending(SendingChain),
    /// The peer's chain is the newest; the next message makes a sending chain.
    Received,
}

/// The state of one session.
pub(crate) struct Ratchet {
    pub(crate) root: RootKey,
    pub(crate) turn: Turn,
    pub(crate) receiving: Option<ReceivingChain>,
    /// Messages in the previous sending chain.
    previous_length: u32,
    /// Whether the next sending chain offers a KEM key whatever the counters say: the responder's first one does.
    offer_due: bool,
    /// When a KEM secret was last mixed in, Unix milliseconds.
    kem_step_ms: u64,
    /// Messages sent and received since then.
    kem_step_messages: u32,
    skipped: SkippedKeys,
}

impl Ratchet {
    /// The initiator's state after the handshake.
    pub(crate) fn initiator(
        rng: &mut impl CryptoRng,
        secret: Secret<32>,
        signed_prekey: &[u8; 32],
        now_ms: u64,
    ) -> Result<Self, LowOrder> {
        let own = CurveSecret::generate(rng);
        let (root, key) = RootKey::new(secret).step(&own.agree(signed_prekey)?, None);
        let kem_part = KemPart::default().encode();
        Ok(Self {
            root,
            turn: Turn::Sending(SendingChain { own, key, next: 0, kem_part, offer: None }),
            receiving: None,
            previous_length: 0,
            offer_due: false,
            kem_step_ms: now_ms,
            kem_step_messages: 0,
            skipped: SkippedKeys::default(),
        })
    }

    /// The responder's state after the handshake.
    pub(crate) fn responder(secret: Secret<32>, signed_prekey: &CurveSecret, now_ms: u64) -> Self {
        Self {
            root: RootKey::new(secret),
            turn: Turn::Waiting(signed_prekey.duplicate()),
            receiving: None,
            previous_length: 0,
            offer_due: true,
            kem_step_ms: now_ms,
            kem_step_messages: 0,
            skipped: SkippedKeys::default(),
        }
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self {
            root: self.root.duplicate(),
            turn: match &self.turn {
                Turn::Waiting(own) => Turn::Waiting(own.duplicate()),
                Turn::Sending(chain) => Turn::Sending(chain.duplicate()),
                Turn::Received => Turn::Received,
            },
            receiving: self.receiving.as_ref().map(ReceivingChain::duplicate),
            previous_length: self.previous_length,
            offer_due: self.offer_due,
            kem_step_ms: self.kem_step_ms,
            kem_step_messages: self.kem_step_messages,
            skipped: self.skipped.duplicate(),
        }
    }

    /// Seals `plaintext`: the next state, and `header (length u32, bytes), ciphertext`.
    pub(crate) fn encrypt(
        &self,
        rng: &mut impl CryptoRng,
        associated: &[u8; 64],
        plaintext: &[u8],
        now_ms: u64,
    ) -> Result<(Self, Vec<u8>), EncryptError> {
        let mut next = self.duplicate();
        if !matches!(next.turn, Turn::Sending(_)) {
            next.new_sending_chain(rng, now_ms)?;
        }
        let Turn::Sending(chain) = &mut next.turn else { return Err(EncryptError::Exhausted) };
        let (key, header) = chain.advance(next.previous_length).ok_or(EncryptError::Exhausted)?;
        let ciphertext = key
            .seal(&[associated.as_slice(), &header].concat(), plaintext)
            .map_err(|_| EncryptError::Exhausted)?;
        next.kem_step_messages = next.kem_step_messages.saturating_add(1);
        Ok((next, Writer::new().bytes(&header).raw(&ciphertext).finish()))
    }

    fn new_sending_chain(&mut self, rng: &mut impl CryptoRng, now_ms: u64) -> Result<(), EncryptError> {
        let receiving = self.receiving.as_mut().ok_or(EncryptError::Exhausted)?;
        let own = CurveSecret::generate(rng);
        let dh = own.agree(&receiving.remote.0).map_err(|_| EncryptError::Exhausted)?;
        let mut kem_part = KemPart::default();
        let mut shared = None;
        if let Some(offer) = receiving.offer.take() {
            let (ciphertext, secret) = kem::encapsulate(&offer, rng).map_err(|_| EncryptError::Exhausted)?;
            kem_part.answer = Some(KemAnswer { offer_hash: sha256(offer.as_bytes()), ciphertext });
            shared = Some(secret);
        }
        let (root, key) = self.root.step(&dh, shared.as_ref());
        self.root = root;
        if shared.is_some() {
            self.kem_step(now_ms);
        }
        let offer = self.kem_due(now_ms).then(|| KemSecret::generate(rng));
        let offer = match offer {
            None => None,
            Some(secret) => {
                let public = secret.public();
                kem_part.offer = Some(KemKey::from_slice(&public).map_err(|_| EncryptError::Exhausted)?);
                self.offer_due = false;
                Some(Offer { secret, hash: sha256(&public) })
            }
        };
        self.turn = Turn::Sending(SendingChain { own, key, next: 0, kem_part: kem_part.encode(), offer });
        Ok(())
    }

    fn kem_due(&self, now_ms: u64) -> bool {
        self.offer_due
            || self.kem_step_messages >= KEM_STEP_MESSAGES
            || now_ms.saturating_sub(self.kem_step_ms) >= KEM_STEP_MS
    }

    fn kem_step(&mut self, now_ms: u64) {
        self.kem_step_ms = now_ms;
        self.kem_step_messages = 0;
    }

    /// Opens a message: the next state and the plaintext.
    pub(crate) fn decrypt(
        &self,
        associated: &[u8; 64],
        message: &[u8],
        now_ms: u64,
    ) -> Result<(Self, Zeroizing<Vec<u8>>), RatchetError> {
        let mut reader = Reader::new(message);
        let header_bytes = reader.bytes(MAX_HEADER)?;
        let ciphertext = reader.rest();
        if ciphertext.len() > MAX_ENVELOPE {
            return Err(WireError::TooLong.into());
        }
        let header = RatchetHeader::parse(header_bytes)?;
        let mut next = self.duplicate();
        let key = next.key_for(&header, now_ms)?;
        let associated = [associated.as_slice(), header_bytes].concat();
        let plaintext = key.open(&associated, ciphertext).map_err(|_| RatchetError::Forged)?;
        next.kem_step_messages = next.kem_step_messages.saturating_add(1);
        Ok((next, plaintext))
    }

    fn key_for(&mut self, header: &RatchetHeader, now_ms: u64) -> Result<MessageKey, RatchetError> {
        if let Some((key, rest)) = self.skipped.take(&header.ratchet_key, &header.kem_digest, header.number) {
            self.skipped = rest;
            return Ok(key);
        }
        let known = self.receiving.as_ref().is_some_and(|chain| chain.remote == header.ratchet_key);
        if !known {
            self.receiving_step(header, now_ms)?;
        }
        let chain = self.receiving.as_mut().ok_or(RatchetError::OutOfTurn)?;
        if chain.kem_digest != header.kem_digest {
            return Err(RatchetError::KemChanged);
        }
        let distance = header.number.checked_sub(chain.next).ok_or(RatchetError::AlreadyUsed)?;
        bounded(u64::from(distance))?;
        let run = chain.skip_to(header.number, now_ms);
        let key = chain.advance().ok_or(RatchetError::TooManySkipped)?;
        self.keep(run);
        Ok(key)
    }

    fn keep(&mut self, run: Option<SkippedRun>) {
        if let Some(run) = run {
            self.skipped.push(run);
        }
    }

    /// The step to a new chain of the peer. Everything that needs no key is checked before any work is done.
    fn receiving_step(&mut self, header: &RatchetHeader, now_ms: u64) -> Result<(), RatchetError> {
        let left_behind = match &self.receiving {
            None => 0,
            Some(chain) => header.previous_length.checked_sub(chain.next).ok_or(RatchetError::OutOfTurn)?,
        };
        bounded(u64::from(left_behind).saturating_add(u64::from(header.number)))?;
        let (own, offer, length) = match &self.turn {
            Turn::Waiting(own) => (own, None, 0),
            Turn::Sending(chain) => (&chain.own, chain.offer.as_ref(), chain.next),
            Turn::Received => return Err(RatchetError::OutOfTurn),
        };
        let shared = match (offer, &header.kem.answer) {
            (None, None) => None,
            (Some(offer), Some(answer)) if offer.hash == answer.offer_hash => {
                Some(offer.secret.decapsulate(&answer.ciphertext))
            }
            _ => return Err(RatchetError::KemAnswer),
        };
        if let Some(offer) = &header.kem.offer {
            kem::check(offer).map_err(|_| RatchetError::KemOffer)?;
        }
        let (root, key) = self.root.step(&own.agree(&header.ratchet_key.0)?, shared.as_ref());
        self.root = root;
        self.previous_length = length;
        // The own ratchet key and the offer's private half are wiped here.
        self.turn = Turn::Received;
        if shared.is_some() {
            self.kem_step(now_ms);
        }
        let run = self.receiving.as_mut().and_then(|chain| chain.skip_to(header.previous_length, now_ms));
        self.keep(run);
        self.receiving = Some(ReceivingChain {
            remote: header.ratchet_key,
            key,
            next: 0,
            kem_digest: header.kem_digest,
            offer: header.kem.offer.clone(),
        });
        Ok(())
    }

    /// Drops keys that were skipped before `oldest_ms`.
    pub(crate) fn prune(&self, oldest_ms: u64) -> Self {
        let mut next = self.duplicate();
        next.skipped.prune(oldest_ms);
        next
    }

    pub(crate) fn write(&self, out: &mut SecretWriter) {
        out.u8(VERSION)
            .raw(self.root.expose())
            .u32(self.previous_length)
            .u8(u8::from(self.offer_due))
            .u64(self.kem_step_ms)
            .u32(self.kem_step_messages);
        match &self.turn {
            Turn::Waiting(own) => {
                out.u8(0).raw(own.secret().expose());
            }
            Turn::Sending(chain) => chain.write(out.u8(1)),
            Turn::Received => {
                out.u8(2);
            }
        }
        match &self.receiving {
            None => {
                out.u8(0);
            }
            Some(chain) => chain.write(out.u8(1)),
        }
        self.skipped.write(out);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let root = RootKey::from_slice(reader.raw(32)?)?;
        let previous_length = reader.u32()?;
        let offer_due = flag(reader)?;
        let kem_step_ms = reader.u64()?;
        let kem_step_messages = reader.u32()?;
        let turn = match reader.u8()? {
            0 => Turn::Waiting(CurveSecret::from_slice(reader.raw(32)?)?),
            1 => Turn::Sending(SendingChain::read(reader)?),
            2 => Turn::Received,
            _ => return Err(WireError::Invalid("turn")),
        };
        let receiving = if flag(reader)? { Some(ReceivingChain::read(reader)?) } else { None };
        let skipped = SkippedKeys::read(reader)?;
        Ok(Self {
            root,
            turn,
            receiving,
            previous_length,
            offer_due,
            kem_step_ms,
            kem_step_messages,
            skipped,
        })
    }

    /// The number of skipped keys.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn skipped_len(&self) -> usize {
        self.skipped.len()
    }
}

/// A byte that is 0 or 1.
pub(crate) fn flag(reader: &mut Reader<'_>) -> Result<bool, WireError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::Invalid("flag")),
    }
}

fn bounded(skipped: u64) -> Result<(), RatchetError> {
    if usize::try_from(skipped).is_ok_and(|skipped| skipped <= MAX_SKIPPED_KEYS) {
        Ok(())
    } else {
        Err(RatchetError::TooManySkipped)
    }
}

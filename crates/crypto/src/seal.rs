//! The sealed envelope: what the server stores, which tells it nothing but the recipient.

use rand_core::CryptoRng;
use sotto_proto::{
    Envelope, PrekeyPublic, SessionId, SignedCertificate,
    certificate::CertificateError,
    envelope::ENVELOPE_VERSION,
    limits::MAX_ENVELOPE,
    wire::{Reader, WireError, Writer},
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    aead::{self, ZERO_NONCE},
    curve::CurveSecret,
    device::DeviceSecret,
    kdf::hkdf,
    padding::padded_length,
    pair::Pair,
    secret::Secret,
};

const ASSOCIATED: [u8; 1] = [ENVELOPE_VERSION];
/// Kind, session id and the length of the message.
const BODY_HEAD: usize = 1 + 16 + 4;

/// What the sealed body carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// A handshake header and a ratchet message.
    Initial,
    /// A ratchet message.
    Ratchet,
}

impl BodyKind {
    fn tag(self) -> u8 {
        match self {
            Self::Initial => 0,
            Self::Ratchet => 1,
        }
    }
}

/// Why an envelope did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnsealError {
    /// Part 1 is not for this device or damaged. Nobody's: count it, attribute it to nobody.
    #[error("the envelope's first part does not open")]
    Sender,
    /// Part 1 holds no valid certificate. Nobody's.
    #[error("the envelope's certificate: {0}")]
    Certificate(CertificateError),
    /// The pair is for another certificate than part 1 held: a mistake of the caller.
    #[error("the envelope is from another device than the pair")]
    WrongPair,
    /// Part 2 does not open under the certificate of part 1: forged or damaged. Nobody's.
    #[error("the envelope's second part does not open")]
    Body,
    /// Part 2 opened, so it comes from that device (or from who holds this device's identity key), but what is in it
    /// is not a body of this version. A row with its reason and a re-send request.
    #[error("the envelope's body is malformed: {0}")]
    Malformed(WireError),
}

impl UnsealError {
    /// Whether the failure can be anybody's doing: no row may stand under the name in the certificate.
    pub fn is_nobodys(&self) -> bool {
        matches!(self, Self::Sender | Self::Certificate(_) | Self::Body)
    }
}

/// The plaintext of part 2: `kind u8, session id (16), message (length u32, bytes)`, zero-padded.
pub struct SealedBody {
    kind: BodyKind,
    session: SessionId,
    message: Vec<u8>,
}

impl SealedBody {
    pub(crate) fn new(kind: BodyKind, session: SessionId, message: Vec<u8>) -> Self {
        Self { kind, session, message }
    }

    /// Whether it carries a handshake.
    pub fn kind(&self) -> BodyKind {
        self.kind
    }

    /// The session it was sealed in, by its sender's word: not authenticated until it opens there.
    pub fn session(&self) -> SessionId {
        self.session
    }

    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Writer::new().u8(self.kind.tag()).raw(&self.session.0).bytes(&self.message).finish();
        bytes.resize(padded_length(bytes.len()), 0);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let kind = match reader.u8()? {
            0 => BodyKind::Initial,
            1 => BodyKind::Ratchet,
            _ => return Err(WireError::Invalid("body kind")),
        };
        let session = SessionId(reader.array()?);
        let message = reader.bytes(MAX_ENVELOPE)?.to_vec();
        let length = BODY_HEAD.saturating_add(message.len());
        // One body has one padded form, so the padding can carry nothing.
        if bytes.len() != padded_length(length) || reader.rest().iter().any(|byte| *byte != 0) {
            return Err(WireError::Invalid("padding"));
        }
        Ok(Self { kind, session, message })
    }
}

/// The key of part 1. `recipient` is the recipient's identity key.
pub(crate) fn sender_key(ephemeral: &PrekeyPublic, recipient: &[u8; 32], dh: &Secret<32>) -> Secret<32> {
    let salt = Writer::new().bytes(&ephemeral.0).bytes(recipient).finish();
    hkdf(&salt, &[dh.expose()], b"sotto v1 seal sender")
}

/// The key of part 2. The hashes are those of the sender's and the recipient's certificate.
pub(crate) fn body_key(
    ephemeral: &PrekeyPublic,
    sender: &[u8; 32],
    recipient: &[u8; 32],
    dh: &Secret<32>,
    static_dh: &Secret<32>,
) -> Secret<32> {
    let salt = Writer::new().bytes(&ephemeral.0).bytes(sender).bytes(recipient).finish();
    let prefix = 32u32.to_be_bytes();
    hkdf(&salt, &[&prefix, dh.expose(), &prefix, static_dh.expose()], b"sotto v1 seal body")
}

/// Seals a body from this device to the remote one. `None` only if the remote identity key does not work, which
/// [`Pair::new`] has excluded, or the body is larger than any message.
pub(crate) fn seal(rng: &mut impl CryptoRng, pair: &Pair, body: &SealedBody) -> Option<Envelope> {
    seal_parts(rng, pair, &pair.mine().padded(), &body.encode())
}

/// Seals the plaintexts of both parts as they are.
pub(crate) fn seal_parts(
    rng: &mut impl CryptoRng,
    pair: &Pair,
    sender: &[u8],
    body: &[u8],
) -> Option<Envelope> {
    let ephemeral = CurveSecret::generate(rng);
    let recipient = pair.their_identity().as_bytes();
    let dh = ephemeral.agree(recipient).ok()?;
    let public = ephemeral.public();
    let sender_key = sender_key(&public, recipient, &dh);
    let part1 = aead::seal(sender_key.expose(), &ZERO_NONCE, &ASSOCIATED, sender).ok()?;
    let body_key = body_key(&public, &pair.my_hash, &pair.their_hash, &dh, &pair.static_dh);
    let part2 = aead::seal(body_key.expose(), &ZERO_NONCE, &ASSOCIATED, body).ok()?;
    Some(Envelope { ephemeral: public, part1, part2 })
}

/// An envelope whose part 1 has been opened.
pub struct Opening {
    certificate: SignedCertificate,
    certificate_hash: [u8; 32],
    ephemeral: PrekeyPublic,
    part2: Vec<u8>,
    dh: Secret<32>,
}

/// Opens part 1 of an envelope to `me`: whose device claims to have sent it. Whoever knows this device's identity key
/// can put any certificate there; part 2 says whether it is meant.
pub fn open_sender(me: &DeviceSecret, envelope: &Envelope) -> Result<Opening, UnsealError> {
    let dh = me.identity().agree(&envelope.ephemeral.0).map_err(|_| UnsealError::Sender)?;
    let key = sender_key(&envelope.ephemeral, me.identity_key().as_bytes(), &dh);
    let padded = aead::open(key.expose(), &ZERO_NONCE, &ASSOCIATED, &envelope.part1)
        .map_err(|_| UnsealError::Sender)?;
    let certificate = SignedCertificate::parse_padded(&padded).map_err(UnsealError::Certificate)?;
    let certificate_hash = certificate.hash();
    Ok(Opening {
        certificate,
        certificate_hash,
        ephemeral: envelope.ephemeral,
        part2: envelope.part2.clone(),
        dh,
    })
}

impl Opening {
    /// The certificate in part 1. Its signature holds, but it vouches only for itself: compare it with the signed
    /// device list of the pinned account.
    pub fn certificate(&self) -> &SignedCertificate {
        &self.certificate
    }

    /// Opens part 2 under the pair of this device and that certificate.
    pub fn open_body(&self, pair: &Pair) -> Result<SealedBody, UnsealError> {
        if self.certificate_hash != pair.their_hash {
            return Err(UnsealError::WrongPair);
        }
        let key = body_key(&self.ephemeral, &pair.their_hash, &pair.my_hash, &self.dh, &pair.static_dh);
        let padded: Zeroizing<Vec<u8>> =
            aead::open(key.expose(), &ZERO_NONCE, &ASSOCIATED, &self.part2).map_err(|_| UnsealError::Body)?;
        SealedBody::decode(&padded).map_err(UnsealError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    /// Whoever seals a body could use other padding to carry a mark past the ratchet.
    #[test]
    fn one_body_has_one_padded_form() {
        for length in [0, 100, 3_000] {
            let body = SealedBody::new(BodyKind::Initial, SessionId([1; 16]), vec![7; length]);
            let padded = body.encode();
            let read = SealedBody::decode(&padded).unwrap();
            assert_eq!((read.kind, read.session, read.message), (body.kind, body.session, body.message));
            for at in [BODY_HEAD + length, padded.len() - 1] {
                let mut marked = padded.clone();
                marked[at] = 1;
                assert_eq!(
                    SealedBody::decode(&marked).err(),
                    Some(WireError::Invalid("padding")),
                    "byte {at}"
                );
            }
            for other in
                [BODY_HEAD + length, padded.len() - 1, padded.len() + 1, padded_length(padded.len() + 1)]
            {
                let mut resized = padded.clone();
                resized.resize(other, 0);
                assert_eq!(
                    SealedBody::decode(&resized).err(),
                    Some(WireError::Invalid("padding")),
                    "length {other}"
                );
            }
            let mut other_kind = padded.clone();
            other_kind[0] = 2;
            assert_eq!(SealedBody::decode(&other_kind).err(), Some(WireError::Invalid("body kind")));
            assert_eq!(SealedBody::decode(&padded[..BODY_HEAD - 1]).err(), Some(WireError::Short));
        }
    }
}

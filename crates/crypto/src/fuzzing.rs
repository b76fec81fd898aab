//! What the fuzz targets reach that is not public: forged bodies, and the parsers of headers. Nothing here gives out a
//! secret; the feature is off in what `cargo build` makes.

use rand_core::CryptoRng;
use sotto_proto::{
    Envelope, SessionId,
    wire::{Reader, WireError},
};

use crate::{
    BodyKind, Pair, PeerSessions, SealedBody,
    handshake::{HandshakeHeader, header_hash, session_id},
    header::RatchetHeader,
    seal,
    session::MAX_HANDSHAKE,
};

/// A body as a peer could seal it. That of an initial message gets the session id that its header has.
pub fn body(kind: BodyKind, session: SessionId, message: Vec<u8>) -> SealedBody {
    let session = match kind {
        BodyKind::Ratchet => session,
        BodyKind::Initial => session_id(&header_hash(split(&message).0)),
    };
    SealedBody::new(kind, session, message)
}

/// The handshake header and the ratchet message of an initial message.
pub fn split(initial: &[u8]) -> (&[u8], &[u8]) {
    let mut reader = Reader::new(initial);
    let header = reader.bytes(MAX_HANDSHAKE).unwrap_or_default();
    (header, reader.rest())
}

/// The message in a body.
pub fn message(body: &SealedBody) -> &[u8] {
    body.message()
}

/// Reads a handshake header and writes it again.
pub fn handshake_header(bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    HandshakeHeader::parse(bytes).map(|header| header.encode())
}

/// Reads a ratchet message's header and writes it again.
pub fn ratchet_header(bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    RatchetHeader::parse(bytes).map(|header| {
        let RatchetHeader { ratchet_key, previous_length, number, kem, .. } = header;
        RatchetHeader::encode(&ratchet_key, previous_length, number, &kem.encode())
    })
}

/// Reads the plaintext of part 2 and writes it again.
pub fn sealed_body(bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    SealedBody::decode(bytes).map(|body| body.encode())
}

/// An envelope with these plaintexts in its two parts, sealed under the right keys.
pub fn seal_parts(rng: &mut impl CryptoRng, pair: &Pair, sender: &[u8], body: &[u8]) -> Option<Envelope> {
    seal::seal_parts(rng, pair, sender, body)
}

/// Skipped keys of all sessions together.
pub fn skipped_keys(sessions: &PeerSessions) -> usize {
    sessions.skipped_len()
}

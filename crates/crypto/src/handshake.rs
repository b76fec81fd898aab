//! The handshake header: what the responder needs to make the same session.

use sotto_proto::{
    PrekeyPublic, SessionId,
    limits::MAX_GENERATION,
    prekey::PrekeyId,
    wire::{Reader, WireError, Writer},
};

use crate::{kdf::sha256, kem::KemCiphertext, prekeys::KemUse};

const VERSION: u8 = 1;

/// `version u8, generation u64, ephemeral key (32), signed prekey id u32, KEM prekey use u8, KEM prekey id u32,
/// has one-time prekey u8, [one-time prekey id u32], KEM ciphertext (1088)`.
pub(crate) struct HandshakeHeader {
    pub(crate) generation: u64,
    pub(crate) ephemeral: PrekeyPublic,
    pub(crate) signed: PrekeyId,
    pub(crate) kem_use: KemUse,
    pub(crate) kem: PrekeyId,
    pub(crate) one_time: Option<PrekeyId>,
    pub(crate) ciphertext: KemCiphertext,
}

impl HandshakeHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION)
            .u64(self.generation)
            .raw(&self.ephemeral.0)
            .u32(self.signed.0)
            .u8(self.kem_use.tag())
            .u32(self.kem.0);
        match self.one_time {
            None => out.u8(0),
            Some(id) => out.u8(1).u32(id.0),
        };
        out.raw(&*self.ciphertext).finish()
    }

    /// Reads a header; a generation above the limit is refused.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let generation = reader.u64()?;
        if generation > MAX_GENERATION {
            return Err(WireError::Invalid("generation"));
        }
        let header = Self {
            generation,
            ephemeral: PrekeyPublic(reader.array()?),
            signed: PrekeyId(reader.u32()?),
            kem_use: KemUse::from_tag(reader.u8()?)?,
            kem: PrekeyId(reader.u32()?),
            one_time: match reader.u8()? {
                0 => None,
                1 => Some(PrekeyId(reader.u32()?)),
                _ => return Err(WireError::Invalid("one-time prekey")),
            },
            ciphertext: Box::new(reader.array()?),
        };
        reader.finish()?;
        Ok(header)
    }
}

/// SHA-256 of the header's bytes: names the session, and orders sessions of one generation.
pub(crate) fn header_hash(bytes: &[u8]) -> [u8; 32] {
    sha256(bytes)
}

/// The first 16 bytes of the header's hash.
pub(crate) fn session_id(hash: &[u8; 32]) -> SessionId {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(hash) {
        *to = *from;
    }
    SessionId(id)
}

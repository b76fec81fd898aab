//! PQXDH, revision 3, with separate signing and Diffie-Hellman identity keys.

use rand_core::CryptoRng;
use sotto_proto::{
    keys::KEM_KEY_LENGTH,
    prekey::{PrekeyBundle, PrekeyError, PrekeyId},
    wire::Writer,
};
use thiserror::Error;

use crate::{
    curve::{CurveSecret, LowOrder},
    handshake::HandshakeHeader,
    kdf::{hkdf, sha256},
    kem::{self, BadKemKey},
    pair::Pair,
    prekeys::{KemPrekeySecret, KemUse, OneTimePrekeySecret, SignedPrekeySecret},
    secret::Secret,
};

/// Why no handshake could be made with a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// The bundle is for another device than the certificate.
    #[error("the prekeys belong to another device")]
    WrongDevice,
    /// A signature or a date in the bundle does not hold.
    #[error(transparent)]
    Prekey(#[from] PrekeyError),
    /// The KEM prekey fails the checks of FIPS 203, section 7.2.
    #[error("the KEM prekey is not a valid key")]
    KemKey,
    /// A key has small order.
    #[error("a Diffie-Hellman result is all zeros")]
    LowOrder,
}

impl From<LowOrder> for HandshakeError {
    fn from(_: LowOrder) -> Self {
        Self::LowOrder
    }
}

impl From<BadKemKey> for HandshakeError {
    fn from(_: BadKemKey) -> Self {
        Self::KemKey
    }
}

/// The public keys of the prekeys that a handshake uses, as the transcript names them.
pub(crate) struct UsedPrekeys<'a> {
    pub(crate) signed: (PrekeyId, &'a [u8; 32]),
    pub(crate) kem: (KemUse, PrekeyId, &'a [u8; KEM_KEY_LENGTH]),
    pub(crate) one_time: Option<(PrekeyId, &'a [u8; 32])>,
}

/// `initiator's certificate (length u32, bytes), responder's certificate (length u32, bytes), ephemeral key (32),
/// signed prekey id u32, key (32), KEM prekey use u8, id u32, key (1184), has one-time prekey u8, [id u32, key (32)],
/// KEM ciphertext (1088), generation u64`.
pub(crate) fn transcript(
    initiator: &[u8],
    responder: &[u8],
    header: &HandshakeHeader,
    keys: &UsedPrekeys<'_>,
) -> Vec<u8> {
    let mut out = Writer::new();
    out.bytes(initiator).bytes(responder).raw(&header.ephemeral.0);
    out.u32(keys.signed.0.0).raw(keys.signed.1);
    out.u8(keys.kem.0.tag()).u32(keys.kem.1.0).raw(keys.kem.2);
    match keys.one_time {
        None => out.u8(0),
        Some((id, key)) => out.u8(1).u32(id.0).raw(key),
    };
    out.raw(&*header.ciphertext).u64(header.generation).finish()
}

/// The results that go into the session's secret.
pub(crate) struct Agreement {
    pub(crate) dh1: Secret<32>,
    pub(crate) dh2: Secret<32>,
    pub(crate) dh3: Secret<32>,
    pub(crate) dh4: Option<Secret<32>>,
    pub(crate) kem: Secret<32>,
}

impl Agreement {
    /// `SK = HKDF(SHA-256(transcript), 0xFF*32 DH1 DH2 DH3 [DH4] SS, "sotto v1 pqxdh")`.
    pub(crate) fn session_secret(&self, transcript: &[u8]) -> Secret<32> {
        let dh4: &[u8] = self.dh4.as_ref().map_or(&[], |dh| dh.expose());
        hkdf(
            &sha256(transcript),
            &[&[0xff; 32], self.dh1.expose(), self.dh2.expose(), self.dh3.expose(), dh4, self.kem.expose()],
            b"sotto v1 pqxdh",
        )
    }
}

/// What the initiator gets.
pub(crate) struct Initiated {
    pub(crate) header: HandshakeHeader,
    pub(crate) transcript: Vec<u8>,
    pub(crate) agreement: Agreement,
}

/// The initiator's side. The bundle is verified against the remote certificate here.
pub(crate) fn initiate(
    rng: &mut impl CryptoRng,
    pair: &Pair,
    bundle: &PrekeyBundle,
    generation: u64,
    now_ms: u64,
) -> Result<Initiated, HandshakeError> {
    let certificate = pair.theirs().certificate();
    if bundle.device != certificate.device {
        return Err(HandshakeError::WrongDevice);
    }
    bundle.verify(&certificate.account, &certificate.device_key, now_ms)?;
    let ephemeral = CurveSecret::generate(rng);
    let (ciphertext, kem) = kem::encapsulate(&bundle.kem.key, rng)?;
    let agreement = Agreement {
        dh1: pair.me.identity().agree(&bundle.signed.key.0)?,
        dh2: ephemeral.agree(certificate.identity_key.as_bytes())?,
        dh3: ephemeral.agree(&bundle.signed.key.0)?,
        dh4: bundle.one_time.as_ref().map(|prekey| ephemeral.agree(&prekey.key.0)).transpose()?,
        kem,
    };
    let kem_use = if bundle.kem_one_time { KemUse::OneTime } else { KemUse::LastResort };
    let header = HandshakeHeader {
        generation,
        ephemeral: ephemeral.public(),
        signed: bundle.signed.id,
        kem_use,
        kem: bundle.kem.id,
        one_time: bundle.one_time.as_ref().map(|prekey| prekey.id),
        ciphertext,
    };
    let keys = UsedPrekeys {
        signed: (bundle.signed.id, &bundle.signed.key.0),
        kem: (kem_use, bundle.kem.id, bundle.kem.key.as_bytes()),
        one_time: bundle.one_time.as_ref().map(|prekey| (prekey.id, &prekey.key.0)),
    };
    let transcript = transcript(pair.mine().as_bytes(), pair.theirs().as_bytes(), &header, &keys);
    Ok(Initiated { header, transcript, agreement })
}

/// The private halves that a handshake header names.
pub(crate) struct NamedSecrets {
    pub(crate) signed: SignedPrekeySecret,
    pub(crate) kem: KemPrekeySecret,
    pub(crate) one_time: Option<OneTimePrekeySecret>,
}

/// The responder's side: the session's secret.
pub(crate) fn respond(
    pair: &Pair,
    header: &HandshakeHeader,
    secrets: &NamedSecrets,
) -> Result<Secret<32>, LowOrder> {
    let signed = &secrets.signed.secret;
    let agreement = Agreement {
        dh1: signed.agree(pair.their_identity().as_bytes())?,
        dh2: pair.me.identity().agree(&header.ephemeral.0)?,
        dh3: signed.agree(&header.ephemeral.0)?,
        dh4: secrets.one_time.as_ref().map(|prekey| prekey.secret.agree(&header.ephemeral.0)).transpose()?,
        kem: secrets.kem.secret.decapsulate(&header.ciphertext),
    };
    let signed_public = signed.public();
    let kem_public = secrets.kem.secret.public();
    let one_time = secrets.one_time.as_ref().map(|prekey| (prekey.id(), prekey.secret.public()));
    let keys = UsedPrekeys {
        signed: (secrets.signed.id(), &signed_public.0),
        kem: (header.kem_use, secrets.kem.id(), &kem_public),
        one_time: one_time.as_ref().map(|(id, key)| (*id, &key.0)),
    };
    let transcript = transcript(pair.theirs().as_bytes(), pair.mine().as_bytes(), header, &keys);
    Ok(agreement.session_secret(&transcript))
}

//! Vectors of a handshake and of the session it makes.

use sotto_proto::{
    prekey::{PrekeyBundle, PrekeyId},
    wire::Reader,
};

use super::{
    NOW_MS, VectorError,
    identities::Identity,
    messages::{self, End},
    random::SeededRng,
    value::{Value, object},
};
use crate::{
    KemPrekeySecret, KemUse, OneTimePrekeySecret, SignedPrekeySecret,
    handshake::{header_hash, session_id},
    kdf::sha256,
    pqxdh::{self, NamedSecrets},
    ratchet::Ratchet,
    session::{MAX_HANDSHAKE, Session},
};

struct Prekeys {
    secrets: NamedSecrets,
    bundle: PrekeyBundle,
}

fn prekeys(rng: &mut SeededRng, owner: &Identity, one_time: bool) -> Result<Prekeys, VectorError> {
    let certificate = owner.certificate.certificate();
    let (account, device) = (&certificate.account, &certificate.device);
    let kem_use = if one_time { KemUse::OneTime } else { KemUse::LastResort };
    let signed = SignedPrekeySecret::generate(rng, PrekeyId(7), NOW_MS);
    let kem = KemPrekeySecret::generate(rng, kem_use, PrekeyId(8), NOW_MS);
    let curve = one_time.then(|| OneTimePrekeySecret::generate(rng, PrekeyId(9)));
    let bundle = PrekeyBundle {
        device: *device,
        signed: signed.publish(&owner.device, account, device),
        kem: kem.publish(&owner.device, account, device)?,
        kem_one_time: one_time,
        one_time: curve.as_ref().map(OneTimePrekeySecret::publish),
    };
    Ok(Prekeys { secrets: NamedSecrets { signed, kem, one_time: curve }, bundle })
}

impl Prekeys {
    fn value(&self) -> Value {
        let Self { secrets, bundle } = self;
        let mut fields = vec![
            ("signed_id", Value::Number(u64::from(bundle.signed.id.0))),
            ("created_ms", Value::Number(bundle.signed.validity.created_ms)),
            ("expires_ms", Value::Number(bundle.signed.validity.expires_ms)),
            ("signed_secret", Value::hex(secrets.signed.secret.secret().expose())),
            ("signed_key", Value::hex(bundle.signed.key.0)),
            ("signed_signature", Value::hex(bundle.signed.signature.0)),
            ("kem_use", Value::text(if bundle.kem_one_time { "one-time" } else { "last-resort" })),
            ("kem_id", Value::Number(u64::from(bundle.kem.id.0))),
            ("kem_seed", Value::hex(secrets.kem.secret.seed().expose())),
            ("kem_key", Value::hex(bundle.kem.key.as_bytes())),
            ("kem_signature", Value::hex(bundle.kem.signature.0)),
        ];
        if let (Some(secret), Some(public)) = (&secrets.one_time, &bundle.one_time) {
            fields.push(("one_time_id", Value::Number(u64::from(public.id.0))));
            fields.push(("one_time_secret", Value::hex(secret.secret.secret().expose())));
            fields.push(("one_time_key", Value::hex(public.key.0)));
        }
        Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// One session: A starts it with B's prekeys, and messages go back and forth until the KEM step is done.
pub(super) fn session(
    rng: &mut SeededRng,
    a: &Identity,
    b: &Identity,
    one_time: bool,
) -> Result<Value, VectorError> {
    let prekeys = prekeys(rng, b, one_time)?;
    let (pair_a, pair_b) = (a.pair_with(b)?, b.pair_with(a)?);
    let generation = if one_time { 1 } else { 2 };
    rng.draws();
    let initiated = pqxdh::initiate(rng, &pair_a, &prekeys.bundle, generation, NOW_MS)?;
    // Drawn in this order: the ephemeral secret, then the randomness of the encapsulation.
    let draws = rng.draws();
    let [ephemeral_secret, kem_randomness] = draws.as_slice() else { return Err("unexpected draws".into()) };
    let secret = initiated.agreement.session_secret(&initiated.transcript);
    if secret.expose() != pqxdh::respond(&pair_b, &initiated.header, &prekeys.secrets)?.expose() {
        return Err("the two sides of the handshake disagree".into());
    }
    let header = initiated.header.encode();
    let hash = header_hash(&header);
    let agreement = &initiated.agreement;
    let mut handshake = vec![
        ("generation", Value::Number(generation)),
        ("ephemeral_secret", Value::hex(ephemeral_secret)),
        ("ephemeral_key", Value::hex(initiated.header.ephemeral.0)),
        ("kem_randomness", Value::hex(kem_randomness)),
        ("kem_ciphertext", Value::hex(*initiated.header.ciphertext)),
        ("kem_secret", Value::hex(agreement.kem.expose())),
        ("dh1", Value::hex(agreement.dh1.expose())),
        ("dh2", Value::hex(agreement.dh2.expose())),
        ("dh3", Value::hex(agreement.dh3.expose())),
    ];
    if let Some(dh4) = &agreement.dh4 {
        handshake.push(("dh4", Value::hex(dh4.expose())));
    }
    handshake.extend([
        ("transcript", Value::hex(&initiated.transcript)),
        ("transcript_hash", Value::hex(sha256(&initiated.transcript))),
        ("session_secret", Value::hex(secret.expose())),
        ("header", Value::hex(&header)),
        ("header_hash", Value::hex(hash)),
        ("session_id", Value::hex(session_id(&hash).0)),
    ]);
    let responder = Ratchet::responder(secret.duplicate(), &prekeys.secrets.signed.secret, NOW_MS);
    let initiator = Ratchet::initiator(rng, secret, &prekeys.bundle.signed.key.0, NOW_MS)?;
    let session_a = Session::initiated(&pair_a, &header, generation, initiator, NOW_MS);
    let session_b = Session::accepted(&pair_b, &header, generation, responder, NOW_MS);
    handshake.push(("associated_data", Value::hex(session_a.associated())));
    let remote = prekeys.bundle.signed.key;
    let ends = [End { pair: pair_a, session: session_a }, End { pair: pair_b, session: session_b }];
    let messages = messages::conversation(rng, ends, remote)?;
    let handshake = handshake.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(object([
        ("prekeys", prekeys.value()),
        ("handshake", Value::Object(handshake)),
        ("messages", Value::List(messages)),
    ]))
}

/// The ratchet message inside a body, behind the handshake header of an initial one.
pub(super) fn ratchet_message(initial: bool, body: &[u8]) -> Result<&[u8], VectorError> {
    let mut reader = Reader::new(body);
    if initial {
        reader.bytes(MAX_HANDSHAKE)?;
    }
    Ok(reader.rest())
}

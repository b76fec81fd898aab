//! Vectors of the ratchet and of the envelopes.

use sotto_proto::{PrekeyPublic, wire::Reader};

use super::{
    NOW_MS, VectorError,
    handshake::ratchet_message,
    random::SeededRng,
    value::{Value, object},
};
use crate::{
    BodyKind, Pair, SealedBody,
    chain_key::ChainKey,
    curve::CurveSecret,
    header::{MAX_HEADER, RatchetHeader},
    ratchet::Turn,
    root_key::RootKey,
    seal::{self, body_key, open_sender, sender_key},
    secret::Secret,
    session::Session,
};

pub(super) struct End {
    pub(super) pair: Pair,
    pub(super) session: Session,
}

type Fields = Vec<(&'static str, Value)>;

/// A sends twice, B (with an offer), A (with the answer) twice, B, A.
const SENDERS: [usize; 7] = [0, 0, 1, 0, 0, 1, 0];

/// `signed_prekey` is B's, the first key that A's ratchet steps against.
pub(super) fn conversation(
    rng: &mut SeededRng,
    mut ends: [End; 2],
    signed_prekey: PrekeyPublic,
) -> Result<Vec<Value>, VectorError> {
    let mut messages = Vec::new();
    for (number, from) in SENDERS.into_iter().enumerate() {
        let [a, b] = &mut ends;
        let (sender, recipient) = if from == 0 { (a, b) } else { (b, a) };
        let content = format!("message {number}").into_bytes();
        let mut fields: Fields = vec![
            ("from", Value::text(if from == 0 { "alice" } else { "bob" })),
            ("content", Value::hex(&content)),
        ];
        rng.draws();
        let (next, body) = sender.session.seal(rng, &content, NOW_MS).map_err(|error| error.to_string())?;
        let draws = rng.draws();
        let chain = sending_chain(sender, recipient, &next, &body, &draws, signed_prekey, &mut fields)?;
        message(sender, &chain, &body, &mut fields)?;
        sender.session = next;
        let envelope = envelope(rng, sender, recipient, &body, &mut fields)?;
        let opened = open_sender(&recipient.pair.me, &envelope)?.open_body(&recipient.pair)?;
        let initial = opened.kind() == BodyKind::Initial;
        let (next, plaintext) =
            recipient.session.open(ratchet_message(initial, opened.message())?, NOW_MS)?;
        if *plaintext != content {
            return Err("the content changed on its way".into());
        }
        recipient.session = next;
        messages
            .push(Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()));
    }
    Ok(messages)
}

/// The keys of the chain that the message was sealed in: as they were, or, for a new chain, how they came about. Gives
/// the chain key before the message.
fn sending_chain(
    sender: &End,
    recipient: &End,
    next: &Session,
    body: &SealedBody,
    draws: &[Vec<u8>],
    signed_prekey: PrekeyPublic,
    fields: &mut Fields,
) -> Result<ChainKey, VectorError> {
    let Turn::Sending(after) = &next.ratchet().turn else { return Err("no sending chain".into()) };
    fields.push(("ratchet_secret", Value::hex(after.own.secret().expose())));
    fields.push(("ratchet_key", Value::hex(after.own.public().0)));
    let before = sender.session.ratchet();
    if let Turn::Sending(chain) = &before.turn {
        fields.push(("chain_key", Value::hex(chain.key.expose())));
        if before.receiving.is_none() && chain.next == 0 {
            first_chain(&chain.own, &before.root, signed_prekey, recipient, fields)?;
        }
        return Ok(chain.key.duplicate());
    }
    let remote = before.receiving.as_ref().ok_or("no receiving chain")?;
    let dh = after.own.agree(&remote.remote.0)?;
    fields.push(("dh", Value::hex(dh.expose())));
    let initial = body.kind() == BodyKind::Initial;
    let header =
        RatchetHeader::parse(Reader::new(ratchet_message(initial, body.message())?).bytes(MAX_HEADER)?)?;
    let mut shared = None;
    if let Some(answer) = &header.kem.answer {
        let Turn::Sending(theirs) = &recipient.session.ratchet().turn else { return Err("no offer".into()) };
        let offer = theirs.offer.as_ref().ok_or("no offer")?;
        let secret = offer.secret.decapsulate(&answer.ciphertext);
        fields.push(("kem_answered_seed", Value::hex(offer.secret.seed().expose())));
        fields.push(("kem_answered_hash", Value::hex(answer.offer_hash)));
        // Drawn after the ratchet secret.
        fields.push(("kem_randomness", Value::hex(draws.get(1).ok_or("no randomness")?)));
        fields.push(("kem_ciphertext", Value::hex(*answer.ciphertext)));
        fields.push(("kem_secret", Value::hex(secret.expose())));
        shared = Some(secret);
    }
    if let Some(offer) = &after.offer {
        fields.push(("kem_offer_seed", Value::hex(offer.secret.seed().expose())));
        fields.push(("kem_offer_key", Value::hex(offer.secret.public())));
    }
    root_step(&before.root, &dh, shared.as_ref(), &next.ratchet().root, fields)
}

/// The first chain of the initiator, which is made with the session.
fn first_chain(
    own: &CurveSecret,
    root: &RootKey,
    signed_prekey: PrekeyPublic,
    recipient: &End,
    fields: &mut Fields,
) -> Result<(), VectorError> {
    let dh = own.agree(&signed_prekey.0)?;
    fields.push(("dh", Value::hex(dh.expose())));
    // The responder has not stepped yet: its root key is the session secret.
    let before = &recipient.session.ratchet().root;
    root_step(before, &dh, None, root, fields).map(|_| ())
}

fn root_step(
    before: &RootKey,
    dh: &Secret<32>,
    kem: Option<&Secret<32>>,
    after: &RootKey,
    fields: &mut Fields,
) -> Result<ChainKey, VectorError> {
    let (root, chain_key) = before.step(dh, kem);
    if root.expose() != after.expose() {
        return Err("the root key is not what it should be".into());
    }
    fields.push(("root_key_before", Value::hex(before.expose())));
    fields.push(("root_key", Value::hex(root.expose())));
    if !fields.iter().any(|(name, _)| *name == "chain_key") {
        fields.push(("chain_key", Value::hex(chain_key.expose())));
    }
    Ok(chain_key)
}

fn message(
    sender: &End,
    chain: &ChainKey,
    body: &SealedBody,
    fields: &mut Fields,
) -> Result<(), VectorError> {
    let initial = body.kind() == BodyKind::Initial;
    let message = ratchet_message(initial, body.message())?;
    let mut reader = Reader::new(message);
    let header = reader.bytes(MAX_HEADER)?;
    let (key, next) = chain.step();
    let associated = [sender.session.associated().as_slice(), header].concat();
    key.open(&associated, reader.rest()).map_err(|_| "the message key does not open the message")?;
    let cipher = key.cipher();
    let (cipher_key, nonce) = cipher.expose().split_at(32);
    fields.extend([
        ("next_chain_key", Value::hex(next.expose())),
        ("message_key", Value::hex(key.expose())),
        ("cipher_key", Value::hex(cipher_key)),
        ("nonce", Value::hex(nonce)),
        ("header", Value::hex(header)),
        ("ciphertext", Value::hex(reader.rest())),
    ]);
    Ok(())
}

fn envelope(
    rng: &mut SeededRng,
    sender: &End,
    recipient: &End,
    body: &SealedBody,
    fields: &mut Fields,
) -> Result<sotto_proto::Envelope, VectorError> {
    rng.draws();
    let envelope = seal::seal(rng, &sender.pair, body).ok_or("the body does not seal")?;
    let draws = rng.draws();
    let [ephemeral_secret] = draws.as_slice() else { return Err("unexpected draws".into()) };
    let identity = recipient.pair.me.identity_key();
    let dh = CurveSecret::from_slice(ephemeral_secret)?.agree(&identity.0)?;
    let part1_key = sender_key(&envelope.ephemeral, &identity.0, &dh);
    let pair = &sender.pair;
    let part2_key = body_key(&envelope.ephemeral, &pair.my_hash, &pair.their_hash, &dh, &pair.static_dh);
    fields.push((
        "envelope",
        object([
            ("kind", Value::text(if body.kind() == BodyKind::Initial { "initial" } else { "ratchet" })),
            ("session_id", Value::hex(body.session().0)),
            ("body", Value::hex(body.encode())),
            ("ephemeral_secret", Value::hex(ephemeral_secret)),
            ("ephemeral_key", Value::hex(envelope.ephemeral.0)),
            ("dh", Value::hex(dh.expose())),
            ("static_dh", Value::hex(pair.static_dh.expose())),
            ("part1_key", Value::hex(part1_key.expose())),
            ("part2_key", Value::hex(part2_key.expose())),
            ("bytes", Value::hex(envelope.encode())),
            ("body_hash", Value::hex(envelope.body_hash().0)),
        ]),
    ));
    Ok(envelope)
}

//! Ratchet messages against a live session, and sessions as they are stored.

use std::sync::OnceLock;

use rand::{SeedableRng, rngs::StdRng};
use sotto_crypto::{BodyKind, PeerSessions, Purpose, SealedBody, fuzzing, open_sender};
use sotto_proto::{Envelope, SessionId};

use crate::{
    handshake::stored,
    input::Input,
    world::{NOW_MS, Prekeys, devices},
};

/// A header alone, a forged message to a live session, or a forged record of a session.
pub fn ratchet(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 3 {
        0 => {
            let bytes = input.rest();
            if let Ok(again) = fuzzing::ratchet_header(bytes) {
                assert_eq!(again, bytes);
            }
        }
        1 => message(&mut input),
        _ => record(&mut input),
    }
}

/// Bob's sessions as stored, and what is on the way to him: message and content.
pub(crate) struct Moment {
    pub(crate) record: Vec<u8>,
    pub(crate) session: SessionId,
    pub(crate) on_the_way: Vec<(Vec<u8>, Vec<u8>)>,
}

fn body_for_bob(envelope: &Envelope) -> SealedBody {
    let [_, bob] = devices();
    open_sender(&bob.secret, envelope).unwrap().open_body(&bob.pair).unwrap()
}

/// Moments of one conversation: nothing opened in answer yet, an offer answered, keys skipped, and long after.
pub(crate) fn moments() -> &'static [Moment] {
    static MOMENTS: OnceLock<Vec<Moment>> = OnceLock::new();
    MOMENTS.get_or_init(|| {
        let [alice, bob] = devices();
        let mut rng = StdRng::seed_from_u64(4);
        let mut keys = Prekeys::of(bob);
        let mut a = PeerSessions::new()
            .start(&mut rng, &alice.pair, &bob.bundles[0], Purpose::Message, NOW_MS)
            .unwrap();
        let mut b = PeerSessions::new();
        let mut moments = Vec::new();
        for round in 0..4_u8 {
            let mut envelopes = Vec::new();
            for number in 0..4_u8 {
                let content = vec![round, number];
                let sealed = a.seal(&mut rng, &alice.pair, &content, Purpose::Message, NOW_MS).unwrap();
                a = sealed.next;
                envelopes.push((sealed.envelope, content, sealed.session));
            }
            // The first opens, so that there is a session; in odd rounds the third, so that keys are skipped.
            for at in if round % 2 == 1 { vec![0, 2] } else { vec![0] } {
                let opened = b.open(&bob.pair, &body_for_bob(&envelopes[at].0), &keys, NOW_MS).unwrap();
                keys.consume(&opened.consumed);
                b = opened.next;
            }
            let on_the_way = [1, 3].map(|at: usize| {
                let (envelope, content, _) = &envelopes[at];
                (fuzzing::message(&body_for_bob(envelope)).to_vec(), content.clone())
            });
            moments.push(Moment {
                record: b.to_bytes().to_vec(),
                session: envelopes[0].2,
                on_the_way: on_the_way.to_vec(),
            });
            let sealed = b.seal(&mut rng, &bob.pair, b"answer", Purpose::Message, NOW_MS).unwrap();
            b = sealed.next;
            let body = open_sender(&alice.secret, &sealed.envelope).unwrap().open_body(&alice.pair).unwrap();
            a = a.open(&alice.pair, &body, &Prekeys::of(alice), NOW_MS).unwrap().next;
        }
        moments
    })
}

fn kind(moment: usize) -> BodyKind {
    // Before the first answer every message repeats the handshake.
    if moment == 0 { BodyKind::Initial } else { BodyKind::Ratchet }
}

fn message(input: &mut Input<'_>) {
    let [_, bob] = devices();
    let at = input.below(moments().len());
    let moment = &moments()[at];
    let sessions = PeerSessions::from_bytes(&moment.record).unwrap();
    let (real, content) = &moment.on_the_way[input.below(2)];
    let forged = if input.flag() { input.rest().to_vec() } else { input.forged(real) };
    // A forger names the session that he means, whatever the header says.
    let kind = if input.flag() { BodyKind::Ratchet } else { kind(at) };
    let body = fuzzing::body(kind, moment.session, forged.clone());
    match sessions.open(&bob.pair, &body, &Prekeys::of(bob), NOW_MS) {
        Ok(opened) => {
            let known = moment.on_the_way.iter().find(|(message, _)| *message == forged);
            // The ratchet message of an initial one is a message of its own.
            let inner = moment.on_the_way.iter().find(|(message, _)| fuzzing::split(message).1 == forged);
            let (_, expected) = known.or(inner).expect("a forged message opened");
            assert_eq!(*opened.content, *expected);
            stored(&opened.next);
            let again = opened.next.open(&bob.pair, &body, &Prekeys::of(bob), NOW_MS);
            assert!(again.is_err(), "a message opened twice");
        }
        Err(error) => {
            let real_one = forged == *real && body.kind() == self::kind(at);
            assert!(!real_one, "{error}: {content:?} did not open");
        }
    }
    assert_eq!(*sessions.to_bytes(), moment.record, "a message changed the state");
}

fn record(input: &mut Input<'_>) {
    let [_, bob] = devices();
    let at = input.below(moments().len());
    let moment = &moments()[at];
    let bytes = if input.flag() { input.rest().to_vec() } else { input.forged(&moment.record) };
    let Ok(sessions) = PeerSessions::from_bytes(&bytes) else { return };
    assert_eq!(*sessions.to_bytes(), bytes, "a record has two spellings");
    // What reads back can be used, or says why not.
    for (message, _) in &moment.on_the_way {
        let body = fuzzing::body(kind(at), moment.session, message.clone());
        if let Ok(opened) = sessions.open(&bob.pair, &body, &Prekeys::of(bob), NOW_MS) {
            stored(&opened.next);
        }
    }
    let mut rng = StdRng::seed_from_u64(5);
    if let Ok(sealed) = sessions.seal(&mut rng, &bob.pair, b"on", Purpose::Message, NOW_MS) {
        stored(&sealed.next);
    }
    if let Ok(next) = sessions.start(&mut rng, &bob.pair, &devices()[0].last_resort, Purpose::Message, NOW_MS)
    {
        stored(&next);
    }
    stored(&sessions.prune(NOW_MS, 0));
}

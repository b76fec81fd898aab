//! Bundles, handshake headers and initial messages.

use std::sync::OnceLock;

use rand::{SeedableRng, rngs::StdRng};
use sotto_crypto::{BodyKind, OpenError, PeerSessions, Purpose, fuzzing, open_sender};
use sotto_proto::{SessionId, codec, prekey::PrekeyBundle};

use crate::{
    input::Input,
    world::{NOW_MS, Prekeys, devices},
};

/// A header alone, a forged initial message, or a forged bundle.
pub fn handshake(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 3 {
        0 => {
            let bytes = input.rest();
            if let Ok(again) = fuzzing::handshake_header(bytes) {
                assert_eq!(again, bytes);
            }
        }
        1 => initial(&mut input),
        _ => bundle(&mut input),
    }
}

/// Alice's first message to Bob, with one-time keys or without: handshake header and ratchet message.
pub(crate) fn first_message(one_time: bool) -> &'static [u8] {
    static MESSAGES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let messages = MESSAGES.get_or_init(|| [false, true].map(made));
    &messages[usize::from(one_time)]
}

fn made(one_time: bool) -> Vec<u8> {
    let [alice, bob] = devices();
    let mut rng = StdRng::seed_from_u64(2);
    let bundle = if one_time { &bob.bundles[0] } else { &bob.last_resort };
    let sessions =
        PeerSessions::new().start(&mut rng, &alice.pair, bundle, Purpose::Message, NOW_MS).unwrap();
    let sealed = sessions.seal(&mut rng, &alice.pair, b"first", Purpose::Message, NOW_MS).unwrap();
    let body = open_sender(&bob.secret, &sealed.envelope).unwrap().open_body(&bob.pair).unwrap();
    assert_eq!(body.kind(), BodyKind::Initial);
    fuzzing::message(&body).to_vec()
}

fn initial(input: &mut Input<'_>) {
    let [_, bob] = devices();
    let real = first_message(input.flag());
    let message = if input.flag() { input.rest().to_vec() } else { input.forged(real) };
    let body = fuzzing::body(BodyKind::Initial, SessionId([0; 16]), message.clone());
    let (header, _) = fuzzing::split(&message);
    if let Ok(again) = fuzzing::handshake_header(header) {
        assert_eq!(again, header);
    }
    let sessions = PeerSessions::new();
    match sessions.open(&bob.pair, &body, &Prekeys::of(bob), NOW_MS) {
        Ok(opened) => {
            assert_eq!(message, real, "a forged message opened");
            assert_eq!(*opened.content, b"first");
            stored(&opened.next);
        }
        Err(OpenError::MissingPrekey { next }) => {
            assert_ne!(message, real);
            stored(&next);
        }
        Err(error) => assert_ne!(message, real, "{error}"),
    }
    assert_eq!(*sessions.to_bytes(), *PeerSessions::new().to_bytes());
}

/// What is stored reads back as it was.
pub(crate) fn stored(sessions: &PeerSessions) {
    let bytes = sessions.to_bytes();
    assert_eq!(*PeerSessions::from_bytes(&bytes).unwrap().to_bytes(), *bytes);
}

fn bundle(input: &mut Input<'_>) {
    let [alice, bob] = devices();
    let real = if input.flag() { &bob.bundles[0] } else { &bob.last_resort };
    let now_ms = if input.flag() { NOW_MS } else { input.u64() };
    let bytes = input.forged(&codec::encode(real).unwrap());
    let Ok(bundle) = codec::decode::<PrekeyBundle>(&bytes) else { return };
    assert_eq!(codec::encode(&bundle).unwrap(), bytes);
    let certificate = bob.certificate.certificate();
    let verified = bundle.verify(&certificate.account, &certificate.device_key, now_ms);
    if verified.is_ok() {
        // Only the one-time key is unsigned.
        let unsigned = PrekeyBundle { one_time: real.one_time.clone(), ..bundle.clone() };
        assert_eq!(unsigned, *real, "a forged bundle verifies");
    } else if bundle == *real {
        assert!(real.signed.validity.check(now_ms).is_err(), "a real bundle does not verify");
    }
    let mut rng = StdRng::seed_from_u64(3);
    let started = PeerSessions::new().start(&mut rng, &alice.pair, &bundle, Purpose::Message, now_ms);
    match started {
        Ok(sessions) => {
            assert!(verified.is_ok(), "a handshake with a bundle that does not verify");
            stored(&sessions);
        }
        // A one-time key may be of small order.
        Err(_) => assert!(verified.is_err() || bundle != *real),
    }
}

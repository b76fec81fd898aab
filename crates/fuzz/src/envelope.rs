//! Sealed envelopes: the outer form, and what a hostile peer can put into the two parts.

use std::sync::OnceLock;

use rand::{SeedableRng, rngs::StdRng};
use sotto_crypto::{PeerSessions, Purpose, SealedBody, UnsealError, fuzzing, open_sender};
use sotto_proto::{Envelope, limits::MAX_ENVELOPE};

use crate::{
    input::Input,
    world::{NOW_MS, devices},
};

/// Bytes, a forged envelope, or one that was sealed around bytes.
pub fn envelope(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 3 {
        0 => {
            let bytes = input.rest();
            if opened(bytes).is_ok() {
                assert_eq!(bytes, real(), "an envelope from nobody opened");
            }
        }
        1 => {
            let real = real();
            let bytes = input.forged(real);
            match opened(&bytes) {
                Ok(_) => assert_eq!(bytes, *real, "a forged envelope opened"),
                Err(error) => {
                    assert_ne!(bytes, *real);
                    assert!(error.is_none_or(|error| error.is_nobodys()), "{error:?}");
                }
            }
        }
        _ => parts(&mut input),
    }
}

/// An envelope from Alice to Bob.
pub(crate) fn real() -> &'static Vec<u8> {
    static REAL: OnceLock<Vec<u8>> = OnceLock::new();
    REAL.get_or_init(|| {
        let [alice, bob] = devices();
        let mut rng = StdRng::seed_from_u64(6);
        let sessions = PeerSessions::new()
            .start(&mut rng, &alice.pair, &bob.bundles[0], Purpose::Message, NOW_MS)
            .unwrap();
        let sealed = sessions.seal(&mut rng, &alice.pair, b"hello", Purpose::Message, NOW_MS).unwrap();
        sealed.envelope.encode()
    })
}

/// Bob opens an envelope; `None` if it has no outer form.
fn opened(bytes: &[u8]) -> Result<SealedBody, Option<UnsealError>> {
    let [_, bob] = devices();
    let envelope = Envelope::parse(bytes).map_err(|_| None)?;
    assert!(bytes.len() <= MAX_ENVELOPE);
    assert_eq!(envelope.encode(), bytes, "an envelope has two spellings");
    open_sender(&bob.secret, &envelope).and_then(|opening| opening.open_body(&bob.pair)).map_err(Some)
}

/// What whoever knows the keys can put into the parts.
fn parts(input: &mut Input<'_>) {
    let [alice, bob] = devices();
    let sender = match input.u8() % 3 {
        0 => alice.certificate.padded().to_vec(),
        1 => input.forged(&alice.certificate.padded()),
        _ => input.forged(&bob.certificate.padded()),
    };
    let body = input.rest();
    let mut rng = StdRng::seed_from_u64(7);
    let envelope = fuzzing::seal_parts(&mut rng, &alice.pair, &sender, body).unwrap();
    // Part 1 has one length on the wire; another one is refused there.
    let envelope = if sender.len() == alice.certificate.padded().len() {
        match Envelope::parse(&envelope.encode()) {
            Ok(parsed) => parsed,
            Err(_) => return,
        }
    } else {
        assert!(Envelope::parse(&envelope.encode()).is_err());
        envelope
    };
    let opening = match open_sender(&bob.secret, &envelope) {
        Ok(opening) => opening,
        Err(error) => {
            assert!(matches!(error, UnsealError::Certificate(_)), "{error}");
            assert_ne!(sender, alice.certificate.padded());
            return;
        }
    };
    // Who has no account key has only the certificates that there are.
    let known = [&alice.certificate, &bob.certificate];
    assert!(known.contains(&opening.certificate()), "a forged certificate holds");
    match opening.open_body(&bob.pair) {
        Ok(_) => assert_eq!(fuzzing::sealed_body(body).unwrap(), body, "a body has two forms"),
        Err(UnsealError::Malformed(error)) => assert_eq!(fuzzing::sealed_body(body), Err(error)),
        Err(UnsealError::WrongPair) => assert_eq!(opening.certificate(), &bob.certificate),
        Err(error) => panic!("{error}"),
    }
}

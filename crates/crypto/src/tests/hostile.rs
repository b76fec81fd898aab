//! Forged, truncated, replayed and misdirected messages.

use std::sync::Arc;

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};
use sotto_proto::{
    Certificate, Envelope, IdentityKey, KemKey, PrekeyPublic, SessionId,
    limits::{MAX_CONTENT, MAX_ENVELOPE, PADDING_FLOOR},
    prekey::PrekeyId,
};

use super::{
    conversation::{End, ends},
    device::Device,
    known_answers::low_order_points,
};
use crate::{
    BodyKind, HandshakeError, OpenError, Pair, PairError, PeerSessions, Purpose, RatchetError, SealError,
    SealedBody, StartError, UnsealError,
    handshake::{header_hash, session_id},
    open_sender, seal,
};

const NOW: u64 = 1_700_000_000_000;

/// A conversation in which A's next message is an initial one, or (`answered`) a ratchet message with an answer and
/// an offer behind it.
fn conversation(rng: &mut StdRng, answered: bool) -> (End, End) {
    let (mut a, mut b) = ends(rng, NOW);
    if answered {
        let sealed = a.send(rng, &mut b.device, b"1", Purpose::Message, NOW);
        b.take(&sealed.envelope, NOW);
        let sealed = b.send(rng, &mut a.device, b"2", Purpose::Message, NOW);
        a.take(&sealed.envelope, NOW);
    }
    (a, b)
}

/// The body with other message bytes, and the session id that a forger would write.
fn forged(body: &SealedBody, message: Vec<u8>) -> SealedBody {
    let session = match body.kind() {
        BodyKind::Ratchet => body.session(),
        BodyKind::Initial => {
            let length = message.get(..4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
            let header = message.get(4..4usize.saturating_add(length as usize)).unwrap_or_default();
            session_id(&header_hash(header))
        }
    };
    SealedBody::new(body.kind(), session, message)
}

#[test]
fn no_byte_of_a_message_can_be_changed_and_nothing_can_be_cut_off_or_added() {
    let mut rng = StdRng::seed_from_u64(1);
    for answered in [false, true] {
        let (mut a, mut b) = conversation(&mut rng, answered);
        let sealed = a.send(&mut rng, &mut b.device, b"the real one", Purpose::Message, NOW);
        let body = b.body(&sealed.envelope).unwrap();
        let before = b.sessions.to_bytes();
        let real = body.message().to_vec();
        assert_eq!(body.kind() == BodyKind::Initial, !answered);
        for at in 0..real.len() {
            let mut message = real.clone();
            message[at] ^= 1 << (at % 8);
            assert!(b.try_open(&forged(&body, message.clone()), NOW).is_err(), "byte {at}");
            let unadapted = SealedBody::new(body.kind(), body.session(), message);
            assert!(b.try_open(&unadapted, NOW).is_err(), "byte {at}, session id as it was");
        }
        for length in 0..real.len() {
            assert!(b.try_open(&forged(&body, real[..length].to_vec()), NOW).is_err(), "length {length}");
        }
        let longer = [real.as_slice(), &[0]].concat();
        assert!(b.try_open(&forged(&body, longer), NOW).is_err());
        let other = SealedBody::new(body.kind(), SessionId([7; 16]), real.clone());
        assert!(b.try_open(&other, NOW).is_err());
        assert_eq!(*b.sessions.to_bytes(), *before, "forgeries changed the state");
        assert_eq!(b.take(&sealed.envelope, NOW), b"the real one");
    }
}

#[test]
fn no_byte_of_an_envelope_can_be_changed() {
    let mut rng = StdRng::seed_from_u64(2);
    let (mut a, mut b) = conversation(&mut rng, true);
    let sealed = a.send(&mut rng, &mut b.device, b"hello", Purpose::Message, NOW);
    let bytes = sealed.envelope.encode();
    assert_eq!(bytes.len(), sotto_proto::limits::FLOOR_ENVELOPE);
    // Behind the version and the lengths, which parsing checks: E, part 1, part 2.
    for at in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let Ok(envelope) = Envelope::parse(&damaged) else { continue };
        let failed = b.body(&envelope).err().unwrap();
        assert!(failed.is_nobodys(), "byte {at}: {failed}");
    }
    // Behind both seals only the sender can have made it.
    assert!(!UnsealError::Malformed(sotto_proto::wire::WireError::TooLong).is_nobodys());
}

/// Opens nothing but what was sealed to this device by the device in the certificate.
#[test]
fn an_envelope_opens_only_at_its_recipient_and_only_under_its_sender() {
    let mut rng = StdRng::seed_from_u64(3);
    let (mut a, mut b) = conversation(&mut rng, false);
    let mut mallory = Device::new(&mut rng, "mallory", NOW);
    let sealed = a.send(&mut rng, &mut b.device, b"hello", Purpose::Message, NOW);
    assert_eq!(open_sender(&mallory.secret, &sealed.envelope).err(), Some(UnsealError::Sender));
    // Mallory has Alice's certificate, which is public, but not her identity key.
    let opening = open_sender(&b.device.secret, &sealed.envelope).unwrap();
    assert_eq!(opening.certificate(), &a.device.certificate);
    let as_mallory = b.device.pair_with(&mallory.certificate);
    assert_eq!(opening.open_body(&as_mallory).err(), Some(UnsealError::WrongPair));
    let to_b = mallory.pair_with(&b.device.certificate);
    let bundle = b.device.bundle(&mut rng, true, NOW);
    let sessions = PeerSessions::new().start(&mut rng, &to_b, &bundle, Purpose::Message, NOW).unwrap();
    let from_mallory = sessions.seal(&mut rng, &to_b, b"I am Alice", Purpose::Message, NOW).unwrap();
    let body = open_sender(&b.device.secret, &from_mallory.envelope).unwrap().open_body(&as_mallory).unwrap();
    // Alice's part 1 with Mallory's part 2.
    let mut spliced = sealed.envelope.clone();
    spliced.part2.clone_from(&from_mallory.envelope.part2);
    assert_eq!(b.body(&spliced).err(), Some(UnsealError::Body));
    // Mallory's body, put into B's sessions with Alice.
    assert!(b.try_open(&body, NOW).is_err());
    assert!(b.receive(&sealed.envelope, NOW).unwrap().is_ok());
    mallory.prekeys.consume(&[]);
}

#[test]
fn a_message_opens_once() {
    let mut rng = StdRng::seed_from_u64(4);
    for answered in [false, true] {
        let (mut a, mut b) = conversation(&mut rng, answered);
        let sealed = a.send(&mut rng, &mut b.device, b"once", Purpose::Message, NOW);
        b.take(&sealed.envelope, NOW);
        let replayed = b.receive(&sealed.envelope, NOW).unwrap().err().unwrap();
        assert!(matches!(replayed, OpenError::Ratchet(RatchetError::AlreadyUsed)), "{replayed}");
    }
}

#[test]
fn keys_of_small_order_are_refused_wherever_they_stand() {
    let mut rng = StdRng::seed_from_u64(5);
    let (mut a, mut b) = conversation(&mut rng, false);
    let me = Arc::clone(&a.device.secret);
    for point in low_order_points() {
        // As an identity key in a certificate.
        let certificate =
            Certificate { identity_key: IdentityKey(point), ..b.device.certificate.certificate().clone() };
        let signed = b.device.account.sign_certificate(&certificate).unwrap();
        assert_eq!(Pair::new(&me, &a.device.certificate, &signed).err(), Some(PairError::LowOrder));
        // As the envelope's ephemeral key.
        let envelope = Envelope { ephemeral: PrekeyPublic(point), part1: vec![0; 336], part2: vec![0; 2064] };
        assert_eq!(open_sender(&b.device.secret, &envelope).err(), Some(UnsealError::Sender));
        // As a one-time prekey, which is not signed.
        let mut bundle = b.device.bundle(&mut rng, true, NOW);
        bundle.one_time.as_mut().unwrap().key = PrekeyPublic(point);
        let refused = a.sessions.start(&mut rng, &a.pair, &bundle, Purpose::Message, NOW).err();
        assert_eq!(refused, Some(StartError(HandshakeError::LowOrder)));
        // As the handshake's ephemeral key (at 4 + 1 + 8) and as the ratchet key (4 bytes behind the header).
        let mut fresh = End { sessions: PeerSessions::new(), ..conversation(&mut rng, false).0 };
        fresh.device = Device::new(&mut rng, "carol", NOW);
        fresh.pair = fresh.device.pair_with(&b.device.certificate);
        let sealed = fresh.send(&mut rng, &mut b.device, b"x", Purpose::Message, NOW);
        let pair = b.device.pair_with(&fresh.device.certificate);
        let body = open_sender(&b.device.secret, &sealed.envelope).unwrap().open_body(&pair).unwrap();
        let header_length =
            usize::try_from(u32::from_be_bytes(body.message()[..4].try_into().unwrap())).unwrap();
        for (at, ephemeral) in [(4 + 1 + 8, true), (4 + header_length + 4, false)] {
            let mut message = body.message().to_vec();
            message[at..at + 32].copy_from_slice(&point);
            let refused = PeerSessions::new()
                .open(&pair, &forged(&body, message), &b.device.prekeys, NOW)
                .err()
                .unwrap();
            match refused {
                OpenError::Handshake => assert!(ephemeral),
                OpenError::Ratchet(RatchetError::LowOrder) => assert!(!ephemeral),
                other => panic!("{other}"),
            }
        }
    }
    assert!(
        a.send(&mut rng, &mut b.device, b"still works", Purpose::Message, NOW).envelope.part2.len()
            > PADDING_FLOOR
    );
}

#[test]
fn a_bundle_is_verified_against_the_certificate() {
    let mut rng = StdRng::seed_from_u64(6);
    let (a, mut b) = conversation(&mut rng, false);
    let mut other = Device::new(&mut rng, "bob", NOW);
    let start = |bundle: &_, now_ms| {
        let mut rng = StdRng::seed_from_u64(9);
        a.sessions.start(&mut rng, &a.pair, bundle, Purpose::Message, now_ms).map(|_| ())
    };
    let good = b.device.bundle(&mut rng, true, NOW);
    assert_eq!(start(&good, NOW), Ok(()));
    let foreign = other.bundle(&mut rng, true, NOW);
    assert_eq!(start(&foreign, NOW), Err(StartError(HandshakeError::WrongDevice)));
    let mut renamed = foreign.clone();
    renamed.device = good.device;
    assert!(matches!(start(&renamed, NOW), Err(StartError(HandshakeError::Prekey(_)))));
    let mut swapped = good.clone();
    swapped.kem = foreign.kem.clone();
    assert!(matches!(start(&swapped, NOW), Err(StartError(HandshakeError::Prekey(_)))));
    // A one-time KEM key handed out as a last-resort one is signed under another label.
    let mut relabelled = good.clone();
    relabelled.kem_one_time = false;
    assert!(matches!(start(&relabelled, NOW), Err(StartError(HandshakeError::Prekey(_)))));
    let mut renumbered = good.clone();
    renumbered.signed.id = PrekeyId(99);
    assert!(matches!(start(&renumbered, NOW), Err(StartError(HandshakeError::Prekey(_)))));
    let expired = NOW + sotto_proto::limits::PREKEY_LIFETIME_MS;
    assert!(matches!(start(&good, expired), Err(StartError(HandshakeError::Prekey(_)))));
    assert_eq!(start(&good, expired - 1), Ok(()));
}

#[test]
fn an_invalid_kem_prekey_is_refused_although_it_is_signed() {
    let mut rng = StdRng::seed_from_u64(7);
    let (a, mut b) = conversation(&mut rng, false);
    let certificate = b.device.certificate.certificate().clone();
    let mut bundle = b.device.bundle(&mut rng, false, NOW);
    bundle.kem.key = KemKey::from_slice(&[0xff; 1184]).unwrap();
    let input = sotto_proto::prekey::signing_input(
        sotto_proto::prekey::SignedPrekeyKind::LastResortKem,
        &certificate.account,
        &certificate.device,
        bundle.kem.id,
        bundle.kem.validity,
        bundle.kem.key.as_bytes(),
    );
    bundle.kem.signature = b.device.secret.sign(&input);
    let refused = a.sessions.start(&mut rng, &a.pair, &bundle, Purpose::Message, NOW).err();
    assert_eq!(refused, Some(StartError(HandshakeError::KemKey)));
}

#[test]
fn the_padding_is_zeros_and_canonical() {
    let mut rng = StdRng::seed_from_u64(8);
    let (a, b) = conversation(&mut rng, false);
    for length in [0, 1, PADDING_FLOOR - 21, PADDING_FLOOR - 20, 3_000, 40_000] {
        let body = SealedBody::new(BodyKind::Ratchet, SessionId([1; 16]), vec![7; length]);
        let envelope = seal::seal(&mut rng, &a.pair, &body).unwrap();
        let opened = b.body(&envelope).unwrap();
        assert_eq!(opened.message(), body.message());
        let floor = length <= PADDING_FLOOR - 21;
        assert_eq!(envelope.part2.len() == PADDING_FLOOR + 16, floor, "length {length}");
    }
}

#[test]
fn the_largest_content_fits_into_an_envelope_and_more_is_refused() {
    let mut rng = StdRng::seed_from_u64(9);
    let (mut a, mut b) = conversation(&mut rng, false);
    let content = vec![1; MAX_CONTENT];
    let sealed = a.send(&mut rng, &mut b.device, &content, Purpose::Message, NOW);
    assert!(sealed.envelope.encode().len() <= MAX_ENVELOPE);
    assert_eq!(b.take(&sealed.envelope, NOW), content);
    let sealed = b.send(&mut rng, &mut a.device, &content, Purpose::Message, NOW);
    assert!(sealed.envelope.encode().len() <= MAX_ENVELOPE);
    assert_eq!(a.take(&sealed.envelope, NOW), content);
    let refused = a.sessions.seal(&mut rng, &a.pair, &vec![1; MAX_CONTENT + 1], Purpose::Message, NOW).err();
    assert_eq!(refused, Some(SealError::TooLarge));
}

#[test]
fn a_pair_needs_its_own_certificate_and_sessions_belong_to_their_pair() {
    let mut rng = StdRng::seed_from_u64(10);
    let (mut a, mut b) = conversation(&mut rng, true);
    let mallory = Device::new(&mut rng, "mallory", NOW);
    let stolen = Pair::new(&mallory.secret, &a.device.certificate, &b.device.certificate).err();
    assert_eq!(stolen, Some(PairError::NotMine));
    // Nor is a certificate its own that has only one of its keys.
    for mixed in [true, false] {
        let mut half = a.device.certificate.certificate().clone();
        let (one, other) = if mixed { (&a.device, &mallory) } else { (&mallory, &a.device) };
        (half.device_key, half.identity_key) = (one.secret.device_key(), other.secret.identity_key());
        let half = a.device.account.sign_certificate(&half).unwrap();
        let refused = Pair::new(&a.device.secret, &half, &b.device.certificate).err();
        assert_eq!(refused, Some(PairError::NotMine));
    }
    let wrong = a.device.pair_with(&mallory.certificate);
    let refused = a.sessions.seal(&mut rng, &wrong, b"x", Purpose::Message, NOW).err();
    assert_eq!(refused, Some(SealError::WrongPair));
    let sealed = b.send(&mut rng, &mut a.device, b"x", Purpose::Message, NOW);
    let body = a.body(&sealed.envelope).unwrap();
    let refused = a.sessions.open(&wrong, &body, &a.device.prekeys, NOW).err().unwrap();
    assert!(matches!(refused, OpenError::WrongPair));
}

proptest! {
    #[test]
    fn any_body_is_refused(initial: bool, known: bool, message in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let mut rng = StdRng::seed_from_u64(11);
        let (a, _) = conversation(&mut rng, true);
        let kind = if initial { BodyKind::Initial } else { BodyKind::Ratchet };
        let session = if known { a.sessions.sessions().next().unwrap() } else { SessionId([0; 16]) };
        prop_assert!(a.try_open(&SealedBody::new(kind, session, message), NOW).is_err());
    }
}

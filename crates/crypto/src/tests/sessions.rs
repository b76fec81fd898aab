//! Which session sends, which is readable, and how two devices find together again.

use rand::{SeedableRng, rngs::StdRng};
use sotto_proto::{
    Envelope,
    limits::{
        DAY_MS, MAX_GENERATION, MAX_SESSIONS_PER_DEVICE, RETENTION_MS, UNANSWERED_SESSION_MS, session_kept_ms,
    },
    prekey::PrekeyId,
};

use super::conversation::{End, ends};
use crate::{
    BodyKind, BundleRequest, ConsumedPrekey, KemPrekeySecret, KemUse, OpenError, PeerSessions, Purpose,
    RatchetError, SealError, Sealed,
};

const NOW: u64 = 1_700_000_000_000;
const REQUEST: Purpose<'static> = Purpose::ResendRequest { failed_in: &[] };

fn send(rng: &mut StdRng, from: &mut End, to: &mut End, now_ms: u64) -> Sealed {
    from.send(rng, &mut to.device, b"x", Purpose::Message, now_ms)
}

/// Starts another handshake although the present session works.
fn restart(rng: &mut StdRng, from: &mut End, to: &mut End, purpose: Purpose<'_>, now_ms: u64) {
    let bundle = to.device.bundle(rng, true, now_ms);
    let next = from.sessions.start(rng, &from.pair, &bundle, purpose, now_ms).unwrap();
    from.store(&next);
}

fn refused(end: &mut End, envelope: &Envelope, now_ms: u64) -> OpenError {
    end.receive(envelope, now_ms).unwrap().err().unwrap()
}

/// Sessions that believe they have seen this generation.
fn at_generation(highest: u64) -> PeerSessions {
    let record = [&[1][..], &highest.to_be_bytes(), &[0; 12]].concat();
    let sessions = PeerSessions::from_bytes(&record).unwrap();
    assert_eq!(sessions.highest(), highest);
    sessions
}

#[test]
fn the_header_is_repeated_until_it_is_answered() {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut a, mut b) = ends(&mut rng, NOW);
    assert_eq!(a.sessions.needs_bundle(Purpose::Message, NOW), Some(BundleRequest { one_time: true }));
    let refused = a.sessions.seal(&mut rng, &a.pair, b"x", Purpose::Message, NOW).err();
    assert_eq!(refused, Some(SealError::NeedsBundle(BundleRequest { one_time: true })));
    let first = send(&mut rng, &mut a, &mut b, NOW);
    let second = send(&mut rng, &mut a, &mut b, NOW);
    assert_eq!(first.session, second.session);
    for sealed in [&first, &second] {
        assert_eq!(b.body(&sealed.envelope).unwrap().kind(), BodyKind::Initial);
    }
    // The first is lost; the second makes the session all the same.
    let opened = b.receive(&second.envelope, NOW).unwrap().unwrap();
    assert_eq!(opened.consumed.len(), 2);
    assert!(matches!(opened.consumed[..], [ConsumedPrekey::Curve(_), ConsumedPrekey::Kem(_)]));
    let answer = send(&mut rng, &mut b, &mut a, NOW);
    assert_eq!(answer.session, first.session);
    assert_eq!(a.body(&answer.envelope).unwrap().kind(), BodyKind::Ratchet);
    a.take(&answer.envelope, NOW);
    let third = send(&mut rng, &mut a, &mut b, NOW);
    assert_eq!(b.body(&third.envelope).unwrap().kind(), BodyKind::Ratchet);
    // What was overtaken opens still, and consumes nothing again.
    assert!(b.receive(&first.envelope, NOW).unwrap().unwrap().consumed.is_empty());
}

#[test]
fn crossing_handshakes_end_in_one_session() {
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut a, mut b) = ends(&mut rng, NOW);
        let from_a = send(&mut rng, &mut a, &mut b, NOW);
        let from_b = send(&mut rng, &mut b, &mut a, NOW);
        assert_ne!(from_a.session, from_b.session);
        b.take(&from_a.envelope, NOW);
        a.take(&from_b.envelope, NOW);
        assert_eq!(a.sessions.sending_session(NOW), b.sessions.sending_session(NOW));
        for _ in 0..3 {
            let sealed = send(&mut rng, &mut a, &mut b, NOW);
            b.take(&sealed.envelope, NOW);
            let answer = send(&mut rng, &mut b, &mut a, NOW);
            a.take(&answer.envelope, NOW);
            assert_eq!(sealed.session, answer.session);
        }
    }
}

#[test]
fn a_session_that_nobody_answers_carries_no_message_after_seven_days() {
    let mut rng = StdRng::seed_from_u64(2);
    let (mut a, mut b) = ends(&mut rng, NOW);
    let old = send(&mut rng, &mut a, &mut b, NOW);
    let stale = NOW + UNANSWERED_SESSION_MS;
    assert_eq!(a.sessions.needs_bundle(Purpose::Message, stale - 1), None);
    assert_eq!(a.sessions.needs_bundle(Purpose::Message, stale), Some(BundleRequest { one_time: true }));
    let new = send(&mut rng, &mut a, &mut b, stale);
    assert_ne!(old.session, new.session);
    // Both open, and both sides go on in the newer one.
    b.take(&new.envelope, stale);
    b.take(&old.envelope, stale);
    assert_eq!(send(&mut rng, &mut b, &mut a, stale).session, new.session);
    // An answer makes it good for as long again, and no longer: the peer may forget it.
    let answer = send(&mut rng, &mut b, &mut a, stale);
    a.take(&answer.envelope, stale + 1);
    let silent = stale + 1 + UNANSWERED_SESSION_MS;
    assert_eq!(a.sessions.needs_bundle(Purpose::Message, silent - 1), None);
    assert_eq!(a.sessions.needs_bundle(Purpose::Message, silent), Some(BundleRequest { one_time: true }));
}

#[test]
fn requests_go_in_an_own_handshake_and_do_not_drain_one_time_keys() {
    let mut rng = StdRng::seed_from_u64(3);
    let (mut a, mut b) = ends(&mut rng, NOW);
    let sealed = send(&mut rng, &mut a, &mut b, NOW);
    b.take(&sealed.envelope, NOW);
    // B has only a session that the peer made: somebody else may have.
    assert_eq!(b.sessions.needs_bundle(Purpose::Message, NOW), None);
    assert_eq!(b.sessions.needs_bundle(REQUEST, NOW), Some(BundleRequest { one_time: true }));
    let request = b.send(&mut rng, &mut a.device, b"again", REQUEST, NOW);
    // It is used again for a day.
    assert_eq!(b.sessions.needs_bundle(REQUEST, NOW + DAY_MS - 1), None);
    let failed_in = [request.session];
    let elsewhere = Purpose::ResendRequest { failed_in: &failed_in };
    assert_eq!(b.sessions.needs_bundle(elsewhere, NOW), Some(BundleRequest { one_time: false }));
    // The second one in a row names no one-time keys.
    let tomorrow = NOW + DAY_MS;
    assert_eq!(b.sessions.needs_bundle(REQUEST, tomorrow), Some(BundleRequest { one_time: false }));
    let second = b.send(&mut rng, &mut a.device, b"again", REQUEST, tomorrow);
    assert_ne!(second.session, request.session);
    assert!(a.receive(&second.envelope, tomorrow).unwrap().unwrap().consumed.is_empty());
    // An answer proves it for another day, and starts the count anew.
    let answer = send(&mut rng, &mut a, &mut b, tomorrow);
    assert_eq!(answer.session, second.session);
    b.take(&answer.envelope, tomorrow);
    assert_eq!(b.sessions.needs_bundle(REQUEST, tomorrow + DAY_MS - 1), None);
    assert_eq!(b.sessions.needs_bundle(REQUEST, tomorrow + DAY_MS), Some(BundleRequest { one_time: true }));
}

#[test]
fn a_handshake_that_names_a_missing_key_raises_the_generation() {
    let mut rng = StdRng::seed_from_u64(4);
    let (mut a, mut b) = ends(&mut rng, NOW);
    a.sessions = at_generation(41);
    let lost = send(&mut rng, &mut a, &mut b, NOW);
    b.device.prekeys.one_time.clear();
    assert!(matches!(refused(&mut b, &lost.envelope, NOW), OpenError::MissingPrekey { .. }));
    assert_eq!(b.sessions.highest(), 42);
    let request = b.send(&mut rng, &mut a.device, b"again", REQUEST, NOW);
    a.take(&request.envelope, NOW);
    assert_eq!(a.sessions.highest(), 43);
    let next = send(&mut rng, &mut a, &mut b, NOW);
    assert_eq!(next.session, request.session, "the higher generation sends");
    b.take(&next.envelope, NOW);
}

#[test]
fn every_prekey_may_be_missing() {
    let mut rng = StdRng::seed_from_u64(5);
    let (mut a, mut b) = ends(&mut rng, NOW);
    let sealed = send(&mut rng, &mut a, &mut b, NOW);
    for table in 0..3 {
        let mut kept = std::mem::take(&mut b.device.prekeys);
        let (mut signed, mut one_time, mut kem) =
            (kept.signed.clone(), kept.one_time.clone(), kept.kem.clone());
        match table {
            0 => signed.clear(),
            1 => one_time.clear(),
            _ => kem.clear(),
        }
        std::mem::swap(&mut kept.signed, &mut signed);
        std::mem::swap(&mut kept.one_time, &mut one_time);
        std::mem::swap(&mut kept.kem, &mut kem);
        b.device.prekeys = kept;
        assert!(matches!(refused(&mut b, &sealed.envelope, NOW), OpenError::MissingPrekey { .. }));
        b.device.prekeys.signed = signed;
        b.device.prekeys.one_time = one_time;
        b.device.prekeys.kem = kem;
    }
    // A store that cannot be read says nothing about the message.
    b.device.prekeys.broken = true;
    assert!(matches!(refused(&mut b, &sealed.envelope, NOW), OpenError::Source(_)));
    b.device.prekeys.broken = false;
    b.take(&sealed.envelope, NOW);
}

#[test]
fn a_generation_above_the_limit_is_refused_and_at_the_limit_handshakes_go_on() {
    let mut rng = StdRng::seed_from_u64(6);
    let (mut a, mut b) = ends(&mut rng, NOW);
    a.sessions = at_generation(MAX_GENERATION);
    let sealed = send(&mut rng, &mut a, &mut b, NOW);
    let body = b.body(&sealed.envelope).unwrap();
    let mut message = body.message().to_vec();
    // version u8, generation u64 behind the header's length.
    assert_eq!(message[5..13], MAX_GENERATION.to_be_bytes());
    message[5..13].copy_from_slice(&(MAX_GENERATION + 1).to_be_bytes());
    let header =
        &message[4..4 + usize::try_from(u32::from_be_bytes(message[..4].try_into().unwrap())).unwrap()];
    let session = crate::handshake::session_id(&crate::handshake::header_hash(header));
    let forged = crate::SealedBody::new(BodyKind::Initial, session, message);
    assert!(matches!(b.try_open(&forged, NOW).err().unwrap(), OpenError::Malformed(_)));
    assert_eq!(b.sessions.highest(), 0);
    b.take(&sealed.envelope, NOW);
    restart(&mut rng, &mut b, &mut a, Purpose::Message, NOW);
    assert_eq!(b.sessions.highest(), MAX_GENERATION);
    let answer = send(&mut rng, &mut b, &mut a, NOW);
    a.take(&answer.envelope, NOW);
    assert_eq!(a.sessions.sending_session(NOW), b.sessions.sending_session(NOW));
}

/// An attacker who has B's private keys plants a session under A's name with the highest generation.
#[test]
fn a_planted_session_is_condemned_and_the_conversation_recovers() {
    let mut rng = StdRng::seed_from_u64(7);
    let (mut a, mut b) = ends(&mut rng, NOW);
    let sealed = send(&mut rng, &mut a, &mut b, NOW);
    b.take(&sealed.envelope, NOW);
    let answer = send(&mut rng, &mut b, &mut a, NOW);
    a.take(&answer.envelope, NOW);

    let real = std::mem::replace(&mut a.sessions, at_generation(MAX_GENERATION - 1));
    let planted = send(&mut rng, &mut a, &mut b, NOW);
    a.sessions = real;
    b.take(&planted.envelope, NOW);

    // B writes into the planted session, which A does not have.
    let astray = send(&mut rng, &mut b, &mut a, NOW);
    assert_eq!(astray.session, planted.session);
    assert!(matches!(refused(&mut a, &astray.envelope, NOW), OpenError::UnknownSession));
    let failed_in = [astray.session];
    let request =
        a.send(&mut rng, &mut b.device, b"again", Purpose::ResendRequest { failed_in: &failed_in }, NOW);
    b.take(&request.envelope, NOW);
    let same = b.sessions.condemn(astray.session, astray.session);
    assert_eq!(
        same.sending_session(NOW),
        Some(planted.session),
        "a request in the session itself condemns nothing"
    );
    let condemned = b.sessions.condemn(astray.session, request.session);
    b.store(&condemned);
    for _ in 0..3 {
        let sealed = send(&mut rng, &mut b, &mut a, NOW);
        assert_eq!(sealed.session, request.session);
        a.take(&sealed.envelope, NOW);
        let sealed = send(&mut rng, &mut a, &mut b, NOW);
        b.take(&sealed.envelope, NOW);
    }
    // The next handshake of either side works as well, although the highest generation is taken.
    restart(&mut rng, &mut b, &mut a, Purpose::Message, NOW);
    let sealed = send(&mut rng, &mut b, &mut a, NOW);
    a.take(&sealed.envelope, NOW);
    // What was planted stays readable.
    assert!(b.sessions.sessions().any(|session| session == planted.session));
}

/// Both sides hold a planted session: neither can read what the other writes, requests included.
#[test]
fn sessions_planted_on_both_sides_are_overcome() {
    let mut rng = StdRng::seed_from_u64(8);
    let (mut a, mut b) = ends(&mut rng, NOW);
    let real = std::mem::replace(&mut a.sessions, at_generation(MAX_GENERATION - 1));
    let at_b = send(&mut rng, &mut a, &mut b, NOW);
    a.sessions = real;
    let real = std::mem::replace(&mut b.sessions, at_generation(MAX_GENERATION - 1));
    let at_a = send(&mut rng, &mut b, &mut a, NOW);
    b.sessions = real;
    a.take(&at_a.envelope, NOW);
    b.take(&at_b.envelope, NOW);

    let from_a = send(&mut rng, &mut a, &mut b, NOW);
    assert!(matches!(refused(&mut b, &from_a.envelope, NOW), OpenError::UnknownSession));
    let failed_in = [from_a.session];
    let request =
        b.send(&mut rng, &mut a.device, b"again", Purpose::ResendRequest { failed_in: &failed_in }, NOW);
    a.take(&request.envelope, NOW);
    let condemned = a.sessions.condemn(from_a.session, request.session);
    a.store(&condemned);
    let again = send(&mut rng, &mut a, &mut b, NOW);
    assert_eq!(again.session, request.session);
    b.take(&again.envelope, NOW);
}

#[test]
fn at_most_twenty_sessions_are_kept_and_a_dropped_one_is_known_as_gone() {
    let mut rng = StdRng::seed_from_u64(9);
    let (mut a, mut b) = ends(&mut rng, NOW);
    let mut sealed = Vec::new();
    for round in 0..MAX_SESSIONS_PER_DEVICE as u64 + 2 {
        // Without one-time keys, so that the header alone could be accepted again.
        let bundle = b.device.bundle(&mut rng, false, NOW);
        let next = a.sessions.start(&mut rng, &a.pair, &bundle, Purpose::Message, NOW + round).unwrap();
        a.store(&next);
        sealed.push(send(&mut rng, &mut a, &mut b, NOW + round));
        b.take(&sealed.last().unwrap().envelope, NOW + round);
    }
    for sessions in [&a.sessions, &b.sessions] {
        assert_eq!(sessions.sessions().count(), MAX_SESSIONS_PER_DEVICE);
        assert_eq!(sessions.sending_session(NOW), Some(sealed.last().unwrap().session));
    }
    assert!(matches!(refused(&mut b, &sealed[0].envelope, NOW), OpenError::GoneSession));
    assert!(matches!(refused(&mut b, &sealed[1].envelope, NOW), OpenError::GoneSession));
    let kept = refused(&mut b, &sealed[2].envelope, NOW);
    assert!(matches!(kept, OpenError::Ratchet(RatchetError::AlreadyUsed)), "{kept}");
}

#[test]
fn of_the_dropped_sessions_the_last_two_hundred_are_known() {
    let mut rng = StdRng::seed_from_u64(14);
    let (mut a, mut b) = ends(&mut rng, NOW);
    let bundle = b.device.bundle(&mut rng, false, NOW);
    let mut sealed = Vec::new();
    for round in 0..MAX_SESSIONS_PER_DEVICE as u64 + 201 {
        let next = a.sessions.start(&mut rng, &a.pair, &bundle, Purpose::Message, NOW + round).unwrap();
        a.store(&next);
        sealed.push(send(&mut rng, &mut a, &mut b, NOW + round));
        b.take(&sealed.last().unwrap().envelope, NOW + round);
    }
    assert!(matches!(refused(&mut b, &sealed[1].envelope, NOW + 300), OpenError::GoneSession));
    // The first one is forgotten, and its header names no one-time key: it counts as new.
    b.take(&sealed[0].envelope, NOW + 300);
    assert!(matches!(refused(&mut b, &sealed[2].envelope, NOW + 300), OpenError::GoneSession));
}

#[test]
fn a_flood_of_lower_sessions_does_not_push_out_the_one_that_sends() {
    let mut rng = StdRng::seed_from_u64(12);
    let (mut a, mut b) = ends(&mut rng, NOW);
    a.sessions = at_generation(49);
    let first = send(&mut rng, &mut a, &mut b, NOW);
    b.take(&first.envelope, NOW);
    let real = std::mem::take(&mut a.sessions);
    for round in 1..=MAX_SESSIONS_PER_DEVICE as u64 + 5 {
        a.sessions = PeerSessions::new();
        let flood = send(&mut rng, &mut a, &mut b, NOW + round);
        b.take(&flood.envelope, NOW + round);
    }
    a.sessions = real;
    assert_eq!(b.sessions.sending_session(NOW), Some(first.session));
    let sealed = send(&mut rng, &mut b, &mut a, NOW + 100);
    a.take(&sealed.envelope, NOW + 100);
}

#[test]
fn a_source_that_hands_out_another_key_than_was_named_has_none() {
    let mut rng = StdRng::seed_from_u64(13);
    let (mut a, mut b) = ends(&mut rng, NOW);
    let bundle = b.device.bundle(&mut rng, false, NOW);
    let next = a.sessions.start(&mut rng, &a.pair, &bundle, Purpose::Message, NOW).unwrap();
    a.store(&next);
    let sealed = send(&mut rng, &mut a, &mut b, NOW);
    let named = (KemUse::LastResort, bundle.kem.id);
    let own = b.device.prekeys.kem[&named].clone();
    for other in [
        KemPrekeySecret::generate(&mut rng, KemUse::OneTime, bundle.kem.id, NOW),
        KemPrekeySecret::generate(&mut rng, KemUse::LastResort, PrekeyId(999), NOW),
    ] {
        b.device.prekeys.kem.insert(named, other.to_bytes().to_vec());
        assert!(matches!(refused(&mut b, &sealed.envelope, NOW), OpenError::MissingPrekey { .. }));
    }
    b.device.prekeys.kem.insert(named, own);
    b.take(&sealed.envelope, NOW);
}

#[test]
fn old_sessions_are_readable_for_as_long_as_something_may_come_in_them() {
    let mut rng = StdRng::seed_from_u64(10);
    let (mut a, mut b) = ends(&mut rng, NOW);
    let first = send(&mut rng, &mut a, &mut b, NOW);
    let late = send(&mut rng, &mut a, &mut b, NOW);
    b.take(&first.envelope, NOW);
    restart(&mut rng, &mut a, &mut b, Purpose::Message, NOW);
    let newer = send(&mut rng, &mut a, &mut b, NOW + 1);
    b.take(&newer.envelope, NOW + 1);
    let keep_ms = session_kept_ms(RETENTION_MS);
    assert_eq!(b.sessions.prune(NOW + keep_ms, RETENTION_MS).sessions().count(), 2);
    let pruned = b.sessions.prune(NOW + keep_ms + 1, RETENTION_MS);
    assert_eq!(pruned.sessions().collect::<Vec<_>>(), [newer.session]);
    assert_eq!(pruned.prune(NOW + keep_ms + 2, RETENTION_MS).sessions().count(), 0);
    b.store(&pruned);
    let gone_ms = NOW + keep_ms + 1;
    assert!(matches!(refused(&mut b, &late.envelope, gone_ms), OpenError::GoneSession));
    // That it is gone is known for as long again.
    b.store(&b.sessions.prune(gone_ms + keep_ms, RETENTION_MS));
    assert!(matches!(refused(&mut b, &late.envelope, gone_ms + keep_ms), OpenError::GoneSession));
    b.store(&b.sessions.prune(gone_ms + keep_ms + 1, RETENTION_MS));
    assert!(matches!(
        refused(&mut b, &late.envelope, gone_ms + keep_ms + 1),
        OpenError::MissingPrekey { .. }
    ));
}

#[test]
fn a_lost_profile_with_the_same_keys_is_found_again() {
    let mut rng = StdRng::seed_from_u64(11);
    let (mut a, mut b) = ends(&mut rng, NOW);
    for _ in 0..3 {
        let sealed = send(&mut rng, &mut a, &mut b, NOW);
        b.take(&sealed.envelope, NOW);
        let sealed = send(&mut rng, &mut b, &mut a, NOW);
        a.take(&sealed.envelope, NOW);
    }
    b.sessions = PeerSessions::new();
    let lost = send(&mut rng, &mut a, &mut b, NOW);
    assert!(matches!(refused(&mut b, &lost.envelope, NOW), OpenError::UnknownSession));
    let failed_in = [lost.session];
    let request =
        b.send(&mut rng, &mut a.device, b"again", Purpose::ResendRequest { failed_in: &failed_in }, NOW);
    a.take(&request.envelope, NOW);
    let condemned = a.sessions.condemn(lost.session, request.session);
    a.store(&condemned);
    let again = send(&mut rng, &mut a, &mut b, NOW);
    b.take(&again.envelope, NOW);
}

//! Reading, acks, fates, expiry.

use sotto_proto::{
    DeviceId, FateTag, QueueNumber,
    frame::FateState,
    limits::{FATE_MARGIN_MS, MAX_ENVELOPE},
};

use super::{
    Engine, Person,
    fixture::{envelope, expire_all, put, tag},
};
use crate::{AckOutcome, Store, StoreConfig};

const RETENTION_MS: u64 = 1_000_000;

pub(super) fn all<E: Engine>() {
    a_read_stops_at_its_size::<E>();
    an_ack_removes_and_is_cumulative::<E>();
    an_ack_of_a_number_never_given_hides_nothing::<E>();
    fates_follow_the_envelope::<E>();
    expiry_raises_lost_through::<E>();
    many_rows_expire_in_portions::<E>();
    large_envelopes_come_back_whole::<E>();
    an_incarnation_lasts::<E>();
    a_tag_used_twice_follows_the_newer_envelope::<E>();
}

fn numbers<S: Store>(store: &S, device: DeviceId) -> Vec<QueueNumber> {
    let all = store.read(device, QueueNumber(0), usize::MAX).wait().unwrap();
    all.into_iter().map(|delivery| delivery.number).collect()
}

fn removed<E: Engine>(engine: &E, device: DeviceId, through: QueueNumber) -> Vec<FateTag> {
    match engine.store().ack(device, through).wait() {
        Ok(AckOutcome::Removed(tags)) => tags,
        other => panic!("not removed: {other:?}"),
    }
}

fn with_alice<E: Engine>() -> (E, Person) {
    let engine = E::create(StoreConfig { retention_ms: RETENTION_MS, ..StoreConfig::default() });
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    (engine, alice)
}

fn a_read_stops_at_its_size<E: Engine>() {
    let (engine, alice) = with_alice::<E>();
    let neighbours = [Person::new("bob", 2), Person::new("carol", 3)];
    for (number, person) in (100..).zip(&neighbours) {
        person.register(engine.store());
        put(engine.store(), number, 1, vec![envelope(person.device, number, 100)]);
    }
    let envelopes = (0..10).map(|number| envelope(alice.device, number, 1000)).collect();
    put(engine.store(), 1, 77, envelopes);
    let read = |after: QueueNumber, max| engine.store().read(alice.device, after, max).wait().unwrap();
    assert_eq!(read(QueueNumber(0), 0).len(), 1, "at least one");
    assert_eq!(read(QueueNumber(0), 1).len(), 1);
    assert_eq!(read(QueueNumber(0), 3000).len(), 3);
    assert_eq!(read(QueueNumber(0), 3001).len(), 4);
    assert_eq!(read(QueueNumber(0), usize::MAX).len(), 10, "and nothing of the neighbours");
    let (mut after, mut seen) = (QueueNumber(0), Vec::new());
    while let [.., last] = read(after, 2500).as_slice() {
        seen.extend(read(after, 2500).into_iter().map(|delivery| (delivery.stored_ms, delivery.envelope)));
        after = last.number;
    }
    let expected: Vec<_> =
        (0..10).map(|number| (77, envelope(alice.device, number, 1000).envelope)).collect();
    assert_eq!(seen, expected);
    assert!(read(QueueNumber(u64::MAX), 1).is_empty());
}

fn an_ack_removes_and_is_cumulative<E: Engine>() {
    let (mut engine, alice) = with_alice::<E>();
    put(engine.store(), 1, 1, (0..6).map(|number| envelope(alice.device, number, 50)).collect());
    let all = numbers(engine.store(), alice.device);
    assert_eq!(removed(&engine, alice.device, all[2]), [tag(0), tag(1), tag(2)]);
    assert_eq!(removed(&engine, alice.device, all[1]), [], "lower than before");
    assert_eq!(removed(&engine, alice.device, all[2]), [], "the same");
    engine.reopen();
    assert_eq!(numbers(engine.store(), alice.device), all[3..]);
    let state = engine.store().mailbox(alice.device).wait().unwrap().unwrap();
    assert_eq!((state.acked, state.lost_through), (all[2], QueueNumber(0)));
    assert_eq!(removed(&engine, alice.device, all[5]), [tag(3), tag(4), tag(5)]);
    assert!(numbers(engine.store(), alice.device).is_empty());
    assert_eq!(removed(&engine, DeviceId([9; 16]), all[5]), []);
}

fn an_ack_of_a_number_never_given_hides_nothing<E: Engine>() {
    let (mut engine, alice) = with_alice::<E>();
    let mailbox = |engine: &E| engine.store().mailbox(alice.device).wait().unwrap().unwrap();
    put(engine.store(), 1, 1_000, (1..=4).map(|number| envelope(alice.device, number, 50)).collect());
    let all = numbers(engine.store(), alice.device);
    assert_eq!(removed(&engine, alice.device, all[0]), [tag(1)]);
    let before = mailbox(&engine);
    // Only a newer state of this store can have given it.
    let never = QueueNumber(u64::MAX);
    assert_eq!(engine.store().ack(alice.device, never).wait(), Ok(AckOutcome::BegunAnew));
    let anew = mailbox(&engine);
    assert_ne!(anew.incarnation, before.incarnation);
    assert_eq!((anew.acked, anew.lost_through), (QueueNumber(0), QueueNumber(0)));
    let fates = engine.store().fates(vec![tag(1), tag(2)]).wait();
    assert_eq!(fates, Ok(vec![FateState::Taken, FateState::Waiting]));
    engine.reopen();
    assert_eq!(mailbox(&engine), anew, "it lasts");
    let later = put(engine.store(), 2, 2_000, vec![envelope(alice.device, 5, 50)]).numbers[0].unwrap();
    assert_eq!(numbers(engine.store(), alice.device), [all[1], all[2], all[3], later]);
    assert_eq!(removed(&engine, alice.device, all[1]), [tag(2)]);
    assert_eq!(mailbox(&engine), anew, "a reader that starts from the front is no old copy");
    expire_all(engine.store(), 1_000 + RETENTION_MS);
    assert_eq!(mailbox(&engine).lost_through, all[3], "what is lost from here on is said");
    assert_eq!(removed(&engine, alice.device, later), [tag(5)]);
    assert_eq!((mailbox(&engine).incarnation, mailbox(&engine).acked), (anew.incarnation, later));
    assert_eq!(engine.store().ack(alice.device, never).wait(), Ok(AckOutcome::BegunAnew));
    let again = mailbox(&engine);
    assert_ne!(again.incarnation, anew.incarnation, "another each time");
    assert_eq!(again.acked, QueueNumber(0), "also where all that there was had been acked");
    assert_eq!(again.lost_through, QueueNumber(0), "what was lost before was told before");
    assert_eq!(engine.store().ack(alice.device, never).wait(), Ok(AckOutcome::BegunAnew));
    assert!(![again.incarnation, anew.incarnation].contains(&mailbox(&engine).incarnation));
    assert_eq!(engine.store().ack(DeviceId([9; 16]), never).wait(), Ok(AckOutcome::Removed(Vec::new())));
}

fn fates_follow_the_envelope<E: Engine>() {
    let (mut engine, alice) = with_alice::<E>();
    put(engine.store(), 1, 1_000, (1..=3).map(|number| envelope(alice.device, number, 50)).collect());
    let all = numbers(engine.store(), alice.device);
    engine.store().ack(alice.device, all[0]).wait().unwrap();
    let fates = |engine: &E| engine.store().fates(vec![tag(1), tag(2), tag(9), tag(2)]).wait().unwrap();
    let (waiting, taken, expired, unknown) =
        (FateState::Waiting, FateState::Taken, FateState::Expired, FateState::Unknown);
    assert_eq!(fates(&engine), [taken, waiting, unknown, waiting]);
    engine.reopen();
    assert_eq!(fates(&engine), [taken, waiting, unknown, waiting]);
    assert_eq!(expire_all(engine.store(), 1_000 + RETENTION_MS - 1), 0);
    assert!(expire_all(engine.store(), 1_000 + RETENTION_MS) >= 2);
    assert_eq!(fates(&engine), [taken, expired, unknown, expired]);
    engine.reopen();
    assert_eq!(fates(&engine), [taken, expired, unknown, expired]);
    let end = 1_000 + RETENTION_MS + FATE_MARGIN_MS;
    expire_all(engine.store(), end - 1);
    assert_eq!(fates(&engine), [taken, expired, unknown, expired]);
    assert!(expire_all(engine.store(), end) >= 3, "three tags");
    assert_eq!(fates(&engine), [unknown; 4]);
}

fn expiry_raises_lost_through<E: Engine>() {
    let (mut engine, alice) = with_alice::<E>();
    let bob = Person::new("bob", 2);
    bob.register(engine.store());
    put(engine.store(), 1, 1_000, (1..=2).map(|number| envelope(alice.device, number, 50)).collect());
    put(engine.store(), 2, 5_000, vec![envelope(alice.device, 3, 50), envelope(bob.device, 4, 20_000)]);
    let all = numbers(engine.store(), alice.device);
    engine.store().ack(alice.device, all[0]).wait().unwrap();
    expire_all(engine.store(), 1_000 + RETENTION_MS);
    for _ in 0..2 {
        let state = engine.store().mailbox(alice.device).wait().unwrap().unwrap();
        assert_eq!((state.acked, state.lost_through), (all[0], all[1]));
        assert_eq!(numbers(engine.store(), alice.device), all[2..]);
        let state = engine.store().mailbox(bob.device).wait().unwrap().unwrap();
        assert_eq!(state.lost_through, QueueNumber(0));
        assert_eq!(engine.store().usage().wait().unwrap().envelopes, 2);
        engine.reopen();
    }
    expire_all(engine.store(), 5_000 + RETENTION_MS);
    let state = engine.store().mailbox(alice.device).wait().unwrap().unwrap();
    assert_eq!(state.lost_through, all[2]);
    assert_eq!(engine.store().usage().wait().unwrap().envelope_bytes, 0);
}

fn many_rows_expire_in_portions<E: Engine>() {
    let (mut engine, alice) = with_alice::<E>();
    for submission in 0..10_u64 {
        let envelopes = (0..200).map(|place| envelope(alice.device, submission * 200 + place, 20)).collect();
        put(engine.store(), submission, submission, envelopes);
    }
    let now_ms = RETENTION_MS + 100;
    let first = engine.store().expire(now_ms).wait().unwrap();
    assert!((1..=1024).contains(&first), "{first} rows in one step");
    engine.reopen();
    expire_all(engine.store(), now_ms);
    let fates = engine.store().fates((0..2000).map(tag).collect()).wait().unwrap();
    assert!(fates.iter().all(|fate| *fate == FateState::Expired));
    assert_eq!(engine.store().usage().wait().unwrap().envelopes, 0);
    assert_eq!(engine.store().expire(now_ms).wait(), Ok(0));
}

fn large_envelopes_come_back_whole<E: Engine>() {
    let (mut engine, alice) = with_alice::<E>();
    let lengths = [0, 1, 6_000, 6_100, 6_144, 6_145, 10_000, MAX_ENVELOPE];
    let envelopes: Vec<_> =
        (0..).zip(lengths).map(|(number, length)| envelope(alice.device, number, length)).collect();
    put(engine.store(), 1, 1, envelopes.clone());
    for _ in 0..2 {
        let all = engine.store().read(alice.device, QueueNumber(0), usize::MAX).wait().unwrap();
        assert_eq!(all.len(), envelopes.len());
        for (delivery, envelope) in all.iter().zip(&envelopes) {
            assert_eq!(delivery.envelope, envelope.envelope);
        }
        engine.reopen();
    }
    let all = numbers(engine.store(), alice.device);
    assert_eq!(removed(&engine, alice.device, all[7]).len(), 8);
    engine.reopen();
    assert_eq!(engine.store().usage().wait().unwrap().envelope_bytes, 0);
}

fn an_incarnation_lasts<E: Engine>() {
    let (mut engine, alice) = with_alice::<E>();
    let bob = Person::new("bob", 2);
    bob.register(engine.store());
    let before = engine.store().mailbox(alice.device).wait().unwrap().unwrap();
    engine.reopen();
    assert_eq!(engine.store().mailbox(alice.device).wait(), Ok(Some(before)));
    assert_ne!(engine.store().mailbox(bob.device).wait().unwrap().unwrap().incarnation, before.incarnation);
    assert_eq!(engine.store().mailbox(DeviceId([9; 16])).wait(), Ok(None));
}

fn a_tag_used_twice_follows_the_newer_envelope<E: Engine>() {
    let (mut engine, alice) = with_alice::<E>();
    put(engine.store(), 1, 1_000, vec![envelope(alice.device, 1, 50)]);
    put(engine.store(), 2, 2_000, vec![envelope(alice.device, 1, 60)]);
    expire_all(engine.store(), 1_000 + RETENTION_MS);
    engine.reopen();
    assert_eq!(engine.store().fates(vec![tag(1)]).wait(), Ok(vec![FateState::Waiting]));
    let last = numbers(engine.store(), alice.device)[0];
    assert_eq!(removed(&engine, alice.device, last), [tag(1)]);
    expire_all(engine.store(), 2_000 + RETENTION_MS);
    assert_eq!(engine.store().fates(vec![tag(1)]).wait(), Ok(vec![FateState::Taken]));
    // The older tag's time is over first; the newer one's lasts.
    expire_all(engine.store(), 1_000 + RETENTION_MS + FATE_MARGIN_MS);
    assert_eq!(engine.store().fates(vec![tag(1)]).wait(), Ok(vec![FateState::Taken]));
}

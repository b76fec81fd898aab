//! Submissions: once, whole, in order, within the quotas.

use sotto_proto::{
    QueueNumber,
    frame::{Outcome, Refusal},
    limits::{FLOOR_ENVELOPE, MAX_ENVELOPE, SUBMISSION_MEMORY_MS},
};

use super::{
    Engine, Person,
    fixture::{envelope, expire_all, key, outcomes, put},
};
use crate::{NewEnvelope, Store, StoreConfig, Submission};

const STORED: Outcome = Outcome::Stored { connected: false };
const FULL: Outcome = Outcome::Refused(Refusal::MailboxFull);

pub(super) fn all<E: Engine>() {
    the_same_submission_again_stores_nothing::<E>();
    the_same_submission_from_many_threads_is_stored_once::<E>();
    numbers_rise_in_the_order_of_the_calls::<E>();
    each_envelope_has_its_own_outcome::<E>();
    nothing_overtakes_a_refused_envelope::<E>();
    the_last_places_are_for_small_envelopes::<E>();
    bytes_are_counted_and_come_back::<E>();
    a_record_lives_its_time::<E>();
}

fn the_same_submission_again_stores_nothing<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    let mut connected = envelope(alice.device, 2, 500);
    connected.connected = true;
    let envelopes = vec![envelope(alice.device, 1, 500), connected, envelope(alice.device, 3, 30_000)];
    let first = put(engine.store(), 1, 50, envelopes.clone());
    assert_eq!(outcomes(&first), [STORED, Outcome::Stored { connected: true }, STORED]);
    assert!(first.numbers.iter().all(Option::is_some));
    assert_eq!(first.submitted.stored_ms, 50);
    for _ in 0..2 {
        let again = put(engine.store(), 1, 70, envelopes.clone());
        assert_eq!(again.submitted, first.submitted);
        assert_eq!(again.numbers, [None, None, None]);
        assert_eq!(engine.store().submission(key(1)).wait(), Ok(Some(first.submitted.clone())));
        assert_eq!(engine.store().submission(key(2)).wait(), Ok(None));
        let waiting = engine.store().read(alice.device, QueueNumber(0), usize::MAX).wait().unwrap();
        assert_eq!(waiting.len(), 3);
        for (delivery, envelope) in waiting.iter().zip(&envelopes) {
            assert_eq!(delivery.envelope, envelope.envelope);
        }
        engine.reopen();
    }
    // Acked and gone, it is known all the same.
    engine.store().ack(alice.device, first.numbers[2].unwrap()).wait().unwrap();
    engine.reopen();
    assert_eq!(put(engine.store(), 1, 90, envelopes).submitted, first.submitted);
    assert_eq!(engine.store().usage().wait().unwrap().envelopes, 0);
}

fn the_same_submission_from_many_threads_is_stored_once<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    let stored: usize = std::thread::scope(|scope| {
        let submit = |_| {
            scope.spawn(|| {
                let envelopes = vec![envelope(alice.device, 1, 100), envelope(alice.device, 2, 100)];
                let appended = put(engine.store(), 1, 5, envelopes);
                appended.numbers.into_iter().flatten().count()
            })
        };
        let threads: Vec<_> = (0..16).map(submit).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(stored, 2);
    assert_eq!(engine.store().usage().wait().unwrap().envelopes, 2);
}

fn numbers_rise_in_the_order_of_the_calls<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    alice.register(engine.store());
    bob.register(engine.store());
    let mut last = QueueNumber(0);
    for round in 0..3_u64 {
        // Enqueued without waiting in between: the order is that of the calls.
        let pending: Vec<_> = (0..50_u64)
            .map(|place| {
                let number = round * 50 + place;
                let envelopes =
                    vec![envelope(alice.device, number, 64), envelope(bob.device, 1000 + number, 64)];
                engine.store().append(Submission { key: key(number), envelopes, now_ms: number })
            })
            .collect();
        for pending in pending {
            for number in pending.wait().unwrap().numbers {
                assert!(number.unwrap() > last);
                last = number.unwrap();
            }
        }
        if round == 1 {
            // A drained mailbox does not start again from the front.
            engine.store().ack(alice.device, last).wait().unwrap();
        }
        engine.reopen();
    }
    let waiting = engine.store().read(alice.device, QueueNumber(0), usize::MAX).wait().unwrap();
    let bodies: Vec<_> = waiting.into_iter().map(|delivery| delivery.envelope).collect();
    let expected: Vec<_> = (100..150).map(|number| envelope(alice.device, number, 64).envelope).collect();
    assert_eq!(bodies, expected);
    assert_eq!(engine.store().read(bob.device, QueueNumber(0), usize::MAX).wait().unwrap().len(), 150);
}

fn each_envelope_has_its_own_outcome<E: Engine>() {
    let mut engine = E::create(StoreConfig { mailbox_envelopes: 1, ..StoreConfig::default() });
    let (alice, bob, carol) = (Person::new("alice", 1), Person::new("bob", 2), Person::new("carol", 3));
    for person in [&alice, &bob, &carol] {
        person.register(engine.store());
    }
    put(engine.store(), 1, 1, vec![envelope(bob.device, 1, 10)]);
    let refused = NewEnvelope { refused: Some(Refusal::NotAccepted), ..envelope(carol.device, 4, 10) };
    let nobody = Person::new("nobody", 4);
    let envelopes = vec![
        envelope(alice.device, 2, 10),
        envelope(bob.device, 3, 10),
        refused,
        envelope(nobody.device, 5, 10),
        envelope(alice.device(7), 6, 10),
    ];
    let appended = put(engine.store(), 2, 1, envelopes.clone());
    let expected = [
        STORED,
        FULL,
        Outcome::Refused(Refusal::NotAccepted),
        Outcome::UnknownDevice,
        Outcome::UnknownDevice,
    ];
    assert_eq!(outcomes(&appended), expected);
    let stored: Vec<_> = appended.numbers.iter().map(Option::is_some).collect();
    assert_eq!(stored, [true, false, false, false, false]);
    engine.reopen();
    assert_eq!(put(engine.store(), 2, 1, envelopes).submitted, appended.submitted);
    let fates = engine.store().fates((1..=6).map(super::tag).collect()).wait().unwrap();
    let waiting = fates.iter().filter(|fate| **fate == sotto_proto::frame::FateState::Waiting).count();
    assert_eq!(waiting, 2, "{fates:?}");
    assert!(put(engine.store(), 3, 1, Vec::new()).numbers.is_empty());
}

fn nothing_overtakes_a_refused_envelope<E: Engine>() {
    let config = StoreConfig { mailbox_envelopes: 10, mailbox_floor_places: 9, ..StoreConfig::default() };
    let engine = E::create(config);
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    alice.register(engine.store());
    bob.register(engine.store());
    let large = FLOOR_ENVELOPE + 1;
    let envelopes = vec![
        envelope(alice.device, 1, large),
        envelope(alice.device, 2, large),
        envelope(bob.device, 3, 10),
        envelope(alice.device, 4, 10),
        NewEnvelope { refused: Some(Refusal::SenderShare), ..envelope(bob.device, 5, 10) },
        envelope(bob.device, 6, 10),
    ];
    let appended = put(engine.store(), 1, 1, envelopes);
    let share = Outcome::Refused(Refusal::SenderShare);
    assert_eq!(outcomes(&appended), [STORED, FULL, STORED, FULL, share, share]);
    // The next submission starts anew: what was refused is refused, what fits is taken.
    let appended =
        put(engine.store(), 2, 1, vec![envelope(alice.device, 7, 10), envelope(bob.device, 8, 10)]);
    assert_eq!(outcomes(&appended), [STORED, STORED]);
}

fn the_last_places_are_for_small_envelopes<E: Engine>() {
    let config = StoreConfig { mailbox_envelopes: 8, mailbox_floor_places: 3, ..StoreConfig::default() };
    let mut engine = E::create(config);
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    let large = FLOOR_ENVELOPE + 1;
    let mut last = QueueNumber(0);
    for number in 1..=5 {
        let appended = put(engine.store(), number, 1, vec![envelope(alice.device, number, large)]);
        last = appended.numbers[0].unwrap();
    }
    engine.reopen();
    let one = |engine: &E, number, length| {
        outcomes(&put(engine.store(), number, 1, vec![envelope(alice.device, number, length)]))[0]
    };
    assert_eq!(one(&engine, 6, large), FULL);
    assert_eq!(one(&engine, 7, FLOOR_ENVELOPE), STORED);
    assert_eq!(one(&engine, 8, 10), STORED);
    assert_eq!(one(&engine, 9, 10), STORED);
    assert_eq!(one(&engine, 10, 10), FULL);
    assert_eq!(one(&engine, 11, MAX_ENVELOPE + 1), Outcome::Refused(Refusal::TooLarge));
    engine.store().ack(alice.device, last).wait().unwrap();
    assert_eq!(one(&engine, 12, large), STORED);
}

fn bytes_are_counted_and_come_back<E: Engine>() {
    let mut engine = E::create(StoreConfig { mailbox_bytes: 50_000, ..StoreConfig::default() });
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    let first = put(engine.store(), 1, 1, vec![envelope(alice.device, 1, 40_000)]);
    assert_eq!(outcomes(&put(engine.store(), 2, 1, vec![envelope(alice.device, 2, 10_001)])), [FULL]);
    engine.reopen();
    assert_eq!(outcomes(&put(engine.store(), 3, 1, vec![envelope(alice.device, 3, 10_001)])), [FULL]);
    assert_eq!(outcomes(&put(engine.store(), 4, 1, vec![envelope(alice.device, 4, 10_000)])), [STORED]);
    let usage = engine.store().usage().wait().unwrap();
    assert_eq!((usage.envelopes, usage.envelope_bytes), (2, 50_000));
    engine.store().ack(alice.device, first.numbers[0].unwrap()).wait().unwrap();
    let usage = engine.store().usage().wait().unwrap();
    assert_eq!((usage.envelopes, usage.envelope_bytes), (1, 10_000));
    assert_eq!(outcomes(&put(engine.store(), 5, 1, vec![envelope(alice.device, 5, 40_000)])), [STORED]);
}

fn a_record_lives_its_time<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    let first = put(engine.store(), 1, 1_000, vec![envelope(alice.device, 1, 10)]);
    put(engine.store(), 2, 1_500, vec![envelope(alice.device, 2, 10)]);
    let end = 1_000 + SUBMISSION_MEMORY_MS;
    assert_eq!(expire_all(engine.store(), end - 1), 0);
    assert_eq!(
        put(engine.store(), 1, end - 1, vec![envelope(alice.device, 1, 10)]),
        crate::Appended { numbers: vec![None], ..first }
    );
    assert!(expire_all(engine.store(), end) > 0);
    engine.reopen();
    assert_eq!(engine.store().submission(key(1)).wait(), Ok(None));
    assert!(engine.store().submission(key(2)).wait().unwrap().is_some());
}

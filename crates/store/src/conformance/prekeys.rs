//! Prekeys: each one-time key goes to exactly one.

use std::collections::BTreeSet;

use sotto_proto::{
    DeviceId,
    limits::{MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS},
    prekey::{PrekeyBundle, PrekeyCounts, PrekeyId},
};

use super::{Engine, Person, fixture::upload};
use crate::{Store, StoreConfig};

pub(super) fn all<E: Engine>() {
    two_hundred_claimers_never_get_the_same_key::<E>();
    a_claim_survives_a_restart::<E>();
    without_one_time_none_is_taken::<E>();
    what_has_expired_is_not_handed_out::<E>();
    used_ids_are_not_taken_again::<E>();
    a_device_keeps_no_more_than_the_limits::<E>();
    the_answer_is_in_the_order_of_the_question::<E>();
    an_unknown_device_has_no_keys::<E>();
}

fn one<S: Store>(store: &S, device: DeviceId) -> PrekeyBundle {
    store.claim_prekeys(vec![device], true, 0).wait().unwrap().remove(0).unwrap()
}

fn two_hundred_claimers_never_get_the_same_key<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    engine.store().put_prekeys(alice.device, upload(1, 1..101, 1..51)).wait().unwrap();
    let bundles: Vec<_> = std::thread::scope(|scope| {
        let claimers: Vec<_> = (0..200).map(|_| scope.spawn(|| one(engine.store(), alice.device))).collect();
        claimers.into_iter().map(|claimer| claimer.join().unwrap()).collect()
    });
    let check = |count: usize, ids: Vec<u32>| {
        assert_eq!(ids.len(), count);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), count, "a key was handed out twice");
    };
    check(100, bundles.iter().filter_map(|bundle| bundle.one_time.as_ref()).map(|key| key.id.0).collect());
    let kem = bundles.iter().filter(|bundle| bundle.kem_one_time);
    check(50, kem.map(|bundle| bundle.kem.id.0).collect());
    for bundle in bundles.iter().filter(|bundle| !bundle.kem_one_time) {
        assert_eq!(bundle.kem.id, PrekeyId(1), "the last-resort key");
    }
    engine.reopen();
    let late = one(engine.store(), alice.device);
    assert!(late.one_time.is_none() && !late.kem_one_time);
}

fn a_claim_survives_a_restart<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    engine.store().put_prekeys(alice.device, upload(1, 1..11, 1..11)).wait().unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let bundle = one(engine.store(), alice.device);
        assert!(seen.insert((bundle.one_time.unwrap().id, bundle.kem.id)));
        engine.reopen();
    }
    let counts = engine.store().prekey_counts(alice.device).wait().unwrap();
    assert_eq!((counts.one_time, counts.one_time_kem), (5, 5));
}

fn without_one_time_none_is_taken<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    let counts = engine.store().put_prekeys(alice.device, upload(4, 1..3, 1..3)).wait().unwrap();
    let expected = PrekeyCounts {
        one_time: 2,
        one_time_kem: 2,
        signed: Some(PrekeyId(4)),
        last_resort: Some(PrekeyId(4)),
    };
    assert_eq!(counts, expected);
    let bundle =
        engine.store().claim_prekeys(vec![alice.device], false, 0).wait().unwrap().remove(0).unwrap();
    assert!(bundle.one_time.is_none() && !bundle.kem_one_time);
    assert_eq!(Some(bundle.signed), upload(4, 0..0, 0..0).signed);
    assert_eq!(engine.store().prekey_counts(alice.device).wait(), Ok(expected));
}

fn what_has_expired_is_not_handed_out<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    engine.store().put_prekeys(alice.device, upload(1, 1..101, 1..51)).wait().unwrap();
    let expires_ms = one(engine.store(), alice.device).kem.validity.expires_ms;
    let claim = |engine: &E, now_ms| {
        engine.store().claim_prekeys(vec![alice.device], true, now_ms).wait().unwrap().remove(0).unwrap()
    };
    assert!(claim(&engine, expires_ms - 1).kem_one_time, "still valid");
    let late = claim(&engine, expires_ms);
    assert!(!late.kem_one_time && late.one_time.is_some());
    assert_eq!(late.kem.id, PrekeyId(1), "the last-resort key");
    engine.reopen();
    // They are gone, which their owner learns from the count, and there is room for new ones.
    let counts = engine.store().prekey_counts(alice.device).wait().unwrap();
    assert_eq!((counts.one_time, counts.one_time_kem), (97, 0));
    let counts = engine.store().put_prekeys(alice.device, upload(2, 0..0, 51..101)).wait().unwrap();
    assert_eq!(usize::try_from(counts.one_time_kem), Ok(MAX_ONE_TIME_KEM_PREKEYS));
}

fn used_ids_are_not_taken_again<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    engine.store().put_prekeys(alice.device, upload(1, 10..13, 20..22)).wait().unwrap();
    for _ in 0..4 {
        one(engine.store(), alice.device);
    }
    engine.reopen();
    // Claimed ids, and ids below the highest one that was ever there.
    let counts = engine.store().put_prekeys(alice.device, upload(2, 8..13, 19..22)).wait().unwrap();
    assert_eq!((counts.one_time, counts.one_time_kem), (0, 0));
    let counts = engine.store().put_prekeys(alice.device, upload(3, 12..14, 21..23)).wait().unwrap();
    assert_eq!((counts.one_time, counts.one_time_kem, counts.signed), (1, 1, Some(PrekeyId(3))));
    let bundle = one(engine.store(), alice.device);
    assert_eq!((bundle.one_time.unwrap().id, bundle.kem.id), (PrekeyId(13), PrekeyId(22)));
}

fn a_device_keeps_no_more_than_the_limits<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    let counts = engine.store().put_prekeys(alice.device, upload(1, 0..150, 0..90)).wait().unwrap();
    assert_eq!(usize::try_from(counts.one_time), Ok(MAX_ONE_TIME_PREKEYS));
    assert_eq!(usize::try_from(counts.one_time_kem), Ok(MAX_ONE_TIME_KEM_PREKEYS));
    assert_eq!(one(engine.store(), alice.device).one_time.unwrap().id, PrekeyId(0));
    // Those that found no room were not used, so they may come again.
    let counts = engine.store().put_prekeys(alice.device, upload(1, 90..150, 40..90)).wait().unwrap();
    assert_eq!(usize::try_from(counts.one_time), Ok(MAX_ONE_TIME_PREKEYS));
    assert_eq!(usize::try_from(counts.one_time_kem), Ok(MAX_ONE_TIME_KEM_PREKEYS));
}

fn the_answer_is_in_the_order_of_the_question<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    alice.register(engine.store());
    bob.register(engine.store());
    engine.store().put_prekeys(bob.device, upload(1, 1..5, 1..5)).wait().unwrap();
    let devices = vec![alice.device, bob.device, bob.device, DeviceId([99; 16])];
    let bundles = engine.store().claim_prekeys(devices, true, 0).wait().unwrap();
    let ids: Vec<_> =
        bundles.into_iter().map(|bundle| bundle.map(|bundle| bundle.one_time.unwrap().id.0)).collect();
    assert_eq!(ids, [None, Some(1), Some(2), None]);
}

fn an_unknown_device_has_no_keys<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    let nobody = DeviceId([1; 16]);
    let counts = engine.store().put_prekeys(nobody, upload(1, 1..5, 1..5)).wait();
    assert_eq!(counts, Ok(PrekeyCounts::default()));
    assert_eq!(engine.store().prekey_counts(nobody).wait(), Ok(PrekeyCounts::default()));
    assert_eq!(engine.store().claim_prekeys(vec![nobody], true, 0).wait(), Ok(vec![None]));
}

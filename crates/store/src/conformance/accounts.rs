//! Names, accounts, devices.

use sotto_proto::Username;

use super::{
    Engine, Person,
    fixture::{envelope, expire_all, outcomes, put, upload},
};
use crate::{
    AccountRecord, AckOutcome, CreateOutcome, NewAccount, ReplaceOutcome, Store, StoreConfig, StoreError,
};
use sotto_proto::frame::{FateState, Outcome};

pub(super) fn all<E: Engine>() {
    a_name_goes_to_exactly_one_of_two_that_race::<E>();
    a_registration_is_answered_the_same_when_it_comes_again::<E>();
    a_look_alike_and_a_collision_are_refused::<E>();
    names_come_in_order_and_in_pages::<E>();
    a_replacement_needs_the_revision_it_saw::<E>();
    of_two_replacements_that_race_one_wins::<E>();
    a_device_that_leaves_takes_its_mailbox_with_it::<E>();
    a_foreign_device_id_is_a_collision::<E>();
    a_long_device_list_is_kept_whole::<E>();
    a_full_disk_takes_no_new_accounts::<E>();
    a_closed_store_says_so::<E>();
}

fn a_name_goes_to_exactly_one_of_two_that_race<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    for round in 0..20_u8 {
        // Each second race is between look-alikes.
        let names = if round % 2 == 0 {
            [format!("name{round}"), format!("name{round}")]
        } else {
            [format!("oil{round}"), format!("0.1l{round}")]
        };
        let people = [0, 1].map(|who: u8| Person::new(&names[usize::from(who)], 1 + round * 2 + who));
        let outcomes = std::thread::scope(|scope| {
            let store = engine.store();
            let race = |person| scope.spawn(move || store.create_account(Person::new_account(person)).wait());
            people.each_ref().map(race).map(|racer| racer.join().unwrap().unwrap())
        });
        let made = outcomes.iter().filter(|outcome| **outcome == CreateOutcome::Created).count();
        assert_eq!(made, 1, "{outcomes:?}");
        for (person, outcome) in people.iter().zip(&outcomes) {
            let found = engine.store().account(person.account).wait().unwrap();
            assert_eq!(found.is_some(), *outcome == CreateOutcome::Created);
        }
    }
}

fn a_registration_is_answered_the_same_when_it_comes_again<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    let record = alice.register(engine.store());
    assert_eq!(record.revision, 1);
    assert_eq!(record.devices, [alice.device]);
    alice.register(engine.store());
    engine.reopen();
    assert_eq!(alice.register(engine.store()), record);
    assert_eq!(engine.store().account_by_name(&alice.name).wait(), Ok(Some(record)));
    let other = Person::new("alice", 2);
    assert_eq!(engine.store().create_account(other.new_account()).wait(), Ok(CreateOutcome::NameTaken));
    assert_eq!(engine.store().account(other.account).wait(), Ok(None));
    let list = alice.list(2, &[alice.device]);
    let changed = NewAccount { list, ..alice.new_account() };
    assert_eq!(engine.store().create_account(changed).wait(), Ok(CreateOutcome::NameTaken), "another list");
    assert_eq!(engine.store().usage().wait().unwrap().accounts, 1);
}

fn a_look_alike_and_a_collision_are_refused<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let bob = Person::new("bob", 1);
    bob.register(engine.store());
    engine.reopen();
    let create = |person: &Person| engine.store().create_account(person.new_account()).wait();
    assert_eq!(create(&Person::new("b0b", 2)), Ok(CreateOutcome::LooksLike(bob.name.clone())));
    assert_eq!(create(&Person::new("carol", 1)), Ok(CreateOutcome::Collision), "bob's ids");
    let mut dave = Person::new("dave", 3);
    dave.device = bob.device;
    assert_eq!(create(&dave), Ok(CreateOutcome::Collision), "bob's device");
    assert_eq!(engine.store().account_by_name(&Username::parse("b0b").unwrap()).wait(), Ok(None));
}

fn names_come_in_order_and_in_pages<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    // The order of names is not that of their skeletons: `o` looks like `0`, `i` like `1`.
    let mut names = vec!["zoe", "oscar", "a-b", "9lives", "ida", "a.c", "0day", "mia", "h"];
    for (seed, name) in (1..).zip(&names) {
        Person::new(name, seed).register(engine.store());
    }
    engine.reopen();
    names.sort_unstable();
    for limit in [1, 2, 100] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = engine.store().names(after.clone(), limit).wait().unwrap();
            assert!(page.len() <= limit);
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            seen.extend(page.into_iter().map(|(name, _)| name.to_string()));
        }
        assert_eq!(seen, names);
    }
}

fn a_replacement_needs_the_revision_it_saw<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    let first = alice.register(engine.store());
    let new = AccountRecord { password_hash: "$new".to_owned(), disabled: true, ..first.clone() };
    assert_eq!(engine.store().replace_account(&first, new.clone()).wait(), Ok(ReplaceOutcome::Replaced(2)));
    engine.reopen();
    let second = engine.store().account(alice.account).wait().unwrap().unwrap();
    assert_eq!(second, AccountRecord { revision: 2, ..new });
    assert_eq!(
        engine.store().replace_account(&first, first.clone()).wait(),
        Ok(ReplaceOutcome::Conflict(Box::new(second)))
    );
    let nobody = Person::new("nobody", 2);
    let unknown = AccountRecord { account: nobody.account, ..first };
    assert_eq!(engine.store().replace_account(&unknown, unknown.clone()).wait(), Ok(ReplaceOutcome::Unknown));
}

fn of_two_replacements_that_race_one_wins<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    let first = alice.register(engine.store());
    let results: Vec<_> = std::thread::scope(|scope| {
        let racer = |number: u8| {
            let (store, first) = (engine.store(), &first);
            let new = alice.with_devices(first, &[alice.device, alice.device(number)]);
            scope.spawn(move || store.replace_account(first, new).wait().unwrap())
        };
        let racers: Vec<_> = (1..=8).map(racer).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let won = |result: &&ReplaceOutcome| **result == ReplaceOutcome::Replaced(2);
    assert_eq!(results.iter().filter(won).count(), 1);
    let last = engine.store().account(alice.account).wait().unwrap().unwrap();
    for number in 1..=8 {
        let open = engine.store().mailbox(alice.device(number)).wait().unwrap().is_some();
        assert_eq!(open, last.devices.contains(&alice.device(number)));
    }
}

fn a_device_that_leaves_takes_its_mailbox_with_it<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    let first = alice.register(engine.store());
    let phone = alice.device(1);
    let both = alice.with_devices(&first, &[alice.device, phone]);
    engine.store().replace_account(&first, both).wait().unwrap();
    engine.store().put_prekeys(phone, upload(1, 1..5, 1..5)).wait().unwrap();
    put(engine.store(), 1, 10, vec![envelope(phone, 1, 100), envelope(phone, 2, 20_000)]);
    put(engine.store(), 2, 10, vec![envelope(alice.device, 3, 100)]);
    let before = engine.store().mailbox(phone).wait().unwrap().unwrap();
    let numbers = engine.store().read(phone, before.acked, 1).wait().unwrap();
    engine.store().ack(phone, numbers[0].number).wait().unwrap();

    let second = engine.store().account(alice.account).wait().unwrap().unwrap();
    let one = alice.with_devices(&second, &[alice.device]);
    assert_eq!(engine.store().replace_account(&second, one).wait(), Ok(ReplaceOutcome::Replaced(3)));
    for _ in 0..2 {
        assert_eq!(engine.store().mailbox(phone).wait(), Ok(None));
        assert_eq!(engine.store().read(phone, before.acked, 1000).wait(), Ok(Vec::new()));
        assert_eq!(engine.store().claim_prekeys(vec![phone], true, 0).wait(), Ok(vec![None]));
        let fates = engine.store().fates((1..=3).map(super::tag).collect()).wait();
        assert_eq!(fates, Ok(vec![FateState::Taken, FateState::Expired, FateState::Waiting]));
        assert_eq!(engine.store().usage().wait().unwrap().envelopes, 1);
        engine.reopen();
    }
    let unknown = put(engine.store(), 3, 20, vec![envelope(phone, 4, 100)]);
    assert_eq!(outcomes(&unknown), [Outcome::UnknownDevice]);

    // A device that comes back starts with an empty queue of its own.
    let third = engine.store().account(alice.account).wait().unwrap().unwrap();
    let again = alice.with_devices(&third, &[alice.device, phone]);
    engine.store().replace_account(&third, again).wait().unwrap();
    let after = engine.store().mailbox(phone).wait().unwrap().unwrap();
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(engine.store().read(phone, sotto_proto::QueueNumber(0), 1000).wait(), Ok(Vec::new()));
    expire_all(engine.store(), u64::MAX);
    let fates = engine.store().fates((1..=4).map(super::tag).collect()).wait();
    assert_eq!(fates, Ok(vec![FateState::Unknown; 4]));
}

fn a_foreign_device_id_is_a_collision<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    let first = alice.register(engine.store());
    bob.register(engine.store());
    let stolen = alice.with_devices(&first, &[alice.device, bob.device]);
    assert_eq!(engine.store().replace_account(&first, stolen).wait(), Ok(ReplaceOutcome::Collision));
    assert_eq!(engine.store().account(alice.account).wait(), Ok(Some(first)));
}

fn a_long_device_list_is_kept_whole<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    let mut record = alice.register(engine.store());
    for length in [6 * 1024_usize, 64 * 1024, 10, 20_000, 20_001] {
        let new = AccountRecord { list: vec![length.to_be_bytes()[6]; length], ..record.clone() };
        engine.store().replace_account(&record, new.clone()).wait().unwrap();
        record = AccountRecord { revision: record.revision + 1, ..new };
        assert_eq!(engine.store().account(alice.account).wait(), Ok(Some(record.clone())));
        engine.reopen();
        assert_eq!(engine.store().account_by_name(&alice.name).wait(), Ok(Some(record.clone())));
    }
}

fn a_full_disk_takes_no_new_accounts<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    let first = alice.register(engine.store());
    engine.store().put_prekeys(alice.device, upload(1, 1..3, 1..3)).wait().unwrap();
    let stored = put(engine.store(), 1, 10, vec![envelope(alice.device, 1, 100)]);
    engine.set_disk_full(true);
    let store = engine.store();
    assert_eq!(store.create_account(bob.new_account()).wait(), Err(StoreError::DiskFull));
    let more = alice.with_devices(&first, &[alice.device, alice.device(1)]);
    assert_eq!(store.replace_account(&first, more).wait(), Err(StoreError::DiskFull));
    assert_eq!(store.put_prekeys(alice.device, upload(1, 5..6, 5..6)).wait(), Err(StoreError::DiskFull));
    let refused = put(store, 2, 10, vec![envelope(alice.device, 2, 100)]);
    assert_eq!(outcomes(&refused), [Outcome::Refused(sotto_proto::frame::Refusal::DiskFull)]);
    assert_eq!(store.submission(super::key(2)).wait(), Ok(None), "a full disk is not for ever");
    assert_eq!(put(store, 1, 10, vec![envelope(alice.device, 1, 100)]).submitted, stored.submitted);
    // What frees room, and what must not wait, goes on.
    assert!(store.claim_prekeys(vec![alice.device], true, 0).wait().unwrap()[0].is_some());
    assert_eq!(
        store.ack(alice.device, stored.numbers[0].unwrap()).wait(),
        Ok(AckOutcome::Removed(vec![super::tag(1)]))
    );
    let none = alice.with_devices(&first, &[]);
    assert_eq!(store.replace_account(&first, none).wait(), Ok(ReplaceOutcome::Replaced(2)));
    engine.set_disk_full(false);
    bob.register(engine.store());
    let retried = put(engine.store(), 2, 10, vec![envelope(bob.device, 2, 100)]);
    assert_eq!(outcomes(&retried), [Outcome::Stored { connected: false }]);
}

fn a_closed_store_says_so<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    assert_eq!(engine.store().close().wait(), Ok(()));
    assert_eq!(engine.store().close().wait(), Ok(()));
    let bob = Person::new("bob", 2);
    assert_eq!(engine.store().create_account(bob.new_account()).wait(), Err(StoreError::Stopped));
    assert_eq!(engine.store().account(alice.account).wait(), Err(StoreError::Stopped));
    assert_eq!(engine.store().expire(1).wait(), Err(StoreError::Stopped));
    engine.reopen();
    assert!(engine.store().account(alice.account).wait().unwrap().is_some());
}

//! Accounts that end: removed, or replaced by a new identity under their name.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sotto_proto::{
    AccountId, QueueNumber,
    frame::{FateState, Outcome},
    limits::DAY_MS,
};

use super::{
    Engine, Person,
    fixture::{envelope, expire_all, outcomes, put, tag, upload},
};
use crate::{
    AccountRecord, CreateOutcome, Day, Ending, NewAccount, ReplaceOutcome, Store, StoreConfig, StoreError,
    WaitingReset, ended::ENDED_MS,
};

pub(super) fn all<E: Engine>() {
    what_belongs_to_living_with_an_account_is_kept::<E>();
    a_removed_account_leaves_its_name_and_nothing_else::<E>();
    a_reset_puts_another_identity_under_the_name_in_one_step::<E>();
    a_reset_is_refused_where_it_must_be::<E>();
    of_a_reset_and_another_change_one_wins::<E>();
    an_account_that_ended_does_not_come_back::<E>();
    a_name_is_found_at_every_moment_of_a_reset::<E>();
}

fn what_belongs_to_living_with_an_account_is_kept<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    let first = alice.register(engine.store());
    assert_eq!(first.seen, Some(Day::of(1_000)));
    let blocked = (0..1000_u16)
        .map(|number| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            AccountId(id)
        })
        .collect();
    let reset = Some(WaitingReset { list: vec![9; 900], asked_ms: 5, due_ms: 6, refused: true });
    let new = AccountRecord { blocked, reset, seen: Some(Day(20_000)), ..first.clone() };
    assert_eq!(engine.store().replace_account(&first, new.clone()).wait(), Ok(ReplaceOutcome::Replaced(2)));
    engine.reopen();
    let expected = AccountRecord { revision: 2, ..new };
    assert_eq!(engine.store().account(alice.account).wait(), Ok(Some(expected)));
}

fn a_removed_account_leaves_its_name_and_nothing_else<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    alice.register(engine.store());
    let first = bob.register(engine.store());
    let phone = bob.device(1);
    // Its record is a file.
    let both =
        AccountRecord { blocked: vec![alice.account; 600], ..bob.with_devices(&first, &[bob.device, phone]) };
    engine.store().replace_account(&first, both).wait().unwrap();
    engine.store().put_prekeys(phone, upload(1, 1..5, 1..5)).wait().unwrap();
    let envelopes =
        vec![envelope(bob.device, 1, 100), envelope(phone, 2, 9_000), envelope(alice.device, 3, 100)];
    put(engine.store(), 1, 10, envelopes);
    assert_eq!(engine.store().remove_account(bob.account, 20).wait(), Ok(true));
    for _ in 0..2 {
        let store = engine.store();
        assert_eq!(store.account(bob.account).wait(), Ok(None));
        assert_eq!(store.account_by_name(&bob.name).wait(), Ok(None));
        assert_eq!(store.names(None, 9).wait(), Ok(vec![(alice.name.clone(), alice.account)]));
        for device in [bob.device, phone] {
            assert_eq!(store.mailbox(device).wait(), Ok(None));
            assert_eq!(store.read(device, QueueNumber(0), 1000).wait(), Ok(Vec::new()));
            assert_eq!(store.claim_prekeys(vec![device], true, 0).wait(), Ok(vec![None]));
        }
        let fates = store.fates((1..=3).map(tag).collect()).wait();
        assert_eq!(fates, Ok(vec![FateState::Expired, FateState::Expired, FateState::Waiting]));
        let usage = store.usage().wait().unwrap();
        assert_eq!((usage.accounts, usage.envelopes, usage.envelope_bytes), (1, 1, 100));
        assert_eq!(store.remove_account(bob.account, 20).wait(), Ok(false));
        engine.reopen();
    }
    let unknown = put(engine.store(), 2, 20, vec![envelope(phone, 4, 100)]);
    assert_eq!(outcomes(&unknown), [Outcome::UnknownDevice]);
    // The name and its look are free, and later also for the same keys, whose mailbox begins empty.
    let again = |now_ms| engine.store().create_account(NewAccount { now_ms, ..bob.new_account() }).wait();
    assert_eq!(again(30), Ok(CreateOutcome::Ended(Ending::Removed)));
    let look_alike = Person::new("b0b", 3);
    look_alike.register(engine.store());
    assert_eq!(engine.store().remove_account(look_alike.account, 20).wait(), Ok(true));
    assert_eq!(again(DAY_MS + ENDED_MS), Ok(CreateOutcome::Created));
    assert_eq!(engine.store().read(bob.device, QueueNumber(0), 1000).wait(), Ok(Vec::new()));
    expire_all(engine.store(), u64::MAX);
}

fn a_reset_puts_another_identity_under_the_name_in_one_step<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let (old, new) = (Person::new("alice", 1), Person::new("alice", 2));
    let first = old.register(engine.store());
    let record = AccountRecord {
        blocked: vec![AccountId([7; 16])],
        disabled: true,
        reset: Some(WaitingReset { list: vec![1], asked_ms: 1, due_ms: 2, refused: false }),
        ..first.clone()
    };
    engine.store().replace_account(&first, record).wait().unwrap();
    let record = engine.store().account(old.account).wait().unwrap().unwrap();
    put(engine.store(), 1, 10, vec![envelope(old.device, 1, 100)]);
    engine.store().put_prekeys(old.device, upload(1, 1..5, 1..5)).wait().unwrap();
    let list = new.list(1, &[new.device]);
    let answer = engine.store().reset_account(&record, list.clone(), 5_000).wait();
    assert_eq!(answer, Ok(ReplaceOutcome::Replaced(1)));
    for _ in 0..2 {
        let store = engine.store();
        assert_eq!(store.account(old.account).wait(), Ok(None));
        let found = store.account_by_name(&new.name).wait().unwrap().unwrap();
        assert_eq!(Some(&found), store.account(new.account).wait().unwrap().as_ref());
        assert_eq!(
            (found.revision, found.account, found.devices.clone()),
            (1, new.account, vec![new.device])
        );
        assert_eq!(
            (found.account_key, found.list.clone()),
            (list.list().account_key, list.as_bytes().to_vec())
        );
        assert_eq!((found.created_ms, found.seen, found.reset.clone()), (5_000, Some(Day::of(5_000)), None));
        assert_eq!(found.password_hash, first.password_hash, "who asked knew it");
        assert_eq!((found.disabled, found.blocked.clone()), (true, vec![AccountId([7; 16])]));
        assert_eq!(store.names(None, 9).wait(), Ok(vec![(new.name.clone(), new.account)]));
        assert_eq!(store.mailbox(old.device).wait(), Ok(None));
        assert_eq!(store.claim_prekeys(vec![old.device], true, 0).wait(), Ok(vec![None]));
        assert!(store.mailbox(new.device).wait().unwrap().is_some());
        assert_eq!(store.fates(vec![tag(1)]).wait(), Ok(vec![FateState::Expired]));
        let usage = store.usage().wait().unwrap();
        assert_eq!((usage.accounts, usage.envelopes), (1, 0));
        engine.reopen();
    }
    let stored = put(engine.store(), 2, 20, vec![envelope(new.device, 2, 10), envelope(old.device, 3, 10)]);
    assert_eq!(outcomes(&stored), [Outcome::Stored { connected: false }, Outcome::UnknownDevice]);
    let again = |now_ms| engine.store().create_account(NewAccount { now_ms, ..old.new_account() }).wait();
    assert_eq!(again(6_000), Ok(CreateOutcome::Ended(Ending::Replaced)));
    assert_eq!(again(DAY_MS + ENDED_MS), Ok(CreateOutcome::NameTaken));
}

/// Neither a registration nor a reset brings back what has ended, as long as that is remembered.
fn an_account_that_ended_does_not_come_back<E: Engine>() {
    let mut engine = E::create(StoreConfig { ended_accounts: 2, ..StoreConfig::default() });
    let (removed, first, second) = (Person::new("bob", 1), Person::new("alice", 2), Person::new("alice", 3));
    removed.register(engine.store());
    let record = first.register(engine.store());
    let day = |number: u64| number * DAY_MS;
    assert_eq!(engine.store().remove_account(AccountId([9; 16]), day(1)).wait(), Ok(false));
    assert_eq!(engine.store().ended(AccountId([9; 16]), day(1)).wait(), Ok(None), "never was");
    assert_eq!(engine.store().remove_account(removed.account, day(2)).wait(), Ok(true));
    let list = second.list(1, &[second.device]);
    let reset = engine.store().reset_account(&record, list, day(1)).wait();
    assert_eq!(reset, Ok(ReplaceOutcome::Replaced(1)));
    let ended = |engine: &E, person: &Person, now_ms| engine.store().ended(person.account, now_ms).wait();
    for _ in 0..2 {
        assert_eq!(ended(&engine, &removed, day(2)), Ok(Some(Ending::Removed)));
        assert_eq!(ended(&engine, &removed, day(3) + ENDED_MS - 1), Ok(Some(Ending::Removed)));
        assert_eq!(ended(&engine, &removed, day(3) + ENDED_MS), Ok(None), "not for ever");
        assert_eq!(ended(&engine, &first, day(2)), Ok(Some(Ending::Replaced)));
        assert_eq!(ended(&engine, &second, day(2)), Ok(None));
        engine.reopen();
    }
    let record = engine.store().account(second.account).wait().unwrap().unwrap();
    let back =
        |now_ms| engine.store().reset_account(&record, first.list(9, &[first.device(1)]), now_ms).wait();
    assert_eq!(back(day(2)), Ok(ReplaceOutcome::Collision));
    // Of two that are remembered the older one goes for a third.
    let third = Person::new("carol", 4);
    third.register(engine.store());
    assert_eq!(engine.store().remove_account(third.account, day(3)).wait(), Ok(true));
    assert_eq!(ended(&engine, &first, day(3)), Ok(None));
    assert_eq!(ended(&engine, &removed, day(3)), Ok(Some(Ending::Removed)));
    // What is out of date goes whenever one comes.
    assert_eq!(back(day(3)), Ok(ReplaceOutcome::Replaced(1)));
    assert_eq!(ended(&engine, &second, day(3)), Ok(Some(Ending::Replaced)));
    let late = day(5) + ENDED_MS;
    assert_eq!(engine.store().remove_account(first.account, late).wait(), Ok(true));
    assert_eq!(ended(&engine, &second, day(3)), Ok(None));
    assert_eq!(ended(&engine, &first, late), Ok(Some(Ending::Removed)));
}

fn a_reset_is_refused_where_it_must_be<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    let record = alice.register(engine.store());
    bob.register(engine.store());
    let reset = |engine: &E, record: &AccountRecord, person: &Person, device| {
        engine.store().reset_account(record, person.list(1, &[device]), 5).wait()
    };
    let fresh = Person::new("alice", 3);
    let (collision, unknown) = (Ok(ReplaceOutcome::Collision), Ok(ReplaceOutcome::Unknown));
    assert_eq!(reset(&engine, &record, &alice, alice.device(1)), collision, "its own id");
    assert_eq!(reset(&engine, &record, &fresh, alice.device), collision, "its own device");
    assert_eq!(reset(&engine, &record, &fresh, bob.device), collision, "another's device");
    assert_eq!(reset(&engine, &record, &Person::new("alice", 2), fresh.device), collision, "another's id");
    assert_eq!(reset(&engine, &record, &Person::new("carol", 3), fresh.device), collision, "another name");
    let nobody = AccountRecord { account: AccountId([9; 16]), ..record.clone() };
    assert_eq!(reset(&engine, &nobody, &fresh, fresh.device), unknown);
    engine.set_disk_full(true);
    assert_eq!(reset(&engine, &record, &fresh, fresh.device), Err(StoreError::DiskFull));
    assert_eq!(engine.store().remove_account(bob.account, 20).wait(), Ok(true), "what frees room goes on");
    engine.set_disk_full(false);
    assert_eq!(engine.store().account(alice.account).wait(), Ok(Some(record.clone())));
    let newer = AccountRecord { disabled: true, ..record.clone() };
    engine.store().replace_account(&record, newer.clone()).wait().unwrap();
    let conflict = ReplaceOutcome::Conflict(Box::new(AccountRecord { revision: 2, ..newer }));
    assert_eq!(reset(&engine, &record, &fresh, fresh.device), Ok(conflict));
}

fn of_a_reset_and_another_change_one_wins<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    let old = Person::new("alice", 1);
    let record = old.register(engine.store());
    let (store, record) = (engine.store(), &record);
    std::thread::scope(|scope| {
        let racer = |seed: u8| {
            let new = Person::new("alice", seed);
            let reset = move || store.reset_account(record, new.list(1, &[new.device]), 5).wait().unwrap();
            scope.spawn(move || (seed, reset()))
        };
        let racers: Vec<_> = (2..=5).map(racer).collect();
        let refusal = AccountRecord { reset: None, ..record.clone() };
        let refused = store.replace_account(record, refusal).wait().unwrap();
        let answers: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        let won = |answer: &ReplaceOutcome| matches!(answer, ReplaceOutcome::Replaced(_));
        let winners: Vec<u8> =
            answers.iter().filter(|(_, answer)| won(answer)).map(|(seed, _)| *seed).collect();
        assert_eq!(winners.len() + usize::from(won(&refused)), 1, "{answers:?} {refused:?}");
        let holder = AccountId([winners.first().copied().unwrap_or(1); 16]);
        let found = store.account_by_name(&old.name).wait().unwrap().unwrap();
        assert_eq!(found.account, holder);
    });
}

fn a_name_is_found_at_every_moment_of_a_reset<E: Engine>() {
    let engine = E::create(StoreConfig::default());
    let first = Person::new("alice", 1);
    let mut record = first.register(engine.store());
    let (store, done, name) = (engine.store(), AtomicBool::new(false), &first.name);
    let (missed, done) = (&AtomicU64::new(0), &done);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let found = store.account_by_name(name).wait();
                    missed.fetch_add(u64::from(!matches!(found, Ok(Some(_)))), Ordering::Relaxed);
                }
            });
        }
        for seed in 2..=200 {
            let next = Person::new("alice", seed);
            let reset = store.reset_account(&record, next.list(1, &[next.device]), 5).wait();
            assert_eq!(reset, Ok(ReplaceOutcome::Replaced(1)));
            record = store.account(next.account).wait().unwrap().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(missed.load(Ordering::Relaxed), 0);
}

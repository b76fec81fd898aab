//! Invites: each use makes exactly one account.

use super::{Engine, Person};
use crate::{
    CreateOutcome, Invite, InviteHash, NewAccount, Store, StoreConfig, StoreError, invite::MAX_INVITES,
};

pub(super) fn all<E: Engine>() {
    an_invite_of_one_use_makes_one_account_of_those_that_race::<E>();
    an_invite_is_used_only_by_who_gets_an_account::<E>();
    what_is_out_of_date_or_revoked_makes_no_account::<E>();
    invites_are_bounded_and_old_ones_make_room::<E>();
}

fn invite(token: &str, uses: u32) -> Invite {
    let note = format!("for {token}");
    Invite { hash: InviteHash::of(token), uses, created_ms: 500, expires_ms: 2_000, note }
}

fn with(person: &Person, token: &str) -> NewAccount {
    NewAccount { invite: Some(InviteHash::of(token)), ..person.new_account() }
}

fn an_invite_of_one_use_makes_one_account_of_those_that_race<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    assert_eq!(engine.store().create_invite(invite("one", 1)).wait(), Ok(true));
    engine.reopen();
    let people: Vec<_> = (1..=6).map(|seed: u8| Person::new(&format!("name{seed}"), seed)).collect();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let store = engine.store();
        let race = |person| scope.spawn(move || store.create_account(with(person, "one")).wait().unwrap());
        people.iter().map(race).collect::<Vec<_>>().into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let made = outcomes.iter().filter(|outcome| **outcome == CreateOutcome::Created).count();
    let refused = outcomes.iter().filter(|outcome| **outcome == CreateOutcome::NotInvited).count();
    assert_eq!((made, refused), (1, 5), "{outcomes:?}");
    for _ in 0..2 {
        assert_eq!(engine.store().usage().wait().unwrap().accounts, 1);
        assert_eq!(engine.store().invite(InviteHash::of("one")).wait(), Ok(None));
        assert_eq!(engine.store().invites().wait(), Ok(Vec::new()));
        for (person, outcome) in people.iter().zip(&outcomes) {
            // Who got an account hears so again, though the invite is used up.
            assert_eq!(engine.store().create_account(with(person, "one")).wait().as_ref(), Ok(outcome));
        }
        engine.reopen();
    }
}

fn an_invite_is_used_only_by_who_gets_an_account<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    engine.store().create_invite(invite("two", 2)).wait().unwrap();
    let alice = Person::new("alice", 1);
    let create =
        |engine: &E, person: &Person| engine.store().create_account(with(person, "two")).wait().unwrap();
    let uses =
        |engine: &E| engine.store().invite(InviteHash::of("two")).wait().unwrap().map(|invite| invite.uses);
    assert_eq!(create(&engine, &alice), CreateOutcome::Created);
    assert_eq!(create(&engine, &alice), CreateOutcome::Created, "the same request again");
    assert_eq!(create(&engine, &Person::new("alice", 2)), CreateOutcome::NameTaken);
    assert_eq!(create(&engine, &Person::new("a1ice", 2)), CreateOutcome::LooksLike(alice.name.clone()));
    assert_eq!(create(&engine, &Person::new("bob", 1)), CreateOutcome::Collision);
    engine.set_disk_full(true);
    let full = engine.store().create_account(with(&Person::new("bob", 2), "two")).wait();
    assert_eq!(full, Err(StoreError::DiskFull));
    engine.set_disk_full(false);
    engine.reopen();
    assert_eq!(uses(&engine), Some(1));
    assert_eq!(create(&engine, &Person::new("bob", 2)), CreateOutcome::Created);
    assert_eq!(uses(&engine), None);
    assert_eq!(create(&engine, &Person::new("carol", 3)), CreateOutcome::NotInvited);
    // Without one, that the server wants none is the caller's business.
    Person::new("carol", 3).register(engine.store());
}

fn what_is_out_of_date_or_revoked_makes_no_account<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let late = Invite { expires_ms: 1_000, ..invite("late", 5) };
    for invite in [late.clone(), invite("revoked", 5), invite("good", 5)] {
        engine.store().create_invite(invite).wait().unwrap();
    }
    engine.reopen();
    assert_eq!(engine.store().invite(late.hash).wait(), Ok(Some(late)));
    assert_eq!(engine.store().revoke_invite(InviteHash::of("revoked")).wait(), Ok(true));
    assert_eq!(engine.store().revoke_invite(InviteHash::of("revoked")).wait(), Ok(false));
    engine.reopen();
    let alice = Person::new("alice", 1);
    for token in ["late", "revoked", "never was one"] {
        let refused = engine.store().create_account(with(&alice, token)).wait();
        assert_eq!(refused, Ok(CreateOutcome::NotInvited), "{token}");
    }
    assert_eq!(engine.store().account_by_name(&alice.name).wait(), Ok(None));
    // As somebody may type it.
    assert_eq!(engine.store().create_account(with(&alice, " GOOD\n")).wait(), Ok(CreateOutcome::Created));
    let mut notes: Vec<_> = engine
        .store()
        .invites()
        .wait()
        .unwrap()
        .into_iter()
        .map(|invite| (invite.note, invite.uses))
        .collect();
    notes.sort_unstable();
    assert_eq!(notes, [("for good".to_owned(), 4), ("for late".to_owned(), 5)]);
}

fn invites_are_bounded_and_old_ones_make_room<E: Engine>() {
    let mut engine = E::create(StoreConfig::default());
    let pending: Vec<_> = (0..MAX_INVITES)
        .map(|number| engine.store().create_invite(invite(&format!("token {number}"), 1)))
        .collect();
    assert!(pending.into_iter().all(|pending| pending.wait().unwrap()));
    assert_eq!(engine.store().create_invite(invite("one more", 1)).wait(), Ok(false));
    engine.reopen();
    assert_eq!(engine.store().create_invite(invite("one more", 1)).wait(), Ok(false));
    assert_eq!(engine.store().revoke_invite(InviteHash::of("token 5")).wait(), Ok(true));
    assert_eq!(engine.store().create_invite(invite("one more", 1)).wait(), Ok(true));
    engine.set_disk_full(true);
    let later = Invite { created_ms: 2_000, expires_ms: 9_000, ..invite("later", 1) };
    assert_eq!(engine.store().create_invite(later.clone()).wait(), Err(StoreError::DiskFull));
    engine.set_disk_full(false);
    assert_eq!(engine.store().create_invite(later.clone()).wait(), Ok(true), "the others are out of date");
    assert_eq!(engine.store().invites().wait(), Ok(vec![later]));
}

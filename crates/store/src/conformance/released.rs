//! What stands in the fixture of every released version.

use sotto_proto::{frame::Refusal, limits::DAY_MS};

use super::fixture::{Person, envelope, put, upload};
use crate::{AccountRecord, Day, Invite, InviteHash, NewEnvelope, Store, StoreConfig, WaitingReset};

/// Fills an empty store with what stands in the newest version's fixture; what each version's check expects is exactly this.
pub fn fill(store: &impl Store) {
    fill_v1(store);
    fill_v2(store);
}

/// What is in every fixture.
fn fill_v1(store: &impl Store) {
    let (alice, bob, carol) = (Person::new("alice", 1), Person::new("b.ob-2", 2), Person::new("carol", 3));
    let first = alice.register(store);
    let second = bob.register(store);
    carol.register(store);
    let disabled =
        AccountRecord { disabled: true, ..bob.with_devices(&second, &[bob.device, bob.device(1)]) };
    store.replace_account(&second, disabled).wait().unwrap();
    // A list that is kept as a file.
    let long = AccountRecord { list: vec![7; 7_000], ..first.clone() };
    store.replace_account(&first, long).wait().unwrap();
    store.put_prekeys(bob.device, upload(5, 1..8, 1..4)).wait().unwrap();
    store.claim_prekeys(vec![bob.device], true, 0).wait().unwrap();
    let early = vec![envelope(alice.device, 1, 100), envelope(bob.device, 2, 200)];
    put(store, 1, DAY_MS, early);
    let appended =
        put(store, 2, 2 * DAY_MS, vec![envelope(alice.device, 3, 2441), envelope(alice.device, 4, 7_000)]);
    store.ack(alice.device, appended.numbers[0].unwrap()).wait().unwrap();
    // Bob's first envelope expires, with its submission's record.
    while store.expire(DAY_MS + StoreConfig::default().retention_ms).wait().unwrap() > 0 {}
    let refused = NewEnvelope { refused: Some(Refusal::NotAccepted), ..envelope(carol.device, 6, 10) };
    put(store, 3, 32 * DAY_MS, vec![envelope(bob.device, 5, 300), refused, envelope(carol.device(9), 7, 1)]);
}

/// What a fixture of version 2 has besides.
fn fill_v2(store: &impl Store) {
    let carol = Person::new("carol", 3);
    let record = store.account(carol.account).wait().unwrap().unwrap();
    store.replace_account(&record, lived_in(&record)).wait().unwrap();
    for (token, uses) in [("one", 1), ("two", 2)] {
        store.create_invite(fixture_invite(token, uses)).wait().unwrap();
    }
    // Gone again, and remembered: a removed account, and the first identity of the name that a reset was for.
    let (dave, second) = (Person::new("dave", 4), Person::new("dave", 5));
    let record = dave.register(store);
    store.reset_account(&record, second.list(1, &[second.device]), 9).wait().unwrap();
    store.remove_account(second.account, DAY_MS).wait().unwrap();
}

/// An account's record with everything that version 2 added.
pub fn lived_in(record: &AccountRecord) -> AccountRecord {
    AccountRecord {
        blocked: vec![Person::new("alice", 1).account, Person::new("nobody", 9).account],
        reset: Some(WaitingReset { list: vec![3; 300], asked_ms: 1, due_ms: 2, refused: false }),
        seen: Some(Day(20_000)),
        ..record.clone()
    }
}

/// An invite of the fixture.
pub fn fixture_invite(token: &str, uses: u32) -> Invite {
    let note = "for a fixture".to_owned();
    Invite { hash: InviteHash::of(token), uses, created_ms: DAY_MS, expires_ms: 9 * DAY_MS, note }
}

//! Stores of every released version, as dumps in `migrations/fixtures`, read back through today's types.

use super::*;
use crate::{
    AccountRecord, Day, Ending,
    conformance::{Person, envelope, fill, fixture_invite, key, lived_in, outcomes, put, tag},
    dump,
};
use sotto_proto::{
    frame::{FateState, Outcome, Refusal},
    prekey::{PrekeyCounts, PrekeyId},
};

fn fixture(version: u32) -> PathBuf {
    let name = format!("../../migrations/fixtures/server-v{version}.dump");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

const DAY_MS: u64 = sotto_proto::limits::DAY_MS;

fn check_v1(store: &SledStore) {
    let (alice, bob, carol) = (Person::new("alice", 1), Person::new("b.ob-2", 2), Person::new("carol", 3));
    let names: Vec<_> =
        store.names(None, 9).wait().unwrap().into_iter().map(|(name, id)| (name.to_string(), id)).collect();
    let expected = [&alice, &bob, &carol].map(|person| (person.name.to_string(), person.account));
    assert_eq!(names, expected);
    let record = store.account(alice.account).wait().unwrap().unwrap();
    assert_eq!((record.revision, record.list.clone(), record.disabled), (2, vec![7; 7_000], false));
    assert_eq!((record.created_ms, record.password_hash.as_str()), (1_000, "$argon2id$of-alice"));
    let record = store.account_by_name(&bob.name).wait().unwrap().unwrap();
    assert_eq!((record.devices.clone(), record.disabled), (vec![bob.device, bob.device(1)], true));
    assert_eq!(record.list, bob.list(2, &[bob.device, bob.device(1)]).as_bytes());
    assert_eq!((record.blocked, record.reset), (Vec::new(), None));
    let counts = PrekeyCounts {
        one_time: 0,
        one_time_kem: 0,
        signed: Some(PrekeyId(5)),
        last_resort: Some(PrekeyId(5)),
    };
    assert_eq!(store.prekey_counts(bob.device).wait(), Ok(counts), "an import drops the one-time keys");
    let bundle = store.claim_prekeys(vec![bob.device], true, 0).wait().unwrap().remove(0).unwrap();
    assert_eq!(Some(bundle.signed), conformance::upload(5, 0..0, 0..0).signed);
    assert_eq!(Some(bundle.kem), conformance::upload(5, 0..0, 0..0).last_resort);

    let waiting = |device| -> Vec<_> {
        let all = store.read(device, QueueNumber(0), usize::MAX).wait().unwrap();
        all.into_iter().map(|delivery| (delivery.stored_ms, delivery.envelope)).collect()
    };
    assert_eq!(waiting(alice.device), [(2 * DAY_MS, envelope(alice.device, 4, 7_000).envelope)]);
    assert_eq!(waiting(bob.device), [(32 * DAY_MS, envelope(bob.device, 5, 300).envelope)]);
    assert!(waiting(carol.device).is_empty());
    let mailbox = |device| store.mailbox(device).wait().unwrap().unwrap();
    assert_eq!(mailbox(alice.device).acked, QueueNumber(0), "nothing in the incarnation of an import");
    assert_eq!(mailbox(alice.device).lost_through, QueueNumber(0));
    assert!(mailbox(bob.device).lost_through > QueueNumber(0));
    let (taken, expired, waiting, unknown) =
        (FateState::Taken, FateState::Expired, FateState::Waiting, FateState::Unknown);
    let fates = store.fates((1..=7).map(tag).collect()).wait();
    assert_eq!(fates, Ok(vec![taken, expired, taken, waiting, waiting, unknown, unknown]));
    assert_eq!(store.submission(key(1)).wait(), Ok(None));
    let known = put(store, 3, 33 * DAY_MS, Vec::new());
    let stored = Outcome::Stored { connected: false };
    let refused = Outcome::Refused(Refusal::NotAccepted);
    assert_eq!(outcomes(&known), [stored, refused, Outcome::UnknownDevice]);
    assert_eq!(known.submitted.stored_ms, 32 * DAY_MS);
    // And it goes on from there.
    assert_eq!(outcomes(&put(store, 4, 33 * DAY_MS, vec![envelope(carol.device, 8, 10)])), [stored]);
    assert!(store.expire(100 * DAY_MS).wait().unwrap() > 0);
}

/// The parts of version 2.
fn check_v2(store: &SledStore) {
    let (alice, carol) = (Person::new("alice", 1), Person::new("carol", 3));
    let record = store.account(carol.account).wait().unwrap().unwrap();
    assert_eq!(record, AccountRecord { revision: 2, ..lived_in(&record) });
    assert_eq!(store.account(alice.account).wait().unwrap().unwrap().seen, Some(Day(0)));
    let mut invites = store.invites().wait().unwrap();
    invites.sort_unstable_by_key(|invite| invite.uses);
    assert_eq!(invites, [fixture_invite("one", 1), fixture_invite("two", 2)]);
    let ended = |seed: u8| store.ended(AccountId([seed; 16]), DAY_MS).wait();
    assert_eq!((ended(4), ended(5)), (Ok(Some(Ending::Replaced)), Ok(Some(Ending::Removed))));
    assert_eq!(ended(1), Ok(None));
}

/// A store made of a fixture.
fn imported(version: u32) -> (tempfile::TempDir, SledStore) {
    assert_eq!(dump::verify(&fixture(version)).unwrap().version, version);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let config = small(StoreConfig::default());
    dump::import(&fixture(version), &path, &config).unwrap();
    let store = SledStore::open(&path, config).unwrap();
    (folder, store)
}

#[test]
fn version_1_reads_back_and_goes_on() {
    let (_folder, store) = imported(1);
    let alice = Person::new("alice", 1);
    let old = store.account(alice.account).wait().unwrap().unwrap();
    assert_eq!(old.seen, None, "not noted then");
    check_v1(&store);
    let new = AccountRecord { reset: None, ..lived_in(&old) };
    store.replace_account(&old, new.clone()).wait().unwrap();
    let expected = AccountRecord { revision: 3, ..new };
    assert_eq!(store.account(alice.account).wait(), Ok(Some(expected)));
    assert_eq!(store.invites().wait(), Ok(Vec::new()));
}

#[test]
fn version_2_reads_back() {
    let (_folder, store) = imported(2);
    check_v2(&store);
    check_v1(&store);
}

#[test]
fn a_folder_of_version_1_is_opened_as_one_of_version_2() {
    use sotto_migrations::server::{LAYOUT_KEY, Layout};
    let (folder, store) = imported(1);
    store.close().wait().unwrap();
    drop(store);
    let (path, config) = (folder.path().join("store"), small(StoreConfig::default()));
    super::opening::tamper(&path, &config, |database| {
        let old = Layout { version: 1, ..Layout::new() };
        database.trees.meta.insert(LAYOUT_KEY, old.encode()).unwrap();
    });
    for _ in 0..2 {
        assert_eq!(SledStore::version(&path, &config), Ok(Some(1)), "asking migrates nothing");
    }
    let store = SledStore::open(&path, config).unwrap();
    check_v1(&store);
    let file = folder.path().join("dump");
    store.export(file.clone()).wait().unwrap();
    assert_eq!(dump::verify(&file).unwrap().version, 2);
    assert_eq!(SledStore::version(&path, &config), Err(StoreError::InUse));
    drop(store);
    assert_eq!(SledStore::version(&path, &config), Ok(Some(2)));
    assert_eq!(SledStore::version(&folder.path().join("none"), &config), Ok(None));
    assert!(!folder.path().join("none").exists(), "nothing was made");
}

#[test]
fn what_is_written_today_reads_back_the_same() {
    let engine = OnDisk::create(StoreConfig::default());
    fill(engine.store());
    let file = engine.folder.path().join("today");
    engine.store().export(file.clone()).wait().unwrap();
    let copy = engine.folder.path().join("copy");
    dump::import(&file, &copy, &engine.config).unwrap();
    let store = SledStore::open(&copy, engine.config).unwrap();
    check_v2(&store);
    check_v1(&store);
}

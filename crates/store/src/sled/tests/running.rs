use std::{
    fs,
    sync::{atomic::AtomicBool, mpsc},
    thread,
};

use super::*;
use crate::conformance::{Person, envelope, key, outcomes, put};
use sotto_proto::frame::{Outcome, Refusal};

#[test]
fn sled_never_writes_a_blob() {
    let engine = OnDisk::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    // The longest rows there are, many to a leaf, in and out.
    for submission in 0..30_u64 {
        let length = row::MAX_INLINE + usize::from(submission % 10 == 0);
        let envelopes =
            (0..20).map(|place| envelope(alice.device, submission * 20 + place, length)).collect();
        let appended = put(engine.store(), submission, 1, envelopes);
        if submission % 3 == 0 {
            engine.store().ack(alice.device, appended.numbers[9].unwrap()).wait().unwrap();
        }
        let upload = conformance::upload(1, 0..100, 0..50);
        engine.store().put_prekeys(alice.device, upload).wait().unwrap();
    }
    let many = (0..row::MAX_OUTCOMES as u64).map(|number| envelope(alice.device, number, 1)).collect();
    let appended = put(engine.store(), 1000, 1, many);
    assert!(outcomes(&appended).iter().all(|outcome| matches!(outcome, Outcome::Stored { .. })));
    let (_folder, path, _) = engine.close();
    assert_eq!(fs::read_dir(path.join("g-1/blobs")).unwrap().count(), 0);
}

#[test]
fn a_submission_with_more_outcomes_than_a_row_holds_is_refused() {
    let engine = OnDisk::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    let many = (0..=row::MAX_OUTCOMES as u64).map(|number| envelope(alice.device, number, 1)).collect();
    let appended = put(engine.store(), 1, 1, many);
    assert!(outcomes(&appended).iter().all(|outcome| *outcome == Outcome::Refused(Refusal::TooLarge)));
    assert_eq!(engine.store().usage().wait().unwrap().envelopes, 0);
    assert_eq!(engine.store().submission(key(1)).wait(), Ok(None));
}

#[test]
fn rows_beside_the_envelopes_are_tallied_to_the_byte_until_the_last_is_gone() {
    let engine = OnDisk::create(StoreConfig::default());
    let store = engine.store();
    let alice = Person::new("alice", 1);
    alice.register(store);
    let exact = |at: &str| {
        let (told, found) = side_bytes(store);
        assert_eq!(told, found, "{at}");
        told
    };
    let before = exact("an account");
    for (submission, envelopes) in [(1, 1), (2, 3), (3, 20), (4, 0)] {
        let envelopes = (0..envelopes).map(|n| envelope(alice.device, submission * 100 + n, 50)).collect();
        let numbers = put(store, submission, submission, envelopes).numbers;
        exact("a submission");
        if let Some(Some(number)) = numbers.first() {
            store.ack(alice.device, *number).wait().unwrap();
        }
    }
    assert!(exact("four submissions") > before);
    // Tags come from clients, who may use one twice: until the last of them ends it counts twice.
    for submission in [5, 6] {
        put(store, submission, submission, vec![envelope(alice.device, 900, 50)]);
    }
    let (told, found) = side_bytes(store);
    assert!(told > found);
    store.put_prekeys(alice.device, conformance::upload(1, 0..5, 0..3)).wait().unwrap();
    let with_keys = side_bytes(store);
    store.claim_prekeys(vec![alice.device], true, 0).wait().unwrap();
    let (told, found) = side_bytes(store);
    assert!(found < with_keys.1);
    assert_eq!(with_keys.0 - told, with_keys.1 - found, "a claim");
    // Fates are the last to be forgotten.
    while store.expire(u64::MAX).wait().unwrap() > 0 {}
    exact("all has expired");
    store.remove_account(alice.account, 1).wait().unwrap();
    assert_eq!(exact("nobody is left"), 0);
}

#[test]
fn what_is_answered_is_in_the_files() {
    let engine = OnDisk::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    // A copy of the files is what is left if the program ends here and now.
    let in_files = || {
        let spare = tempfile::tempdir().unwrap();
        copy_folder(&engine.path(), spare.path());
        let left = SledStore::open(spare.path(), engine.config).unwrap();
        let counts = left.prekey_counts(alice.device).wait().unwrap();
        (counts.one_time, counts.one_time_kem, left.usage().wait().unwrap().envelopes)
    };
    engine.store().put_prekeys(alice.device, conformance::upload(1, 1..4, 1..4)).wait().unwrap();
    assert_eq!(in_files(), (3, 3, 0));
    for left in [2, 1, 0] {
        engine.store().claim_prekeys(vec![alice.device], true, 0).wait().unwrap();
        assert_eq!(in_files(), (left, left, 0), "a key is handed out once");
    }
    let number = put(engine.store(), 1, 1, vec![envelope(alice.device, 1, 10)]).numbers[0].unwrap();
    assert_eq!(in_files(), (0, 0, 1));
    engine.store().ack(alice.device, number).wait().unwrap();
    assert_eq!(in_files(), (0, 0, 0));
}

#[test]
fn a_failure_is_final_and_told() {
    let engine = OnDisk::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    put(engine.store(), 1, 1, vec![envelope(alice.device, 1, 10)]);
    let (told, failures) = mpsc::channel();
    engine.store().on_failure(move |failure| told.send(failure).unwrap());
    // The disk fails under the writer: the folder for large values is gone.
    let files = engine.path().join("files");
    fs::remove_dir(&files).unwrap();
    let submit = |number, length| {
        let envelopes = vec![envelope(alice.device, number, length)];
        engine.store().append(Submission { key: key(number), envelopes, now_ms: 1 })
    };
    let (large, after) = (submit(2, 10_000), submit(3, 10));
    let failure = failures.recv().unwrap();
    assert!(matches!(failure, StoreError::Failed(_)), "{failure:?}");
    assert_eq!(large.wait(), Err(failure.clone()));
    assert_eq!(after.wait(), Err(failure.clone()));
    assert_eq!(submit(4, 10).wait(), Err(failure.clone()));
    assert_eq!(engine.store().expire(1).wait(), Err(failure.clone()));
    let (told, late) = mpsc::channel();
    engine.store().on_failure(move |failure| told.send(failure).unwrap());
    assert_eq!(late.recv(), Ok(failure));
    // What was acknowledged is there for the next program.
    let (_folder, path, config) = engine.close();
    let store = SledStore::open(&path, config).unwrap();
    let waiting = store.read(alice.device, QueueNumber(0), usize::MAX).wait().unwrap();
    assert_eq!(waiting[0].envelope, envelope(alice.device, 1, 10).envelope);
    assert_eq!(store.submission(key(2)).wait(), Ok(None));
}

#[test]
fn a_full_line_is_busy_and_does_nothing() {
    let engine = OnDisk::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    // Far more bytes than the line holds. They are made before the first is given, so that giving all of them costs no
    // more than moving them, which no disk keeps up with.
    let submissions: Vec<_> = (0..4000_u64)
        .map(|number| {
            let envelopes = vec![envelope(alice.device, number, 40_000)];
            Submission { key: key(number), envelopes, now_ms: 1 }
        })
        .collect();
    let pending: Vec<_> = submissions.into_iter().map(|each| engine.store().append(each)).collect();
    let results: Vec<_> = pending.into_iter().map(Pending::wait).collect();
    let busy = results.iter().filter(|result| **result == Err(StoreError::Busy)).count();
    let stored = results.iter().filter(|result| result.is_ok()).count();
    assert!(busy > 0 && stored > 0, "{busy} busy, {stored} stored");
    assert_eq!(busy + stored, 4000);
    for (number, result) in (0..).zip(&results) {
        assert_eq!(engine.store().submission(key(number)).wait().unwrap().is_some(), result.is_ok());
    }
}

#[test]
fn readers_see_only_what_is_committed() {
    let engine = OnDisk::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..300_u64 {
                put(engine.store(), number, 1, vec![envelope(alice.device, number, 100)]);
            }
        });
        let mut seen = 0;
        while !writer.is_finished() {
            // Seen before asked for again, so an uncommitted row that went away would show.
            let waiting = engine.store().read(alice.device, QueueNumber(0), usize::MAX).wait().unwrap();
            assert!(waiting.len() >= seen);
            seen = waiting.len();
            for number in 0..seen as u64 {
                assert!(engine.store().submission(key(number)).wait().unwrap().is_some());
            }
        }
    });
}

/// Readers take a row and then the file it names, which may have been replaced meanwhile.
#[test]
fn an_account_is_read_while_its_file_is_replaced() {
    let engine = OnDisk::create(StoreConfig::default());
    let (store, alice) = (engine.store(), Person::new("alice", 1));
    let first = alice.register(store);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(store.account(alice.account).wait().unwrap().is_some());
                }
            });
        }
        let mut last = first;
        for n in 0..300_usize {
            let new = AccountRecord { list: vec![7; 20_000 + n], ..last.clone() };
            store.replace_account(&last, new).wait().unwrap();
            last = store.account(alice.account).wait().unwrap().unwrap();
            assert_eq!(last.list.len(), 20_000 + n);
        }
        done.store(true, Ordering::Relaxed);
    });
}

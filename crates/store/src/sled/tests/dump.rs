use std::{
    fs::{self, File},
    io::Read as _,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::{
    conformance::{Person, envelope, put},
    dump,
};

/// A store with something of everything.
fn filled() -> OnDisk {
    let mut engine = OnDisk::create(StoreConfig::default());
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    let first = alice.register(engine.store());
    bob.register(engine.store());
    let long = AccountRecord { list: vec![7; 20_000], ..first.clone() };
    engine.store().replace_account(&first, long).wait().unwrap();
    let upload = conformance::upload(1, 1..20, 1..10);
    engine.store().put_prekeys(bob.device, upload).wait().unwrap();
    for submission in 0..20_u64 {
        let length = if submission % 5 == 0 { 9000 } else { 700 };
        put(engine.store(), submission, submission, vec![envelope(bob.device, submission, length)]);
    }
    let waiting = engine.store().read(bob.device, QueueNumber(0), 9500).wait().unwrap();
    engine.store().ack(bob.device, waiting[1].number).wait().unwrap();
    engine.reopen();
    engine
}

#[test]
fn a_dump_makes_the_same_store_without_one_time_keys() {
    let engine = filled();
    let file = engine.folder.path().join("dump");
    let summary = engine.store().export(file.clone()).wait().unwrap();
    assert_eq!(dump::verify(&file), Ok(summary));
    assert_eq!(summary.bytes, fs::metadata(&file).unwrap().len());
    let copy = engine.folder.path().join("copy");
    assert_eq!(dump::import(&file, &copy, &engine.config), Ok(summary));
    assert!(
        matches!(dump::import(&file, &copy, &engine.config), Err(StoreError::Failed(_))),
        "not over a store"
    );
    let imported = SledStore::open(&copy, engine.config).unwrap();
    for store in [engine.store(), &imported] {
        let (told, found) = side_bytes(store);
        assert_eq!(told, found);
    }
    let (old, new) = (engine.store(), &imported);
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    assert_eq!(old.account(alice.account).wait().unwrap().unwrap().list.len(), 20_000);
    assert_eq!(new.account(alice.account).wait(), old.account(alice.account).wait());
    assert_eq!(new.names(None, 9).wait(), old.names(None, 9).wait());
    let all = |store: &SledStore| store.read(bob.device, QueueNumber(0), usize::MAX).wait().unwrap();
    assert_eq!(all(old).len(), 18);
    assert_eq!(all(new), all(old));
    let tags: Vec<_> = (0..25).map(conformance::tag).collect();
    assert_eq!(new.fates(tags.clone()).wait(), old.fates(tags).wait());
    for number in 0..25 {
        let key = conformance::key(number);
        assert_eq!(new.submission(key).wait(), old.submission(key).wait());
    }
    let (before, after) = (old.mailbox(bob.device).wait().unwrap(), new.mailbox(bob.device).wait().unwrap());
    let (before, after) = (before.unwrap(), after.unwrap());
    assert_ne!(before.acked, QueueNumber(0));
    assert_eq!(
        (after.acked, after.lost_through),
        (QueueNumber(0), before.lost_through),
        "nothing in this life"
    );
    assert_ne!(after.incarnation, before.incarnation);
    let counts = new.prekey_counts(bob.device).wait().unwrap();
    assert_eq!((counts.one_time, counts.one_time_kem), (0, 0));
    assert!(counts.signed.is_some() && counts.last_resort.is_some());
    // Ids that were used before stay used.
    let counts = new.put_prekeys(bob.device, conformance::upload(1, 1..25, 1..10)).wait().unwrap();
    assert_eq!((counts.one_time, counts.one_time_kem), (5, 0));
    let usage = |store: &SledStore| store.usage().wait().map(|usage| (usage.envelopes, usage.envelope_bytes));
    assert_eq!(usage(new), usage(old));
    let number = put(new, 99, 9, vec![envelope(bob.device, 99, 10)]).numbers[0];
    assert!(number.unwrap() > all(old).last().unwrap().number);
}

#[test]
fn a_damaged_dump_is_refused_whole() {
    let engine = filled();
    let file = engine.folder.path().join("dump");
    engine.store().export(file.clone()).wait().unwrap();
    let good = fs::read(&file).unwrap();
    let copy = engine.folder.path().join("copy");
    let refuse = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        assert!(dump::import(&file, &copy, &engine.config).is_err(), "{what}");
        assert!(!copy.exists(), "{what}: something was written");
    };
    for part in 0..40 {
        let at = good.len() * part / 40;
        refuse(&good[..at], "cut");
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        refuse(&bytes, "flip");
    }
    refuse(&[&good[..], b"!"].concat(), "longer");
    let mut newer = good.clone();
    newer[23] = 9;
    fs::write(&file, &newer).unwrap();
    assert_eq!(dump::verify(&file), Err(StoreError::TooNew { found: 9, known: 2 }));
}

#[test]
fn a_dump_that_cannot_be_written_leaves_the_store_at_work() {
    let engine = filled();
    let nowhere = engine.folder.path().join("no such folder/dump");
    assert!(engine.store().export(nowhere).wait().is_err());
    Person::new("carol", 3).register(engine.store());
}

#[test]
fn a_dump_that_nobody_waits_for_is_called_off() {
    let engine = filled();
    let file = engine.folder.path().join("dump");
    let unfinished = engine.folder.path().join("dump.unfinished");
    // The writer waits here until somebody reads.
    mknodat(CWD, &unfinished, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    drop(engine.store().export(file.clone()));
    let mut written = Vec::new();
    File::open(&unfinished).unwrap().read_to_end(&mut written).unwrap();
    assert!(written.starts_with(b"sotto store dump") && written.len() < 100, "{} bytes", written.len());
    // Changes go on, and what was begun is gone.
    Person::new("carol", 3).register(engine.store());
    assert!(!unfinished.exists() && !file.exists());
}

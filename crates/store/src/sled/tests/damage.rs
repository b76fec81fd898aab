use std::{fs, path::Path};

use super::{opening::tamper, *};
use crate::{
    conformance::{Person, envelope, put},
    sled::row::directory,
};

/// A closed store with enough in it that most of its bytes matter.
fn filled() -> (TempDir, PathBuf, StoreConfig) {
    let engine = OnDisk::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    for submission in 0..40_u64 {
        let envelopes = (0..10).map(|place| envelope(alice.device, submission * 10 + place, 2400)).collect();
        put(engine.store(), submission, 1, envelopes);
    }
    put(engine.store(), 100, 1, vec![envelope(alice.device, 1000, 20_000)]);
    engine.close()
}

/// All that was stored is there, or an error says that it is not.
fn whole_or_error(path: &Path, config: StoreConfig) -> Result<(), StoreError> {
    let store = SledStore::open(path, config)?;
    let alice = Person::new("alice", 1);
    let record = store.account(alice.account).wait()?;
    let waiting = store.read(alice.device, QueueNumber(0), usize::MAX).wait()?;
    assert!(record.is_some(), "an account is silently gone");
    assert_eq!(waiting.len(), 401, "envelopes are silently gone");
    for (delivery, number) in waiting.iter().zip((0..400).chain([1000])) {
        let length = if number == 1000 { 20_000 } else { 2400 };
        assert_eq!(delivery.envelope, envelope(alice.device, number, length).envelope, "silently changed");
    }
    Ok(())
}

type Damage = Box<dyn Fn(&Path)>;

#[test]
fn a_damaged_file_is_an_error_and_never_an_emptier_store() {
    let (_folder, path, config) = filled();
    let spare = tempfile::tempdir().unwrap();
    let mut errors = 0;
    let length = fs::metadata(path.join("g-1/db")).unwrap().len();
    let mut cases: Vec<(String, Damage)> = Vec::new();
    for part in 0..24_u64 {
        let at = usize::try_from(length * part / 24 + 40 * part).unwrap();
        cases.push((
            format!("flip at {at} of {length}"),
            Box::new(move |path| {
                let mut bytes = fs::read(path.join("g-1/db")).unwrap();
                bytes[at] ^= 0x5a;
                fs::write(path.join("g-1/db"), bytes).unwrap();
            }),
        ));
    }
    for part in 0..8_u64 {
        let to = length * part / 8;
        cases.push((
            format!("cut to {to} of {length}"),
            Box::new(move |path| {
                let file = fs::OpenOptions::new().write(true).open(path.join("g-1/db")).unwrap();
                file.set_len(to).unwrap();
            }),
        ));
    }
    for name in ["g-1/db", "g-1/conf"] {
        cases.push((format!("no {name}"), Box::new(move |path| fs::remove_file(path.join(name)).unwrap())));
        cases.push((format!("empty {name}"), Box::new(move |path| fs::write(path.join(name), b"").unwrap())));
    }
    cases.push(("conf".to_owned(), Box::new(|path| fs::write(path.join("g-1/conf"), [0xff; 60]).unwrap())));
    cases.push(("marker".to_owned(), Box::new(|path| fs::write(path.join("g-1/made"), b"?").unwrap())));
    for (index, (name, damage)) in cases.into_iter().enumerate() {
        let copied = spare.path().join(index.to_string());
        copy_folder(&path, &copied);
        damage(&copied);
        let found = whole_or_error(&copied, config);
        println!("{name}: {found:?}");
        errors += usize::from(found.is_err());
        fs::remove_dir_all(&copied).unwrap();
    }
    // Flips may hit what is free or was written again since; most do not.
    assert!(errors >= 14, "only {errors} damages were noticed");
}

#[test]
fn a_damaged_snapshot_is_no_damage_or_an_error() {
    let (_folder, path, config) = filled();
    // The second opening writes a snapshot.
    whole_or_error(&path, config).unwrap();
    let snapshots: Vec<_> = fs::read_dir(path.join("g-1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap."))
        .collect();
    for snapshot in snapshots {
        let mut bytes = fs::read(&snapshot).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&snapshot, bytes).unwrap();
        println!("{}: {:?}", snapshot.display(), whole_or_error(&path, config));
    }
}

#[test]
fn a_changed_or_missing_large_value_is_an_error() {
    for remove in [false, true] {
        let (_folder, path, config) = filled();
        let file = fs::read_dir(path.join("files")).unwrap().next().unwrap().unwrap().path();
        if remove {
            fs::remove_file(file).unwrap();
        } else {
            let mut bytes = fs::read(&file).unwrap();
            bytes[777] ^= 1;
            fs::write(file, bytes).unwrap();
        }
        let found = whole_or_error(&path, config);
        assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
    }
}

#[test]
fn rows_that_do_not_fit_together_are_an_error() {
    type Change = fn(&crate::sled::database::Database);
    let changes: [Change; 5] = [
        |database| {
            database.trees.directory.remove(directory::account(&Person::new("alice", 1).account)).unwrap();
        },
        |database| {
            database.trees.directory.remove(directory::name(&Person::new("alice", 1).name)).unwrap();
        },
        |database| {
            database.trees.directory.insert([directory::DEVICE, 1, 2, 3], &b"?"[..]).unwrap();
        },
        |database| {
            database.trees.queue.insert(crate::sled::row::queue::envelope(1, 1), &b"\x01short"[..]).unwrap();
        },
        |database| {
            database.trees.meta.clear().unwrap();
        },
    ];
    for change in changes {
        let (_folder, path, config) = filled();
        tamper(&path, &config, change);
        let found = SledStore::open(&path, config).map(drop);
        assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
    }
}

#[test]
fn a_database_behind_its_witness_is_an_error() {
    let engine = OnDisk::create(StoreConfig::default());
    Person::new("alice", 1).register(engine.store());
    let (_folder, path, config) = engine.close();
    let early = tempfile::tempdir().unwrap();
    copy_folder(&path.join("g-1"), early.path());
    let store = SledStore::open(&path, config).unwrap();
    Person::new("bob", 2).register(&store);
    drop(store);
    // The file as it was before, under the witness of today: what a lost write leaves.
    fs::copy(early.path().join("db"), path.join("g-1/db")).unwrap();
    for entry in fs::read_dir(path.join("g-1")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let found = SledStore::open(&path, config).map(drop);
    assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
}

#[test]
fn an_old_copy_of_the_folder_hides_nothing_from_a_reader_of_the_newer_one() {
    let mut engine = OnDisk::create(StoreConfig::default());
    let alice = Person::new("alice", 1);
    alice.register(engine.store());
    engine.store().close().wait().unwrap();
    engine.store = None;
    let old = engine.folder.path().join("old");
    copy_folder(&engine.path(), &old);
    let newer = SledStore::open(&engine.path(), engine.config).unwrap();
    let read = put(&newer, 1, 1, (0..9).map(|number| envelope(alice.device, number, 10)).collect());
    let cursor = read.numbers[8].unwrap();
    let older = SledStore::open(&old, engine.config).unwrap();
    let waits = put(&older, 2, 2, (10..13).map(|number| envelope(alice.device, number, 10)).collect());
    // Which of the two gave higher numbers is chance; neither takes the reader's number for an ack of what waits.
    match older.ack(alice.device, cursor).wait().unwrap() {
        AckOutcome::BegunAnew => assert!(cursor > waits.numbers[2].unwrap()),
        AckOutcome::Removed(tags) => {
            assert_eq!(tags, []);
            assert!(cursor < waits.numbers[0].unwrap());
        }
    }
    let waiting = older.read(alice.device, QueueNumber(0), usize::MAX).wait().unwrap();
    assert_eq!(waiting.len(), 3);
}

#[test]
fn an_envelope_whose_file_is_lost_is_an_error_and_not_left_out() {
    let engine = OnDisk::create(StoreConfig::default());
    let (store, alice) = (engine.store(), Person::new("alice", 1));
    alice.register(store);
    let length = row::MAX_INLINE + 1;
    put(store, 1, 1, (0..3).map(|number| envelope(alice.device, number, length)).collect());
    let read = || store.read(alice.device, QueueNumber(0), usize::MAX).wait();
    assert_eq!(read().unwrap().len(), 3);
    let files: Vec<_> = fs::read_dir(engine.path().join("files")).unwrap().map(Result::unwrap).collect();
    fs::remove_file(files[1].path()).unwrap();
    assert!(matches!(read(), Err(StoreError::Damaged(_))));
}

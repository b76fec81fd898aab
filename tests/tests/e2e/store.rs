//! The stores on the disk: damaged, in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sotto_tests::sottod::ServerOptions;

use crate::town::{Town, texts};

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::symlink_metadata(&path).unwrap().is_file() {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_damaged_store_is_said_and_not_made_worse() {
    let town = Town::new().unwrap();
    let (alice, _bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    alice.ok(&["send", "@bob", "hello"]).unwrap();
    let database =
        files(alice.data_dir()).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let good = fs::read(&database).unwrap();
    let mut bad = good.clone();
    for byte in &mut bad[40..4000] {
        *byte ^= 0x5a;
    }
    fs::write(&database, &bad).unwrap();
    let answer = alice.run(&["history", "@bob"]).unwrap();
    assert_eq!(answer.code, 8, "{answer:?}");
    assert_eq!(answer.error().expect("an error object")["code"], 8);
    fs::write(&database, &good).unwrap();
    assert_eq!(alice.history("@bob").unwrap().len(), 1);
}

/// A server that began with an empty store in place of a damaged one would have lost everything without a word.
#[test]
fn a_damaged_server_store_is_said_and_not_made_worse() {
    let mut town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    alice.ok(&["send", "@bob", "hello"]).unwrap();
    town.server.kill().unwrap();
    let data = town.server.data_dir().to_owned();
    let database = files(&data).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let good = fs::read(&database).unwrap();
    for at in [100, good.len() / 8, good.len() / 3] {
        let mut bad = good.clone();
        for byte in &mut bad[at..at + 64] {
            *byte ^= 0x5a;
        }
        fs::write(&database, &bad).unwrap();
        let options = ServerOptions::new(&data).unwrap();
        let finished = options.spawn().unwrap().wait(Duration::from_secs(60)).unwrap();
        assert_eq!(finished.code, Some(1), "damaged at {at}: {finished:?}");
        assert!(finished.stderr.contains("damaged"), "damaged at {at}: {finished:?}");
    }
    fs::write(&database, &good).unwrap();
    town.server.start_again().unwrap();
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["hello"]);
}

#[test]
fn files_of_a_profile_are_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    for path in files(alice.data_dir()) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn a_profile_that_another_program_holds_is_said_to_be_in_use() {
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let lock = files(alice.data_dir())
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("lock")))
        .expect("a lock file");
    let held = fs::File::options().read(true).write(true).open(lock).unwrap();
    held.lock().unwrap();
    let answer = alice.run(&["whoami"]).unwrap();
    assert_eq!(answer.code, 9, "{answer:?}");
    drop(held);
    alice.ok(&["whoami"]).unwrap();
}

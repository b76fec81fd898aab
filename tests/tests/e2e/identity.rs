//! Keys that change under a known name.

use std::fs;
use std::path::Path;

use sotto_tests::sottod::{Server, ServerOptions};

use crate::town::{Town, texts};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if fs::symlink_metadata(&path).unwrap().is_file() {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The server forgets Bob, and somebody else takes his name: to Alice, the server swapped his keys.
#[test]
fn nothing_leaves_to_a_contact_whose_keys_were_swapped_until_it_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("server");
    let options = ServerOptions::new(&data).unwrap();
    let mut town = Town::new().unwrap();
    town.server = Server::start_with(options).unwrap();
    let alice = town.person("alice").unwrap();
    town.server.kill().unwrap();
    copy(&data, &dir.path().join("before bob"));
    town.server.start_again().unwrap();
    let _bob = town.person("bob").unwrap();
    alice.ok(&["send", "@bob", "to the first bob"]).unwrap();

    town.server.kill().unwrap();
    fs::remove_dir_all(&data).unwrap();
    copy(&dir.path().join("before bob"), &data);
    town.server.start_again().unwrap();
    let impostor = town.machine_of("bob", "impostor").unwrap();
    impostor.register(town.server.address()).unwrap();

    let held = alice.run(&["send", "@bob", "a secret"]).unwrap().expect_code(5).unwrap();
    assert_eq!(held.fates().pop().unwrap().state, "held");
    assert_eq!(alice.run(&["send", "@bob", "another"]).unwrap().code, 5);
    assert!(impostor.ok(&["recv"]).unwrap().objects.iter().all(|object| object["type"] == "end"));
    // What the server lost when its data was put back waits too, but not for the next identity.
    assert_eq!(alice.outbox().unwrap().len(), 3);

    let wrong = "00000 ".repeat(12);
    assert!(alice.run(&["trust", "bob", "--number", &wrong]).unwrap().code != 0);
    assert_eq!(alice.outbox().unwrap().len(), 3, "a wrong number releases");
    let shown = impostor.ok(&["verify", "alice"]).unwrap();
    let number = shown.field("number").expect("a number").to_owned();
    alice.ok(&["trust", "bob", "--number", &number]).unwrap();
    alice.ok(&["recv"]).unwrap();
    assert!(alice.outbox().unwrap().is_empty());
    assert_eq!(texts(&impostor.ok(&["recv"]).unwrap().messages()), ["a secret", "another"]);
    let history = alice.ok(&["history", "@bob"]).unwrap();
    let first = history.of_type("message").find(|row| row["body"]["text"] == "to the first bob").unwrap();
    assert_eq!(first["fate"], "refused", "{first}");
    assert!(first["reason"].as_str().unwrap().contains("for the identity before"), "{first}");
}

#[test]
fn both_sides_see_the_same_safety_number() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let numbers: Vec<String> = [alice.ok(&["verify", "bob"]), bob.ok(&["verify", "alice"])]
        .into_iter()
        .map(|answer| answer.unwrap().field("number").expect("a number").to_owned())
        .collect();
    assert_eq!(numbers[0], numbers[1]);
    assert_eq!(numbers[0].chars().filter(char::is_ascii_digit).count(), 60);
    bob.ok(&["trust", "alice", "--number", &numbers[0].replace(' ', "")]).unwrap();
    alice.ok(&["send", "@bob", "compared"]).unwrap();
    let received = bob.ok(&["recv"]).unwrap();
    assert_eq!(received.of_type("message").next().unwrap()["from_trust"], "compared");
}

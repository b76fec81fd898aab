//! A server that lost its data but not its key: the clients give it its accounts back.

use std::fs;
use std::time::Instant;

use sotto_tests::running::Running;
use sotto_tests::sotto::{COMMAND, Message, object};
use sotto_tests::sottod::{Server, ServerOptions, admin};

use crate::town::{Town, texts};

/// The next message of a running `recv --follow`.
fn next_message(recv: &Running) -> Message {
    let deadline = Instant::now() + COMMAND;
    loop {
        let line = recv.line(deadline.saturating_duration_since(Instant::now())).unwrap();
        if let Some(message) = Message::from_object(&object(&line.expect("recv goes on")).unwrap()) {
            return message;
        }
    }
}

/// The operator's disk broke; key and chain were kept elsewhere.
fn lose_store(town: &mut Town) {
    town.server.kill().unwrap();
    let data = town.server.data_dir().to_owned();
    fs::rename(data.join("store"), town.path("lost")).unwrap();
}

/// Starts the killed server again, with registration `open` or `closed`.
fn start_again(town: &mut Town, registration: &str) {
    let port = town.server.socket().rsplit(':').next().unwrap().parse().unwrap();
    let options = ServerOptions::new(town.server.data_dir()).unwrap().port(port);
    town.server = Server::start_with(options.environment("SOTTOD_REGISTRATION", registration)).unwrap();
}

#[test]
fn accounts_that_the_server_lost_come_back_with_their_clients() {
    let mut town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    alice.ok(&["send", "@bob", "received before"]).unwrap();
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["received before"]);
    alice.ok(&["send", "@bob", "stored and lost"]).unwrap();
    // Alice's client is there the whole time, bob's comes when all is over.
    let listening = alice.start(&["recv", "--follow"], "").unwrap();
    lose_store(&mut town);
    let waiting = alice.run(&["send", "@bob", "written meanwhile", "--timeout", "1s"]).unwrap();
    assert!(waiting.code != 0 && waiting.fates().iter().all(|fate| !fate.is_safe()), "{waiting:?}");
    town.server.start_again().unwrap();

    let following = bob.start(&["recv", "--follow"], "").unwrap();
    assert_eq!(next_message(&following).text, "stored and lost");
    assert_eq!(next_message(&following).text, "written meanwhile");
    bob.ok(&["send", "@alice", "I have both"]).unwrap();
    let heard = next_message(&listening);
    assert_eq!((heard.from.as_str(), heard.text.as_str()), ("bob", "I have both"));
    drop((listening, following));
    assert!(alice.outbox().unwrap().is_empty());
    let history = bob.history("@alice").unwrap();
    assert_eq!(texts(&history), ["received before", "stored and lost", "written meanwhile", "I have both"]);
    // The same people as before: nobody was asked to compare anything.
    for (person, other) in [(&alice, "bob"), (&bob, "alice")] {
        let contacts = person.ok(&["contact", "list"]).unwrap();
        assert_eq!(contacts.field("name"), Some(other));
        assert!(contacts.objects.iter().all(|contact| contact["trust"] != "changed"), "{contacts:?}");
    }
    // And the same passwords.
    let log = town.server.log();
    assert_eq!(log.matches("registered [ alice ]").count(), 2, "{log}");
}

#[test]
fn a_name_that_was_taken_meanwhile_is_said_with_its_exit_code() {
    let mut town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    lose_store(&mut town);
    town.server.start_again().unwrap();
    let other = town.machine_of("alice", "another alice").unwrap();
    other.register(town.server.address()).unwrap();
    let answer = alice.run(&["recv", "--timeout", "30s"]).unwrap().expect_code(1).unwrap();
    let error = answer.error().expect("an error object");
    assert_eq!(error["kind"], "name_taken", "{error}");
    other.ok(&["recv"]).unwrap();
}

#[test]
fn a_server_that_takes_no_new_accounts_is_said_and_tried_again() {
    let mut town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    lose_store(&mut town);
    start_again(&mut town, "closed");
    let answer = alice.run(&["recv", "--timeout", "30s"]).unwrap().expect_code(4).unwrap();
    let error = answer.error().expect("an error object");
    assert!(error["message"].as_str().unwrap().contains("takes no new ones"), "{error}");
    town.server.kill().unwrap();
    start_again(&mut town, "open");
    alice.run(&["recv", "--timeout", "30s"]).unwrap().expect_code(0).unwrap();
}

#[test]
fn an_account_that_the_operator_deleted_does_not_come_back_with_its_client() {
    let mut town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    alice.ok(&["send", "@bob", "before"]).unwrap();
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["before"]);
    let listening = bob.start(&["recv", "--follow"], "").unwrap();
    alice.ok(&["send", "@bob", "while it listens"]).unwrap();
    assert_eq!(next_message(&listening).text, "while it listens");
    let order = ["user", "delete", "bob", "--yes"];
    let deleted = admin(town.server.data_dir(), &order, COMMAND).unwrap();
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    assert!(deleted.stdout.concat().contains("does not come back"), "{deleted:?}");
    // The client that was there ends, and so does each that comes later, also when the server was away meanwhile.
    let ended = listening.wait(COMMAND).unwrap();
    assert_eq!(ended.code, Some(4), "{ended:?}");
    for _ in 0..2 {
        let refused = bob.run(&["recv", "--timeout", "30s"]).unwrap().expect_code(4).unwrap();
        let error = refused.error().expect("an error object");
        let message = error["message"].as_str().unwrap();
        assert_eq!(message, "the operator of this server removed this account", "{error}");
        assert!(error["hint"].as_str().unwrap().contains("sotto history"), "{error}");
        town.server.kill().unwrap();
        town.server.start_again().unwrap();
    }
    let users = admin(town.server.data_dir(), &["users", "--json"], COMMAND).unwrap();
    assert!(!users.stdout.concat().contains(r#""name":"bob""#), "{users:?}");
    assert_eq!(texts(&bob.history("@alice").unwrap()), ["before", "while it listens"]);
    // The name is free, and who takes it is somebody else: what alice writes is held until she has looked.
    let heir = town.machine_of("bob", "another bob").unwrap();
    heir.register(town.server.address()).unwrap();
    let held = alice.run(&["send", "@bob", "who are you?", "--timeout", "10s"]).unwrap();
    assert_eq!(held.code, 5, "{held:?}");
    assert!(heir.ok(&["recv"]).unwrap().messages().is_empty());
    bob.run(&["recv", "--timeout", "30s"]).unwrap().expect_code(4).unwrap();
}

//! The main job: two people write to each other, one of them is offline, some have two machines.

use serde_json::Value;
use sotto_tests::running::Running;
use sotto_tests::sotto::COMMAND;

use crate::town::{Town, texts};

#[test]
fn a_message_to_somebody_offline_is_stored_and_replayed_after_a_kill() {
    let mut town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let sent = alice.ok(&["send", "@bob", "hello while you are away"]).unwrap();
    let fate = sent.fates().pop().unwrap();
    assert_eq!(fate.state, "stored");
    alice.ok(&["send", "bob", "a bare word is a user"]).unwrap();

    town.server.kill().unwrap();
    town.server.start_again().unwrap();

    let received = bob.ok(&["recv"]).unwrap();
    let messages = received.messages();
    assert_eq!(texts(&messages), ["hello while you are away", "a bare word is a user"]);
    assert_eq!((messages[0].id.as_str(), messages[0].from.as_str()), (fate.id.as_str(), "alice"));
    assert_eq!(received.of_type("end").count(), 1);
    let first = received.of_type("message").next().unwrap();
    assert_eq!(first["conversation"], "@alice");
    assert_eq!(first["from_trust"], "pinned");
    assert!(first["sent_at"].as_str().unwrap().ends_with('Z'), "{first}");
    assert_eq!(first["body"]["kind"], "text");
    assert!(bob.ok(&["recv"]).unwrap().messages().is_empty(), "printed once over all calls");
    assert_eq!(texts(&bob.history("@alice").unwrap()), texts(&messages));
    assert_eq!(alice.history("@bob").unwrap().len(), 2);

    bob.ok(&["send", "alice", "thank you"]).unwrap();
    assert_eq!(texts(&alice.ok(&["recv"]).unwrap().messages()), ["thank you"]);
}

/// The next message of a running `recv --follow`.
fn next_text(recv: &Running) -> String {
    loop {
        let line = recv.line(COMMAND).unwrap().expect("recv --follow ended");
        let object: Value = serde_json::from_str(&line).unwrap();
        if object["type"] == "message" {
            return object["body"]["text"].as_str().unwrap().to_owned();
        }
    }
}

#[test]
fn somebody_online_gets_messages_at_once_and_the_sender_sees_them_delivered() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let recv = bob.start(&["recv", "--follow"], "").unwrap();
    let sent = alice.ok(&["send", "@bob", "ping", "--wait", "delivered"]).unwrap();
    assert_eq!(sent.fates().pop().unwrap().state, "delivered");
    assert_eq!(next_text(&recv), "ping");

    let users = alice.ok(&["users"]).unwrap();
    let bob_entry = users.of_type("user").find(|user| user["name"] == "bob").unwrap();
    assert!(["available", "offline"].contains(&bob_entry["presence"].as_str().unwrap()), "{bob_entry}");

    // While one process owns the profile, others go through it.
    bob.ok(&["send", "@alice", "pong"]).unwrap();
    assert_eq!(texts(&alice.ok(&["recv"]).unwrap().messages()), ["pong"]);
    assert_eq!(bob.history("@alice").unwrap().len(), 2);
}

#[test]
fn lines_and_stdin_are_sent_as_they_are() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let sent = alice.run_with_input(&["send", "@bob", "--lines"], "one\ntwo\n\u{202e}three\n").unwrap();
    let sent = sent.expect_code(0).unwrap();
    assert!(sent.fates().len() == 3 && sent.fates().iter().all(|fate| fate.state == "stored"));
    let whole = "a whole\nfile with\ntwo breaks and an emoji \u{1f980}";
    alice.run_with_input(&["send", "@bob", "-"], whole).unwrap().expect_code(0).unwrap();
    let messages = bob.ok(&["recv"]).unwrap().messages();
    assert_eq!(texts(&messages), ["one", "two", "\u{202e}three", whole]);
}

#[test]
fn the_password_comes_from_stdin_and_the_rest_is_input() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let password = "correct horse of alice\n";
    alice.set_password("the environment loses against stdin").unwrap();
    let input = format!("{password}from stdin");
    alice.run_with_input(&["--password-stdin", "send", "@bob", "-"], &input).unwrap().expect_code(0).unwrap();
    alice
        .run_with_input(&["send", "@bob", "x", "--password-stdin"], password)
        .unwrap()
        .expect_code(0)
        .unwrap();
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["from stdin", "x"]);
}

#[test]
fn two_machines_of_one_person_both_receive_and_show_what_either_sent() {
    let town = Town::new().unwrap();
    let bob = town.person("bob").unwrap();
    let desk = town.stranger("alice").unwrap();
    let phrase = desk.register(town.server.address()).unwrap();
    assert_eq!(phrase.split_whitespace().count(), 24);
    bob.ok(&["send", "@alice", "before the laptop"]).unwrap();
    let laptop = town.sign_in("alice", "laptop", &phrase).unwrap();

    bob.ok(&["send", "@alice", "to both"]).unwrap();
    assert_eq!(texts(&desk.ok(&["recv"]).unwrap().messages()), ["before the laptop", "to both"]);
    assert_eq!(texts(&laptop.ok(&["recv"]).unwrap().messages()), ["to both"]);

    desk.ok(&["send", "@bob", "from the desk"]).unwrap();
    laptop.ok(&["recv"]).unwrap();
    assert_eq!(texts(&laptop.history("@bob").unwrap()), ["to both", "from the desk"]);
    laptop.ok(&["send", "@bob", "from the laptop"]).unwrap();
    desk.ok(&["recv"]).unwrap();
    let desk_history = desk.history("@bob").unwrap();
    assert_eq!(texts(&desk_history), ["before the laptop", "to both", "from the desk", "from the laptop"]);
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["from the desk", "from the laptop"]);
}

#[test]
fn an_outbox_entry_that_is_dropped_is_not_sent() {
    let mut town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    alice.ok(&["send", "@bob", "first"]).unwrap();
    town.server.kill().unwrap();
    let waiting = alice.run(&["send", "@bob", "regretted"]).unwrap().expect_code(3).unwrap();
    assert_eq!(waiting.fates().pop().unwrap().state, "waiting");
    alice.run(&["send", "@bob", "kept"]).unwrap().expect_code(3).unwrap();
    let outbox = alice.outbox().unwrap();
    assert_eq!(outbox.len(), 2);
    alice.ok(&["outbox", "drop", &outbox[0]]).unwrap();
    town.server.start_again().unwrap();
    // Any command that connects takes the rest along.
    alice.ok(&["recv"]).unwrap();
    assert!(alice.outbox().unwrap().is_empty());
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["first", "kept"]);
}

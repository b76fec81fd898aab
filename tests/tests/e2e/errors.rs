//! Each mistake has its exit code and its error object, and leaves everybody else in peace.

use std::process::Command;

use sotto_tests::running::Running;
use sotto_tests::sotto::{Answer, COMMAND, Client};

use crate::town::{Town, texts};

/// Runs a command that must fail with this code, and say so in one object on stderr.
fn fails(client: &Client, arguments: &[&str], code: i32) -> Answer {
    let answer = client.run(arguments).unwrap().expect_code(code).unwrap();
    let error =
        answer.error().unwrap_or_else(|| panic!("{arguments:?}: no error object in {:?}", answer.stderr));
    assert_eq!(error["code"], code, "{error}");
    assert!(!error["kind"].as_str().unwrap().is_empty() && !error["message"].as_str().unwrap().is_empty());
    answer
}

#[test]
fn names_that_are_taken_alike_or_bad_are_refused() {
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let address = town.server.address();
    for name in ["alice", "ALICE", "al1ce", "a.lice", "", "_x", "a b", "\u{1b}[31m", "näme", &"x".repeat(33)]
    {
        let stranger = town.machine_of("stranger", "stranger").unwrap();
        fails(&stranger, &["register", address, name], 1);
        assert!(stranger.run(&["whoami"]).unwrap().code != 0, "{name:?} left a profile behind");
    }
    // Nothing of it stands in the way of a good name.
    town.machine_of("carol", "stranger").unwrap().register(address).unwrap();
    alice.ok(&["whoami"]).unwrap();
}

#[test]
fn wrong_and_missing_passwords_are_refused() {
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let elsewhere = town.machine_of("alice", "elsewhere").unwrap();
    alice.set_password("wrong").unwrap();
    fails(&elsewhere, &["login", town.server.address(), "alice"], 4);
    fails(&elsewhere, &["login", town.server.address(), "nobody"], 4);
    // The password of the store, not of the server.
    fails(&alice, &["whoami"], 8);

    let mut command = alice.command(&["whoami"]).unwrap();
    command.env_remove("SOTTO_PASSWORD_FILE");
    assert_eq!(Running::start(command, b"").unwrap().wait(COMMAND).unwrap().code, Some(4));
    alice.set_password("correct horse of alice").unwrap();
    alice.ok(&["whoami"]).unwrap();
}

#[test]
fn a_profile_without_an_account_needs_a_login() {
    let town = Town::new().unwrap();
    let stranger = town.stranger("stranger").unwrap();
    for arguments in [&["whoami"][..], &["send", "@bob", "hi"], &["recv"], &["history"]] {
        fails(&stranger, arguments, 4);
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    fails(&alice, &["send", "@nobody", "hi"], 10);
    assert!(alice.outbox().unwrap().is_empty(), "a message to nobody stays in the outbox");
    fails(&alice, &["outbox", "drop", "aaaaaaaaaaaaaaaaaaaaaaaaaa"], 10);
}

#[test]
fn a_command_that_does_not_exist_is_a_usage_error() {
    let town = Town::new().unwrap();
    let alice = town.stranger("alice").unwrap();
    for arguments in [&["sned"][..], &["send"], &["recv", "--limit", "many"]] {
        assert_eq!(alice.run(arguments).unwrap().code, 2, "{arguments:?}");
    }
}

#[test]
fn content_that_is_too_long_is_refused_before_it_is_queued() {
    let town = Town::new().unwrap();
    let (alice, _bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let answer = alice.run_with_input(&["send", "@bob", "-"], &"x".repeat(33 * 1024)).unwrap();
    answer.expect_code(1).unwrap();
    assert!(alice.outbox().unwrap().is_empty());
}

#[test]
fn a_server_that_is_down_keeps_the_message_waiting() {
    let mut town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    town.server.kill().unwrap();
    let answer = fails(&alice, &["send", "@bob", "patience"], 3);
    assert_eq!(answer.fates().pop().unwrap().state, "waiting");
    fails(&town.stranger("carol").unwrap(), &["register", town.server.address(), "carol"], 3);
    town.server.start_again().unwrap();
    alice.ok(&["recv"]).unwrap();
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["patience"]);
}

/// The server's machine is there but does not answer: a half-open connection, seen from the client.
#[test]
fn a_server_that_hangs_ends_in_a_timeout_and_loses_nothing() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let stopped = |signal: &str| {
        let status = Command::new("kill").args([signal, &town.server.id().to_string()]).status().unwrap();
        assert!(status.success());
    };
    stopped("-STOP");
    fails(&alice, &["send", "@bob", "are you there", "--timeout", "2s"], 124);
    assert_eq!(alice.outbox().unwrap().len(), 1);
    fails(&alice, &["recv", "--timeout", "2s"], 124);
    stopped("-CONT");
    alice.ok(&["recv"]).unwrap();
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["are you there"]);
}

#[test]
fn a_wrong_fingerprint_sends_nothing() {
    let town = Town::new().unwrap();
    let other = Town::new().unwrap();
    let alice = town.stranger("alice").unwrap();
    let fingerprint = other.server.address().rsplit('/').next().unwrap();
    let forged = format!("sotto://{}/{fingerprint}", town.server.socket());
    fails(&alice, &["register", &forged, "alice"], 5);
    assert!(!town.server.log().contains("alice"), "the name was sent");
    alice.register(town.server.address()).unwrap();
}

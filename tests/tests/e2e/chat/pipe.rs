//! Input from a pipe: the same texts, and an end when the input ends.

use std::process::Command;

use sotto_tests::running::Running;
use sotto_tests::sotto::{COMMAND, Client};

use super::{at_menu, seat};
use crate::town::Town;

fn piped(person: &Client, arguments: &[&str], input: &str) -> (i32, Vec<String>, String) {
    let mut command: Command = person.command(&[]).unwrap();
    let mut all: Vec<_> =
        command.get_args().filter(|argument| *argument != "--json").map(ToOwned::to_owned).collect();
    all.extend(arguments.iter().map(Into::into));
    let mut plain = Command::new(command.get_program());
    plain.args(all).env("SOTTO_PASSWORD_FILE", person.password_file()).env("TZ", "UTC");
    command = plain;
    let finished = Running::start(command, input.as_bytes()).unwrap().wait(COMMAND).unwrap();
    (finished.code.unwrap(), finished.stdout, finished.stderr)
}

#[test]
fn what_was_typed_is_settled_before_it_ends() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let (code, out, err) = piped(&alice, &["chat", "--plain"], "1\n3\n");
    assert_eq!((code, err.as_str()), (0, ""));
    let menu = ["1. List users", "2. Chat", "3. Exit", "4. Group chat", "Enter your choice:"];
    let expected: Vec<&str> = menu.into_iter().chain(["bob  Offline"]).chain(menu).collect();
    assert_eq!(out, expected);

    // No line end at the end, no exit: the message still is on the server.
    let (code, out, _) = piped(&alice, &["chat"], "/msg nobody x\n/msg bob from a pipe");
    assert_eq!(code, 0);
    assert!(out.contains(&"There is no user nobody; nothing was sent.".to_owned()), "{out:?}");
    assert_eq!(out.last().unwrap(), "queued (bob is offline)");
    assert!(!out.concat().contains('\u{1b}'));

    // Who types nothing sees what waited all the same.
    let (code, out, _) = piped(&bob, &["chat"], "");
    assert_eq!(code, 0);
    assert!(out.iter().any(|line| line.ends_with("from a pipe")), "{out:?}");
    assert!(bob.ok(&["recv"]).unwrap().messages().is_empty(), "it is printed once");
}

#[test]
fn a_script_can_have_a_chat() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let mut b = seat(&town, &bob, &[]);
    at_menu(&b, "bob");
    let talk = std::thread::scope(|scope| {
        let talk = scope.spawn(|| piped(&alice, &["chat", "--plain"], "2\nbob\nhello\nand bye\nQuit\n3\n"));
        b.shows("alice asks for a live chat. Accept? (yes/no)").unwrap();
        b.enters("y").unwrap();
        b.ends(&[
            "alice joined the conversation",
            "alice: hello",
            "alice: and bye",
            "alice left the conversation",
            "Chat session ended",
            "1. List users",
            "2. Chat",
            "3. Exit",
            "4. Group chat",
            "Enter your choice:",
            "bob>",
        ])
        .unwrap();
        talk.join().unwrap()
    });
    assert_eq!(talk.0, 0, "{talk:?}");
    assert!(talk.1.contains(&"Chat session ended".to_owned()));
}

#[test]
fn without_a_server_the_code_is_3_and_bad_arguments_are_said() {
    let mut town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let (code, _, err) = piped(&alice, &["chat", "localhost", "1", "alice"], "");
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("this profile belongs to alice at "), "{err}");
    let (code, _, err) = piped(&alice, &["chat", "localhost", "0", "alice"], "");
    assert_eq!(code, 1, "{err}");
    town.server.kill().unwrap();
    let (code, out, err) = piped(&alice, &["chat"], "/msg bob hi\n");
    assert_eq!((code, out), (3, Vec::new()), "{err}");
    assert!(err.starts_with("error: "), "{err}");
}

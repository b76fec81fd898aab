//! From nothing to the menu: a new account, a known one, another machine.

use sotto_tests::screen::{ORDINARY, Screen, Start};

use super::{at_menu, below};
use crate::town::Town;

fn first_seat(town: &Town, folder: &str, arguments: &[&str]) -> Screen {
    let data_dir = town.dir().join(folder);
    let mut all = vec!["--data-dir", data_dir.to_str().unwrap(), "chat"];
    all.extend(arguments);
    Screen::start(&Start { arguments: all, home: town.dir(), environment: Vec::new(), size: ORDINARY })
        .unwrap()
}

/// The words of the phrase that stands on the screen.
fn phrase(screen: &Screen) -> Vec<String> {
    let rows = screen.rows();
    let numbered = ["   1  ", "   7  ", "  13  ", "  19  "];
    numbered
        .iter()
        .flat_map(|number| {
            let row = rows.iter().rfind(|row| row.starts_with(number)).unwrap();
            row[number.len()..].split(' ').map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// Answers which word is asked for until it is no longer.
fn write_words_down(screen: &mut Screen) -> Vec<String> {
    let question = "To be sure that it is written down: word ";
    screen.mentions(question).unwrap();
    let words = phrase(screen);
    assert_eq!(words.len(), 24, "{words:?}");
    for answered in 0..2 {
        screen
            .until("a word", |rows| rows.iter().filter(|row| row.starts_with(question)).count() > answered)
            .unwrap();
        let rows = screen.rows();
        let row = rows.iter().rfind(|row| row.starts_with(question)).unwrap();
        let number: usize = row[question.len()..].split(' ').next().unwrap().parse().unwrap();
        screen.enters(&words[number - 1]).unwrap();
    }
    words
}

#[test]
fn the_first_use_asks_for_everything_and_the_next_only_for_the_password() {
    let town = Town::new().unwrap();
    let port = town.server.socket().rsplit(':').next().unwrap().to_owned();
    let mut screen = first_seat(&town, "new", &[]);
    screen.mentions("Server (sotto://..., HOST:PORT or HOST):").unwrap();
    screen.enters(&format!("localhost:{port}")).unwrap();
    screen.until("the name", |rows| rows.last().is_some_and(|row| row == "Username:")).unwrap();
    screen.enters("").unwrap();
    screen.mentions("Username can't be empty").unwrap();
    screen.enters("al ice").unwrap();
    screen.mentions("only the letters").unwrap();
    screen.enters("alice").unwrap();
    screen.mentions("alice is new here: choose a password.").unwrap();
    screen.answers_hidden("Password:", "correct horse").unwrap();
    screen.answers_hidden("Password again:", "correct house").unwrap();
    screen.mentions("the two passwords differ").unwrap();
    screen.answers_hidden("Password:", "correct horse").unwrap();
    screen.answers_hidden("Password again:", "correct horse").unwrap();
    write_words_down(&mut screen);
    at_menu(&screen, "alice");
    screen.enters("1").unwrap();
    below(&screen, "alice", &["alice> 1", "No other client."]);
    screen.enters("exit").unwrap();
    assert_eq!(screen.code().unwrap(), 0);
    assert!(!screen.raw().contains("correct"), "a password is never shown");

    let mut screen = first_seat(&town, "new", &["localhost", &port, "alice"]);
    screen.answers_hidden("Password:", "wrong").unwrap();
    screen.mentions("Username taken or wrong password").unwrap();
    screen.until("the question again", |rows| rows.last().is_some_and(|row| row == "Password:")).unwrap();
    screen.answers_hidden("Password:", "correct horse").unwrap();
    at_menu(&screen, "alice");
    screen.types("\u{4}").unwrap();
    assert_eq!(screen.code().unwrap(), 0, "the end of input");

    let mut screen = first_seat(&town, "new", &["localhost", &port, "bob"]);
    screen.answers_hidden("Password:", "correct horse").unwrap();
    assert_eq!(screen.code().unwrap(), 1);
    screen.mentions("this profile belongs to alice, not to bob").unwrap();
}

#[test]
fn a_known_name_needs_its_password_and_then_its_phrase() {
    let town = Town::new().unwrap();
    let port = town.server.socket().rsplit(':').next().unwrap().to_owned();
    let mut first = first_seat(&town, "one", &["localhost", &port, "alice"]);
    first.answers_hidden("Password:", "correct horse").unwrap();
    first.answers_hidden("Password again:", "correct horse").unwrap();
    let words = write_words_down(&mut first);
    at_menu(&first, "alice");

    let mut second = first_seat(&town, "two", &["localhost", &port, "alice"]);
    second.answers_hidden("Password:", "guess").unwrap();
    second.mentions("Username taken or wrong password").unwrap();
    second.until("the name", |rows| rows.last().is_some_and(|row| row == "Username:")).unwrap();
    second.enters("alice").unwrap();
    second.answers_hidden("Password:", "correct horse").unwrap();
    second.mentions("Recovery phrase (24 words), or Enter").unwrap();
    second.enters(&words.join(" ")).unwrap();
    at_menu(&second, "alice");
}

#[test]
fn a_new_machine_waits_for_the_approval_of_another_one() {
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let port = town.server.socket().rsplit(':').next().unwrap().to_owned();
    let mut second = first_seat(&town, "two", &["localhost", &port, "alice"]);
    second.answers_hidden("Password:", "correct horse of alice").unwrap();
    second.mentions("Recovery phrase (24 words), or Enter").unwrap();
    second.enters("").unwrap();
    second.mentions("sotto device approve ").unwrap();
    let shown = second.rows().join("\n");
    let code: String = shown.split("sotto device approve ").nth(1).unwrap().chars().take(19).collect();
    let approved = alice.ok(&["device", "approve", code.trim()]).unwrap();
    assert_eq!(approved.of_type("device").count(), 2, "{approved:?}");
    second.mentions("If nobody had typed its code").unwrap();
    at_menu(&second, "alice");
}

#[test]
fn without_a_server_it_says_so_and_ends() {
    let mut town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    town.server.kill().unwrap();
    let mut screen = super::seat(&town, &alice, &[]);
    assert_eq!(screen.code().unwrap(), 3);
    screen.until("an error", |rows| rows.iter().any(|row| row.starts_with("error: "))).unwrap();
}

#[test]
fn guesses_are_slowed_down_and_the_wait_is_said() {
    let town = Town::new().unwrap();
    let _alice = town.person("alice").unwrap();
    let port = town.server.socket().rsplit(':').next().unwrap().to_owned();
    let mut screen = first_seat(&town, "guess", &["localhost", &port, "alice"]);
    for guess in 1..=4 {
        screen.answers_hidden("Password:", "guess").unwrap();
        screen
            .until("the answer", |rows| {
                let answers = rows.iter().filter(|row| row.contains("Username taken or wrong password"));
                answers.count() == guess && rows.last().is_some_and(|row| row == "Username:")
            })
            .unwrap();
        if guess < 4 {
            screen.enters("alice").unwrap();
        }
    }
    screen.mentions("Username taken or wrong password; try again in ").unwrap();
    screen.enters("exit").unwrap();
    assert_eq!(screen.code().unwrap(), 0);
}

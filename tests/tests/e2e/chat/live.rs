//! Invitations and live chats.

use super::{at_menu, below, in_chat, seat};
use crate::town::Town;

#[test]
fn a_chat_from_the_list_to_its_end() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let mut a = seat(&town, &alice, &[]);
    at_menu(&a, "alice");
    a.enters("1").unwrap();
    below(&a, "alice", &["alice> 1", "bob  Offline"]);
    a.enters("2").unwrap();
    below(&a, "alice", &["alice> 2", "No clients to chat"]);
    let mut b = seat(&town, &bob, &[]);
    at_menu(&b, "bob");
    a.enters("2").unwrap();
    a.ends(&[
        "alice> 2",
        "Available:",
        "  bob",
        "With whom do you want to chat? (a name, or cancel)",
        "alice>",
    ])
    .unwrap();
    a.enters("carol").unwrap();
    a.ends(&[
        "carol is not on the list.",
        "Available:",
        "  bob",
        "With whom do you want to chat? (a name, or cancel)",
        "alice>",
    ])
    .unwrap();
    a.enters("bob").unwrap();
    a.ends(&[
        "bob is asked, and has 60 s to answer.",
        "Waiting for bob. (cancel takes the invitation back)",
        "alice>",
    ])
    .unwrap();
    b.ends(&["alice asks for a live chat. Accept? (yes/no)", "bob>"]).unwrap();
    b.enters("yes").unwrap();
    let welcome = |other: &str| {
        format!("Welcome to the chat with {other}. Type Quit on a line of its own to leave it.")
    };
    a.ends(&[&welcome("bob"), "bob joined the conversation", "alice>"]).unwrap();
    b.ends(&[&welcome("alice"), "alice joined the conversation", "bob>"]).unwrap();
    a.enters("hello bob").unwrap();
    b.ends(&["alice joined the conversation", "alice: hello bob", "bob>"]).unwrap();
    b.enters("hello alice").unwrap();
    a.ends(&["alice> hello bob", "bob: hello alice", "alice>"]).unwrap();
    a.enters("Quit").unwrap();
    below(&a, "alice", &["alice> Quit", "Chat session ended"]);
    below(&b, "bob", &["bob> hello alice", "alice left the conversation", "Chat session ended"]);

    // What was said stands above the next chat, with its time.
    b.enters("/invite alice").unwrap();
    a.ends(&["bob asks for a live chat. Accept? (yes/no)", "alice>"]).unwrap();
    a.enters("accept").unwrap();
    a.ends(&["bob joined the conversation", "alice>"]).unwrap();
    let rows = a.rows();
    let heading = rows.iter().rposition(|row| row == "What you wrote last:").unwrap();
    assert!(rows[heading + 1].ends_with("alice: hello bob"), "{rows:?}");
    assert!(rows[heading + 2].ends_with("bob: hello alice"), "{rows:?}");
    b.enters("exit").unwrap();
    assert_eq!(b.code().unwrap(), 0);
    below(&a, "alice", &["bob left the conversation", "Chat session ended"]);
    a.enters("3").unwrap();
    assert_eq!(a.code().unwrap(), 0);
    assert!(a.echoes().unwrap(), "the terminal is as it was");
}

#[test]
fn who_denies_cancels_or_leaves_is_told_about_on_both_sides() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let mut a = seat(&town, &alice, &[]);
    let mut b = seat(&town, &bob, &[]);
    at_menu(&a, "alice");
    at_menu(&b, "bob");
    let question = ["alice asks for a live chat. Accept? (yes/no)", "bob>"];

    a.enters("/invite bob").unwrap();
    b.ends(&question).unwrap();
    b.enters("no").unwrap();
    below(&a, "alice", &["Waiting for bob. (cancel takes the invitation back)", "bob denied the chat."]);
    below(&b, "bob", &["bob> no", "You denied the chat with alice."]);

    a.enters("/invite bob").unwrap();
    b.ends(&question).unwrap();
    a.ends(&["Waiting for bob. (cancel takes the invitation back)", "alice>"]).unwrap();
    a.enters("cancel").unwrap();
    below(&a, "alice", &["alice> cancel", "The invitation is taken back."]);
    below(&b, "bob", &["alice took the invitation back."]);

    a.enters("/invite bob").unwrap();
    b.ends(&question).unwrap();
    a.ends(&["Waiting for bob. (cancel takes the invitation back)", "alice>"]).unwrap();
    drop(b);
    below(&a, "alice", &["bob has gone; there is no chat."]);
}

#[test]
fn nobody_is_asked_twice_and_a_busy_one_is_not_offered() {
    let town = Town::new().unwrap();
    let people: Vec<_> = ["alice", "bob", "carol"].iter().map(|name| town.person(name).unwrap()).collect();
    let (mut a, b) = in_chat(&town, &people[0], &people[1]);
    let mut c = seat(&town, &people[2], &[]);
    at_menu(&c, "carol");
    c.enters("1").unwrap();
    below(&c, "carol", &["carol> 1", "alice  Chatting with bob", "bob    Chatting with alice"]);
    c.enters("2").unwrap();
    below(&c, "carol", &["carol> 2", "No clients to chat"]);
    c.enters("/invite bob").unwrap();
    c.until("an error", |rows| rows.iter().any(|row| row.starts_with("error:"))).unwrap();

    // A message from outside is marked, and never taken for the partner's.
    c.enters("/msg alice psst").unwrap();
    a.until("the message", |rows| {
        rows.iter().any(|row| row.starts_with("[carol] ") && row.ends_with(" psst"))
    })
    .unwrap();
    a.enters("Quit").unwrap();
    below(&a, "alice", &["Chat session ended", "New messages: carol (1)"]);
    below(&b, "bob", &["alice left the conversation", "Chat session ended"]);
    c.enters("1").unwrap();
    below(&c, "carol", &["alice  Available", "bob    Available"]);
}

#[test]
fn a_killed_server_ends_the_chat_and_what_is_typed_meanwhile_arrives_later() {
    let mut town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let (mut a, b) = in_chat(&town, &alice, &bob);
    a.enters("before").unwrap();
    b.ends(&["alice: before", "bob>"]).unwrap();
    town.server.kill().unwrap();
    for (screen, name) in [(&a, "alice"), (&b, "bob")] {
        below(screen, name, &["Chat session ended"]);
        screen.mentions("The connection to the server is lost").unwrap();
    }
    a.enters("/msg bob while it was away").unwrap();
    a.mentions("(waits in the outbox for the server, to bob: \"while it was away\")").unwrap();
    town.server.start_again().unwrap();
    // Whoever is back first: the message left.
    a.until("its fate", |rows| {
        let left = |row: &String| {
            row.starts_with("(sent, to bob: ") || row.starts_with("(queued (bob is offline), to bob: ")
        };
        rows.iter().any(|row| left(row) && row.ends_with("\"while it was away\")"))
    })
    .unwrap();
    b.until("the message", |rows| rows.iter().any(|row| row.ends_with(" while it was away"))).unwrap();
    b.shows("Connected again.").unwrap();
}

#[test]
fn who_is_killed_in_a_chat_leaves_it() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let (a, b) = in_chat(&town, &alice, &bob);
    drop(b);
    below(
        &a,
        "alice",
        &["The connection of bob was lost.", "bob left the conversation", "Chat session ended"],
    );
}

#[test]
fn nobody_who_answers_in_time_is_an_answer_too() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let mut a = seat(&town, &alice, &[]);
    let b = seat(&town, &bob, &[]);
    at_menu(&a, "alice");
    at_menu(&b, "bob");
    a.enters("/invite bob").unwrap();
    below(&a, "alice", &["Nobody answered in time; there is no chat."]);
    below(&b, "bob", &["The time to answer alice has passed."]);
}

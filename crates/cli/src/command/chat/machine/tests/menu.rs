//! The menu, the list, and slash commands.

use super::*;

#[test]
fn what_waited_comes_first_with_sender_and_time_and_then_the_menu() {
    let mut talk = Talk::started(vec![row(1, "bob", "hi"), row(2, "carol", "two\nlines")]);
    let day = crate::time::local_minute(0);
    talk.shows_then_menu(&format!("While you were away:\n{day}  bob: hi\n{day}  carol: two\n    lines"));
    assert_eq!(talk.printed, [1, 2]);
    assert!(talk.rings.is_empty());
}

#[test]
fn the_list_says_who_does_what() {
    let mut talk = Talk::at_menu();
    talk.types("1");
    talk.answers(Ok(Reply::Users(vec![
        user("bob", "available", &[]),
        user("carol", "busy", &["dave"]),
        user("dave", "busy", &["carol", "eve"]),
        user("frank", "offline", &[]),
    ])));
    talk.shows_then_menu(
        "> 1\nbob    Available\ncarol  Chatting with dave\ndave   In a group with carol, eve\nfrank  Offline",
    );
    talk.types("1");
    talk.answers(Ok(Reply::Users(Vec::new())));
    talk.shows_then_menu("> 1\nNo other client.");
}

#[test]
fn anything_else_gets_a_message_and_the_menu_again() {
    let mut talk = Talk::at_menu();
    talk.types("5");
    talk.shows_then_menu("> 5\n\"5\" is not a choice: enter 1, 2, 3 or 4.");
    talk.types("");
    talk.shows_then_menu("> \n\"\" is not a choice: enter 1, 2, 3 or 4.");
    talk.types("4");
    talk.shows_then_menu("> 4\nGroup chat needs rooms, and this version has none yet.");
    talk.types("\u{1b}[2J");
    talk.shows_then_menu("> \u{1b}[2J\n\"\u{fffd}[2J\" is not a choice: enter 1, 2, 3 or 4.");
}

#[test]
fn slash_commands_work_at_any_prompt_and_unknown_ones_are_refused_with_the_nearest() {
    let mut talk = Talk::in_chat();
    talk.types("/hlep");
    talk.types("/frobnicate");
    for command in ["/ls", "/create x", "/join x", "/leave", "/whisper a b", "/public hi"] {
        talk.types(command);
        let word = command.split(' ').next().unwrap();
        assert!(
            talk.screen.ends_with(&format!("{word} needs rooms, and this version has none yet.\n")),
            "{}",
            talk.screen
        );
    }
    talk.types("/file bob x");
    assert!(talk.screen.ends_with("/file needs files, and this version has none yet.\n"));
    assert!(talk.asked.is_empty(), "nothing of it was sent to bob");
    assert!(talk.screen.starts_with("> /hlep\nThere is no command /hlep; did you mean /help? "));
    talk.screen.clear();
    talk.types("/invite carol");
    talk.shows("> /invite carol\nYou are in a chat with bob; Quit ends it.");
    talk.types("/quit");
    talk.answers(Ok(Reply::Done));
    talk.shows_then_menu("> /quit\nChat session ended");
    talk.types("/help");
    assert!(super::super::COMMANDS.iter().all(|(name, ..)| talk.screen.contains(name)));
    talk.screen.clear();
    talk.types("/accept");
    talk.shows("> /accept\nNobody asks you for a live chat.\nEnter your choice:");
    talk.types("/outbox");
    talk.answers(Ok(Reply::Outbox(Vec::new())));
    talk.shows("> /outbox\nNothing waits.\nEnter your choice:");
}

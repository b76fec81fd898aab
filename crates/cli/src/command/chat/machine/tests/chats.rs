//! Invitations and live chats.

use super::*;

#[test]
fn somebody_is_invited_and_accepts_and_both_talk() {
    let mut talk = Talk::at_menu();
    talk.types("2");
    talk.answers(Ok(Reply::Users(vec![
        user("bob", "available", &[]),
        user("carol", "busy", &["dave"]),
        user("erin", "available", &[]),
    ])));
    talk.types("carol");
    talk.types("Bob");
    let command = talk.answers(Ok(Reply::Inviting { chat: ChatId(7), expires_in_ms: 60_000 }));
    assert_eq!(command, Command::Chat(ChatCommand::Invite(vec![name("bob")])));
    talk.hears(Event::Chat(ChatEvent::Started { chat: ChatId(7), with: vec!["bob".into()] }));
    let mut earlier = row(1, "bob", "see you");
    earlier.print = 0;
    let mut own = row(2, "alice", "yes");
    (own.print, own.outgoing) = (0, true);
    let not_yet = row(9, "bob", "just arriving");
    talk.answers(Ok(Reply::Rows(vec![earlier, own, not_yet])));
    talk.receives(row(9, "bob", "just arriving"));
    talk.types("hello bob");
    assert_eq!(talk.queues(1), Command::Send { to: Recipient::User(name("bob")), text: "hello bob".into() });
    talk.hears(STORED(1, true));
    talk.types("Quit");
    talk.answers(Ok(Reply::Done));
    let day = crate::time::local_minute(0);
    talk.shows_then_menu(&format!(
        "
> 2
Available:
  bob
  erin
With whom do you want to chat? (a name, or cancel)
> carol
carol is not on the list.
Available:
  bob
  erin
With whom do you want to chat? (a name, or cancel)
> Bob
bob is asked, and has 60 s to answer.
Waiting for bob. (cancel takes the invitation back)
Welcome to the chat with bob. Type Quit on a line of its own to leave it.
What you wrote last:
  {day}  bob: see you
  {day}  alice: yes
bob joined the conversation
bob: just arriving
> hello bob
> Quit
Chat session ended"
    ));
}

#[test]
fn nobody_to_chat_with_leads_back_to_the_menu() {
    let mut talk = Talk::at_menu();
    talk.types("2");
    talk.answers(Ok(Reply::Users(vec![user("bob", "offline", &[])])));
    talk.shows_then_menu("> 2\nNo clients to chat");
    talk.types("2");
    talk.answers(Ok(Reply::Users(vec![user("bob", "available", &[])])));
    talk.types("cancel");
    talk.shows_then_menu(
        "> 2\nAvailable:\n  bob\nWith whom do you want to chat? (a name, or cancel)\n> cancel",
    );
}

#[test]
fn a_name_that_became_busy_brings_the_list_again() {
    let mut talk = Talk::at_menu();
    talk.types("/invite bob");
    talk.answers(Err(ClientError::new(ErrorKind::NotFound, "bob is busy")));
    let command = talk.answers(Ok(Reply::Users(vec![user("erin", "available", &[])])));
    assert_eq!(command, Command::Users);
    talk.shows(
        "> /invite bob\nerror: bob is busy\nAvailable:\n  erin\nWith whom do you want to chat? (a name, or cancel)",
    );
}

#[test]
fn every_end_of_an_invitation_is_told_to_who_invited() {
    for (why, says) in [
        (InviteEnd::Denied("bob".into()), "bob denied the chat."),
        (InviteEnd::TimedOut, "Nobody answered in time; there is no chat."),
        (InviteEnd::Gone("bob".into()), "bob has gone; there is no chat."),
        (InviteEnd::Cancelled, "The invitation is taken back."),
    ] {
        let mut talk = inviting();
        talk.hears(Event::Chat(ChatEvent::InviteEnded { chat: ChatId(6), why: why.clone() }));
        talk.shows("");
        talk.hears(Event::Chat(ChatEvent::InviteEnded { chat: ChatId(7), why }));
        talk.shows_then_menu(says);
    }
}

#[test]
fn who_waits_can_take_it_back_and_is_not_misunderstood() {
    let mut talk = inviting();
    talk.types("hello?");
    talk.types("cancel");
    assert_eq!(talk.answers(Ok(Reply::Done)), Command::Chat(ChatCommand::Cancel(ChatId(7))));
    talk.shows_then_menu(
        "> hello?\nNot taken: nobody has accepted yet.\nWaiting for bob. (cancel takes the invitation back)\n> cancel\nThe invitation is taken back.",
    );
    // The server says it too.
    talk.hears(Event::Chat(ChatEvent::InviteEnded { chat: ChatId(7), why: InviteEnd::Cancelled }));
    talk.shows("");
}

#[test]
fn an_answer_that_overtakes_is_understood() {
    let mut talk = Talk::at_menu();
    talk.types("/invite bob");
    talk.hears(Event::Chat(ChatEvent::InviteEnded { chat: ChatId(7), why: InviteEnd::Denied("bob".into()) }));
    talk.answers(Ok(Reply::Inviting { chat: ChatId(7), expires_in_ms: 60_000 }));
    talk.shows_then_menu("> /invite bob\nbob denied the chat.");
    talk.types("/invite bob");
    talk.hears(Event::Chat(ChatEvent::Started { chat: ChatId(8), with: vec!["bob".into()] }));
    talk.answers(Ok(Reply::Inviting { chat: ChatId(8), expires_in_ms: 60_000 }));
    talk.answers(Ok(Reply::Rows(Vec::new())));
    talk.shows(
        "> /invite bob\nWelcome to the chat with bob. Type Quit on a line of its own to leave it.\nbob joined the conversation",
    );
}

#[test]
fn who_is_asked_says_yes_or_no() {
    for yes in ["yes", "y", "accept", "YES", "/accept"] {
        let mut talk = asked();
        assert_eq!(talk.rings, ["bob asks for a live chat"]);
        talk.types(yes);
        assert_eq!(talk.answers(Ok(Reply::Done)), Command::Chat(ChatCommand::Accept(ChatId(7))));
        talk.hears(Event::Chat(ChatEvent::Started { chat: ChatId(7), with: vec!["bob".into()] }));
        talk.answers(Ok(Reply::Rows(Vec::new())));
        talk.shows(&format!(
            "bob asks for a live chat. Accept? (yes/no)\n> {yes}\nWelcome to the chat with bob. Type Quit on a line of its own to leave it.\nbob joined the conversation"
        ));
    }
    for no in ["no", "n", "deny", "/deny"] {
        let mut talk = asked();
        talk.types("1");
        talk.types(no);
        assert_eq!(talk.answers(Ok(Reply::Done)), Command::Chat(ChatCommand::Deny(ChatId(7))));
        talk.shows_then_menu(&format!(
            "bob asks for a live chat. Accept? (yes/no)\n> 1\nPlease answer yes or no.\nbob asks for a live chat. Accept? (yes/no)\n> {no}\nYou denied the chat with bob."
        ));
    }
}

#[test]
fn what_is_typed_right_behind_a_yes_is_for_the_chat() {
    let mut talk = asked();
    talk.types("yes");
    let begun = talk.machine.context();
    talk.answers(Ok(Reply::Done));
    talk.hears(Event::Chat(ChatEvent::Started { chat: ChatId(7), with: vec!["bob".into()] }));
    talk.answers(Ok(Reply::Rows(Vec::new())));
    talk.types_late("hello", begun);
    assert_eq!(talk.queues(1), Command::Send { to: Recipient::User(name("bob")), text: "hello".into() });
    // What was begun while one still waited for the other's yes is not.
    let mut talk = inviting();
    let begun = talk.machine.context();
    talk.hears(Event::Chat(ChatEvent::Started { chat: ChatId(7), with: vec!["bob".into()] }));
    talk.answers(Ok(Reply::Rows(Vec::new())));
    talk.screen.clear();
    talk.types_late("cancel", begun);
    talk.shows("> cancel\nNot taken: something else is asked now than when you began to type:\n    cancel");
}

#[test]
fn an_invitation_that_ends_is_no_longer_asked() {
    for (why, says) in [
        (InviteEnd::Cancelled, "bob took the invitation back."),
        (InviteEnd::TimedOut, "The time to answer bob has passed."),
        (InviteEnd::Gone("bob".into()), "bob has gone; there is no chat."),
        (InviteEnd::Elsewhere, "Another device of yours answered bob."),
    ] {
        let mut talk = asked();
        talk.screen.clear();
        talk.hears(Event::Chat(ChatEvent::InviteEnded { chat: ChatId(7), why }));
        talk.shows_then_menu(says);
    }
    // It ended while the yes was on its way.
    let mut talk = asked();
    talk.types("yes");
    talk.screen.clear();
    talk.answers(Err(ClientError::new(ErrorKind::NotFound, "there is no such invitation")));
    talk.shows_then_menu("error: there is no such invitation");
}

#[test]
fn a_yes_that_was_begun_before_the_question_answers_nothing() {
    let mut talk = Talk::at_menu();
    let begun = talk.machine.context();
    talk.hears(Event::Chat(ChatEvent::Invited {
        chat: ChatId(7),
        from: "bob".into(),
        with: Vec::new(),
        expires_in_ms: 60_000,
    }));
    talk.screen.clear();
    talk.types_late("yes", begun);
    talk.shows(
        "> yes\nNot taken: something else is asked now than when you began to type:\n    yes\nbob asks for a live chat. Accept? (yes/no)",
    );
    assert!(talk.asked.is_empty());
}

#[test]
fn a_line_begun_in_a_chat_that_has_ended_is_no_choice_of_the_menu() {
    let mut talk = Talk::in_chat();
    let begun = talk.machine.context();
    talk.hears(Event::Chat(ChatEvent::Ended { chat: ChatId(7), why: ChatEnd::Quit("bob".into()) }));
    talk.types_late("3", begun);
    talk.shows(
        "
bob left the conversation
Chat session ended
1. List users
2. Chat
3. Exit
4. Group chat
Enter your choice:
> 3
Not sent: the chat with bob had ended. What you typed:
    3
To send it as a message: /msg bob TEXT
Enter your choice:",
    );
    assert_eq!(talk.end, None);
    talk.types_late("Quit", begun);
    talk.shows("> Quit\nEnter your choice:");
    talk.types("3");
    assert_eq!(talk.end, Some(Output::Exit));
}

#[test]
fn a_chat_ends_for_both_however_it_ends() {
    for (why, says) in [
        (ChatEnd::Quit("bob".into()), "bob left the conversation\nChat session ended"),
        (
            ChatEnd::Lost("bob".into()),
            "The connection of bob was lost.\nbob left the conversation\nChat session ended",
        ),
        (ChatEnd::Quit("alice".into()), "Another device of yours left the chat.\nChat session ended"),
    ] {
        let mut talk = Talk::in_chat();
        talk.hears(Event::Chat(ChatEvent::Ended { chat: ChatId(1), why: why.clone() }));
        talk.shows("");
        talk.hears(Event::Chat(ChatEvent::Ended { chat: ChatId(7), why }));
        talk.shows_then_menu(says);
    }
    // The server may tell who quit before it answers.
    let mut talk = Talk::in_chat();
    talk.types("Quit");
    talk.hears(Event::Chat(ChatEvent::Ended { chat: ChatId(7), why: ChatEnd::Quit("alice".into()) }));
    talk.answers(Ok(Reply::Done));
    talk.shows_then_menu("> Quit\nChat session ended");
}

#[test]
fn the_end_waits_for_what_was_said_before_it() {
    let mut talk = Talk::in_chat();
    talk.types("last words");
    talk.types("Quit");
    assert!(!talk.machine.takes("1"));
    talk.queues(1);
    assert!(talk.asked.is_empty(), "not before it is on the server");
    talk.hears(STORED(1, true));
    assert_eq!(talk.answers(Ok(Reply::Done)), Command::Chat(ChatCommand::Quit(ChatId(7))));
}

#[test]
fn what_was_said_before_the_end_is_shown_before_it() {
    let mut talk = Talk::in_chat();
    talk.mailbox.as_mut().unwrap().push(row(1, "bob", "bye"));
    talk.hears(Event::Chat(ChatEvent::Ended { chat: ChatId(7), why: ChatEnd::Quit("bob".into()) }));
    talk.shows_then_menu("bob: bye\nbob left the conversation\nChat session ended");
}

#[test]
fn an_invitation_ends_with_the_connection() {
    let mut talk = inviting();
    talk.hears(Event::Chat(ChatEvent::AllLost));
    talk.hears(lost());
    talk.shows_then_menu("The connection to the server is lost; trying again. What you write waits.\nThe invitation to bob is gone with the connection.");
    let mut talk = asked();
    talk.screen.clear();
    talk.hears(Event::Chat(ChatEvent::AllLost));
    talk.shows_then_menu("The connection to the server is lost; trying again. What you write waits.\nThe invitation of bob is gone with the connection.");
}

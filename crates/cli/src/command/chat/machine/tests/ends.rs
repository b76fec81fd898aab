//! How the program ends, and whose place it takes.

use super::*;

#[test]
fn exit_ends_it_from_every_prompt_and_leaves_nobody_waiting() {
    let mut talk = Talk::at_menu();
    talk.types("exit");
    assert_eq!(talk.end, Some(Output::Exit));

    let mut talk = Talk::at_menu();
    talk.types("/msg bob");
    talk.types("exit");
    assert_eq!(talk.end, Some(Output::Exit));

    let mut talk = Talk::in_chat();
    talk.types("EXIT");
    assert_eq!(talk.end, None);
    assert_eq!(talk.answers(Ok(Reply::Done)), Command::Chat(ChatCommand::Quit(ChatId(7))));
    assert_eq!(talk.end, Some(Output::Exit));

    let mut talk = inviting();
    talk.types("exit");
    assert_eq!(talk.answers(Ok(Reply::Done)), Command::Chat(ChatCommand::Cancel(ChatId(7))));
    assert_eq!(talk.end, Some(Output::Exit));

    let mut talk = asked();
    talk.types("exit");
    assert_eq!(talk.answers(Ok(Reply::Done)), Command::Chat(ChatCommand::Deny(ChatId(7))));
    assert_eq!(talk.end, Some(Output::Exit));

    // Also while the server does not answer to something else.
    let mut talk = Talk::at_menu();
    talk.types("1");
    talk.types("exit");
    assert_eq!(talk.end, None);
    talk.handle(Input::TimeUp);
    assert_eq!(talk.end, Some(Output::Exit));
}

#[test]
fn the_end_of_input_waits_until_what_was_typed_is_settled() {
    let mut talk = Talk::at_menu();
    talk.types("/msg bob one");
    talk.handle(Input::End);
    talk.queues(1);
    assert_eq!(talk.end, None);
    talk.hears(STORED(1, true));
    assert_eq!(talk.end, Some(Output::Exit));

    let mut talk = Talk::at_menu();
    talk.types("/msg bob two");
    talk.handle(Input::End);
    talk.queues(1);
    talk.hears(lost());
    assert_eq!(talk.end, Some(Output::Exit), "{}", talk.screen);
    assert!(talk.screen.contains("(waits in the outbox for the server, to bob: \"two\")"));

    let mut talk = Talk::at_menu();
    talk.types("/msg bob three");
    talk.handle(Input::End);
    talk.queues(1);
    talk.handle(Input::TimeUp);
    assert_eq!(talk.end, Some(Output::Exit));
    assert!(talk.screen.contains("1 messages wait in the outbox"), "{}", talk.screen);
}

#[test]
fn lines_of_a_pipe_wait_for_what_they_depend_on() {
    let mut talk = Talk::new(true);
    assert!(!talk.machine.takes("2"), "before what waited is printed");
    talk.handle(Input::Ready);
    talk.answers(Ok(Reply::Rows(Vec::new())));
    talk.mailbox = Some(Vec::new());
    talk.types("2");
    assert!(!talk.machine.takes("bob"), "before the list is here");
    talk.answers(Ok(Reply::Users(vec![user("bob", "available", &[])])));
    talk.types("bob");
    talk.answers(Ok(Reply::Inviting { chat: ChatId(7), expires_in_ms: 60_000 }));
    assert!(!talk.machine.takes("hello"), "before bob has accepted");
    assert!(talk.machine.takes("cancel"));
    talk.hears(Event::Chat(ChatEvent::Started { chat: ChatId(7), with: vec!["bob".into()] }));
    assert!(!talk.machine.takes("hello"), "before the welcome");
    talk.answers(Ok(Reply::Rows(Vec::new())));
    talk.types("hello");
    talk.queues(1);
    assert!(!talk.machine.takes("Quit"), "before it is on the server");
    talk.hears(STORED(1, true));
    talk.types("Quit");
    talk.answers(Ok(Reply::Done));
    talk.handle(Input::End);
    assert_eq!(talk.end, Some(Output::Exit));
}

#[test]
fn who_takes_the_place_of_the_profiles_owner_begins_at_the_menu() {
    let mut talk = Talk::in_chat();
    talk.types("lost?");
    talk.mailbox = None;
    talk.handle(Input::Again);
    // What was asked of the owner is never answered.
    talk.asked.clear();
    talk.mailbox = Some(Vec::new());
    talk.handle(Input::Answer(Ask::Fetch, Ok(Reply::Rows(Vec::new()))));
    talk.hears(Event::Connection(Connection::Online));
    talk.shows(
        "
> lost?
It is not known whether 1 messages were kept; see /outbox, and sotto history.
The connection to the server is lost; trying again. What you write waits.
Chat session ended
1. List users
2. Chat
3. Exit
4. Group chat
Enter your choice:
Connected again.",
    );
    assert!(talk.machine.takes("1"));
}

#[test]
fn a_client_that_cannot_go_on_ends_with_its_error() {
    let mut talk = Talk::at_menu();
    let error = ClientError::new(ErrorKind::LoginNeeded, "this device was removed");
    talk.hears(Event::Stopped(error.clone()));
    assert_eq!(talk.end, Some(Output::Fail(Box::new(error))));
}

//! Conversations as transcripts: what is typed stands behind `> `, everything else is what the client prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::fmt::Write;

use pretty::check;
use sotto_client::api::{
    ChatCommand, ChatEvent, ClientError, Command, Connection, ErrorKind, Event, Fate, MessageFate, Recipient,
    Reply, Row, RowBody, Trust, User,
};
use sotto_proto::frame::{ChatEnd, ChatId, InviteEnd};
use sotto_proto::{MessageId, Username};

use super::{Ask, Input, Machine, Output, UsersFor};

mod pretty {
    /// Lines beside each other are easier to compare than two long strings.
    #[track_caller]
    pub(super) fn check(screen: &str, expected: &str) {
        let expected: Vec<&str> = expected.trim_matches('\n').lines().map(str::trim_end).collect();
        let screen: Vec<&str> = screen.lines().map(str::trim_end).collect();
        assert_eq!(screen, expected);
    }
}

/// A person at a client whose answers the test gives.
struct Talk {
    machine: Machine,
    screen: String,
    asked: VecDeque<(Ask, Command)>,
    printed: Vec<u64>,
    rings: Vec<String>,
    end: Option<Output>,
    /// What is fetched next; without it, fetches are answered by hand.
    mailbox: Option<Vec<Row>>,
}

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn user(name: &str, presence: &str, with: &[&str]) -> User {
    User {
        name: name.into(),
        presence: presence.into(),
        with: with.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn row(print: u64, from: &str, text: &str) -> Row {
    Row {
        print,
        message: MessageId([u8::try_from(print).unwrap(); 16]),
        conversation: from.into(),
        from: from.into(),
        outgoing: false,
        trust: Trust::Pinned,
        sent_ms: 0,
        received_ms: 0,
        body: RowBody::Text(text.into()),
        fate: None,
    }
}

const STORED: fn(u8, bool) -> Event = |id, connected| {
    Event::Fate(MessageFate {
        message: MessageId([id; 16]),
        fate: Fate::Stored,
        reason: None,
        connected,
        devices: Vec::new(),
    })
};

fn lost() -> Event {
    Event::Connection(Connection::Offline {
        error: ClientError::new(ErrorKind::Unreachable, "the server does not answer"),
        retry_in_ms: Some(1000),
    })
}

impl Talk {
    fn new(piped: bool) -> Self {
        Self {
            machine: Machine::new(&name("alice"), false, piped),
            screen: String::new(),
            asked: VecDeque::new(),
            printed: Vec::new(),
            rings: Vec::new(),
            end: None,
            mailbox: None,
        }
    }

    /// Signed in, with these rows waiting, at the menu.
    fn started(rows: Vec<Row>) -> Self {
        let mut talk = Self::new(false);
        talk.handle(Input::Ready);
        talk.answers(Ok(Reply::Rows(rows)));
        talk.mailbox = Some(Vec::new());
        talk
    }

    /// The same with an empty screen.
    fn at_menu() -> Self {
        let mut talk = Self::started(Vec::new());
        talk.screen.clear();
        talk
    }

    /// In a live chat with bob, with an empty screen.
    fn in_chat() -> Self {
        let mut talk = Self::at_menu();
        talk.hears(Event::Chat(ChatEvent::Started { chat: ChatId(7), with: vec!["bob".into()] }));
        talk.answers(Ok(Reply::Rows(Vec::new())));
        talk.screen.clear();
        talk
    }

    fn handle(&mut self, input: Input) {
        self.does(input);
        while let Some(mailbox) = &mut self.mailbox
            && let Some(place) = self.asked.iter().position(|(ask, _)| *ask == Ask::Fetch)
        {
            let rows = std::mem::take(mailbox);
            self.asked.remove(place);
            self.does(Input::Answer(Ask::Fetch, Ok(Reply::Rows(rows))));
        }
    }

    fn does(&mut self, input: Input) {
        for output in self.machine.handle(input) {
            match output {
                Output::Print(lines) => {
                    assert!(lines.ends_with('\n'));
                    self.screen.push_str(&lines);
                }
                Output::Ask(Ask::Printed, command) => {
                    let Command::Printed(row) = *command else { panic!("{command:?}") };
                    self.printed.push(row);
                }
                Output::Ask(Ask::Users(UsersFor::Names), _) | Output::Names(_) => {}
                Output::Ask(ask, command) => self.asked.push_back((ask, *command)),
                Output::Ring(why) => self.rings.push(why),
                end @ (Output::Exit | Output::Fail(_)) => self.end = Some(end),
            }
        }
    }

    fn types(&mut self, line: &str) {
        self.types_late(line, self.machine.context());
    }

    /// Enters a line that was begun earlier.
    fn types_late(&mut self, line: &str, begun: u64) {
        assert!(self.machine.takes(line), "{line:?} cannot be taken now:\n{}", self.screen);
        writeln!(self.screen, "> {line}").unwrap();
        self.handle(Input::Line { text: line.to_owned(), begun });
    }

    fn hears(&mut self, event: Event) {
        self.handle(Input::Event(event));
    }

    /// Something arrives, and is fetched.
    fn receives(&mut self, row: Row) {
        self.mailbox.as_mut().unwrap().push(row.clone());
        self.hears(Event::Row(row));
    }

    /// Answers the oldest question, and says what it was.
    fn answers(&mut self, answer: Result<Reply, ClientError>) -> Command {
        let (ask, command) = self.asked.pop_front().expect("nothing was asked");
        self.handle(Input::Answer(ask, answer));
        command
    }

    fn queues(&mut self, id: u8) -> Command {
        self.answers(Ok(Reply::Queued { message: MessageId([id; 16]), fate: Fate::Waiting }))
    }

    #[track_caller]
    fn shows(&mut self, expected: &str) {
        check(&self.screen, expected);
        self.screen.clear();
    }

    #[track_caller]
    fn shows_then_menu(&mut self, expected: &str) {
        let menu = "1. List users\n2. Chat\n3. Exit\n4. Group chat\nEnter your choice:\n";
        self.shows(&format!("{}\n{menu}", expected.trim_matches('\n')));
    }
}

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

fn inviting() -> Talk {
    let mut talk = Talk::at_menu();
    talk.types("/invite bob");
    talk.answers(Ok(Reply::Inviting { chat: ChatId(7), expires_in_ms: 60_000 }));
    talk.screen.clear();
    talk
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

fn asked() -> Talk {
    let mut talk = Talk::at_menu();
    talk.hears(Event::Chat(ChatEvent::Invited {
        chat: ChatId(7),
        from: "bob".into(),
        with: Vec::new(),
        expires_in_ms: 60_000,
    }));
    talk
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
fn others_are_never_taken_for_the_partner() {
    let mut talk = Talk::in_chat();
    talk.receives(row(1, "carol", "psst\nbob: give me the key"));
    let mut unsure = row(2, "bob", "hi");
    unsure.trust = Trust::Unconfirmed;
    talk.receives(unsure);
    let mut broken = row(3, "bob", "");
    broken.body = RowBody::Undecryptable("keys lost".into());
    talk.receives(broken);
    let clock = crate::time::local_clock(0);
    talk.shows(&format!(
        "[carol] {clock} psst\n    bob: give me the key\nbob (not confirmed): hi\nbob: [cannot be read: keys lost]"
    ));
    assert_eq!(talk.rings, ["message from carol"]);
    assert_eq!(talk.printed, [1, 2, 3]);
    talk.types("Quit");
    talk.answers(Ok(Reply::Done));
    talk.shows_then_menu("> Quit\nChat session ended\nNew messages: carol (1)");
}

#[test]
fn what_is_not_plain_success_is_said_in_place() {
    let mut talk = Talk::in_chat();
    let fate = |fate, reason: Option<&str>| {
        Event::Fate(MessageFate {
            message: MessageId([1; 16]),
            fate,
            reason: reason.map(Into::into),
            connected: false,
            devices: Vec::new(),
        })
    };
    for (event, says) in [
        (STORED(1, true), ""),
        (STORED(1, false), "(queued (bob is offline): \"hello\")"),
        (fate(Fate::Delivered, None), ""),
        (fate(Fate::Refused, Some("mailbox full")), "Refused, to bob: \"hello\" (mailbox full)"),
        (
            fate(Fate::Held, Some("his key changed")),
            "Held, not sent, to bob: \"hello\" (his key changed)\nThe identity of bob has changed. Compare it: /verify bob",
        ),
    ] {
        talk.types("hello");
        talk.queues(1);
        talk.hears(event);
        talk.shows(&format!("> hello\n{says}"));
    }
    // The fate can overtake the answer.
    talk.types("hello");
    talk.hears(fate(Fate::Refused, None));
    talk.queues(1);
    talk.shows("> hello\nRefused, to bob: \"hello\"");
    talk.types(&"x".repeat(40_000));
    talk.screen = talk.screen.lines().skip(1).collect();
    talk.shows("Not sent: the text has 40000 bytes, and 32512 is the most.");
}

#[test]
fn a_lost_connection_ends_the_chat_and_what_is_typed_waits() {
    let mut talk = Talk::in_chat();
    talk.types("on its way");
    talk.queues(1);
    talk.hears(lost());
    talk.hears(Event::Chat(ChatEvent::AllLost));
    talk.shows_then_menu(
        "> on its way\nThe connection to the server is lost; trying again. What you write waits.\n(waits in the outbox for the server, to bob: \"on its way\")\nChat session ended",
    );
    talk.hears(lost());
    talk.types("/msg bob and this");
    talk.queues(2);
    talk.shows(
        "> /msg bob and this\n(waits in the outbox for the server, to bob: \"and this\")\nEnter your choice:",
    );
    talk.hears(Event::Connection(Connection::Connecting));
    talk.hears(Event::Connection(Connection::Online));
    talk.hears(STORED(1, true));
    talk.hears(STORED(2, false));
    talk.shows(
        "Connected again.\n(sent, to bob: \"on its way\")\n(queued (bob is offline), to bob: \"and this\")",
    );
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

#[test]
fn a_message_alone_is_a_dialogue_with_its_outcome() {
    let mut talk = Talk::at_menu();
    talk.types("/msg");
    talk.answers(Ok(Reply::Users(vec![user("bob", "available", &[]), user("carol", "offline", &[])])));
    talk.types("");
    talk.types("bob");
    talk.types("//etc is a folder");
    let command = talk.queues(1);
    assert_eq!(command, Command::Send { to: Recipient::User(name("bob")), text: "/etc is a folder".into() });
    talk.hears(STORED(1, true));
    talk.shows(
        "
> /msg
Online:
bob  Available
To whom? (a name, or cancel)
>
Username can't be empty
To whom? (a name, or cancel)
> bob
Your message to bob: (an empty line cancels)
> //etc is a folder
sent
Enter your choice:",
    );
    talk.types("/msg carol hi");
    talk.queues(2);
    talk.hears(STORED(2, false));
    talk.types("/msg nobody hi");
    talk.queues(3);
    talk.hears(Event::Fate(MessageFate {
        message: MessageId([3; 16]),
        fate: Fate::UnknownUser,
        reason: None,
        connected: false,
        devices: Vec::new(),
    }));
    talk.shows(
        "> /msg carol hi\nqueued (carol is offline)\nEnter your choice:\n> /msg nobody hi\nThere is no user nobody; nothing was sent.\nEnter your choice:",
    );
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
    assert!(super::COMMANDS.iter().all(|(name, ..)| talk.screen.contains(name)));
    talk.screen.clear();
    talk.types("/accept");
    talk.shows("> /accept\nNobody asks you for a live chat.\nEnter your choice:");
    talk.types("/outbox");
    talk.answers(Ok(Reply::Outbox(Vec::new())));
    talk.shows("> /outbox\nNothing waits.\nEnter your choice:");
}

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

#[test]
fn many_rows_come_page_by_page_and_each_once() {
    let mut talk = Talk::new(false);
    talk.handle(Input::Ready);
    let page: Vec<Row> = (1..=200).map(|n| row(n, "bob", &n.to_string())).collect();
    talk.hears(Event::Row(row(201, "bob", "x")));
    talk.handle(Input::Lagged);
    talk.answers(Ok(Reply::Rows(page)));
    let command = talk.answers(Ok(Reply::Rows(vec![row(200, "bob", "again"), row(201, "bob", "last")])));
    assert_eq!(command, Command::Unprinted { after: 200, limit: 200 });
    while !talk.asked.is_empty() {
        talk.answers(Ok(Reply::Rows(Vec::new())));
    }
    assert_eq!(talk.printed, (1..=201).collect::<Vec<u64>>());
    assert!(!talk.screen.contains("again"));
}

/// Everything that others have a hand in, with everything that terminals act on, on every surface.
#[test]
fn no_escape_reaches_the_screen_by_any_way() {
    const EVIL: &str =
        "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{200b}\u{2066}\r\u{8}\u{7f}\u{e0041}\u{feff}";
    let mut talk = Talk::started(vec![row(1, EVIL, EVIL)]);
    let error = || ClientError::new(ErrorKind::Unreachable, EVIL).cause(EVIL).hint(EVIL);
    let evil = || EVIL.to_owned();
    let everybody = || Ok(Reply::Users(vec![user(EVIL, "available", &[]), user(EVIL, EVIL, &[EVIL, EVIL])]));
    talk.types("1");
    talk.answers(everybody());
    talk.types("2");
    talk.answers(everybody());
    talk.types(EVIL);
    talk.types("cancel");
    talk.types("/msg");
    talk.answers(everybody());
    talk.types(EVIL);
    talk.types("bob");
    talk.types(EVIL);
    talk.queues(1);
    talk.hears(Event::Fate(MessageFate {
        message: MessageId([1; 16]),
        fate: Fate::Refused,
        reason: Some(evil()),
        connected: false,
        devices: vec![(evil(), Fate::Refused)],
    }));
    talk.types(EVIL);
    talk.types(&format!("/{EVIL}"));
    talk.types(&format!("/msg {EVIL} {EVIL}"));
    talk.types(&format!("/verify {EVIL}"));
    talk.types(&format!("/outbox {EVIL}"));
    talk.types("/verify bob");
    talk.answers(Ok(Reply::Safety(sotto_client::api::Safety {
        user: evil(),
        trust: Trust::Changed,
        number: evil(),
        new_number: Some(evil()),
        held: 1,
    })));
    talk.types("/outbox");
    talk.answers(Ok(Reply::Outbox(vec![sotto_client::api::OutboxEntry {
        message: MessageId([1; 16]),
        to: evil(),
        fate: Fate::Held,
        reason: Some(evil()),
        created_ms: 0,
        text: evil(),
    }])));
    talk.types("1");
    talk.answers(Err(error()));
    talk.hears(Event::Warning(evil()));
    talk.hears(Event::DevicesWait(vec![evil()]));
    for event in [
        ChatEvent::Invited { chat: ChatId(1), from: evil(), with: Vec::new(), expires_in_ms: 1 },
        ChatEvent::InviteEnded { chat: ChatId(1), why: InviteEnd::Denied(evil()) },
        ChatEvent::Invited { chat: ChatId(2), from: evil(), with: vec![evil()], expires_in_ms: 1 },
        ChatEvent::Invited { chat: ChatId(3), from: evil(), with: Vec::new(), expires_in_ms: 1 },
        ChatEvent::InviteEnded { chat: ChatId(3), why: InviteEnd::Gone(evil()) },
        ChatEvent::Started { chat: ChatId(4), with: vec![evil()] },
        ChatEvent::Started { chat: ChatId(5), with: vec![evil(), evil()] },
    ] {
        talk.hears(Event::Chat(event));
    }
    while !talk.asked.is_empty() {
        talk.answers(Err(error()));
    }
    talk.hears(Event::Chat(ChatEvent::Started { chat: ChatId(7), with: vec!["bob".into()] }));
    let mut broken = row(3, "bob", "");
    broken.body = RowBody::Undecryptable(evil());
    broken.print = 0;
    talk.answers(Ok(Reply::Rows(vec![broken.clone()])));
    broken.print = 3;
    talk.receives(broken);
    talk.receives(row(4, "bob", EVIL));
    talk.receives(row(5, EVIL, EVIL));
    talk.types(EVIL);
    talk.answers(Err(error()));
    let begun = talk.machine.context();
    talk.hears(Event::Chat(ChatEvent::Ended { chat: ChatId(7), why: ChatEnd::Lost("bob".into()) }));
    talk.types_late(EVIL, begun);
    talk.hears(Event::Connection(Connection::Offline { error: error(), retry_in_ms: Some(1) }));
    let shown: String = talk.screen.lines().filter(|line| !line.starts_with("> ")).collect();
    assert!(shown.contains("\u{fffd}[2J"));
    for hostile in EVIL.chars().filter(|c| !c.is_ascii_graphic()) {
        assert!(!shown.contains(hostile), "{hostile:?} in {shown:?}");
    }
}

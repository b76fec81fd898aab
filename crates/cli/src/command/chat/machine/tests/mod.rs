//! Conversations as transcripts: what is typed stands behind `> `, everything else is what the client prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chats;
mod ends;
mod hostile;
mod menu;
mod messages;

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
        reason: None,
        unreached: Vec::new(),
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

fn inviting() -> Talk {
    let mut talk = Talk::at_menu();
    talk.types("/invite bob");
    talk.answers(Ok(Reply::Inviting { chat: ChatId(7), expires_in_ms: 60_000 }));
    talk.screen.clear();
    talk
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

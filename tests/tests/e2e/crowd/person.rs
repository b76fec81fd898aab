//! Somebody at an interactive client, without a terminal.

use std::path::Path;
use std::sync::Arc;

use sotto_client::api::{
    ChatCommand, ChatEvent, ClientError, Command, Event, Fate, Recipient, Reply, Row, RowBody, User,
};
use sotto_client::driver::{Client, ClientOptions, Events, Notice};
use sotto_client::setup::{Questions, RegisterOptions, ServerIdentity, create};
use sotto_proto::frame::ChatId;
use sotto_proto::{Address, Username};
use sotto_tests::sotto::COMMAND;
use zeroize::Zeroizing;

/// The address names the server's key, so there is nothing to ask.
struct NobodyAsks;

impl Questions for NobodyAsks {
    fn pinned(&self, server: &ServerIdentity) {
        panic!("{server:?}");
    }

    fn trust(&self, server: &ServerIdentity) -> Result<bool, ClientError> {
        panic!("{server:?}");
    }

    fn waiting(&self, _code: &str) {
        panic!("a new account waits for nobody");
    }

    fn added(&self, username: &Username) {
        panic!("nothing is added to {username}");
    }
}

pub(super) struct Person {
    name: String,
    client: Client,
    events: Events,
    /// What came up on the screen while something else was waited for.
    rows: Vec<Row>,
    /// Own messages that have arrived.
    delivered: usize,
}

impl Person {
    /// Registers and sits down.
    pub(super) async fn come(server: &Address, dir: &Path, name: &str) -> Self {
        let options = RegisterOptions {
            dir: dir.join(name),
            server: server.clone(),
            username: name.to_owned(),
            password: Zeroizing::new("correct horse".to_owned()),
            invite: None,
            name: String::new(),
        };
        let account = soon(create(options, Arc::new(NobodyAsks))).await.unwrap();
        let options = ClientOptions { interactive: true, offline: false };
        let client = soon(Client::start(account.open, options)).await.unwrap();
        let events = client.events();
        soon(client.wait_drained()).await.unwrap();
        soon(client.wait_published()).await.unwrap();
        Self { name: name.to_owned(), client, events, rows: Vec::new(), delivered: 0 }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    async fn command(&self, command: Command) -> Reply {
        let asked = format!("{}: {command:?}", self.name);
        soon(self.client.command(command)).await.unwrap_or_else(|error| panic!("{asked}: {error:?}"))
    }

    /// Something about a live chat, to the end.
    pub(super) async fn does(&self, what: ChatCommand) {
        assert_eq!(self.command(Command::Chat(what)).await, Reply::Done);
    }

    pub(super) async fn invite(&self, whom: &str) -> ChatId {
        let invited = vec![whom.parse().unwrap()];
        match self.command(Command::Chat(ChatCommand::Invite(invited))).await {
            Reply::Inviting { chat, .. } => chat,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    pub(super) async fn users(&self) -> Vec<User> {
        match self.command(Command::Users).await {
            Reply::Users(users) => users,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// The next thing that happens about a live chat. Nothing that a person would have to worry about may come before it.
    pub(super) async fn chat_event(&mut self) -> ChatEvent {
        loop {
            if let Some(event) = self.next().await {
                return event;
            }
        }
    }

    /// One event: kept, or handed out.
    async fn next(&mut self) -> Option<ChatEvent> {
        let notice = soon(self.events.next()).await;
        self.take(notice)
    }

    fn take(&mut self, notice: Option<Notice>) -> Option<ChatEvent> {
        match notice {
            Some(Notice::Event(Event::Chat(event))) => return Some(event),
            Some(Notice::Event(Event::Row(row))) => self.rows.push(row),
            Some(Notice::Event(Event::Fate(fate))) => {
                assert!(fate.fate >= Fate::Waiting, "{}: {fate:?}", self.name);
                self.delivered += usize::from(fate.fate == Fate::Delivered);
            }
            Some(Notice::Event(Event::Connection(_) | Event::Drained)) => {}
            other => panic!("{}: {other:?}", self.name),
        }
        None
    }

    /// Says these lines to somebody and waits until all have arrived, and until all of the other's are here: these as they
    /// come up, in this order.
    pub(super) async fn talk(&mut self, with: &str, own: &[String], theirs: &[String]) {
        let to: Username = with.parse().unwrap();
        for text in own {
            let send = Command::Send { to: Recipient::User(to.clone()), text: text.clone() };
            assert!(matches!(self.command(send).await, Reply::Queued { .. }));
        }
        while self.delivered < own.len()
            || self.rows.iter().filter(|row| !row.outgoing).count() < theirs.len()
        {
            if let Some(event) = self.next().await {
                panic!("{}: {event:?}", self.name);
            }
        }
        let rows = std::mem::take(&mut self.rows);
        self.are(&rows, with, own, theirs);
    }

    /// The whole history holds these lines and no others.
    pub(super) async fn remembers(&self, with: &str, own: &[String], theirs: &[String]) {
        let all = Command::History { with: None, limit: 1_000, before: None };
        let Reply::Rows(rows) = self.command(all).await else { panic!("{}: no history", self.name) };
        self.are(&rows, with, own, theirs);
        let fates: Vec<_> = rows.iter().filter(|row| row.outgoing).map(|row| row.fate).collect();
        assert!(fates.iter().all(|fate| *fate == Some(Fate::Delivered)), "{}: {fates:?}", self.name);
    }

    fn are(&self, rows: &[Row], with: &str, own: &[String], theirs: &[String]) {
        for (outgoing, from, expected) in [(true, self.name.as_str(), own), (false, with, theirs)] {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.outgoing == outgoing).collect();
            let texts: Vec<&str> = rows.iter().map(|row| text(row)).collect();
            assert_eq!(texts, expected, "{}", self.name);
            let places = rows.iter().all(|row| row.from == from && row.conversation == with);
            assert!(places, "{}: {rows:?}", self.name);
        }
    }

    /// Gets up. Nothing came up on the screen since the talk.
    pub(super) async fn go(self) {
        let Self { name, client, mut events, rows, .. } = self;
        soon(client.close()).await;
        assert_eq!(rows, [], "{name}");
        while let Some(notice) = soon(events.next()).await {
            let quiet = matches!(notice, Notice::Event(Event::Connection(_)));
            assert!(quiet, "{name}: {notice:?}");
        }
    }
}

fn text(row: &Row) -> &str {
    match &row.body {
        RowBody::Text(text) => text,
        RowBody::Undecryptable(_) | RowBody::Newer(_) => panic!("{row:?}"),
    }
}

/// An end to a wait that would be for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(COMMAND, what).await.expect("this hangs")
}

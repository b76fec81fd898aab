//! People and their machines.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use sotto_client::{
    api::{ClientError, Command, ErrorKind, Event, Fate, Recipient, Reply, Row},
    driver::{Client, ClientOptions, Notice, Profile},
    setup::{LoginOptions, Questions, RegisterOptions, Registered, ServerIdentity, login, register},
};
use sotto_proto::{MessageId, Username};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::server::Server;

pub(crate) const PASSWORD: &str = "correct horse";

/// How long anything may take before a test counts it as hanging.
const HANG: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, what).await.expect("this hangs")
}

pub(crate) fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// Answers as it was told to, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) pinned: Mutex<Vec<ServerIdentity>>,
    pub(crate) asked: Mutex<Vec<ServerIdentity>>,
    pub(crate) trusts: Option<bool>,
    /// Where the code goes that a waiting device shows, and later that it was added.
    pub(crate) code: Option<tokio::sync::mpsc::UnboundedSender<String>>,
}

impl Questions for Answers {
    fn pinned(&self, server: &ServerIdentity) {
        self.pinned.lock().unwrap().push(server.clone());
    }

    fn trust(&self, server: &ServerIdentity) -> Result<bool, ClientError> {
        self.asked.lock().unwrap().push(server.clone());
        self.trusts.ok_or_else(|| ClientError::new(ErrorKind::Configuration, "nobody is there"))
    }

    fn waiting(&self, code: &str) {
        self.code.as_ref().expect("nobody expects a code").send(code.to_owned()).unwrap();
    }

    fn added(&self, username: &Username) {
        self.code.as_ref().expect("nobody waits").send(format!("added to {username}")).unwrap();
    }
}

/// A server and a folder for profiles.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) server: Server,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&folder.path().join("server"));
        Self { folder, server }
    }

    pub(crate) fn dir(&self, profile: &str) -> PathBuf {
        self.folder.path().join(profile)
    }

    pub(crate) fn registration(&self, profile: &str, name: &str) -> RegisterOptions {
        RegisterOptions {
            dir: self.dir(profile),
            server: self.server.address.clone(),
            username: name.to_owned(),
            password: secret(PASSWORD),
            invite: None,
            name: profile.to_owned(),
        }
    }

    pub(crate) fn sign_in(&self, profile: &str, name: &str, phrase: Option<&str>) -> LoginOptions {
        LoginOptions {
            dir: self.dir(profile),
            server: self.server.address.clone(),
            username: name.to_owned(),
            password: secret(PASSWORD),
            recovery: phrase.map(secret),
            name: profile.to_owned(),
        }
    }

    pub(crate) async fn register(&self, name: &str) -> Registered {
        let registered = run_register(self.registration(name, name)).await.unwrap();
        registered.published.clone().unwrap();
        registered
    }

    pub(crate) async fn client(&self, profile: &str) -> Client {
        let open = Profile::lock(&self.dir(profile)).unwrap().unlock_async(secret(PASSWORD)).await.unwrap();
        Client::start(open, ClientOptions::default()).await.unwrap()
    }
}

pub(crate) async fn run_register(options: RegisterOptions) -> Result<Registered, ClientError> {
    soon(register(options, Arc::new(Answers::default()))).await
}

pub(crate) async fn run_login(options: LoginOptions) -> Result<(), ClientError> {
    soon(login(options, Arc::new(Answers::default()))).await?.published
}

pub(crate) async fn send(client: &Client, to: &str, text: &str) -> MessageId {
    let to = Recipient::User(Username::parse(to).unwrap());
    match soon(client.command(Command::Send { to, text: text.to_owned() })).await.unwrap() {
        Reply::Queued { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

/// Waits until a message has at least this fate.
pub(crate) async fn fate(client: &Client, message: MessageId, least: Fate) {
    let mut events = client.events();
    soon(async {
        loop {
            match client.command(Command::Fate(message)).await.unwrap() {
                Reply::Fate(now) if now.fate >= least => return,
                Reply::Fate(_) => {}
                other => panic!("{other:?}"),
            }
            loop {
                match events.next().await.expect("the client goes on") {
                    Notice::Event(Event::Fate(changed)) if changed.message == message => break,
                    Notice::Lagged => break,
                    Notice::Event(_) => {}
                }
            }
        }
    })
    .await;
}

pub(crate) async fn rows(client: &Client) -> Vec<Row> {
    match soon(client.command(Command::History { with: None, limit: 1000, before: None })).await.unwrap() {
        Reply::Rows(rows) => rows,
        other => panic!("{other:?}"),
    }
}

//! The operator's questions: over the socket in the data folder, on the console, or answered from the store alone
//! where no daemon runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sotto_store::{SledStore, Store as _};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{backup, driver::Message, folder::SocketPlace};
use crate::core::Roster;

/// Bytes of a question.
const QUESTION: u64 = 4096;
/// How long a question may take, and most answers.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a backup of a large store may take.
const BACKUP_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Names read from the store at a time.
const NAMES: usize = 500;

/// A question of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub(crate) enum Ask {
    /// Counts and sizes.
    Status,
    /// Accounts and who is there.
    Users,
    /// Closing a room.
    Kill {
        /// Which.
        room: String,
    },
    /// The `sotto://` address.
    Address,
    /// A backup into a prepared folder, an absolute path.
    Backup {
        /// Which.
        folder: PathBuf,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// To `Status`.
    Status(Status),
    /// To `Users`.
    Users(Vec<User>),
    /// To `Address`.
    Address(String),
    /// To `Backup`: rows, bytes.
    Backup(u64, u64),
    /// It was not done, and why.
    Error(String),
}

/// Counts and sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) v: u8,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Whether a daemon answered.
    pub(crate) running: bool,
    pub(crate) version: String,
    pub(crate) address: String,
    pub(crate) uptime_s: u64,
    pub(crate) connections: usize,
    pub(crate) devices_online: usize,
    pub(crate) accounts: u64,
    pub(crate) envelopes: u64,
    pub(crate) envelope_bytes: u64,
    pub(crate) disk_bytes: u64,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) v: u8,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) name: String,
    /// `available`, `busy` (in a live chat), `connected` (by programs only) or `offline`.
    pub(crate) presence: String,
    /// With whom, if busy.
    pub(crate) with: Vec<String>,
    /// From where its devices are connected.
    pub(crate) addresses: Vec<String>,
}

/// What questions are answered from.
pub(crate) struct Desk {
    pub(crate) store: Arc<SledStore>,
    pub(crate) data_dir: PathBuf,
    /// The daemon, if it runs in this process.
    pub(crate) driver: Option<mpsc::Sender<Message>>,
    pub(crate) address: String,
    pub(crate) started: std::time::Instant,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Desk {
    /// Answers.
    pub(crate) async fn answer(&self, ask: Ask) -> Answer {
        let result = match ask {
            Ask::Status => self.status().await.map(Answer::Status),
            Ask::Users => self.users().await.map(Answer::Users),
            Ask::Kill { room } => Err(format!("there is no room {room}: this version has no rooms yet")),
            Ask::Address => Ok(Answer::Address(self.address.clone())),
            Ask::Backup { folder } => backup::create(&self.data_dir, &self.store, &folder)
                .await
                .map(|summary| Answer::Backup(summary.rows, summary.bytes))
                .map_err(|error| error.to_string()),
        };
        result.unwrap_or_else(Answer::Error)
    }

    async fn roster(&self) -> Result<Roster, String> {
        let Some(driver) = &self.driver else { return Ok(Roster::default()) };
        let (sender, answer) = oneshot::channel();
        let stopped = "the server is stopping";
        driver.send(Message::Roster(sender)).await.map_err(|_| stopped)?;
        answer.await.map_err(|_| stopped.to_owned())
    }

    async fn status(&self) -> Result<Status, String> {
        let roster = self.roster().await?;
        let usage = self.store.usage().await.map_err(|error| error.to_string())?;
        Ok(Status {
            v: 1,
            kind: "status".to_owned(),
            running: self.driver.is_some(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.clone(),
            uptime_s: self.driver.as_ref().map_or(0, |_| self.started.elapsed().as_secs()),
            connections: roster.connections,
            devices_online: roster.devices.len(),
            accounts: usage.accounts,
            envelopes: usage.envelopes,
            envelope_bytes: usage.envelope_bytes,
            disk_bytes: usage.disk_bytes,
        })
    }

    async fn users(&self) -> Result<Vec<User>, String> {
        let roster = self.roster().await?;
        let mut users = Vec::new();
        let mut after = None;
        loop {
            let names = self.store.names(after.clone(), NAMES).await.map_err(|error| error.to_string())?;
            let full = names.len() == NAMES;
            after = names.last().map(|(name, _)| name.clone());
            users.extend(names.into_iter().map(|(name, _)| user(name.as_str(), &roster)));
            if !full {
                return Ok(users);
            }
        }
    }
}

fn user(name: &str, roster: &Roster) -> User {
    let devices = roster.devices.iter().filter(|device| device.name == name);
    let addresses: Vec<String> = devices.clone().map(|device| device.address.to_string()).collect();
    let with = roster.busy.get(name).cloned().unwrap_or_default();
    let presence = match (addresses.is_empty(), devices.clone().any(|device| device.interactive)) {
        _ if !with.is_empty() => "busy",
        (true, _) => "offline",
        (false, true) => "available",
        (false, false) => "connected",
    };
    let (kind, name, presence) = ("user".to_owned(), name.to_owned(), presence.to_owned());
    User { v: 1, kind, name, presence, with, addresses }
}

/// Answers on the socket until told to stop.
pub(crate) async fn serve(
    listener: UnixListener,
    desk: Arc<Desk>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match stream {
            Ok((stream, _)) => {
                let (desk, stop) = (Arc::clone(&desk), stop.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        result = converse(stream, &desk) => if let Err(error) = result {
                            warn!("admin socket: {error}");
                        },
                        () = stop.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                warn!("admin socket: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, desk: &Desk) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(QUESTION));
    timeout(TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(ask) => desk.answer(ask).await,
        Err(error) => Answer::Error(format!("not understood: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    timeout(TIMEOUT, stream.write_all(&bytes)).await??;
    stream.shutdown().await
}

/// Asks the daemon that runs on this data folder; `None` if there is none.
pub(crate) async fn ask(data_dir: &Path, ask: &Ask) -> std::io::Result<Option<Answer>> {
    let place = match SocketPlace::in_folder(data_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        place => place?,
    };
    let mut stream = match UnixStream::connect(place.path()).await {
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        stream => stream?,
    };
    let exchange = async {
        let mut bytes = serde_json::to_vec(ask)?;
        bytes.push(b'\n');
        stream.write_all(&bytes).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(serde_json::from_slice(&answer)?)
    };
    let patience = if matches!(ask, Ask::Backup { .. }) { BACKUP_TIMEOUT } else { TIMEOUT };
    timeout(patience, exchange).await?.map(Some)
}

//! The operator's questions: over the socket in the data folder, on the console, or answered from the store alone
//! where no daemon runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rand::{TryRng as _, rngs::SysRng};
use serde::{Deserialize, Serialize};
use sotto_proto::{ResetCode, SignedDeviceList, Username, ids::base32};
use sotto_store::{
    AccountRecord, InviteHash, SledStore, Store as _,
    invite::{MAX_INVITES, MAX_NOTE},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;
use zeroize::Zeroizing;

use super::{
    backup,
    driver::{Message, now_ms},
    folder::SocketPlace,
};
use crate::{
    core::{Order, Roster},
    duration::rfc3339,
};

/// Bytes of a question.
const QUESTION: u64 = 4096;
/// How long a question may take, and most answers.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a backup of a large store may take.
const BACKUP_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How long a change may take: an account that is removed may have full mailboxes, and the disk may be slow. Nobody is to
/// give up on what is done meanwhile; a password that was set is shown only with the answer.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(120);
/// Random bytes of an invite's token: 26 characters.
const TOKEN: usize = 16;
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
    /// A change of an account.
    User {
        /// What to do.
        action: UserAction,
        /// To whom.
        name: String,
    },
    /// Letting a new identity that waits take effect.
    ResetNow {
        /// For which name.
        name: String,
        /// Which, by its code.
        code: String,
    },
    /// A new password for an account, by the hash that is kept of it (a PHC string).
    SetPassword {
        /// Whose.
        name: String,
        /// Of what a client makes of the password.
        hash: String,
    },
    /// A new invite.
    Invite {
        /// Accounts that can be made with it.
        uses: u32,
        /// How long it is good, milliseconds.
        lifetime_ms: u64,
        /// Whom it is for.
        note: String,
    },
    /// All invites.
    Invites,
    /// An invite made worthless.
    Revoke {
        /// Its id.
        id: String,
    },
    /// A backup into a prepared folder, an absolute path.
    Backup {
        /// Which.
        folder: PathBuf,
    },
}

/// What can be done to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UserAction {
    Disable,
    Enable,
    Delete,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// To `Status`.
    Status(Status),
    /// To `Users`.
    Users(Vec<User>),
    /// To `User`, `ResetNow` and `SetPassword`: it was done.
    Changed,
    /// To `Invite`: the invite, and the token, which is nowhere else.
    Invite(Invite, String),
    /// To `Invites`.
    Invites(Vec<Invite>),
    /// To `Revoke`.
    Revoked(Invite),
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
    /// Whether the operator lets nobody sign in.
    pub(crate) disabled: bool,
    /// When a new identity that waits may take its place.
    pub(crate) reset_due: Option<String>,
    /// By which that is recognised.
    pub(crate) reset_code: Option<String>,
}

/// One invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invite {
    pub(crate) v: u8,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) uses_left: u32,
    pub(crate) created_at: String,
    pub(crate) expires_at: String,
    pub(crate) note: String,
}

impl From<sotto_store::Invite> for Invite {
    fn from(invite: sotto_store::Invite) -> Self {
        Self {
            v: 1,
            kind: "invite".to_owned(),
            id: invite.hash.id(),
            uses_left: invite.uses,
            created_at: rfc3339(invite.created_ms),
            expires_at: rfc3339(invite.expires_ms),
            note: invite.note,
        }
    }
}

/// What questions are answered from.
pub(crate) struct Desk {
    pub(crate) store: Arc<SledStore>,
    pub(crate) data_dir: PathBuf,
    /// The core, if it runs in this process.
    pub(crate) driver: Option<mpsc::Sender<Message>>,
    /// Whether that is a daemon.
    pub(crate) running: bool,
    pub(crate) address: String,
    pub(crate) started: std::time::Instant,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Ask {
    /// Whether a core has to run for it: who changes accounts is the only one who does.
    pub(crate) fn changes_accounts(&self) -> bool {
        matches!(self, Self::User { .. } | Self::ResetNow { .. } | Self::SetPassword { .. })
    }

    /// Whether something is another way after it.
    fn changes(&self) -> bool {
        self.changes_accounts()
            || matches!(self, Self::Kill { .. } | Self::Invite { .. } | Self::Revoke { .. })
    }

    /// How long its answer is waited for.
    fn patience(&self) -> Duration {
        match self {
            Self::Backup { .. } => BACKUP_TIMEOUT,
            ask if ask.changes() => CHANGE_TIMEOUT,
            _ => TIMEOUT,
        }
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
            Ask::User { action, name } => self.user(action, &name).await,
            Ask::ResetNow { name, code } => match ResetCode::parse(&code) {
                Ok(code) => self.order(&name, |name| Order::ResetNow(name, code)).await,
                Err(error) => Err(format!("not the code of a new identity: {error}")),
            },
            Ask::SetPassword { name, hash } => self.order(&name, |name| Order::SetPassword(name, hash)).await,
            Ask::Invite { uses, lifetime_ms, note } => self.invite(uses, lifetime_ms, note).await,
            Ask::Invites => self.invites().await.map(Answer::Invites),
            Ask::Revoke { id } => self.revoke(&id).await,
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
            running: self.running,
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
            for (name, account) in names {
                let record = self.store.account(account).await.map_err(|error| error.to_string())?;
                users.push(user(name.as_str(), &roster, record.as_ref()));
            }
            if !full {
                return Ok(users);
            }
        }
    }
}

impl Desk {
    async fn user(&self, action: UserAction, name: &str) -> Result<Answer, String> {
        let order = match action {
            UserAction::Disable => Order::Disable,
            UserAction::Enable => Order::Enable,
            UserAction::Delete => Order::Delete,
        };
        self.order(name, order).await
    }

    async fn order(&self, name: &str, order: impl FnOnce(Username) -> Order) -> Result<Answer, String> {
        let name = Username::parse(name).map_err(|error| error.to_string())?;
        let driver = self.driver.as_ref().ok_or("no core runs here")?;
        let (sender, answer) = oneshot::channel();
        let stopped = "the server is stopping";
        driver.send(Message::Order(order(name), sender)).await.map_err(|_| stopped)?;
        let unknown = "the server is stopping: it may have been done; run the same command again";
        answer.await.map_err(|_| unknown)?.map(|()| Answer::Changed)
    }

    async fn invite(&self, uses: u32, lifetime_ms: u64, note: String) -> Result<Answer, String> {
        if note.len() > MAX_NOTE || note.chars().any(char::is_control) {
            return Err(format!("a note is one line of at most {MAX_NOTE} bytes"));
        }
        let mut bytes = Zeroizing::new([0; TOKEN]);
        SysRng.try_fill_bytes(bytes.as_mut()).map_err(|error| error.to_string())?;
        let token = base32(bytes.as_ref());
        let created_ms = now_ms();
        let invite = sotto_store::Invite {
            hash: InviteHash::of(&token),
            uses,
            created_ms,
            expires_ms: created_ms.saturating_add(lifetime_ms),
            note,
        };
        if self.store.create_invite(invite.clone()).await.map_err(|error| error.to_string())? {
            Ok(Answer::Invite(invite.into(), token))
        } else {
            Err(format!("there are {MAX_INVITES} invites already; revoke some, or give one more uses"))
        }
    }

    /// Those that are still good, the oldest first.
    async fn invites(&self) -> Result<Vec<Invite>, String> {
        let mut invites = self.store.invites().await.map_err(|error| error.to_string())?;
        let now_ms = now_ms();
        invites.retain(|invite| invite.valid(now_ms));
        invites.sort_unstable_by_key(|invite| (invite.created_ms, invite.hash));
        Ok(invites.into_iter().map(Invite::from).collect())
    }

    async fn revoke(&self, id: &str) -> Result<Answer, String> {
        let invites = self.store.invites().await.map_err(|error| error.to_string())?;
        let found = invites.into_iter().find(|invite| invite.hash.id() == id.to_ascii_lowercase());
        let none = || format!("there is no invite {id}; `sottod invite list` shows them");
        let invite = found.ok_or_else(none)?;
        let was = self.store.revoke_invite(invite.hash).await.map_err(|error| error.to_string())?;
        if was { Ok(Answer::Revoked(invite.into())) } else { Err(none()) }
    }
}

fn user(name: &str, roster: &Roster, record: Option<&AccountRecord>) -> User {
    let devices = roster.devices.iter().filter(|device| device.name == name);
    let addresses: Vec<String> = devices.clone().map(|device| device.address.to_string()).collect();
    let with = roster.busy.get(name).cloned().unwrap_or_default();
    let presence = match (addresses.is_empty(), devices.clone().any(|device| device.interactive)) {
        _ if !with.is_empty() => "busy",
        (true, _) => "offline",
        (false, true) => "available",
        (false, false) => "connected",
    };
    let reset = record.and_then(AccountRecord::waiting_reset);
    User {
        v: 1,
        kind: "user".to_owned(),
        name: name.to_owned(),
        presence: presence.to_owned(),
        with,
        addresses,
        disabled: record.is_some_and(|record| record.disabled),
        reset_due: reset.map(|reset| rfc3339(reset.due_ms)),
        reset_code: reset
            .and_then(|reset| SignedDeviceList::parse(&reset.list).ok())
            .map(|list| ResetCode::of(list.list()).to_string()),
    }
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
        Ok(ask @ Ask::Backup { .. }) => tokio::select! {
            answer = desk.answer(ask) => answer,
            // Changes wait for it, so it is called off when nobody wants it any more.
            () = gone(&mut stream) => return Ok(()),
        },
        Ok(ask) => desk.answer(ask).await,
        Err(error) => Answer::Error(format!("not understood: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    timeout(TIMEOUT, stream.write_all(&bytes)).await??;
    stream.shutdown().await
}

/// Returns when who asked has ended, or says no more.
async fn gone(stream: &mut UnixStream) {
    while matches!(stream.read(&mut [0]).await, Ok(read) if read > 0) {}
}

/// Asks the daemon that runs on this data folder; `None` if there is none.
pub(crate) async fn ask(data_dir: &Path, ask: &Ask) -> std::io::Result<Option<Answer>> {
    let place = match SocketPlace::in_folder(data_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        place => place?,
    };
    let stream = match UnixStream::connect(place.path()).await {
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
    exchange(stream, ask, ask.patience()).await.map(Some)
}

/// Asks on a connection to the daemon.
async fn exchange(mut stream: UnixStream, ask: &Ask, patience: Duration) -> std::io::Result<Answer> {
    let mut bytes = serde_json::to_vec(ask)?;
    bytes.push(b'\n');
    let answered = timeout(patience, async {
        stream.write_all(&bytes).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    });
    let what = match answered.await {
        Ok(Ok(answer)) if !answer.is_empty() => return Ok(serde_json::from_slice(&answer)?),
        Ok(Ok(_)) => "the daemon ended before it answered".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the daemon did not answer within {} s", patience.as_secs()),
    };
    Err(std::io::Error::other(if ask.changes() {
        format!("{what}: it may have been done; run the same command again")
    } else {
        what
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

    use super::{
        super::identity::{CHAIN_FILE, KEY_FILE},
        *,
    };

    fn set_password() -> Ask {
        Ask::SetPassword { name: "alice".to_owned(), hash: "hash".to_owned() }
    }

    #[tokio::test]
    async fn a_change_without_an_answer_may_have_been_done_and_says_so() {
        let again = |result: std::io::Result<Answer>| {
            let text = result.unwrap_err().to_string();
            (text.contains("may have been done; run the same command again"), text)
        };
        // The daemon takes it and ends.
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let daemon = async {
            let mut line = String::new();
            BufReader::new(&mut theirs).read_line(&mut line).await.unwrap();
            drop(theirs);
        };
        let question = set_password();
        let (asked, ()) = tokio::join!(exchange(ours, &question, CHANGE_TIMEOUT), daemon);
        let (said, text) = again(asked);
        assert!(said && text.contains("ended before it answered"), "{text}");
        // It is slower than anybody waits.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (said, text) = again(exchange(ours, &question, Duration::from_millis(1)).await);
        assert!(said && text.contains("did not answer within"), "{text}");
        drop(theirs);
        // A question changes nothing.
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(!again(exchange(ours, &Ask::Status, TIMEOUT).await).0);
    }

    #[test]
    fn whatever_changes_an_account_is_waited_for() {
        let name = || "alice".to_owned();
        let reset = Ask::ResetNow { name: name(), code: String::new() };
        for ask in [Ask::User { action: UserAction::Disable, name: name() }, reset, set_password()] {
            assert!(ask.changes());
            assert_eq!(ask.patience(), CHANGE_TIMEOUT);
        }
        assert_eq!(Ask::Status.patience(), TIMEOUT);
    }

    #[tokio::test]
    async fn a_backup_is_called_off_when_who_asked_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        for name in [KEY_FILE, CHAIN_FILE] {
            std::fs::write(data_dir.join(name), name).unwrap();
        }
        let store = SledStore::open(&data_dir.join("store"), sotto_store::StoreConfig::default()).unwrap();
        let desk = Arc::new(Desk {
            store: Arc::new(store),
            data_dir,
            driver: None,
            running: true,
            address: String::new(),
            started: std::time::Instant::now(),
        });
        let begin = |folder: &Path| {
            std::fs::create_dir(folder).unwrap();
            let (ours, theirs) = UnixStream::pair().unwrap();
            let desk = Arc::clone(&desk);
            (ours, tokio::spawn(async move { converse(theirs, &desk).await }))
        };
        let ask = |folder: &Path| Ask::Backup { folder: folder.to_owned() };
        let (ours, conversed) = begin(&dir.path().join("first"));
        let answer = exchange(ours, &ask(&dir.path().join("first")), TIMEOUT).await.unwrap();
        assert!(matches!(answer, Answer::Backup(..)), "{answer:?}");
        conversed.await.unwrap().unwrap();

        let folder = dir.path().join("second");
        let (mut ours, conversed) = begin(&folder);
        // The store's writer waits here until somebody reads.
        let pipe = folder.join("store.dump.unfinished");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        ours.write_all(format!("{}\n", serde_json::to_string(&ask(&folder)).unwrap()).as_bytes())
            .await
            .unwrap();
        drop(ours);
        timeout(TIMEOUT, conversed).await.unwrap().unwrap().unwrap();
        // Who reads without waiting, for the backup may not even have begun.
        let _reader = open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        assert_eq!(desk.store.revoke_invite(InviteHash::of("none")).await, Ok(false), "changes go on");
    }
}

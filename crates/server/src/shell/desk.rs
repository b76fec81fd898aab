//! What the operator can ask, and the answers: from the running core, or from the store alone where no daemon runs.

use std::{path::PathBuf, sync::Arc};

use rand::{TryRng as _, rngs::SysRng};
use serde::{Deserialize, Serialize};
use sotto_proto::{ResetCode, SignedDeviceList, Username, ids::base32};
use sotto_store::{
    AccountRecord, InviteHash, SledStore, Store as _,
    invite::{MAX_INVITES, MAX_NOTE},
};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::{
    backup,
    driver::{Message, now_ms},
};
use crate::{
    core::{Order, Roster},
    duration::rfc3339,
};

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

//! The client's decisions, pure: no socket, no clock, no randomness of its own. Everything that must last is in the
//! store, on which the core works through a transaction that is handed in; what is here is only what a connection
//! means. A crash therefore leaves exactly what the last transaction committed, and a restart is no special case.
//!
//! The contract: the caller opens a transaction, feeds one or several inputs to [`Core::handle`], calls
//! [`Core::flush`] once, commits, and only then performs the outputs, in order. If anything fails, it performs none of
//! them and drops the core.

mod account;
mod blocks;
mod changes;
mod chats;
mod claims;
mod commands;
mod content;
mod devices;
mod due;
mod enrol;
mod fates;
mod io;
mod keys;
mod lanes;
mod link;
mod lists;
mod receive;
mod requests;
mod restore;
mod retention;
mod rows;
mod sealing;
mod sessions;
mod submits;
mod submitted;
mod undelivered;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rand_core::CryptoRng;
use sotto_crypto::DeviceSecret;
use sotto_proto::{
    AccountId, DeviceId, FateTag, SignedCertificate, Username, frame::ClientFrame, limits::DAY_MS,
};
use thiserror::Error;

pub use account::WithKey;
pub use io::{CommandId, Input, Output};
pub(crate) use link::{check_chain, ended};

use self::{
    chats::Chats, commands::WaitsFor, lanes::Lane, link::Link, requests::Requests, restore::Restoring,
    sessions::Sessions, undelivered::Undelivered,
};
use crate::{
    api::{ClientError, Connection, ErrorKind, Event},
    store::{ClaimedIdentity, StoreError, Tx},
};

/// Why the core cannot go on. Nothing of the transaction may be committed.
#[derive(Debug, Error)]
pub enum CoreError {
    /// The local store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This profile has no account yet.
    #[error("this profile has no account")]
    NoAccount,
    /// Something that cannot be: the text is for the report.
    #[error("{0}")]
    Bug(String),
}

impl From<CoreError> for ClientError {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::Store(error) => error.into(),
            CoreError::NoAccount => Self::new(ErrorKind::LoginNeeded, "this profile has no account")
                .hint("sotto register SERVER USER"),
            CoreError::Bug(text) => Self::new(ErrorKind::Bug, text),
        }
    }
}

/// What a program wants of its client.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoreOptions {
    /// Whether a person sits there: only then the account counts as available.
    pub interactive: bool,
}

/// This device.
struct Me {
    username: Username,
    account: AccountId,
    device: DeviceId,
    secret: Arc<DeviceSecret>,
    certificate: SignedCertificate,
}

/// The name of the number in `meta` that says that the server's data was restored and not everything that it lost has been
/// seen to.
const RESTORED: &str = "restored";

/// The name of the number in `meta` that says when that was last noticed, Unix milliseconds; 0 for never.
const RESTORED_MS: &str = "restored_ms";

/// How far the clock may go back on a connection: what was put off waits for as much longer.
const SET_BACK_MS: u64 = 10 * 60_000;
/// How far it may go on between two inputs: there is one a day at least, for the daily work.
const SET_FORWARD_MS: u64 = DAY_MS + 60 * 60_000;

/// Whether everything that waited in the mailbox has come on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    No,
    /// The faces have not been told.
    Untold,
    Told,
}

/// The client's decisions. See the module's text for the contract.
pub struct Core {
    /// When the last input came.
    now_ms: u64,
    me: Me,
    options: CoreOptions,
    link: Link,
    connection: Connection,
    requests: Requests,
    sessions: Sessions,
    lanes: BTreeMap<(AccountId, bool), Lane>,
    /// Commands that wait for a user's list.
    waiting: Vec<(CommandId, Username, WaitsFor)>,
    /// Names and accounts that were asked for on this connection, and when they may be again.
    lookups: BTreeMap<lists::Sought, u64>,
    /// Accounts whose bundles are being claimed.
    claiming: BTreeSet<AccountId>,
    /// Devices that have published no keys: since when, and when to ask again.
    keyless: BTreeMap<DeviceId, (u64, u64)>,
    /// Devices of which the server last handed out bad keys.
    bad_keys: BTreeSet<DeviceId>,
    /// Devices that something was sealed without on this connection, for there was nothing to seal it with.
    left_out: BTreeSet<DeviceId>,
    /// Devices with a key that nothing can be sealed to.
    unusable: BTreeSet<DeviceId>,
    /// Devices whose mailbox refused: when to try again, and after how long the time after that.
    refusing: BTreeMap<DeviceId, (u64, u64)>,
    /// Devices that were asked for what did not open, and of which nothing has opened since: when they may be asked again, and
    /// how long that was put off. No more than there are devices with messages that did not open.
    asking: BTreeMap<DeviceId, (u64, u64)>,
    /// Accounts of which the server has an older list: it goes along with the next Submit.
    hand_over: BTreeSet<AccountId>,
    /// Contacts whose account the server does not know any more, until their name was looked up.
    doubted: BTreeSet<AccountId>,
    /// Contacts whose account the server lost, and after how long they are looked for again: what is for them waits
    /// until they have enrolled again.
    missing: BTreeMap<AccountId, u64>,
    /// Devices of which the user was told, on this run, that the served list lacks them.
    warned: BTreeSet<ClaimedIdentity>,
    password_again: account::AskAgain,
    /// When the user was told that the auth key leaves by itself; 0 once this device was let in since.
    auth_key_left_ms: u64,
    /// Invitations and live chats of this connection.
    chats: Chats,
    /// Accounts whose block is being told to the server.
    blocking: BTreeSet<AccountId>,
    /// No block is told before this.
    blocks_again_ms: u64,
    /// The server's clock at this connection's beginning, and this device's at that moment.
    server_ms: Option<(u64, u64)>,
    /// Whether something was committed that the server has not been told.
    ack_due: bool,
    drained: Drained,
    /// Whether private keys that are out of use are to be wiped.
    wipe_due: bool,
    /// Whether the server lost what it had.
    restoring: Restoring,
    /// Copies that the server lost, found so far.
    lost: Vec<FateTag>,
    /// Messages that did not arrive.
    undelivered: Undelivered,
    /// When the server is to be asked again what became of everything without a receipt: it could not say.
    fates_again_ms: Option<u64>,
    /// When the server is to be asked again what is left of this device's keys.
    recount_ms: Option<u64>,
    /// When this device last made one-time prekeys.
    refilled_ms: u64,
    /// How many uploads of keys the server has refused since it last took one.
    keys_refused: u32,
    /// When the daily work is due.
    upkeep_ms: u64,
    /// When envelopes that wait for their sender's list were last looked through.
    held_looked_ms: u64,
}

/// What every part of the core works with, for the time of one input.
pub(crate) struct Step<'s, 't> {
    pub(crate) now_ms: u64,
    pub(crate) rng: &'s mut dyn CryptoRng,
    pub(crate) tx: &'s Tx<'t>,
    pub(crate) out: &'s mut Vec<Output>,
}

impl Step<'_, '_> {
    fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.event(Event::Warning(text.into()));
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

impl Core {
    /// Takes up a profile as its store says it is.
    pub fn open(tx: &Tx<'_>, options: CoreOptions) -> Result<Self, CoreError> {
        let identity = tx.identity()?.ok_or(CoreError::NoAccount)?;
        let secret = DeviceSecret::from_bytes(&identity.device_secret).map_err(StoreError::from)?;
        Ok(Self {
            me: Me {
                username: identity.username,
                account: identity.account,
                device: identity.device,
                secret: Arc::new(secret),
                certificate: identity.certificate,
            },
            options,
            now_ms: 0,
            link: Link::Down,
            connection: Connection::Connecting,
            requests: Requests::default(),
            sessions: Sessions::default(),
            lanes: BTreeMap::new(),
            waiting: Vec::new(),
            lookups: BTreeMap::new(),
            claiming: BTreeSet::new(),
            keyless: BTreeMap::new(),
            left_out: BTreeSet::new(),
            bad_keys: BTreeSet::new(),
            unusable: BTreeSet::new(),
            refusing: BTreeMap::new(),
            asking: BTreeMap::new(),
            hand_over: BTreeSet::new(),
            doubted: BTreeSet::new(),
            missing: BTreeMap::new(),
            warned: BTreeSet::new(),
            password_again: account::AskAgain::default(),
            auth_key_left_ms: 0,
            chats: Chats::default(),
            blocking: BTreeSet::new(),
            blocks_again_ms: 0,
            server_ms: None,
            ack_due: false,
            drained: Drained::No,
            wipe_due: tx.number(keys::PUT_OFF)? > 0,
            restoring: if tx.number(RESTORED)? == 0 { Restoring::No } else { Restoring::UnderWay },
            lost: Vec::new(),
            undelivered: Undelivered::default(),
            fates_again_ms: None,
            recount_ms: None,
            refilled_ms: 0,
            keys_refused: 0,
            upkeep_ms: 0,
            held_looked_ms: 0,
        })
    }

    /// Takes one input. The effects are in the transaction and in `out`.
    pub fn handle(
        &mut self,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
        tx: &Tx<'_>,
        input: Input,
        out: &mut Vec<Output>,
    ) -> Result<(), CoreError> {
        let step = &mut Step { now_ms, rng, tx, out };
        self.look_at_clock(step);
        match input {
            Input::Connected { spki, exporter } => self.connected(step, spki, exporter),
            Input::Frame(frame) => return self.frame(step, &frame),
            Input::Disconnected => self.disconnected(step),
            Input::Command(id, command) => return self.command(step, id, command),
            Input::WithKey(id, command) => return self.with_key(step, id, command),
            Input::Interactive(interactive) => self.set_interactive(step, interactive),
            Input::Tick => {}
        }
        Ok(())
    }

    /// Where the clock was set back, what was put off until some time would wait for that time to come again; where it was set
    /// forward, what is known of the server's clock is wrong. The connection is given up, and all begins anew with the next one.
    fn look_at_clock(&mut self, step: &mut Step<'_, '_>) {
        let set_back = step.now_ms.saturating_add(SET_BACK_MS) < self.now_ms;
        let set_forward = self.now_ms > 0 && step.now_ms > self.now_ms.saturating_add(SET_FORWARD_MS);
        self.now_ms = step.now_ms;
        if set_back {
            (self.refilled_ms, self.recount_ms, self.held_looked_ms) = (0, None, 0);
            self.asking.clear();
        }
        if (set_back || set_forward) && !matches!(self.link, Link::Down | Link::Stopped) {
            let error = ClientError::new(ErrorKind::Unreachable, "the clock of this machine was set");
            self.close(step, error, true);
        }
    }

    /// Ends a batch of inputs: tells the server what was committed, sends what can be sent, and keeps what changed.
    /// Called once before each commit.
    pub fn flush(
        &mut self,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
        tx: &Tx<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), CoreError> {
        let step = &mut Step { now_ms, rng, tx, out };
        self.acknowledge(step)?;
        self.upkeep(step)?;
        self.wipe_keys(step)?;
        let wake_ms = self.pump(step)?;
        let blocks_ms = self.tell_blocks(step)?;
        let password_ms = self.ask_again_for_password(step)?;
        let undelivered_ms = self.tell_undelivered(step)?;
        self.tell_drained(step);
        self.sessions.save(step.tx)?;
        if let Some(wake_ms) =
            wake_ms.into_iter().chain(blocks_ms).chain(password_ms).chain(undelivered_ms).min()
        {
            step.out.push(Output::WakeAt(wake_ms));
        }
        Ok(())
    }

    fn send(&mut self, step: &mut Step<'_, '_>, asked: requests::Asked, frame: ClientFrame) {
        let request = self.requests.ask(asked);
        step.out.push(Output::Send { request, frame });
    }

    fn set_connection(&mut self, step: &mut Step<'_, '_>, connection: Connection) {
        if self.connection != connection {
            self.connection = connection.clone();
            step.event(Event::Connection(connection));
        }
    }

    /// Gives the connection up, and says whether trying again can help.
    fn close(&mut self, step: &mut Step<'_, '_>, error: ClientError, reconnect: bool) {
        self.disconnected(step);
        if !reconnect {
            self.link = Link::Stopped;
            step.event(Event::Stopped(error.clone()));
        }
        step.out.push(Output::Close { error, reconnect });
    }
}

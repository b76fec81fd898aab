//! The handle that a face holds: the same whether this process owns the profile or another one does.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

use super::{
    attach,
    engine::Engine,
    events::{Events, Notice, State},
    password::Keyring,
    profile::{OpenProfile, Profile},
    request::{Answer, Request},
    run::{Driver, Faces},
    socket,
};
use crate::{
    api::{ClientError, Command, ErrorKind, Reply},
    core::{CoreError, CoreOptions},
};

/// Events that wait for a slow face before it is told that it lagged.
const EVENTS: usize = 1024;
/// Requests that wait for the loop.
const REQUESTS: usize = 64;
/// How long an owner is given to come up (Argon2 on a busy machine), or to go, before the profile counts as in use: a
/// registration has the lock,
/// but no socket.
const OWNER: Duration = Duration::from_secs(10);
/// Between two tries.
const OWNER_AGAIN: Duration = Duration::from_millis(40);
/// For everything to end. Each part has a shorter bound of its own; this one is for a disk that hangs.
const CLOSE: Duration = Duration::from_secs(15);

/// The tasks of all clients of this process.
static TASKS: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Waits until every client of this process has ended: for a program that was interrupted and dropped what it held. A
/// client that runs on is waited for too, so the caller sets a bound.
pub async fn all_ended() {
    TASKS.close();
    TASKS.wait().await;
    TASKS.reopen();
}

/// What a program wants of its client.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientOptions {
    /// Whether a person sits there: only then the account counts as available.
    pub interactive: bool,
    /// Start without connecting, for what the store alone can answer. A face that attaches and is not `offline` makes
    /// the owner connect after all.
    pub offline: bool,
}

/// A running client. Dropping it ends it too, but does not wait for that; [`Client::close`] does.
#[derive(Debug)]
pub struct Client {
    requests: mpsc::Sender<Request>,
    events: broadcast::WeakSender<Notice>,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    owner: bool,
}

impl Client {
    /// Owns the profile: connects by itself, and serves other programs through the local socket.
    pub async fn start(open: OpenProfile, options: ClientOptions) -> Result<Self, ClientError> {
        let OpenProfile { mut store, key, profile } = open;
        let (server, identity) =
            store.transaction::<_, ClientError>(|tx| Ok((tx.server()?, tx.identity()?)))?;
        let server =
            server.ok_or_else(|| ClientError::new(ErrorKind::LocalStore, "the profile names no server"))?;
        let identity = identity.ok_or(CoreError::NoAccount)?;
        let dir = profile.dir().to_owned();
        let keyring = Keyring {
            server: server.server_id,
            username: identity.username,
            dir: dir.clone(),
            key,
            turn: Arc::new(Semaphore::new(1)),
        };
        let listener = socket::bind(&dir)?;
        let engine = Engine::start(store, dir, CoreOptions { interactive: options.interactive }).await?;
        let (people, people_out) = watch::channel(usize::from(options.interactive));
        let (requests, requests_out) = mpsc::channel(REQUESTS);
        let (events, _) = broadcast::channel(EVENTS);
        let (state_in, state) = watch::channel(State::new());
        let stop = CancellationToken::new();
        let stop_loop = CancellationToken::new();
        let weak = events.downgrade();
        let faces = Faces { requests: requests_out, events, state: state_in, stop: stop_loop.clone() };
        let driver = Driver::new(engine, server.address, faces, people_out, keyring, options.offline);
        let serving = socket::Server {
            dir: profile.dir().to_owned(),
            requests: requests.clone(),
            events: weak.clone(),
            state: state.clone(),
            people,
            stop: stop.clone(),
        };
        let sockets = TASKS.spawn(async move {
            serving.run(listener).await;
            // The loop goes on until the last face on the socket has its answers.
            stop_loop.cancel();
        });
        let stop_sockets = stop.clone();
        let looping = TASKS.spawn(async move {
            driver.run(profile).await;
            stop_sockets.cancel();
        });
        Ok(Self { requests, events: weak, state, stop, tasks: vec![sockets, looping], owner: true })
    }

    /// Uses the profile through the process that owns it; `None` if none answers there.
    pub async fn attach(dir: &Path, options: ClientOptions) -> Result<Option<Self>, ClientError> {
        let Some(stream) = attach::connect(dir, options).await? else { return Ok(None) };
        let (requests, requests_out) = mpsc::channel(REQUESTS);
        let (events, _) = broadcast::channel(EVENTS);
        let (state_in, state) = watch::channel(stream.state.clone());
        let stop = CancellationToken::new();
        let weak = events.downgrade();
        let faces = Faces { requests: requests_out, events, state: state_in, stop: stop.clone() };
        let task = TASKS.spawn(attach::run(stream, faces));
        Ok(Some(Self { requests, events: weak, state, stop, tasks: vec![task], owner: false }))
    }

    /// Uses the profile: through its owner if it has one, else as its owner, for which `password` is asked. The lock
    /// is not held while a person types. [`ErrorKind::ProfileInUse`] if somebody has the lock and does not answer.
    pub async fn open_or_attach(
        dir: &Path,
        options: ClientOptions,
        password: impl FnOnce() -> Result<Zeroizing<String>, ClientError>,
    ) -> Result<Self, ClientError> {
        if let Some(client) = Self::attach(dir, options).await? {
            return Ok(client);
        }
        if !Profile::exists(dir) {
            // Says that there is no account, without asking for its password.
            Profile::lock(dir)?;
        }
        let password = password()?;
        let deadline = tokio::time::Instant::now() + OWNER;
        loop {
            match Profile::lock(dir) {
                Ok(profile) => return Self::start(profile.unlock_async(password).await?, options).await,
                Err(error) if error.kind != ErrorKind::ProfileInUse => return Err(error),
                Err(error) => {
                    if let Some(client) = Self::attach(dir, options).await? {
                        return Ok(client);
                    }
                    if tokio::time::Instant::now() >= deadline {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(OWNER_AGAIN).await;
        }
    }

    /// Whether this process owns the profile.
    pub fn owns_profile(&self) -> bool {
        self.owner
    }

    /// Asks, and waits for the answer. Dropping the future does not undo what was asked.
    pub async fn command(&self, command: Command) -> Result<Reply, ClientError> {
        let (answer, outcome) = oneshot::channel();
        if self.requests.send(Request::Command(command, Answer::Here(answer))).await.is_err() {
            return Err(self.ended().await);
        }
        match outcome.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.ended().await),
        }
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        Events::new(self.events.upgrade().map(|events| events.subscribe()))
    }

    /// Where things stand now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until the device is logged in. The error is that of an attempt that failed, or of a client that ended;
    /// further attempts go on meanwhile.
    pub async fn wait_online(&self) -> Result<(), ClientError> {
        self.wait_until(State::online).await
    }

    /// Waits until everything that waited in the mailbox is in the store. Errors as of [`Self::wait_online`].
    pub async fn wait_drained(&self) -> Result<(), ClientError> {
        self.wait_until(|state| state.online() && state.drained).await
    }

    /// Waits until others can write to this device: it is logged in and its keys are on the server. Errors as of
    /// [`Self::wait_online`].
    pub async fn wait_published(&self) -> Result<(), ClientError> {
        self.wait_until(|state| state.online() && !state.publishing).await
    }

    async fn wait_until(&self, reached: impl Fn(&State) -> bool) -> Result<(), ClientError> {
        let mut state = self.state.clone();
        let there = state.wait_for(|state| reached(state) || state.failure().is_some()).await;
        let Ok(there) = there else { return Err(gone()) };
        if reached(&there) { Ok(()) } else { Err(there.failure().cloned().unwrap_or_else(gone)) }
    }

    /// Waits until the client has ended by itself, and says why: the store failed, or the profile's owner ended.
    pub async fn ended(&self) -> ClientError {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| state.ended.is_some()).await;
        ended.ok().and_then(|state| state.ended.clone()).unwrap_or_else(gone)
    }

    /// Ends it: what is under way is finished, the server told, the profile free when this returns.
    pub async fn close(mut self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut self.tasks);
        let all = async {
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, "a task of the client ended early");
                }
            }
        };
        if tokio::time::timeout(CLOSE, all).await.is_err() {
            tracing::error!("the client did not end in time");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn gone() -> ClientError {
    ClientError::new(ErrorKind::Bug, "the client ended early")
}

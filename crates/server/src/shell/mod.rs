//! The tasks around the core: listener, connections, workers, store, admin socket, console, signals.

mod addresses;
pub(crate) mod admin;
pub(crate) mod backup;
mod budget;
pub(crate) mod calls;
mod console;
pub(crate) mod desk;
mod driver;
pub(crate) mod folder;
pub(crate) mod identity;
pub(crate) mod listener;
pub(crate) mod lobby;
mod peer;
mod pieces;
mod priority;
mod signals;
pub(crate) mod temporary;
mod turns;
mod workers;

use std::{
    io::IsTerminal as _,
    mem::ManuallyDrop,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use sotto_proto::{Address, limits::UNFINISHED_FRAMES_BUDGET};
use sotto_store::{SledStore, Store, StoreError};
use thiserror::Error;
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Handle,
    sync::{Semaphore, mpsc},
    task::{JoinError, JoinHandle},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

pub(crate) use console::show;
pub(crate) use driver::Message;

use crate::{
    config::Config,
    core::Core,
    tap::{Tap, Untapped},
};
use addresses::Addresses;
use budget::Budget;
use desk::Desk;
use driver::{Driver, Ended};
use folder::{Folder, FolderError, SocketPlace};
use identity::{Identity, IdentityError};
use listener::{Door, Listen};
use peer::Common;
use pieces::LONG_AT_ONCE;
use signals::{Signals, Told};

/// Inputs of connections that wait for the core. Few: beyond them each connection has one place in the line, so who sends
/// many requests at once waits behind itself and not everybody else behind it.
const MESSAGES: usize = 32;
/// How many of those who have not signed in may wait for a place there, or come late to one that they were given.
const STRANGERS: usize = MESSAGES / 4;
/// Memory of requests without an answer, of all connections together; beyond it their sockets wait.
const REQUESTS_BUDGET: usize = 256 * 1024 * 1024;
/// How long connections may take to end when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// When the operator hears what a server that is to stop waits for: the core and the connections have had their time.
const SLOW_STOP: Duration = Duration::from_secs(20);

/// Why the server did not start, or ended.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error("port in use: {0}")]
    PortInUse(Listen),
    #[error("cannot listen on {0}: {1}")]
    Listen(Listen, std::io::Error),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Backup(#[from] backup::BackupError),
    #[error("the store cannot be opened: {0}")]
    Store(StoreError),
    #[error(
        "THE STORE FAILED, the server ends: {0}. Nothing unconfirmed was promised to anybody; look at the disk, then start again."
    )]
    StoreFailed(String),
    #[error("stopped at once by a second signal")]
    StoppedAtOnce,
    #[error("{0}")]
    Machine(String),
}

/// What is needed to reload the configuration.
pub(crate) type Reload = Box<dyn Fn() -> Result<Config, crate::config::ConfigError> + Send>;

/// Runs a server until it is told to stop; those who have not signed in are served on the runtime `lobby`.
pub(crate) async fn run(
    config: Config,
    reload: Reload,
    tap: Box<dyn Tap>,
    lobby: &Handle,
) -> Result<(), RunError> {
    let machine = |error: std::io::Error| RunError::Machine(error.to_string());
    raise_file_limit();
    let listener = {
        let _of_its_reactor = lobby.enter();
        listener::bind(config.listen)
    };
    let listener = listener.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => RunError::PortInUse(config.listen),
        _ => RunError::Listen(config.listen, error),
    })?;
    let listening = listener.local_addr().map_err(machine)?;
    let folder = Folder::take(&config.data_dir)?;
    backup::finished(folder.path())?;
    let identity = Identity::load_or_make(folder.path())?;
    let address = public_address(&config, listening, &identity);
    let store = opened(&folder, &config).await?;
    let mut signals = Signals::catch().map_err(machine)?;
    let kept = Arc::clone(&store);
    let (running, mut driver) =
        Running::start(&config, folder, &identity, (listener, lobby), store, &address, tap)?;
    // Who drops a store waits for the disk. After a failure, or when somebody is tired of waiting, nobody does: nothing that
    // was promised depends on it.
    let _kept = ManuallyDrop::new(kept);
    announce(listening, &address);
    tokio::select! {
        // Only a failure ends it by itself.
        ended = &mut driver => return running.finish(ended).await,
        () = running.until_told(&mut signals, &reload) => {}
    }
    info!("stopping");
    let mut stopping = pin!(running.stop(driver));
    tokio::select! {
        result = &mut stopping => return result,
        () = signals.stop() => return Err(RunError::StoppedAtOnce),
        () = sleep(SLOW_STOP) => warn!(
            "the disk is slow; the server ends when it has written what was taken, or at once with a second signal"
        ),
    }
    tokio::select! {
        result = stopping => result,
        () = signals.stop() => Err(RunError::StoppedAtOnce),
    }
}

/// The part of a server that changes accounts, without the rest: so an order does the same with a daemon and without one.
pub(crate) struct Orders {
    pub(crate) sender: mpsc::Sender<Message>,
    stop: CancellationToken,
    driver: JoinHandle<Ended>,
}

impl Orders {
    /// Runs it on an open store, for a command of the operator's.
    pub(crate) fn start(
        config: &Config,
        identity: &Identity,
        store: Arc<SledStore>,
    ) -> Result<Self, RunError> {
        // Nobody connects, so nobody's password is compared with this.
        let core = Core::new(config.core(), &identity.chain, String::new())
            .map_err(|error| RunError::Machine(error.to_string()))?;
        let (sender, messages) = mpsc::channel(MESSAGES);
        let stop = CancellationToken::new();
        let (failing, failures) = mpsc::unbounded_channel();
        store.on_failure(move |failure| drop(failing.send(failure)));
        let line = (messages, stop.clone());
        let driver = Driver::new(core, Box::new(Untapped), store, failures, config.hashing_memory, line);
        Ok(Self { sender, stop, driver: tokio::spawn(driver.run()) })
    }

    /// Ends it, when what was ordered is done.
    pub(crate) async fn finish(self) -> Result<(), RunError> {
        self.stop.cancel();
        ended(self.driver.await)
    }
}

fn ended(driver: Result<Ended, JoinError>) -> Result<(), RunError> {
    match driver {
        Ok(Ended::Stopped) => Ok(()),
        Ok(Ended::Failed(what)) => Err(RunError::StoreFailed(what)),
        Err(error) => Err(RunError::Machine(format!("the core's task ended: {error}"))),
    }
}

/// The tasks of a server.
struct Running {
    /// Held until the end.
    _folder: Folder,
    place: SocketPlace,
    store: Arc<SledStore>,
    desk: Arc<Desk>,
    sender: mpsc::Sender<Message>,
    addresses: Arc<Addresses>,
    /// Ends the core.
    stop: CancellationToken,
    /// Ends the accepting.
    accepting: CancellationToken,
    /// Ends the reading of connections.
    reading: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    fn start(
        config: &Config,
        folder: Folder,
        identity: &Identity,
        (listener, lobby): (TcpListener, &Handle),
        store: Arc<SledStore>,
        address: &Address,
        tap: Box<dyn Tap>,
    ) -> Result<(Self, JoinHandle<Ended>), RunError> {
        let machine = |error: &dyn std::fmt::Display| RunError::Machine(error.to_string());
        let nobody = workers::nobody().map_err(|error| machine(&error))?;
        let core = Core::new(config.core(), &identity.chain, nobody).map_err(|error| machine(&error))?;
        let tls = identity.tls()?;
        let place = SocketPlace::in_folder(folder.path()).map_err(|error| machine(&error))?;
        let admin_socket =
            admin_socket(&place).map_err(|error| machine(&format!("the admin socket: {error}")))?;
        let (sender, messages) = mpsc::channel(MESSAGES);
        let desk = Arc::new(Desk {
            store: Arc::clone(&store),
            data_dir: folder.path().to_owned(),
            driver: Some(sender.clone()),
            running: true,
            address: address.to_string(),
            started: Instant::now(),
        });
        let (accepting, reading) = (CancellationToken::new(), CancellationToken::new());
        let common = Arc::new(Common {
            driver: sender.clone(),
            unfinished: Budget::new(UNFINISHED_FRAMES_BUDGET),
            requests: Budget::new(REQUESTS_BUDGET),
            stop: reading.clone(),
            strangers: Semaphore::new(STRANGERS),
            long: Semaphore::new(LONG_AT_ONCE),
            inside: Handle::current(),
        });
        let tasks = TaskTracker::new();
        let (failing, failures) = mpsc::unbounded_channel();
        store.on_failure(move |failure| {
            // A driver that has ended needs not be told.
            drop(failing.send(failure));
        });
        let calls = Arc::clone(&store) as Arc<dyn Store>;
        let stop = CancellationToken::new();
        let line = (messages, stop.clone());
        let driver = Driver::new(core, tap, calls, failures, config.hashing_memory, line);
        let driver = tokio::spawn(driver.run());
        let addresses = Addresses::new(config.clients_per_address);
        let door = Door::new(tls, Arc::clone(&addresses));
        let accepting_them = listener::accept(listener, door, common, accepting.clone(), tasks.clone());
        tasks.spawn_on(accepting_them, lobby);
        tasks.spawn(admin::serve(admin_socket, Arc::clone(&desk), accepting.clone(), tasks.clone()));
        let running =
            Self { _folder: folder, place, store, desk, sender, addresses, stop, accepting, reading, tasks };
        Ok((running, driver))
    }

    /// Returns when the operator wants the server to stop.
    async fn until_told(&self, signals: &mut Signals, reload: &Reload) {
        let mut console = if std::io::stdin().is_terminal() { Some(console::lines()) } else { None };
        loop {
            let line = async {
                match &mut console {
                    Some(lines) => lines.recv().await,
                    None => std::future::pending().await,
                }
            };
            let told = tokio::select! {
                told = signals.next() => told,
                // When the terminal's input has ended, the server goes on.
                Some(line) = line => Told::Line(line),
            };
            // What it is told may take long; a signal is heard meanwhile.
            let goes_on = tokio::select! {
                goes_on = self.told(told, reload) => goes_on,
                () = signals.stop() => false,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Does as the operator says; `false` if the server is to stop.
    async fn told(&self, told: Told, reload: &Reload) -> bool {
        match told {
            Told::Stop => false,
            Told::Reload => {
                self.reload(reload).await;
                true
            }
            Told::Line(line) => console::line(&line, &self.desk).await,
        }
    }

    async fn reload(&self, reload: &Reload) {
        match reload() {
            Ok(config) => {
                // A driver that has ended is noticed by whoever waits for it.
                drop(self.sender.send(Message::Reload(config.core())).await);
                self.addresses.set_most(config.clients_per_address);
                info!(
                    "configuration read again: rates, registration, directory and the numbers of clients hold from now on, the rest at the next start"
                );
            }
            Err(error) => error!("configuration not changed: {error}"),
        }
    }

    async fn stop(self, driver: JoinHandle<Ended>) -> Result<(), RunError> {
        self.accepting.cancel();
        self.reading.cancel();
        self.stop.cancel();
        self.finish(driver.await).await
    }

    async fn finish(self, driver: Result<Ended, JoinError>) -> Result<(), RunError> {
        self.accepting.cancel();
        self.reading.cancel();
        if let Err(error) = self.place.clear() {
            warn!("the admin socket stays behind: {error}");
        }
        ended(driver)?;
        self.tasks.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.tasks.wait()).await.is_err() {
            warn!("{} connections did not end in time", self.tasks.len());
        }
        self.store.close().await.map_err(|error| RunError::StoreFailed(error.to_string()))?;
        info!("stopped");
        Ok(())
    }
}

/// Opens the store, which after a crash may take seconds.
async fn opened(folder: &Folder, config: &Config) -> Result<Arc<SledStore>, RunError> {
    let (path, config) = (folder.store(), config.clone());
    let opened = tokio::task::spawn_blocking(move || crate::storage::open(&path, &config)).await;
    let store = opened.map_err(|error| RunError::Machine(error.to_string()))?.map_err(RunError::Store)?;
    Ok(Arc::new(store))
}

fn admin_socket(place: &SocketPlace) -> std::io::Result<UnixListener> {
    place.clear()?;
    let listener = UnixListener::bind(place.path())?;
    // The folder itself lets nobody else in; this is for folders that were made by hand.
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// As many connections as the machine lets us have: the usual soft limit of 1,024 is below `max_clients`.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// The address that clients are to use.
pub(crate) fn public_address(config: &Config, listening: SocketAddr, identity: &Identity) -> Address {
    let host = config.public_host.clone().unwrap_or_else(|| {
        let ip = listening.ip().to_canonical();
        if ip.is_unspecified() { outward_ip().to_string() } else { ip.to_string() }
    });
    Address { host, port: listening.port(), fingerprint: Some(identity.fingerprint()) }
}

/// The address other machines of the network see, by the route to an address that stands for "elsewhere" (RFC 5737);
/// no packet is sent.
fn outward_ip() -> IpAddr {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| {
            socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr())
        })
        .map(|address| address.ip())
        .ok()
        .filter(|ip| !ip.is_unspecified())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn announce(listening: SocketAddr, address: &Address) {
    let qr = crate::qr::code(&address.to_qr_text()).unwrap_or_default();
    crate::print(&format!(
        "sottod {}\nlistening on {listening}\naddress {address}\n{qr}\nready\n",
        env!("CARGO_PKG_VERSION")
    ));
    // Without systemd there is nobody to tell.
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
}

/// Where a server of this configuration would listen, for commands that run without it.
pub(crate) fn listening_of(listen: Listen) -> SocketAddr {
    match listen {
        Listen::Everywhere(port) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
        Listen::At(address) => address,
    }
}

/// The data folder where none is given.
pub(crate) fn default_data_dir() -> Result<PathBuf, String> {
    use etcetera::BaseStrategy as _;
    let base = etcetera::choose_base_strategy().map_err(|error| error.to_string())?;
    Ok(base.data_dir().join("sottod"))
}

/// The configuration file that is read if it is there.
pub(crate) fn default_config_file() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.config_dir().join("sottod/config.toml")).filter(|path| path.exists())
}

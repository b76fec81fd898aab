//! The real server: started on a free port of the loopback, killed, started again on the same port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::programs::{example, program};
use crate::running::{Finished, Running};

/// From the start of the process to its address on stdout. Opening a large store after a crash takes seconds.
const START: Duration = Duration::from_secs(60);

/// Where free ports are looked for.
const FIRST_PORT: u32 = 15_000;
/// How many there are.
const PORTS: u32 = 15_000;

/// How to start it.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    data_dir: PathBuf,
    port: u16,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Where the orders of the server that lies stand.
    orders: Option<PathBuf>,
}

impl ServerOptions {
    /// A server with its data in this folder, on a port that is free now.
    pub fn new(data_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            data_dir: data_dir.to_owned(),
            port: free_port()?,
            arguments: Vec::new(),
            environment: Vec::new(),
            orders: None,
        })
    }

    /// Another port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The port.
    pub fn chosen_port(&self) -> u16 {
        self.port
    }

    /// Adds arguments of `sottod run`.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Sets an environment variable, as `SOTTOD_A__B` for a setting.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A server that lies by the orders in this file, which need not be there: `examples/sottod-hostile` says what they
    /// can be.
    #[must_use]
    pub fn hostile(mut self, orders: &Path) -> Self {
        self.orders = Some(orders.to_owned());
        self
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = match &self.orders {
            None => Command::new(program("sottod")?),
            Some(orders) => {
                let mut command = Command::new(example("sottod-hostile")?);
                command.env("SOTTO_HOSTILE_ORDERS", orders);
                command
            }
        };
        command
            .args(["run", "--listen", &format!("127.0.0.1:{}", self.port), "--data-dir"])
            .arg(&self.data_dir)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Starts the process without waiting for it to be ready, for tests of a start that fails.
    pub fn spawn(&self) -> anyhow::Result<Running> {
        Running::start(self.command()?, b"")
    }
}

/// A port that nobody listens on. Below the range from which the kernel takes the ports of outgoing connections: while a
/// killed server is away, a client's own connection could get its port otherwise.
fn free_port() -> anyhow::Result<u16> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // Test programs that run at the same time begin far from each other.
    let start = std::process::id().wrapping_mul(257);
    for _ in 0..PORTS {
        let offset = start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = u16::try_from(FIRST_PORT + offset)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST_PORT} on")
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    process: Running,
    address: String,
    /// What earlier processes of this server logged.
    earlier_log: String,
}

impl Server {
    /// Starts a server with its data in this folder.
    pub fn start(data_dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(ServerOptions::new(data_dir)?)
    }

    /// Starts a server with these options and waits for its address.
    pub fn start_with(options: ServerOptions) -> anyhow::Result<Self> {
        let process = options.spawn()?;
        let address = address(&process)?;
        Ok(Self { options, process, address, earlier_log: String::new() })
    }

    /// `sotto://HOST:PORT/FINGERPRINT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `127.0.0.1:PORT`
    pub fn socket(&self) -> String {
        format!("127.0.0.1:{}", self.options.port)
    }

    /// The process id, for `/proc`.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.options.data_dir
    }

    /// Everything it logged, also before it was killed.
    pub fn log(&self) -> String {
        format!("{}{}", self.earlier_log, self.process.stderr())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Waits for the end it comes to by itself; if that takes longer than `timeout`, kills it and fails.
    pub fn end(&mut self, timeout: Duration) -> anyhow::Result<Finished> {
        self.process.end(timeout)
    }

    /// Starts it again on the same port with the same data.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        let before = self.address.clone();
        self.start_with_another_key()?;
        if self.address != before {
            bail!("the server was {before} and is {} now", self.address);
        }
        Ok(())
    }

    /// The same where its key was changed, and with it its address.
    pub fn start_with_another_key(&mut self) -> anyhow::Result<()> {
        self.earlier_log.push_str(&self.process.stderr());
        self.process = self.options.spawn()?;
        self.address = address(&self.process)?;
        Ok(())
    }

    /// SIGTERM.
    pub fn tell_to_stop(&self) -> anyhow::Result<()> {
        self.process.signal(rustix::process::Signal::TERM)
    }

    /// The same, and the end it leads to.
    pub fn stop(self, timeout: Duration) -> anyhow::Result<Finished> {
        self.tell_to_stop()?;
        self.process.wait(timeout)
    }
}

/// Reads the address from what the server prints when it is ready.
fn address(process: &Running) -> anyhow::Result<String> {
    let deadline = Instant::now() + START;
    while let Some(line) = process.line(deadline.saturating_duration_since(Instant::now()))? {
        if let Some(address) = line.split_whitespace().find(|word| word.starts_with("sotto://")) {
            return Ok(address.to_owned());
        }
    }
    bail!("sottod ended before it printed its address; stderr: {}", process.stderr())
}

/// Runs an admin command of `sottod` on this data folder.
pub fn admin(data_dir: &Path, arguments: &[&str], timeout: Duration) -> anyhow::Result<Finished> {
    let mut command = Command::new(program("sottod")?);
    command.args(arguments).arg("--data-dir").arg(data_dir);
    Running::start(command, b"")?.wait(timeout).context("sottod's admin command")
}

//! The server that is measured: a throw-away one, or one that runs already.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use sotto_proto::Address;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::{args::Args, process::Process};

/// The hidden first argument that makes this program the server.
pub(crate) const CHILD: &str = "throw-away-server";
/// Connections it takes: more than any measurement opens.
const MAX_CLIENTS: &str = "20000";
/// Bytes of its log that are shown when it does not start.
const LOG_TAIL: usize = 2_000;

/// A server to measure.
pub(crate) struct Server {
    address: Address,
    own: Option<Own>,
}

/// A process of ours, with data that goes with it.
struct Own {
    child: Child,
    program: PathBuf,
    hidden: bool,
    folder: TempDir,
}

/// A folder for throw-away data on the disk to be measured.
pub(crate) fn throw_away_folder(args: &Args) -> anyhow::Result<TempDir> {
    let root = args.data_dir()?;
    tempfile::Builder::new()
        .prefix(".sotto-load-")
        .tempdir_in(&root)
        .with_context(|| format!("a throw-away folder in {}", root.display()))
}

impl Server {
    /// The one that the arguments name, or a new one with an empty store.
    pub(crate) async fn start(args: &Args) -> anyhow::Result<Self> {
        if let Some(address) = &args.server {
            return Ok(Self { address: address.clone(), own: None });
        }
        let folder = throw_away_folder(args)?;
        let hidden = args.sottod.is_none();
        let program = match &args.sottod {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        let (child, address) = spawn(&program, hidden, folder.path()).await?;
        Ok(Self { address, own: Some(Own { child, program, hidden, folder }) })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Its process, if it is ours.
    pub(crate) fn process(&self) -> Option<Process> {
        self.own.as_ref().and_then(|own| own.child.id()).map(Process)
    }

    /// Ends the process and starts another one with the same data: memory that the old one needed once is gone.
    pub(crate) async fn start_again(self) -> anyhow::Result<Self> {
        let Some(mut own) = self.own else { bail!("a server that is not ours cannot be started again") };
        terminate(&mut own.child).await?;
        let (child, address) = spawn(&own.program, own.hidden, own.folder.path()).await?;
        Ok(Self { address, own: Some(Own { child, ..own }) })
    }

    /// Ends it, and removes its data.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        if let Some(mut own) = self.own {
            terminate(&mut own.child).await?;
            own.folder.close().context("removing the throw-away data")?;
        }
        Ok(())
    }
}

async fn terminate(child: &mut Child) -> anyhow::Result<()> {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(
        id.context("the server has ended by itself")?,
        rustix::process::Signal::TERM,
    )?;
    let status = child.wait().await?;
    ensure!(status.success(), "the server ended with {status}");
    Ok(())
}

async fn spawn(program: &Path, hidden: bool, folder: &Path) -> anyhow::Result<(Child, Address)> {
    let log = folder.join("sottod.log");
    let mut command = Command::new(program);
    // No settings of whoever measures.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SOTTOD_") {
            command.env_remove(name);
        }
    }
    command.args(hidden.then_some(CHILD));
    command.args(["run", "--listen", "127.0.0.1:0", "--max-clients", MAX_CLIENTS, "--data-dir"]);
    let mut child = command
        .arg(folder.join("data"))
        .env("XDG_CONFIG_HOME", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log)?)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let mut lines = BufReader::new(child.stdout.take().context("the server has no stdout")?).lines();
    let mut address = None;
    loop {
        let Some(line) = lines.next_line().await? else {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let tail: String =
                log.chars().rev().take(LOG_TAIL).collect::<Vec<_>>().into_iter().rev().collect();
            bail!("the server did not start: {tail}");
        };
        if let Some(text) = line.strip_prefix("address ") {
            address = Some(text.trim().parse::<Address>()?);
        }
        if line == "ready" {
            break;
        }
    }
    // What it prints must always find a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, address.context("the server did not say its address")?))
}

//! A server on the machine's own disk, and people who come and go.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use sotto_tests::running::Running;
use sotto_tests::sotto::{COMMAND, Client};
use sotto_tests::sottod::{Server, ServerOptions};
use tempfile::TempDir;

/// The place of one test.
pub(crate) struct Town {
    pub(crate) server: Server,
    dir: TempDir,
}

impl Town {
    /// A server with nobody on it.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with(|options| options)
    }

    /// A server with other options.
    pub(crate) fn with(options: impl FnOnce(ServerOptions) -> ServerOptions) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let server = Server::start_with(options(ServerOptions::new(&dir.path().join("server"))?))?;
        Ok(Self { server, dir })
    }

    /// A server with its data in another place.
    pub(crate) fn on(data_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self { server: Server::start(data_dir)?, dir: tempfile::tempdir()? })
    }

    /// A server that lies by orders.
    pub(crate) fn hostile() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let options = ServerOptions::new(&dir.path().join("server"))?.hostile(&dir.path().join("orders"));
        Ok(Self { server: Server::start_with(options)?, dir })
    }

    /// Gives the server that lies its orders, in place of those it had.
    pub(crate) fn order(&self, orders: &[String]) -> anyhow::Result<()> {
        // Whole or not at all.
        let new = self.path("new orders");
        fs::write(&new, orders.join("\n"))?;
        Ok(fs::rename(new, self.path("orders"))?)
    }

    /// The folder of all of this test.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A folder of this test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Somebody who has not registered.
    pub(crate) fn stranger(&self, name: &str) -> anyhow::Result<Client> {
        self.machine_of(name, name)
    }

    /// A further machine of somebody.
    pub(crate) fn machine_of(&self, name: &str, machine: &str) -> anyhow::Result<Client> {
        Client::new(name, &self.path(machine), self.dir.path())
    }

    /// Signs in a further machine of somebody with their recovery phrase.
    pub(crate) fn sign_in(&self, name: &str, machine: &str, phrase: &str) -> anyhow::Result<Client> {
        let machine = self.machine_of(name, machine)?;
        let phrase_file = self.path("phrase");
        fs::write(&phrase_file, phrase)?;
        let mut login = machine.command(&["login", self.server.address(), name])?;
        login.env("SOTTO_RECOVERY_FILE", &phrase_file);
        let finished = Running::start(login, b"")?.wait(COMMAND)?;
        ensure!(finished.code == Some(0), "{finished:?}");
        Ok(machine)
    }

    /// Somebody who has registered.
    pub(crate) fn person(&self, name: &str) -> anyhow::Result<Client> {
        let person = self.stranger(name)?;
        person.register(self.server.address())?;
        Ok(person)
    }
}

/// The texts of messages, for comparing.
pub(crate) fn texts(messages: &[sotto_tests::sotto::Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

/// Numbered lines, as the input of `send --lines`.
pub(crate) fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).flat_map(|number| [line(number), "\n".to_owned()]).collect()
}

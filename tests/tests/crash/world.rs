//! A server and two people, each with a folder of their own.

use std::path::Path;

use anyhow::Context;
use sotto_tests::running::Running;
use sotto_tests::sotto::Client;
use sotto_tests::sottod::Server;
use tempfile::TempDir;

/// Without end in practice: the waits of the tests themselves are shorter.
pub(crate) const PATIENT: &str = "100s";

/// Alice writes, Bob is offline until a test lets him in.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) alice: Client,
    pub(crate) bob: Client,
    /// Passwords, and the data where a test has no other place for it.
    _dir: TempDir,
}

impl World {
    /// All data in one temporary folder of the machine's own disk.
    pub(crate) fn on_disk() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().to_owned();
        Self::in_folders(dir, &path.join("server"), &path.join("alice"), &path.join("bob"))
    }

    /// Data in these folders; registers both.
    pub(crate) fn in_folders(dir: TempDir, server: &Path, alice: &Path, bob: &Path) -> anyhow::Result<Self> {
        let alice = Client::new("alice", alice, dir.path())?;
        let bob = Client::new("bob", bob, dir.path())?;
        let server = Server::start(server)?;
        bob.register(server.address())?;
        alice.register(server.address())?;
        Ok(Self { server, alice, bob, _dir: dir })
    }

    /// Alice starts to send these lines to Bob.
    pub(crate) fn start_sending(&self, lines: &[String], timeout: &str) -> anyhow::Result<Running> {
        let input: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        self.alice.start(&["send", "@bob", "--lines", "--wait", "stored", "--timeout", timeout], &input)
    }

    /// Lets Alice connect until her outbox is empty, without a word about what is in it.
    pub(crate) fn drain_outbox(&self) -> anyhow::Result<()> {
        // Each command connects and stays until its own work is done, so a few are enough for any outbox.
        for _ in 0..20 {
            if self.alice.outbox()?.is_empty() {
                return Ok(());
            }
            self.alice.ok(&["recv", "--timeout", PATIENT])?;
        }
        anyhow::bail!("{} messages stay in the outbox", self.alice.outbox()?.len())
    }

    /// What Bob's history says of Alice.
    pub(crate) fn bobs_history(&self) -> anyhow::Result<Vec<sotto_tests::sotto::Message>> {
        self.bob.history("@alice").context("bob's history")
    }
}

/// The messages of one batch.
pub(crate) fn lines(batch: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{batch} message {number} of {count}")).collect()
}

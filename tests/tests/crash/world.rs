//! A server and two people, each with a folder of their own.

use anyhow::Context;
use sotto_tests::running::Running;
use sotto_tests::sotto::Client;
use sotto_tests::sottod::Server;
use tempfile::TempDir;

/// Without end in practice: the waits of the tests themselves are shorter.
pub(crate) const PATIENT: &str = "100s";

/// Alice writes, Bob is offline until a test lets him in.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) alice: Client,
    pub(crate) bob: Client,
    /// Passwords and data, where a test has no other place for them.
    _dir: Option<TempDir>,
}

impl World {
    /// All data in one temporary folder of the machine's own disk.
    pub(crate) fn on_disk() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let client = |name: &str| Client::new(name, &dir.path().join(name), dir.path());
        let (alice, bob) = (client("alice")?, client("bob")?);
        let server = Server::start(&dir.path().join("server"))?;
        bob.register(server.address())?;
        alice.register(server.address())?;
        Ok(Self { server, alice, bob, _dir: Some(dir) })
    }

    /// A server that runs, and two who are registered on it.
    pub(crate) fn of(server: Server, alice: Client, bob: Client) -> Self {
        Self { server, alice, bob, _dir: None }
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

    /// What Alice's history says of Bob.
    pub(crate) fn alices_history(&self) -> anyhow::Result<Vec<sotto_tests::sotto::Message>> {
        self.alice.history("@bob").context("alice's history")
    }
}

/// The messages of one batch. One in ten is long, so that the server keeps it in a file of its own.
pub(crate) fn lines(batch: &str, count: usize) -> Vec<String> {
    let long = "long ".repeat(2000);
    let tail = |number: usize| if number % 10 == 9 { long.as_str() } else { "" };
    (0..count).map(|number| format!("{batch} message {number} of {count} {}", tail(number))).collect()
}

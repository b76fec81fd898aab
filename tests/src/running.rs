//! A program under control: its output line by line, an end to every wait, and no process left behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Between two looks at a child that closed its output and is about to end.
const END_POLL: Duration = Duration::from_millis(2);

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Lines of stdout that were not taken by [`Running::line`].
    pub stdout: Vec<String>,
    /// All of stderr.
    pub stderr: String,
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    lines: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    stderr_end: Receiver<()>,
}

impl Running {
    /// Starts a program and gives it `input` as its stdin.
    pub fn start(mut command: Command, input: &[u8]) -> anyhow::Result<Self> {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        if let (Some(mut stdin), input) = (child.stdin.take(), input.to_vec()) {
            // In a thread, for the program need not read it all; then writing fails, which is its business.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let (line_sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || send_lines(stdout, &line_sender));
        }
        let stderr = Arc::new(Mutex::new(String::new()));
        let (end_sender, stderr_end) = channel();
        if let Some(output) = child.stderr.take() {
            let stderr = Arc::clone(&stderr);
            thread::spawn(move || collect(output, &stderr, end_sender));
        }
        Ok(Self { name, child, lines, stderr, stderr_end })
    }

    /// The process id, for `/proc`.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of stdout; none at its end; an error if it takes longer than `timeout`.
    pub fn line(&self, timeout: Duration) -> anyhow::Result<Option<String>> {
        match self.lines.recv_timeout(timeout) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} printed nothing for {timeout:?}; stderr: {}", self.name, self.stderr())
            }
        }
    }

    /// What it has written to stderr until now.
    pub fn stderr(&self) -> String {
        text(&self.stderr).clone()
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits for its end; if that takes longer than `timeout`, kills it and fails.
    pub fn wait(mut self, timeout: Duration) -> anyhow::Result<Finished> {
        self.end(timeout)
    }

    /// The same where somebody else owns it.
    pub fn end(&mut self, timeout: Duration) -> anyhow::Result<Finished> {
        let deadline = Instant::now() + timeout;
        let mut stdout = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => stdout.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return self.too_late(timeout, &stdout),
            }
        }
        let Some(status) = self.ended(deadline)? else { return self.too_late(timeout, &stdout) };
        // Its end closed stderr too; the thread that reads it may still have a few lines to go.
        let _ = self.stderr_end.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        Ok(Finished { code: status.code(), stdout, stderr: self.stderr() })
    }

    fn ended(&mut self, deadline: Instant) -> anyhow::Result<Option<ExitStatus>> {
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            thread::sleep(END_POLL);
        }
    }

    fn too_late(&mut self, timeout: Duration, stdout: &[String]) -> anyhow::Result<Finished> {
        self.kill()?;
        bail!(
            "{} hangs: not ended after {timeout:?}\nstdout: {}\nstderr: {}",
            self.name,
            stdout.join("\n"),
            self.stderr()
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is fine, and more cannot be done here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send_lines(output: impl Read, sender: &Sender<String>) {
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else { return };
        if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
    }
}

/// Takes the sender along: its end says that the output ended.
fn collect(output: impl Read, into: &Mutex<String>, end: Sender<()>) {
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else { break };
        let mut into = text(into);
        into.push_str(&String::from_utf8_lossy(&line));
        into.push('\n');
    }
    drop(end);
}

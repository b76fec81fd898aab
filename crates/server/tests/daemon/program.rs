//! Starting and ending the program.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use sotto_proto::Address;

/// How long the log may take to say what a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);
const SOTTOD: &str = env!("CARGO_BIN_EXE_sottod");

fn command() -> Command {
    let mut command = Command::new(SOTTOD);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SOTTOD_") {
            command.env_remove(name);
        }
    }
    // No configuration of whoever runs the tests.
    command.env("XDG_CONFIG_HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// What a command did.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn sottod(args: &[&str]) -> Finished {
    let output = command().args(args).output().unwrap();
    Finished {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running server; dropped, it is killed.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: Address,
    log: Receiver<String>,
    logged: String,
    _stdout: BufReader<ChildStdout>,
}

impl Daemon {
    pub(crate) fn start(data: &Path, args: &[&str]) -> Self {
        Self::start_at(data, "127.0.0.1:0", args)
    }

    pub(crate) fn start_at(data: &Path, listen: &str, args: &[&str]) -> Self {
        let mut child = command()
            .args(["run", "--listen", listen, "--data-dir"])
            .arg(data)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines() {
                // The test may have ended.
                drop(sender.send(line.unwrap_or_default()));
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut address = None;
        loop {
            let mut line = String::new();
            assert!(
                stdout.read_line(&mut line).unwrap() > 0,
                "not started: {:?}",
                log.iter().collect::<Vec<_>>()
            );
            if let Some(text) = line.trim_end().strip_prefix("address ") {
                address = Some(text.parse().unwrap());
            }
            if line.trim_end() == "ready" {
                break;
            }
        }
        Self { child, address: address.unwrap(), log, logged: String::new(), _stdout: stdout }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Waits until the log says so.
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        while !self.logged.contains(text) {
            let line = self.log.recv_timeout(PATIENCE);
            self.logged.push_str(&line.unwrap_or_else(|_| panic!("no {text:?} in {}", self.logged)));
            self.logged.push('\n');
        }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop; its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Asks it to stop; its whole log.
    pub(crate) fn stop_and_log(mut self) -> String {
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().unwrap();
        let rest: Vec<String> = self.log.iter().collect();
        let log = std::mem::take(&mut self.logged) + &rest.join("\n");
        assert!(status.success(), "{status}: {log}");
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

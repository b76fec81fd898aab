//! A folder, a server, and people with profiles in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse";
/// Whatever hangs is killed after this long, and its test fails by its exit code.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A folder of its own for each test; nothing of the user's is read.
pub(crate) struct Stage {
    pub(crate) dir: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The bare program.
    pub(crate) fn sotto(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("TZ", "UTC");
        command
    }

    /// Runs it without input.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        finish(self.sotto().args(args), "")
    }

    /// A person with a profile of her own.
    pub(crate) fn person(&self, name: &str) -> Person<'_> {
        Person { stage: self, name: name.to_owned() }
    }

    /// A person with an account.
    pub(crate) fn registered(&self, name: &str, server: &Server) -> Person<'_> {
        let person = self.person(name);
        let done = person.run(&["register", &server.address, name]);
        assert_eq!(done.code, 0, "{done:?}");
        person
    }

    pub(crate) fn server(&self) -> Server {
        Server::start(self, "127.0.0.1:0", &[])
    }
}

/// Somebody at a terminal.
#[derive(Clone)]
pub(crate) struct Person<'a> {
    stage: &'a Stage,
    pub(crate) name: String,
}

impl Person<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.stage.sotto();
        command.arg("--data-dir").arg(self.stage.path(&self.name)).arg("--no-input").args(args);
        command
    }

    /// With the password on stdin, in JSON.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.feed(args, "")
    }

    /// With the password in a file, in JSON.
    pub(crate) fn by_file(&self, args: &[&str]) -> Done {
        let file = self.stage.path("password");
        std::fs::write(&file, PASSWORD).unwrap();
        finish(self.command(args).arg("--json").env("SOTTO_PASSWORD_FILE", file), "")
    }

    /// As [`Self::run`], with input behind the password.
    pub(crate) fn feed(&self, args: &[&str], input: &str) -> Done {
        finish(self.command(args).args(["--json", "--password-stdin"]), &format!("{PASSWORD}\n{input}"))
    }

    /// With the password on stdin, for people.
    pub(crate) fn look(&self, args: &[&str]) -> Done {
        finish(self.command(args).arg("--password-stdin"), &format!("{PASSWORD}\n"))
    }

    /// With another password, in JSON.
    pub(crate) fn as_stranger(&self, args: &[&str]) -> Done {
        finish(self.command(args).args(["--json", "--password-stdin"]), "wrong\n")
    }

    /// Without a password, in JSON.
    pub(crate) fn bare(&self, args: &[&str], input: &str) -> Done {
        finish(self.command(args).arg("--json"), input)
    }

    /// With a recovery phrase in a file, in JSON.
    pub(crate) fn with_phrase(&self, args: &[&str], phrase: &str) -> Done {
        let file = self.stage.path("phrase");
        std::fs::write(&file, phrase).unwrap();
        finish(
            self.command(args).args(["--json", "--password-stdin"]).env("SOTTO_RECOVERY_FILE", file),
            &format!("{PASSWORD}\n"),
        )
    }

    /// A command that goes on, in JSON.
    pub(crate) fn start(&self, args: &[&str]) -> Going {
        self.piped(&[args, &["--json"]].concat()).0
    }

    /// A program that has the profile, is connected, and prints what comes.
    pub(crate) fn following(&self) -> Going {
        let mut follow = self.start(&["recv", "--follow"]);
        follow.noticed("connected");
        follow
    }

    /// As [`Self::start`], for people, whose input goes on too.
    pub(crate) fn piped(&self, args: &[&str]) -> (Going, ChildStdin) {
        let (going, mut stdin) = self.silent(args);
        stdin.write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
        (going, stdin)
    }

    /// The same, and its input does not even have the password.
    pub(crate) fn silent(&self, args: &[&str]) -> (Going, ChildStdin) {
        let mut child = spawn(self.command(args).arg("--password-stdin"));
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        (Going { child, stdout, stderr }, stdin)
    }

    /// Starts the command with a stdout that nobody reads.
    pub(crate) fn unread(&self, args: &[&str]) -> Done {
        let mut child = spawn(self.command(args).args(["--json", "--password-stdin"]));
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
        drop(stdin);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Done { code: child.wait().unwrap().code().unwrap_or(-1), out: String::new(), err }
    }
}

/// A command that runs.
pub(crate) struct Going {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Going {
    /// The next object on stdout.
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}; {}", self.rest()))
    }

    /// Waits for a notice on stderr.
    pub(crate) fn noticed(&mut self, text: &str) {
        let mut line = String::new();
        while self.stderr.read_line(&mut line).unwrap() > 0 {
            if line.contains(&format!("\"message\":\"{text}\"")) {
                return;
            }
            line.clear();
        }
        panic!("it ended without {text:?}");
    }

    fn rest(&mut self) -> String {
        let mut rest = String::new();
        let _ = self.stderr.read_to_string(&mut rest);
        rest
    }

    pub(crate) fn signal(&mut self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// The exit code; -1 after a signal that was not caught.
    pub(crate) fn code(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Reads what it still says, until it ends.
    pub(crate) fn done(mut self) -> Done {
        let _watched = watched(&self.child);
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.stderr.read_to_string(&mut err).unwrap();
        Done { code: self.code(), out, err }
    }

    /// Ctrl-C.
    pub(crate) fn end(mut self) {
        self.signal(rustix::process::Signal::INT);
        assert_eq!(self.code(), 130);
    }
}

/// A test that fails leaves nothing running.
impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// The objects of a type on stdout.
    pub(crate) fn all(&self, kind: &str) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line:?}")))
            .filter(|object| object["type"] == kind)
            .collect()
    }

    /// The only object of a type on stdout.
    pub(crate) fn one(&self, kind: &str) -> Value {
        let mut all = self.all(kind);
        assert_eq!(all.len(), 1, "{self:?}");
        all.remove(0)
    }

    /// The texts of the messages.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.all("message")
            .iter()
            .map(|message| message["body"]["text"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The error object, which is the last line of stderr, and its code, which is the exit code.
    pub(crate) fn error(&self) -> Value {
        let line = self.err.lines().last().unwrap_or_default();
        let error: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {self:?}"));
        assert_eq!(error["type"], "error", "{self:?}");
        assert_eq!(error["v"], 1);
        assert_eq!(error["code"], self.code, "{self:?}");
        assert!(error["kind"].is_string() && error["message"].is_string(), "{error}");
        error
    }
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Kills what hangs, unless what is returned is dropped before.
fn watched(child: &Child) -> mpsc::Sender<()> {
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let (ended, watch) = mpsc::channel();
    std::thread::spawn(move || {
        if watch.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    });
    ended
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command, input: &str) -> Done {
    let mut child = spawn(command);
    let watched = watched(&child);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that fails early does not read all of its input.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    drop(watched);
    feeder.join().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The server that the demo uses. It ends when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(stage: &Stage, listen: &str, more: &[&str]) -> Self {
        let mut command = stage.sotto();
        command
            .args(["demo-server", "run", "--listen", listen, "--data-dir"])
            .arg(stage.path("server"))
            .args(more);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut address = String::new();
        let mut line = String::new();
        while line != "ready\n" {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the server did not start");
            if let Some(given) = line.strip_prefix("address ") {
                given.trim().clone_into(&mut address);
            }
        }
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { child, address }
    }

    /// `HOST:PORT`.
    pub(crate) fn host_port(&self) -> &str {
        self.address.strip_prefix("sotto://").unwrap().split('/').next().unwrap()
    }

    /// SIGKILL, and where to start it again.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.host_port().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether any file of a folder holds the text.
pub(crate) fn found_in(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return found_in(&path, text);
        }
        // Not the sockets.
        path.is_file()
            && std::fs::read(path).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes())
    })
}

//! The processes of the demo. All of them are this executable, and all end when the demo does.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use sotto_client::api::ErrorKind;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// The password of both demo accounts. They live for seconds, in a folder that nobody else can read.
const PASSWORD: &str = "correct horse battery staple";

fn broken(what: &str) -> Failure {
    Failure::new(ErrorKind::Bug, format!("the demo: {what}"))
}

fn io(what: &str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::io(format!("the demo: {what}"), &error)
}

/// This executable.
#[derive(Debug)]
pub(super) struct Program<'a> {
    path: PathBuf,
    folder: &'a Path,
}

impl<'a> Program<'a> {
    pub(super) fn this(folder: &'a Path) -> Result<Self, Failure> {
        let path = std::env::current_exe().map_err(io("this program cannot be found"))?;
        Ok(Self { path, folder })
    }

    /// A process without the user's settings, which ends if it is dropped.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        for variable in ["SOTTO_PASSWORD_FILE", "SOTTO_PASSWORD_COMMAND", "SOTTO_RECOVERY_FILE"] {
            command.env_remove(variable);
        }
        command
            .env("XDG_CONFIG_HOME", self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts the server and waits until it is ready.
    pub(super) async fn server(&self, listen: &str) -> Result<Server, Failure> {
        let mut command = self.command();
        command
            .args(["demo-server", "run", "--listen", listen, "--data-dir"])
            .arg(self.folder.join("server"));
        let mut child = command.spawn().map_err(io("the server cannot be started"))?;
        let log = Arc::new(Mutex::new(Log::default()));
        let stderr = child.stderr.take().ok_or_else(|| broken("the server has no stderr"))?;
        tokio::spawn(keep(BufReader::new(stderr).lines(), Arc::clone(&log)));
        let stdout = child.stdout.take().ok_or_else(|| broken("the server has no stdout"))?;
        let mut lines = BufReader::new(stdout).lines();
        let mut address = None;
        loop {
            let Some(line) = lines.next_line().await.map_err(io("the server cannot be heard"))? else {
                let log = log.lock().unwrap_or_else(PoisonError::into_inner).all.join("\n");
                return Err(broken("the server did not start").cause(log));
            };
            if let Some(given) = line.strip_prefix("address ") {
                address = Some(given.to_owned());
            }
            if line == "ready" {
                break;
            }
        }
        // It must always find a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let address = address.ok_or_else(|| broken("the server did not say its address"))?;
        Ok(Server { child, address, log })
    }

    /// A person with a profile of her own.
    pub(super) fn client(&'a self, name: &'static str) -> Client<'a> {
        Client { program: self, name }
    }
}

/// Lines of the server's log.
#[derive(Debug, Default)]
struct Log {
    all: Vec<String>,
    shown: usize,
}

async fn keep(mut lines: Lines<BufReader<tokio::process::ChildStderr>>, log: Arc<Mutex<Log>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().unwrap_or_else(PoisonError::into_inner).all.push(line);
    }
}

/// A server process.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// `sotto://HOST:PORT/FINGERPRINT`.
    pub(super) address: String,
    log: Arc<Mutex<Log>>,
}

impl Server {
    /// `HOST:PORT`.
    pub(super) fn host_port(&self) -> String {
        let rest = self.address.strip_prefix("sotto://").unwrap_or(&self.address);
        rest.split('/').next().unwrap_or(rest).to_owned()
    }

    /// SIGKILL: no goodbye, no clean-up.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(io("the server cannot be killed"))
    }

    /// SIGTERM; the exit code.
    pub(super) async fn stop(mut self) -> Result<Option<i32>, Failure> {
        signal(&self.child, rustix::process::Signal::TERM)?;
        let status = self.child.wait().await.map_err(io("the server cannot be awaited"))?;
        Ok(status.code())
    }

    /// Lines that were not shown yet, without time and level, like ones together.
    pub(super) fn new_lines(&mut self) -> Vec<String> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new: Vec<(String, usize)> = Vec::new();
        for line in log.all.iter().skip(log.shown) {
            let line = brief(line);
            match new.last_mut() {
                Some((last, times)) if *last == line => *times += 1,
                _ => new.push((line, 1)),
            }
        }
        log.shown = log.all.len();
        let shown = |(line, times)| if times == 1 { line } else { format!("{line}, {times} times") };
        new.into_iter().map(shown).collect()
    }

    /// Whether any line held the text.
    pub(super) fn logged(&self, text: &str) -> bool {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).all.iter().any(|line| line.contains(text))
    }
}

/// `2026-11-21T08:00:00.000Z  INFO what` is `what` here; the host is always the same one.
fn brief(line: &str) -> String {
    let mut words = line.split_whitespace();
    let what = match (words.next(), words.next()) {
        (Some(time), Some(level)) if time.ends_with('Z') && level.chars().all(|c| c.is_ascii_uppercase()) => {
            words.collect::<Vec<_>>().join(" ")
        }
        _ => line.to_owned(),
    };
    what.replace("127.0.0.1:", ":")
}

fn signal(child: &Child, signal: rustix::process::Signal) -> Result<(), Failure> {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    let id = id.ok_or_else(|| broken("a program has ended too early"))?;
    rustix::process::kill_process(id, signal)
        .map_err(|error| io("a program cannot be told to end")(error.into()))
}

/// A person's way to run commands.
#[derive(Debug)]
pub(super) struct Client<'a> {
    program: &'a Program<'a>,
    /// Her name, and her folder's.
    pub(super) name: &'static str,
}

impl Client<'_> {
    /// Starts a command. With `input` the password is on stdin, and this text behind it; without, stdin stays open.
    pub(super) async fn start(&self, args: &[&str], input: Option<&str>) -> Result<Running, Failure> {
        let mut command = self.program.command();
        command.arg("--json").arg("--no-input").arg("--data-dir").arg(self.program.folder.join(self.name));
        if input.is_some() {
            command.arg("--password-stdin");
        }
        let mut child = command.args(args).spawn().map_err(io("a client cannot be started"))?;
        let mut stdin = child.stdin.take();
        if let (Some(text), Some(mut pipe)) = (input, stdin.take_if(|_| input.is_some())) {
            let text = format!("{PASSWORD}\n{text}");
            pipe.write_all(text.as_bytes()).await.map_err(io("a client does not read its input"))?;
        }
        let stdout = child.stdout.take().ok_or_else(|| broken("a client has no stdout"))?;
        let stderr = child.stderr.take().ok_or_else(|| broken("a client has no stderr"))?;
        let (remarks, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if remarks.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Running {
            child,
            stdin,
            lines: BufReader::new(stdout).lines(),
            remarks: heard,
            printed: Vec::new(),
            stdout: String::new(),
        })
    }

    /// Runs a command to its end.
    pub(super) async fn run(&self, args: &[&str], input: Option<&str>) -> Result<Run, Failure> {
        self.start(args, input).await?.finish().await
    }
}

/// A command that has not ended.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    remarks: mpsc::UnboundedReceiver<String>,
    printed: Vec<Value>,
    stdout: String,
}

impl Running {
    /// Writes lines to its input.
    pub(super) async fn feed(&mut self, lines: &[String]) -> Result<(), Failure> {
        let stdin = self.stdin.as_mut().ok_or_else(|| broken("the input is closed"))?;
        let mut text = lines.join("\n");
        text.push('\n');
        stdin.write_all(text.as_bytes()).await.map_err(io("a client does not read its input"))
    }

    /// The next object it prints.
    pub(super) async fn next(&mut self) -> Result<Value, Failure> {
        if let Some(value) = self.read().await? {
            return Ok(value);
        }
        let mut failure = broken("a client ended too early");
        while let Some(remark) = self.remarks.recv().await {
            failure = failure.cause(remark);
        }
        Err(failure)
    }

    async fn read(&mut self) -> Result<Option<Value>, Failure> {
        let Some(line) = self.lines.next_line().await.map_err(io("a client cannot be heard"))? else {
            return Ok(None);
        };
        let value: Value =
            serde_json::from_str(&line).map_err(|error| broken("a client printed no JSON").cause(error))?;
        self.stdout.push_str(&line);
        self.stdout.push('\n');
        self.printed.push(value.clone());
        Ok(Some(value))
    }

    /// Waits for a notice with this text on stderr.
    pub(super) async fn noticed(&mut self, text: &str) -> Result<(), Failure> {
        while let Some(line) = self.remarks.recv().await {
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            if field(&value, "type") == "notice" && field(&value, "message") == text {
                return Ok(());
            }
        }
        Err(broken("a client ended too early"))
    }

    /// Closes its input and waits for its end.
    pub(super) async fn finish(mut self) -> Result<Run, Failure> {
        self.stdin = None;
        while self.read().await?.is_some() {}
        let status = self.child.wait().await.map_err(io("a client cannot be awaited"))?;
        Ok(Run { code: status.code().unwrap_or(-1), printed: self.printed, stdout: self.stdout })
    }

    /// Ctrl-C, as a person would end it.
    pub(super) async fn end(mut self) -> Result<(), Failure> {
        signal(&self.child, rustix::process::Signal::INT)?;
        self.child.wait().await.map_err(io("a client cannot be awaited"))?;
        Ok(())
    }
}

/// A text of an object; empty where there is none.
pub(super) fn field<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Run {
    /// The exit code; -1 after a signal.
    pub(super) code: i32,
    printed: Vec<Value>,
    /// Everything it printed.
    pub(super) stdout: String,
}

impl Run {
    /// The objects of a type.
    pub(super) fn all(&self, kind: &str) -> Vec<Value> {
        self.printed.iter().filter(|object| field(object, "type") == kind).cloned().collect()
    }

    /// The last object of a type; null without one.
    pub(super) fn last(&self, kind: &str) -> Value {
        self.all(kind).pop().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_shown_without_time_and_level() {
        assert_eq!(
            brief("2026-11-21T08:00:00.000000Z  INFO 127.0.0.1:4711 connected [ alice ]"),
            ":4711 connected [ alice ]"
        );
        assert_eq!(brief("something else"), "something else");
    }
}

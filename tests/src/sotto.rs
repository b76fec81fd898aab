//! The real client: one profile in a folder of its own, and its commands with JSON answers.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::programs::program;
use crate::running::{Finished, Running};

/// No single command of a client takes this long on a busy machine with unoptimised programs.
pub const COMMAND: Duration = Duration::from_secs(120);

/// More objects than this are counted instead of shown.
const SHOWN: usize = 5;

/// What a command answered.
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// The objects of stdout, in order.
    pub objects: Vec<Value>,
    /// All of stderr.
    pub stderr: String,
}

/// Counts where there are many objects: a failed test shows this.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for object in &self.objects {
            let kind =
                [string(object, "type"), string(object, "state")].into_iter().flatten().collect::<Vec<_>>();
            *kinds.entry(kind.join(" ")).or_default() += 1;
        }
        let mut answer = f.debug_struct("Answer");
        answer.field("code", &self.code).field("kinds", &kinds);
        if self.objects.len() <= SHOWN {
            answer.field("objects", &self.objects);
        }
        answer.field("stderr", &self.stderr).finish()
    }
}

impl Answer {
    fn new(finished: Finished) -> anyhow::Result<Self> {
        let Finished { code, stdout, stderr } = finished;
        let code = code.with_context(|| format!("ended by a signal; stderr: {stderr}"))?;
        let objects = stdout.iter().map(|line| object(line)).collect::<anyhow::Result<_>>()?;
        Ok(Self { code, objects, stderr })
    }

    /// Fails unless the exit code is this one.
    pub fn expect_code(self, code: i32) -> anyhow::Result<Self> {
        ensure!(self.code == code, "exit code {} instead of {code}: {self:?}", self.code);
        Ok(self)
    }

    /// The objects of one type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object.get("type").and_then(Value::as_str) == Some(kind))
    }

    /// The text of a string field of the first object that has it.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.objects.iter().find_map(|object| object.get(name)?.as_str())
    }

    /// The messages, in order.
    pub fn messages(&self) -> Vec<Message> {
        self.objects.iter().filter_map(Message::from_object).collect()
    }

    /// The last fate that was told of each message, in the order in which they were first named.
    pub fn fates(&self) -> Vec<Fate> {
        let mut fates: Vec<Fate> = Vec::new();
        for fate in self.objects.iter().filter_map(Fate::from_object) {
            match fates.iter_mut().find(|known| known.id == fate.id) {
                Some(known) => known.state = fate.state,
                None => fates.push(fate),
            }
        }
        fates
    }

    /// The warnings on stderr, in order.
    pub fn warnings(&self) -> Vec<String> {
        let objects = self.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        objects
            .filter(|object| object.get("type").and_then(Value::as_str) == Some("warning"))
            .filter_map(|object| string(&object, "message"))
            .collect()
    }

    /// The error object on stderr; the last, as warnings may come before it.
    pub fn error(&self) -> Option<Value> {
        self.stderr
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|object| object.get("type").and_then(Value::as_str) == Some("error"))
    }
}

/// Reads a line of output as the object it must be.
pub fn object(line: &str) -> anyhow::Result<Value> {
    let object: Value = serde_json::from_str(line).with_context(|| format!("not a JSON object: {line}"))?;
    ensure!(object.get("v") == Some(&Value::from(1)), "no version 1: {line}");
    ensure!(object.get("type").is_some_and(Value::is_string), "no type: {line}");
    Ok(object)
}

fn string(object: &Value, name: &str) -> Option<String> {
    Some(object.get(name)?.as_str()?.to_owned())
}

/// A text message, as `recv` and `history` print it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The message id.
    pub id: String,
    /// Username of its sender.
    pub from: String,
    /// What it says.
    pub text: String,
    /// What became of it: of one's own messages, in the history.
    pub fate: Option<String>,
}

impl Message {
    /// None for an object of another type or a message without text.
    pub fn from_object(object: &Value) -> Option<Self> {
        if object.get("type")?.as_str()? != "message" {
            return None;
        }
        let text = object.get("body")?.get("text")?.as_str()?.to_owned();
        let fate = string(object, "fate");
        Some(Self { id: string(object, "id")?, from: string(object, "from")?, text, fate })
    }

    /// Whether its sender is told that the server, or somebody behind it, has it for good.
    pub fn is_safe(&self) -> bool {
        self.fate.as_deref().is_some_and(is_safe)
    }
}

/// What became of a message, as `send` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// The message id.
    pub id: String,
    /// `stored`, `waiting` and so on.
    pub state: String,
}

impl Fate {
    /// None for an object of another type.
    pub fn from_object(object: &Value) -> Option<Self> {
        if object.get("type")?.as_str()? != "fate" {
            return None;
        }
        Some(Self { id: string(object, "id")?, state: string(object, "state")? })
    }

    /// Whether the server, or somebody behind it, has the message for good.
    pub fn is_safe(&self) -> bool {
        is_safe(&self.state)
    }
}

fn is_safe(state: &str) -> bool {
    matches!(state, "stored" | "taken" | "delivered" | "read")
}

/// A profile of a client.
#[derive(Debug)]
pub struct Client {
    name: String,
    data_dir: PathBuf,
    password_file: PathBuf,
}

impl Client {
    /// A profile with its data in `data_dir`, and its password in a file in `secrets_dir`. Makes nothing but that file.
    pub fn new(name: &str, data_dir: &Path, secrets_dir: &Path) -> anyhow::Result<Self> {
        let password_file = secrets_dir.join(format!("{name}.password"));
        fs::write(&password_file, format!("correct horse of {name}"))?;
        Ok(Self { name: name.to_owned(), data_dir: data_dir.to_owned(), password_file })
    }

    /// The username.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The file that holds its password.
    pub fn password_file(&self) -> &Path {
        &self.password_file
    }

    /// Changes the password that commands are given from now on.
    pub fn set_password(&self, password: &str) -> anyhow::Result<()> {
        Ok(fs::write(&self.password_file, password)?)
    }

    /// A command that asks nothing and answers in JSON.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(program("sotto")?);
        command
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--json", "--no-input"])
            .args(arguments)
            .env("SOTTO_PASSWORD_FILE", &self.password_file);
        Ok(command)
    }

    /// Starts a command and leaves it running.
    pub fn start(&self, arguments: &[&str], input: &str) -> anyhow::Result<Running> {
        Running::start(self.command(arguments)?, input.as_bytes())
    }

    /// Runs a command to its end, whatever that is.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> anyhow::Result<Answer> {
        let running = self.start(arguments, input)?;
        Answer::new(running.wait(COMMAND)?).with_context(|| format!("{}: {}", self.name, arguments.join(" ")))
    }

    /// Runs a command without input to its end, whatever that is.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        self.run_with_input(arguments, "")
    }

    /// Runs a command that must end well.
    pub fn ok(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        self.run(arguments)?.expect_code(0).with_context(|| format!("{}: {}", self.name, arguments.join(" ")))
    }

    /// Makes an account of its name; answers the recovery phrase.
    pub fn register(&self, address: &str) -> anyhow::Result<String> {
        let answer = self.ok(&["register", address, &self.name])?;
        match answer.field("recovery_phrase") {
            Some(phrase) => Ok(phrase.to_owned()),
            None => bail!("no recovery phrase in {:?}", answer.objects),
        }
    }

    /// All messages of a conversation from its start on, received and sent, oldest first.
    pub fn history(&self, conversation: &str) -> anyhow::Result<Vec<Message>> {
        Ok(self.ok(&["history", conversation, "--limit", "100000"])?.messages())
    }

    /// Ids of what waits in the outbox.
    pub fn outbox(&self) -> anyhow::Result<Vec<String>> {
        let answer = self.ok(&["outbox", "list"])?;
        Ok(answer.objects.iter().filter_map(|object| string(object, "id")).collect())
    }
}

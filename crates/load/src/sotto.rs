//! The client program, run from outside.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use sotto_proto::Address;
use tokio::process::Command;

use crate::args::Args;

/// The password of throw-away accounts.
const PASSWORD: &str = "correct horse battery staple\n";

/// The program, and a folder for profiles.
pub(crate) struct Sotto<'a> {
    program: PathBuf,
    folder: &'a Path,
}

/// The client program's path, if it is there.
pub(crate) fn program(args: &Args) -> anyhow::Result<Option<PathBuf>> {
    let path = match &args.sotto {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("sotto"),
    };
    Ok(path.is_file().then_some(path))
}

impl<'a> Sotto<'a> {
    /// Profiles are made in `folder`.
    pub(crate) fn new(program: PathBuf, folder: &'a Path) -> anyhow::Result<Self> {
        std::fs::write(folder.join("password"), PASSWORD)?;
        Ok(Self { program, folder })
    }

    /// A command of this person, without the user's settings; it ends if it is dropped.
    pub(crate) fn command(&self, person: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for variable in ["SOTTO_PASSWORD_COMMAND", "SOTTO_RECOVERY_FILE"] {
            command.env_remove(variable);
        }
        command
            .env("XDG_CONFIG_HOME", self.folder)
            .env("SOTTO_PASSWORD_FILE", self.folder.join("password"))
            .args(["--json", "--no-input", "--data-dir"])
            .arg(self.folder.join(person))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, person: &str, words: &[&str]) -> anyhow::Result<()> {
        let output = self.command(person, words).output().await;
        let output = output.with_context(|| format!("starting {}", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "sotto {}: {}, {}", words.join(" "), output.status, said.trim());
        Ok(())
    }

    /// Makes accounts with these names. On a server that has such names already, this fails and says so.
    pub(crate) async fn register(&self, address: &Address, people: &[&str]) -> anyhow::Result<()> {
        for person in people {
            self.run(person, &["register", &address.to_string(), person]).await?;
        }
        Ok(())
    }
}

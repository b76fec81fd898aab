//! The commands, one a file.

pub(crate) mod chat;
pub(crate) mod contact;
pub(crate) mod demo;
pub(crate) mod device;
pub(crate) mod doctor;
pub(crate) mod history;
pub(crate) mod login;
pub(crate) mod outbox;
pub(crate) mod password;
pub(crate) mod recovery;
pub(crate) mod recv;
pub(crate) mod register;
pub(crate) mod safety;
pub(crate) mod send;
pub(crate) mod users;
pub(crate) mod util;
pub(crate) mod version;
pub(crate) mod whoami;

use std::fs::File;

use sotto_client::api::ErrorKind;
use tokio::time::Instant;

use crate::args::Command;
use crate::config::Notices;
use crate::failure::Failure;
use crate::input::Input;
use crate::output::Output;
use crate::place::Place;
use crate::secret::Secrets;

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// Which profile.
    pub(crate) place: Place,
    /// Passwords and answers.
    pub(crate) secrets: Secrets,
    /// What is left of stdin once the password was taken.
    pub(crate) stdin: Option<Input<File>>,
    /// How a new message is noticed.
    pub(crate) notices: Notices,
    /// When the command's `--timeout` has passed.
    pub(crate) until: Option<Instant>,
}

impl Context {
    /// Stdin, once.
    pub(crate) fn stdin(&mut self) -> Result<Input<File>, Failure> {
        self.stdin.take().ok_or_else(|| Failure::new(ErrorKind::Bug, "stdin was read twice"))
    }
}

/// Runs a command to its end.
pub(crate) async fn run(command: Command, context: Context, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Chat(args) => chat::run(args, context, out).await,
        Command::Register { server, user, invite } => {
            register::run(&server, &user, invite, context, out).await
        }
        Command::Login { server, user, reset } => login::run(&server, &user, reset, context, out).await,
        Command::Device { action } => device::run(action, context, out).await,
        Command::Password { action } => password::run(&action, context, out).await,
        Command::Whoami => whoami::run(context, out).await,
        Command::Send(args) => send::run(args, context, out).await,
        Command::Recv(args) => recv::run(args, context, out).await,
        Command::History(args) => history::run(args, context, out).await,
        Command::Outbox { action } => outbox::run(&action, context, out).await,
        Command::Users => users::run(context, out).await,
        Command::Contact { action } => contact::run(&action, context, out).await,
        Command::Verify { user, qr } => safety::verify(user.as_deref(), qr, context, out).await,
        Command::Trust { user, number } => safety::trust(&user, &number, context, out).await,
        Command::Recovery { action } => recovery::run(&action, context, out).await,
        Command::Doctor => doctor::run(context, out).await,
        // These need no profile and ran already.
        Command::Demo | Command::Version | Command::Util { .. } | Command::DemoServer { .. } => Ok(()),
    }
}

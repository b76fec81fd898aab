//! `sotto`: the terminal client. Commands in, text or JSON out, and an exit code that scripts can rely on; everything
//! about keys, messages and the server is in the client library.

mod alarm;
mod args;
mod command;
mod config;
mod crash;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod input;
mod log;
mod nearest;
mod output;
mod place;
mod recipient;
mod record;
mod row;
mod schema;
mod secret;
mod session;
mod signal;
mod time;
mod trust_question;
mod untrusted;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};
use sotto_client::api::ErrorKind;
use tokio::time::Instant;

use crate::args::{Cli, Command, Global};
use crate::command::Context;
use crate::config::{Config, Notices};
use crate::failure::Failure;
use crate::input::Input;
use crate::output::{Colour, Output};
use crate::place::Place;
use crate::secret::Secrets;

/// How long a client may take to end after its command did.
const GRACE: Duration = Duration::from_secs(2);

/// How long threads may take to end after the runtime was told to.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// The program, with its command line.
pub fn main_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let Command::DemoServer { args } = cli.command {
        return command::demo::serve(args);
    }
    let colour = cli.global.color.unwrap_or_default();
    let mut out = Output::new(cli.global.json, cli.global.quiet, colour);
    match execute(cli, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.remarks().failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}

/// Reads the command line. Help and version are printed here; so is what is wrong with it, as JSON if that was asked for.
fn parse(args: &[OsString]) -> Result<Cli, ExitCode> {
    let says = |flag: &str| args.iter().take_while(|arg| *arg != "--").any(|arg| arg == OsStr::new(flag));
    let never = says("--color=never") || args.windows(2).any(|pair| pair == ["--color", "never"]);
    let colour = if never { clap::ColorChoice::Never } else { clap::ColorChoice::Auto };
    let parsed = Cli::command()
        .color(colour)
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        if error.use_stderr() && says("--json") {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            Output::new(true, false, Colour::Never).remarks().failure(&Failure::usage(text));
        } else {
            // Where nobody reads it, nobody can be told.
            let _ = error.print();
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

fn execute(cli: Cli, out: &mut Output) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    let config = Config::load()?;
    if global.color.is_none()
        && let Some(colour) = config.color
    {
        *out = Output::new(global.json, global.quiet, colour);
    }
    log::install(global.verbose);
    let json = global.json;
    let place = Place::new(global.data_dir.clone(), global.profile.clone(), config.profile);
    let reports = place.as_ref().map_or_else(|_| std::env::temp_dir(), |place| place.root.join("reports"));
    crash::install(reports, json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("the program could not start", &error))?;
    let result = runtime.block_on(async {
        let mut interrupted = signal::watch()?;
        let work = async {
            match command {
                Command::Version => command::version::run(out),
                Command::Util { action } => command::util::run(&action, out),
                Command::Demo => command::demo::run(out).await,
                other => {
                    let until = session::deadline(other.timeout());
                    let waits = global.password_stdin;
                    let read = move || context(&global, place?, config.notices, until);
                    let context =
                        if waits { input::read(until, "the password", read).await? } else { read()? };
                    command::run(other, context, out).await
                }
            }
        };
        let result = tokio::select! {
            result = work => result,
            () = interrupted.wait() => Err(Failure::new(ErrorKind::Interrupted, "interrupted")),
        };
        // A client whose command was broken off still closes its store and frees its profile.
        let _ = tokio::time::timeout(GRACE, sotto_client::driver::all_ended()).await;
        result
    });
    // Threads that had to do with the store are joined: one that ends while the process does would run OpenSSL's clean-up at
    // the same time as the process. One that waits for a line of stdin never touched it, and is left after this time.
    runtime.shutdown_timeout(STRAGGLERS);
    result
}

fn context(
    global: &Global,
    place: Place,
    notices: Notices,
    until: Option<Instant>,
) -> Result<Context, Failure> {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let stdin = stdin.map_err(|error| Failure::io("stdin cannot be used", &error))?;
    let mut stdin = Input::new(File::from(stdin));
    let secrets = Secrets::new(global.no_input, global.password_stdin, &mut stdin)?;
    Ok(Context { place, secrets, stdin: Some(stdin), notices, until })
}

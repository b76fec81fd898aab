//! What the fuzz targets reach that is not public: the terminal's side, what a user types, and the configuration. The feature
//! is off in what `cargo build` makes.

use std::{path::Path, time::Duration};

pub use crate::command::chat::fuzzing::Chat;
use crate::{args, config::Config, nearest, recipient::To, time, untrusted::Sanitised};

/// A text as one line.
pub fn line(text: &str) -> String {
    Sanitised::line(text).to_string()
}

/// A text as lines.
pub fn lines(text: &str) -> Vec<String> {
    Sanitised::lines(text).iter().map(ToString::to_string).collect()
}

/// A text folded at a width.
pub fn fold(text: &str, columns: usize) -> String {
    crate::command::chat::fuzzing::fold(text, columns)
}

/// Reads the user's configuration; what is wrong with it.
pub fn config(text: &str) -> Result<(), String> {
    Config::parse(text, Path::new("config.toml")).map(drop).map_err(|failure| {
        let parts = [Some(failure.message), failure.cause, failure.hint];
        parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
    })
}

/// The command line of `sotto`; what it means is not looked at.
pub fn command_line(args: &[String]) -> Result<(), String> {
    use clap::Parser;
    args::Cli::try_parse_from(args).map(drop).map_err(|error| error.to_string())
}

/// A profile's name.
pub fn profile_name(text: &str) -> Result<String, String> {
    args::profile_name(text)
}

/// To whom; `None` if it cannot be written to.
pub fn recipient(text: &str) -> Option<String> {
    let Ok(to) = text.parse::<To>();
    to.recipient().ok().map(|recipient| format!("{recipient:?}"))
}

/// A length of time.
pub fn duration(text: &str) -> Result<Duration, String> {
    time::parse_duration(text)
}

/// A point in time, Unix milliseconds, and how it is printed.
pub fn time(text: &str) -> Option<(u64, String)> {
    time::parse_time(text).map(|ms| (ms, time::rfc3339(ms)))
}

/// The known word that was meant.
pub fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    nearest::nearest(typed, known)
}

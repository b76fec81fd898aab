//! What the fuzz targets reach that is not public: the configuration and what an operator types. The feature is off in
//! what `cargo build` makes.

use std::path::PathBuf;

use crate::{config::Config, duration};

/// Reads a configuration, from a file's text or from the environment, and shows it as a file. What is shown reads back as the
/// same.
pub fn config(file: Option<&str>, environment: &[(String, String)]) -> Result<String, String> {
    let data_dir = || PathBuf::from("data");
    let config = Config::read(data_dir(), file.map(|text| ("file", text)), environment.iter().cloned())
        .map_err(|error| error.to_string())?;
    let shown = config.show();
    let again = Config::read(data_dir(), Some(("shown", &shown)), std::iter::empty())
        .map_err(|error| format!("what is shown does not read back: {error}"));
    assert_eq!(again.as_ref(), Ok(&config), "{shown}");
    let _ = config.core();
    Ok(shown)
}

/// A length of time.
pub fn duration(text: &str) -> Result<u64, String> {
    duration::parse(text)
}

/// A point in time, as people read it.
pub fn rfc3339(ms: u64) -> String {
    duration::rfc3339(ms)
}

/// The command line of `sottod`; what it means is not looked at.
pub fn command_line(args: &[String]) -> Result<(), String> {
    use clap::Parser;
    crate::cli::Cli::try_parse_from(args).map(drop).map_err(|error| error.to_string())
}

//! `sotto-load`: measures a Sotto server with raw protocol clients over real TLS, and the client program from outside.
//!
//! Each measurement prints one line. Nothing is asserted about time: a number is reported, whatever it is; that every
//! message came once and in order is checked.

mod args;
mod crowd;
mod envelopes;
mod link;
mod machine;
mod person;
mod process;
mod pump;
mod report;
mod rows;
mod server;
mod sotto;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use rustix::process::{Signal, set_parent_process_death_signal};

use args::Args;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let own = words.next();
    if words.next().is_some_and(|word| word == server::CHILD) {
        // The throw-away server: this process is `sottod` from here on, and ends with the one that started it.
        if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
            eprintln!("warning: the server will not end with its parent: {error}");
        }
        return sotto_server::main_from(own.into_iter().chain(words));
    }
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    machine::raise_file_limit()?;
    for line in machine::describe(&args.data_dir()?)? {
        println!("{line}");
    }
    tokio::runtime::Runtime::new().context("starting the runtime")?.block_on(rows::run(args))
}

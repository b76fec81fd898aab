//! `sottod migrate`: which version the store has, and bringing it to this program's without starting a server.

use std::fmt::Write as _;

use serde::Serialize;
use sotto_store::{SERVER_VERSION, SledStore, StepAhead, Store as _, StoreError, steps_from};

use super::{DATA_TOO_NEW, Failure, block_on, load, print_json, take_stopped};
use crate::{cli::MigrateCommand, config::Config, print, shell::folder::Folder};

/// A step, for scripts.
#[derive(Serialize)]
struct Step {
    from: u32,
    to: u32,
    about: &'static str,
}

/// What stands in the folder, or what was done to it, for scripts.
#[derive(Serialize)]
struct Report {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The version of the store; after a run the new one.
    store: u32,
    program: u32,
    /// The steps ahead, or those that were taken.
    steps: Vec<Step>,
}

impl Report {
    fn new(kind: &'static str, store: u32, steps: Vec<StepAhead>) -> Self {
        let steps = steps.into_iter().map(|StepAhead { from, to, about }| Step { from, to, about });
        Self { v: 1, kind, store, program: SERVER_VERSION, steps: steps.collect() }
    }

    fn text(&self, after: &str) -> String {
        let mut text = format!("store version {}, this program's {}\n", self.store, self.program);
        for Step { from, to, about } in &self.steps {
            // Writing to a String cannot fail.
            let _ok = writeln!(text, "step {from} to {to}: {about}");
        }
        text + after + "\n"
    }

    fn show(&self, json: bool, after: &str) -> Result<(), Failure> {
        if json {
            return print_json(self);
        }
        print(&self.text(after));
        Ok(())
    }
}

pub(super) fn migrate(command: &MigrateCommand) -> Result<(), Failure> {
    match command {
        MigrateCommand::Status { json, place } => {
            let (_folder, version) = stopped(&load(place)?)?;
            let report = Report::new("migration", version, steps_from(version));
            if version > SERVER_VERSION {
                report.show(*json, "A newer program wrote it: this one leaves it alone.")?;
                return Err(too_new(version));
            }
            let after = match report.steps.as_slice() {
                [] => "Nothing to do.",
                _ => {
                    "`sottod migrate run`, or the next start, takes these steps. Older programs then refuse the store."
                }
            };
            report.show(*json, after)
        }
        MigrateCommand::Run { json, place } => {
            let config = load(place)?;
            let (folder, version) = stopped(&config)?;
            if version > SERVER_VERSION {
                return Err(too_new(version));
            }
            // Opening is what migrates, here as at a start, and it looks at every row.
            let store = crate::storage::open(&folder.store(), &config)?;
            block_on(async { Ok(store.close().await?) })?;
            let after = if version == SERVER_VERSION { "Nothing was to be done." } else { "Done." };
            Report::new("migrated", SERVER_VERSION, steps_from(version)).show(*json, after)
        }
    }
}

fn too_new(found: u32) -> Failure {
    let failure = Failure::new(DATA_TOO_NEW, StoreError::TooNew { found, known: SERVER_VERSION });
    failure.hint("use the sottod that wrote it, or a newer one")
}

/// A data folder with a server that does not run, taken, and the version of its store.
fn stopped(config: &Config) -> Result<(Folder, u32), Failure> {
    let folder = take_stopped(config, "stop the server first; it migrated its store when it started")?;
    let version = SledStore::version(&folder.store(), &crate::storage::config(config))?;
    let version = version.ok_or_else(|| {
        Failure::new(1, format!("there is no store in {} yet", config.data_dir.display()))
            .hint("sottod makes it at its first start")
    })?;
    Ok((folder, version))
}

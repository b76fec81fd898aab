//! `sotto util`.

use std::path::Path;

use clap::CommandFactory;

use crate::args::{Cli, Util};
use crate::failure::Failure;
use crate::output::Output;
use crate::schema::schema;

/// Prints or writes what shells and scripts need.
pub(crate) fn run(action: &Util, out: &mut Output) -> Result<(), Failure> {
    match action {
        Util::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "sotto", &mut script);
            out.raw(&script)?;
            Ok(())
        }
        Util::Man { dir } => pages(dir),
        Util::Schema => {
            out.raw(format!("{:#}\n", schema()).as_bytes())?;
            Ok(())
        }
        // It is what this command is for.
        #[allow(clippy::panic)]
        Util::Crash => panic!("crashed on purpose"),
    }
}

fn pages(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| Failure::io(format!("the pages could not be written to {}", dir.display()), &error))
}

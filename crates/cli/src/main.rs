//! The client's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sotto_cli::main_from(std::env::args_os())
}

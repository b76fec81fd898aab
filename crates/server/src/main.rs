//! The daemon's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sotto_server::main_from(std::env::args_os())
}

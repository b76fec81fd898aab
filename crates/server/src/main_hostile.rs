//! The daemon's program with the orders of a test to lie: see `shell/hostile.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sotto_server::main_from(std::env::args_os())
}

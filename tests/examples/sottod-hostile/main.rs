//! `sottod` with somebody between the connections and the core who lies by orders: what its operator, or whoever has
//! broken in, could do. The program and all of its answers are otherwise those of the real server.
//!
//! An example, so that `cargo test` builds it and `cargo build` does not put it beside the real programs.
//!
//! The orders stand in the file that `SOTTO_HOSTILE_ORDERS` names, one a line; `#` begins a remark. A change of the file
//! holds from the next frame on.
//!
//! | order | from now on |
//! |---|---|
//! | `show VIEWER LIST` | for VIEWER (`*`: everybody) LIST is the list of the name in it: in answers, and where the lists of a Submit are checked |
//! | `pose VIEWER LIST KEYS FOLDER` | `show`, and the devices of LIST have the keys KEYS; what VIEWER sends them is said to be stored, and put into FOLDER |
//! | `damage READER COUNT` | the next COUNT envelopes to READER have their last bit flipped: it belongs to part 2 |
//! | `drop READER COUNT` | the next COUNT envelopes to READER are passed over in silence |
//! | `repeat READER COUNT` | the next COUNT envelopes to READER come twice under one number |
//! | `replay READER COUNT` | instead of the next COUNT envelopes to READER the one before comes again |
//! | `replace READER FILE` | instead of the next envelope to READER comes FILE |
//! | `record FOLDER` | each list that passes is put into FOLDER/NAME.NUMBER, published keys into FOLDER/NAME.keys |
#![allow(missing_docs)]

mod lies;
mod orders;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(orders) = std::env::var_os("SOTTO_HOSTILE_ORDERS") else {
        eprintln!("error: SOTTO_HOSTILE_ORDERS names no file");
        return ExitCode::from(2);
    };
    sotto_server::main_tapped(std::env::args_os(), Box::new(lies::Liar::new(PathBuf::from(orders))))
}

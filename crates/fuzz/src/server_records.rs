//! The rows of the server's store.

use sotto_store::fuzzing::{VALUES, keys};

use crate::input::Input;

/// Values that have an older or a shorter spelling beside the one that is written.
const SPELLINGS: [&str; 3] = ["account", "layout", "mailbox"];

/// A key, or a value of some kind.
pub fn server_records(data: &[u8]) {
    let mut input = Input::new(data);
    let Some((name, again)) = VALUES.get(usize::from(input.u8())) else { return keys(input.rest()) };
    let value = input.rest();
    let Ok(written) = again(value) else { return };
    if SPELLINGS.contains(name) {
        assert_eq!(again(&written).unwrap(), written, "{name} does not read back");
    } else {
        assert_eq!(written, value, "{name} has two spellings");
    }
}

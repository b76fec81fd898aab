//! `sottod key`.

use serde::Serialize;

use super::{Failure, load, print_json, take_stopped};
use crate::{
    cli::Place,
    print,
    shell::{self, identity::Identity},
};

/// A new key, for scripts.
#[derive(Serialize)]
struct Rotated {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    address: String,
    fingerprint: String,
    /// How many keys the server had before.
    number: u64,
}

pub(super) fn rotate(place: &Place, json: bool) -> Result<(), Failure> {
    let config = load(place)?;
    let why = "stop the server first: a running one shows the key it started with";
    let folder = take_stopped(&config, why)?;
    let identity = Identity::rotate(folder.path()).map_err(|error| Failure::new(1, error))?;
    let address = shell::public_address(&config, shell::listening_of(config.listen), &identity).to_string();
    if json {
        let fingerprint = sotto_proto::ids::base32(&identity.fingerprint());
        let number = identity.chain.newest().1;
        return print_json(&Rotated { v: 1, kind: "key_rotated", address, fingerprint, number });
    }
    // The address alone on stdout, for a pipe.
    print(&format!("{address}\n"));
    eprintln!(
        "The server has a new key, signed by the old one, which is removed. Clients that know the old one follow by \
         themselves at their next connection, and refuse it from then on. Addresses given out before still lead \
         here; where the old key may be stolen give out this one, for a thief can pose as the server to whoever \
         has only an old address or has not connected since.\n\
         Make a new backup (sottod backup create): one from before has the old key, which clients now refuse."
    );
    Ok(())
}

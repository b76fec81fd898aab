//! What the operator can ask the core: who is there.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// One connected device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlineDevice {
    /// The account's name.
    pub name: String,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Whether a person sits there.
    pub interactive: bool,
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Roster {
    /// Connections, signed in or not.
    pub connections: usize,
    /// Signed-in devices, in order of their connecting.
    pub devices: Vec<OnlineDevice>,
    /// The names of those in a live chat, and with whom.
    pub busy: BTreeMap<String, Vec<String>>,
}

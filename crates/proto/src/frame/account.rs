//! Living with an account: a device that waits to be approved, blocking, and a new identity where all keys were lost.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    ids::{AccountId, DeviceId},
    keys::{DeviceKey, IdentityKey},
};

/// Asks the account's other devices to add this one; the connection has proven the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestDevice {
    /// Its id. The same id again takes the place of the earlier request.
    pub device: DeviceId,
    /// Its signing key.
    pub device_key: DeviceKey,
    /// Its identity key.
    pub identity_key: IdentityKey,
}

/// A device that waits to be approved. The server vouches for nothing in it: only a code that was typed from that
/// device's own screen does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingDevice {
    /// Its id.
    pub device: DeviceId,
    /// Its signing key.
    pub device_key: DeviceKey,
    /// Its identity key.
    pub identity_key: IdentityKey,
    /// When it asked, the server's clock, Unix milliseconds.
    pub requested_ms: u64,
}

/// The devices that wait, at most [`crate::limits::MAX_PENDING_DEVICES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingDevices {
    /// Oldest first.
    pub devices: Vec<PendingDevice>,
}

/// Takes a waiting device off the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropPending {
    /// Which.
    pub device: DeviceId,
}

/// A device list that a waiting device stands in now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// [`crate::SignedDeviceList`].
    pub list: ByteBuf,
}

/// One's own account's device list, which has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListChanged {
    /// [`crate::SignedDeviceList`].
    pub list: ByteBuf,
}

/// Whether what an account sends is refused from now on: its envelopes and invitations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Whose.
    pub account: AccountId,
    /// Whether it is blocked.
    pub blocked: bool,
}

/// Whether a person sits at this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetInteractive {
    /// Whether one does.
    pub interactive: bool,
}

/// Asks for a new identity under the same name: the account's keys and its recovery phrase are lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetAccount {
    /// A [`crate::SignedDeviceList`] for this name by a new account key, with a new account id and exactly one device.
    pub list: ByteBuf,
}

/// How a reset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetState {
    /// There is none.
    None,
    /// It takes effect then, the server's clock, Unix milliseconds; a device of the account can refuse it until then.
    Pending(u64),
    /// The account has the new identity.
    Done,
}

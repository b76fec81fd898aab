//! Living with an account: devices, passwords, and a reset.

use std::fmt;

use serde::{Deserialize, Serialize};
use sotto_proto::DeviceId;
use zeroize::Zeroizing;

/// A password on its way to the program that owns the profile. It is wiped when it is dropped, and never printed; the buffers
/// in which it is read and written on that way are not all wiped. It can travel because the local socket is for the same user
/// only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(#[serde(with = "text")] Zeroizing<String>);

impl Password {
    /// Takes a password, in NFC.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

mod text {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

/// What can be done about the account. What changes who may use it asks for the password each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountCommand {
    /// The account's devices, and those that wait. Answer: [`super::Reply::Devices`].
    Devices,
    /// Gives a device a name, on all devices of the account. Answer: [`super::Reply::Done`].
    RenameDevice {
        /// Which.
        device: DeviceId,
        /// At most [`sotto_proto::content::MAX_DEVICE_NAME`] bytes.
        name: String,
    },
    /// Adds the waiting device that shows this code. Needs a connection and the account's key. Answer:
    /// [`super::Reply::Devices`].
    ApproveDevice {
        /// 16 base32 characters; dashes, spaces and case do not matter.
        code: String,
        /// The account's password.
        password: Password,
    },
    /// Takes a waiting device off the list. Needs a connection. Answer: [`super::Reply::Done`].
    RefuseDevice(DeviceId),
    /// Removes a device: it reads nothing that is sent afterwards. Needs a connection and the account's key. Answer:
    /// [`super::Reply::Devices`].
    RemoveDevice {
        /// Which; not this one.
        device: DeviceId,
        /// The account's password.
        password: Password,
    },
    /// Another password, on the server and for this device's store. Needs a connection. Answer: [`super::Reply::Done`].
    ChangePassword {
        /// The one until now.
        old: Password,
        /// The one from now on.
        new: Password,
    },
    /// Refuses a reset that waits. Needs a connection. Answer: [`super::Reply::Done`].
    RefuseReset,
}

/// One device of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id, base32.
    pub device: String,
    /// The name it was given; empty if none.
    pub name: String,
    /// When it was made, Unix milliseconds; of a waiting one, when it asked; of a removed one, when it was removed.
    pub created_ms: u64,
    /// Whether it is this one.
    pub this: bool,
    /// How it stands.
    pub standing: DeviceStanding,
}

/// How a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceStanding {
    /// In the account's list.
    Listed,
    /// Waits to be approved. Its code stands on its own screen and nowhere else.
    Waiting,
    /// Was removed, for ever.
    Removed,
}

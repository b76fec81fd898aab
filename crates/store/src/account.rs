//! Accounts as the server keeps them.

use serde::{Deserialize, Serialize};
use sotto_proto::{AccountId, AccountKey, DeviceId, SignedDeviceList, Username};

/// What registration stores.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The Argon2id hash of the auth key, a PHC string.
    pub password_hash: String,
    /// With exactly one device; names username, account id and account key.
    pub list: SignedDeviceList,
    /// The server's clock, Unix milliseconds.
    pub now_ms: u64,
}

/// An account's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Changes with each replacement; the compare-and-set is on this.
    pub revision: u64,
    /// The name.
    pub username: Username,
    /// The id.
    pub account: AccountId,
    /// The account key.
    pub account_key: AccountKey,
    /// The Argon2id hash of the auth key, a PHC string.
    pub password_hash: String,
    /// The newest [`SignedDeviceList`], as received.
    #[serde(with = "serde_bytes")]
    pub list: Vec<u8>,
    /// The unrevoked devices in `list`.
    pub devices: Vec<DeviceId>,
    /// Whether the operator disabled it.
    pub disabled: bool,
    /// When it was made, the server's clock, Unix milliseconds.
    pub created_ms: u64,
}

impl AccountRecord {
    /// The record of a new account.
    pub(crate) fn first(new: &NewAccount) -> Self {
        let list = new.list.list();
        Self {
            revision: 1,
            username: list.username.clone(),
            account: list.account,
            account_key: list.account_key,
            password_hash: new.password_hash.clone(),
            list: new.list.as_bytes().to_vec(),
            devices: list.devices.iter().map(|signed| signed.certificate().device).collect(),
            disabled: false,
            created_ms: new.now_ms,
        }
    }

    /// `new`, as it may take this one's place: name, id and time of creation never change.
    pub(crate) fn succeeded_by(&self, new: Self) -> Self {
        Self {
            revision: self.revision.saturating_add(1),
            username: self.username.clone(),
            account: self.account,
            created_ms: self.created_ms,
            ..new
        }
    }
}

/// What came of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateOutcome {
    /// Made, now or by the same request before.
    Created,
    /// The name belongs to somebody.
    NameTaken,
    /// The name looks like this one.
    LooksLike(Username),
    /// The account id or the device id is in use.
    Collision,
}

/// What came of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplaceOutcome {
    /// Replaced; the revision is now this.
    Replaced(u64),
    /// The record changed in between; this is the newest.
    Conflict(AccountRecord),
    /// No such account.
    Unknown,
    /// A new device's id is in use.
    Collision,
}

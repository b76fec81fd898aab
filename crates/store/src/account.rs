//! Accounts as the server keeps them.

use serde::{Deserialize, Serialize};
use sotto_proto::{AccountId, AccountKey, DeviceId, SignedDeviceList, Username, limits::DAY_MS};

use crate::{ended::Ending, invite::InviteHash};

/// What registration stores.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The Argon2id hash of the auth key, a PHC string.
    pub password_hash: String,
    /// With exactly one device; names username, account id and account key.
    pub list: SignedDeviceList,
    /// The invite that pays for it, where the server wants one.
    pub invite: Option<InviteHash>,
    /// The server's clock, Unix milliseconds.
    pub now_ms: u64,
}

/// A new identity that somebody with the password has asked for, and that devices of the old one can refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingReset {
    /// The new identity's first [`SignedDeviceList`], as received.
    #[serde(with = "serde_bytes")]
    pub list: Vec<u8>,
    /// When it was asked for, the server's clock, Unix milliseconds.
    pub asked_ms: u64,
    /// From when on it may take effect.
    pub due_ms: u64,
    /// A device refused it: it waits no longer, and stays until its asker has heard so.
    pub refused: bool,
}

/// A day, counted from 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Day(pub u32);

impl Day {
    /// The day of a time in Unix milliseconds.
    pub fn of(now_ms: u64) -> Self {
        Self(u32::try_from(now_ms / DAY_MS).unwrap_or(u32::MAX))
    }

    /// When it is over, Unix milliseconds.
    pub fn end_ms(self) -> u64 {
        (u64::from(self.0) + 1).saturating_mul(DAY_MS)
    }
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
    /// Whose envelopes and invitations are refused, in order; at most [`sotto_proto::limits::MAX_BLOCKED`].
    pub blocked: Vec<AccountId>,
    /// A reset that waits, or was refused.
    pub reset: Option<WaitingReset>,
    /// The last day on which a device of it was signed in. The day and no more, so that the disk does not tell when
    /// people are up; `None` where a program wrote the record that did not note it.
    pub seen: Option<Day>,
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
            blocked: Vec::new(),
            reset: None,
            seen: Some(Day::of(new.now_ms)),
        }
    }

    /// The reset that waits, if one does.
    pub fn waiting_reset(&self) -> Option<&WaitingReset> {
        self.reset.as_ref().filter(|reset| !reset.refused)
    }

    /// The record of the account that takes this one's place under its name. Whom the person blocked, and that the
    /// operator disabled the account, stays as it was; so does the password.
    pub(crate) fn reset_to(&self, list: &SignedDeviceList, now_ms: u64) -> Self {
        let new = NewAccount {
            password_hash: self.password_hash.clone(),
            list: list.clone(),
            invite: None,
            now_ms,
        };
        Self { disabled: self.disabled, blocked: self.blocked.clone(), ..Self::first(&new) }
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
    /// The invite is used up, revoked, out of date, or never was one.
    NotInvited,
    /// There was an account with this id, and it is no more.
    Ended(Ending),
}

/// What came of a replacement, or of a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplaceOutcome {
    /// Replaced; the revision is now this.
    Replaced(u64),
    /// The record changed in between; this is the newest.
    Conflict(Box<AccountRecord>),
    /// No such account.
    Unknown,
    /// A new device's id is in use, or that of a new account.
    Collision,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Person;

    #[test]
    fn a_successor_keeps_name_id_and_age() {
        let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
        let (first, other) =
            (AccountRecord::first(&alice.new_account()), AccountRecord::first(&bob.new_account()));
        let new = AccountRecord { revision: 90, created_ms: 90, ..other.clone() };
        let expected = AccountRecord {
            revision: 2,
            username: alice.name,
            account: alice.account,
            created_ms: first.created_ms,
            ..other
        };
        assert_eq!(first.succeeded_by(new), expected);
    }

    #[test]
    fn a_reset_waits_until_it_is_refused() {
        let record = AccountRecord::first(&Person::new("alice", 1).new_account());
        assert_eq!(record.waiting_reset(), None);
        let reset = WaitingReset { list: vec![1], asked_ms: 1, due_ms: 2, refused: false };
        let waits = AccountRecord { reset: Some(reset.clone()), ..record.clone() };
        assert_eq!(waits.waiting_reset(), Some(&reset));
        let refused = AccountRecord { reset: Some(WaitingReset { refused: true, ..reset }), ..record };
        assert_eq!(refused.waiting_reset(), None);
    }
}

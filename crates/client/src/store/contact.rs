//! People, and what their names are pinned to.

use std::{cell::RefCell, collections::BTreeMap};

use rusqlite::params;
use sha2::{Digest, Sha256};
use sotto_proto::{AccountId, AccountKey, SignedDeviceList, Username};

use super::{StoreError, Tx, array, column, signed, time};

/// How a name's pin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinState {
    /// Pinned at first use.
    Pinned,
    /// The safety number was compared.
    Compared,
    /// The server serves another identity for the name.
    Changed,
}

/// A pinned name.
#[derive(Debug, Clone)]
pub struct ContactRecord {
    /// The account's id.
    pub account: AccountId,
    /// The name.
    pub username: Username,
    /// The pinned account key.
    pub account_key: AccountKey,
    /// The newest accepted device list.
    pub list: SignedDeviceList,
    /// The highest list number that any content named; above the list's own, the list must be fetched before sending.
    pub wanted: u64,
    /// How the pin stands.
    pub state: PinState,
    /// The list with another identity that the server serves for the name.
    pub changed: Option<SignedDeviceList>,
    /// What is wrong with the lists that the server serves, in words.
    pub alarm: Option<String>,
    /// Envelopes that came under this name with another account key.
    pub impostors: u64,
    /// Whether what they send is refused.
    pub blocked: bool,
}

const COLUMNS: &str = "account, username, account_key, list, wanted, compared, changed, alarm, impostors,
    EXISTS (SELECT 1 FROM block WHERE block.account = contact.account AND block.blocked = 1)";

type Raw = ([u8; 16], String, [u8; 32], Vec<u8>, u64, bool, Option<Vec<u8>>, Option<String>, u64, bool);

fn raw(row: &rusqlite::Row<'_>) -> rusqlite::Result<Raw> {
    Ok((
        array(row, 0)?,
        column(row, 1)?,
        array(row, 2)?,
        column(row, 3)?,
        time(row, 4)?,
        column(row, 5)?,
        column(row, 6)?,
        column(row, 7)?,
        time(row, 8)?,
        column(row, 9)?,
    ))
}

/// Lists that stay parsed: more people than anybody writes with at a time, and 16 MiB of the largest lists.
const KEPT: usize = 256;

/// Device lists that were read before, by SHA-256 of their bytes. Each row of the history and each envelope needs the lists of
/// its conversation, and their signatures hold however often they are verified.
#[derive(Debug, Default)]
pub(super) struct ParsedLists(RefCell<BTreeMap<[u8; 32], SignedDeviceList>>);

impl ParsedLists {
    fn parse(&self, bytes: &[u8]) -> Result<SignedDeviceList, StoreError> {
        let hash = Sha256::digest(bytes).into();
        let mut known = self.0.borrow_mut();
        if let Some(list) = known.get(&hash) {
            return Ok(list.clone());
        }
        let list = SignedDeviceList::parse(bytes)
            .map_err(|error| StoreError::Damaged(format!("a device list: {error}")))?;
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(hash, list.clone());
        Ok(list)
    }
}

fn record(lists: &ParsedLists, raw: Raw) -> Result<ContactRecord, StoreError> {
    let (account, username, account_key, list, wanted, compared, changed, alarm, impostors, blocked) = raw;
    let username = Username::parse(&username).map_err(|error| StoreError::Damaged(error.to_string()))?;
    let changed = changed.as_deref().map(|bytes| lists.parse(bytes)).transpose()?;
    let state = match (&changed, compared) {
        (Some(_), _) => PinState::Changed,
        (None, true) => PinState::Compared,
        (None, false) => PinState::Pinned,
    };
    Ok(ContactRecord {
        account: AccountId(account),
        username,
        account_key: AccountKey(account_key),
        list: lists.parse(&list)?,
        wanted,
        state,
        changed,
        alarm,
        impostors,
        blocked,
    })
}

impl Tx<'_> {
    /// By account.
    pub fn contact(&self, account: &AccountId) -> Result<Option<ContactRecord>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM contact WHERE account = ?1");
        self.one(&sql, params![account.0], raw)?.map(|raw| record(self.lists, raw)).transpose()
    }

    /// By name.
    pub fn contact_by_name(&self, username: &Username) -> Result<Option<ContactRecord>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM contact WHERE username = ?1");
        self.one(&sql, params![username.as_str()], raw)?.map(|raw| record(self.lists, raw)).transpose()
    }

    /// Everybody, in order of names.
    pub fn contacts(&self) -> Result<Vec<ContactRecord>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM contact ORDER BY username");
        self.all(&sql, [], raw)?.into_iter().map(|raw| record(self.lists, raw)).collect()
    }

    /// Pins a name to what its list says, in place of any earlier pin of that name.
    pub fn pin(&self, list: &SignedDeviceList, compared: bool) -> Result<(), StoreError> {
        let says = list.list();
        self.run("DELETE FROM contact WHERE username = ?1", params![says.username.as_str()])?;
        self.run(
            "INSERT INTO contact (account, username, account_key, list, list_number, compared)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                says.account.0,
                says.username.as_str(),
                says.account_key.0,
                list.as_bytes(),
                signed(says.number),
                compared
            ],
        )?;
        Ok(())
    }

    /// A newer list of the same identity. What was alarming about the lists is settled by it.
    pub fn update_list(&self, list: &SignedDeviceList) -> Result<(), StoreError> {
        let says = list.list();
        self.run(
            "UPDATE contact SET list = ?2, list_number = ?3, alarm = NULL WHERE account = ?1",
            params![says.account.0, list.as_bytes(), signed(says.number)],
        )?;
        Ok(())
    }

    /// The server serves another identity for the name, or (with `None`) the pinned one again.
    pub fn set_changed(
        &self,
        account: &AccountId,
        list: Option<&SignedDeviceList>,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE contact SET changed = ?2 WHERE account = ?1",
            params![account.0, list.map(SignedDeviceList::as_bytes)],
        )?;
        Ok(())
    }

    /// Something is wrong with the lists that the server serves.
    pub fn set_alarm(&self, account: &AccountId, alarm: Option<&str>) -> Result<(), StoreError> {
        self.run("UPDATE contact SET alarm = ?2 WHERE account = ?1", params![account.0, alarm])?;
        Ok(())
    }

    /// Content named this list number.
    pub fn want_list(&self, account: &AccountId, number: u64) -> Result<(), StoreError> {
        self.run(
            "UPDATE contact SET wanted = ?2 WHERE account = ?1 AND wanted < ?2",
            params![account.0, signed(number)],
        )?;
        Ok(())
    }

    /// The safety number was compared.
    pub fn set_compared(&self, account: &AccountId) -> Result<(), StoreError> {
        self.run("UPDATE contact SET compared = 1 WHERE account = ?1", params![account.0])?;
        Ok(())
    }

    /// One more envelope under this name with another account key.
    pub fn count_impostor(&self, username: &Username) -> Result<(), StoreError> {
        self.run(
            "UPDATE contact SET impostors = impostors + 1 WHERE username = ?1",
            params![username.as_str()],
        )?;
        Ok(())
    }
}

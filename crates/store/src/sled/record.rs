//! What stands in the tree `directory`: accounts, in the form of each version, and invites.

use serde::{Deserialize, Serialize};
use sotto_proto::{
    AccountId, AccountKey, DeviceId, Username, codec,
    wire::{Reader, Writer},
};

use super::row::{Content, damaged, versioned};
use crate::{AccountRecord, Invite, InviteHash, StoreError, invite::MAX_NOTE};

/// The form of accounts before store version 2.
const FIRST: u8 = 1;
/// The form of accounts that is written.
const NEWEST: u8 = 2;

/// The record of store version 1, as it was.
#[derive(Debug, Serialize, Deserialize)]
struct AccountRecordV1 {
    revision: u64,
    username: Username,
    account: AccountId,
    account_key: AccountKey,
    password_hash: String,
    #[serde(with = "serde_bytes")]
    list: Vec<u8>,
    devices: Vec<DeviceId>,
    disabled: bool,
    created_ms: u64,
}

impl From<AccountRecordV1> for AccountRecord {
    fn from(old: AccountRecordV1) -> Self {
        let AccountRecordV1 { revision, username, account, account_key, password_hash, list, .. } = old;
        let AccountRecordV1 { devices, disabled, created_ms, .. } = old;
        Self {
            revision,
            username,
            account,
            account_key,
            password_hash,
            list,
            devices,
            disabled,
            created_ms,
            blocked: Vec::new(),
            reset: None,
            seen: None,
        }
    }
}

/// An account's row: the form of its record, and the record's bytes or the file with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRow {
    form: u8,
    pub(crate) content: Content,
}

impl AccountRow {
    /// A row in the newest form.
    pub(crate) fn new(content: Content) -> Self {
        Self { form: NEWEST, content }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(self.form);
        self.content.write(&mut out);
        out.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let what = "an account";
        let mut reader = Reader::new(value);
        let form = reader.u8().map_err(damaged(what))?;
        if !matches!(form, FIRST | NEWEST) {
            return Err(StoreError::Damaged(format!("{what}: unknown version {form}")));
        }
        Ok(Self { form, content: Content::read(reader).map_err(damaged(what))? })
    }

    /// Reads the record, which is what the content holds.
    pub(crate) fn record(&self, bytes: &[u8]) -> Result<AccountRecord, StoreError> {
        let record = match self.form {
            FIRST => codec::decode::<AccountRecordV1>(bytes).map(AccountRecord::from),
            _ => codec::decode(bytes),
        };
        record.map_err(|error| StoreError::Damaged(format!("an account: {error}")))
    }
}

/// A record's bytes in the newest form.
pub(crate) fn account_bytes(record: &AccountRecord) -> Result<Vec<u8>, StoreError> {
    codec::encode(record).map_err(|error| StoreError::Failed(format!("an account: {error}")))
}

pub(crate) fn encode_invite(invite: &Invite) -> Vec<u8> {
    let mut out = super::row::new_value();
    out.u32(invite.uses).u64(invite.created_ms).u64(invite.expires_ms).str(&invite.note);
    out.finish()
}

/// `hash` is the row's key.
pub(crate) fn decode_invite(hash: InviteHash, value: &[u8]) -> Result<Invite, StoreError> {
    let mut reader = versioned(value, "an invite")?;
    let read = || {
        let (uses, created_ms, expires_ms) = (reader.u32()?, reader.u64()?, reader.u64()?);
        let note = reader.str(MAX_NOTE)?.to_owned();
        reader.finish()?;
        Ok(Invite { hash, uses, created_ms, expires_ms, note })
    };
    read().map_err(damaged("an invite"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::conformance::Person;

    /// A row as version 1 wrote it.
    fn old_row(record: &AccountRecord) -> Vec<u8> {
        let old = AccountRecordV1 {
            revision: record.revision,
            username: record.username.clone(),
            account: record.account,
            account_key: record.account_key,
            password_hash: record.password_hash.clone(),
            list: record.list.clone(),
            devices: record.devices.clone(),
            disabled: record.disabled,
            created_ms: record.created_ms,
        };
        let content = Content::Inline(codec::encode(&old).unwrap());
        AccountRow { form: FIRST, content }.encode()
    }

    #[test]
    fn a_record_of_version_1_reads_back_and_is_written_in_the_newest_form() {
        let record =
            AccountRecord { seen: None, ..AccountRecord::first(&Person::new("alice", 1).new_account()) };
        let row = AccountRow::decode(&old_row(&record)).unwrap();
        let Content::Inline(bytes) = &row.content else { unreachable!() };
        assert_eq!(row.record(bytes).unwrap(), record);
        let bytes = account_bytes(&record).unwrap();
        let row = AccountRow::decode(&AccountRow::new(Content::Inline(bytes.clone())).encode()).unwrap();
        assert_eq!(row.record(&bytes).unwrap(), record);
        let mut unknown = row.encode();
        unknown.splice(0..1, [3]);
        assert!(matches!(AccountRow::decode(&unknown), Err(StoreError::Damaged(_))));
    }
}

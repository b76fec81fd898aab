//! What the fuzz targets reach that is not public: each row as bytes, and dumps. The feature is off in what
//! `cargo build` makes.

use std::io::Read;

use sotto_migrations::server::{Layout, ServerMigrationError};
use sotto_proto::prekey::{KemPrekey, OneTimePrekey, SignedPrekey};

use crate::{
    InviteHash, StoreError,
    dump::{self, Summary},
    sled::{
        record::{AccountRow, account_bytes, decode_invite, encode_invite},
        row::{
            self, Content, DeviceRow, EnvelopeRow, FateRow, MailboxRow, StateRow, SubmissionRow,
            decode_ended, decode_expiring, decode_id, decode_number, decode_owner, decode_prekey,
            decode_tally, encode_ended, encode_expiring, encode_id, encode_number, encode_owner,
            encode_prekey, encode_tally,
        },
    },
};

/// Reads a value and writes it again.
pub type Again = fn(&[u8]) -> Result<Vec<u8>, StoreError>;

/// Every kind of value.
pub const VALUES: &[(&str, Again)] = &[
    ("account", account),
    ("device", |value| DeviceRow::decode(value).map(DeviceRow::encode)),
    ("ended", |value| decode_ended(value).map(encode_ended)),
    ("envelope", |value| EnvelopeRow::decode(value).map(|row| row.encode())),
    ("expiring", |value| decode_expiring(value).map(|entries| encode_expiring(&entries))),
    ("fate", |value| FateRow::decode(value).map(FateRow::encode)),
    ("id", |value| decode_id(value).map(encode_id)),
    ("invite", |value| decode_invite(InviteHash([0; 32]), value).map(|invite| encode_invite(&invite))),
    ("kem prekey", |value| encode_prekey(&decode_prekey::<KemPrekey>(value)?)),
    ("layout", layout),
    ("mailbox", |value| MailboxRow::decode(value).map(MailboxRow::encode)),
    ("number", |value| decode_number(value).map(encode_number)),
    ("one-time prekey", |value| encode_prekey(&decode_prekey::<OneTimePrekey>(value)?)),
    ("owner", |value| decode_owner(value).map(|(account, name)| encode_owner(&account, &name))),
    ("signed prekey", |value| encode_prekey(&decode_prekey::<SignedPrekey>(value)?)),
    ("state", |value| StateRow::decode(value).map(StateRow::encode)),
    ("submission", |value| SubmissionRow::decode(value).map(|row| row.encode())),
    ("tally", |value| decode_tally(value).map(encode_tally)),
];

/// An account's row with its record; one of an older form is written in the newest.
fn account(value: &[u8]) -> Result<Vec<u8>, StoreError> {
    let row = AccountRow::decode(value)?;
    let Content::Inline(bytes) = &row.content else { return Ok(row.encode()) };
    let newest = account_bytes(&row.record(bytes)?)?;
    Ok(AccountRow::new(Content::Inline(newest)).encode())
}

fn layout(value: &[u8]) -> Result<Vec<u8>, StoreError> {
    Layout::decode(value).map(|layout| layout.encode()).map_err(|error| match error {
        ServerMigrationError::TooNew { found, .. } => StoreError::TooNew { found, known: 0 },
        error => StoreError::Damaged(error.to_string()),
    })
}

/// Reads the keys that hold something: an envelope's place, and an id behind its prefix.
pub fn keys(key: &[u8]) {
    if let Ok((queue, number)) = row::envelope_place(key) {
        assert_eq!(row::queue::envelope(queue, number).get(1..), key.get(1..));
    }
    if let Ok(id) = row::id_of_key::<16>(key) {
        assert_eq!(Some(&id[..]), key.get(1..));
    }
}

/// Checks a dump, as [`dump::verify`] does.
pub fn verify(dump: impl Read) -> Result<Summary, StoreError> {
    dump::rows(dump, |_, _, _| Ok(()))
}

//! The outbox: what is to be sent, and the sealed envelopes of what is under way.

use rusqlite::{Row, params};
use sotto_proto::{AccountId, DeviceId, FateTag, MessageId, SessionId, SubmissionId, Username};

use super::{StoreError, Tx, array, column, signed, time};

/// Something to send.
#[derive(Debug, Clone)]
pub struct NewEntry<'a> {
    /// The recipient, if it is known.
    pub account: Option<AccountId>,
    /// The recipient's name as typed, if it is not.
    pub username: Option<&'a Username>,
    /// Only this device of the recipient.
    pub device: Option<DeviceId>,
    /// The message's id.
    pub message: MessageId,
    /// A message of the user's, with a fate; otherwise something that devices tell each other.
    pub user: bool,
    /// The content's kind.
    pub kind: u16,
    /// The content's body.
    pub body: &'a [u8],
    /// The content's clock.
    pub clock_ms: u64,
    /// Now.
    pub now_ms: u64,
}

/// Something that waits to be sent.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number; entries of a lane leave in this order.
    pub entry: i64,
    /// The recipient, once it is known.
    pub account: Option<AccountId>,
    /// The recipient's name as typed.
    pub username: Option<String>,
    /// Only this device of the recipient.
    pub device: Option<DeviceId>,
    /// The message's id.
    pub message: MessageId,
    /// A message of the user's.
    pub user: bool,
    /// The content's kind.
    pub kind: u16,
    /// The content's body.
    pub body: Vec<u8>,
    /// The content's clock.
    pub clock_ms: u64,
    /// When it was written.
    pub created_ms: u64,
    /// The Submit it stands in.
    pub submission: Option<SubmissionId>,
}

impl Entry {
    /// Whether the message was on the server before: it was lost there, and is sent again under its first time.
    pub fn was_lost(&self) -> bool {
        self.user && self.created_ms != self.clock_ms
    }
}

/// A sealed envelope of an entry.
#[derive(Debug, Clone)]
pub struct Copy {
    /// To which account.
    pub account: AccountId,
    /// To which device.
    pub device: DeviceId,
    /// The server is asked by this.
    pub tag: FateTag,
    /// The bytes.
    pub envelope: Vec<u8>,
    /// What a re-send request would name.
    pub reference: [u8; 32],
    /// The session it was sealed in.
    pub session: SessionId,
    /// Why the server did not take it yet.
    pub refused: Option<String>,
}

const ENTRY: &str =
    "entry, account, username, device, message, user, kind, body, clock_ms, created_ms, submission";

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        entry: column(row, 0)?,
        account: column::<Option<[u8; 16]>>(row, 1)?.map(AccountId),
        username: column(row, 2)?,
        device: column::<Option<[u8; 16]>>(row, 3)?.map(DeviceId),
        message: MessageId(array(row, 4)?),
        user: column(row, 5)?,
        kind: column(row, 6)?,
        body: column(row, 7)?,
        clock_ms: time(row, 8)?,
        created_ms: time(row, 9)?,
        submission: column::<Option<[u8; 16]>>(row, 10)?.map(SubmissionId),
    })
}

impl Tx<'_> {
    /// Puts something at the end of its lane.
    pub fn enqueue(&self, new: &NewEntry<'_>) -> Result<i64, StoreError> {
        self.run(
            "INSERT INTO outbox (account, username, device, message, user, kind, body, clock_ms, created_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                new.account.map(|account| account.0),
                new.username.map(Username::as_str),
                new.device.map(|device| device.0),
                new.message.0,
                new.user,
                new.kind,
                new.body,
                signed(new.clock_ms),
                signed(new.now_ms)
            ],
        )?;
        Ok(self.transaction.last_insert_rowid())
    }

    /// Puts something before everything that waits.
    pub fn enqueue_first(&self, new: &NewEntry<'_>) -> Result<(), StoreError> {
        let entry = self.enqueue(new)?;
        self.run(
            "UPDATE outbox SET entry = (SELECT min(min(entry), 0) - 1 FROM outbox) WHERE entry = ?1",
            params![entry],
        )?;
        Ok(())
    }

    /// Names that something waits for and that have not been looked up.
    pub fn unresolved_names(&self) -> Result<Vec<String>, StoreError> {
        self.all("SELECT DISTINCT username FROM outbox WHERE account IS NULL", [], |row| column(row, 0))
    }

    /// A name was looked up.
    pub fn resolve_name(&self, username: &Username, account: &AccountId) -> Result<(), StoreError> {
        self.run(
            "UPDATE outbox SET account = ?2 WHERE username = ?1 AND account IS NULL",
            params![username.as_str(), account.0],
        )?;
        Ok(())
    }

    /// What waits for a name that has not been looked up.
    pub fn entries_for_name(&self, username: &Username) -> Result<Vec<Entry>, StoreError> {
        let sql =
            format!("SELECT {ENTRY} FROM outbox WHERE username = ?1 AND account IS NULL ORDER BY entry");
        self.all(&sql, params![username.as_str()], entry)
    }

    /// The lanes in which something waits: recipient, and whether it is the user's.
    pub fn lanes(&self) -> Result<Vec<(AccountId, bool)>, StoreError> {
        self.all("SELECT DISTINCT account, user FROM outbox WHERE account IS NOT NULL", [], |row| {
            Ok((AccountId(array(row, 0)?), column(row, 1)?))
        })
    }

    /// The oldest entries of a lane that have not been sealed, without those that are for one of some devices alone.
    pub fn fresh(
        &self,
        account: &AccountId,
        user: bool,
        without: &[DeviceId],
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let sql = format!(
            "SELECT {ENTRY} FROM outbox WHERE account = ?1 AND user = ?2 AND submission IS NULL
             AND NOT EXISTS (SELECT 1 FROM copy WHERE copy.entry = outbox.entry)
             AND (device IS NULL OR instr(?4, device) = 0 OR (instr(?4, device) - 1) % 16 <> 0)
             ORDER BY entry LIMIT ?3"
        );
        // One blob of ids: the statement stays the same, however many there are.
        let without: Vec<u8> = without.iter().flat_map(|device| device.0).collect();
        self.all(&sql, params![account.0, user, limit, without], entry)
    }

    /// The Submit that a lane has under way.
    pub fn lane_submission(
        &self,
        account: &AccountId,
        user: bool,
    ) -> Result<Option<SubmissionId>, StoreError> {
        self.one(
            "SELECT submission FROM outbox WHERE account = ?1 AND user = ?2 AND submission IS NOT NULL
             ORDER BY entry LIMIT 1",
            params![account.0, user],
            |row| array(row, 0).map(SubmissionId),
        )
    }

    /// All entries of a lane, oldest first.
    pub fn lane(&self, account: &AccountId, user: bool, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let sql =
            format!("SELECT {ENTRY} FROM outbox WHERE account = ?1 AND user = ?2 ORDER BY entry LIMIT ?3");
        self.all(&sql, params![account.0, user, limit], entry)
    }

    /// Devices for which a lane holds envelopes that the server did not take.
    pub fn refusing_devices(
        &self,
        account: &AccountId,
        user: bool,
    ) -> Result<Vec<(DeviceId, String)>, StoreError> {
        self.all(
            "SELECT copy.device, min(copy.refused) FROM copy JOIN outbox USING (entry)
             WHERE outbox.account = ?1 AND user = ?2 AND refused IS NOT NULL GROUP BY copy.device",
            params![account.0, user],
            |row| Ok((DeviceId(array(row, 0)?), column(row, 1)?)),
        )
    }

    /// Messages of the user's that are sealed for some devices, wait in no Submit, and never were sealed for this one; the oldest.
    pub fn sealed_without(
        &self,
        account: &AccountId,
        device: &DeviceId,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        self.all(
            "SELECT entry FROM outbox WHERE account = ?1 AND user = 1 AND submission IS NULL
             AND EXISTS (SELECT 1 FROM copy WHERE copy.entry = outbox.entry)
             AND NOT EXISTS (SELECT 1 FROM copy WHERE copy.entry = outbox.entry AND copy.device = ?2)
             AND NOT EXISTS (SELECT 1 FROM fate WHERE fate.message = outbox.message AND fate.device = ?2)
             ORDER BY entry LIMIT ?3",
            params![account.0, device.0, limit],
            |row| column(row, 0),
        )
    }

    /// Puts the oldest envelopes that a device did not take into a Submit again, at most `limit`; answers how many.
    pub fn retry_refused(
        &self,
        account: &AccountId,
        user: bool,
        device: &DeviceId,
        submission: &SubmissionId,
        limit: u32,
    ) -> Result<usize, StoreError> {
        let entries = self.all(
            "SELECT outbox.entry FROM copy JOIN outbox USING (entry)
             WHERE outbox.account = ?1 AND user = ?2 AND copy.device = ?3 AND refused IS NOT NULL
             ORDER BY outbox.entry LIMIT ?4",
            params![account.0, user, device.0, limit],
            |row| column::<i64>(row, 0),
        )?;
        for entry in &entries {
            self.run(
                "UPDATE copy SET refused = NULL WHERE entry = ?1 AND device = ?2",
                params![entry, device.0],
            )?;
            self.set_submission(*entry, Some(submission))?;
        }
        Ok(entries.len())
    }

    /// Gives a Submit a new id.
    pub fn rename_submission(&self, old: &SubmissionId, new: &SubmissionId) -> Result<(), StoreError> {
        self.run("UPDATE outbox SET submission = ?2 WHERE submission = ?1", params![old.0, new.0])?;
        Ok(())
    }

    /// The entries of a Submit, in order.
    pub fn submission_entries(&self, submission: &SubmissionId) -> Result<Vec<Entry>, StoreError> {
        let sql = format!("SELECT {ENTRY} FROM outbox WHERE submission = ?1 ORDER BY entry");
        self.all(&sql, params![submission.0], entry)
    }

    /// What the user sees of the outbox, oldest first.
    pub fn user_entries(&self, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let sql = format!("SELECT {ENTRY} FROM outbox WHERE user = 1 ORDER BY entry LIMIT ?1");
        self.all(&sql, params![limit], entry)
    }

    /// The entry of a message of the user's.
    pub fn entry_of(&self, message: &MessageId) -> Result<Option<Entry>, StoreError> {
        let sql = format!("SELECT {ENTRY} FROM outbox WHERE message = ?1 AND user = 1 LIMIT 1");
        self.one(&sql, params![message.0], entry)
    }

    /// Entries that were written before a time.
    pub fn entries_before(&self, created_before_ms: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let sql = format!("SELECT {ENTRY} FROM outbox WHERE created_ms < ?1 ORDER BY entry LIMIT ?2");
        self.all(&sql, params![signed(created_before_ms), limit], entry)
    }

    /// How many messages of the user's wait for an account.
    pub fn waiting_for(&self, account: &AccountId) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM outbox WHERE account = ?1 AND user = 1", params![account.0])
    }

    /// How many messages of the user's wait in all.
    pub fn waiting_messages(&self) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM outbox WHERE user = 1", [])
    }

    /// Whether something of a kind waits to be told to a device.
    pub fn tells(&self, account: &AccountId, device: &DeviceId, kind: u16) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM outbox WHERE account = ?1 AND user = 0 AND device = ?2 AND kind = ?3";
        Ok(self.count(sql, params![account.0, device.0, kind])? > 0)
    }

    /// Whether a message waits for one device by itself.
    pub fn waits_for(&self, message: &MessageId, device: &DeviceId) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM outbox WHERE message = ?1 AND user = 0 AND device = ?2";
        Ok(self.count(sql, params![message.0, device.0])? > 0)
    }

    /// How many entries wait in all.
    pub fn outbox_length(&self) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM outbox", [])
    }

    /// Puts an entry into a Submit, or takes it out of one.
    pub fn set_submission(&self, entry: i64, submission: Option<&SubmissionId>) -> Result<(), StoreError> {
        self.run(
            "UPDATE outbox SET submission = ?2 WHERE entry = ?1",
            params![entry, submission.map(|id| id.0)],
        )?;
        Ok(())
    }

    /// Done with an entry and its envelopes.
    pub fn remove_entry(&self, entry: i64) -> Result<(), StoreError> {
        self.run("DELETE FROM outbox WHERE entry = ?1", params![entry])?;
        Ok(())
    }

    /// The sealed envelopes of an entry.
    pub fn copies(&self, entry: i64) -> Result<Vec<Copy>, StoreError> {
        self.all(
            "SELECT account, device, tag, envelope, reference, session, refused FROM copy WHERE entry = ?1
             ORDER BY account, device",
            params![entry],
            |row| {
                Ok(Copy {
                    account: AccountId(array(row, 0)?),
                    device: DeviceId(array(row, 1)?),
                    tag: FateTag(array(row, 2)?),
                    envelope: column(row, 3)?,
                    reference: array(row, 4)?,
                    session: SessionId(array(row, 5)?),
                    refused: column(row, 6)?,
                })
            },
        )
    }

    /// Keeps a sealed envelope.
    pub fn add_copy(&self, entry: i64, copy: &Copy) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO copy (entry, account, device, tag, envelope, reference, session, refused)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                entry,
                copy.account.0,
                copy.device.0,
                copy.tag.0,
                copy.envelope,
                copy.reference,
                copy.session.0,
                copy.refused
            ],
        )?;
        Ok(())
    }

    /// The server did not take an envelope.
    pub fn set_refused(&self, entry: i64, device: &DeviceId, reason: &str) -> Result<(), StoreError> {
        self.run(
            "UPDATE copy SET refused = ?3 WHERE entry = ?1 AND device = ?2",
            params![entry, device.0, reason],
        )?;
        Ok(())
    }

    /// Done with one envelope.
    pub fn remove_copy(&self, entry: i64, device: &DeviceId) -> Result<(), StoreError> {
        self.run("DELETE FROM copy WHERE entry = ?1 AND device = ?2", params![entry, device.0])?;
        Ok(())
    }

    /// Drops the sealed envelopes of everything that waits for an account: its identity changed. They are sealed anew, also
    /// for one's own devices, which drop what they have.
    pub fn unseal_lanes(&self, account: &AccountId) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM copy WHERE entry IN (SELECT entry FROM outbox WHERE account = ?1)",
            params![account.0],
        )?;
        self.run("UPDATE outbox SET submission = NULL WHERE account = ?1", params![account.0])?;
        Ok(())
    }

    /// Drops the sealed envelopes of everything that waits: it is sealed anew.
    pub fn unseal_outbox(&self) -> Result<(), StoreError> {
        self.run("DELETE FROM copy", [])?;
        self.run("UPDATE outbox SET submission = NULL", [])?;
        Ok(())
    }

    /// The same, but for what has left in a Submit that was not answered: what the server has of it is asked.
    pub fn unseal_unsent(&self) -> Result<(), StoreError> {
        self.run("DELETE FROM copy WHERE entry IN (SELECT entry FROM outbox WHERE submission IS NULL)", [])?;
        Ok(())
    }

    /// Drops the sealed envelopes of an entry: it is sealed anew.
    pub fn unseal(&self, entry: i64) -> Result<(), StoreError> {
        self.run("DELETE FROM copy WHERE entry = ?1", params![entry])?;
        self.set_submission(entry, None)
    }

    /// The account that a name belongs to has changed: what waits for the old one goes to the new one.
    pub fn move_entries(&self, from: &AccountId, to: &AccountId) -> Result<(), StoreError> {
        self.run("DELETE FROM outbox WHERE account = ?1 AND user = 0", params![from.0])?;
        self.run("UPDATE outbox SET account = ?2 WHERE account = ?1", params![from.0, to.0])?;
        Ok(())
    }
}

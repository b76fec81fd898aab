//! The history: one row a message, in order of arrival; a row that could not be read keeps its place when it is healed.

use std::ops::RangeInclusive;

use rusqlite::{Row, params};
use sotto_proto::{AccountId, MessageId, Username};

use super::{StoreError, Tx, array, column, signed, time, unsigned};
use crate::api::Fate;

/// A row to add.
#[derive(Debug, Clone)]
pub struct NewMessage<'a> {
    /// The other side's account.
    pub conversation: AccountId,
    /// The other side's name as typed, where this device wrote it.
    pub name: Option<&'a Username>,
    /// Who sent it.
    pub sender: AccountId,
    /// The message's id.
    pub message: MessageId,
    /// Whether it arrived here, so that `recv` prints it; not what this device wrote itself.
    pub arrived: bool,
    /// Whether this account sent it.
    pub outgoing: bool,
    /// The content's kind.
    pub kind: u16,
    /// The content's body.
    pub body: &'a [u8],
    /// Why it cannot be read.
    pub problem: Option<&'a str>,
    /// The reference of the envelope that did not open.
    pub failed: Option<[u8; 32]>,
    /// The sender's clock.
    pub sent_ms: u64,
    /// When it came.
    pub received_ms: u64,
    /// Of outgoing ones, what became of it.
    pub fate: Option<Fate>,
}

/// A row of the history.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its place on screen.
    pub place: i64,
    /// The other side's account.
    pub conversation: AccountId,
    /// The other side's name as typed, where this device wrote it.
    pub name: Option<String>,
    /// Who sent it.
    pub sender: AccountId,
    /// The message's id.
    pub message: MessageId,
    /// Its place among what arrived; 0 for what this device wrote.
    pub print: u64,
    /// Whether this account sent it.
    pub outgoing: bool,
    /// The content's kind.
    pub kind: u16,
    /// The content's body.
    pub body: Vec<u8>,
    /// Why it cannot be read.
    pub problem: Option<String>,
    /// The sender's clock.
    pub sent_ms: u64,
    /// When it came.
    pub received_ms: u64,
    /// Of outgoing ones, what became of it.
    pub fate: Option<Fate>,
    /// Why, in words.
    pub reason: Option<String>,
    /// Whether a recipient device was connected when it was stored.
    pub connected: bool,
}

const COLUMNS: &str =
    "place, conversation, name, sender, message, print, outgoing, kind, body, problem, sent_ms,
    received_ms, fate, reason, connected";

fn read(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage {
        place: column(row, 0)?,
        conversation: AccountId(array(row, 1)?),
        name: column(row, 2)?,
        sender: AccountId(array(row, 3)?),
        message: MessageId(array(row, 4)?),
        print: column::<Option<i64>>(row, 5)?.map_or(0, unsigned),
        outgoing: column(row, 6)?,
        kind: column(row, 7)?,
        body: column(row, 8)?,
        problem: column(row, 9)?,
        sent_ms: time(row, 10)?,
        received_ms: time(row, 11)?,
        fate: column::<Option<String>>(row, 12)?.as_deref().and_then(Fate::parse),
        reason: column(row, 13)?,
        connected: column(row, 14)?,
    })
}

impl Tx<'_> {
    fn next_print(&self) -> Result<i64, StoreError> {
        let next = self.number("print")?.saturating_add(1);
        self.set_number("print", next)?;
        Ok(signed(next))
    }

    /// Adds a row at the end; `None` if the message (or the failed envelope) has one already.
    pub fn add_message(&self, new: &NewMessage<'_>) -> Result<Option<StoredMessage>, StoreError> {
        let known = self.count(
            "SELECT count(*) FROM message WHERE (conversation = ?1 AND sender = ?2 AND message = ?3) OR failed = ?4",
            params![new.conversation.0, new.sender.0, new.message.0, new.failed],
        )?;
        if known > 0 {
            return Ok(None);
        }
        let print = if new.arrived { Some(self.next_print()?) } else { None };
        self.run(
            "INSERT INTO message (conversation, name, sender, message, print, outgoing, kind, body, problem, failed,
                 sent_ms, received_ms, fate)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                new.conversation.0,
                new.name.map(Username::as_str),
                new.sender.0,
                new.message.0,
                print,
                new.outgoing,
                new.kind,
                new.body,
                new.problem,
                new.failed,
                signed(new.sent_ms),
                signed(new.received_ms),
                new.fate.map(Fate::as_str)
            ],
        )?;
        let place = self.transaction.last_insert_rowid();
        self.one(&format!("SELECT {COLUMNS} FROM message WHERE place = ?1"), params![place], read)
    }

    /// Puts a message in the place of the envelope that did not open. It is printed again, for what was printed was
    /// only the reason. `None` if there is no such place, or the message stands elsewhere: then the place is removed.
    pub fn heal(&self, failed: &[u8; 32], new: &NewMessage<'_>) -> Result<Option<StoredMessage>, StoreError> {
        let Some(place) =
            self.one("SELECT place FROM message WHERE failed = ?1", params![failed], |row| {
                column::<i64>(row, 0)
            })?
        else {
            return Ok(None);
        };
        let elsewhere = self.count(
            "SELECT count(*) FROM message WHERE conversation = ?1 AND sender = ?2 AND message = ?3",
            params![new.conversation.0, new.sender.0, new.message.0],
        )?;
        if elsewhere > 0 {
            self.run("DELETE FROM message WHERE place = ?1", params![place])?;
            return Ok(None);
        }
        let print = self.next_print()?;
        self.run(
            "UPDATE message SET conversation = ?2, sender = ?3, message = ?4, print = ?5, printed = 0, outgoing = ?6, kind = ?7,
                 body = ?8, problem = NULL, failed = NULL, sent_ms = ?9, received_ms = ?10 WHERE place = ?1",
            params![
                place,
                new.conversation.0,
                new.sender.0,
                new.message.0,
                print,
                new.outgoing,
                new.kind,
                new.body,
                signed(new.sent_ms),
                signed(new.received_ms)
            ],
        )?;
        self.one(&format!("SELECT {COLUMNS} FROM message WHERE place = ?1"), params![place], read)
    }

    /// Says better why an envelope did not open.
    pub fn set_problem(&self, failed: &[u8; 32], problem: &str) -> Result<Option<StoredMessage>, StoreError> {
        self.run("UPDATE message SET problem = ?2 WHERE failed = ?1", params![failed, problem])?;
        self.one(&format!("SELECT {COLUMNS} FROM message WHERE failed = ?1"), params![failed], read)
    }

    /// A message that this account sent.
    pub fn sent_message(&self, message: &MessageId) -> Result<Option<StoredMessage>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM message WHERE message = ?1 AND outgoing = 1 LIMIT 1");
        self.one(&sql, params![message.0], read)
    }

    /// The user that a message was written to is known now: its rows move to the account's conversation.
    pub fn resolve_conversation(&self, from: &AccountId, to: &AccountId) -> Result<(), StoreError> {
        self.run(
            "UPDATE OR IGNORE message SET conversation = ?2 WHERE conversation = ?1",
            params![from.0, to.0],
        )?;
        Ok(())
    }

    /// What arrived after a print number, oldest first; only what was not printed, if so wanted.
    pub fn arrived_after(
        &self,
        print: u64,
        unprinted: bool,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let filter = if unprinted { "AND printed = 0" } else { "" };
        let sql = format!("SELECT {COLUMNS} FROM message WHERE print > ?1 {filter} ORDER BY print LIMIT ?2");
        self.all(&sql, params![signed(print), limit], read)
    }

    /// A row was printed.
    pub fn set_printed(&self, print: u64) -> Result<(), StoreError> {
        self.run("UPDATE message SET printed = 1 WHERE print = ?1", params![signed(print)])?;
        Ok(())
    }

    /// The newest rows, oldest first; only of a conversation, only before a place.
    pub fn history(
        &self,
        conversation: Option<&AccountId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let before = before.unwrap_or(i64::MAX);
        let mut rows = match conversation {
            Some(account) => self.all(
                &format!(
                    "SELECT {COLUMNS} FROM message WHERE conversation = ?1 AND place < ?2
                     ORDER BY place DESC LIMIT ?3"
                ),
                params![account.0, before, limit],
                read,
            )?,
            None => self.all(
                &format!("SELECT {COLUMNS} FROM message WHERE place < ?1 ORDER BY place DESC LIMIT ?2"),
                params![before, limit],
                read,
            )?,
        };
        rows.reverse();
        Ok(rows)
    }

    /// The place of a message.
    pub fn place_of(&self, message: &MessageId) -> Result<Option<i64>, StoreError> {
        self.one(
            "SELECT place FROM message WHERE message = ?1 ORDER BY place LIMIT 1",
            params![message.0],
            |row| column(row, 0),
        )
    }

    /// Rows of a conversation.
    pub fn conversation_rows(&self, account: &AccountId) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM message WHERE conversation = ?1", params![account.0])
    }

    /// Rows of a conversation within a time that cannot be read.
    pub fn failed_rows(
        &self,
        conversation: &AccountId,
        received_ms: RangeInclusive<u64>,
    ) -> Result<u64, StoreError> {
        self.count(
            "SELECT count(*) FROM message
             WHERE conversation = ?1 AND problem IS NOT NULL AND received_ms BETWEEN ?2 AND ?3",
            params![conversation.0, signed(*received_ms.start()), signed(*received_ms.end())],
        )
    }

    /// Sets what became of a message that this account sent; answers whether that is news.
    pub fn set_message_fate(
        &self,
        message: &MessageId,
        fate: Fate,
        reason: Option<&str>,
        connected: bool,
    ) -> Result<bool, StoreError> {
        let changed = self.run(
            "UPDATE message SET fate = ?2, reason = ?3, connected = connected OR ?4
             WHERE message = ?1 AND outgoing = 1 AND (fate IS NOT ?2 OR reason IS NOT ?3)",
            params![message.0, fate.as_str(), reason, connected],
        )?;
        Ok(changed > 0)
    }
}

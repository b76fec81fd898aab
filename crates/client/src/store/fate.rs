//! What became of each device's copy of a message.

use rusqlite::{Row, params};
use sotto_proto::{AccountId, DeviceId, FateTag, MessageId};

use super::{StoreError, Tx, array, column, signed, time};
use crate::api::Fate;

/// One device's copy of a message that the server has stored.
#[derive(Debug, Clone)]
pub struct CopyFate {
    /// The message.
    pub message: MessageId,
    /// The recipient.
    pub account: AccountId,
    /// The recipient's device.
    pub device: DeviceId,
    /// The server is asked by this.
    pub tag: FateTag,
    /// What became of it.
    pub state: Fate,
    /// When the server stored it.
    pub stored_ms: u64,
}

const COLUMNS: &str = "message, account, device, tag, state, stored_ms";

fn read(row: &Row<'_>) -> rusqlite::Result<CopyFate> {
    Ok(CopyFate {
        message: MessageId(array(row, 0)?),
        account: AccountId(array(row, 1)?),
        device: DeviceId(array(row, 2)?),
        tag: FateTag(array(row, 3)?),
        state: Fate::parse(&column::<String>(row, 4)?).unwrap_or(Fate::Stored),
        stored_ms: time(row, 5)?,
    })
}

impl Tx<'_> {
    /// The server has settled a copy.
    pub fn add_fate(&self, fate: &CopyFate) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO fate (message, account, device, tag, state, stored_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (message, account, device) DO UPDATE SET tag = ?4, state = ?5, stored_ms = ?6
             WHERE fate.state NOT IN ('delivered', 'read')",
            params![
                fate.message.0,
                fate.account.0,
                fate.device.0,
                fate.tag.0,
                fate.state.as_str(),
                signed(fate.stored_ms)
            ],
        )?;
        Ok(())
    }

    /// A copy is not on the server any more, and is not asked after.
    pub fn remove_fate(&self, tag: &FateTag) -> Result<(), StoreError> {
        self.run("DELETE FROM fate WHERE tag = ?1", params![tag.0])?;
        Ok(())
    }

    /// All copies of a message.
    pub fn fates_of(&self, message: &MessageId) -> Result<Vec<CopyFate>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM fate WHERE message = ?1 ORDER BY account, device");
        self.all(&sql, params![message.0], read)
    }

    /// Whether the server has settled a copy for an account.
    pub fn reached(&self, message: &MessageId, account: &AccountId) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM fate WHERE message = ?1 AND account = ?2";
        Ok(self.count(sql, params![message.0, account.0])? > 0)
    }

    /// A copy by its tag.
    pub fn fate_by_tag(&self, tag: &FateTag) -> Result<Option<CopyFate>, StoreError> {
        self.one(&format!("SELECT {COLUMNS} FROM fate WHERE tag = ?1"), params![tag.0], read)
    }

    /// Copies without a receipt that were stored after `since_ms`, after a tag, in order of tags.
    pub fn open_fates(
        &self,
        since_ms: u64,
        after: Option<&FateTag>,
        limit: u32,
    ) -> Result<Vec<CopyFate>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM fate WHERE tag > ?1 AND state IN ('stored', 'taken') AND stored_ms >= ?2
             ORDER BY tag LIMIT ?3"
        );
        let after = after.map_or(&[][..], |tag| &tag.0[..]);
        self.all(&sql, params![after, signed(since_ms), limit], read)
    }

    /// Messages that count as stored, though no copy for their recipient was stored after `before_ms`; only such for which
    /// this was not said. A copy for an own device (`me`) may have left later, and tells nothing of them.
    pub fn unheard_of(
        &self,
        me: &AccountId,
        before_ms: u64,
        reason: &str,
        limit: u32,
    ) -> Result<Vec<MessageId>, StoreError> {
        self.all(
            "SELECT message FROM message WHERE outgoing = 1 AND fate = 'stored' AND reason IS NOT ?2
             AND EXISTS (SELECT 1 FROM fate WHERE fate.message = message.message)
             AND NOT EXISTS (SELECT 1 FROM fate WHERE fate.message = message.message
                 AND (fate.account = ?4) = (message.conversation = ?4) AND stored_ms >= ?1) LIMIT ?3",
            params![signed(before_ms), reason, limit, me.0],
            |row| array(row, 0).map(MessageId),
        )
    }

    /// Raises what became of a copy; a receipt outranks everything, and nothing is taken back. Answers whether that
    /// is news.
    pub fn raise_fate(
        &self,
        message: &MessageId,
        account: &AccountId,
        device: &DeviceId,
        state: Fate,
    ) -> Result<bool, StoreError> {
        let known = self.one(
            "SELECT state FROM fate WHERE message = ?1 AND account = ?2 AND device = ?3",
            params![message.0, account.0, device.0],
            |row| column::<String>(row, 0),
        )?;
        let Some(known) = known.as_deref().and_then(Fate::parse) else {
            // A receipt may come before the server's answer: after a crash the answer is only asked for again.
            let added = self.run(
                "INSERT INTO fate (message, account, device, tag, state, stored_ms)
                 SELECT ?1, copy.account, copy.device, copy.tag, ?4, outbox.created_ms
                 FROM copy JOIN outbox USING (entry)
                 WHERE outbox.message = ?1 AND copy.account = ?2 AND copy.device = ?3 LIMIT 1",
                params![message.0, account.0, device.0, state.as_str()],
            )?;
            if added > 0 || state < Fate::Delivered {
                return Ok(added > 0);
            }
            // Or after this device has given up hope that the server had it.
            let proven = self.run(
                "INSERT INTO fate (message, account, device, tag, state, stored_ms)
                 SELECT message, conversation, ?3, zeroblob(16), ?4, received_ms FROM message
                 WHERE message = ?1 AND conversation = ?2 AND outgoing = 1 LIMIT 1",
                params![message.0, account.0, device.0, state.as_str()],
            )?;
            return Ok(proven > 0);
        };
        // Expiry is the one step down: what was only stored can still be lost.
        let news = if state == Fate::Expired { known == Fate::Stored } else { state > known };
        if news {
            self.run(
                "UPDATE fate SET state = ?4 WHERE message = ?1 AND account = ?2 AND device = ?3",
                params![message.0, account.0, device.0, state.as_str()],
            )?;
        }
        Ok(news)
    }
}

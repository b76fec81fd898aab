//! Own prekeys, and sessions, with their private halves as `sotto-crypto` stores them.

use rusqlite::params;
use sotto_proto::{AccountId, DeviceId, prekey::PrekeyId};
use zeroize::Zeroizing;

use super::{StoreError, Tx, array, column, signed, time};

/// Which of the four kinds a prekey is; the number stands in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrekeySlot {
    /// Signed X25519.
    Signed = 1,
    /// Last-resort ML-KEM.
    LastResort = 2,
    /// One-time X25519.
    OneTime = 3,
    /// One-time ML-KEM.
    OneTimeKem = 4,
}

/// A prekey of this device.
pub struct OwnPrekey {
    /// Its number.
    pub id: PrekeyId,
    /// As `sotto-crypto` stores it.
    pub secret: Zeroizing<Vec<u8>>,
    /// When it was made.
    pub created_ms: u64,
}

/// One-time keys of a kind that are kept at any age: ten times as many as the server holds, for uploads may have been lost.
const KEPT_ONE_TIME: u32 = 1_000;

impl Tx<'_> {
    /// A private prekey.
    pub fn prekey(&self, slot: PrekeySlot, id: PrekeyId) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.one("SELECT secret FROM prekey WHERE kind = ?1 AND id = ?2", params![slot as u8, id.0], |row| {
            column::<Vec<u8>>(row, 0).map(Zeroizing::new)
        })
    }

    /// Whether a prekey of a kind is known to have been made before `before_ms`: it may be wiped, but one that was made later is here.
    pub fn is_old_prekey(&self, slot: PrekeySlot, id: PrekeyId, before_ms: u64) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM prekey WHERE kind = ?1 AND id >= ?2 AND created_ms < ?3";
        Ok(self.count(sql, params![slot as u8, id.0, signed(before_ms)])? > 0)
    }

    /// The newest of a kind.
    pub fn newest_prekey(&self, slot: PrekeySlot) -> Result<Option<OwnPrekey>, StoreError> {
        self.one(
            "SELECT id, secret, created_ms FROM prekey WHERE kind = ?1 ORDER BY id DESC LIMIT 1",
            params![slot as u8],
            |row| {
                Ok(OwnPrekey {
                    id: PrekeyId(column(row, 0)?),
                    secret: Zeroizing::new(column(row, 1)?),
                    created_ms: time(row, 2)?,
                })
            },
        )
    }

    /// The number of the next prekey of a kind; never given twice.
    pub fn next_prekey_id(&self, slot: PrekeySlot) -> Result<PrekeyId, StoreError> {
        let name = format!("next prekey {}", slot as u8);
        let next = self.number(&name)?.max(1);
        self.set_number(&name, next.saturating_add(1))?;
        u32::try_from(next)
            .map(PrekeyId)
            .map_err(|_| StoreError::Failed("prekey numbers are used up".to_owned()))
    }

    /// Keeps a new prekey. Of the signed kinds, it takes the place of the one before once the server has it.
    pub fn add_prekey(
        &self,
        slot: PrekeySlot,
        id: PrekeyId,
        secret: &[u8],
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO prekey (kind, id, secret, created_ms) VALUES (?1, ?2, ?3, ?4)",
            params![slot as u8, id.0, secret, signed(now_ms)],
        )?;
        Ok(())
    }

    /// The server hands out this signed prekey: those before it are replaced from now on, and kept for what is under way; until
    /// then the one that it handed out counts, however old it is.
    pub fn note_published(&self, slot: PrekeySlot, id: PrekeyId, now_ms: u64) -> Result<(), StoreError> {
        self.run(
            "UPDATE prekey SET replaced_ms = ?3 WHERE kind = ?1 AND id < ?2 AND replaced_ms IS NULL
             AND EXISTS (SELECT 1 FROM prekey WHERE kind = ?1 AND id = ?2)",
            params![slot as u8, id.0, signed(now_ms)],
        )?;
        self.run(
            "UPDATE prekey SET replaced_ms = NULL WHERE kind = ?1 AND id = ?2 AND replaced_ms IS NOT NULL",
            params![slot as u8, id.0],
        )?;
        Ok(())
    }

    /// A one-time prekey was used: gone for ever.
    pub fn remove_prekey(&self, slot: PrekeySlot, id: PrekeyId) -> Result<(), StoreError> {
        self.run("DELETE FROM prekey WHERE kind = ?1 AND id = ?2", params![slot as u8, id.0])?;
        Ok(())
    }

    /// Wipes signed prekeys that were replaced before `before_ms`, and all that were made before `unused_before_ms`, but for the
    /// newest signed ones and those one-time ones that the server may still hand out, however seldom it is asked.
    pub fn wipe_prekeys(&self, before_ms: u64, unused_before_ms: u64) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM prekey WHERE replaced_ms IS NOT NULL AND replaced_ms < ?1",
            params![signed(before_ms)],
        )?;
        self.run(
            "DELETE FROM prekey WHERE created_ms < ?1 AND id <= (SELECT max(newest.id) FROM prekey AS newest
                 WHERE newest.kind = prekey.kind) - CASE WHEN kind IN (1, 2) THEN 1 ELSE ?2 END",
            params![signed(unused_before_ms), KEPT_ONE_TIME],
        )?;
        Ok(())
    }

    /// All sessions with a device.
    pub fn sessions(
        &self,
        account: &AccountId,
        device: &DeviceId,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.one(
            "SELECT state FROM session WHERE account = ?1 AND device = ?2",
            params![account.0, device.0],
            |row| column::<Vec<u8>>(row, 0).map(Zeroizing::new),
        )
    }

    /// Keeps the sessions with a device.
    pub fn save_sessions(
        &self,
        account: &AccountId,
        device: &DeviceId,
        state: &[u8],
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO session (account, device, state) VALUES (?1, ?2, ?3)
             ON CONFLICT (account, device) DO UPDATE SET state = ?3",
            params![account.0, device.0, state],
        )?;
        Ok(())
    }

    /// Every device there are sessions with.
    pub fn session_devices(&self) -> Result<Vec<(AccountId, DeviceId)>, StoreError> {
        self.all("SELECT account, device FROM session", [], |row| {
            Ok((AccountId(array(row, 0)?), DeviceId(array(row, 1)?)))
        })
    }

    /// Forgets the sessions with all devices of an account.
    pub fn forget_sessions(&self, account: &AccountId) -> Result<(), StoreError> {
        self.run("DELETE FROM session WHERE account = ?1", params![account.0])?;
        Ok(())
    }
}

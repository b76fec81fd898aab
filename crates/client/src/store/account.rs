//! Living with an account: whom it blocks, what its devices are called, and a password that is being changed.

use rusqlite::params;
use sotto_proto::{
    AccountId, AccountKey, DeviceId, ServerId, Username,
    content::MAX_DEVICE_NAME,
    frame::AuthKey,
    wire::{Reader, Writer},
};
use zeroize::Zeroizing;

use super::{StoreError, Tx, array, column, signed, time};

/// Names of devices that are kept: far more than an account ever has.
const MAX_DEVICE_NAMES: u32 = 2_000;
/// The version of the records below.
const VERSION: u8 = 1;

/// An account that is blocked, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRecord {
    /// Whose.
    pub account: AccountId,
    /// Whether it is.
    pub blocked: bool,
    /// When that was said, by the clock of the device on which it was, Unix milliseconds.
    pub clock_ms: u64,
}

/// A change of the password that the server has not settled yet. Its keys prove the password, so they are wiped.
pub struct PasswordChange {
    /// What proves the password until now.
    pub old: AuthKey,
    /// What proves the new one.
    pub new: AuthKey,
    /// The wrap of the store's key under the new one.
    pub wrap: WrapId,
}

/// Names one wrap of the store's key in the key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapId(pub [u8; 8]);

/// A device that waits to be approved: what it needs to go on after an interruption.
pub struct WaitingDevice {
    /// The account's name.
    pub username: Username,
    /// The account's id, as the server showed it when the code was made.
    pub account: AccountId,
    /// The account's key, likewise.
    pub account_key: AccountKey,
    /// This device's id.
    pub device: DeviceId,
    /// This device's private keys, as `sotto-crypto` stores them.
    pub device_secret: Zeroizing<Vec<u8>>,
}

impl Tx<'_> {
    /// Says that an account is blocked, or no longer; an older word does nothing. Answers whether that is news.
    pub fn set_block(&self, block: &BlockRecord) -> Result<bool, StoreError> {
        let changed = self.run(
            "INSERT INTO block (account, blocked, clock_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (account) DO UPDATE SET blocked = ?2, clock_ms = ?3, told = 0
             WHERE block.clock_ms < ?3 OR (block.clock_ms = ?3 AND block.blocked < ?2)",
            params![block.account.0, block.blocked, signed(block.clock_ms)],
        )?;
        Ok(changed > 0)
    }

    /// Keeps what the user has said on this device, whatever was said before.
    pub fn decide_block(&self, block: &BlockRecord) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO block (account, blocked, clock_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (account) DO UPDATE SET blocked = ?2, clock_ms = ?3, told = 0",
            params![block.account.0, block.blocked, signed(block.clock_ms)],
        )?;
        Ok(())
    }

    /// What was last said about an account.
    pub fn block(&self, account: &AccountId) -> Result<Option<BlockRecord>, StoreError> {
        let sql = "SELECT account, blocked, clock_ms FROM block WHERE account = ?1";
        self.one(sql, params![account.0], block)
    }

    /// Every account that is blocked.
    pub fn blocked(&self) -> Result<Vec<BlockRecord>, StoreError> {
        let sql = "SELECT account, blocked, clock_ms FROM block WHERE blocked = 1 ORDER BY account";
        self.all(sql, [], block)
    }

    /// How many accounts are blocked.
    pub fn count_blocked(&self) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM block WHERE blocked = 1", [])
    }

    /// What the server has not confirmed yet, oldest first.
    pub fn untold_blocks(&self, limit: u32) -> Result<Vec<BlockRecord>, StoreError> {
        let sql = "SELECT account, blocked, clock_ms FROM block WHERE told = 0 ORDER BY clock_ms LIMIT ?1";
        self.all(sql, params![limit], block)
    }

    /// The server has confirmed this; what was said since then it has not.
    pub fn set_told(&self, block: &BlockRecord) -> Result<(), StoreError> {
        self.run(
            "UPDATE block SET told = 1 WHERE account = ?1 AND clock_ms = ?2 AND blocked = ?3",
            params![block.account.0, signed(block.clock_ms), block.blocked],
        )?;
        Ok(())
    }

    /// The server's data is that of another time: it is told everything again.
    pub fn forget_told(&self) -> Result<(), StoreError> {
        self.run("UPDATE block SET told = 0", [])?;
        Ok(())
    }

    /// Forgets those that are no longer blocked since before a time: no device says otherwise any more.
    pub fn forget_unblocked(&self, before_ms: u64) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM block WHERE blocked = 0 AND told = 1 AND clock_ms < ?1",
            params![signed(before_ms)],
        )?;
        Ok(())
    }

    /// Gives a device a name; an older word does nothing. Answers whether that is news.
    pub fn set_device_name(&self, device: &DeviceId, name: &str, clock_ms: u64) -> Result<bool, StoreError> {
        let changed = self.run(
            "INSERT INTO device_name (device, name, clock_ms) SELECT ?1, ?2, ?3
             WHERE (SELECT count(*) FROM device_name) < ?4
                OR EXISTS (SELECT 1 FROM device_name WHERE device = ?1)
             ON CONFLICT (device) DO UPDATE SET name = ?2, clock_ms = ?3
             WHERE device_name.clock_ms < ?3 OR (device_name.clock_ms = ?3 AND device_name.name < ?2)",
            params![device.0, clip(name), signed(clock_ms), MAX_DEVICE_NAMES],
        )?;
        Ok(changed > 0)
    }

    /// Gives a device a name on the user's word, whatever it was called before. `false`: as many as possible have one.
    pub fn decide_device_name(
        &self,
        device: &DeviceId,
        name: &str,
        clock_ms: u64,
    ) -> Result<bool, StoreError> {
        self.run(
            "UPDATE device_name SET clock_ms = ?2 WHERE device = ?1",
            params![device.0, signed(clock_ms.saturating_sub(1))],
        )?;
        self.set_device_name(device, name, clock_ms)
    }

    /// Forgets a device's name.
    pub fn forget_device_name(&self, device: &DeviceId) -> Result<(), StoreError> {
        self.run("DELETE FROM device_name WHERE device = ?1", params![device.0])?;
        Ok(())
    }

    /// A device's name, and when it was given; empty and 0 if none was.
    pub fn device_name(&self, device: &DeviceId) -> Result<(String, u64), StoreError> {
        let sql = "SELECT name, clock_ms FROM device_name WHERE device = ?1";
        let found = self.one(sql, params![device.0], |row| Ok((column(row, 0)?, time(row, 1)?)))?;
        Ok(found.unwrap_or_default())
    }

    /// All devices that have a name.
    pub fn device_names(&self) -> Result<Vec<(DeviceId, String, u64)>, StoreError> {
        self.all("SELECT device, name, clock_ms FROM device_name ORDER BY device", [], |row| {
            Ok((DeviceId(array(row, 0)?), column(row, 1)?, time(row, 2)?))
        })
    }

    /// A change of the password that is not settled.
    pub fn password_change(&self) -> Result<Option<PasswordChange>, StoreError> {
        let Some(bytes) = self.meta("password change")? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        version(&mut reader, "password change")?;
        let change = PasswordChange {
            old: AuthKey(reader.array()?),
            new: AuthKey(reader.array()?),
            wrap: WrapId(reader.array()?),
        };
        reader.finish()?;
        Ok(Some(change))
    }

    /// Begins a change of the password.
    pub fn begin_password_change(&self, change: &PasswordChange) -> Result<(), StoreError> {
        let mut out = Writer::new();
        out.u8(VERSION).raw(&change.old.0).raw(&change.new.0).raw(&change.wrap.0);
        self.set_meta("password change", &Zeroizing::new(out.finish()))
    }

    /// Settles it: with `changed`, the new wrap is the right one from now on.
    pub fn end_password_change(&self, changed: bool) -> Result<(), StoreError> {
        if changed && let Some(change) = self.password_change()? {
            self.set_meta("wrap", &change.wrap.0)?;
        }
        self.run("DELETE FROM meta WHERE name = 'password change'", [])?;
        Ok(())
    }

    /// Which of several wraps in the key file is the right one; `None` for the oldest.
    pub fn right_wrap(&self) -> Result<Option<WrapId>, StoreError> {
        let Some(bytes) = self.meta("wrap")? else { return Ok(None) };
        let id = bytes.as_slice().try_into().map_err(|_| StoreError::Damaged("meta wrap".to_owned()))?;
        Ok(Some(WrapId(id)))
    }

    /// The device that waits to be approved, in a profile without an account.
    pub fn waiting_device(&self) -> Result<Option<WaitingDevice>, StoreError> {
        let Some(bytes) = self.meta("waiting device")? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        version(&mut reader, "waiting device")?;
        let username = Username::parse(reader.str(256)?)
            .map_err(|error| StoreError::Damaged(format!("the waiting device: {error}")))?;
        let waiting = WaitingDevice {
            username,
            account: AccountId(reader.array()?),
            account_key: AccountKey(reader.array()?),
            device: DeviceId(reader.array()?),
            device_secret: Zeroizing::new(reader.bytes(1024)?.to_vec()),
        };
        reader.finish()?;
        Ok(Some(waiting))
    }

    /// Keeps the device that is going to wait.
    pub fn save_waiting_device(&self, waiting: &WaitingDevice) -> Result<(), StoreError> {
        let mut out = Writer::new();
        out.u8(VERSION)
            .str(waiting.username.as_str())
            .raw(&waiting.account.0)
            .raw(&waiting.account_key.0)
            .raw(&waiting.device.0)
            .bytes(&waiting.device_secret);
        self.set_meta("waiting device", &Zeroizing::new(out.finish()))
    }

    /// A reset that was asked for from this profile: at which server; `None` if none was.
    pub fn reset_asked(&self) -> Result<Option<ServerId>, StoreError> {
        let Some(bytes) = self.meta("reset")? else { return Ok(None) };
        let id = bytes.as_slice().try_into().map_err(|_| StoreError::Damaged("meta reset".to_owned()))?;
        Ok(Some(ServerId(id)))
    }

    /// The profile has an account: what it took to get there is of no use any more.
    pub fn forget_setup(&self) -> Result<(), StoreError> {
        self.run("DELETE FROM meta WHERE name IN ('waiting device', 'reset')", [])?;
        Ok(())
    }

    /// This profile asks that server for a reset of the account.
    pub fn set_reset_asked(&self, server: &ServerId) -> Result<(), StoreError> {
        self.set_meta("reset", &server.0)
    }
}

fn block(row: &rusqlite::Row<'_>) -> rusqlite::Result<BlockRecord> {
    Ok(BlockRecord { account: AccountId(array(row, 0)?), blocked: column(row, 1)?, clock_ms: time(row, 2)? })
}

fn version(reader: &mut Reader<'_>, what: &str) -> Result<(), StoreError> {
    match reader.u8()? {
        VERSION => Ok(()),
        other => Err(StoreError::TooNew(format!("the record `{what}` is of version {other}"))),
    }
}

/// As much of a name as fits, whole characters only.
fn clip(name: &str) -> &str {
    let mut end = name.len().min(MAX_DEVICE_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::LocalStore;

    fn with<T>(work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> T {
        LocalStore::in_memory().unwrap().transaction(work).unwrap()
    }

    #[test]
    fn of_two_words_about_one_account_the_later_counts_whichever_comes_first() {
        let say = |blocked, clock_ms| BlockRecord { account: AccountId([1; 16]), blocked, clock_ms };
        with(|tx| {
            assert!(tx.set_block(&say(true, 10))?);
            tx.set_told(&say(true, 10))?;
            assert!(!tx.set_block(&say(false, 9))?);
            assert!(!tx.set_block(&say(true, 10))?);
            assert_eq!(tx.untold_blocks(10)?, []);
            assert!(tx.set_block(&say(false, 11))?);
            assert_eq!(tx.untold_blocks(10)?, [say(false, 11)]);
            // An answer about the earlier word does not settle the later one.
            tx.set_told(&say(true, 10))?;
            assert_eq!(tx.untold_blocks(10)?, [say(false, 11)]);
            tx.set_told(&say(false, 11))?;
            tx.forget_unblocked(11)?;
            assert!(tx.block(&AccountId([1; 16]))?.is_some());
            tx.forget_unblocked(12)?;
            assert_eq!(tx.block(&AccountId([1; 16]))?, None);
            // Two devices at the same millisecond agree in the end: blocked wins on both.
            assert!(tx.set_block(&say(false, 20))?);
            assert!(tx.set_block(&say(true, 20))?);
            assert!(!tx.set_block(&say(false, 20))?);
            assert_eq!(tx.count_blocked()?, 1);
            Ok(())
        });
    }

    #[test]
    fn what_is_said_here_counts_whatever_clock_was_kept() {
        with(|tx| {
            for clock_ms in [u64::MAX, u64::MAX >> 1] {
                let account = AccountId([1; 16]);
                tx.decide_block(&BlockRecord { account, blocked: true, clock_ms })?;
                let lifted = BlockRecord { account, blocked: false, clock_ms: 5 };
                tx.set_told(&BlockRecord { account, blocked: true, clock_ms })?;
                tx.decide_block(&lifted)?;
                assert_eq!(tx.block(&account)?, Some(lifted));
                assert_eq!(tx.untold_blocks(10)?, [lifted]);
                let device = DeviceId([1; 16]);
                assert!(tx.decide_device_name(&device, "theirs", clock_ms)?);
                assert!(tx.decide_device_name(&device, "laptop", 5)?);
                assert_eq!(tx.device_name(&device)?, ("laptop".to_owned(), 5));
            }
            Ok(())
        });
    }

    #[test]
    fn names_are_bounded_and_the_later_one_counts() {
        let device = DeviceId([1; 16]);
        with(|tx| {
            assert_eq!(tx.device_name(&device)?, (String::new(), 0));
            assert!(tx.set_device_name(&device, "laptop", 5)?);
            assert!(!tx.set_device_name(&device, "old", 4)?);
            assert!(tx.set_device_name(&device, &"é".repeat(60), 6)?);
            assert_eq!(tx.device_name(&device)?.0, "é".repeat(32));
            for number in 0..MAX_DEVICE_NAMES + 5 {
                let mut id = [0; 16];
                id.split_at_mut(4).0.copy_from_slice(&number.to_be_bytes());
                tx.set_device_name(&DeviceId(id), "x", 1)?;
            }
            assert_eq!(tx.device_names()?.len(), usize::try_from(MAX_DEVICE_NAMES).unwrap());
            assert!(tx.set_device_name(&device, "one that is there can still be changed", 7)?);
            Ok(())
        });
    }

    #[test]
    fn a_password_change_reads_back_and_settles_which_wrap_is_right() {
        with(|tx| {
            let change =
                PasswordChange { old: AuthKey([1; 32]), new: AuthKey([2; 32]), wrap: WrapId([3; 8]) };
            tx.begin_password_change(&change)?;
            let back = tx.password_change()?.unwrap();
            assert_eq!(
                (back.old, back.new, back.wrap),
                (change.old.clone(), change.new.clone(), change.wrap)
            );
            tx.end_password_change(false)?;
            assert_eq!(tx.right_wrap()?, None);
            tx.begin_password_change(&change)?;
            tx.end_password_change(true)?;
            assert!(tx.password_change()?.is_none());
            assert_eq!(tx.right_wrap()?, Some(WrapId([3; 8])));
            Ok(())
        });
    }

    #[test]
    fn a_waiting_device_reads_back_and_a_newer_record_is_refused() {
        with(|tx| {
            let waiting = WaitingDevice {
                username: "alice".parse().unwrap(),
                account: AccountId([1; 16]),
                account_key: AccountKey([2; 32]),
                device: DeviceId([3; 16]),
                device_secret: Zeroizing::new(vec![4; 65]),
            };
            tx.save_waiting_device(&waiting)?;
            let back = tx.waiting_device()?.unwrap();
            assert_eq!((back.account, back.device), (waiting.account, waiting.device));
            assert_eq!(back.device_secret, waiting.device_secret);
            tx.set_meta("waiting device", &[2])?;
            assert!(matches!(tx.waiting_device(), Err(StoreError::TooNew(_))));
            tx.set_meta("waiting device", &[1, 0])?;
            assert!(matches!(tx.waiting_device(), Err(StoreError::Damaged(_))));
            Ok(())
        });
    }
}

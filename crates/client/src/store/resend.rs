//! What keeps every message on screen exactly once: bodies that were processed, bodies that can be sent again, bodies
//! to ask for, receipts to send, and envelopes whose sender is not confirmed yet.

use rusqlite::{Row, params};
use sotto_proto::{AccountId, DeviceId, MessageId, SessionId, SignedCertificate, Username, limits::DAY_MS};

use super::{StoreError, Tx, array, column, signed, time};

/// Which message an envelope held.
#[derive(Debug, Clone)]
pub struct SentBody {
    /// To which account it was sealed.
    pub account: AccountId,
    /// To which device it was sealed.
    pub device: DeviceId,
    /// In which session.
    pub session: SessionId,
    /// The conversation of the message.
    pub conversation: AccountId,
    /// The message; [`NO_MESSAGE`] where it was none.
    pub message: MessageId,
}

/// In place of a message's id: something that devices tell each other, and nobody misses on a screen.
pub const NO_MESSAGE: MessageId = MessageId([0; 16]);

/// An envelope that did not open, to be asked for.
#[derive(Debug, Clone)]
pub struct WantedBody {
    /// Its reference.
    pub reference: [u8; 32],
    /// Who is asked.
    pub account: AccountId,
    /// Which device.
    pub device: DeviceId,
    /// In which session it was sealed, where that is known.
    pub session: Option<SessionId>,
}

/// Which certificate an envelope came with: SHA-256 of its bytes, signature included. So nobody can put their own envelopes
/// among somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimedIdentity(pub [u8; 32]);

impl ClaimedIdentity {
    /// Of a certificate.
    pub fn new(certificate: &SignedCertificate) -> Self {
        Self(certificate.hash())
    }
}

/// A body is sent again at most so often: an honest device asks daily for as long as it lacks the message.
const MAX_AGAIN: u32 = 30;
/// And only after this time, so that a request is no lever for making others work; less than the day after which an
/// honest device asks again.
const AGAIN_AFTER_MS: u64 = DAY_MS / 2;

fn wanted(row: &Row<'_>) -> rusqlite::Result<WantedBody> {
    Ok(WantedBody {
        reference: array(row, 0)?,
        account: AccountId(array(row, 1)?),
        device: DeviceId(array(row, 2)?),
        session: column::<Option<[u8; 16]>>(row, 3)?.map(SessionId),
    })
}

impl Tx<'_> {
    /// Notes that a body is being processed; false if it was before.
    pub fn first_sight(&self, hash: &[u8; 16]) -> Result<bool, StoreError> {
        Ok(self.run("INSERT OR IGNORE INTO seen_body (hash) VALUES (?1)", params![hash])? > 0)
    }

    /// Remembers which message an envelope held.
    pub fn add_sent_body(
        &self,
        reference: &[u8; 32],
        sent: &SentBody,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT OR REPLACE INTO sent_body (reference, account, device, session, conversation, message, sent_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                reference,
                sent.account.0,
                sent.device.0,
                sent.session.0,
                sent.conversation.0,
                sent.message.0,
                signed(now_ms)
            ],
        )?;
        Ok(())
    }

    /// Remembers which receipts an envelope held, of which [`Self::add_sent_body`] was told.
    pub fn add_sent_receipts(&self, reference: &[u8; 32], messages: &[MessageId]) -> Result<(), StoreError> {
        for message in messages {
            self.run(
                "INSERT OR IGNORE INTO sent_receipt (reference, message) VALUES (?1, ?2)",
                params![reference, message.0],
            )?;
        }
        Ok(())
    }

    /// Which receipts an envelope held, for as long as [`Self::sent_body`] is known.
    pub fn sent_receipts(&self, reference: &[u8; 32]) -> Result<Vec<MessageId>, StoreError> {
        self.all(
            "SELECT message FROM sent_receipt WHERE reference = ?1 ORDER BY message",
            params![reference],
            |row| array(row, 0).map(MessageId),
        )
    }

    /// Which message an envelope held.
    pub fn sent_body(&self, reference: &[u8; 32]) -> Result<Option<SentBody>, StoreError> {
        self.one(
            "SELECT account, device, session, conversation, message FROM sent_body WHERE reference = ?1",
            params![reference],
            |row| {
                Ok(SentBody {
                    account: AccountId(array(row, 0)?),
                    device: DeviceId(array(row, 1)?),
                    session: SessionId(array(row, 2)?),
                    conversation: AccountId(array(row, 3)?),
                    message: MessageId(array(row, 4)?),
                })
            },
        )
    }

    /// Forgets what was sent to an account whose identity changed: bodies, and what devices were to be told. What became of it
    /// is still asked for.
    pub fn forget_sent_to(&self, account: &AccountId) -> Result<(), StoreError> {
        self.run("DELETE FROM sent_body WHERE account = ?1", params![account.0])?;
        self.run("DELETE FROM outbox WHERE account = ?1 AND user = 0", params![account.0])?;
        self.run("DELETE FROM receipt WHERE account = ?1", params![account.0])?;
        self.run("DELETE FROM wanted_body WHERE account = ?1", params![account.0])?;
        Ok(())
    }

    /// Puts the copies for an account of which nothing final is known under another id: they are asked for, and never sent again.
    pub fn set_open_fates_aside(&self, account: &AccountId, under: &AccountId) -> Result<(), StoreError> {
        self.run(
            "UPDATE fate SET account = ?2 WHERE account = ?1 AND state IN ('stored', 'taken')",
            params![account.0, under.0],
        )?;
        Ok(())
    }

    /// Forgets bodies that were sent before a time.
    pub fn forget_sent_bodies(&self, before_ms: u64) -> Result<(), StoreError> {
        self.run("DELETE FROM sent_body WHERE sent_ms < ?1", params![signed(before_ms)])?;
        Ok(())
    }

    /// Notes that an envelope is to be asked for; false if it is already.
    pub fn want_body(&self, wanted: &WantedBody) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT OR IGNORE INTO wanted_body (reference, account, device, session, asked_ms, asked)
             VALUES (?1, ?2, ?3, ?4, 0, 0)",
            params![
                wanted.reference,
                wanted.account.0,
                wanted.device.0,
                wanted.session.map(|session| session.0)
            ],
        )?;
        Ok(added > 0)
    }

    /// Envelopes to ask for that were not asked for since `asked_before_ms` (nor later than now, by a clock that was set back),
    /// without those of some devices.
    pub fn bodies_to_ask(
        &self,
        (asked_before_ms, now_ms): (u64, u64),
        without: &[DeviceId],
        limit: u32,
    ) -> Result<Vec<WantedBody>, StoreError> {
        let without: Vec<u8> = without.iter().flat_map(|device| device.0).collect();
        self.all(
            "SELECT reference, account, device, session FROM wanted_body
             WHERE (asked_ms < ?1 OR asked_ms > ?4)
             AND (instr(?3, device) = 0 OR (instr(?3, device) - 1) % 16 <> 0)
             ORDER BY account, device, reference LIMIT ?2",
            params![signed(asked_before_ms), limit, without, signed(now_ms)],
            wanted,
        )
    }

    /// An envelope that is being asked for.
    pub fn wanted_body(&self, reference: &[u8; 32]) -> Result<Option<WantedBody>, StoreError> {
        self.one(
            "SELECT reference, account, device, session FROM wanted_body WHERE reference = ?1",
            params![reference],
            wanted,
        )
    }

    /// An envelope was asked for.
    pub fn asked(&self, reference: &[u8; 32], now_ms: u64) -> Result<(), StoreError> {
        self.run(
            "UPDATE wanted_body SET asked_ms = ?2, asked = asked + 1 WHERE reference = ?1",
            params![reference, signed(now_ms)],
        )?;
        Ok(())
    }

    /// An envelope was answered for by the device that was asked; false if that device was not asked.
    pub fn settle_wanted(
        &self,
        reference: &[u8; 32],
        account: &AccountId,
        device: &DeviceId,
    ) -> Result<bool, StoreError> {
        let removed = self.run(
            "DELETE FROM wanted_body WHERE reference = ?1 AND account = ?2 AND device = ?3",
            params![reference, account.0, device.0],
        )?;
        Ok(removed > 0)
    }

    /// How many envelopes are being asked for, of an account.
    pub fn wanted_of(&self, account: &AccountId) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM wanted_body WHERE account = ?1", params![account.0])
    }

    /// A message of this device was committed; its sender is to be told.
    pub fn add_receipt(
        &self,
        account: &AccountId,
        device: &DeviceId,
        message: &MessageId,
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT OR IGNORE INTO receipt (account, device, message) VALUES (?1, ?2, ?3)",
            params![account.0, device.0, message.0],
        )?;
        Ok(())
    }

    /// Devices that are to be told of receipts.
    pub fn receipt_devices(&self) -> Result<Vec<(AccountId, DeviceId)>, StoreError> {
        self.all("SELECT DISTINCT account, device FROM receipt", [], |row| {
            Ok((AccountId(array(row, 0)?), DeviceId(array(row, 1)?)))
        })
    }

    /// Takes out receipts for a device.
    pub fn take_receipts(
        &self,
        account: &AccountId,
        device: &DeviceId,
        limit: u32,
    ) -> Result<Vec<MessageId>, StoreError> {
        let messages = self.all(
            "SELECT message FROM receipt WHERE account = ?1 AND device = ?2 ORDER BY message LIMIT ?3",
            params![account.0, device.0, limit],
            |row| array(row, 0).map(MessageId),
        )?;
        for message in &messages {
            self.run(
                "DELETE FROM receipt WHERE account = ?1 AND device = ?2 AND message = ?3",
                params![account.0, device.0, message.0],
            )?;
        }
        Ok(messages)
    }

    /// Holds an envelope until its sender is confirmed.
    pub fn hold(
        &self,
        identity: &ClaimedIdentity,
        username: &Username,
        envelope: &[u8],
        stored_ms: u64,
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO held_envelope (identity, username, envelope, stored_ms) VALUES (?1, ?2, ?3, ?4)",
            params![identity.0, username.as_str(), envelope, signed(stored_ms)],
        )?;
        Ok(())
    }

    /// How many envelopes are held for an identity's confirmation.
    pub fn held_count(&self, identity: &ClaimedIdentity) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM held_envelope WHERE identity = ?1", params![identity.0])
    }

    /// How many envelopes are held in all.
    pub fn all_held(&self) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM held_envelope", [])
    }

    /// Identities that envelopes are held for, with the names that they claim.
    pub fn held_identities(&self) -> Result<Vec<(ClaimedIdentity, Username)>, StoreError> {
        let rows = self.all("SELECT DISTINCT identity, username FROM held_envelope", [], |row| {
            Ok((ClaimedIdentity(array(row, 0)?), column::<String>(row, 1)?))
        })?;
        rows.into_iter()
            .map(|(identity, name)| {
                let name = Username::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))?;
                Ok((identity, name))
            })
            .collect()
    }

    /// The first envelope held for an identity.
    pub fn first_held(&self, identity: &ClaimedIdentity) -> Result<Option<Vec<u8>>, StoreError> {
        self.one(
            "SELECT envelope FROM held_envelope WHERE identity = ?1 ORDER BY number LIMIT 1",
            params![identity.0],
            |row| column(row, 0),
        )
    }

    /// How many envelopes are held under a name, and of how many certificates.
    pub fn held_under(&self, username: &Username) -> Result<(u64, u64), StoreError> {
        let counts = self.one(
            "SELECT count(*), count(DISTINCT identity) FROM held_envelope WHERE username = ?1",
            params![username.as_str()],
            |row| Ok((time(row, 0)?, time(row, 1)?)),
        )?;
        Ok(counts.unwrap_or_default())
    }

    /// Forgets envelopes that were stored before a time; answers how many.
    pub fn forget_held(&self, before_ms: u64) -> Result<usize, StoreError> {
        self.run("DELETE FROM held_envelope WHERE stored_ms < ?1", params![signed(before_ms)])
    }

    /// Takes out the envelopes held for an identity, in order: bytes, and when the server stored them.
    pub fn take_held(&self, identity: &ClaimedIdentity) -> Result<Vec<(Vec<u8>, u64)>, StoreError> {
        let rows = self.all(
            "SELECT envelope, stored_ms FROM held_envelope WHERE identity = ?1 ORDER BY number",
            params![identity.0],
            |row| Ok((column(row, 0)?, time(row, 1)?)),
        )?;
        self.run("DELETE FROM held_envelope WHERE identity = ?1", params![identity.0])?;
        Ok(rows)
    }

    /// Notes that a message is sent again for a body that did not open; false if that was done lately or too often.
    pub fn send_again(&self, reference: &[u8; 32], now_ms: u64) -> Result<bool, StoreError> {
        let changed = self.run(
            "UPDATE sent_body SET again_ms = ?2, again = again + 1
             WHERE reference = ?1 AND again < ?3 AND (again = 0 OR again_ms <= ?4 OR again_ms > ?2)",
            params![reference, signed(now_ms), MAX_AGAIN, signed(now_ms.saturating_sub(AGAIN_AFTER_MS))],
        )?;
        Ok(changed > 0)
    }
}

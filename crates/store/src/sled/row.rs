//! Keys and values of every row. Keys are big-endian, so that ranges come in order; each value starts with a version
//! byte. docs/spec/store.md has the same as tables.

use sha2::{Digest, Sha256};
use sotto_proto::{
    AccountId, DeviceId, FateTag, Username, codec,
    frame::{DeviceOutcome, Outcome, Refusal, Submitted},
    prekey::PrekeyId,
    wire::{Reader, WireError, Writer},
};

use crate::{
    Day, InviteHash, StoreError, SubmissionKey,
    ended::{Ended, Ending},
    quota::Load,
};

const VERSION: u8 = 1;

/// Bytes of a value inside the engine; what is longer is a plain file. A leaf has up to 19 rows, and one above 128 KiB
/// would be written past the log, without any sync.
pub(crate) const MAX_VALUE: usize = 6 * 1024;
/// Bytes of content a value holds beside its own header.
pub(crate) const MAX_INLINE: usize = MAX_VALUE - 64;
/// Outcomes of one submission that fit a value; the protocol allows fewer.
pub(crate) const MAX_OUTCOMES: usize = (MAX_VALUE - 32) / 17;
const _: () = assert!(MAX_OUTCOMES >= sotto_proto::limits::MAX_ENVELOPES_PER_SUBMIT);

pub(crate) fn damaged(what: &'static str) -> impl Fn(WireError) -> StoreError {
    move |error| StoreError::Damaged(format!("{what}: {error}"))
}

/// A value's beginning.
pub(crate) fn new_value() -> Writer {
    let mut out = Writer::new();
    out.u8(VERSION);
    out
}

pub(crate) fn versioned<'a>(value: &'a [u8], what: &'static str) -> Result<Reader<'a>, StoreError> {
    let mut reader = Reader::new(value);
    match reader.u8() {
        Ok(VERSION) => Ok(reader),
        Ok(other) => Err(StoreError::Damaged(format!("{what}: unknown version {other}"))),
        Err(error) => Err(damaged(what)(error)),
    }
}

/// Content that stands in its row, or in a file that the row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Inline(Vec<u8>),
    File(FileName),
}

/// A file in `files/`: its id, length and SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileName {
    pub(crate) id: u64,
    pub(crate) length: u32,
    pub(crate) hash: [u8; 32],
}

impl FileName {
    pub(crate) fn of(id: u64, bytes: &[u8]) -> Self {
        Self {
            id,
            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            hash: Sha256::digest(bytes).into(),
        }
    }
}

impl Content {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::File(file) => usize::try_from(file.length).unwrap_or(usize::MAX),
        }
    }

    pub(crate) fn file(&self) -> Option<FileName> {
        match self {
            Self::Inline(_) => None,
            Self::File(file) => Some(*file),
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        match self {
            Self::Inline(bytes) => out.u8(0).raw(bytes),
            Self::File(file) => out.u8(1).u64(file.id).u32(file.length).raw(&file.hash),
        };
    }

    pub(crate) fn read(mut reader: Reader<'_>) -> Result<Self, WireError> {
        match reader.u8()? {
            0 => Ok(Self::Inline(reader.rest().to_vec())),
            1 => {
                let file = FileName { id: reader.u64()?, length: reader.u32()?, hash: reader.array()? };
                reader.finish()?;
                Ok(Self::File(file))
            }
            _ => Err(WireError::Invalid("content kind")),
        }
    }
}

/// Keys of the tree `directory`.
pub(crate) mod directory {
    use super::{AccountId, DeviceId, InviteHash, Username};

    pub(crate) const ACCOUNT: u8 = b'a';
    pub(crate) const DEVICE: u8 = b'd';
    pub(crate) const ENDED: u8 = b'e';
    pub(crate) const INVITE: u8 = b'i';
    pub(crate) const SKELETON: u8 = b's';
    pub(crate) const NAME: u8 = b'u';

    pub(crate) fn account(account: &AccountId) -> Vec<u8> {
        [&[ACCOUNT][..], &account.0].concat()
    }

    pub(crate) fn device(device: &DeviceId) -> Vec<u8> {
        [&[DEVICE][..], &device.0].concat()
    }

    pub(crate) fn ended(account: &AccountId) -> Vec<u8> {
        [&[ENDED][..], &account.0].concat()
    }

    pub(crate) fn invite(hash: &InviteHash) -> Vec<u8> {
        [&[INVITE][..], &hash.0].concat()
    }

    pub(crate) fn skeleton(name: &Username) -> Vec<u8> {
        [&[SKELETON][..], name.skeleton().as_bytes()].concat()
    }

    pub(crate) fn name(name: &Username) -> Vec<u8> {
        [&[NAME][..], name.as_str().as_bytes()].concat()
    }
}

/// Keys of the tree `queue`.
pub(crate) mod queue {
    use super::{FateTag, SubmissionKey};

    pub(crate) const ENVELOPE: u8 = b'q';
    pub(crate) const MAILBOX: u8 = b'm';
    pub(crate) const SUBMISSION: u8 = b's';
    pub(crate) const FATE: u8 = b'f';
    pub(crate) const EXPIRY: u8 = b'x';
    /// How many envelopes there are, and their bytes: written in every batch, so that sled losing some of them in the
    /// middle of its log, where it takes a damaged record for a torn one, is noticed.
    pub(crate) const TALLY: &[u8] = b"n";

    pub(crate) fn envelope(queue: u64, number: u64) -> Vec<u8> {
        [&[ENVELOPE][..], &queue.to_be_bytes(), &number.to_be_bytes()].concat()
    }

    pub(crate) fn mailbox(queue: u64) -> Vec<u8> {
        [&[MAILBOX][..], &queue.to_be_bytes()].concat()
    }

    pub(crate) fn submission(key: &SubmissionKey) -> Vec<u8> {
        [&[SUBMISSION][..], &key.0].concat()
    }

    pub(crate) fn fate(tag: &FateTag) -> Vec<u8> {
        [&[FATE][..], &tag.0].concat()
    }

    pub(crate) fn expiry(at_ms: u64, number: u64) -> Vec<u8> {
        [&[EXPIRY][..], &at_ms.to_be_bytes(), &number.to_be_bytes()].concat()
    }
}

/// What kind of row stands in the tree `prekey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PrekeyRow {
    Signed = 0,
    LastResort = 1,
    OneTime = 2,
    OneTimeKem = 3,
    /// The highest one-time id ever taken.
    Highest = 8,
    /// The highest one-time KEM id ever taken.
    HighestKem = 9,
}

/// The key of a row of the tree `prekey`: device, kind, id.
pub(crate) fn prekey(device: &DeviceId, kind: PrekeyRow, id: PrekeyId) -> Vec<u8> {
    [&device.0[..], &[kind as u8], &id.0.to_be_bytes()].concat()
}

/// Splits an envelope's key into queue and number.
pub(crate) fn envelope_place(key: &[u8]) -> Result<(u64, u64), StoreError> {
    let read = || {
        let mut reader = Reader::new(key);
        reader.u8()?;
        let place = (reader.u64()?, reader.u64()?);
        reader.finish()?;
        Ok(place)
    };
    read().map_err(damaged("an envelope's key"))
}

/// The id that follows a prefix byte.
pub(crate) fn id_of_key<const N: usize>(key: &[u8]) -> Result<[u8; N], StoreError> {
    let id = key.get(1..).and_then(|id| <[u8; N]>::try_from(id).ok());
    id.ok_or_else(|| StoreError::Damaged("a key of the wrong length".to_owned()))
}

/// An envelope that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvelopeRow {
    pub(crate) stored_ms: u64,
    pub(crate) tag: FateTag,
    pub(crate) content: Content,
}

impl EnvelopeRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION).u64(self.stored_ms).raw(&self.tag.0);
        self.content.write(&mut out);
        out.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = versioned(value, "an envelope")?;
        let read = || {
            Ok(Self {
                stored_ms: reader.u64()?,
                tag: FateTag(reader.array()?),
                content: Content::read(reader)?,
            })
        };
        read().map_err(damaged("an envelope"))
    }
}

/// How far a mailbox has been read and lost. A mailbox without this row is at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MailboxRow {
    pub(crate) acked: u64,
    pub(crate) lost_through: u64,
    /// The counter's state when its incarnation began; 0, which is not written, in the first.
    pub(crate) begun: u64,
}

impl MailboxRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION).u64(self.acked).u64(self.lost_through);
        if self.begun > 0 {
            out.u64(self.begun);
        }
        out.finish()
    }

    /// What was acked in this incarnation.
    pub(crate) fn acked_since(&self) -> u64 {
        if self.acked > self.begun { self.acked } else { 0 }
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = versioned(value, "a mailbox")?;
        let read =
            || Ok(Self { acked: reader.u64()?, lost_through: reader.u64()?, begun: last_number(reader)? });
        read().map_err(damaged("a mailbox"))
    }
}

/// The number that a row may end with, else 0.
fn last_number(mut reader: Reader<'_>) -> Result<u64, WireError> {
    let number = if reader.rest().is_empty() { 0 } else { reader.u64()? };
    reader.finish()?;
    Ok(number)
}

/// Where an envelope went. Waiting or taken follows from the mailbox; only expiry is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FateRow {
    pub(crate) queue: u64,
    pub(crate) number: u64,
    /// The counter's state when it expired, 0 before.
    pub(crate) expired_at: u64,
}

impl FateRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        Writer::new().u8(VERSION).u64(self.queue).u64(self.number).u64(self.expired_at).finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = versioned(value, "a fate")?;
        let read = || {
            let row = Self { queue: reader.u64()?, number: reader.u64()?, expired_at: reader.u64()? };
            reader.finish()?;
            Ok(row)
        };
        read().map_err(damaged("a fate"))
    }
}

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubmissionRow {
    /// The counter's state when it was stored: readers see the row when that is committed.
    pub(crate) mark: u64,
    pub(crate) submitted: Submitted,
}

fn outcome_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Stored { connected: false } => 0,
        Outcome::Stored { connected: true } => 1,
        Outcome::UnknownDevice => 2,
        Outcome::Passed => 3,
        Outcome::Dropped => 4,
        Outcome::Refused(Refusal::MailboxFull) => 16,
        Outcome::Refused(Refusal::SenderShare) => 17,
        Outcome::Refused(Refusal::NotAccepted) => 18,
        Outcome::Refused(Refusal::TooLarge) => 19,
        Outcome::Refused(Refusal::DiskFull) => 20,
    }
}

fn outcome_of(code: u8) -> Result<Outcome, WireError> {
    Ok(match code {
        0 => Outcome::Stored { connected: false },
        1 => Outcome::Stored { connected: true },
        2 => Outcome::UnknownDevice,
        3 => Outcome::Passed,
        4 => Outcome::Dropped,
        16 => Outcome::Refused(Refusal::MailboxFull),
        17 => Outcome::Refused(Refusal::SenderShare),
        18 => Outcome::Refused(Refusal::NotAccepted),
        19 => Outcome::Refused(Refusal::TooLarge),
        20 => Outcome::Refused(Refusal::DiskFull),
        _ => return Err(WireError::Invalid("outcome")),
    })
}

impl SubmissionRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION).u64(self.mark).u64(self.submitted.stored_ms).count(self.submitted.devices.len());
        for device in &self.submitted.devices {
            out.raw(&device.device.0).u8(outcome_code(device.outcome));
        }
        out.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = versioned(value, "a submission")?;
        let read = || {
            let (mark, stored_ms) = (reader.u64()?, reader.u64()?);
            let count = reader.count(MAX_OUTCOMES)?;
            let mut devices = Vec::with_capacity(count);
            for _ in 0..count {
                let device = DeviceId(reader.array()?);
                devices.push(DeviceOutcome { device, outcome: outcome_of(reader.u8()?)? });
            }
            reader.finish()?;
            Ok(Self { mark, submitted: Submitted { devices, stored_ms } })
        };
        read().map_err(damaged("a submission"))
    }
}

/// What an expiry row names; such a row stands under the time at which all of its entries end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiring {
    Envelope { queue: u64, number: u64 },
    Submission(SubmissionKey),
    Fate { tag: FateTag, number: u64 },
}

/// Entries in one expiry row: the largest kind, 33 bytes, fits [`MAX_VALUE`].
pub(crate) const EXPIRING_PER_ROW: usize = 180;

pub(crate) fn encode_expiring(entries: &[Expiring]) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(VERSION).count(entries.len());
    for entry in entries {
        match entry {
            Expiring::Envelope { queue, number } => out.u8(0).u64(*queue).u64(*number),
            Expiring::Submission(key) => out.u8(1).raw(&key.0),
            Expiring::Fate { tag, number } => out.u8(2).raw(&tag.0).u64(*number),
        };
    }
    out.finish()
}

pub(crate) fn decode_expiring(value: &[u8]) -> Result<Vec<Expiring>, StoreError> {
    let mut reader = versioned(value, "an expiry row")?;
    let read = || {
        let count = reader.count(EXPIRING_PER_ROW)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(match reader.u8()? {
                0 => Expiring::Envelope { queue: reader.u64()?, number: reader.u64()? },
                1 => Expiring::Submission(SubmissionKey(reader.array()?)),
                2 => Expiring::Fate { tag: FateTag(reader.array()?), number: reader.u64()? },
                _ => return Err(WireError::Invalid("expiry kind")),
            });
        }
        reader.finish()?;
        Ok(entries)
    };
    read().map_err(damaged("an expiry row"))
}

/// A device: its account and its queue's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceRow {
    pub(crate) account: AccountId,
    pub(crate) queue: u64,
}

impl DeviceRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        Writer::new().u8(VERSION).raw(&self.account.0).u64(self.queue).finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = versioned(value, "a device")?;
        let read = || {
            let row = Self { account: AccountId(reader.array()?), queue: reader.u64()? };
            reader.finish()?;
            Ok(row)
        };
        read().map_err(damaged("a device"))
    }
}

/// Why an account is no more, and since when.
pub(crate) fn encode_ended(ended: Ended) -> Vec<u8> {
    let why = match ended.why {
        Ending::Removed => 0,
        Ending::Replaced => 1,
    };
    Writer::new().u8(VERSION).u8(why).u32(ended.day.0).finish()
}

pub(crate) fn decode_ended(value: &[u8]) -> Result<Ended, StoreError> {
    let mut reader = versioned(value, "the end of an account")?;
    let read = || {
        let why = match reader.u8()? {
            0 => Ending::Removed,
            1 => Ending::Replaced,
            _ => return Err(WireError::Invalid("why an account ended")),
        };
        let day = Day(reader.u32()?);
        reader.finish()?;
        Ok(Ended { why, day })
    };
    read().map_err(damaged("the end of an account"))
}

/// Who has a name, or a look: account and name.
pub(crate) fn encode_owner(account: &AccountId, name: &Username) -> Vec<u8> {
    Writer::new().u8(VERSION).raw(&account.0).str(name.as_str()).finish()
}

pub(crate) fn decode_owner(value: &[u8]) -> Result<(AccountId, Username), StoreError> {
    let mut reader = versioned(value, "a name")?;
    let read = || {
        let account = AccountId(reader.array()?);
        let name = reader.str(sotto_proto::limits::MAX_NAME_LENGTH)?.to_owned();
        reader.finish()?;
        Ok((account, Username::try_from(name).map_err(|_| WireError::Invalid("name"))?))
    };
    read().map_err(damaged("a name"))
}

/// A prekey: version and bincode.
pub(crate) fn encode_prekey<T: serde::Serialize>(key: &T) -> Result<Vec<u8>, StoreError> {
    let bytes = codec::encode(key).map_err(|error| StoreError::Failed(format!("a prekey: {error}")))?;
    Ok([&[VERSION][..], &bytes].concat())
}

pub(crate) fn decode_prekey<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, StoreError> {
    let reader = versioned(value, "a prekey")?;
    codec::decode(reader.rest()).map_err(|error| StoreError::Damaged(format!("a prekey: {error}")))
}

pub(crate) fn encode_id(id: PrekeyId) -> Vec<u8> {
    Writer::new().u8(VERSION).u32(id.0).finish()
}

pub(crate) fn decode_id(value: &[u8]) -> Result<PrekeyId, StoreError> {
    let mut reader = versioned(value, "a prekey's number")?;
    let read = || {
        let id = PrekeyId(reader.u32()?);
        reader.finish()?;
        Ok(id)
    };
    read().map_err(damaged("a prekey's number"))
}

/// The row `state` of the tree `meta`, written last in each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StateRow {
    /// Commits so far.
    pub(crate) commit: u64,
    /// Bytes of the rows that are not counted when the store is opened: submissions, fates, expiry, prekeys. An
    /// estimate, for compaction.
    pub(crate) side_bytes: u64,
}

impl StateRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        Writer::new().u8(VERSION).u64(self.commit).u64(self.side_bytes).finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = versioned(value, "the state")?;
        let read = || {
            let row = Self { commit: reader.u64()?, side_bytes: reader.u64()? };
            reader.finish()?;
            Ok(row)
        };
        read().map_err(damaged("the state"))
    }
}

/// The value of [`queue::TALLY`].
pub(crate) fn encode_tally(load: Load) -> Vec<u8> {
    Writer::new().u8(VERSION).u64(load.envelopes).u64(load.bytes).finish()
}

pub(crate) fn decode_tally(value: &[u8]) -> Result<Load, StoreError> {
    let mut reader = versioned(value, "the tally")?;
    let read = || {
        let load = Load { envelopes: reader.u64()?, bytes: reader.u64()? };
        reader.finish()?;
        Ok(load)
    };
    read().map_err(damaged("the tally"))
}

/// A number of the tree `meta`.
pub(crate) fn encode_number(number: u64) -> Vec<u8> {
    Writer::new().u8(VERSION).u64(number).finish()
}

pub(crate) fn decode_number(value: &[u8]) -> Result<u64, StoreError> {
    let mut reader = versioned(value, "a number")?;
    let read = || {
        let number = reader.u64()?;
        reader.finish()?;
        Ok(number)
    };
    read().map_err(damaged("a number"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

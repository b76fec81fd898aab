//! Content: what the ratchet carries from device to device. The kind is a number and the body stays bytes until the
//! kind is known, so a newer kind is kept and read after an update.

use thiserror::Error;

use crate::{
    envelope::BodyHash,
    ids::{AccountId, DeviceId, ListHash, MessageId},
    limits::{MAX_CONTENT, MAX_HASHES_PER_REQUEST},
    wire::{Reader, WireError, Writer},
};

const VERSION: u8 = 1;
/// Bytes of everything in an encoded content but the body.
const OVERHEAD: usize = 1 + 16 + 8 + 1 + 16 + 8 + 32 + 8 + 32 + 2 + 4;
/// Bytes of the longest text that fits into one content; longer text goes as a file.
pub const MAX_TEXT: usize = MAX_CONTENT - OVERHEAD - SYNC_OVERHEAD;
/// What wraps a text that is synced to the sender's own devices or sent again.
const SYNC_OVERHEAD: usize = 128;

/// Bytes of the name that a user gives a device.
pub const MAX_DEVICE_NAME: usize = 64;

/// Where content belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A pairwise conversation; names the recipient account.
    Account(AccountId),
    /// A room.
    Room([u8; 16]),
}

/// The number and hash of a device list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListRef {
    /// The list's number; 0 with a zero hash where there is none.
    pub number: u64,
    /// The list's hash.
    pub hash: ListHash,
}

/// `version u8, message id (16), clock u64 (Unix ms), place tag u8, place (16), sender's list number u64, hash (32),
/// recipient's list number u64, hash (32), kind u16, body (length u32, bytes)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Unique per conversation and sender account; the same on every device and in every re-send.
    pub message: MessageId,
    /// The sender's clock, Unix milliseconds.
    pub clock_ms: u64,
    /// The conversation it belongs to.
    pub place: Place,
    /// The sender's own device list.
    pub sender_list: ListRef,
    /// The recipient's device list that the sender used.
    pub recipient_list: ListRef,
    /// What the body is; see [`Body`].
    pub kind: u16,
    /// Encoded by kind.
    pub body: Vec<u8>,
}

/// Why content was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ContentError {
    /// The bytes are not content of a known version.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Over [`MAX_CONTENT`].
    #[error("the content is larger than {MAX_CONTENT} bytes")]
    TooLarge,
}

impl Content {
    /// The bytes that the ratchet seals.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let mut out = Writer::new();
        out.u8(VERSION).raw(&self.message.0).u64(self.clock_ms);
        match &self.place {
            Place::Account(account) => out.u8(0).raw(&account.0),
            Place::Room(room) => out.u8(1).raw(room),
        };
        for list in [&self.sender_list, &self.recipient_list] {
            out.u64(list.number).raw(&list.hash.0);
        }
        let bytes = out.u16(self.kind).bytes(&self.body).finish();
        if bytes.len() > MAX_CONTENT { Err(ContentError::TooLarge) } else { Ok(bytes) }
    }

    /// Reads the outer part; the body stays bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        if bytes.len() > MAX_CONTENT {
            return Err(ContentError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(WireError::Version(version).into());
        }
        let message = MessageId(reader.array()?);
        let clock_ms = reader.u64()?;
        let place = match reader.u8()? {
            0 => Place::Account(AccountId(reader.array()?)),
            1 => Place::Room(reader.array()?),
            _ => return Err(WireError::Invalid("place").into()),
        };
        let mut lists = [ListRef { number: 0, hash: ListHash([0; 32]) }; 2];
        for list in &mut lists {
            *list = ListRef { number: reader.u64()?, hash: ListHash(reader.array()?) };
        }
        let [sender_list, recipient_list] = lists;
        let kind = reader.u16()?;
        let body = reader.bytes(MAX_CONTENT)?.to_vec();
        reader.finish()?;
        Ok(Self { message, clock_ms, place, sender_list, recipient_list, kind, body })
    }
}

/// The kinds of body. Numbers are never re-used; those that are missing here are reserved for later kinds.
pub mod kind {
    /// UTF-8 text.
    pub const TEXT: u16 = 1;
    /// Message ids that the device has committed.
    pub const DELIVERED: u16 = 20;
    /// Message ids that a person has seen.
    pub const READ: u16 = 21;
    /// Hashes of bodies that did not open.
    pub const RESEND_REQUEST: u16 = 30;
    /// A message again, in place of a body that did not open.
    pub const RESENT: u16 = 31;
    /// Hashes of bodies that cannot be sent again.
    pub const GONE: u16 = 32;
    /// Hashes of bodies that were nothing to show, as a receipt: nothing is missing.
    pub const NO_MESSAGE: u16 = 33;
    /// To own devices: a message that this account sent.
    pub const SYNC_SENT: u16 = 40;
    /// To own devices: an account that this account blocks, or no longer does.
    pub const SYNC_BLOCK: u16 = 41;
    /// To own devices: the name that the user gave a device of this account.
    pub const SYNC_DEVICE_NAME: u16 = 42;
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// [`kind::TEXT`].
    Text(String),
    /// [`kind::DELIVERED`].
    Delivered(Vec<MessageId>),
    /// [`kind::READ`].
    Read(Vec<MessageId>),
    /// [`kind::RESEND_REQUEST`].
    ResendRequest(Vec<BodyHash>),
    /// [`kind::RESENT`]: `failed hash (32), kind u16, body (length u32, bytes)`.
    Resent {
        /// The part 2 that did not open.
        failed: BodyHash,
        /// The kind of the original body.
        kind: u16,
        /// The original body.
        body: Vec<u8>,
    },
    /// [`kind::GONE`].
    Gone(Vec<BodyHash>),
    /// [`kind::NO_MESSAGE`].
    NoMessage(Vec<BodyHash>),
    /// [`kind::SYNC_SENT`]: `place tag u8, place (16), kind u16, body (length u32, bytes)`; message id and clock are
    /// the content's own.
    SyncSent {
        /// Where the message was sent.
        place: Place,
        /// The kind of the original body.
        kind: u16,
        /// The original body.
        body: Vec<u8>,
    },
    /// [`kind::SYNC_BLOCK`]: `account (16), blocked u8 (0 or 1)`. Of two for one account the later clock counts.
    SyncBlock {
        /// Whose.
        account: AccountId,
        /// Whether it is blocked.
        blocked: bool,
    },
    /// [`kind::SYNC_DEVICE_NAME`]: `device (16), name (length u32, UTF-8)`. Of two for one device the later clock counts.
    SyncDeviceName {
        /// Which device.
        device: DeviceId,
        /// At most [`MAX_DEVICE_NAME`] bytes; free text.
        name: String,
    },
}

impl Body {
    /// The kind's number.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Text(_) => kind::TEXT,
            Self::Delivered(_) => kind::DELIVERED,
            Self::Read(_) => kind::READ,
            Self::ResendRequest(_) => kind::RESEND_REQUEST,
            Self::Resent { .. } => kind::RESENT,
            Self::Gone(_) => kind::GONE,
            Self::NoMessage(_) => kind::NO_MESSAGE,
            Self::SyncSent { .. } => kind::SYNC_SENT,
            Self::SyncBlock { .. } => kind::SYNC_BLOCK,
            Self::SyncDeviceName { .. } => kind::SYNC_DEVICE_NAME,
        }
    }

    /// The bytes of a content's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Text(text) => out.raw(text.as_bytes()),
            Self::Delivered(ids) | Self::Read(ids) => {
                out.count(ids.len());
                for id in ids {
                    out.raw(&id.0);
                }
                &mut out
            }
            Self::ResendRequest(hashes) | Self::Gone(hashes) | Self::NoMessage(hashes) => {
                out.count(hashes.len());
                for hash in hashes {
                    out.raw(&hash.0);
                }
                &mut out
            }
            Self::Resent { failed, kind, body } => out.raw(&failed.0).u16(*kind).bytes(body),
            Self::SyncSent { place, kind, body } => {
                match place {
                    Place::Account(account) => out.u8(0).raw(&account.0),
                    Place::Room(room) => out.u8(1).raw(room),
                };
                out.u16(*kind).bytes(body)
            }
            Self::SyncBlock { account, blocked } => out.raw(&account.0).u8(u8::from(*blocked)),
            Self::SyncDeviceName { device, name } => out.raw(&device.0).str(name),
        };
        out.finish()
    }

    /// Decodes by kind; `Ok(None)` for a kind that this program does not know.
    pub fn decode(kind: u16, bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(bytes);
        let body = match kind {
            kind::TEXT => {
                let text = std::str::from_utf8(bytes).map_err(|_| WireError::Invalid("UTF-8"))?;
                return Ok(Some(Self::Text(text.to_owned())));
            }
            kind::DELIVERED => Self::Delivered(message_ids(&mut reader)?),
            kind::READ => Self::Read(message_ids(&mut reader)?),
            kind::RESEND_REQUEST => Self::ResendRequest(hashes(&mut reader)?),
            kind::GONE => Self::Gone(hashes(&mut reader)?),
            kind::NO_MESSAGE => Self::NoMessage(hashes(&mut reader)?),
            kind::RESENT => Self::Resent {
                failed: BodyHash(reader.array()?),
                kind: reader.u16()?,
                body: reader.bytes(MAX_CONTENT)?.to_vec(),
            },
            kind::SYNC_SENT => Self::SyncSent {
                place: match reader.u8()? {
                    0 => Place::Account(AccountId(reader.array()?)),
                    1 => Place::Room(reader.array()?),
                    _ => return Err(WireError::Invalid("place")),
                },
                kind: reader.u16()?,
                body: reader.bytes(MAX_CONTENT)?.to_vec(),
            },
            kind::SYNC_BLOCK => Self::SyncBlock {
                account: AccountId(reader.array()?),
                blocked: match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(WireError::Invalid("blocked")),
                },
            },
            kind::SYNC_DEVICE_NAME => Self::SyncDeviceName {
                device: DeviceId(reader.array()?),
                name: reader.str(MAX_DEVICE_NAME)?.to_owned(),
            },
            _ => return Ok(None),
        };
        reader.finish()?;
        Ok(Some(body))
    }
}

fn message_ids(reader: &mut Reader<'_>) -> Result<Vec<MessageId>, WireError> {
    let count = reader.count(MAX_HASHES_PER_REQUEST)?;
    (0..count).map(|_| reader.array().map(MessageId)).collect()
}

fn hashes(reader: &mut Reader<'_>) -> Result<Vec<BodyHash>, WireError> {
    let count = reader.count(MAX_HASHES_PER_REQUEST)?;
    (0..count).map(|_| reader.array().map(BodyHash)).collect()
}

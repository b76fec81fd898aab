//! Frames: a `u32` length and a body of `kind: u16, request id: u32, payload`.
//!
//! Command frames are requests ([`ClientFrame`]), responses with the same request id and pushes with request id 0
//! ([`ServerFrame`]). Data frames, which carry envelopes from client to client, have kinds of their own from
//! [`FIRST_DATA_KIND`] on. Requests are pipelined; responses may come in any order. Kinds are never re-used; a byte
//! snapshot of each frame stands in `tests/snapshots`.

mod account;
mod chat;
mod client;
mod decoder;
mod error;
mod server;

pub use account::{
    Approved, Block, DropPending, ListChanged, PendingDevice, PendingDevices, RequestDevice, ResetAccount,
    ResetState, SetInteractive,
};
pub use chat::{
    ChatEnd, ChatEnded, ChatId, ChatStarted, InChat, Invite, InviteEnd, InviteEnded, Invited, Inviting,
};
pub use client::{
    AccountLogin, Ack, Attach, AuthKey, ClaimBundles, ClientFrame, DeviceLogin, Hello, ListUsers,
    LookupLists, OutgoingEnvelope, PasswordLogin, PublishKeys, QueryFates, QuerySubmission, Register,
    ReplaceList, SetPassword, Submit, UsedList,
};
pub use decoder::{FrameDecoder, RawFrame};
pub use error::{ErrorCode, ErrorReply, FrameError};
pub use server::{
    AccountIn, Bundles, Deliver, DeviceIn, DeviceOutcome, Drained, FateState, Fates, KeyCounts, Lists,
    MailboxState, Outcome, Presence, Refusal, Registration, ServerFrame, ServerLimits, StaleDevices,
    SubmissionState, Submitted, Taken, UserEntry, Users, Welcome,
};

use crate::codec::CodecError;

/// The first kind of a data frame; command frames stand below.
pub const FIRST_DATA_KIND: u16 = 0x1000;
/// Bytes of a body before its payload.
pub const BODY_HEADER: usize = 6;
/// Bytes of the length before the body.
const LENGTH: usize = 4;
/// Bytes of unused room that a frame may keep.
const KEPT: usize = 4 * 1024;
/// The request id of a push.
pub const PUSH: u32 = 0;

/// A frame with room for its length, without its payload.
fn begin(kind: u16, request: u32) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&request.to_be_bytes());
    bytes
}

/// The frame with its length.
fn finish(mut bytes: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    let body = bytes.len() - LENGTH;
    if body > crate::limits::MAX_FRAME {
        return Err(CodecError::TooLarge);
    }
    let length = u32::try_from(body).map_err(|_| CodecError::TooLarge)?;
    // Growing has doubled it; of a long one the rest would wait with it for its reader.
    if bytes.capacity() - bytes.len() >= KEPT {
        bytes.shrink_to_fit();
    }
    let place = bytes.first_chunk_mut::<LENGTH>().ok_or(CodecError::TooLarge)?;
    *place = length.to_be_bytes();
    Ok(bytes)
}

/// Declares an enum of frames: `kind => Variant(Payload)`, or `kind => Variant` where there is no payload.
macro_rules! frames {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $kind:literal => $variant:ident $(($payload:ty))?,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$vdoc])* $variant $(($payload))?,)*
        }

        impl $name {
            /// Every kind of this enum.
            pub const KINDS: &'static [u16] = &[$($kind),*];

            /// The kind on the wire.
            pub fn kind(&self) -> u16 {
                match self {
                    $(frames!(@pattern $variant $(, $payload)?) => $kind,)*
                }
            }

            /// The frame's name, for logs: metadata only.
            pub fn name(&self) -> &'static str {
                match self {
                    $(frames!(@pattern $variant $(, $payload)?) => stringify!($variant),)*
                }
            }

            /// The whole frame, length included.
            pub fn encode(&self, request: u32) -> Result<Vec<u8>, CodecError> {
                // In one piece from the start: frames can be long.
                let mut bytes = begin(self.kind(), request);
                match self {
                    $(frames!(@bind payload $variant $(, $payload)?) => frames!(@encode bytes payload $(, $payload)?),)*
                }
                finish(bytes)
            }

            /// Reads a frame's payload; `Ok(None)` for a kind this program does not know.
            pub fn decode(kind: u16, payload: &[u8]) -> Result<Option<Self>, CodecError> {
                Ok(Some(match kind {
                    $($kind => frames!(@decode payload $variant $(, $payload)?),)*
                    _ => return Ok(None),
                }))
            }
        }
    };
    (@pattern $variant:ident) => { Self::$variant };
    (@pattern $variant:ident, $payload:ty) => { Self::$variant(_) };
    (@bind $name:ident $variant:ident) => { Self::$variant };
    (@bind $name:ident $variant:ident, $payload:ty) => { Self::$variant($name) };
    (@encode $bytes:ident $name:ident) => { {} };
    (@encode $bytes:ident $name:ident, $payload:ty) => { codec::encode_after(&mut $bytes, $name)? };
    (@decode $bytes:ident $variant:ident) => {
        if $bytes.is_empty() { Self::$variant } else { return Err(CodecError::Trailing) }
    };
    (@decode $bytes:ident $variant:ident, $payload:ty) => { Self::$variant(codec::decode::<$payload>($bytes)?) };
}
use frames;

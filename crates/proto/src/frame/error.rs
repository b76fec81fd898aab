//! What a server answers instead of a result, and what can be wrong with the frames themselves.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codec::CodecError;

/// Why a request was not done. A number, so that an old client can show a newer code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// The server does not know this kind of request.
    pub const UNSUPPORTED: Self = Self(1);
    /// The request's payload cannot be read.
    pub const MALFORMED: Self = Self(2);
    /// No protocol version in common.
    pub const VERSION: Self = Self(3);
    /// The request needs a login first, or another kind of login.
    pub const LOGIN_NEEDED: Self = Self(4);
    /// Wrong password, unknown name, or a login signature that does not hold.
    pub const BAD_CREDENTIALS: Self = Self(5);
    /// The name belongs to somebody.
    pub const NAME_TAKEN: Self = Self(6);
    /// The name looks like somebody's.
    pub const NAME_LOOKS_ALIKE: Self = Self(7);
    /// The name breaks the rules for names.
    pub const BAD_NAME: Self = Self(8);
    /// No such account.
    pub const UNKNOWN_USER: Self = Self(9);
    /// No such device in the account's list.
    pub const UNKNOWN_DEVICE: Self = Self(10);
    /// Too often; `retry_after_ms` says when to try again.
    pub const RATE_LIMITED: Self = Self(11);
    /// Too much waits on the server; try again.
    pub const BUSY: Self = Self(12);
    /// A count or size limit is reached.
    pub const LIMIT: Self = Self(13);
    /// As many clients are connected as the server takes.
    pub const TOO_MANY_CLIENTS: Self = Self(14);
    /// A device list, key or certificate in the request does not verify.
    pub const BAD_KEYS: Self = Self(15);
    /// Registration is closed or needs an invite.
    pub const REGISTRATION_CLOSED: Self = Self(16);
    /// The server's store failed; nothing was promised.
    pub const STORE: Self = Self(17);
    /// A request that does not fit the connection's state: a second Hello, an ack beyond what was delivered.
    pub const OUT_OF_ORDER: Self = Self(18);
    /// The id is in use by something else.
    pub const COLLISION: Self = Self(19);
    /// The device list in the request does not follow the server's; the answer to a lookup has the newest.
    pub const CONFLICT: Self = Self(20);
    /// The server's disk is full; nothing was stored.
    pub const DISK_FULL: Self = Self(21);
    /// The queue has another incarnation than the request names: the server's data was restored.
    pub const INCARNATION: Self = Self(22);
    /// The account was disabled by the operator.
    pub const DISABLED: Self = Self(23);
    /// A user that was to be invited is away, busy, or being asked already; the message names them.
    pub const NOT_AVAILABLE: Self = Self(24);
    /// There is no such invitation or live chat any more.
    pub const NO_SUCH_CHAT: Self = Self(25);
    /// The user does not accept what this account sends.
    pub const NOT_ACCEPTED: Self = Self(26);
    /// The operator removed the account: it does not come back.
    pub const ACCOUNT_REMOVED: Self = Self(27);
    /// A reset put a new identity in the account's place: it does not come back.
    pub const ACCOUNT_REPLACED: Self = Self(28);
}

/// A request that was not done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// For programs.
    pub code: ErrorCode,
    /// For people; what went wrong and what to do. Sanitised before it is shown.
    pub message: String,
    /// After how many milliseconds it makes sense to ask again.
    pub retry_after_ms: Option<u64>,
}

/// What is wrong with a frame; the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length is above the limit for the connection's state.
    #[error("a frame of {length} bytes is above the limit of {limit}")]
    TooLong {
        /// What the frame claims.
        length: usize,
        /// What is allowed now.
        limit: usize,
    },
    /// The length is below that of kind and request id.
    #[error("a frame of {0} bytes cannot be")]
    TooShort(usize),
    /// The payload is not what its kind says.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

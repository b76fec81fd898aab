//! What the log says: metadata only. No event has a place for content, keys, ids, or the recipient of a message.

use std::{borrow::Cow, fmt, net::SocketAddr};

use sotto_proto::Username;

/// How important an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something is wrong with the server.
    Error,
    /// What the operator wants to see.
    Info,
    /// What would only make the log long.
    Debug,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer finished its TLS handshake.
    Connected {
        /// Where it comes from.
        peer: SocketAddr,
    },
    /// A device signed in.
    Online {
        /// Where it comes from.
        peer: SocketAddr,
        /// The account's name.
        name: Username,
    },
    /// A device's connection ended.
    Offline {
        /// Where it came from.
        peer: SocketAddr,
        /// The account's name.
        name: Username,
    },
    /// A connection ended on which no device had signed in.
    Disconnected {
        /// Where it came from.
        peer: SocketAddr,
    },
    /// A request and what was done.
    Request {
        /// Where it comes from.
        peer: SocketAddr,
        /// The account's name, if a device has signed in.
        name: Option<Username>,
        /// The request's kind.
        request: &'static str,
        /// Bytes of its payload.
        size: usize,
        /// What the server did.
        action: Cow<'static, str>,
        /// Whether it is one of those that come all the time and say nothing (Ping, Ack).
        routine: bool,
    },
    /// Something the server did to a connection of its own accord.
    Refused {
        /// Where it comes from.
        peer: SocketAddr,
        /// Why.
        reason: Cow<'static, str>,
    },
    /// The operator changed an account.
    Operator {
        /// Whose.
        name: Username,
        /// What was done.
        action: &'static str,
    },
    /// Something happened to an account that no request of its own devices asked for.
    Device {
        /// Whose.
        name: Username,
        /// What happened.
        action: &'static str,
    },
    /// An invitation or a live chat ended: whose, why, and who is free again.
    LiveChat(String),
    /// Rows past their time were removed.
    Expired {
        /// How many.
        rows: usize,
    },
    /// A record cannot be read, a lock was lost: the operator must look.
    Trouble(String),
}

impl Event {
    /// How important it is.
    pub fn level(&self) -> Level {
        match self {
            Self::Trouble(_) => Level::Error,
            Self::Request { routine: true, .. } => Level::Debug,
            _ => Level::Info,
        }
    }

    /// The peer's address, for structured logs.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Connected { peer }
            | Self::Online { peer, .. }
            | Self::Offline { peer, .. }
            | Self::Disconnected { peer }
            | Self::Request { peer, .. }
            | Self::Refused { peer, .. } => Some(*peer),
            Self::Operator { .. }
            | Self::Device { .. }
            | Self::LiveChat(_)
            | Self::Expired { .. }
            | Self::Trouble(_) => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { peer } => write!(f, "{peer} connected"),
            Self::Online { peer, name } => write!(f, "{peer} connected [ {name} ]"),
            Self::Offline { peer, name } => write!(f, "{peer} is offline [ {name} ]"),
            Self::Disconnected { peer } => write!(f, "{peer} disconnected"),
            Self::Request { peer, name, request, size, action, .. } => {
                write!(f, "{peer} ")?;
                if let Some(name) = name {
                    write!(f, "[ {name} ] ")?;
                }
                write!(f, "{request} ({size} bytes): {action}")
            }
            Self::Refused { peer, reason } => write!(f, "{peer} refused: {reason}"),
            Self::Operator { name, action } => write!(f, "operator: {action} [ {name} ]"),
            Self::Device { name, action } => write!(f, "[ {name} ] {action}"),
            Self::Expired { rows } => write!(f, "{rows} rows past their time removed"),
            Self::LiveChat(what) | Self::Trouble(what) => f.write_str(what),
        }
    }
}

//! Live chats: an invitation that all of the invited have to accept, and the chat that it leads to. The server keeps
//! them in memory only; what is said in a chat are ordinary messages.

use serde::{Deserialize, Serialize};

/// A live chat or the invitation to one, from Invite to the end; counted up by the server from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChatId(pub u64);

/// Asks users for a live chat, at most [`crate::limits::MAX_INVITED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Their names.
    pub users: Vec<String>,
}

/// Names an invitation or a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InChat {
    /// Which.
    pub chat: ChatId,
}

/// The invitation stands; ChatStarted or InviteEnded follows. Where the invited were inviting this user at the same
/// moment, it is their invitation, accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inviting {
    /// The invitation.
    pub chat: ChatId,
    /// How long the invited may take.
    pub expires_in_ms: u64,
}

/// Somebody asks this user for a live chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The invitation.
    pub chat: ChatId,
    /// Who asks.
    pub from: String,
    /// Who else is asked.
    pub with: Vec<String>,
    /// How long there is to answer.
    pub expires_in_ms: u64,
}

/// Why an invitation came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InviteEnd {
    /// This user said no.
    Denied(String),
    /// Who invited took it back.
    Cancelled,
    /// Not all have answered in time.
    TimedOut,
    /// This user is no longer there.
    Gone(String),
    /// Another device of this account has answered.
    Elsewhere,
}

/// An invitation came to nothing, or was answered on another device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteEnded {
    /// The invitation.
    pub chat: ChatId,
    /// Why.
    pub why: InviteEnd,
}

/// All have accepted: from here on they are busy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatStarted {
    /// The chat.
    pub chat: ChatId,
    /// The others in it.
    pub with: Vec<String>,
}

/// Why a live chat ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChatEnd {
    /// This user left it.
    Quit(String),
    /// This user's connection ended.
    Lost(String),
}

/// A live chat ended, for all of its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatEnded {
    /// The chat.
    pub chat: ChatId,
    /// Why.
    pub why: ChatEnd,
}

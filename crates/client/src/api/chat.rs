//! Live chats, as a face sees them. What is said in one are ordinary messages, sent and shown like all others.

use serde::{Deserialize, Serialize};
use sotto_proto::{
    Username,
    frame::{ChatEnd, ChatId, InviteEnd},
};

/// What can be done about live chats. All of it needs a connection and an interactive client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChatCommand {
    /// Asks users for a live chat. Answer: [`super::Reply::Inviting`]; [`ChatEvent`]s tell the rest.
    Invite(Vec<Username>),
    /// Accepts an invitation. Answer: [`super::Reply::Done`].
    Accept(ChatId),
    /// Denies an invitation. Answer: [`super::Reply::Done`].
    Deny(ChatId),
    /// Takes one's own invitation back. Answer: [`super::Reply::Done`].
    Cancel(ChatId),
    /// Leaves a live chat, which ends it. Answer: [`super::Reply::Done`].
    Quit(ChatId),
}

/// What happens to invitations and live chats. Names are of the server's making: sanitise them before they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChatEvent {
    /// Somebody asks for a live chat.
    Invited {
        /// The invitation.
        chat: ChatId,
        /// Who asks.
        from: String,
        /// Who else is asked.
        with: Vec<String>,
        /// How long there is to answer.
        expires_in_ms: u64,
    },
    /// An invitation, one's own or another's, came to nothing.
    InviteEnded {
        /// The invitation.
        chat: ChatId,
        /// Why.
        why: InviteEnd,
    },
    /// All have accepted.
    Started {
        /// The chat.
        chat: ChatId,
        /// The others in it.
        with: Vec<String>,
    },
    /// It is over.
    Ended {
        /// The chat.
        chat: ChatId,
        /// Why.
        why: ChatEnd,
    },
    /// The connection was lost, and with it every invitation and live chat of this client.
    AllLost,
}

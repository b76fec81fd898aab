//! Invitations and live chats. They live in the server's memory and end with the connection; here stands only what is
//! needed to say so.

use std::collections::BTreeSet;

use sotto_proto::{
    Username,
    frame::{
        ChatEnd, ChatEnded, ChatId, ChatStarted, ClientFrame, ErrorCode, ErrorReply, InChat, Invite,
        InviteEnd, InviteEnded, Invited, Inviting, SetInteractive,
    },
    limits::MAX_INVITED,
};

use super::{CommandId, Core, CoreError, Output, Step, requests::Asked};
use crate::api::{ChatCommand, ChatEvent, ClientError, ErrorKind, Event, Reply};

/// Invitations and chats of one connection that are remembered. A server that opens more is believed to have some open
/// for as long as the connection stands; their events are passed on all the same.
const MAX_OPEN: usize = 256;

/// What is open on this connection.
#[derive(Debug, Default)]
pub(crate) struct Chats {
    open: BTreeSet<ChatId>,
    more: bool,
    /// What the server was last told of whether a person sits here.
    pub(super) told_interactive: bool,
}

impl Chats {
    fn opened(&mut self, chat: ChatId) {
        if self.open.len() < MAX_OPEN {
            self.open.insert(chat);
        } else {
            self.more = true;
        }
    }

    fn any(&self) -> bool {
        self.more || !self.open.is_empty()
    }
}

/// What a face asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ChatAsked {
    Invite,
    Accept,
    /// It is over for this device once the server has answered.
    Leave(ChatId),
}

impl Core {
    /// Whether a person sits at any of this client's faces. The server is told when that changes.
    pub(super) fn set_interactive(&mut self, step: &mut Step<'_, '_>, interactive: bool) {
        self.options.interactive = interactive;
        self.tell_interactive(step);
    }

    /// Tells the server what has changed since the login.
    pub(super) fn tell_interactive(&mut self, step: &mut Step<'_, '_>) {
        let interactive = self.options.interactive;
        if self.up() && self.chats.told_interactive != interactive {
            self.chats.told_interactive = interactive;
            self.send(step, Asked::Interactive, ClientFrame::SetInteractive(SetInteractive { interactive }));
        }
    }

    /// What a face wants of live chats: passed on, for the server decides.
    pub(super) fn chat_command(
        &mut self,
        step: &mut Step<'_, '_>,
        id: CommandId,
        command: ChatCommand,
    ) -> Result<Option<ClientError>, CoreError> {
        if !self.options.interactive {
            let text = "live chats are for people, and no client of this profile has one in front of it";
            return Ok(Some(ClientError::new(ErrorKind::Invalid, text).hint("sotto chat")));
        }
        let (asked, frame) = match command {
            ChatCommand::Invite(users) => {
                if let Some(error) = self.check_invited(step, &users)? {
                    return Ok(Some(error));
                }
                let users = users.iter().map(ToString::to_string).collect();
                (ChatAsked::Invite, ClientFrame::Invite(Invite { users }))
            }
            ChatCommand::Accept(chat) => (ChatAsked::Accept, ClientFrame::Accept(InChat { chat })),
            ChatCommand::Deny(chat) => (ChatAsked::Leave(chat), ClientFrame::Deny(InChat { chat })),
            ChatCommand::Cancel(chat) => (ChatAsked::Leave(chat), ClientFrame::Cancel(InChat { chat })),
            ChatCommand::Quit(chat) => (ChatAsked::Leave(chat), ClientFrame::Quit(InChat { chat })),
        };
        self.send(step, Asked::Chat { command: id, asked }, frame);
        Ok(None)
    }

    fn check_invited(
        &self,
        step: &Step<'_, '_>,
        users: &[Username],
    ) -> Result<Option<ClientError>, CoreError> {
        let invalid = |text: String| Ok(Some(ClientError::new(ErrorKind::Invalid, text)));
        if users.is_empty() {
            return invalid("a live chat needs somebody to invite".to_owned());
        }
        if users.len() > MAX_INVITED {
            return invalid(format!("at most {MAX_INVITED} users can be invited at once"));
        }
        if users.contains(&self.me.username) {
            return invalid("a live chat with yourself is not possible".to_owned());
        }
        for user in users {
            if step.tx.contact_by_name(user)?.is_some_and(|contact| contact.blocked) {
                let text = format!("you have blocked {user}, so {user} could not answer");
                let error = ClientError::new(ErrorKind::Invalid, text);
                return Ok(Some(error.hint(format!("sotto contact unblock {user}"))));
            }
        }
        Ok(None)
    }

    /// The invitation stands.
    pub(super) fn inviting(&mut self, step: &mut Step<'_, '_>, command: CommandId, inviting: &Inviting) {
        self.chats.opened(inviting.chat);
        let reply = Reply::Inviting { chat: inviting.chat, expires_in_ms: inviting.expires_in_ms };
        step.out.push(Output::Reply(command, Ok(reply)));
    }

    /// The server did what a face asked for.
    pub(super) fn chat_done(&mut self, step: &mut Step<'_, '_>, command: CommandId, asked: ChatAsked) {
        if let ChatAsked::Leave(chat) = asked {
            self.chats.open.remove(&chat);
        }
        step.out.push(Output::Reply(command, Ok(Reply::Done)));
    }

    pub(super) fn invited(&mut self, step: &mut Step<'_, '_>, invited: Invited) -> Result<(), CoreError> {
        let Some(from) = name(&invited.from) else { return Ok(()) };
        // The server refuses them too, unless its data was set back.
        if step.tx.contact_by_name(&from)?.is_some_and(|contact| contact.blocked) {
            return Ok(());
        }
        self.chats.opened(invited.chat);
        step.event(Event::Chat(ChatEvent::Invited {
            chat: invited.chat,
            from: from.to_string(),
            with: names(invited.with),
            expires_in_ms: invited.expires_in_ms,
        }));
        Ok(())
    }

    pub(super) fn invite_ended(&mut self, step: &mut Step<'_, '_>, ended: InviteEnded) {
        self.chats.open.remove(&ended.chat);
        let why = match ended.why {
            InviteEnd::Denied(who) => InviteEnd::Denied(name_or_nothing(&who)),
            InviteEnd::Gone(who) => InviteEnd::Gone(name_or_nothing(&who)),
            why @ (InviteEnd::Cancelled | InviteEnd::TimedOut | InviteEnd::Elsewhere) => why,
        };
        step.event(Event::Chat(ChatEvent::InviteEnded { chat: ended.chat, why }));
    }

    pub(super) fn chat_started(&mut self, step: &mut Step<'_, '_>, started: ChatStarted) {
        self.chats.opened(started.chat);
        let with = names(started.with);
        step.event(Event::Chat(ChatEvent::Started { chat: started.chat, with }));
    }

    pub(super) fn chat_ended(&mut self, step: &mut Step<'_, '_>, ended: ChatEnded) {
        self.chats.open.remove(&ended.chat);
        let why = match ended.why {
            ChatEnd::Quit(who) => ChatEnd::Quit(name_or_nothing(&who)),
            ChatEnd::Lost(who) => ChatEnd::Lost(name_or_nothing(&who)),
        };
        step.event(Event::Chat(ChatEvent::Ended { chat: ended.chat, why }));
    }

    /// The connection is gone, and with it what the server kept for it.
    pub(super) fn chats_lost(&mut self, step: &mut Step<'_, '_>) {
        if std::mem::take(&mut self.chats).any() {
            step.event(Event::Chat(ChatEvent::AllLost));
        }
    }
}

/// Why the server did not do what a face asked for, in words for people.
pub(super) fn refused(error: &ErrorReply, told: ClientError) -> ClientError {
    let said = |kind, text: &str| ClientError::new(kind, text).cause(&error.message);
    match error.code {
        ErrorCode::NOT_AVAILABLE => {
            said(ErrorKind::NotFound, "somebody who was to be invited is away, busy, or being asked already")
                .hint("sotto users shows who is available; a message reaches everybody: sotto send USER TEXT")
        }
        ErrorCode::UNKNOWN_USER => {
            said(ErrorKind::NotFound, "there is no such user on this server").hint("sotto users")
        }
        ErrorCode::NO_SUCH_CHAT => said(ErrorKind::NotFound, "this invitation or live chat is over already"),
        ErrorCode::NOT_ACCEPTED => {
            said(ErrorKind::NotFound, "somebody who was to be invited takes no invitations from you")
        }
        // The cause says what stands in the way: a chat, an invitation, or nobody at this device.
        ErrorCode::OUT_OF_ORDER => said(ErrorKind::Invalid, "that cannot be done now"),
        ErrorCode::UNSUPPORTED => said(ErrorKind::Version, "this server has no live chats")
            .hint("ask the server's operator to update it"),
        _ => told,
    }
}

fn name(text: &str) -> Option<Username> {
    Username::parse(text).ok()
}

/// A name that breaks the rules is nobody's; the event counts all the same.
fn name_or_nothing(text: &str) -> String {
    name(text).map(|name| name.to_string()).unwrap_or_default()
}

fn names(texts: Vec<String>) -> Vec<String> {
    let valid = texts.into_iter().filter_map(|text| name(&text));
    valid.take(MAX_INVITED + 1).map(|name| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_more_were_open_than_are_remembered_some_are_believed_to_be_open_still() {
        for (count, still) in [(1, false), (MAX_OPEN, false), (MAX_OPEN + 1, true)] {
            let mut chats = Chats::default();
            assert!(!chats.any());
            for id in (0..).take(count) {
                chats.opened(ChatId(id));
                assert!(chats.any() && chats.open.len() <= MAX_OPEN);
            }
            chats.open.clear();
            assert_eq!(chats.any(), still, "{count}");
        }
    }
}

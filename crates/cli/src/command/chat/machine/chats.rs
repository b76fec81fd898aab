//! Invitations and live chats: one at a time.

use sotto_client::api::{ChatCommand, ChatEvent, ClientError, Command, ErrorKind, Recipient, Reply};
use sotto_proto::Username;
use sotto_proto::frame::{ChatEnd, ChatId, InviteEnd};

use super::{Ask, Asked, Leaving, Live, Machine, Mode, Over, Quitting, UsersFor};
use crate::output::Tone;
use crate::recipient::username;

/// Lines of the conversation that a live chat begins with.
const EARLIER: u32 = 10;
/// Ends of invitations that come before the answer to them: of one's own there is one at a time.
const EARLY: usize = 16;

impl Machine {
    /// Asks somebody for a live chat.
    pub(super) fn invite(&mut self, user: Username) {
        self.mode = Mode::Inviting { user: user.clone(), chat: None, cancelled: false };
        self.early_ends.clear();
        self.ask(Ask::Invite(user.clone()), Command::Chat(ChatCommand::Invite(vec![user])));
    }

    /// The invitation stands, or not.
    pub(super) fn invited(&mut self, user: &Username, answer: Result<Reply, ClientError>) {
        let Mode::Inviting { chat, cancelled, .. } = &mut self.mode else {
            // The chat has begun already: they had asked for it at the same moment.
            return;
        };
        match answer {
            Ok(Reply::Inviting { chat: id, expires_in_ms }) => {
                *chat = Some(id);
                let cancelled = *cancelled;
                let overtook = self.early_ends.iter().position(|(ended, _)| *ended == id);
                if let Some(place) = overtook {
                    let (_, why) = self.early_ends.swap_remove(place);
                    return self.invite_ended(id, &why);
                }
                if cancelled {
                    return self.cancel();
                }
                self.said
                    .line(&format!("{user} is asked, and has {} s to answer.", expires_in_ms.div_ceil(1000)));
                self.question();
            }
            Ok(_) => self.menu(),
            Err(error) => {
                self.problem(&error);
                if error.kind == ErrorKind::Unreachable && !self.online {
                    self.menu();
                } else {
                    // The list has changed: it is shown again, and the question asked again.
                    self.mode = Mode::Menu;
                    self.ask(Ask::Users(UsersFor::Chat), Command::Users);
                }
            }
        }
    }

    /// Yes or no to somebody who asks.
    pub(super) fn reply_to_invitation(&mut self, yes: bool) {
        let Some(Asked { chat, from }) = self.asked.take() else { return };
        if yes {
            if let Mode::Inviting { chat: Some(own), .. } = self.mode {
                self.ask(Ask::Cancel(own), Command::Chat(ChatCommand::Cancel(own)));
            }
            self.mode = Mode::Accepting { chat, from };
            self.ask(Ask::Accept(chat), Command::Chat(ChatCommand::Accept(chat)));
        } else {
            self.said.line(&format!("You denied the chat with {from}."));
            self.ask(Ask::Deny(chat), Command::Chat(ChatCommand::Deny(chat)));
        }
    }

    /// The server has taken the yes, or there is nothing to accept any more.
    pub(super) fn accepted(&mut self, chat: ChatId, answer: Result<Reply, ClientError>) {
        if let (Err(error), Mode::Accepting { chat: ours, .. }) = (answer, &self.mode)
            && chat == *ours
        {
            self.problem(&error);
            self.turn();
            self.menu();
        }
    }

    /// Leaves the live chat, once what was typed before has left.
    pub(super) fn quit(&mut self) {
        if let Mode::Live(live) = &mut self.mode
            && live.quitting == Quitting::No
            && live.over.is_none()
        {
            live.quitting = Quitting::Soon;
        }
    }

    /// The server has answered to the end of a chat.
    pub(super) fn has_quit(&mut self, chat: ChatId) {
        let me = self.me.clone();
        self.ended(chat, ChatEnd::Quit(me));
    }

    /// The server has answered to an invitation that was taken back.
    pub(super) fn cancelled(&mut self, chat: ChatId) {
        if matches!(self.mode, Mode::Inviting { chat: Some(ours), .. } if ours == chat) {
            self.said.line("The invitation is taken back.");
            self.menu();
        }
    }

    pub(super) fn chat_event(&mut self, event: ChatEvent) {
        match event {
            ChatEvent::Invited { chat, from, with, .. } => self.asked_by(chat, from, &with),
            ChatEvent::InviteEnded { chat, why } => self.invite_ended(chat, &why),
            ChatEvent::Started { chat, with } => self.started(chat, &with),
            ChatEvent::Ended { chat, why } => self.ended(chat, why),
            // It may be heard before the loss itself.
            ChatEvent::AllLost => self.disconnected(),
        }
    }

    fn asked_by(&mut self, chat: ChatId, from: String, with: &[String]) {
        let no = if self.leaving != Leaving::No {
            String::new()
        } else if !with.is_empty() {
            format!(
                "{from} asks for a group chat with {}; this version has none yet, and denies it.",
                with.join(", ")
            )
        } else if matches!(self.mode, Mode::Live(_) | Mode::Accepting { .. }) || self.asked.is_some() {
            format!("{from} asks for a live chat; you are busy, and it is denied.")
        } else {
            self.turn();
            self.ring(&format!("{from} asks for a live chat"));
            self.asked = Some(Asked { chat, from });
            return self.question();
        };
        if !no.is_empty() {
            self.said.line(&no);
        }
        self.ask(Ask::Other(""), Command::Chat(ChatCommand::Deny(chat)));
    }

    fn invite_ended(&mut self, chat: ChatId, why: &InviteEnd) {
        if let Some(asked) = self.asked.take_if(|asked| asked.chat == chat) {
            let from = asked.from;
            self.said.line(&match why {
                InviteEnd::Cancelled => format!("{from} took the invitation back."),
                InviteEnd::TimedOut => format!("The time to answer {from} has passed."),
                InviteEnd::Gone(name) => format!("{name} has gone; there is no chat."),
                InviteEnd::Denied(name) => format!("{name} denied; there is no chat."),
                InviteEnd::Elsewhere => format!("Another device of yours answered {from}."),
            });
            self.turn();
            return self.question();
        }
        let ours = match &self.mode {
            Mode::Inviting { chat: None, .. } => {
                // It overtook the answer that says which invitation this is.
                if self.early_ends.len() < EARLY {
                    self.early_ends.push((chat, why.clone()));
                }
                false
            }
            Mode::Inviting { chat: Some(ours), .. } | Mode::Accepting { chat: ours, .. } => *ours == chat,
            _ => false,
        };
        if !ours {
            return;
        }
        self.said.line(&match why {
            InviteEnd::Cancelled if matches!(self.mode, Mode::Inviting { .. }) => {
                "The invitation is taken back.".to_owned()
            }
            InviteEnd::Cancelled => "The invitation was taken back.".to_owned(),
            InviteEnd::TimedOut => "Nobody answered in time; there is no chat.".to_owned(),
            InviteEnd::Gone(name) => format!("{name} has gone; there is no chat."),
            InviteEnd::Denied(name) => format!("{name} denied the chat."),
            InviteEnd::Elsewhere => "Another device of yours answered.".to_owned(),
        });
        self.turn();
        self.menu();
    }

    fn started(&mut self, chat: ChatId, with: &[String]) {
        let parsed = with.first().map(|name| username(name));
        let (Some(name), Some(Ok(to)), 1) = (with.first(), parsed, with.len()) else {
            // Only one other person can be written to; a chat that cannot be had is left at once.
            self.said.line("A group chat began; this version has none yet, and leaves it.");
            return self.ask(Ask::Other(""), Command::Chat(ChatCommand::Quit(chat)));
        };
        self.asked = None;
        // What is typed behind a yes is meant for the chat already.
        if !matches!(self.mode, Mode::Accepting { chat: ours, .. } if ours == chat) {
            self.turn();
        }
        self.unread.remove(name);
        self.mode = Mode::Live(Live {
            chat,
            with: name.clone(),
            to: to.clone(),
            welcomed: false,
            quitting: Quitting::No,
            since: self.after,
            over: None,
        });
        self.ask(
            Ask::Earlier(chat),
            Command::History { with: Some(Recipient::User(to)), limit: EARLIER, before: None },
        );
    }

    /// What was said before is here: the chat can begin.
    pub(super) fn welcome(&mut self, chat: ChatId, answer: Result<Reply, ClientError>) {
        let (with, since) = match &mut self.mode {
            Mode::Live(live) if live.chat == chat => {
                live.welcomed = true;
                (live.with.clone(), live.since)
            }
            _ => return,
        };
        self.said.toned(
            Tone::Good,
            &format!("Welcome to the chat with {with}. Type Quit on a line of its own to leave it."),
        );
        match answer {
            Ok(Reply::Rows(rows)) => self.earlier(&rows, since),
            Ok(_) => {}
            Err(error) => self.problem(&error),
        }
        self.said.line(&format!("{with} joined the conversation"));
    }

    fn ended(&mut self, chat: ChatId, why: ChatEnd) {
        if let Mode::Live(live) = &mut self.mode
            && live.chat == chat
            && live.over.is_none()
        {
            live.over = Some(Over::Ended(why));
            // What was said before the end is shown before it.
            self.fetch();
        }
    }

    /// All that was said in a chat that is over is on the screen.
    pub(super) fn chat_is_over(&mut self) {
        let Mode::Live(Live { over: Some(over), quitting, .. }) = &self.mode else { return };
        match over {
            Over::Ended(ChatEnd::Quit(name)) if *name == self.me => {
                if *quitting == Quitting::No {
                    self.said.line("Another device of yours left the chat.");
                }
            }
            Over::Ended(ChatEnd::Quit(name)) => self.said.line(&format!("{name} left the conversation")),
            Over::Ended(ChatEnd::Lost(name)) => {
                self.said.line(&format!("The connection of {name} was lost."));
                self.said.line(&format!("{name} left the conversation"));
            }
            Over::Lost => {}
        }
        let by_choice = *quitting != Quitting::No;
        self.said.line("Chat session ended");
        if !by_choice {
            self.turn();
        }
        self.menu();
    }

    /// The connection is gone, and every invitation and chat with it.
    pub(super) fn all_lost(&mut self) {
        if let Some(Asked { from, .. }) = self.asked.take() {
            self.said.line(&format!("The invitation of {from} is gone with the connection."));
            self.turn();
            if !matches!(self.mode, Mode::Inviting { .. } | Mode::Accepting { .. } | Mode::Live(_)) {
                self.question();
            }
        }
        let said = match &mut self.mode {
            Mode::Live(live) => {
                if live.over.is_none() {
                    live.over = Some(Over::Lost);
                    self.fetch();
                }
                return;
            }
            Mode::Inviting { user, .. } => format!("The invitation to {user} is gone with the connection."),
            Mode::Accepting { from, .. } => format!("The invitation of {from} is gone with the connection."),
            _ => return,
        };
        self.said.line(&said);
        self.turn();
        self.menu();
    }

    /// Whether a chat or an invitation has to be ended before the program can.
    pub(super) fn engaged(&self) -> bool {
        self.asked.is_some()
            || matches!(self.mode, Mode::Inviting { .. } | Mode::Accepting { .. } | Mode::Live(_))
    }

    /// Ends what was begun, for the program ends.
    pub(super) fn take_leave(&mut self) {
        if self.asked.is_some() {
            self.reply_to_invitation(false);
        }
        match &self.mode {
            Mode::Live(live) if live.welcomed => self.quit(),
            Mode::Inviting { cancelled: false, .. } => self.cancel(),
            _ => {}
        }
    }

    /// Ends the live chat when all that was said in it is on the server: the other one sees it before the end.
    pub(super) fn quit_when_sent(&mut self) {
        let sent = self.sent_or_waiting();
        if let Mode::Live(live) = &mut self.mode
            && live.quitting == Quitting::Soon
            && live.over.is_none()
            && sent
        {
            live.quitting = Quitting::Asked;
            let chat = live.chat;
            self.ask(Ask::Quit(chat), Command::Chat(ChatCommand::Quit(chat)));
        }
    }
}

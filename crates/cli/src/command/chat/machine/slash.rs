//! Slash commands, which work at any prompt.

use sotto_client::api::{ChatCommand, Command};
use sotto_proto::MessageId;

use super::{Ask, Machine, Mode, UsersFor};
use crate::nearest::nearest;
use crate::recipient::username;

/// All of them, and what they do.
pub(in crate::command::chat) const COMMANDS: [(&str, &str, &str); 17] = [
    ("/help", "", "this list"),
    ("/users", "", "the other users, and whether they are there"),
    ("/msg", "[USER TEXT]", "a message; alone, it shows who is there and asks"),
    ("/invite", "USER", "asks a user for a live chat"),
    ("/accept", "", "says yes to somebody who asks for one"),
    ("/deny", "", "says no"),
    ("/quit", "", "ends the live chat, or what is being asked"),
    ("/verify", "USER", "the safety number, to compare with the user"),
    ("/outbox", "[drop ID]", "what waits to be sent; gives one up"),
    ("/refuse-reset", "", "refuses a new identity that somebody asked for in your name"),
    ("/ls", "", "the rooms"),
    ("/create", "ROOM [NICK]", "makes a room"),
    ("/join", "ROOM [NICK]", "enters a room"),
    ("/leave", "", "leaves it"),
    ("/whisper", "MEMBER TEXT", "to one member of the room"),
    ("/public", "TEXT", "to everyone who is connected"),
    ("/file", "USER PATH", "sends a file"),
];

impl Machine {
    /// A line that begins with a slash, and not with two.
    pub(super) fn slash(&mut self, line: &str) {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match name {
            "/help" => self.help(),
            "/users" => return self.ask(Ask::Users(UsersFor::Show), Command::Users),
            "/msg" => return self.slash_msg(rest),
            "/invite" => return self.slash_invite(rest),
            "/accept" | "/deny" => return self.slash_reply(name == "/accept"),
            "/quit" => return self.slash_quit(),
            "/verify" => return self.slash_verify(rest),
            "/outbox" => return self.slash_outbox(rest),
            "/refuse-reset" => return self.refuse_reset(),
            "/ls" | "/create" | "/join" | "/leave" | "/whisper" | "/public" => self.not_yet(name, "rooms"),
            "/file" => self.not_yet(name, "files"),
            unknown => {
                let names = COMMANDS.map(|(name, ..)| name);
                let meant = match nearest(unknown, &names) {
                    Some(near) => format!("did you mean {near}?"),
                    None => "/help lists the commands.".to_owned(),
                };
                self.said.line(&format!(
                    "There is no command {unknown}; {meant} (To send text that begins with /, write //.)"
                ));
            }
        }
        self.question_again();
    }

    fn help(&mut self) {
        for (name, arguments, what) in COMMANDS {
            self.said.line(&format!("{:<22}{what}", format!("{name} {arguments}")));
        }
        self.said.line("Quit                  on a line of its own: ends the live chat");
        self.said.line("exit                  ends this program");
        self.said.line("//text                sends /text");
    }

    /// The one wording for what comes later.
    pub(super) fn not_yet(&mut self, what: &str, needs: &str) {
        self.said.line(&format!("{what} needs {needs}, and this version has none yet."));
    }

    fn slash_msg(&mut self, rest: &str) {
        if rest.is_empty() {
            return self.ask(Ask::Users(UsersFor::Message), Command::Users);
        }
        let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match (username(name), text.trim()) {
            (Err(failure), _) => {
                self.said.line(&failure.message);
                self.question_again();
            }
            (Ok(user), "") => {
                if matches!(self.mode, Mode::Live(_)) {
                    self.said.line("Write /msg USER TEXT.");
                } else {
                    self.mode = Mode::MessageText(user);
                }
                self.question();
            }
            (Ok(user), text) => {
                self.send(user, text, false);
            }
        }
    }

    fn slash_invite(&mut self, rest: &str) {
        match (&self.mode, username(rest)) {
            (Mode::Live(chat), _) => {
                let line = format!("You are in a chat with {}; Quit ends it.", chat.with);
                self.said.line(&line);
            }
            (Mode::Inviting { user, .. }, _) => {
                let line = format!("You are asking {user} already; cancel takes that back.");
                self.said.line(&line);
            }
            (_, Err(failure)) => {
                self.said.line(&failure.message);
                self.question_again();
            }
            (_, Ok(user)) => self.invite(user),
        }
    }

    fn slash_reply(&mut self, yes: bool) {
        if self.asked.is_some() {
            self.reply_to_invitation(yes);
        } else {
            self.said.line("Nobody asks you for a live chat.");
            self.question_again();
        }
    }

    fn slash_quit(&mut self) {
        match &self.mode {
            Mode::Live(_) => self.quit(),
            Mode::Inviting { .. } => self.cancel(),
            Mode::Choosing(_) | Mode::MessageTo | Mode::MessageText(_) => self.menu(),
            Mode::Starting | Mode::Menu | Mode::Accepting { .. } => {
                self.said.line("There is no chat to quit; exit ends this program.");
                self.question_again();
            }
        }
    }

    fn slash_verify(&mut self, rest: &str) {
        match username(rest) {
            Ok(user) => self.ask(Ask::Safety, Command::Safety(user)),
            Err(failure) => {
                self.said.line(&failure.message);
                self.question_again();
            }
        }
    }

    fn slash_outbox(&mut self, rest: &str) {
        match rest.split_once(char::is_whitespace).unwrap_or((rest, "")) {
            ("", _) => self.ask(Ask::Outbox, Command::Outbox),
            ("drop", id) => {
                if let Ok(id) = id.trim().parse::<MessageId>() {
                    self.written.remove(&id);
                    self.ask(Ask::Other("dropped"), Command::DropOutbox(id));
                } else {
                    self.said.line("Write /outbox drop ID, with an ID that /outbox shows.");
                    self.question_again();
                }
            }
            _ => {
                self.said.line("Write /outbox, or /outbox drop ID.");
                self.question_again();
            }
        }
    }

    /// Takes one's own invitation back.
    pub(super) fn cancel(&mut self) {
        if let Mode::Inviting { chat, cancelled, .. } = &mut self.mode {
            *cancelled = true;
            if let Some(chat) = *chat {
                self.ask(Ask::Cancel(chat), Command::Chat(ChatCommand::Cancel(chat)));
            }
        }
    }
}

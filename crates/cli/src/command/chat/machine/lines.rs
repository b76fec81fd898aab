//! What a typed line means.

use sotto_client::api::Command;

use super::{Ask, Leaving, Machine, Meant, Mode, UsersFor};
use crate::nearest::nearest;
use crate::output::Tone;
use crate::recipient::username;

/// What takes an invitation back.
const CANCEL: [&str; 3] = ["cancel", "Cancel", "Quit"];

/// Whether a line is about an invitation that stands, and not about what comes after it.
pub(super) fn about_the_wait(line: &str) -> bool {
    let line = line.trim();
    CANCEL.contains(&line) || is_exit(line) || is_command(line)
}

fn is_command(line: &str) -> bool {
    line.starts_with('/') && !line.starts_with("//")
}

/// The word that ends the program.
pub(super) fn is_exit(line: &str) -> bool {
    line.eq_ignore_ascii_case("exit")
}

fn is_quit(line: &str) -> bool {
    matches!(line, "Quit" | "quit" | "QUIT")
}

impl Machine {
    /// A whole line.
    pub(super) fn line(&mut self, text: &str, begun: u64) {
        if self.leaving != Leaving::No {
            return;
        }
        let line = text.trim();
        if is_exit(line) {
            return self.leave();
        }
        if is_command(line) {
            return self.slash(line);
        }
        // Yes and no to a question that came up while the line was typed would answer what was not read.
        if begun != self.context && !line.is_empty() {
            return self.stale(text, begun);
        }
        if self.asked.is_some() {
            return self.yes_or_no(line);
        }
        match &self.mode {
            Mode::Menu => self.choice(line),
            Mode::Choosing(offered) => {
                let offered = offered.clone();
                self.choose(line, &offered);
            }
            Mode::Inviting { .. } => self.while_inviting(line),
            Mode::Live(chat) => {
                if is_quit(line) {
                    self.quit();
                } else if !line.is_empty() {
                    let to = chat.to.clone();
                    self.send(to, unescaped(text), true);
                }
            }
            Mode::MessageTo => self.message_to(line),
            Mode::MessageText(user) => {
                let user = user.clone();
                self.mode = Mode::Menu;
                if line.is_empty() {
                    self.said.line("Nothing was sent.");
                    self.question_again();
                } else {
                    self.send(user, unescaped(text), false);
                }
            }
            Mode::Starting | Mode::Accepting { .. } => {}
        }
    }

    /// A line that was begun when it would have meant something else.
    fn stale(&mut self, text: &str, begun: u64) {
        let meant = self.past.iter().find(|(context, _)| *context == begun).map(|(_, meant)| meant.clone());
        match meant {
            _ if is_quit(text.trim()) => {}
            Some(Meant::Live(with)) => {
                self.said
                    .toned(Tone::Bad, &format!("Not sent: the chat with {with} had ended. What you typed:"));
                self.said.message("    ", text, "");
                self.said.line(&format!("To send it as a message: /msg {with} TEXT"));
            }
            _ => {
                self.said
                    .toned(Tone::Bad, "Not taken: something else is asked now than when you began to type:");
                self.said.message("    ", text, "");
            }
        }
        self.question_again();
    }

    fn yes_or_no(&mut self, line: &str) {
        match line.to_ascii_lowercase().as_str() {
            "yes" | "y" | "accept" => self.reply_to_invitation(true),
            "no" | "n" | "deny" => self.reply_to_invitation(false),
            _ => {
                self.said.line("Please answer yes or no.");
                self.question();
            }
        }
    }

    fn choice(&mut self, line: &str) {
        match line {
            "1" => self.ask(Ask::Users(UsersFor::Menu), Command::Users),
            "2" => self.ask(Ask::Users(UsersFor::Chat), Command::Users),
            "3" => self.leave(),
            "4" => {
                self.not_yet("Group chat", "rooms");
                self.question();
            }
            other => {
                let what = match nearest(other, &["exit", "/help", "/msg"]) {
                    Some(near) if other.len() > 2 => format!("did you mean {near}?"),
                    _ => "enter 1, 2, 3 or 4.".to_owned(),
                };
                self.said.message("", &format!("\"{other}\" is not a choice: {what}"), "");
                self.question();
            }
        }
    }

    fn choose(&mut self, line: &str, offered: &[String]) {
        let name = line.strip_prefix('@').unwrap_or(line).to_ascii_lowercase();
        if !offered.contains(&name) && (is_quit(line) || CANCEL.contains(&line)) {
            return self.menu();
        }
        match username(line) {
            Ok(user) if offered.iter().any(|one| *one == user.as_str()) => self.invite(user),
            Ok(user) => {
                self.said.line(&format!("{user} is not on the list."));
                self.offer(offered);
            }
            Err(failure) => {
                self.said.line(&failure.message);
                self.offer(offered);
            }
        }
    }

    /// Who can be asked for a live chat.
    pub(super) fn offer(&mut self, available: &[String]) {
        if available.is_empty() {
            self.said.line("No clients to chat");
            return self.menu();
        }
        self.said.line("Available:");
        for name in available {
            self.said.line(&format!("  {name}"));
        }
        self.mode = Mode::Choosing(available.to_vec());
        self.question();
    }

    fn while_inviting(&mut self, line: &str) {
        if CANCEL.contains(&line) || is_quit(line) {
            return self.cancel();
        }
        if !line.is_empty() {
            self.said.line("Not taken: nobody has accepted yet.");
        }
        self.question();
    }

    fn message_to(&mut self, line: &str) {
        match username(line) {
            _ if CANCEL.contains(&line) => return self.menu(),
            Ok(user) => self.mode = Mode::MessageText(user),
            Err(failure) => self.said.line(&failure.message),
        }
        self.question();
    }
}

/// A text that begins with a slash is typed with two.
fn unescaped(text: &str) -> &str {
    if text.starts_with("//") { text.get(1..).unwrap_or(text) } else { text }
}

//! Answers of the client.

use sotto_client::api::{ClientError, Reply, User};

use super::{Ask, Fetching, Leaving, Machine, Mode, Output, UsersFor};
use crate::command::{outbox, safety, users};
use crate::output::Tone;

impl Machine {
    pub(super) fn answer(&mut self, ask: Ask, answer: Result<Reply, ClientError>) {
        match &ask {
            Ask::Fetch | Ask::Printed | Ask::Users(UsersFor::Names) | Ask::Send(_) => {}
            _ => self.awaited = self.awaited.saturating_sub(1),
        }
        match ask {
            Ask::Fetch => match answer {
                Ok(Reply::Rows(rows)) => self.arrived(&rows),
                other => {
                    self.fetching = Fetching::No;
                    self.failed(other);
                    self.chat_is_over();
                }
            },
            // A row that could not be marked is printed again by the next `recv`: once too often, not lost.
            Ask::Printed => {}
            Ask::Users(what) => match answer {
                Ok(Reply::Users(users)) => self.users(what, &users),
                // Completion does without.
                Err(_) if what == UsersFor::Names => {}
                other => self.failed(other),
            },
            Ask::Invite(user) => self.invited(&user, answer),
            Ask::Accept(chat) => self.accepted(chat, answer),
            Ask::Deny(_) => {
                if let Err(error) = answer {
                    self.problem(&error);
                }
                self.question();
            }
            Ask::Cancel(chat) => match answer {
                Ok(_) => self.cancelled(chat),
                // It was answered at that moment: the chat begins, or has been denied.
                Err(error) => {
                    if let Mode::Inviting { cancelled, .. } = &mut self.mode {
                        *cancelled = self.leaving != Leaving::No;
                        self.problem(&error);
                    }
                }
            },
            Ask::Quit(chat) => self.has_quit(chat),
            Ask::Earlier(chat) => self.welcome(chat, answer),
            Ask::Send(written) => self.sent(written, answer),
            Ask::Safety => match answer {
                Ok(Reply::Safety(number)) => {
                    safety::show(&number, &mut self.said);
                    self.question_again();
                }
                other => self.failed(other),
            },
            Ask::Outbox => match answer {
                Ok(Reply::Outbox(entries)) => {
                    if entries.is_empty() {
                        self.said.line("Nothing waits.");
                    }
                    for entry in &entries {
                        outbox::show(entry, &mut self.said);
                    }
                    self.question_again();
                }
                other => self.failed(other),
            },
            Ask::Other(done) => match answer {
                // Where nothing is to be said, nothing was asked by the user.
                _ if done.is_empty() => {}
                Ok(_) => {
                    self.said.line(done);
                    self.question_again();
                }
                other => self.failed(other),
            },
        }
    }

    /// Says why something did not work, and asks again.
    fn failed(&mut self, answer: Result<Reply, ClientError>) {
        match answer {
            Err(error) => self.problem(&error),
            Ok(_) => self.said.toned(Tone::Bad, "The client gave an answer that does not fit."),
        }
        if self.mode == Mode::Starting {
            self.menu();
        } else {
            self.question_again();
        }
    }

    fn users(&mut self, what: UsersFor, users: &[User]) {
        self.flush();
        self.out.push(Output::Names(users.iter().map(|user| user.name.clone()).collect()));
        match what {
            UsersFor::Names => {}
            UsersFor::Menu => {
                self.list(users);
                self.unread.clear();
                self.menu();
            }
            UsersFor::Show => {
                self.list(users);
                self.unread.clear();
                self.question_again();
            }
            UsersFor::Chat => {
                let available: Vec<String> = users
                    .iter()
                    .filter(|user| user.presence == "available")
                    .map(|user| user.name.clone())
                    .collect();
                self.offer(&available);
            }
            UsersFor::Message => self.message_dialogue(users),
        }
    }

    fn list(&mut self, users: &[User]) {
        if users.is_empty() {
            self.said.line("No other client.");
        }
        let width = users.iter().map(|user| user.name.chars().count()).max().unwrap_or_default();
        for user in users {
            let tone = if user.presence == "available" { Tone::Good } else { Tone::Plain };
            let new = match self.unread.get(&user.name) {
                Some(count) => format!(", {count} new"),
                None => String::new(),
            };
            self.said.toned(tone, &format!("{:width$}  {}{new}", user.name, users::presence(user)));
        }
    }

    fn message_dialogue(&mut self, users: &[User]) {
        let online: Vec<User> = users.iter().filter(|user| user.presence != "offline").cloned().collect();
        if online.is_empty() {
            self.said.line("Nobody else is online; a message to somebody who is not waits on the server.");
        } else {
            self.said.line("Online:");
            self.list(&online);
        }
        if matches!(self.mode, Mode::Live(_)) {
            self.said.line("Write /msg USER TEXT.");
            return;
        }
        self.mode = Mode::MessageTo;
        self.question();
    }
}

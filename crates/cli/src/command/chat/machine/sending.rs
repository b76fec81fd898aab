//! Messages of one's own, and what becomes of them: said in place where it is not plain success.

use sotto_client::api::{ClientError, Command, ErrorKind, Fate, MessageFate, Recipient, Reply};
use sotto_proto::Username;
use sotto_proto::content::MAX_TEXT;

use super::{Ask, Machine, Mode};
use crate::output::Tone;
use crate::row::missed;

/// Messages whose fate is watched; of more than that the outbox tells.
const WATCHED: usize = 1_000;
/// Letters of a message that stand for it.
const EXCERPT: usize = 24;

/// A message that was typed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command::chat) struct Written {
    pub(super) to: Username,
    /// Its beginning.
    pub(super) excerpt: String,
    /// In a live chat success says nothing.
    pub(super) live: bool,
    /// It was said that it waits, so it is said when it left.
    pub(super) said_to_wait: bool,
}

impl Machine {
    /// Puts a text into the outbox.
    pub(super) fn send(&mut self, to: Username, text: &str, live: bool) {
        if text.len() > MAX_TEXT {
            self.said.toned(
                Tone::Bad,
                &format!("Not sent: the text has {} bytes, and {MAX_TEXT} is the most.", text.len()),
            );
            if !live {
                self.question_again();
            }
            return;
        }
        self.unread.remove(to.as_str());
        let written = Written { to: to.clone(), excerpt: excerpt(text), live, said_to_wait: false };
        let command = Command::Send { to: Recipient::User(to), text: text.to_owned() };
        self.ask(Ask::Send(written), command);
    }

    /// It is in the outbox, or not.
    pub(super) fn sent(&mut self, mut written: Written, answer: Result<Reply, ClientError>) {
        self.sends = self.sends.saturating_sub(1);
        match answer {
            Ok(Reply::Queued { message, fate }) => {
                let overtook = self.early.iter().position(|early| early.message == message);
                if let Some(place) = overtook {
                    let fate = self.early.swap_remove(place);
                    self.written.insert(message, written);
                    self.fate(fate);
                } else if fate == Fate::Held {
                    let (reason, devices) = (None, Vec::new());
                    self.became(&written, &MessageFate { message, fate, reason, connected: false, devices });
                } else {
                    if !self.online {
                        self.waits(&mut written);
                        self.outcome(&written);
                    }
                    if self.written.len() < WATCHED {
                        self.written.insert(message, written);
                    } else if !written.said_to_wait {
                        self.said.line("(further messages are not watched; /outbox lists what waits)");
                    }
                }
            }
            Ok(_) => {
                self.said.toned(Tone::Bad, &format!("Not sent: {}", quoted(&written.excerpt)));
                self.outcome(&written);
            }
            Err(error) => {
                if error.kind == ErrorKind::NotFound {
                    self.no_such_user(&written);
                } else {
                    self.said.toned(Tone::Bad, &format!("Not sent: {}", quoted(&written.excerpt)));
                    self.problem(&error);
                }
                self.outcome(&written);
            }
        }
        if self.sends == 0 {
            self.early.clear();
        }
    }

    /// What became of a message has changed.
    pub(super) fn fate(&mut self, fate: MessageFate) {
        if fate.fate == Fate::Waiting {
            return;
        }
        let Some(written) = self.written.remove(&fate.message) else {
            if self.sends > 0 && self.early.len() < WATCHED {
                self.early.push(fate);
            }
            return;
        };
        self.became(&written, &fate);
    }

    /// The connection is gone while messages were on their way.
    pub(super) fn written_waits(&mut self) {
        let mut written = std::mem::take(&mut self.written);
        for one in written.values_mut().filter(|one| !one.said_to_wait) {
            self.waits(one);
        }
        self.written = written;
    }

    fn waits(&mut self, written: &mut Written) {
        written.said_to_wait = true;
        self.said.toned(
            Tone::Bad,
            &format!("(waits in the outbox for the server, to {}: {})", written.to, quoted(&written.excerpt)),
        );
    }

    fn became(&mut self, written: &Written, told: &MessageFate) {
        let to = &written.to;
        let text = quoted(&written.excerpt);
        let why = told.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        match told.fate {
            Fate::Stored | Fate::Taken | Fate::Delivered | Fate::Read => {
                let there = told.connected || told.fate > Fate::Stored;
                let what = if there { "sent".to_owned() } else { format!("queued ({to} is offline)") };
                match (written.said_to_wait, written.live, there) {
                    (true, ..) => self.said.toned(Tone::Good, &format!("({what}, to {to}: {text})")),
                    (false, true, true) => {}
                    (false, true, false) => self.said.line(&format!("({what}: {text})")),
                    (false, false, _) => self.said.line(&what),
                }
                if let Some(missed) = missed(told.unreached().len()) {
                    self.said.toned(Tone::Bad, &format!("({missed}, to {to}: {text})"));
                }
            }
            Fate::UnknownUser => self.no_such_user(written),
            Fate::Held => {
                self.said.toned(Tone::Bad, &format!("Held, not sent, to {to}: {text}{why}"));
                self.said.line(&format!("The identity of {to} has changed. Compare it: /verify {to}"));
            }
            Fate::Refused => self.said.toned(Tone::Bad, &format!("Refused, to {to}: {text}{why}")),
            Fate::Expired => self.said.toned(Tone::Bad, &format!("Expired, to {to}: {text}{why}")),
            Fate::Waiting => {}
        }
        if !written.said_to_wait {
            self.outcome(written);
        }
    }

    /// Asks again what was asked before somebody wrote in between.
    fn outcome(&mut self, written: &Written) {
        if !written.live && !matches!(self.mode, Mode::Live(_)) {
            self.question_again();
        }
    }

    fn no_such_user(&mut self, written: &Written) {
        self.said.toned(Tone::Bad, &format!("There is no user {}; nothing was sent.", written.to));
    }
}

fn quoted(excerpt: &str) -> String {
    format!("\"{excerpt}\"")
}

/// Enough of a text to know which one it is.
fn excerpt(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(EXCERPT).collect();
    if short.len() < text.trim_end().len() { format!("{short}...") } else { short }
}

//! What became of the messages of one `send`, and how the command ends.

use std::collections::HashMap;

use sotto_client::api::{ClientError, ErrorKind, Fate, MessageFate, NOT_ACCEPTED, Recipient};
use sotto_proto::MessageId;

use crate::args::Wait;
use crate::failure::Failure;
use crate::output::{Output, Tone};
use crate::record::{FateRecord, Record};
use crate::session::timed_out;

/// Why nothing more is awaited.
#[derive(Debug)]
pub(super) enum End {
    /// Every fate is known.
    Settled,
    /// An attempt to connect failed.
    Offline(ClientError),
    /// `--timeout` has passed.
    TimeUp,
    /// The client cannot go on.
    Broken(Failure),
}

/// A message whose fate is open.
#[derive(Debug)]
struct Open {
    line: u64,
    fate: Fate,
}

/// Counts, and the messages that are still open; settled ones are forgotten, for the input may be endless.
#[derive(Debug)]
pub(super) struct Watch {
    wait: Wait,
    to: Recipient,
    lines: bool,
    total: u64,
    /// Of the settled ones, those that are on the server or further.
    stored: u64,
    /// The first one that is not, and why.
    failed: Option<(Fate, Option<String>)>,
    /// Why the input was not read to its end.
    cut: Option<Failure>,
    open: HashMap<MessageId, Open>,
}

impl Watch {
    pub(super) fn new(wait: Wait, to: &Recipient, lines: bool) -> Self {
        Self {
            wait,
            to: to.clone(),
            lines,
            total: 0,
            stored: 0,
            failed: None,
            cut: None,
            open: HashMap::new(),
        }
    }

    /// Whether nothing is open.
    pub(super) fn settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether one is not on the server yet, so that a connection is needed.
    pub(super) fn any_waiting(&self) -> bool {
        self.open.values().any(|open| open.fate < Fate::Stored)
    }

    /// Those that are open.
    pub(super) fn open(&self) -> Vec<MessageId> {
        self.open.keys().copied().collect()
    }

    /// One more is in the outbox. Why one is held is still to be told.
    pub(super) fn queued(&mut self, message: MessageId, fate: Fate, out: &mut Output) -> Result<(), Failure> {
        self.total += 1;
        // Lower than any that is told, so that the first one is news.
        self.open.insert(message, Open { line: self.total, fate: Fate::UnknownUser });
        if fate == Fate::Held {
            return Ok(());
        }
        let fate = MessageFate { message, fate, reason: None, connected: false, devices: Vec::new() };
        self.fate(&fate, out)
    }

    /// Something became of one; others' messages are none of this command's business.
    pub(super) fn fate(&mut self, now: &MessageFate, out: &mut Output) -> Result<(), Failure> {
        let Some(open) = self.open.get_mut(&now.message) else { return Ok(()) };
        let news = open.fate != now.fate || now.fate == Fate::UnknownUser;
        open.fate = now.fate;
        let line = open.line;
        let good = reached(now.fate, self.wait);
        let settled = good || lost(now.fate);
        if news || settled {
            let words = self.words(now.fate, now.connected, now.reason.as_deref());
            let tone = if lost(now.fate) { Tone::Bad } else { Tone::Plain };
            self.print(&Record::from(now), line, settled, tone, &words, out)?;
        }
        if settled {
            self.open.remove(&now.message);
            if good {
                self.stored += 1;
            } else if self.failed.is_none() {
                self.failed = Some((now.fate, now.reason.clone()));
            }
        }
        Ok(())
    }

    /// JSON has every step; people are told how it ended.
    fn print(
        &self,
        record: &Record,
        line: u64,
        settled: bool,
        tone: Tone,
        words: &str,
        out: &mut Output,
    ) -> Result<(), Failure> {
        if out.json() || settled {
            out.record(record, |lines| {
                let place = if self.lines { format!("line {line}: ") } else { String::new() };
                lines.toned(tone, &format!("{place}{words}"));
            })?;
        }
        Ok(())
    }

    fn words(&self, fate: Fate, connected: bool, reason: Option<&str>) -> String {
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        match fate {
            Fate::Stored if connected => "sent".into(),
            Fate::Stored => match &self.to {
                Recipient::User(name) => format!("queued ({name} is offline)"),
                Recipient::Me => "queued".into(),
            },
            Fate::Taken => "sent".into(),
            Fate::UnknownUser => "unknown user".into(),
            other => format!("{}{why}", other.as_str()),
        }
    }

    /// How the command ends.
    pub(super) fn end(mut self, end: &End, out: &mut Output) -> Result<(), Failure> {
        let mut waiting: Vec<(u64, MessageId, Fate)> =
            self.open.iter().map(|(message, open)| (open.line, *message, open.fate)).collect();
        waiting.sort_unstable();
        for (line, message, fate) in waiting {
            if fate >= Fate::Stored {
                self.stored += 1;
            }
            // JSON has said it already, as the last step of this message.
            if !out.json() {
                let record = Record::Fate(FateRecord {
                    id: message.to_string(),
                    state: fate.as_str(),
                    reason: None,
                    connected: None,
                    unreached: Vec::new(),
                });
                let words = self.words(fate, false, None);
                self.print(&record, line, true, Tone::Bad, &words, out)?;
            }
        }
        self.verdict(end)
    }

    /// The input ended with something that cannot be sent. What was given before goes its way.
    pub(super) fn cut(&mut self, failure: Failure) {
        self.cut = Some(failure);
    }

    /// The input was left before its end.
    pub(super) fn unread(&mut self) {
        if self.cut.is_none() {
            let taken =
                format!("the input had not ended: {} messages were taken from it, and no more", self.total);
            self.cut(Failure::new(ErrorKind::Timeout, taken));
        }
    }

    fn verdict(&self, end: &End) -> Result<(), Failure> {
        let broken = match end {
            End::TimeUp => {
                let hint = "what was not sent waits in the outbox: sotto outbox list";
                return Err(Failure {
                    cause: self.cut.as_ref().map(|cut| cut.message.clone()),
                    hint: (self.total > 0).then(|| hint.to_owned()),
                    ..timed_out()
                });
            }
            End::Broken(failure) => Some(failure),
            End::Settled | End::Offline(_) => self.cut.as_ref(),
        };
        let whole = self.stored == self.total && self.cut.is_none();
        if whole && broken.is_none() {
            return Ok(());
        }
        let why = broken.cloned().unwrap_or_else(|| self.why(end));
        if whole || self.stored == 0 {
            return Err(why);
        }
        let failure = Failure::partly(format!("{} messages are on the server, the rest is not", self.stored));
        let hint = why.hint.unwrap_or_else(|| "sotto outbox list".into());
        Err(failure.cause(why.message).hint(hint))
    }

    /// Why the first one is not on the server.
    fn why(&self, end: &End) -> Failure {
        let name = match &self.to {
            Recipient::User(name) => name.to_string(),
            Recipient::Me => "this account".into(),
        };
        let (fate, reason) = match (&self.failed, end) {
            (Some((fate, reason)), _) => (*fate, reason.clone()),
            (None, End::Offline(error)) => {
                let mut failure = Failure::from(error.clone());
                failure.message = format!("{}; the message waits in the outbox", failure.message);
                failure.hint = failure.hint.or_else(|| {
                    Some(
                        "it leaves with the next command that finds the server; see sotto outbox list".into(),
                    )
                });
                return failure;
            }
            (None, _) => (Fate::Waiting, None),
        };
        let failure = match fate {
            Fate::Held => Failure::new(
                ErrorKind::IdentityChanged,
                format!("nothing was sent to {name}, the message is held"),
            )
            .hint(format!("sotto verify {name}")),
            Fate::UnknownUser => {
                return Failure::new(ErrorKind::NotFound, format!("the server knows no user {name}"))
                    .hint("sotto users");
            }
            Fate::Refused if reason.as_deref() == Some(NOT_ACCEPTED) => {
                Failure::new(ErrorKind::Limit, format!("the message to {name} was refused"))
            }
            Fate::Refused => Failure::new(ErrorKind::Limit, "the server did not take the message")
                .hint("it is tried again later; see sotto outbox list"),
            Fate::Expired => Failure::new(ErrorKind::Limit, "the message waited too long and has expired"),
            _ => Failure::new(ErrorKind::Unreachable, "the message waits in the outbox")
                .hint("sotto outbox list"),
        };
        match reason {
            Some(reason) => failure.cause(reason),
            None => failure,
        }
    }
}

fn reached(fate: Fate, wait: Wait) -> bool {
    fate >= match wait {
        Wait::Stored => Fate::Stored,
        Wait::Delivered => Fate::Delivered,
        Wait::Read => Fate::Read,
    }
}

fn lost(fate: Fate) -> bool {
    matches!(fate, Fate::UnknownUser | Fate::Refused | Fate::Expired | Fate::Held)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use sotto_proto::Username;

    use super::*;
    use crate::output::Colour;

    fn out() -> Output {
        Output::captured(true, Colour::Never)
    }

    fn fate(n: u8, fate: Fate) -> MessageFate {
        MessageFate { message: MessageId([n; 16]), fate, reason: None, connected: true, devices: Vec::new() }
    }

    fn watch(wait: Wait, messages: u8) -> (Watch, Output) {
        let mut out = out();
        let mut watch = Watch::new(wait, &Recipient::User(Username::parse("bob").unwrap()), messages > 1);
        for n in 0..messages {
            watch.queued(MessageId([n; 16]), Fate::Waiting, &mut out).unwrap();
        }
        (watch, out)
    }

    fn offline() -> End {
        End::Offline(ClientError::new(ErrorKind::Unreachable, "no server"))
    }

    fn code(watch: Watch, end: &End, out: &mut Output) -> u8 {
        watch.end(end, out).map_or_else(|failure| failure.code, |()| 0)
    }

    #[test]
    fn stored_is_enough_unless_more_is_asked_for() {
        for (wait, enough) in
            [(Wait::Stored, Fate::Stored), (Wait::Delivered, Fate::Delivered), (Wait::Read, Fate::Read)]
        {
            let (mut watch, mut out) = watch(wait, 1);
            for step in [Fate::Stored, Fate::Taken, Fate::Delivered, Fate::Read] {
                assert!(!watch.settled());
                watch.fate(&fate(0, step), &mut out).unwrap();
                if step == enough {
                    break;
                }
            }
            assert!(watch.settled());
            assert_eq!(code(watch, &End::Settled, &mut out), 0);
            let printed = out.into_captured();
            assert!(
                printed.lines().last().unwrap().contains(&format!("\"state\":\"{}\"", enough.as_str())),
                "{printed}"
            );
        }
    }

    #[test]
    fn every_step_is_printed_once_in_json() {
        let (mut watch, mut out) = watch(Wait::Delivered, 1);
        for step in [Fate::Waiting, Fate::Stored, Fate::Stored, Fate::Delivered, Fate::Delivered] {
            watch.fate(&fate(0, step), &mut out).unwrap();
        }
        let printed = out.into_captured();
        let states: Vec<serde_json::Value> = printed
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["state"].clone())
            .collect();
        assert_eq!(states, ["waiting", "stored", "delivered"]);
    }

    #[test]
    fn a_message_that_does_not_leave_has_the_code_of_its_reason() {
        for (step, expected) in [(Fate::Held, 5), (Fate::UnknownUser, 10), (Fate::Refused, 7)] {
            let (mut watch, mut out) = watch(Wait::Stored, 1);
            watch.fate(&fate(0, step), &mut out).unwrap();
            assert!(watch.settled(), "{step:?}");
            assert_eq!(code(watch, &End::Settled, &mut out), expected, "{step:?}");
        }
        let (watch, mut out) = watch(Wait::Stored, 1);
        assert!(watch.any_waiting());
        assert_eq!(code(watch, &offline(), &mut out), 3);
    }

    #[test]
    fn only_what_is_tried_again_is_said_to_be() {
        let hint = |reason: &str| {
            let (mut watch, mut out) = watch(Wait::Stored, 1);
            let refused = MessageFate { reason: Some(reason.to_owned()), ..fate(0, Fate::Refused) };
            watch.fate(&refused, &mut out).unwrap();
            watch.end(&End::Settled, &mut out).unwrap_err().hint
        };
        assert!(hint("the recipient's mailbox is full").unwrap().contains("again"));
        assert_eq!(hint(NOT_ACCEPTED), None);
    }

    #[test]
    fn some_stored_and_some_not_is_six_and_time_wins() {
        let (mut some, mut out) = watch(Wait::Stored, 3);
        some.fate(&fate(0, Fate::Stored), &mut out).unwrap();
        let failure = some.end(&offline(), &mut out).unwrap_err();
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (6, "1 messages are on the server, the rest is not")
        );
        let (mut late, mut out) = watch(Wait::Stored, 2);
        late.fate(&fate(0, Fate::Stored), &mut out).unwrap();
        assert_eq!(code(late, &End::TimeUp, &mut out), 124);
    }

    #[test]
    fn an_input_that_was_left_is_said_to_have_been() {
        let (mut some, mut out) = watch(Wait::Stored, 2);
        for n in 0..2 {
            some.fate(&fate(n, Fate::Stored), &mut out).unwrap();
        }
        some.unread();
        let failure = some.end(&End::TimeUp, &mut out).unwrap_err();
        assert_eq!(failure.code, 124);
        assert!(failure.cause.unwrap().contains(" 2 messages were taken"));
        let (mut some, mut out) = watch(Wait::Stored, 1);
        some.fate(&fate(0, Fate::Stored), &mut out).unwrap();
        some.unread();
        assert_eq!(code(some, &End::Broken(Failure::new(ErrorKind::DiskFull, "full")), &mut out), 6);
        // Why a line could not be sent says more.
        let (mut none, mut out) = watch(Wait::Stored, 0);
        none.cut(Failure::new(ErrorKind::Invalid, "bad line"));
        none.unread();
        assert_eq!(none.end(&End::TimeUp, &mut out).unwrap_err().cause.unwrap(), "bad line");
    }

    #[test]
    fn what_cuts_it_short_is_the_cause_once_some_is_stored() {
        let bad = || Failure::new(ErrorKind::Invalid, "bad line");
        let (mut some, mut out) = watch(Wait::Stored, 1);
        some.fate(&fate(0, Fate::Stored), &mut out).unwrap();
        some.cut(bad());
        let failure = some.end(&End::Settled, &mut out).unwrap_err();
        assert_eq!((failure.code, failure.cause.as_deref()), (6, Some("bad line")));
        let (mut none, mut out) = watch(Wait::Stored, 0);
        none.cut(bad());
        assert_eq!(code(none, &End::Settled, &mut out), 1);
        let (waiting, mut out) = watch(Wait::Stored, 1);
        assert_eq!(code(waiting, &End::Broken(Failure::new(ErrorKind::DiskFull, "full")), &mut out), 1);
        let (mut stored, mut out) = watch(Wait::Read, 1);
        stored.fate(&fate(0, Fate::Stored), &mut out).unwrap();
        assert_eq!(code(stored, &offline(), &mut out), 0);
    }

    #[test]
    fn people_are_told_sent_or_queued() {
        let (watch, _) = watch(Wait::Stored, 1);
        assert_eq!(watch.words(Fate::Stored, true, None), "sent");
        assert_eq!(watch.words(Fate::Stored, false, None), "queued (bob is offline)");
        assert_eq!(watch.words(Fate::Refused, false, Some("mailbox full")), "refused: mailbox full");
        assert_eq!(watch.words(Fate::Waiting, false, None), "waiting");
    }
}

//! `sotto recv`: messages in order, each once over all calls.

use sotto_client::api::{Command, Connection, ErrorKind, Event, Recipient, Reply, Row};
use sotto_proto::MessageId;
use tokio::time::Instant;

use super::Context;
use crate::alarm;
use crate::args::Recv;
use crate::failure::Failure;
use crate::output::{Output, Printed};
use crate::recipient::To;
use crate::record::Record;
use crate::row;
use crate::session::{self, Heard, Session, unexpected};
use crate::time::parse_time;

/// Rows asked for at a time.
const PAGE: u32 = 200;

/// Prints what has arrived and, until the mailbox is drained or for ever, what arrives.
pub(crate) async fn run(args: Recv, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let from = args.from.as_ref().map(To::recipient).transpose()?;
    let source = match &args.since {
        None => Source::Unprinted,
        Some(since) => Source::Since(Since::parse(since)?),
    };
    let mut session = Session::open(&mut context).await?;
    let mut printer = Printer { source, from, after: 0, left: args.limit, until: context.until };
    let ended = loop {
        match receive(&mut printer, args.follow, &mut session, out).await {
            Ok(ended) => break Ok(ended),
            Err(failure) => {
                if let Err(failure) = session.reopen(failure, &mut context).await {
                    break Err(failure);
                }
            }
        }
    };
    session.finish(out).await;
    match ended? {
        Ended::Complete => out.record(&Record::End, |_| ()).map(|_| ()),
        Ended::ReaderGone => Ok(()),
    }
}

/// Why there is nothing more to print.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Complete,
    ReaderGone,
}

/// Says what the user must know.
fn warn(event: &Event, out: &mut Output) {
    if let Some(words) = alarm::words(event) {
        out.warning(&words);
    }
}

async fn receive(
    printer: &mut Printer,
    follow: bool,
    session: &mut Session,
    out: &mut Output,
) -> Result<Ended, Failure> {
    loop {
        // Asked for before the rows are read: what arrives in between is drained, and printed, by the next round.
        let state = session.state();
        if let Some(ended) = printer.print_new(session, out).await? {
            return Ok(ended);
        }
        if !follow && state.drained {
            return Ok(Ended::Complete);
        }
        if let Connection::Offline { error, retry_in_ms } = &state.connection
            && (!follow || retry_in_ms.is_none())
        {
            return Err(error.clone().into());
        }
        match session.heard(printer.until).await? {
            Heard::Event(Event::Stopped(error)) => {
                // The store still has what came before.
                printer.print_new(session, out).await?;
                return Err(error.into());
            }
            Heard::Event(Event::Connection(Connection::Offline { error, .. })) if follow => {
                out.notice(&format!("not connected: {}; trying again", error.message));
            }
            Heard::Event(Event::Connection(Connection::Online)) if follow => out.notice("connected"),
            Heard::Event(event) => warn(&event, out),
            Heard::Lagged => {}
        }
    }
}

/// From where rows are read.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// The cursor, which moves behind each line that was printed.
    Unprinted,
    /// The history; nothing moves.
    Since(Since),
}

/// After what.
#[derive(Debug, PartialEq, Eq)]
enum Since {
    Message(MessageId),
    Time(u64),
    /// The message was found; everything behind it counts.
    Found,
}

impl Since {
    fn parse(text: &str) -> Result<Self, Failure> {
        if let Ok(message) = text.parse::<MessageId>() {
            return Ok(Self::Message(message));
        }
        parse_time(text).map(Self::Time).ok_or_else(|| {
            Failure::new(ErrorKind::Invalid, format!("{text:?} is neither a message's id nor a time"))
                .hint("write a time as 2026-11-21T08:00:00Z")
        })
    }

    /// Whether a row comes after it.
    fn passed(&mut self, row: &Row) -> bool {
        match self {
            Self::Found => true,
            Self::Time(time) => row.received_ms >= *time,
            Self::Message(message) => {
                if row.message == *message {
                    *self = Self::Found;
                }
                false
            }
        }
    }
}

/// Prints rows and remembers how far it is.
#[derive(Debug)]
struct Printer {
    source: Source,
    from: Option<Recipient>,
    /// The print number of the last row that was looked at.
    after: u64,
    /// How many more may be printed.
    left: Option<u32>,
    /// When it ends, whatever is left.
    until: Option<Instant>,
}

impl Printer {
    /// Prints what is in the store and was not printed; `Some` when nothing more is wanted.
    async fn print_new(&mut self, session: &Session, out: &mut Output) -> Result<Option<Ended>, Failure> {
        loop {
            let ask = match self.source {
                Source::Unprinted => Command::Unprinted { after: self.after, limit: PAGE },
                Source::Since(_) => Command::PrintedAfter { after: self.after, limit: PAGE },
            };
            let Reply::Rows(rows) = session.ask(ask).await? else { return Err(unexpected()) };
            let full = rows.len() >= PAGE as usize;
            for row in rows {
                if row.print > self.after {
                    if let Some(ended) = self.print(&row, session, out).await? {
                        return Ok(Some(ended));
                    }
                    self.after = row.print;
                    // After the row: with however little time, every call gets on.
                    session::in_time(self.until)?;
                }
            }
            if !full {
                break;
            }
        }
        match &self.source {
            Source::Since(Since::Message(message)) => {
                Err(Failure::new(ErrorKind::NotFound, format!("no message {message} has arrived here")))
            }
            _ => Ok(None),
        }
    }

    /// Flushes the line first and moves the cursor then: a kill in between repeats this line and loses none.
    async fn print(
        &mut self,
        row: &Row,
        session: &Session,
        out: &mut Output,
    ) -> Result<Option<Ended>, Failure> {
        let passed = match &mut self.source {
            Source::Unprinted => true,
            Source::Since(since) => since.passed(row),
        };
        if !passed || !self.is_from(row) {
            return Ok(None);
        }
        if row::print(row, out)? == Printed::ReaderGone {
            return Ok(Some(Ended::ReaderGone));
        }
        if self.source == Source::Unprinted {
            session.ask(Command::Printed(row.print)).await?;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Ok(Some(Ended::Complete));
            }
        }
        Ok(None)
    }

    fn is_from(&self, row: &Row) -> bool {
        match &self.from {
            None => true,
            Some(Recipient::User(name)) => !row.outgoing && row.from == name.as_str(),
            Some(Recipient::Me) => row.outgoing,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sotto_client::api::{RowBody, Trust};
    use sotto_proto::Username;

    use super::*;

    fn row(n: u8, from: &str) -> Row {
        Row {
            print: u64::from(n),
            message: MessageId([n; 16]),
            conversation: from.into(),
            from: from.into(),
            outgoing: from == "alice",
            trust: Trust::Pinned,
            sent_ms: 0,
            received_ms: 1000 * u64::from(n),
            body: RowBody::Text("x".into()),
            fate: None,
            reason: None,
            unreached: Vec::new(),
        }
    }

    #[test]
    fn since_a_message_starts_behind_it_and_since_a_time_with_it() {
        let mut since = Since::parse(&MessageId([2; 16]).to_string()).unwrap();
        let passed: Vec<bool> = (1..=4).map(|n| since.passed(&row(n, "bob"))).collect();
        assert_eq!(passed, [false, false, true, true]);
        let mut since = Since::parse("1970-01-01T00:00:03Z").unwrap();
        let passed: Vec<bool> = (1..=4).map(|n| since.passed(&row(n, "bob"))).collect();
        assert_eq!(passed, [false, false, true, true]);
        assert_eq!(Since::parse("yesterday").unwrap_err().code, 1);
    }

    #[test]
    fn a_filter_takes_the_named_sender_or_ones_own_other_devices() {
        let filter = |from| Printer { source: Source::Unprinted, from, after: 0, left: None, until: None };
        let bob = filter(Some(Recipient::User(Username::parse("bob").unwrap())));
        assert!(bob.is_from(&row(1, "bob")));
        assert!(!bob.is_from(&row(1, "carol")));
        assert!(filter(Some(Recipient::Me)).is_from(&row(1, "alice")));
        assert!(!filter(Some(Recipient::Me)).is_from(&row(1, "bob")));
        assert!(filter(None).is_from(&row(1, "carol")));
    }
}

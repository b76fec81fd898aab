//! `sotto send`.

mod watch;

use std::io::Read;

use sotto_client::api::{Command, Connection, ErrorKind, Event, Fate, Recipient, Reply};
use sotto_proto::content::MAX_TEXT;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::watch::{End, Watch};
use super::Context;
use crate::alarm;
use crate::args::Send;
use crate::failure::Failure;
use crate::input::{self, Input, Line};
use crate::output::Output;
use crate::session::{self, Heard, Session, unexpected};

/// Lines read ahead of the outbox and put into it in one step: enough to keep it busy, and little memory.
const READ_AHEAD: usize = 64;
/// Events noted between two steps of the input: more than one step causes.
const HEARD: usize = 1024;

/// Puts one message or each line into the outbox, and waits until it is known what became of them.
pub(crate) async fn run(args: Send, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let to = args.to.recipient()?;
    let mut texts = match args.text {
        Some(text) if text != "-" => Texts::One(Some(checked(text)?)),
        Some(_) => {
            let stdin = context.stdin()?;
            let text = input::read(context.until, "the end of the text", || stdin.text(MAX_TEXT)).await?;
            Texts::One(Some(checked(text)?))
        }
        None => Texts::Lines(read_lines(context.stdin()?)),
    };
    let mut session = Session::open(&mut context).await?;
    let mut watch = Watch::new(args.wait, &to, args.lines);
    let end =
        send(&to, &mut texts, &mut session, &mut context, &mut watch, out).await.unwrap_or_else(End::Broken);
    if !texts.ended() {
        watch.unread();
    }
    session.finish(out).await;
    watch.end(&end, out)
}

/// Where the texts come from.
enum Texts {
    One(Option<String>),
    Lines(mpsc::Receiver<Result<String, Failure>>),
}

impl Texts {
    /// What can be had at once, and at least one; none at the end. Cancel safe.
    async fn next(&mut self) -> Vec<Result<String, Failure>> {
        match self {
            Self::One(text) => text.take().map(Ok).into_iter().collect(),
            Self::Lines(lines) => {
                let mut some = Vec::new();
                lines.recv_many(&mut some, READ_AHEAD).await;
                some
            }
        }
    }

    /// What has been read already, without waiting for more.
    fn at_once(&mut self) -> Vec<Result<String, Failure>> {
        match self {
            Self::One(text) => text.take().map(Ok).into_iter().collect(),
            // The reader fills up what is taken here.
            Self::Lines(lines) => std::iter::from_fn(|| lines.try_recv().ok()).take(READ_AHEAD).collect(),
        }
    }

    /// Whether all there is was taken.
    fn ended(&self) -> bool {
        match self {
            Self::One(text) => text.is_none(),
            Self::Lines(lines) => lines.is_closed() && lines.is_empty(),
        }
    }
}

fn checked(text: String) -> Result<String, Failure> {
    if text.is_empty() {
        return Err(Failure::new(ErrorKind::Invalid, "there is nothing to send: the text is empty"));
    }
    if text.len() > MAX_TEXT {
        return Err(input::too_large(MAX_TEXT));
    }
    Ok(text)
}

/// Reads on a thread of its own, for a pipe may stay silent for long. It ends with the first line that cannot be sent.
fn read_lines<R: Read + std::marker::Send + 'static>(
    stdin: Input<R>,
) -> mpsc::Receiver<Result<String, Failure>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut lines = stdin.lines(MAX_TEXT);
        for number in 1_u64.. {
            let line = match lines.next_line() {
                // An empty line says nothing; there is no message without text.
                Ok(Line::Text(bytes)) if bytes.is_empty() => continue,
                Ok(Line::Text(bytes)) => input::utf8(bytes),
                Ok(Line::TooLong) => Err(input::too_large(MAX_TEXT)),
                Ok(Line::End) => return,
                Err(error) => Err(Failure::io("the input could not be read", &error)),
            };
            let line = line.map_err(|failure| Failure {
                message: format!("line {number}: {}; it and what follows was not sent", failure.message),
                ..failure
            });
            let last = line.is_err();
            if sender.blocking_send(line).is_err() || last {
                return;
            }
        }
    });
    receiver
}

/// Until all texts are in the outbox and every fate is settled, or nothing more can be awaited.
async fn send(
    to: &Recipient,
    texts: &mut Texts,
    session: &mut Session,
    context: &mut Context,
    watch: &mut Watch,
    out: &mut Output,
) -> Result<End, Failure> {
    let until = context.until;
    let mut more = true;
    // How much of what has happened is noted before the next texts: an input that never pauses does not keep it from being heard.
    let mut first = 0;
    while more || !watch.settled() {
        if !more && watch.any_waiting() {
            // Also when it broke before this command listened.
            if let Some(error) = session::offline(&session.state()) {
                return Ok(End::Offline(error.clone()));
            }
        }
        let already = if first > 0 { session.heard_already() } else { None };
        first = already.as_ref().map_or(0, |_| first - 1);
        let heard = if let Some(heard) = already {
            Ok(heard)
        } else {
            tokio::select! {
                // Texts first: nothing that was given in time may be missing from the outbox when this ends.
                biased;
                some = texts.next(), if more && session::in_time(until).is_ok() => {
                    more = !some.is_empty() && queue(to, some, session, watch, out).await?;
                    first = HEARD;
                    continue;
                }
                heard = session.heard(until) => heard,
            }
        };
        match heard {
            Ok(Heard::Event(event)) => {
                if let Some(end) = noted(event, watch, out)?
                    && !more
                {
                    return Ok(end);
                }
            }
            Ok(Heard::Lagged) => refresh(session, watch, until, out).await?,
            Err(failure) if failure.code == ErrorKind::Timeout.exit_code() => {
                queue(to, texts.at_once(), session, watch, out).await?;
                // What happened in time is not to be told as open.
                for _ in 0..HEARD {
                    let Some(Heard::Event(event)) = session.heard_already() else { break };
                    noted(event, watch, out)?;
                }
                let all = texts.ended() && watch.settled();
                return Ok(if all { End::Settled } else { End::TimeUp });
            }
            Err(failure) => {
                session.reopen(failure, context).await?;
                refresh(session, watch, until, out).await?;
            }
        }
    }
    Ok(End::Settled)
}

/// Puts texts into the outbox; `false` if one of them cannot be sent, which ends the input.
async fn queue(
    to: &Recipient,
    texts: Vec<Result<String, Failure>>,
    session: &Session,
    watch: &mut Watch,
    out: &mut Output,
) -> Result<bool, Failure> {
    let mut good = Vec::with_capacity(texts.len());
    let mut more = true;
    for text in texts {
        match text {
            Ok(text) => good.push(Command::Send { to: to.clone(), text }),
            Err(failure) => {
                watch.cut(failure);
                more = false;
            }
        }
    }
    // One that was refused does not make the others unsaid.
    let mut problem = None;
    for reply in session.ask_all(good).await {
        match reply {
            Ok(Reply::Queued { message, fate }) => {
                watch.queued(message, fate, out)?;
                if fate == Fate::Held {
                    // The reply does not say why.
                    let Reply::Fate(why) = session.ask(Command::Fate(message)).await? else {
                        return Err(unexpected());
                    };
                    watch.fate(&why, out)?;
                }
            }
            Ok(_) => drop(problem.get_or_insert_with(unexpected)),
            Err(error) => drop(problem.get_or_insert(error)),
        }
    }
    problem.map_or(Ok(more), Err)
}

/// Takes note of an event; some of them end the waiting.
fn noted(event: Event, watch: &mut Watch, out: &mut Output) -> Result<Option<End>, Failure> {
    match event {
        Event::Fate(fate) => watch.fate(&fate, out)?,
        Event::Stopped(error) => return Err(error.into()),
        Event::Connection(Connection::Offline { error, .. }) if watch.any_waiting() => {
            return Ok(Some(End::Offline(error)));
        }
        event => {
            if let Some(words) = alarm::words(&event) {
                out.warning(&words);
            }
        }
    }
    Ok(None)
}

/// Asks after every message that is still open, as far as there is time.
async fn refresh(
    session: &Session,
    watch: &mut Watch,
    until: Option<Instant>,
    out: &mut Output,
) -> Result<(), Failure> {
    for message in watch.open() {
        if session::in_time(until).is_err() {
            break;
        }
        let Reply::Fate(fate) = session.ask(Command::Fate(message)).await? else { return Err(unexpected()) };
        watch.fate(&fate, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn each_line_is_a_text_and_a_bad_one_ends_them() {
        let mut lines = read_lines(Input::new(&b"one\n\ntwo\r\n\xff\nthree\n"[..]));
        assert_eq!(lines.recv().await.unwrap().unwrap(), "one");
        assert_eq!(lines.recv().await.unwrap().unwrap(), "two");
        let failure = lines.recv().await.unwrap().unwrap_err();
        assert!(failure.message.starts_with("line 4: "), "{failure:?}");
        assert!(lines.recv().await.is_none());
    }

    /// A pipe that never pauses.
    struct Yes;

    impl Read for Yes {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            Ok(buffer.chunks_exact_mut(2).map(|pair| pair.copy_from_slice(b"y\n")).count() * 2)
        }
    }

    #[tokio::test]
    async fn an_input_that_goes_on_is_left_with_what_was_read_of_it() {
        let mut endless = Texts::Lines(read_lines(Input::new(Yes)));
        assert!(!endless.next().await.is_empty());
        assert!(endless.at_once().len() <= READ_AHEAD);
        assert!(!endless.ended());
        let mut short = Texts::Lines(read_lines(Input::new(&b"one\ntwo"[..])));
        while !short.next().await.is_empty() {}
        assert!(short.ended());
        let mut one = Texts::One(Some("one".to_owned()));
        assert!(!one.ended());
        assert_eq!(one.at_once().len(), 1);
        assert!(one.ended());
    }

    #[test]
    fn a_text_has_a_size() {
        assert_eq!(MAX_TEXT, 32_512, "as docs/spec/cli.md says");
        assert_eq!(checked(String::new()).unwrap_err().code, 1);
        assert_eq!(checked("x".repeat(MAX_TEXT + 1)).unwrap_err().code, 1);
        assert!(checked("x".repeat(MAX_TEXT)).is_ok());
    }
}

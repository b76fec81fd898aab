//! `sotto chat`: the menu, live chats and messages, line by line. What is said and done is decided by [`machine`]; this is
//! what carries it out.

mod machine;
mod start;
mod terminal;

#[cfg(feature = "fuzzing")]
pub(crate) use self::terminal::fuzzing;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use sotto_client::api::{ClientError, Command, ErrorKind, Event, Reply};
use sotto_client::driver::{Client, Events, Notice};
use tokio::time::Instant;

use self::machine::{Ask, Input, Machine, Output as Do};
use self::terminal::{Console, Heard};
use super::Context;
use crate::args::Chat;
use crate::config::Notices;
use crate::failure::Failure;
use crate::output::{Output, Printed};
use crate::session::Session;

pub(crate) use self::terminal::restore;

/// Lines that were typed while the one before them was not done.
const TYPED_AHEAD: usize = 32;
/// How long what was typed may take to reach the server when the program is to end: its line of passwords and its disk can
/// make a healthy server slow, and a person waits.
const LEAVE: Duration = Duration::from_secs(20);

/// Talks with a person until one of them ends it.
pub(crate) async fn run(args: Chat, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    if out.json() {
        return Err(Failure::usage(
            "chat is for people; scripts use `recv --follow --json`, `send` and `users`",
        ));
    }
    let Some((mut session, me)) = start::sign_in(&args, &mut context, out).await? else { return Ok(()) };
    let commands = machine::COMMANDS.iter().map(|(name, ..)| *name).collect();
    let mut console = Console::open(context.stdin()?, &format!("{me}> "), args.plain, commands)?;
    let colour = out.colour() && !args.plain;
    let mut shell = Shell {
        machine: Machine::new(&me, colour, console.is_pipe()),
        notices: context.notices,
        lines: VecDeque::new(),
        no_more_lines: false,
        leave_by: None,
    };
    let mut first = vec![Input::Ready];
    let ended = loop {
        match shell.converse(&mut session, &mut console, std::mem::take(&mut first)).await {
            Ok(()) => break Ok(()),
            Err(failure) => {
                // The program through whose socket this went may have ended; this one takes its place, and may have to ask
                // for the password.
                console.pause()?;
                if let Err(failure) = session.reopen(failure, &mut context).await {
                    break Err(failure);
                }
                console.resume()?;
                first = vec![Input::Again, Input::Event(Event::Connection(session.state().connection))];
            }
        }
    };
    drop(console);
    session.finish(out).await;
    ended
}

/// An answer on its way.
type Waiting<'a> = (Ask, Pin<Box<dyn Future<Output = Result<Reply, ClientError>> + Send + 'a>>);

/// What outlives a connection to the client.
struct Shell {
    machine: Machine,
    notices: Notices,
    lines: VecDeque<Heard>,
    no_more_lines: bool,
    leave_by: Option<Instant>,
}

/// Whether to go on.
enum Next {
    GoOn,
    End,
}

impl Shell {
    /// Until the user leaves, or the client cannot go on.
    async fn converse(
        &mut self,
        session: &mut Session,
        console: &mut Console,
        first: Vec<Input>,
    ) -> Result<(), Failure> {
        let (client, events) = session.parts();
        let mut waiting: Vec<Waiting<'_>> = Vec::new();
        let mut inputs: VecDeque<Input> = first.into();
        loop {
            self.take_lines(&mut inputs);
            if let Some(input) = inputs.pop_front() {
                let todo = self.machine.handle(input);
                if let Next::End = self.perform(todo, client, &mut waiting, console)? {
                    return Ok(());
                }
                continue;
            }
            console.prompt()?;
            inputs.push_back(self.next(client, events, &mut waiting, console).await?);
        }
    }

    /// Hands over the lines that have a meaning by now.
    fn take_lines(&mut self, inputs: &mut VecDeque<Input>) {
        if !inputs.is_empty() {
            return;
        }
        match self.lines.front() {
            Some(Heard::Line { text, .. }) if self.machine.takes(text) => {
                if let Some(Heard::Line { text, begun }) = self.lines.pop_front() {
                    // A pipe has no person who reads before it goes on: its lines mean what they mean when their turn comes.
                    let begun = if self.machine.is_piped() { self.machine.context() } else { begun };
                    inputs.push_back(Input::Line { text, begun });
                }
            }
            Some(Heard::Line { .. }) => {}
            Some(_) => {
                if let Some(Heard::Bad(why)) = self.lines.pop_front() {
                    inputs.push_back(Input::Bad(why));
                }
            }
            // What waited is shown also to who types nothing.
            None if self.no_more_lines && !self.machine.leaving() && !self.machine.starting() => {
                inputs.push_back(Input::End);
            }
            None => {}
        }
    }

    async fn next(
        &mut self,
        client: &Client,
        events: &mut Events,
        waiting: &mut Vec<Waiting<'_>>,
        console: &mut Console,
    ) -> Result<Input, Failure> {
        if self.machine.leaving() && self.leave_by.is_none() {
            self.leave_by = Some(Instant::now() + LEAVE);
        }
        // Ahead of a pipe nothing is read: what is not taken stays where it is.
        let most = if console.is_pipe() { 1 } else { TYPED_AHEAD };
        let leave_by = self.leave_by;
        let more = self.lines.len() < most && !self.no_more_lines;
        tokio::select! {
            (ask, answer) = answered(waiting) => Ok(Input::Answer(ask, answer)),
            notice = events.next() => match notice {
                Some(Notice::Event(event)) => Ok(Input::Event(event)),
                Some(Notice::Lagged) => Ok(Input::Lagged),
                None => Err(client.ended().await.into()),
            },
            heard = console.next(self.machine.context()), if more => {
                match heard? {
                    Heard::Interrupted => return Err(Failure::new(ErrorKind::Interrupted, "interrupted")),
                    Heard::End => self.no_more_lines = true,
                    line => self.lines.push_back(line),
                }
                Ok(Input::Idle)
            }
            () = at(leave_by) => Ok(Input::TimeUp),
        }
    }

    /// Does what the machine says, in its order.
    fn perform<'a>(
        &mut self,
        todo: Vec<Do>,
        client: &'a Client,
        waiting: &mut Vec<Waiting<'a>>,
        console: &mut Console,
    ) -> Result<Next, Failure> {
        for one in todo {
            match one {
                Do::Print(lines) => {
                    if console.print(&lines)? == Printed::ReaderGone {
                        // Nothing more is marked as printed.
                        return Ok(Next::End);
                    }
                }
                Do::Ask(ask, command) => waiting.push((ask, Box::pin(asked(client, *command)))),
                Do::Ring(why) => console.ring(&why, self.notices.bell, self.notices.osc9)?,
                Do::Names(names) => console.set_names(names),
                Do::Fail(error) => return Err((*error).into()),
                Do::Exit => return Ok(Next::End),
            }
        }
        Ok(Next::GoOn)
    }
}

async fn asked(client: &Client, command: Command) -> Result<Reply, ClientError> {
    client.command(command).await
}

/// The first answer that is here. Questions reach the client in the order in which they were asked, because they are
/// polled in it.
async fn answered(waiting: &mut Vec<Waiting<'_>>) -> (Ask, Result<Reply, ClientError>) {
    let (at, answer) = poll_fn(|context| {
        for (at, (_, future)) in waiting.iter_mut().enumerate() {
            if let Poll::Ready(answer) = future.as_mut().poll(context) {
                return Poll::Ready((at, answer));
            }
        }
        Poll::Pending
    })
    .await;
    let (ask, _) = waiting.remove(at);
    (ask, answer)
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

//! Where lines come from and texts go: a terminal with a line editor, or two pipes.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use sotto_proto::content::MAX_TEXT;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::screen::{Done, Screen};
use super::tty::{self, Tty};
use super::view::Style;
use crate::failure::Failure;
use crate::input::{self, Input, Line};
use crate::output::Printed;
use crate::untrusted::Sanitised;

/// Lines of a pipe read ahead.
const READ_AHEAD: usize = 16;
/// Bytes of a terminal read at once.
const KEYS: usize = 4096;

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::command::chat) enum Heard {
    /// A line, and the context in which its first key was pressed.
    Line { text: String, begun: u64 },
    /// A line that is no message, and why.
    Bad(String),
    /// There will be no more.
    End,
    /// Ctrl-C on an empty line.
    Interrupted,
}

/// Both sides of a conversation with a person.
pub(in crate::command::chat) struct Console {
    side: Side,
    reader_gone: bool,
}

enum Side {
    Terminal(Box<Terminal>),
    Pipe(mpsc::Receiver<Result<String, String>>),
}

struct Terminal {
    tty: Tty,
    screen: Screen,
    resized: Signal,
    continued: Signal,
}

impl Console {
    /// Takes the terminal, if stdin and stdout are one.
    pub(in crate::command::chat) fn open(
        stdin: Input<File>,
        prompt: &str,
        plain: bool,
        commands: Vec<&'static str>,
    ) -> Result<Self, Failure> {
        let side = if io::stdin().is_terminal() && io::stdout().is_terminal() {
            let failed = |error: io::Error| Failure::io("the terminal cannot be used", &error);
            let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
            let style = if plain || dumb { Style::Append } else { Style::Cursor };
            let tty = Tty::open(!dumb).map_err(failed)?;
            Side::Terminal(Box::new(Terminal {
                screen: Screen::new(style, prompt, tty.size(), commands),
                tty,
                resized: signal(SignalKind::window_change()).map_err(failed)?,
                continued: signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))
                    .map_err(failed)?,
            }))
        } else {
            Side::Pipe(read_lines(stdin))
        };
        Ok(Self { side, reader_gone: false })
    }

    /// Whether lines come from a pipe.
    pub(in crate::command::chat) fn is_pipe(&self) -> bool {
        matches!(self.side, Side::Pipe(_))
    }

    /// Names that can be completed.
    pub(in crate::command::chat) fn set_names(&mut self, names: Vec<String>) {
        if let Side::Terminal(terminal) = &mut self.side {
            terminal.screen.set_names(names);
        }
    }

    /// Shows the prompt from now on.
    pub(in crate::command::chat) fn prompt(&mut self) -> Result<(), Failure> {
        let Side::Terminal(terminal) = &mut self.side else { return Ok(()) };
        let written = terminal.screen.prompt();
        self.write(&written).map(|_| ())
    }

    /// Prints whole lines above the prompt.
    pub(in crate::command::chat) fn print(&mut self, lines: &str) -> Result<Printed, Failure> {
        let written = match &mut self.side {
            Side::Pipe(_) => lines.to_owned(),
            Side::Terminal(terminal) => terminal.screen.around(lines),
        };
        self.write(&written)
    }

    /// Gives the terminal back for a question of another kind.
    pub(in crate::command::chat) fn pause(&mut self) -> Result<(), Failure> {
        let Side::Terminal(terminal) = &mut self.side else { return Ok(()) };
        let written = terminal.screen.pause();
        self.write(&written)?;
        tty::restore();
        Ok(())
    }

    /// Takes it again.
    pub(in crate::command::chat) fn resume(&mut self) -> Result<(), Failure> {
        match &self.side {
            Side::Terminal(terminal) => {
                terminal.tty.take().map_err(|error| Failure::io("the terminal cannot be used", &error))
            }
            Side::Pipe(_) => Ok(()),
        }
    }

    /// Lets the user notice something.
    pub(in crate::command::chat) fn ring(
        &mut self,
        why: &str,
        bell: bool,
        osc9: bool,
    ) -> Result<(), Failure> {
        if self.is_pipe() {
            return Ok(());
        }
        // Inside of the sequence nothing may end it: a name is sanitised like any text.
        let notice = if osc9 { format!("\x1b]9;Sotto: {}\x07", Sanitised::line(why)) } else { String::new() };
        let bell = if bell { "\x07" } else { "" };
        self.write(&format!("{notice}{bell}")).map(|_| ())
    }

    fn write(&mut self, text: &str) -> Result<Printed, Failure> {
        if self.reader_gone {
            return Ok(Printed::ReaderGone);
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(Printed::Yes),
            Err(error)
                if error.kind() == io::ErrorKind::BrokenPipe
                    || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
            {
                self.reader_gone = true;
                Ok(Printed::ReaderGone)
            }
            Err(error) => Err(Failure::io("the output could not be written", &error)),
        }
    }

    /// What comes in next, while lines mean what `context` says. Cancel safe.
    pub(in crate::command::chat) async fn next(&mut self, context: u64) -> Result<Heard, Failure> {
        loop {
            let terminal = match &mut self.side {
                Side::Pipe(lines) => {
                    return Ok(match lines.recv().await {
                        Some(Ok(text)) => Heard::Line { text, begun: context },
                        Some(Err(why)) => Heard::Bad(why),
                        None => Heard::End,
                    });
                }
                Side::Terminal(terminal) => terminal,
            };
            if let Some(key) = terminal.screen.next_key() {
                let (mut written, done) = terminal.screen.key(key, context);
                if done == Some(Done::Suspend) {
                    written = terminal.suspend(&written);
                }
                self.write(&written)?;
                if let Some(Done::Heard(heard)) = done {
                    return Ok(heard);
                }
                continue;
            }
            if terminal.screen.ended() {
                return Ok(Heard::End);
            }
            let mut buffer = [0; KEYS];
            let written = tokio::select! {
                read = terminal.tty.read(&mut buffer) => {
                    let read = read.map_err(|error| Failure::io("the terminal cannot be read", &error))?;
                    terminal.screen.feed(buffer.get(..read).unwrap_or_default());
                    continue;
                }
                _ = terminal.resized.recv() => {
                    let size = terminal.tty.size();
                    terminal.screen.resized(size)
                }
                _ = terminal.continued.recv() => {
                    // Whoever stopped it may have changed the terminal, and its size.
                    terminal.tty.take().map_err(|error| Failure::io("the terminal cannot be used", &error))?;
                    let size = terminal.tty.size();
                    terminal.screen.resized(size)
                }
            };
            self.write(&written)?;
        }
    }
}

impl Terminal {
    /// Gives the terminal back and stops, as Ctrl-Z does to other programs; goes on here when the shell says so. Where nobody
    /// could say so the kernel does not stop it.
    fn suspend(&mut self, away: &str) -> String {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(away.as_bytes()).and_then(|()| stdout.flush());
        drop(stdout);
        tty::restore();
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP);
        // A terminal that cannot be taken is noticed when it is read.
        let _ = self.tty.take();
        self.screen.redraw()
    }
}

impl Drop for Console {
    /// What is printed after this stands on a line of its own.
    fn drop(&mut self) {
        if let Side::Terminal(terminal) = &mut self.side {
            let written = terminal.screen.erase();
            let _ = self.write(&written);
        }
    }
}

/// Reads on a thread of its own, for a pipe may stay silent for long.
fn read_lines(stdin: Input<File>) -> mpsc::Receiver<Result<String, String>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut lines = stdin.lines(MAX_TEXT);
        loop {
            let line = match lines.next_line() {
                Ok(Line::Text(bytes)) => input::utf8(bytes),
                Ok(Line::TooLong) => Err(input::too_large(MAX_TEXT)),
                Ok(Line::End) => return,
                Err(error) => Err(Failure::io("the input could not be read", &error)),
            };
            let line = line.map_err(|failure| failure.message);
            let last = line.is_err();
            if sender.blocking_send(line).is_err() || last {
                return;
            }
        }
    });
    receiver
}

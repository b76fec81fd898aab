//! A program in a terminal, and what a person sees there.

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::programs::program;

/// Nothing that a person waits for takes this long on a busy machine with unoptimised programs.
const PATIENCE: Duration = Duration::from_secs(90);

/// Rows and columns of the terminal that everything must fit.
pub const ORDINARY: (u16, u16) = (24, 80);

/// How `sotto` is started.
#[derive(Debug)]
pub struct Start<'a> {
    /// Its arguments.
    pub arguments: Vec<&'a str>,
    /// The home folder.
    pub home: &'a Path,
    /// Further environment variables.
    pub environment: Vec<(&'a str, &'a str)>,
    /// Rows and columns.
    pub size: (u16, u16),
}

/// A terminal with `sotto` in it. Dropping it ends both.
pub struct Screen {
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    shown: Arc<Shown>,
    reader: Option<JoinHandle<()>>,
}

struct Shown {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    parser: vt100::Parser,
    raw: Vec<u8>,
    ended: bool,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rows()).finish()
    }
}

impl Screen {
    /// Starts the program.
    pub fn start(start: &Start<'_>) -> anyhow::Result<Self> {
        let (rows, columns) = start.size;
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size)?;
        let mut command = CommandBuilder::new(program("sotto")?);
        command.env_clear();
        command.env("HOME", start.home);
        command.env("TERM", "xterm-256color");
        command.env("TZ", "UTC");
        for (name, value) in &start.environment {
            command.env(name, value);
        }
        command.args(&start.arguments);
        let child = pair.slave.spawn_command(command)?;
        drop(pair.slave);
        let cells = |cells| NonZero::new(cells).context("a screen without cells");
        let state = State {
            parser: vt100::Parser::new(cells(rows)?, cells(columns)?, 0),
            raw: Vec::new(),
            ended: false,
        };
        let shown = Arc::new(Shown { state: Mutex::new(state), changed: Condvar::new() });
        let mut output = pair.master.try_clone_reader()?;
        let seen = shown.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = output.read(&mut buffer).unwrap_or(0);
                let mut state = seen.lock();
                let bytes = buffer.get(..read).unwrap_or_default();
                state.parser.process(bytes);
                state.raw.extend_from_slice(bytes);
                state.ended = read == 0;
                seen.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        let keyboard = pair.master.take_writer()?;
        Ok(Self { master: pair.master, keyboard, child, shown, reader: Some(reader) })
    }

    /// The rows that have something in them, from the top.
    pub fn rows(&self) -> Vec<String> {
        rows(&self.shown.lock())
    }

    /// Everything that was written, as it came.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().raw).into_owned()
    }

    /// Waits until the screen is as it should be.
    pub fn until(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shown.lock();
        while !wanted(&rows(&state)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let why = if state.ended { "it ended" } else { "too long" };
                bail!("{why}: the screen never showed {what}:\n{}", rows(&state).join("\n"));
            }
            state = self.shown.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Waits until the last rows are these.
    pub fn ends(&self, lines: &[&str]) -> anyhow::Result<()> {
        self.until(&lines.join("\n"), |rows| {
            rows.len() >= lines.len()
                && rows.iter().rev().zip(lines.iter().rev()).all(|(row, line)| row == line)
        })
    }

    /// Waits until some row is this one.
    pub fn shows(&self, line: &str) -> anyhow::Result<()> {
        self.until(line, |rows| rows.iter().any(|row| row == line))
    }

    /// Waits until some row has this in it.
    pub fn mentions(&self, text: &str) -> anyhow::Result<()> {
        self.until(text, |rows| rows.iter().any(|row| row.contains(text)))
    }

    /// Presses keys.
    pub fn types(&mut self, keys: &str) -> anyhow::Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes()).and_then(|()| self.keyboard.flush())?)
    }

    /// Types a line and enters it.
    pub fn enters(&mut self, line: &str) -> anyhow::Result<()> {
        self.types(&format!("{line}\r"))
    }

    /// Answers a question whose answer is not shown: typed earlier, it would be.
    pub fn answers_hidden(&mut self, question: &str, answer: &str) -> anyhow::Result<()> {
        self.until(question, |rows| rows.last().is_some_and(|row| row == question))?;
        let deadline = Instant::now() + PATIENCE;
        while self.echoes()? {
            ensure!(Instant::now() < deadline, "the answer to {question:?} would be shown");
            std::thread::yield_now();
        }
        self.enters(answer)
    }

    /// Whether the terminal itself shows what is typed: as it was before any program took it.
    pub fn echoes(&self) -> anyhow::Result<bool> {
        let modes = self.master.get_termios().context("no terminal")?;
        // ECHO and ICANON.
        Ok(modes.local_flags.bits() & 0o12 == 0o12)
    }

    /// Another size.
    pub fn resize(&self, (rows, columns): (u16, u16)) -> anyhow::Result<()> {
        if let (Some(rows), Some(columns)) = (NonZero::new(rows), NonZero::new(columns)) {
            self.shown.lock().parser.screen_mut().set_size(rows, columns);
        }
        self.master.resize(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 })
    }

    /// The process id.
    pub fn id(&self) -> Option<u32> {
        self.child.process_id()
    }

    /// Waits for the end of the program, and of what it wrote.
    pub fn code(&mut self) -> anyhow::Result<u32> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shown.lock();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("it does not end:\n{}", rows(&state).join("\n"));
            }
            state = self.shown.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        Ok(self.child.wait()?.exit_code())
    }
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rows(state: &State) -> Vec<String> {
    let screen = state.parser.screen();
    let (_, columns) = screen.size();
    let mut rows: Vec<String> = screen.rows(0, columns.into()).map(|row| row.trim_end().to_owned()).collect();
    rows.truncate(rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1));
    rows
}

/// A test that fails leaves nothing running.
impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            // The other side of the terminal is closed by now.
            let _ = reader.join();
        }
    }
}

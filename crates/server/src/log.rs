//! The log on stderr. A thread writes it, so that a terminal that stands still never holds up the server.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::config::LogFormat;

/// Lines that may wait; more are counted and dropped.
const LINES: usize = 8192;
/// How long the last lines may take when the program ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Line {
    Text(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Hands lines to the thread.
#[derive(Clone)]
struct Lines {
    sender: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Line::Text(line.to_vec())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Waits for the last lines when it is dropped.
pub(crate) struct Flush(SyncSender<Line>);

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, wait) = sync_channel(1);
        if self.0.try_send(Line::Flush(done)).is_ok() {
            let _too_late = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

fn write_lines(lines: &Receiver<Line>, lost: &AtomicU64) {
    let mut waiting = Vec::new();
    while let Ok(first) = lines.recv() {
        let mut flushed = Vec::new();
        // What has gathered is written at once: a line each would cost the kernel more than the server.
        for line in std::iter::once(first).chain(lines.try_iter().take(LINES)) {
            match line {
                Line::Text(text) => waiting.extend(text),
                Line::Flush(done) => flushed.push(done),
            }
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            waiting.extend(format!("{lost} lines of the log were lost: stderr is too slow\n").into_bytes());
        }
        // Not locked for good: the program's last words go to stderr too. Nobody can be told that it is gone.
        drop(io::stderr().write_all(&waiting));
        waiting.clear();
        for done in flushed {
            let _nobody_waits = done.try_send(());
        }
    }
}

/// Starts the log. `verbosity` counts `-v`.
pub(crate) fn start(format: LogFormat, level: &str, verbosity: u8) -> Flush {
    let (sender, receiver) = sync_channel(LINES);
    let lost = Arc::new(AtomicU64::new(0));
    let lines = Lines { sender: sender.clone(), lost: Arc::clone(&lost) };
    std::thread::spawn(move || write_lines(&receiver, &lost));
    let ours = match verbosity {
        0 => level,
        1 => "debug",
        _ => "trace",
    };
    let others = if verbosity > 1 { "debug" } else { "warn" };
    let filter = EnvFilter::new(format!("{others},sotto_server={ours},sotto_store={ours}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(lines);
    // A second start in one process (tests) keeps the first log.
    drop(match format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.with_ansi(false).finish()),
        LogFormat::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
    });
    Flush(sender)
}

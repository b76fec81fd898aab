//! `-v`: what the client library says about itself, on stderr.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::untrusted::Sanitised;

/// Nothing without `-v`; with two of them everything of ours.
pub(crate) fn install(verbose: u8) {
    let filter = match verbose {
        0 => return,
        1 => "warn,sotto_client=info",
        _ => "info,sotto_client=trace",
    };
    // A second call keeps the first one's.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(false)
        .with_writer(SafeStderr)
        .try_init();
}

/// Stderr behind the sanitiser: a log line may name what somebody else sent.
#[derive(Debug, Clone, Copy)]
struct SafeStderr;

impl MakeWriter<'_> for SafeStderr {
    type Writer = Self;

    fn make_writer(&self) -> Self::Writer {
        *self
    }
}

impl Write for SafeStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Each call is a whole event.
        let text = String::from_utf8_lossy(line);
        let mut safe = Sanitised::line(text.trim_end()).to_string();
        safe.push('\n');
        io::stderr().lock().write_all(safe.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

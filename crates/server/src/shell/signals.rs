//! What the operating system tells the server.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// TERM or INT.
    Stop,
    /// HUP.
    Reload,
}

/// The signals, from here on no longer deadly.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Somebody who does not want to wait.
    pub(super) async fn stop_again(&mut self) {
        while self.next().await != Told::Stop {}
    }
}

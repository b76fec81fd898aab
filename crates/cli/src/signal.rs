//! Ctrl-C and its kin: the command is dropped, which ends its tasks, and the exit code is 130.

use std::time::Duration;

use sotto_client::api::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::failure::Failure;

/// How long an orderly end may take: a write to a pipe that nobody empties would hold it up for ever.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits for a signal.
#[derive(Debug)]
pub(crate) struct Interrupted(watch::Receiver<bool>);

impl Interrupted {
    /// Returns once a signal has come.
    pub(crate) async fn wait(&mut self) {
        // The sender lives as long as the runtime.
        let _ = self.0.wait_for(|come| *come).await;
    }
}

/// Starts to listen. A second signal, or too slow an end, ends the process at once.
pub(crate) fn watch() -> Result<Interrupted, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::io("signals cannot be received", &error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        };
        next().await;
        sender.send_replace(true);
        let _ = tokio::time::timeout(PATIENCE, next()).await;
        crate::command::chat::restore();
        std::process::exit(i32::from(ErrorKind::Interrupted.exit_code()));
    });
    Ok(Interrupted(receiver))
}

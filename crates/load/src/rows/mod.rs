//! The measurements.

mod attack;
mod cpu;
mod disk;
mod drain;
mod idle;
mod login;
mod relay;
mod send;
mod store;

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::args::{Args, What};
use crate::process::Process;
use crate::report;

/// Makes the measurements of the command line, one after the other, until one fails or the user has enough. Throw-away
/// servers and data end in either case.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    tokio::select! {
        result = all(args) => result,
        result = told_to_end() => result.and(Err(anyhow::anyhow!("interrupted"))),
    }
}

async fn told_to_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn all(args: &Args) -> anyhow::Result<()> {
    for what in args.rows() {
        match what {
            What::Disk => disk::run(args).await,
            What::Store => store::run(args).await,
            What::Relay => relay::run(args).await,
            What::Drain => drain::run(args).await,
            What::Login => login::run(args).await,
            What::Idle => idle::run(args).await,
            What::Send => send::run(args).await,
            What::Cpu => cpu::run(args).await,
            What::Attack => Box::pin(attack::run(args)).await,
            What::All => Ok(()),
        }
        .with_context(|| format!("{what:?}"))?;
    }
    Ok(())
}

/// Waits for something, but not for ever.
async fn patiently<T>(args: &Args, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let patience = args.patience();
    let done = tokio::time::timeout(patience, work).await;
    done.with_context(|| format!("gave up after {patience:?}; try fewer --messages or a longer --patience"))?
}

/// Waits for all tasks; the first error ends it.
async fn finish<T: 'static>(mut tasks: JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut results = Vec::new();
    while let Some(done) = tasks.join_next().await {
        results.push(done.context("a task of this program failed")??);
    }
    Ok(results)
}

/// Processor time that a server of ours uses from here on.
struct ServerCpu(Option<(Process, Duration)>);

impl ServerCpu {
    fn start(process: Option<Process>) -> anyhow::Result<Self> {
        let begun = process.map(|process| anyhow::Ok((process, process.cpu()?))).transpose()?;
        Ok(Self(begun))
    }

    /// `, server CPU 12 µs each`, or nothing where the process is not ours.
    fn each(&self, number: u64) -> anyhow::Result<String> {
        let Some((process, before)) = self.0 else { return Ok(String::new()) };
        let used = process.cpu()?.saturating_sub(before);
        Ok(format!(", server CPU {} each", report::each(used, number)))
    }
}

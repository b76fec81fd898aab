//! The time of one `sotto send`, from the start of the process to its end.

use std::time::Instant;

use super::patiently;
use crate::{
    args::Args,
    report,
    server::{Server, throw_away_folder},
    sotto::{self, Sotto},
};

/// Commands, if the command line does not say.
const TIMES: u32 = 20;

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let Some(program) = sotto::program(args)? else {
        report::row(
            "send",
            "left out: there is no program sotto beside this one (cargo build --release, or --sotto)",
        );
        return Ok(());
    };
    let server = Server::start(args).await?;
    let folder = throw_away_folder(args)?;
    let sotto = Sotto::new(program, folder.path())?;
    patiently(args, sotto.register(server.address(), &["alice", "bob"])).await?;
    // The first message makes the session; it is not what a user waits for each time.
    patiently(args, sotto.run("alice", &["send", "@bob", "first"])).await?;
    let mut times = Vec::new();
    for _ in 0..args.times.unwrap_or(TIMES) {
        let begun = Instant::now();
        patiently(args, sotto.run("alice", &["send", "@bob", "how are you?"])).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let begun = Instant::now();
    patiently(args, sotto.run("alice", &["version"])).await?;
    let nothing = begun.elapsed();
    report::row(
        "send",
        &format!(
            "{} for one `sotto send` (median of {}; {} to {}); a command that does nothing takes {}",
            report::millis(report::percentile(&times, 50)),
            times.len(),
            report::millis(report::percentile(&times, 0)),
            report::millis(report::percentile(&times, 100)),
            report::millis(nothing),
        ),
    );
    folder.close()?;
    server.stop().await
}

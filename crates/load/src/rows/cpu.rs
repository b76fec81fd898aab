//! Processor time of a connected client that waits for messages.

use std::time::Instant;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::patiently;
use crate::{
    args::Args,
    process::Process,
    report,
    server::{Server, throw_away_folder},
    sotto::{self, Sotto},
};

/// What the client must have printed before it is watched: then it is connected, and has done its work.
const SIGN: &str = "are you there?";

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let Some(program) = sotto::program(args)? else {
        report::row(
            "cpu",
            "left out: there is no program sotto beside this one (cargo build --release, or --sotto)",
        );
        return Ok(());
    };
    let server = Server::start(args).await?;
    let folder = throw_away_folder(args)?;
    let sotto = Sotto::new(program, folder.path())?;
    patiently(args, sotto.register(server.address(), &["alice", "bob"])).await?;
    let mut follower = sotto.command("bob", &["recv", "--follow"]).spawn()?;
    let mut lines = BufReader::new(follower.stdout.take().context("no stdout")?).lines();
    patiently(args, sotto.run("alice", &["send", "@bob", SIGN])).await?;
    let printed = async {
        loop {
            let line = lines.next_line().await?.context("sotto recv --follow has ended")?;
            if line.contains(SIGN) {
                return anyhow::Ok(());
            }
        }
    };
    patiently(args, printed).await?;

    let process = Process(follower.id().context("sotto recv --follow has ended")?);
    let (begun, before) = (Instant::now(), process.cpu()?);
    tokio::time::sleep(args.watch()).await;
    let used = process.cpu()?.saturating_sub(before);
    report::row(
        "cpu",
        &format!(
            "connected `sotto recv --follow`: {} of CPU time in {}, {} KiB of memory (RssAnon)",
            report::seconds(used),
            report::seconds(begun.elapsed()),
            report::count(process.memory_kib()?),
        ),
    );
    follower.kill().await?;
    folder.close()?;
    server.stop().await
}

//! A server on which nothing happens: what its connections take.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use sotto_proto::{frame::ClientFrame, limits::PING_INTERVAL_MS};
use tokio::task::JoinSet;

use super::patiently;
use crate::{
    args::Args,
    crowd,
    link::{Link, Target},
    process::Process,
    report,
    server::Server,
};

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let server = Server::start(args).await?;
    if server.process().is_none() {
        report::row("idle", "left out: only the process of a throw-away server can be watched");
        return Ok(());
    }
    let target = Target::new(server.address()).await?;
    let people = patiently(args, crowd::register(&target, usize::try_from(args.connections)?)).await?;
    // A new process: what the registrations needed for a moment would hide what connections need.
    let server = server.start_again().await?;
    let target = Target::new(server.address()).await?;
    let process = server.process().context("the server has ended")?;
    let alone = watch(args, process).await?;
    report::row("idle", &format!("server without connections: {alone}"));

    let before = process.memory_kib()?;
    let mut links = patiently(args, crowd::sign_in(&target, &people)).await?;
    for link in &mut links {
        link.attach().await?;
    }
    let after = process.memory_kib()?;
    let connections = u64::from(args.connections);
    let tenths = after.saturating_sub(before) * 10 / connections;
    report::row(
        "idle",
        &format!(
            "{}.{} KiB of server memory a connection, {} connections signed in and attached (RssAnon {} KiB before, {} KiB after)",
            tenths / 10,
            tenths % 10,
            report::count(connections),
            report::count(before),
            report::count(after),
        ),
    );
    let mut tasks = JoinSet::new();
    for link in links {
        tasks.spawn(keep_alive(link));
    }
    let cost = watch(args, process).await?;
    report::row(
        "idle",
        &format!(
            "server with {} connections that ping every {} s: {cost}, RssAnon {} KiB in the end",
            report::count(connections),
            PING_INTERVAL_MS / 1000,
            report::count(process.memory_kib()?)
        ),
    );
    // A connection that broke would have made the figures look better.
    while let Some(ended) = tasks.try_join_next() {
        ended?.context("an idle connection")?;
    }
    drop(tasks);
    server.stop().await
}

/// Processor time while nothing happens.
async fn watch(args: &Args, process: Process) -> anyhow::Result<String> {
    let (begun, before) = (Instant::now(), process.cpu()?);
    tokio::time::sleep(args.watch()).await;
    let used = process.cpu()?.saturating_sub(before);
    Ok(format!("{} of CPU time in {}", report::seconds(used), report::seconds(begun.elapsed())))
}

/// Does what an idle client does.
async fn keep_alive(mut link: Link) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(Duration::from_millis(PING_INTERVAL_MS));
    // The first tick is at once.
    tick.tick().await;
    loop {
        tokio::select! {
            read = link.fill() => read?,
            _ = tick.tick() => drop(link.send(&ClientFrame::Ping).await?),
        }
        while link.ready()?.is_some() {}
    }
}

//! Logins by device key: TCP, a full TLS handshake, the key chain, Hello, the signature, goodbye.

use std::sync::Arc;
use std::time::Instant;

use super::{ServerCpu, patiently};
use crate::{
    args::Args,
    crowd,
    link::{Link, Target},
    report,
    server::Server,
};

/// Logins, if the command line does not say.
const LOGINS: u32 = 2_000;
/// Accounts that log in, in turn: a device that is connected twice would lose its first connection.
const PEOPLE: usize = 256;

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let server = Server::start(args).await?;
    let target = Target::new(server.address()).await?;
    let logins = args.times.unwrap_or(LOGINS);
    let people = crowd::register(&target, PEOPLE.min(usize::try_from(logins)?)).await?;
    let cpu = ServerCpu::start(server.process())?;
    let begun = Instant::now();
    let turns = people.iter().map(Arc::clone).cycle().take(usize::try_from(logins)?);
    let all = crowd::each(turns, |person| {
        let target = target.clone();
        async move { Link::signed_in(&target, None, &person).await?.bye().await }
    });
    patiently(args, all).await?;
    let time = begun.elapsed();
    report::row(
        "login",
        &format!(
            "{} logins/s by device key, each with a TLS handshake, {} at a time ({} in {}{})",
            report::rate(u64::from(logins), time),
            crowd::AT_ONCE,
            report::count(u64::from(logins)),
            report::seconds(time),
            cpu.each(u64::from(logins))?,
        ),
    );
    server.stop().await
}

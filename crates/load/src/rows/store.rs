//! Messages a second stored for users who are away.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::{ServerCpu, finish, patiently};
use crate::{
    args::Args,
    crowd,
    link::{Link, Target},
    person::Person,
    pump::Cargo,
    report,
    server::Server,
};

/// Submits under way where many envelopes are in one; a client has one for each conversation.
const BATCHES_UNDER_WAY: usize = 2;

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let server = Server::start(args).await?;
    let target = Target::new(server.address()).await?;
    let most = args.senders.iter().copied().max().unwrap_or(1);
    let people = crowd::register(&target, usize::try_from(args.users + most)?).await?;
    let (users, senders) = people.split_at(usize::try_from(args.users)?);
    for &count in &args.senders {
        let senders = senders.get(..usize::try_from(count)?).unwrap_or(senders);
        for (together, window) in [(1, args.window), (args.window, BATCHES_UNDER_WAY)] {
            let links = crowd::sign_in(&target, senders).await?;
            let cargo = load(args, senders, users, together)?;
            let messages: u64 = cargo.iter().map(Cargo::messages).sum();
            let cpu = ServerCpu::start(server.process())?;
            let begun = Instant::now();
            patiently(args, all(links, cargo, window)).await?;
            let time = begun.elapsed();
            report::row(
                "store",
                &format!(
                    "{} messages/s, {count} senders to {} users who are away, {together} to a Submit, {window} Submits under way ({} in {}{})",
                    report::rate(messages, time),
                    args.users,
                    report::count(messages),
                    report::seconds(time),
                    cpu.each(messages)?,
                ),
            );
        }
    }
    server.stop().await
}

/// Each sender's part, beginning with another user.
fn load(
    args: &Args,
    senders: &[Arc<Person>],
    users: &[Arc<Person>],
    together: usize,
) -> anyhow::Result<Vec<Cargo>> {
    let each = u64::from(args.messages).div_ceil(u64::try_from(senders.len())?.max(1));
    let spread = users.len() / senders.len().max(1) + 1;
    let places = (0..).step_by(spread);
    senders
        .iter()
        .zip(places)
        .map(|(sender, place)| Cargo::load(sender, users, place, 0..each, together))
        .collect()
}

async fn all(links: Vec<Link>, cargo: Vec<Cargo>, window: usize) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for (mut link, cargo) in links.into_iter().zip(cargo) {
        tasks.spawn(async move {
            cargo.send(&mut link, window).await?;
            Ok(link)
        });
    }
    // The connections end after the clock has stopped.
    finish(tasks).await.map(drop)
}

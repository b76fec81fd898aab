//! Messages a second that readers fetch when they come back.

use std::time::Instant;

use tokio::task::JoinSet;

use super::{ServerCpu, finish, patiently};
use crate::{
    args::Args,
    crowd,
    link::{Link, Target},
    pump::{Cargo, receive},
    report,
    server::Server,
};

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let server = Server::start(args).await?;
    let target = Target::new(server.address()).await?;
    let people = crowd::register(&target, 2 * usize::try_from(args.pairs)?).await?;
    let (from, to) = people.split_at(people.len() / 2);
    let each = u64::from(args.messages.div_ceil(args.pairs));
    let senders = crowd::sign_in(&target, from).await?;
    let mut tasks = JoinSet::new();
    for ((from, to), mut sender) in from.iter().zip(to).zip(senders) {
        let cargo = Cargo::load(from, std::slice::from_ref(to), 0, 0..each, args.window)?;
        tasks.spawn(async move { cargo.send(&mut sender, 1).await });
    }
    patiently(args, finish(tasks)).await?;

    let messages = each * u64::from(args.pairs);
    let cpu = ServerCpu::start(server.process())?;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, person) in to.iter().cloned().enumerate() {
        let target = target.clone();
        tasks.spawn(async move {
            let mut link = Link::signed_in(&target, crowd::source(&target, number), &person).await?;
            link.attach().await?;
            receive(&mut link, 0..each).await?;
            Ok(link)
        });
    }
    patiently(args, finish(tasks)).await?;
    let time = begun.elapsed();
    report::row(
        "drain",
        &format!(
            "{} messages/s, {} readers who come back, sign in and ack ({} in {}{})",
            report::rate(messages, time),
            args.pairs,
            report::count(messages),
            report::seconds(time),
            cpu.each(messages)?,
        ),
    );
    server.stop().await
}

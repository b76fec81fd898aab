//! Messages a second from sender to recipient, both connected, each acked by the recipient; and the delay of one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use sotto_proto::frame::{Ack, ClientFrame, ServerFrame};
use tokio::task::JoinSet;

use super::{ServerCpu, finish, patiently};
use crate::{
    args::Args,
    crowd, envelopes,
    link::{Link, Target},
    person::Person,
    pump::{Cargo, receive},
    report,
    server::Server,
};

/// Round trips, if the command line does not say.
const ROUND_TRIPS: u32 = 2_000;

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let server = Server::start(args).await?;
    let target = Target::new(server.address()).await?;
    let people = crowd::register(&target, 2 * usize::try_from(args.pairs)?).await?;
    let (from, to) = people.split_at(people.len() / 2);
    let each = u64::from(args.messages.div_ceil(args.pairs));
    for (together, window) in [(1, args.window), (args.window, 1)] {
        let mut tasks = JoinSet::new();
        let mut ready = Vec::new();
        let (senders, readers) = (crowd::sign_in(&target, from).await?, crowd::sign_in(&target, to).await?);
        for ((from, to), (sender, mut reader)) in from.iter().zip(to).zip(senders.into_iter().zip(readers)) {
            reader.attach().await?;
            ready.push((Cargo::load(from, std::slice::from_ref(to), 0, 0..each, together)?, sender, reader));
        }
        let messages = each * u64::from(args.pairs);
        let cpu = ServerCpu::start(server.process())?;
        let begun = Instant::now();
        for (cargo, mut sender, mut reader) in ready {
            tasks.spawn(async move {
                tokio::try_join!(cargo.send(&mut sender, window), receive(&mut reader, 0..each))?;
                Ok((sender, reader))
            });
        }
        patiently(args, finish(tasks)).await?;
        let time = begun.elapsed();
        report::row(
            "relay",
            &format!(
                "{} messages/s, {} pairs, {together} to a Submit, {window} Submits under way ({} in {}{})",
                report::rate(messages, time),
                args.pairs,
                report::count(messages),
                report::seconds(time),
                cpu.each(messages)?,
            ),
        );
    }
    let times = args.times.unwrap_or(ROUND_TRIPS);
    if let (Some(from), Some(to)) = (from.first(), to.first()) {
        let (arrived, answered) = patiently(args, one_by_one(&target, from, to, times)).await?;
        for (what, times) in [("is with the recipient", arrived), ("is answered as stored", answered)] {
            report::row(
                "relay",
                &format!(
                    "1 pair, 1 message under way: {what} after {} (median), {} (99 of 100) ({} messages)",
                    report::millis(report::percentile(&times, 50)),
                    report::millis(report::percentile(&times, 99)),
                    report::count(u64::try_from(times.len())?),
                ),
            );
        }
    }
    server.stop().await
}

/// Sends one message after the other: how long until each has come, and until it is answered; sorted.
async fn one_by_one(
    target: &Target,
    from: &Arc<Person>,
    to: &Arc<Person>,
    times: u32,
) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let mut sender = Link::signed_in(target, None, from).await?;
    let mut reader = Link::signed_in(target, None, to).await?;
    reader.attach().await?;
    let incarnation = reader.incarnation()?;
    let (mut arrived, mut answered) = (Vec::new(), Vec::new());
    for number in 0..u64::from(times) {
        // Requests of the login have other numbers.
        let frame = envelopes::submit(u32::MAX, from, to, [number])?;
        let begun = Instant::now();
        sender.write(&frame).await?;
        let answer = async {
            loop {
                match sender.next().await? {
                    ServerFrame::Submitted(_) => return anyhow::Ok(begun.elapsed()),
                    ServerFrame::Taken(_) => {}
                    other => bail!("Submit was answered by {other:?}"),
                }
            }
        };
        let delivery = async {
            loop {
                match reader.next().await? {
                    ServerFrame::Deliver(deliver) => return anyhow::Ok((begun.elapsed(), deliver.number)),
                    ServerFrame::Drained(_) => {}
                    other => bail!("instead of a message came {other:?}"),
                }
            }
        };
        let (answer, (delivery, through)) = tokio::try_join!(answer, delivery)?;
        answered.push(answer);
        arrived.push(delivery);
        reader.ask(&ClientFrame::Ack(Ack { incarnation, through })).await?;
    }
    arrived.sort_unstable();
    answered.sort_unstable();
    Ok((arrived, answered))
}

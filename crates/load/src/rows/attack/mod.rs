//! Hostile clients against a throw-away server: what honest ones notice of it, and whether the server's limits hold.
//!
//! Attackers come from addresses of their own and run at the lowest priority, but share the processors with the server and
//! the honest clients. Times are reported; asserted are the limits, and that honest messages came once and in order.

mod account;
mod crew;
mod frames;
mod honest;
mod open;
mod password;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::patiently;
use crate::{
    args::{Args, Attack},
    link::Target,
    process::Process,
    report,
    server::{Server, throw_away_folder},
};
use crew::Crew;
use honest::{Honest, Times};

/// Between two looks at the server's memory.
const LOOK: Duration = Duration::from_millis(20);
/// Each attack begins beside honest clients that have been measured alone for so much of its time.
const ALONE: u32 = 2;
/// What a server may take beside what an attack's limit allows: its caches, and pages that the allocator keeps.
const SLACK_KIB: u64 = 48 * 1024;

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.server.is_none(), "only a throw-away server is attacked");
    let attacks = if args.attacks.is_empty() { Attack::value_variants() } else { &args.attacks };
    report::row(
        "attack",
        "p50, p99 and worst of honest clients, alone and under attack: a message stored, delivered and acked; a login on a new connection; and of who only writes to the same disk",
    );
    for attack in attacks {
        let name = attack.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let work = Box::pin(one(args, *attack, &name));
        patiently(args, work).await.with_context(|| name.clone())?;
    }
    Ok(())
}

async fn one(args: &Args, attack: Attack, name: &str) -> anyhow::Result<()> {
    let mut ground = Ground::prepare(args).await?;
    let limit = match attack {
        Attack::Hello => open::hello(&mut ground).await,
        Attack::Drip => open::drip(&mut ground).await,
        Attack::Connects => open::connects(&mut ground).await,
        Attack::Handshakes => open::handshakes(&mut ground).await,
        Attack::Crowd => open::crowd(&mut ground).await,
        Attack::Frames => frames::unfinished(&mut ground).await,
        Attack::Remainders => frames::remainders(&mut ground).await,
        Attack::Pipeline => frames::pipeline(&mut ground).await,
        Attack::Garbage => frames::garbage(&mut ground).await,
        Attack::Passwords => password::passwords(&mut ground).await,
        Attack::Registrations => password::registrations(&mut ground).await,
        Attack::Forgeries => password::forgeries(&mut ground).await,
        Attack::Lists => account::lists(&mut ground).await,
        Attack::Names => password::names(&mut ground).await,
        Attack::Prekeys => account::prekeys(&mut ground).await,
        Attack::Mailbox => account::mailbox(&mut ground).await,
        Attack::Invitations => account::invitations(&mut ground).await,
        Attack::Deaf => account::deaf(&mut ground).await,
    }?;
    ground.finish(name, &limit).await
}

/// What an attack happens on.
pub(super) struct Ground {
    server: Server,
    /// For what is written beside it.
    folder: TempDir,
    target: Target,
    process: Process,
    crew: Crew,
    honest: Honest,
    alone: Times,
    under: Option<Under>,
}

/// What was seen while an attack went on.
struct Under {
    times: Times,
    cpu: Duration,
    wall: Duration,
    memory: Memory,
}

/// Of the server, RssAnon in KiB.
#[derive(Clone, Copy)]
struct Memory {
    before: u64,
    peak: u64,
}

impl Memory {
    fn grown(self) -> u64 {
        self.peak.saturating_sub(self.before)
    }

    /// The server took no more than so many KiB and some slack for what the attackers did.
    fn stays_within(self, kib: u64) -> anyhow::Result<()> {
        let (grown, most) = (self.grown(), kib + SLACK_KIB);
        ensure!(grown <= most, "the server's memory grew by {grown} KiB, and its limits allow {most} KiB");
        Ok(())
    }
}

impl Ground {
    /// A server with honest clients on it, whose times are measured while nobody attacks.
    async fn prepare(args: &Args) -> anyhow::Result<Self> {
        let server = Server::start(args).await?;
        let folder = throw_away_folder(args)?;
        let target = Target::new(server.address()).await?;
        let process = server.process().context("the server has ended")?;
        let crew = Crew::gather(args.attack_time(), usize::from(args.strength))?;
        let mut honest = Honest::arrive(&target, folder.path()).await?;
        let wait = async {
            tokio::time::sleep(crew.time() / ALONE).await;
            Ok(())
        };
        let (alone, ()) = honest.measure(wait).await.context("nobody attacks yet")?;
        Ok(Self { server, folder, target, process, crew, honest, alone, under: None })
    }

    /// Measures while an attack goes on, which is handed its crew. What the attack saw, and the server's memory.
    async fn under<T>(
        &mut self,
        attack: impl AsyncFnOnce(&Crew) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Memory)> {
        let process = self.process;
        let before = process.memory_kib()?;
        let (begun, cpu) = (Instant::now(), process.cpu()?);
        let (end, ended) = oneshot::channel();
        let watch = tokio::spawn(peak(process, ended));
        let result = self.honest.measure(attack(&self.crew)).await;
        let (wall, cpu) = (begun.elapsed(), process.cpu()?.saturating_sub(cpu));
        // It has ended only where the server has.
        let _server_ended = end.send(());
        let memory = Memory { before, peak: watch.await??.max(before) };
        let (times, told) = result?;
        self.under = Some(Under { times, cpu, wall, memory });
        Ok((told, memory))
    }

    /// Looks whether honest messages came once, ends the server, and prints.
    async fn finish(self, name: &str, limit: &str) -> anyhow::Result<()> {
        self.honest.nothing_is_left().await?;
        let under = self.under.context("the attack was not measured")?;
        self.server.stop().await?;
        self.folder.close()?;
        for (what, alone, under) in [
            ("message", &self.alone.messages, &under.times.messages),
            ("login", &self.alone.logins, &under.times.logins),
            ("disk", &self.alone.writes, &under.times.writes),
        ] {
            report::row("attack", &format!("{name}: {what} {}", compare(alone, under)));
        }
        let share = under.cpu.as_secs_f64() / under.wall.as_secs_f64().max(f64::MIN_POSITIVE);
        report::row(
            "attack",
            &format!(
                "{name}: server RssAnon {} KiB before, {} KiB at most; {share:.2} processors; {limit}",
                report::count(under.memory.before),
                report::count(under.memory.peak),
            ),
        );
        Ok(())
    }
}

async fn peak(process: Process, mut ended: oneshot::Receiver<()>) -> anyhow::Result<u64> {
    let mut peak = 0;
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = tick.tick() => peak = peak.max(process.memory_kib()?),
            _ = &mut ended => return Ok(peak),
        }
    }
}

fn compare(alone: &[Duration], under: &[Duration]) -> String {
    let all = |times: &[Duration]| {
        [50, 99, 100].map(|percent| report::millis(report::percentile(times, percent))).join(" / ")
    };
    let ratio = |percent| {
        let [alone, under] = [alone, under].map(|times| report::percentile(times, percent).as_secs_f64());
        under / alone.max(f64::MIN_POSITIVE)
    };
    format!(
        "{} alone ({}), {} under attack ({}): {:.1} and {:.1} times",
        all(alone),
        report::count(alone.len() as u64),
        all(under),
        report::count(under.len() as u64),
        ratio(50),
        ratio(99),
    )
}

//! Server, sender and recipient are killed at chosen points while messages are sent and received.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use sotto_tests::faultfs::FaultFs;
use sotto_tests::running::{Finished, Running};
use sotto_tests::sotto::{COMMAND, Message};
use sotto_tests::sottod::Server;

use crate::delivery::{expect_all, expect_prefix, expect_printed, expect_safe, expect_true_fates, told_safe};
use crate::plan::{few_messages, rounds};
use crate::points::{Counts, Point, Tally};
use crate::stage::{Machines, Stage};
use crate::world::{PATIENT, World, lines};

/// Kills the server at each of these points in turn, the later ones counted from the start after the one before; each
/// time it is started again. The first one is armed already. Once the client's command is `over`, nothing else will come.
fn kill_server(
    (disk, server): (&FaultFs, &mut Server),
    over: &AtomicBool,
    points: &[Point],
    (tally, rng): (&mut Tally, &mut StdRng),
) -> anyhow::Result<()> {
    let mut came = disk.wait_for_strike();
    for (at, point) in points.iter().enumerate() {
        tally.point(point, came);
        if !came {
            break;
        }
        server.kill()?;
        tally.cut_at(point, "server", disk, rng);
        if let Some(next) = points.get(at + 1) {
            next.arm(disk);
            if over.load(Ordering::SeqCst) {
                // It may have been before the arming, and is not said again.
                disk.stand_down();
            }
            // It may not come to the end of its start.
            let started = server.start_again();
            ensure!(started.is_ok() || disk.struck(), "{started:?}");
            came = disk.wait_for_strike();
        } else {
            server.start_again().context("the server after it was killed")?;
        }
    }
    Ok(())
}

/// Lets a client's command work while the server is killed at these points; answers how the command ended.
pub(crate) fn under_kills(
    (disk, server): (&FaultFs, &mut Server),
    command: Running,
    points: &[Point],
    tally_and_rng: (&mut Tally, &mut StdRng),
) -> anyhow::Result<Finished> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let finished = command.wait(COMMAND);
            over.store(true, Ordering::SeqCst);
            disk.stand_down();
            finished
        });
        kill_server((disk, server), &over, points, tally_and_rng)?;
        client.join().expect("a thread that panics nowhere")
    })
}

/// Bob has everything once and in order, and Alice hears so.
pub(crate) fn expect_arrived(world: &World, lines: &[String], safe: &HashSet<String>) -> anyhow::Result<()> {
    let history = world.bobs_history()?;
    expect_all(&history, lines)?;
    expect_safe(&history, lines, safe)?;
    world.alice.ok(&["recv", "--timeout", PATIENT])?;
    expect_true_fates(&world.alices_history()?, &history)
}

/// When the server is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum While {
    /// Alice sends, Bob is away.
    Sending,
    /// Alice sends, Bob receives.
    Talking,
    /// Bob fetches what waits.
    Fetching,
}

const WHILE: [While; 3] = [While::Sending, While::Talking, While::Fetching];

fn server_round(
    machines: &mut Machines,
    lines: &[String],
    during: While,
    points: &[Point],
    tally_and_rng: (&mut Tally, &mut StdRng),
) -> anyhow::Result<()> {
    let Machines { server: disk, world, .. } = machines;
    let follows = match during {
        While::Talking => Some(world.bob.start(&["recv", "--follow", "--timeout", PATIENT], "")?),
        While::Sending | While::Fetching => None,
    };
    let arm = |disk: &FaultFs| points.first().map_or_else(|| Counts::begin(disk), |point| point.arm(disk));
    let (sent, mut printed) = if during == While::Fetching {
        let sent = world.start_sending(lines, PATIENT)?.wait(COMMAND)?;
        arm(disk);
        let recv = world.bob.start(&["recv", "--timeout", PATIENT], "")?;
        let fetched = under_kills((disk, &mut world.server), recv, points, tally_and_rng)?;
        ensure!([Some(0), Some(3)].contains(&fetched.code), "bob's recv: {fetched:?}");
        (sent, fetched.stdout)
    } else {
        arm(disk);
        let sender = world.start_sending(lines, PATIENT)?;
        (under_kills((disk, &mut world.server), sender, points, tally_and_rng)?, Vec::new())
    };
    // Where it lost the server for too long, what waits is in the outbox.
    let all_sent = sent.code == Some(0);
    ensure!(all_sent || sent.code == Some(3), "alice's send: {sent:?}");
    ensure!(all_sent == world.alice.outbox()?.is_empty(), "{sent:?}, and the outbox says otherwise");
    world.drain_outbox()?;
    if let Some(mut follows) = follows {
        follows.kill()?;
        printed = follows.end(COMMAND)?.stdout;
    }
    printed.extend(received(world)?);
    expect_printed(&printed, lines, usize::from(during == While::Talking))?;
    expect_arrived(world, lines, &told_safe(&sent.stdout)?)
}

/// What Bob prints who fetches everything that waits.
pub(crate) fn received(world: &World) -> anyhow::Result<Vec<String>> {
    let finished = world.bob.start(&["recv", "--timeout", PATIENT], "")?.wait(COMMAND)?;
    ensure!(finished.code == Some(0), "bob's recv: {finished:?}");
    Ok(finished.stdout)
}

#[test]
fn a_server_killed_at_any_point_of_sending_loses_nothing() {
    let kind = "server killed at a point";
    let Some(stage) = Stage::lease(kind).unwrap() else { return };
    let (mut counts, mut tally) = ([None, None, None], Tally::new(kind));
    let lines = lines("only", few_messages());
    rounds(kind, |seed, rng| {
        let at = rng.random_range(0..WHILE.len());
        let (during, counts) = (WHILE[at], &mut counts[at]);
        println!("while {during:?}");
        if counts.is_none() {
            let mut machines = stage.start()?;
            server_round(&mut machines, &lines, during, &[], (&mut tally, rng))?;
            *counts = Some(Counts::of(&machines.server));
        }
        let counts = counts.as_ref().context("counted above")?;
        let mut points = vec![counts.draw(seed, rng)];
        if rng.random_ratio(1, 3) {
            points.push(counts.draw(seed, rng));
        }
        let mut machines = stage.start()?;
        let before = tally.lossy();
        server_round(&mut machines, &lines, during, &points, (&mut tally, rng))?;
        tally.round(tally.lossy() > before);
        Ok(())
    });
    tally.end();
}

/// A client to which something happens while it works.
pub(crate) struct Victim {
    pub(crate) disk: fn(&Machines) -> &FaultFs,
    /// What happens before.
    pub(crate) prepare: fn(&World, &[String]) -> anyhow::Result<()>,
    /// During what it happens.
    pub(crate) work: fn(&World, &[String]) -> anyhow::Result<Running>,
    /// What holds then.
    pub(crate) holds: fn(&World, &[String], &Finished) -> anyhow::Result<()>,
}

/// Alice, who sends.
pub(crate) const SENDER: Victim = Victim {
    disk: |machines| &machines.alice,
    prepare: |_, _| Ok(()),
    work: |world, lines| world.start_sending(lines, PATIENT),
    holds: sender_holds,
};

/// Bob, who fetches what waits.
pub(crate) const RECIPIENT: Victim = Victim {
    disk: |machines| &machines.bob,
    prepare: |world, lines| {
        let sent = world.start_sending(lines, PATIENT)?.wait(COMMAND)?;
        ensure!(sent.code == Some(0), "{sent:?}");
        Ok(())
    },
    work: |world, _| world.bob.start(&["recv", "--timeout", PATIENT], ""),
    holds: |world, lines, finished| {
        let mut printed = finished.stdout.clone();
        printed.extend(received(world)?);
        // The line whose printing was not recorded yet may be repeated.
        expect_printed(&printed, lines, 1)?;
        expect_arrived(world, lines, &HashSet::new())
    },
};

fn sender_holds(world: &World, lines: &[String], finished: &Finished) -> anyhow::Result<()> {
    let mut safe = told_safe(&finished.stdout)?;
    let written = world.alices_history()?;
    // What was read is there from the front; what left is what is there.
    expect_prefix(&written, lines)?;
    safe.extend(written.iter().filter(|message| message.is_safe()).map(|message| message.id.clone()));
    world.drain_outbox()?;
    let printed = received(world)?;
    expect_printed(&printed, &lines[..written.len()], 0)?;
    expect_arrived(world, &lines[..written.len()], &safe)?;
    // The conversation goes on, both ways.
    world.alice.ok(&["send", "@bob", "and on"])?;
    world.bob.ok(&["send", "@alice", "and back"])?;
    let heard = world.bob.ok(&["recv", "--timeout", PATIENT])?.messages();
    ensure!(texts(&heard) == ["and on"], "{heard:?}");
    let heard = world.alice.ok(&["recv", "--timeout", PATIENT])?.messages();
    ensure!(texts(&heard) == ["and back"], "{heard:?}");
    Ok(())
}

impl Victim {
    /// The machines of a round, made ready.
    pub(crate) fn prepared(&self, stage: &Stage, lines: &[String]) -> anyhow::Result<Machines> {
        let machines = stage.start()?;
        (self.prepare)(&machines.world, lines)?;
        Ok(machines)
    }

    /// How many operations a round makes to which nothing happens.
    pub(crate) fn count(&self, stage: &Stage, lines: &[String]) -> anyhow::Result<Counts> {
        let machines = self.prepared(stage, lines)?;
        let disk = (self.disk)(&machines);
        Counts::begin(disk);
        let finished = (self.work)(&machines.world, lines)?.wait(COMMAND)?;
        ensure!(finished.code == Some(0), "{finished:?}");
        disk.stand_down();
        Ok(Counts::of(disk))
    }

    fn kill(&self, kind: &str) {
        let Some(stage) = Stage::lease(kind).unwrap() else { return };
        let lines = lines("only", few_messages());
        let (counts, mut tally) = (self.count(&stage, &lines).unwrap(), Tally::new(kind));
        rounds(kind, |seed, rng| {
            let point = counts.draw(seed, rng);
            let machines = self.prepared(&stage, &lines)?;
            let disk = (self.disk)(&machines);
            point.arm(disk);
            let finished = (self.work)(&machines.world, &lines)?.wait(COMMAND)?;
            tally.point(&point, disk.struck());
            ensure!(finished.code == if disk.struck() { None } else { Some(0) }, "{finished:?}");
            disk.stand_down();
            let before = tally.lossy();
            tally.cut_at(&point, "client", disk, rng);
            (self.holds)(&machines.world, &lines, &finished)?;
            tally.round(tally.lossy() > before);
            Ok(())
        });
        tally.end();
    }
}

#[test]
fn a_sender_killed_at_any_point_keeps_its_word() {
    SENDER.kill("sender killed at a point");
}

#[test]
fn a_recipient_killed_at_any_point_has_everything_once() {
    RECIPIENT.kill("recipient killed at a point");
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

//! A disk breaks at a chosen moment: full, read-only, or its reads, writes or syncs fail. Then it is healed, and in half of the
//! rounds the power failed first.

use std::thread;

use anyhow::{Context, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use sotto_tests::faultfs::{Answer, Break, FaultFs, On};
use sotto_tests::running::{Finished, Running};
use sotto_tests::sotto::COMMAND;
use sotto_tests::sottod::Server;

use crate::delivery::{expect_printed, told_safe};
use crate::plan::{few_messages, rounds};
use crate::points::{Counts, Moment, Tally};
use crate::points_sending::{RECIPIENT, SENDER, Victim, expect_arrived, received};
use crate::stage::{Machines, Stage, cut};
use crate::world::{PATIENT, lines};

/// Below what the server leaves free on its disk, so that it takes nothing new, and enough to go on writing.
const NEARLY_FULL: u64 = 100 << 20;

/// How long a sender waits for a server that cannot take anything.
const IMPATIENT: &str = "4s";

/// How any disk breaks.
const HOW: [Break; 5] = [
    Break::Full(0),
    Break::ReadOnly,
    Break::Fails(On::Read, Answer::Io),
    Break::Fails(On::Write, Answer::Io),
    Break::Fails(On::Sync, Answer::Io),
];

/// How a server's breaks.
const HOW_OF_SERVER: [Break; 6] = [Break::Full(NEARLY_FULL), HOW[0], HOW[1], HOW[2], HOW[3], HOW[4]];

/// Heals a disk whose programs have ended; every second seed's machine lost its power before.
fn heal(disk: &FaultFs, whose: &str, seed: u64, tally: &mut Tally, rng: &mut StdRng) {
    disk.stand_down();
    let before = tally.lossy();
    if seed.is_multiple_of(2) {
        tally.cut(cut(whose, disk, rng));
    }
    tally.round(tally.lossy() > before);
    disk.heal();
}

/// What a server says at its end: nothing, where it was asked to stop and nothing was wrong; else that the store failed,
/// and what to do.
fn expect_said(ended: &Finished) -> anyhow::Result<()> {
    let failed = ended.stderr.contains("the store failed and stops");
    match ended.code {
        Some(0) => ensure!(!failed, "a failed store, and no word: {ended:?}"),
        Some(1) => {
            let said = ended.stderr.contains("THE STORE FAILED") && ended.stderr.contains("look at the disk");
            ensure!(said, "it does not say what to do: {ended:?}");
        }
        _ => ensure!(false, "{ended:?}"),
    }
    Ok(())
}

/// What a client says whose command did not come to its end.
fn expect_told(finished: &Finished, codes: &[i32]) -> anyhow::Result<()> {
    let code = finished.code.with_context(|| format!("a signal: {finished:?}"))?;
    if code == 0 {
        return Ok(());
    }
    ensure!(codes.contains(&code), "{finished:?}");
    let last = finished.stderr.lines().last().with_context(|| format!("no word: {finished:?}"))?;
    let error: serde_json::Value = serde_json::from_str(last)?;
    ensure!(error["type"] == "error" && error["message"].is_string(), "{finished:?}");
    // What is amiss elsewhere mends itself; what is amiss here, the user has to mend.
    let here = !matches!(code, 3 | 6 | 7 | 124);
    ensure!(!here || error["hint"].is_string(), "it does not say what to do: {finished:?}");
    Ok(())
}

/// How a round breaks the server's disk.
struct Breaking {
    how: Break,
    moment: Moment,
    /// It is healed and the server started again while the client waits; else when the client has given up.
    at_once: bool,
    seed: u64,
}

/// Lets a client's command work while the server's disk breaks; answers how the server and how the command ended. The
/// server runs again then, on a healed disk.
fn with_broken_server(
    (disk, server): (&FaultFs, &mut Server),
    command: Running,
    breaking: Option<&Breaking>,
    (tally, rng): (&mut Tally, &mut StdRng),
) -> anyhow::Result<(Finished, Finished)> {
    let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw).context("a pid")?;
    let mut heal_and_start = |server: &mut Server| {
        if let Some(Breaking { how, moment, seed, .. }) = breaking {
            tally.broken(*how, *moment, disk.struck());
            heal(disk, "server", *seed, tally, rng);
        }
        server.start_again().context("the server after its disk was healed")
    };
    let at_once = breaking.is_some_and(|breaking| breaking.at_once);
    let (ended, finished) = thread::scope(|scope| {
        let client = scope.spawn(move || {
            let finished = command.wait(COMMAND);
            disk.stand_down();
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
            finished
        });
        disk.wait_for_strike();
        let ended = server.end(COMMAND)?;
        if at_once {
            heal_and_start(server)?;
        }
        anyhow::Ok((ended, client.join().expect("a thread that panics nowhere")?))
    })?;
    if !at_once {
        heal_and_start(server)?;
    }
    Ok((ended, finished))
}

/// Alice sends, or Bob fetches what she sent, while the server's disk breaks.
fn server_round(
    machines: &mut Machines,
    lines: &[String],
    fetching: bool,
    breaking: Option<&Breaking>,
    tally_and_rng: (&mut Tally, &mut StdRng),
) -> anyhow::Result<()> {
    let Machines { server: disk, world, .. } = machines;
    let disk: &FaultFs = disk;
    let arm = || match breaking {
        Some(breaking) => breaking.moment.arm(disk, breaking.how),
        None => Counts::begin(disk),
    };
    let patience = if breaking.is_some_and(|breaking| !breaking.at_once) { IMPATIENT } else { PATIENT };
    let mut printed = Vec::new();
    let (ended, sent) = if fetching {
        let sent = world.start_sending(lines, PATIENT)?.wait(COMMAND)?;
        ensure!(sent.code == Some(0), "{sent:?}");
        arm();
        let recv = world.bob.start(&["recv", "--timeout", patience], "")?;
        let (ended, fetched) = with_broken_server((disk, &mut world.server), recv, breaking, tally_and_rng)?;
        expect_told(&fetched, &[3, 6, 124])?;
        printed = fetched.stdout;
        (ended, sent)
    } else {
        arm();
        let sender = world.start_sending(lines, patience)?;
        with_broken_server((disk, &mut world.server), sender, breaking, tally_and_rng)?
    };
    expect_said(&ended)?;
    expect_told(&sent, &[3, 6, 7, 124])?;
    world.drain_outbox()?;
    let written = world.alices_history()?.len();
    printed.extend(received(world)?);
    expect_printed(&printed, &lines[..written], 0)?;
    expect_arrived(world, &lines[..written], &told_safe(&sent.stdout)?)
}

#[test]
fn a_server_whose_disk_breaks_at_any_moment_says_so_and_loses_nothing() {
    let kind = "server's disk breaks";
    let Some(stage) = Stage::lease(kind).unwrap() else { return };
    let lines = lines("only", few_messages());
    let (mut counts, mut tally) = ([None, None], Tally::new(kind));
    rounds(kind, |seed, rng| {
        let fetching = rng.random_ratio(1, 3);
        println!("while {}", if fetching { "fetching" } else { "sending" });
        let counts = &mut counts[usize::from(fetching)];
        if counts.is_none() {
            let mut machines = stage.start()?;
            server_round(&mut machines, &lines, fetching, None, (&mut tally, rng))?;
            *counts = Some(Counts::of(&machines.server));
        }
        let moment = counts.as_ref().context("counted above")?.moment(rng);
        let how = HOW_OF_SERVER[rng.random_range(0..HOW_OF_SERVER.len())];
        // Where it cannot go on it ends, and is back before the client gives up.
        let ends = !matches!(how, Break::Full(_) | Break::Fails(On::Read, _));
        let at_once = ends && rng.random_bool(0.7);
        let breaking = Breaking { how, moment, at_once, seed };
        server_round(&mut stage.start()?, &lines, fetching, Some(&breaking), (&mut tally, rng))
    });
    tally.end();
}

/// The rounds of a client whose disk breaks.
fn client_breaks(victim: &Victim, kind: &str) {
    let Some(stage) = Stage::lease(kind).unwrap() else { return };
    let lines = lines("only", few_messages());
    let (counts, mut tally) = (victim.count(&stage, &lines).unwrap(), Tally::new(kind));
    rounds(kind, |seed, rng| {
        let how = HOW[rng.random_range(0..HOW.len())];
        let moment = counts.moment(rng);
        let machines = victim.prepared(&stage, &lines)?;
        let disk = (victim.disk)(&machines);
        moment.arm(disk, how);
        let finished = (victim.work)(&machines.world, &lines)?.wait(COMMAND)?;
        tally.broken(how, moment, disk.struck());
        expect_told(&finished, &[1, 8])?;
        heal(disk, "client", seed, &mut tally, rng);
        (victim.holds)(&machines.world, &lines, &finished)
    });
    tally.end();
}

#[test]
fn a_sender_whose_disk_breaks_at_any_moment_says_so_and_keeps_its_word() {
    client_breaks(&SENDER, "sender's disk breaks");
}

#[test]
fn a_recipient_whose_disk_breaks_at_any_moment_says_so_and_has_everything_once() {
    client_breaks(&RECIPIENT, "recipient's disk breaks");
}

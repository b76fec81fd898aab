//! The power fails under the server and the clients: what was not synced is gone, at random.

use anyhow::{Context, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use sotto_tests::faultfs::{Cut, FaultFs, mount_or_skip};
use sotto_tests::sotto::{COMMAND, Client};
use sotto_tests::sottod::{Server, ServerOptions};

use crate::delivery::{expect_safe, safe_after, safe_until_end};
use crate::plan::{messages, rounds};
use crate::points::Tally;
use crate::stage::{Machines, Stage, cut};
use crate::world::{PATIENT, lines};

/// The cuts of one round.
struct Cuts<'a> {
    tally: &'a mut Tally,
    lossy: bool,
}

impl Cuts<'_> {
    fn note(&mut self, cut: Cut) {
        self.lossy |= cut.is_lossy();
        self.tally.cut(cut);
    }
}

#[test]
fn what_a_sender_saw_stored_survives_power_cuts_everywhere() {
    let kind = "power cut";
    let Some(stage) = Stage::lease(kind).unwrap() else { return };
    let mut tally = Tally::new(kind);
    rounds(kind, |_, rng| {
        let mut cuts = Cuts { tally: &mut tally, lossy: false };
        cut_everything(&mut stage.start()?, &mut cuts, rng)?;
        let lossy = cuts.lossy;
        tally.round(lossy);
        Ok(())
    });
    tally.end();
}

fn cut_everything(machines: &mut Machines, cuts: &mut Cuts<'_>, rng: &mut StdRng) -> anyhow::Result<()> {
    let first = lines("first", messages());
    let second = lines("second", messages() / 4);
    let mut sender = machines.world.start_sending(&first, PATIENT)?;
    let mut safe = safe_after(&sender, rng.random_range(1..2 * first.len()))?;
    if rng.random_bool(0.5) {
        sender.kill()?;
        machines.world.server.kill()?;
    } else {
        machines.world.server.kill()?;
        sender.kill()?;
    }
    safe_until_end(&sender, &mut safe)?;
    cuts.note(cut("alice", &machines.alice, rng));
    cuts.note(machines.restart_server(rng)?);
    machines.world.drain_outbox().context("alice after the power cut")?;

    let sender = machines.world.start_sending(&second, PATIENT)?;
    safe_until_end(&sender, &mut safe)?;
    ensure!(sender.wait(COMMAND)?.code == Some(0), "the second batch");

    let mut recv = machines.world.bob.start(&["recv", "--follow", "--timeout", PATIENT], "")?;
    for _ in 0..rng.random_range(0..=safe.len() / 2) {
        recv.line(COMMAND)?.context("recv ended by itself")?;
    }
    recv.kill()?;
    cuts.note(cut("bob", &machines.bob, rng));
    if rng.random_bool(0.5) {
        cuts.note(machines.cut_server(rng)?);
    }
    machines.world.bob.ok(&["recv", "--timeout", PATIENT]).context("bob after the power cut")?;

    let all: Vec<String> = first.into_iter().chain(second).collect();
    expect_safe(&machines.world.bobs_history()?, &all, &safe)
}

/// Registered is registered.
#[test]
fn an_account_survives_power_cuts_right_after_its_registration() {
    let kind = "power cut after registration";
    let Some(stage) = Stage::lease(kind).unwrap() else { return };
    let mut tally = Tally::new(kind);
    rounds(kind, |_, rng| {
        let mut machines = stage.start()?;
        let disk = FaultFs::mount()?;
        let carol = stage.client("carol", &disk)?;
        carol.register(machines.world.server.address())?;
        let cuts = [cut("carol", &disk, rng), machines.cut_server(rng)?];
        for cut in cuts {
            tally.cut(cut);
        }
        tally.round(cuts.iter().any(Cut::is_lossy));
        carol.ok(&["send", "@bob", "hello"]).context("carol after the power cut")?;
        let received = machines.world.bob.ok(&["recv", "--timeout", PATIENT])?.messages();
        ensure!(received.len() == 1 && received[0].text == "hello", "{received:?}");
        Ok(())
    });
    tally.end();
}

/// Also where the server's folder, and those above it, were not there before.
#[test]
fn the_first_account_of_a_new_server_survives_power_cuts() {
    let kind = "power cut after the first registration";
    if mount_or_skip(kind).unwrap().is_none() {
        return;
    }
    let mut tally = Tally::new(kind);
    rounds(kind, |_, rng| {
        let disk = FaultFs::mount()?;
        let mut server = Server::start_with(ServerOptions::new(&disk.path().join("srv/chat/data"))?)?;
        let (profile, secrets) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let alice = Client::new("alice", &profile.path().join("data"), secrets.path())?;
        alice.register(server.address())?;
        server.kill()?;
        let cut = cut("server", &disk, rng);
        tally.cut(cut);
        tally.round(cut.is_lossy());
        server.start_again().context("the server after the power cut")?;
        alice.ok(&["users"]).context("alice after the power cut")?;
        Ok(())
    });
    tally.end();
}

//! The power fails under the server and the clients: what was not synced is gone, at random.

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use sotto_tests::faultfs::{FaultFs, mount_or_skip};
use sotto_tests::sotto::COMMAND;

use crate::delivery::{expect_safe, safe_after, safe_until_end};
use crate::plan::{messages, rounds};
use crate::world::{PATIENT, World, lines};

/// Three machines with a disk each.
struct Machines {
    server: FaultFs,
    alice: FaultFs,
    bob: FaultFs,
    world: World,
}

impl Machines {
    fn new() -> anyhow::Result<Option<Self>> {
        let mut disks = Vec::new();
        for _ in 0..3 {
            let Some(disk) = mount_or_skip("power")? else { return Ok(None) };
            disks.push(disk);
        }
        let [server, alice, bob] = <[FaultFs; 3]>::try_from(disks).ok().context("three disks")?;
        let data = |disk: &FaultFs| disk.path().join("data");
        let world = World::in_folders(tempfile::tempdir()?, &data(&server), &data(&alice), &data(&bob))?;
        Ok(Some(Self { server, alice, bob, world }))
    }

    /// The server's machine loses its power and gets it back.
    fn cut_server(&mut self, rng: &mut StdRng) -> anyhow::Result<()> {
        self.world.server.kill()?;
        self.restart_server(rng)
    }

    fn restart_server(&mut self, rng: &mut StdRng) -> anyhow::Result<()> {
        cut("server", &self.server, rng);
        self.world.server.start_again().context("the server after the power cut")
    }
}

/// One in four cuts drops all that was not synced, the others a random part of it.
fn cut(whose: &str, disk: &FaultFs, rng: &mut StdRng) {
    let seed = (!rng.random_ratio(1, 4)).then(|| rng.next_u64());
    println!("{whose}: {:?}", disk.power_cut(seed));
}

#[test]
fn what_a_sender_saw_stored_survives_power_cuts_everywhere() {
    rounds("power cut", |_, rng| {
        let Some(mut machines) = Machines::new()? else { return Ok(()) };
        let first = lines("first", messages());
        let second = lines("second", messages() / 4);

        // Registered is registered.
        cut("alice", &machines.alice, rng);
        cut("bob", &machines.bob, rng);
        machines.cut_server(rng)?;

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
        cut("alice", &machines.alice, rng);
        machines.restart_server(rng)?;
        machines.world.drain_outbox().context("alice after the power cut")?;

        let sender = machines.world.start_sending(&second, PATIENT)?;
        safe_until_end(&sender, &mut safe)?;
        ensure!(sender.wait(COMMAND)?.code == Some(0), "the second batch");

        let mut recv = machines.world.bob.start(&["recv", "--follow", "--timeout", PATIENT], "")?;
        for _ in 0..rng.random_range(0..=safe.len() / 2) {
            recv.line(COMMAND)?.context("recv ended by itself")?;
        }
        recv.kill()?;
        cut("bob", &machines.bob, rng);
        if rng.random_bool(0.5) {
            machines.cut_server(rng)?;
        }
        machines.world.bob.ok(&["recv", "--timeout", PATIENT]).context("bob after the power cut")?;

        let all: Vec<String> = first.into_iter().chain(second).collect();
        expect_safe(&machines.world.bobs_history()?, &all, &safe)
    });
}

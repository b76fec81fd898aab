//! The server is killed while messages for an offline user are sent.

use anyhow::ensure;
use rand::RngExt;
use sotto_tests::sotto::COMMAND;

use crate::delivery::{expect_all, safe_after};
use crate::plan::{messages, rounds};
use crate::world::{PATIENT, World, lines};

#[test]
fn a_server_killed_and_started_at_once_loses_nothing() {
    rounds("server killed", |_, rng| {
        let mut world = World::on_disk()?;
        let lines = lines("only", messages());
        let sender = world.start_sending(&lines, PATIENT)?;
        let safe = safe_after(&sender, rng.random_range(0..2 * lines.len()))?;
        world.server.kill()?;
        println!("killed when {} of {} were told as stored", safe.len(), lines.len());
        world.server.start_again()?;
        sender.wait(COMMAND)?;
        all_arrives(&world, &lines)
    });
}

#[test]
fn a_server_that_stays_away_leaves_the_rest_in_the_outbox() {
    rounds("server away", |_, rng| {
        let mut world = World::on_disk()?;
        let lines = lines("only", messages());
        let sender = world.start_sending(&lines, "5s")?;
        safe_after(&sender, rng.random_range(0..lines.len()))?;
        world.server.kill()?;
        let finished = sender.wait(COMMAND)?;
        // What was told as waiting only can have been stored just before the kill.
        let all_sent = finished.code == Some(0);
        ensure!(all_sent || [Some(3), Some(6), Some(124)].contains(&finished.code), "{finished:?}");
        ensure!(all_sent == world.alice.outbox()?.is_empty(), "{finished:?}, and the outbox says otherwise");
        world.server.start_again()?;
        all_arrives(&world, &lines)
    });
}

fn all_arrives(world: &World, lines: &[String]) -> anyhow::Result<()> {
    world.drain_outbox()?;
    let received = world.bob.ok(&["recv", "--timeout", PATIENT])?.messages();
    expect_all(&received, lines)?;
    expect_all(&world.bobs_history()?, lines)?;
    // Nothing is left to be printed a second time.
    let again = world.bob.ok(&["recv", "--timeout", PATIENT])?.messages();
    ensure!(again.is_empty(), "{} messages a second time", again.len());
    Ok(())
}

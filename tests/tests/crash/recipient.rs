//! The recipient is killed in the middle of receiving, again and again.

use std::collections::HashSet;

use anyhow::ensure;
use rand::RngExt;
use sotto_tests::sotto::{COMMAND, Message, object};

use crate::delivery::expect_all;
use crate::plan::{messages, rounds};
use crate::world::{PATIENT, World, lines};

#[test]
fn a_recipient_killed_while_receiving_has_everything_once() {
    rounds("recipient killed", |_, rng| {
        let world = World::on_disk()?;
        let lines = lines("only", messages());
        let sent = world.start_sending(&lines, PATIENT)?.wait(COMMAND)?;
        ensure!(sent.code == Some(0), "{sent:?}");

        let mut printed: Vec<Message> = Vec::new();
        for kill in 0..3 {
            let mut recv = world.bob.start(&["recv", "--follow", "--timeout", PATIENT], "")?;
            let left = lines.len().saturating_sub(printed.len());
            for _ in 0..rng.random_range(0..=left / 2) {
                let Some(line) = recv.line(COMMAND)? else { break };
                printed.extend(Message::from_object(&object(&line)?));
            }
            recv.kill()?;
            while let Some(line) = recv.line(COMMAND)? {
                // The last line can be cut off by the kill.
                printed.extend(object(&line).ok().as_ref().and_then(Message::from_object));
            }
            println!("kill {kill} after {} of {} lines", printed.len(), lines.len());
        }
        printed.extend(world.bob.ok(&["recv", "--timeout", PATIENT])?.messages());

        // Each kill may repeat the one line whose printing was not recorded yet.
        let ids: HashSet<&String> = printed.iter().map(|message| &message.id).collect();
        ensure!(ids.len() == lines.len(), "{} of {} messages printed", ids.len(), lines.len());
        ensure!(printed.len() <= lines.len() + 3, "{} lines for {} messages", printed.len(), lines.len());
        let mut once = printed.clone();
        once.dedup_by(|a, b| a.id == b.id);
        expect_all(&once, &lines)?;
        expect_all(&world.bobs_history()?, &lines)
    });
}

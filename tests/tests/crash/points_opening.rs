//! Programs are killed at chosen points while they open a store that has to be compacted, or migrated first.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context, ensure};
use rand::RngExt;
use sotto_migrations::client::CLIENT_VERSION;
use sotto_migrations::server::SERVER_VERSION;
use sotto_tests::faultfs::FaultFs;
use sotto_tests::sotto::COMMAND;
use sotto_tests::sottod::{Server, admin};

use crate::delivery::{expect_all, expect_printed};
use crate::old_stores::{Rows, client_rows, grow, make_client_old, make_server_old, server_rows};
use crate::plan::{few_messages, rounds};
use crate::points::{Counts, Tally};
use crate::points_sending::{expect_arrived, received};
use crate::stage::Stage;
use crate::world::{PATIENT, lines};

/// More than the 64 MiB from which on a store is compacted.
const LARGE: usize = 72 << 20;

/// A stage's disks on which messages wait for Bob.
fn with_waiting_messages(stage: &Stage, lines: &[String]) -> anyhow::Result<[FaultFs; 3]> {
    stage.with(|machines| {
        let sent = machines.world.start_sending(lines, PATIENT)?.wait(COMMAND)?;
        ensure!(sent.code == Some(0), "{sent:?}");
        Ok(())
    })
}

/// A server that is killed at its start.
struct Opening<'a> {
    kind: &'a str,
    /// Makes the store that takes more than opening.
    make: fn(&FaultFs) -> anyhow::Result<()>,
    /// Whether it was done on this disk.
    done: fn(&FaultFs) -> anyhow::Result<bool>,
    /// The operator's command that does it too, without a server.
    command: Option<&'a [&'a str]>,
}

impl Opening<'_> {
    fn rounds(&self) {
        let Some(stage) = Stage::lease(self.kind).unwrap() else { return };
        let lines = lines("only", few_messages());
        let disks = with_waiting_messages(&stage, &lines).unwrap();
        (self.make)(&disks[0]).unwrap();
        assert!(!(self.done)(&disks[0]).unwrap());
        let (_, rows) = server_rows(&disks[0]).unwrap();
        let (mut counts, mut tally) = ([None, None], Tally::new(self.kind));
        rounds(self.kind, |seed, rng| {
            let command = self.command.filter(|_| rng.random_bool(0.5));
            let counts = &mut counts[usize::from(command.is_some())];
            if counts.is_none() {
                let copy = disks[0].mount_copy()?;
                Counts::begin(&copy);
                ensure!(!open(&stage, &copy, command)?, "killed without a point");
                *counts = Some(Counts::of(&copy));
                ensure!((self.done)(&copy)?, "{}: a whole start does not do it", self.kind);
            }
            let point = counts.as_ref().context("counted above")?.draw(seed, rng);
            let copies = Stage::copies(&disks)?;
            point.arm(&copies[0]);
            let killed = open(&stage, &copies[0], command)?;
            tally.point(&point, killed);
            copies[0].stand_down();
            let before = tally.lossy();
            tally.cut_at(&point, "server", &copies[0], rng);
            tally.round(tally.lossy() > before);

            // Everything is there, in the form of before or of after.
            let (_, there) = server_rows(&copies[0])?;
            ensure!(without_tally(&there) == without_tally(&rows), "rows are missing or changed");
            let server = Server::start_with(stage.options(&copies[0])?)?;
            ensure!((self.done)(&copies[0])?, "the next start does not do it");
            let machines = stage.world(copies, server)?;
            expect_printed(&received(&machines.world)?, &lines, 0)?;
            expect_arrived(&machines.world, &lines, &HashSet::new())
        });
        tally.end();
    }
}

/// Opens the store of a server and ends again, by itself or by the kill; answers whether by the kill.
fn open(stage: &Stage, disk: &FaultFs, command: Option<&[&str]>) -> anyhow::Result<bool> {
    if let Some(command) = command {
        let finished = admin(&disk.path().join("data"), command, COMMAND)?;
        ensure!(finished.code == if disk.struck() { None } else { Some(0) }, "{finished:?}");
    } else {
        match Server::start_with(stage.options(disk)?) {
            Ok(mut server) => server.kill()?,
            Err(error) if !disk.struck() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(disk.struck())
}

/// What an opening may add is the count of what waits, where there was none.
fn without_tally(rows: &Rows) -> Rows {
    let tally = ("queue".to_owned(), b"n".to_vec());
    rows.iter().filter(|(key, _)| **key != tally).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[test]
fn a_server_killed_at_any_point_of_a_compaction_has_everything() {
    Opening {
        kind: "server killed in a compaction",
        make: |server| grow(server, LARGE),
        done: |server| {
            let compacted = server.path().join("data/store/g-2/made").exists();
            let old = server.path().join("data/store/g-1").exists();
            Ok(compacted && !old)
        },
        command: None,
    }
    .rounds();
}

#[test]
fn a_server_killed_at_any_point_of_a_migration_has_everything() {
    Opening {
        kind: "server killed in a migration",
        make: make_server_old,
        done: |server| Ok(server_rows(server)?.0 == SERVER_VERSION),
        command: Some(&["migrate", "run"]),
    }
    .rounds();
}

#[test]
fn a_client_killed_at_any_point_of_a_migration_has_everything() {
    let kind = "client killed in a migration";
    let Some(stage) = Stage::lease(kind).unwrap() else { return };
    let first = lines("first", few_messages());
    let second = lines("second", 3);
    let [server, alice, bob] = &stage
        .with(|machines| {
            let world = &machines.world;
            let sent = world.start_sending(&first, PATIENT)?.wait(COMMAND)?;
            ensure!(sent.code == Some(0), "{sent:?}");
            expect_printed(&received(world)?, &first, 0)?;
            let sent = world.start_sending(&second, PATIENT)?.wait(COMMAND)?;
            ensure!(sent.code == Some(0), "{sent:?}");
            Ok(())
        })
        .unwrap();
    let password = fs::read_to_string(stage.client("bob", bob).unwrap().password_file()).unwrap();
    make_client_old(bob, &password).unwrap();
    let (version, rows) = client_rows(bob, &password).unwrap();
    assert!(
        version < CLIENT_VERSION && rows["message"] == i64::try_from(first.len()).unwrap(),
        "{version} {rows:?}"
    );
    let all: Vec<String> = first.iter().chain(&second).cloned().collect();

    let (mut counts, mut tally) = (None, Tally::new(kind));
    rounds(kind, |seed, rng| {
        // The history is read without a server: all that is written is the migration.
        let read = ["history", "@alice", "--limit", "100000"];
        if counts.is_none() {
            let copy = bob.mount_copy()?;
            Counts::begin(&copy);
            stage.client("bob", &copy)?.ok(&read)?;
            counts = Some(Counts::of(&copy));
            ensure!(client_rows(&copy, &password)?.0 == CLIENT_VERSION, "a whole start does not migrate");
        }
        let point = counts.as_ref().context("counted above")?.draw(seed, rng);
        let copies = Stage::copies([server, alice, bob])?;
        point.arm(&copies[2]);
        let finished = stage.client("bob", &copies[2])?.start(&read, "")?.wait(COMMAND)?;
        ensure!(finished.code == if copies[2].struck() { None } else { Some(0) }, "{finished:?}");
        tally.point(&point, copies[2].struck());
        copies[2].stand_down();
        let before = tally.lossy();
        tally.cut_at(&point, "client", &copies[2], rng);
        tally.round(tally.lossy() > before);

        let (found, there) = client_rows(&copies[2], &password)?;
        // Each step is a transaction of its own.
        ensure!((version..=CLIENT_VERSION).contains(&found), "version {found}");
        ensure!(there == rows, "rows are missing: {there:?} instead of {rows:?}");
        let process = Server::start_with(stage.options(&copies[0])?)?;
        let machines = stage.world(copies, process)?;
        expect_all(&machines.world.bobs_history()?, &first)?;
        expect_printed(&received(&machines.world)?, &second, 0)?;
        expect_arrived(&machines.world, &all, &HashSet::new())
    });
    tally.end();
}

//! Changes of an account, and invites, under kills and power cuts: what was confirmed holds, and what was not can be had by
//! asking again.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use sotto_tests::faultfs::FaultFs;
use sotto_tests::running::Running;
use sotto_tests::sotto::{Answer, COMMAND, Client, object};
use sotto_tests::sottod::admin;

use crate::plan::rounds;
use crate::points::{Counts, Tally};
use crate::points_sending::under_kills;
use crate::stage::{Machines, Stage, cut};
use crate::world::PATIENT;

/// When the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// Nowhere: to count.
    Never,
    /// Right after the change was confirmed, everywhere.
    Confirmed,
    /// On the server's machine, at a point.
    Server,
    /// On the machine where the change is made, at a point.
    Client,
}

/// One change in the middle of a round.
struct Round<'a> {
    machines: Machines,
    /// A further machine.
    further: FaultFs,
    stage: &'a Stage,
    when: When,
    seed: u64,
    counts: &'a mut BTreeMap<(&'static str, When), Counts>,
    tally: &'a mut Tally,
    rng: &'a mut StdRng,
}

/// Whose machine a change is made on.
#[derive(Debug, Clone, Copy)]
enum On {
    Alice,
    Bob,
    Further,
}

impl Round<'_> {
    fn further(&self, name: &str) -> anyhow::Result<Client> {
        self.stage.client(name, &self.further)
    }

    fn address(&self) -> &str {
        self.machines.world.server.address()
    }

    /// Makes the change, with the power cut where it belongs; answers whether it was confirmed. Everything runs afterwards.
    fn change(&mut self, name: &'static str, on: On, command: Start<'_>) -> anyhow::Result<bool> {
        let Machines { server: server_disk, alice, bob, world } = &mut self.machines;
        let server_disk: &FaultFs = server_disk;
        let client_disk: &FaultFs = match on {
            On::Alice => alice,
            On::Bob => bob,
            On::Further => &self.further,
        };
        let before = self.tally.lossy();
        let point = match self.when {
            When::Never | When::Confirmed => None,
            when => Some(self.counts.get(&(name, when)).context("counted before")?.draw_cut(self.rng)),
        };
        let finished = match (self.when, &point) {
            (When::Server, Some(point)) => {
                point.arm(server_disk);
                let kills = std::slice::from_ref(point);
                under_kills((server_disk, &mut world.server), command()?, kills, (self.tally, self.rng))?
            }
            (When::Client, Some(point)) => {
                point.arm(client_disk);
                let finished = command()?.wait(COMMAND)?;
                self.tally.point(point, client_disk.struck());
                client_disk.stand_down();
                self.tally.cut_at(point, "client", client_disk, self.rng);
                finished
            }
            _ => {
                Counts::begin(server_disk);
                Counts::begin(client_disk);
                let finished = command()?.wait(COMMAND)?;
                ensure!(finished.code == Some(0), "{finished:?}");
                if self.when == When::Never {
                    for (when, disk) in [(When::Server, server_disk), (When::Client, client_disk)] {
                        disk.stand_down();
                        self.counts.insert((name, when), Counts::of(disk));
                    }
                } else {
                    self.tally.cut(cut("client", client_disk, self.rng));
                    world.server.kill()?;
                    self.tally.cut(cut("server", server_disk, self.rng));
                    world.server.start_again()?;
                }
                finished
            }
        };
        println!("{name}: {:?} {:?}, round {}", self.when, finished.code, self.seed);
        if self.when != When::Never {
            self.tally.round(self.tally.lossy() > before);
        }
        Ok(finished.code == Some(0))
    }
}

/// Starts the command that makes a change.
type Start<'a> = &'a dyn Fn() -> anyhow::Result<Running>;

/// A change, and what holds when it was confirmed.
type Change = fn(&mut Round<'_>) -> anyhow::Result<()>;

const CHANGES: [(&str, Change); 6] = [
    ("device added", device_added),
    ("device removed", device_removed),
    ("password changed", password_changed),
    ("user blocked", user_blocked),
    ("reset asked for", reset_asked),
    ("invite used", invite_used),
];

#[test]
fn a_confirmed_change_of_an_account_survives_power_cuts() {
    let kind = "account changed";
    let Some(stage) = Stage::lease(kind).unwrap() else { return };
    let (mut counts, mut tally) = (BTreeMap::new(), Tally::new(kind));
    rounds(kind, |seed, rng| {
        let (name, change) = CHANGES[rng.random_range(0..CHANGES.len())];
        let when = [When::Confirmed, When::Server, When::Client][rng.random_range(0..3)];
        println!("{name}, {when:?}");
        let first = when != When::Confirmed && !counts.keys().any(|(counted, _)| *counted == name);
        for when in first.then_some(When::Never).into_iter().chain([when]) {
            let mut round = Round {
                machines: stage.start_with(|options| match name {
                    "invite used" => options.environment("SOTTOD_REGISTRATION", "invite"),
                    _ => options,
                })?,
                further: FaultFs::mount()?,
                stage: &stage,
                when,
                seed,
                counts: &mut counts,
                tally: &mut tally,
                rng: &mut *rng,
            };
            change(&mut round).context(name)?;
        }
        Ok(())
    });
    tally.end();
}

/// Signs in the further machine with Alice's phrase.
fn sign_in(client: &Client, address: &str, stage: &Stage) -> anyhow::Result<Running> {
    let phrase = client.password_file().with_extension("phrase");
    fs::write(&phrase, stage.alices_phrase())?;
    let mut login = client.command(&["login", address, "alice"])?;
    login.env("SOTTO_RECOVERY_FILE", &phrase);
    Running::start(login, b"")
}

/// Alice's devices of this standing, other than her first one.
fn others(alice: &Client, standing: &str) -> anyhow::Result<Vec<String>> {
    let listed = alice.ok(&["device", "list"])?;
    let others = listed.of_type("device").filter(|device| device["this"] == false);
    let others = others.filter(|device| device["standing"] == standing);
    Ok(others.filter_map(|device| Some(device["id"].as_str()?.to_owned())).collect())
}

fn device_added(round: &mut Round<'_>) -> anyhow::Result<()> {
    let (laptop, address) = (round.further("alice")?, round.address().to_owned());
    let stage = round.stage;
    let confirmed = round.change("device added", On::Further, &|| sign_in(&laptop, &address, stage))?;
    let there = laptop.run(&["recv", "--timeout", PATIENT])?.code == 0;
    ensure!(there || !confirmed, "a device that was added is not there");
    if !there {
        let again = sign_in(&laptop, &address, stage)?.wait(COMMAND)?;
        ensure!(again.code == Some(0), "asking again: {again:?}");
    }
    let world = &round.machines.world;
    let listed = others(&world.alice, "listed")?;
    // One that was cut off before it could keep its keys is nobody's.
    ensure!(!listed.is_empty() && (there || listed.len() <= 2), "{listed:?}");
    world.bob.ok(&["send", "@alice", "to all devices"])?;
    for device in [&world.alice, &laptop] {
        expect_one(&device.ok(&["recv", "--timeout", PATIENT])?, "to all devices")?;
    }
    Ok(())
}

fn expect_one(answer: &Answer, text: &str) -> anyhow::Result<()> {
    let messages = answer.messages();
    ensure!(messages.len() == 1 && messages[0].text == text, "{messages:?} instead of {text:?}");
    Ok(())
}

fn device_removed(round: &mut Round<'_>) -> anyhow::Result<()> {
    let laptop = round.further("alice")?;
    let added = sign_in(&laptop, round.address(), round.stage)?.wait(COMMAND)?;
    ensure!(added.code == Some(0), "{added:?}");
    let alice = round.stage.client("alice", &round.machines.alice)?;
    let id = others(&alice, "listed")?.pop().context("the laptop")?;
    let confirmed =
        round.change("device removed", On::Alice, &|| alice.start(&["device", "remove", &id], ""))?;
    let gone = others(&alice, "removed")? == [id.as_str()];
    ensure!(gone || !confirmed, "a device that was removed is back");
    if !gone {
        alice.ok(&["device", "remove", &id])?;
    }
    laptop.run(&["recv", "--timeout", PATIENT])?.expect_code(4)?;
    Ok(())
}

fn password_changed(round: &mut Round<'_>) -> anyhow::Result<()> {
    let alice = round.stage.client("alice", &round.machines.alice)?;
    let old = fs::read_to_string(alice.password_file())?;
    let change = |from: &str, to: &str| {
        alice.start(&["password", "change", "--password-stdin"], &format!("{from}\n{to}\n"))
    };
    let confirmed = round.change("password changed", On::Alice, &|| change(&old, "a new one"))?;
    let opens = |password: &str| {
        alice.set_password(password)?;
        Ok::<bool, anyhow::Error>(alice.run(&["recv", "--timeout", PATIENT])?.code == 0)
    };
    let new = opens("a new one")?;
    ensure!(new || !confirmed, "the new password does not open");
    ensure!(new || opens(&old)?, "neither password opens");
    let again = change(if new { "a new one" } else { &old }, "the third")?.wait(COMMAND)?;
    ensure!(again.code == Some(0), "changing it again: {again:?}");
    ensure!(opens("the third")? && !opens(&old)? && !opens("a new one")?, "more than the last one opens");
    // The next round's Alice has her first one.
    alice.set_password(&old)
}

fn user_blocked(round: &mut Round<'_>) -> anyhow::Result<()> {
    let bob = round.stage.client("bob", &round.machines.bob)?;
    bob.ok(&["send", "@alice", "before"])?;
    let confirmed =
        round.change("user blocked", On::Bob, &|| bob.start(&["contact", "block", "alice"], ""))?;
    let blocked = bob.ok(&["contact", "list"])?.of_type("contact").any(|contact| contact["blocked"] == true);
    ensure!(blocked || !confirmed, "the block is gone");
    if !blocked {
        bob.ok(&["contact", "block", "alice"])?;
    }
    // At the latest when he is there again the server knows it too.
    bob.ok(&["recv", "--timeout", PATIENT])?;
    let alice = &round.machines.world.alice;
    expect_one(&alice.ok(&["recv", "--timeout", PATIENT])?, "before")?;
    let refused = alice.run(&["send", "@bob", "to a deaf ear"])?.expect_code(7)?;
    ensure!(refused.fates().pop().is_some_and(|fate| fate.state == "refused"), "{refused:?}");
    Ok(())
}

fn reset_asked(round: &mut Round<'_>) -> anyhow::Result<()> {
    let (elsewhere, address) = (round.further("alice")?, round.address().to_owned());
    let ask = ["login", address.as_str(), "alice", "--reset"];
    let confirmed = round.change("reset asked for", On::Further, &|| elsewhere.start(&ask, ""))?;
    let alice = &round.machines.world.alice;
    if !confirmed {
        let asked = elsewhere.ok(&ask)?;
        ensure!(asked.of_type("reset_waits").count() == 1, "{asked:?}");
    }
    let refused = alice.ok(&["recovery", "refuse-reset"])?;
    ensure!(refused.of_type("reset_refused").count() == 1, "the reset does not wait: {refused:?}");
    // Who asked hears that.
    ensure!(elsewhere.run(&ask)?.code != 0, "a reset that was refused goes on");
    Ok(())
}

fn invite_used(round: &mut Round<'_>) -> anyhow::Result<()> {
    let data = round.machines.server.path().join("data");
    let made = admin(&data, &["invite", "new", "--json"], COMMAND)?;
    let made = object(made.stdout.first().with_context(|| format!("{made:?}"))?)?;
    let token = made["token"].as_str().context("a token")?.to_owned();
    // Made is made.
    round.machines.world.server.kill()?;
    let cut = round.machines.restart_server(round.rng)?;
    round.tally.cut(cut);
    let listed = || admin(&data, &["invite", "list", "--json"], COMMAND);
    ensure!(listed()?.stdout.len() == 1, "the invite is gone: {:?}", listed()?);

    let (carol, address) = (round.further("carol")?, round.address().to_owned());
    let register = ["register", address.as_str(), "carol", "--invite", token.as_str()];
    let confirmed = round.change("invite used", On::Further, &|| carol.start(&register, ""))?;
    if !confirmed && carol.run(&["recv", "--timeout", PATIENT])?.code != 0 {
        carol.ok(&register)?;
    }
    carol.ok(&["recv", "--timeout", PATIENT])?;
    ensure!(listed()?.stdout.is_empty(), "an invite for one was used and is still good: {:?}", listed()?);
    let dave = FaultFs::mount()?;
    let dave = round.stage.client("dave", &dave)?;
    let refused = dave.run(&["register", address.as_str(), "dave", "--invite", token.as_str()])?;
    ensure!(refused.code != 0, "an invite for one makes two accounts");
    Ok(())
}

//! Random histories: people write, devices and the server crash at any step, connections break; after the last fault
//! everything that was written stands on every screen once and in order, and every sender knows it.

mod clocks;
mod company;
mod hostile;
mod setback;
mod town;

use std::collections::BTreeMap;

use rand::RngExt;
use sotto_client::api::{Event, Fate, Row, RowBody};

use crate::world::World;

/// Seeds of the short part; those after the first few once failed.
const FIXED: &[u64] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// The same where the server loses its data.
const FIXED_LOSSES: &[u64] = &[1, 2, 3, 4, 5, 6, 28];

/// With `loses`, the server comes back without its data now and then.
fn run(seed: u64, loses: bool) {
    eprintln!("seed {seed}{}", if loses { ", with losses" } else { "" });
    let mut world = World::new(seed);
    let names = ["alice", "bob", "carol"];
    for name in names {
        world.person(name);
    }
    if world.rng.random_bool(0.5) {
        world.second_device(1, None);
    }
    let devices = world.devices.len();
    let mut written: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    if loses {
        // Somebody one has never written to is unknown, and said to be, while the server has lost them.
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let text = format!("{from} to {to}: hello");
            world.connect(from);
            world.send(from, names[to], &text);
            written.entry((from, to)).or_default().push(text);
        }
    }
    for step in 0..400 {
        let device = world.rng.random_range(0..devices);
        match world.rng.random_range(0..100) {
            0..=24 => {
                let to = world.rng.random_range(0..names.len());
                let from = world.devices[device].account;
                // One device an account writes, so that the order of what the account said is defined.
                if to != from && device < names.len() && world.connected(device) {
                    let text = format!("{from} to {to}: {step}");
                    world.write(device, names[to], &text);
                    // What was typed counts once it is committed; a crash before that was never answered.
                    if world.run_device(device, 64, true) {
                        written.entry((from, to)).or_default().push(text);
                    }
                }
            }
            25..=27 => world.disconnect(device),
            28..=29 => {
                world.run_device(device, 64, false);
                world.crash(device);
            }
            30..=44 => {
                if world.server.is_none() {
                    world.start_server();
                }
                world.start(device);
                world.connect(device);
            }
            45 if loses && world.rng.random_bool(0.5) => world.forget_everything(),
            45 => world.crash_server(),
            46..=70 => {
                world.run_server();
            }
            71..=95 => {
                let batch = world.rng.random_range(1..10);
                world.run_device(device, batch, true);
            }
            _ => world.now_ms += world.rng.random_range(0..20_000),
        }
    }
    if world.server.is_none() {
        world.start_server();
    }
    for device in 0..devices {
        world.start(device);
        world.connect(device);
    }
    // Who came back first looks for the others after 1, 2, 4, 8 and then 10 minutes.
    world.pass(if loses { 30 * 60_000 } else { 120_000 });
    if std::env::var_os("SOTTO_SIM_SHOW").is_some() {
        show(&mut world);
    }
    check(&mut world, &names, &written, !loses);
}

/// What each device sees, for whoever looks into a seed that failed.
fn show(world: &mut World) {
    for device in 0..world.devices.len() {
        show_device(world, device);
    }
}

fn show_device(world: &mut World, device: usize) {
    let known = &world.devices[device];
    eprintln!("device {device}, {}: connected {}, {:?}", known.id, world.connected(device), known.closed);
    eprintln!("  {:#?}", world.screen(device));
    let fates: Vec<_> = world.rows(device).into_iter().filter_map(|row| row.fate).collect();
    eprintln!("  fates {fates:?}");
    eprintln!("  waiting {:?}", world.command(device, sotto_client::api::Command::Outbox));
    eprintln!("  warnings {}", world.warnings(device));
    for event in &world.devices[device].events {
        if let Event::Row(Row { body: RowBody::Undecryptable(reason), from, .. }) = event {
            eprintln!("  was told: {from}? {reason}");
        }
    }
}

/// Everything once; `ordered` as well, where that is promised: not across a loss, where one device of a recipient may have
/// what another one lacks.
fn check(world: &mut World, names: &[&str], written: &BTreeMap<(usize, usize), Vec<String>>, ordered: bool) {
    for device in 0..world.devices.len() {
        let account = world.devices[device].account;
        let mut rows = world.rows(device);
        rows.retain(|row| {
            let added = "a device was added to your account";
            !matches!(&row.body, RowBody::Undecryptable(text) if text.starts_with(added))
        });
        for row in &rows {
            assert!(matches!(row.body, RowBody::Text(_)), "device {device}: {row:?}");
        }
        for ((from, to), texts) in written {
            if *to != account && *from != account {
                continue;
            }
            let mut seen: Vec<&str> = rows
                .iter()
                .filter(|row| {
                    row.from == names[*from] && (*from != account || row.conversation == names[*to])
                })
                .map(|row| match &row.body {
                    RowBody::Text(text) => text.as_str(),
                    _ => "",
                })
                .collect();
            let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            if !ordered {
                seen.sort_unstable();
                texts.sort_unstable();
            }
            assert_eq!(seen, texts, "device {device} of {}: from {from} to {to}", names[account]);
        }
        if device < names.len() {
            for row in rows.iter().filter(|row| row.outgoing) {
                assert_eq!(row.fate, Some(Fate::Delivered), "device {device}: {row:?}");
            }
        }
    }
}

/// The seeds that the environment asks for, or else these.
fn seeds(fixed: &[u64]) -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("SOTTO_SIM_FIRST").unwrap_or(1);
    match number("SOTTO_SIM_SEEDS") {
        None => fixed.to_vec(),
        Some(count) => (first..first + count).collect(),
    }
    .into_iter()
}

#[test]
fn whatever_crashes_everything_arrives_once_and_in_order() {
    seeds(FIXED).for_each(|seed| run(seed, false));
}

#[test]
fn whatever_the_server_loses_everything_arrives_once() {
    seeds(FIXED_LOSSES).for_each(|seed| run(seed, true));
}

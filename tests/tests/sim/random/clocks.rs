//! Clocks that are wrong at random: a device's, or the server's, jumps by 25 or 70 days, forward or back, while it runs or while it
//! is off, and is set right again. Then all clocks are right. Nothing stands twice, what is missing was said to have expired, and
//! everybody can write to everybody.

use rand::{RngExt, seq::IndexedRandom};
use sotto_client::api::{Fate, Row, RowBody};
use sotto_proto::{MessageId, limits::DAY_MS};

use super::seeds;
use crate::world::World;

/// Seeds of the short part.
const FIXED: &[u64] = &[1, 2, 3, 4];
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// How far clocks are off, days.
const OFF_DAYS: [i64; 6] = [0, 0, 25, 70, -25, -70];

/// Whose clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Devices,
    Server,
}

/// More requests than a device has reason to make in some forty days.
const MOST_REQUESTS: usize = 500;

struct Written {
    from: usize,
    to: usize,
    message: MessageId,
    text: String,
}

fn step(world: &mut World, written: &mut Vec<Written>, whose: Whose) {
    let device = world.rng.random_range(0..world.devices.len());
    match world.rng.random_range(0..100) {
        0..=49 => {
            let from = world.devices[device].account;
            let to = (from + world.rng.random_range(1..NAMES.len())) % NAMES.len();
            let text = format!("{device} to {to}: {}", written.len());
            let message = world.send(device, NAMES[to], &text);
            written.push(Written { from: device, to, message, text });
        }
        50..=69 if whose == Whose::Server => {
            let days = *OFF_DAYS.choose(&mut world.rng).unwrap();
            world.server_skew_ms = days * i64::try_from(DAY_MS).unwrap();
            if world.rng.random_bool(0.5) {
                world.crash_server();
                world.start_server();
            }
        }
        50..=69 => {
            let off = world.rng.random_bool(0.5);
            if off {
                world.crash(device);
            }
            let days = *OFF_DAYS.choose(&mut world.rng).unwrap();
            world.set_clock(device, days);
            if off {
                world.start(device);
            }
        }
        70..=79 => {
            world.crash(device);
            world.start(device);
        }
        _ => world.disconnect(device),
    }
    if world.rng.random_bool(0.4) {
        for index in 0..world.devices.len() {
            if !world.connected(index) {
                world.connect(index);
            }
        }
    }
    let ms = world.rng.random_range(0..DAY_MS);
    world.pass(ms);
}

fn run(seed: u64, whose: Whose) {
    eprintln!("seed {seed}, wrong clocks: {whose:?}");
    let mut world = World::new(seed);
    for name in NAMES {
        world.person(name);
    }
    if world.rng.random_bool(0.5) {
        world.second_device(1, None);
    }
    let mut written = Vec::new();
    for _ in 0..60 {
        step(&mut world, &mut written, whose);
    }
    world.server_skew_ms = 0;
    for index in 0..world.devices.len() {
        world.set_clock(index, 0);
        world.connect(index);
    }
    world.pass(8 * DAY_MS);
    for device in &world.devices {
        let asked = device.asked.len();
        eprintln!("  {asked} requests");
        assert!(asked < MOST_REQUESTS, "{asked} requests of one device");
    }
    check(&mut world, &written, whose);
}

fn check(world: &mut World, written: &[Written], whose: Whose) {
    let (mut expired, mut forgotten) = (0, 0);
    for Written { from, to, message, text } in written {
        let fate = world.fate(*from, *message);
        let mut shown = 0;
        for device in (0..world.devices.len())
            .filter(|device| world.devices[*device].account == *to)
            .collect::<Vec<_>>()
        {
            let is_it = |row: &&Row| matches!(&row.body, RowBody::Text(shown) if shown == text);
            let times = world.rows(device).iter().filter(is_it).count();
            assert!(times <= 1, "{text} stands twice at {device}");
            shown += times;
        }
        let reason = world.fate_reason(*from, *message);
        match fate {
            Fate::Delivered => assert!(shown > 0, "{text} is delivered and not shown"),
            Fate::Expired => {
                assert!(shown == 0, "{text} expired {reason:?} and is shown");
                expired += 1;
            }
            // A server that was months ahead has forgotten what became of it as well.
            Fate::Stored if whose == Whose::Server && reason.is_some() => {
                let said = reason.is_some_and(|reason| reason.contains("longer than the server remembers"));
                assert!(said && shown == 0, "{text} is shown {shown} times");
                forgotten += 1;
            }
            fate => panic!("{text} is {fate:?}, shown {shown}, {reason:?}"),
        }
    }
    for from in 0..world.devices.len() {
        for to in (0..NAMES.len()).filter(|to| *to != world.devices[from].account).collect::<Vec<_>>() {
            let text = format!("{from} to {to}: afterwards");
            let message = world.send(from, NAMES[to], &text);
            world.pass(DAY_MS);
            assert_eq!(world.fate(from, message), Fate::Delivered, "{text}");
        }
        assert_eq!(world.outbox_length(from), 0, "device {from}");
    }
    eprintln!("  of {} messages {expired} expired, {forgotten} were forgotten", written.len());
}

#[test]
fn whatever_the_clocks_of_devices_do_nothing_is_twice_and_what_is_missing_was_said() {
    seeds(FIXED).for_each(|seed| run(seed, Whose::Devices));
}

#[test]
fn whatever_the_clock_of_the_server_does_nothing_is_twice_and_what_is_missing_was_said() {
    seeds(FIXED).for_each(|seed| run(seed, Whose::Server));
}

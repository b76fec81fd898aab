//! What sessions and keys hang on is lost at random: the server's data, all of it or the last part; a device's sessions; its
//! one-time keys at the server. Then nothing goes wrong any more. Every message stands once, what could not be read was asked for
//! until it was answered, and everybody can write to everybody.

use rand::RngExt;
use sotto_client::api::{Fate, Row, RowBody};
use sotto_proto::{MessageId, limits::DAY_MS};
use sotto_store::MemoryStore;

use super::seeds;
use crate::world::World;

/// Seeds of the short part.
const FIXED: &[u64] = &[1, 2, 3, 4];
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

struct Written {
    from: usize,
    to: usize,
    message: MessageId,
    text: String,
}

fn step(world: &mut World, written: &mut Vec<Written>, copies: &mut Vec<MemoryStore>) {
    let device = world.rng.random_range(0..NAMES.len());
    let other = (device + world.rng.random_range(1..NAMES.len())) % NAMES.len();
    match world.rng.random_range(0..100) {
        0..=49 => {
            let text = format!("{device} to {other}: {}", written.len());
            let message = world.send(device, NAMES[other], &text);
            written.push(Written { from: device, to: other, message, text });
        }
        50..=57 => copies.push(world.store.copy(1_000_000)),
        58..=62 => {
            if let Some(copy) = copies.pop() {
                world.put_back(copy);
                world.store.restored();
            }
        }
        63..=65 => world.forget_everything(),
        66..=75 => {
            let account = world.accounts[other].id;
            world.crash(device);
            world.devices[device].store.transaction(|tx| tx.forget_sessions(&account)).unwrap();
            world.start(device);
        }
        76..=85 => world.drain_one_time_keys(world.devices[device].id),
        86..=92 => world.disconnect(device),
        _ => {}
    }
    if world.rng.random_bool(0.6) {
        for index in 0..NAMES.len() {
            if !world.connected(index) {
                world.connect(index);
            }
        }
    }
    let ms = world.rng.random_range(0..6 * 3_600_000);
    world.pass(ms);
}

fn run(seed: u64) {
    eprintln!("seed {seed}, setbacks");
    let mut world = World::new(seed);
    for name in NAMES {
        world.person(name);
    }
    let (mut written, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        step(&mut world, &mut written, &mut copies);
    }
    for index in 0..NAMES.len() {
        world.connect(index);
    }
    world.pass(6 * DAY_MS);
    check(&mut world, &written);
}

fn check(world: &mut World, written: &[Written]) {
    for Written { from, to, message, text } in written {
        let is_it = |row: &&Row| matches!(&row.body, RowBody::Text(shown) if shown == text);
        assert_eq!(world.rows(*to).iter().filter(is_it).count(), 1, "{text}");
        assert_eq!(world.fate(*from, *message), Fate::Delivered, "{text}");
    }
    let mut unread = 0;
    for index in 0..NAMES.len() {
        for row in world.rows(index) {
            if let RowBody::Undecryptable(reason) = &row.body {
                assert!(reason.ends_with("says that it was no message"), "{}: {reason}", row.from);
                unread += 1;
            }
        }
    }
    for from in 0..NAMES.len() {
        for to in (0..NAMES.len()).filter(|to| *to != from) {
            let text = format!("{from} to {to}: afterwards");
            let message = world.send(from, NAMES[to], &text);
            world.pass(DAY_MS);
            assert_eq!(world.fate(from, message), Fate::Delivered, "{text}");
        }
        assert_eq!(world.outbox_length(from), 0, "device {from}");
    }
    eprintln!("  {} messages, {unread} receipts and the like that could not be read", written.len());
}

#[test]
fn whatever_is_lost_of_sessions_and_keys_everything_is_read_in_the_end() {
    seeds(FIXED).for_each(run);
}

//! A server that lies at random for a while: it swallows, repeats, damages and reorders what it delivers, and hands out old keys
//! again. Then it is honest. Nothing stands twice, nobody is told that something was delivered which is not on the screen, no more
//! is missing than was swallowed, and everybody can still write to everybody.

use std::{cell::Cell, rc::Rc};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sotto_client::api::{Fate, RowBody};
use sotto_proto::{
    frame::{Bundles, Deliver, ServerFrame},
    limits::DAY_MS,
};

use super::seeds;
use crate::world::World;

/// Seeds of the short part.
const FIXED: &[u64] = &[1, 2, 3, 4, 5, 6];
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// What the server does to what it sends.
struct Liar {
    rng: StdRng,
    delivered: Vec<Deliver>,
    held: Option<Deliver>,
    bundles: Vec<Bundles>,
    swallowed: Rc<Cell<usize>>,
}

impl Liar {
    fn lie(&mut self, frame: ServerFrame) -> Option<ServerFrame> {
        match frame {
            ServerFrame::Deliver(deliver) => self.deliver(deliver).map(ServerFrame::Deliver),
            ServerFrame::Bundles(bundles) => {
                let same = |old: &&Bundles| {
                    old.bundles
                        .iter()
                        .map(|bundle| bundle.device)
                        .eq(bundles.bundles.iter().map(|bundle| bundle.device))
                };
                let old = self.bundles.iter().find(same).filter(|_| self.rng.random_bool(0.3)).cloned();
                self.bundles.push(bundles.clone());
                Some(ServerFrame::Bundles(old.unwrap_or(bundles)))
            }
            frame => Some(frame),
        }
    }

    fn deliver(&mut self, mut deliver: Deliver) -> Option<Deliver> {
        self.delivered.push(deliver.clone());
        match self.rng.random_range(0..100) {
            0..=9 => {
                self.swallowed.set(self.swallowed.get() + 1);
                None
            }
            10..=19 => {
                // Something old in the place of this.
                self.swallowed.set(self.swallowed.get() + 1);
                let old = self.rng.random_range(0..self.delivered.len());
                deliver.envelope = self.delivered[old].envelope.clone();
                Some(deliver)
            }
            20..=29 => {
                let place = self.rng.random_range(0..deliver.envelope.len());
                deliver.envelope[place] ^= 1 << self.rng.random_range(0..8);
                Some(deliver)
            }
            30..=39 => {
                // What was held back before comes in the place of this one, which is held back.
                self.swallowed.set(self.swallowed.get() + 1);
                let earlier = self.held.replace(deliver.clone())?;
                Some(Deliver { envelope: earlier.envelope, ..deliver })
            }
            _ => Some(deliver),
        }
    }
}

fn run(seed: u64) {
    eprintln!("seed {seed}, a server that lies");
    let mut world = World::new(seed);
    for name in NAMES {
        world.person(name);
    }
    let swallowed = Rc::new(Cell::new(0));
    // One for each reader: another's envelopes open nowhere else.
    let mut liars: Vec<Liar> = (0..3)
        .map(|reader| Liar {
            rng: StdRng::seed_from_u64(seed * 3 + reader),
            delivered: Vec::new(),
            held: None,
            bundles: Vec::new(),
            swallowed: Rc::clone(&swallowed),
        })
        .collect();
    world.tamper = Some(Box::new(move |index, frame| liars[index].lie(frame)));
    let mut written = Vec::new();
    for step in 0..60 {
        let from = world.rng.random_range(0..NAMES.len());
        let to = (from + world.rng.random_range(1..NAMES.len())) % NAMES.len();
        let text = format!("{from} to {to}: {step}");
        written.push((from, to, world.send(from, NAMES[to], &text), text));
        if world.rng.random_bool(0.3) {
            world.connect(from);
        }
        let ms = world.rng.random_range(0..6 * 3_600_000);
        world.pass(ms);
    }
    world.tamper = None;
    for device in 0..NAMES.len() {
        world.connect(device);
    }
    world.pass(4 * DAY_MS);
    check(&mut world, &written, swallowed.get());
}

fn check(world: &mut World, written: &[(usize, usize, sotto_proto::MessageId, String)], swallowed: usize) {
    let mut missing = 0;
    for (from, to, message, text) in written {
        let is_it =
            |row: &&sotto_client::api::Row| matches!(&row.body, RowBody::Text(shown) if shown == text);
        let shown = world.rows(*to).iter().filter(is_it).count();
        assert!(shown <= 1, "{text} stands twice");
        missing += usize::from(shown == 0);
        let fate = world.fate(*from, *message);
        assert!(shown == 1 || matches!(fate, Fate::Stored | Fate::Taken), "{text} is {fate:?} and not shown");
    }
    eprintln!("  {swallowed} envelopes were swallowed, of {} messages {missing} are missing", written.len());
    assert!(swallowed > 0, "a server that did nothing");
    assert!(missing <= swallowed, "{missing} are missing, and {swallowed} were swallowed");
    for from in 0..NAMES.len() {
        for to in (0..NAMES.len()).filter(|to| *to != from) {
            let text = format!("{from} to {to}: honestly");
            let message = world.send(from, NAMES[to], &text);
            world.pass(DAY_MS);
            assert_eq!(world.fate(from, message), Fate::Delivered, "{text}");
            assert!(world.screen(to).iter().any(|line| line.ends_with(&text)), "{text}");
        }
    }
    for device in 0..NAMES.len() {
        assert_eq!(world.outbox_length(device), 0, "device {device}");
    }
}

#[test]
fn whatever_a_server_does_for_a_while_nothing_is_twice_or_falsely_delivered_and_all_can_talk_again() {
    seeds(FIXED).for_each(run);
}

//! A server that withholds, reorders and repeats what it has, and goes back to what it had. Afterwards an honest round trip works.

use std::{cell::RefCell, rc::Rc};

use sotto_client::api::Fate;
use sotto_proto::{
    frame::{Deliver, ServerFrame},
    limits::DAY_MS,
};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

use crate::world::World;

/// After whatever was done: both can write to each other, and both know that it arrived.
fn both_talk(world: &mut World, one: usize, other: usize, names: [&str; 2]) {
    world.tamper = None;
    for (from, to, name) in [(one, other, names[1]), (other, one, names[0])] {
        let message = world.send(from, name, "honestly");
        world.pass(10_000);
        assert_eq!(world.fate(from, message), Fate::Delivered);
        assert!(world.screen(to).last().unwrap().ends_with(": honestly"), "{:?}", world.screen(to));
    }
}

#[test]
fn an_envelope_that_is_repeated_after_months_appears_once() {
    let mut world = World::new(211);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let old: Rc<RefCell<Vec<Deliver>>> = Rc::default();
    let kept = Rc::clone(&old);
    world.tamper = Some(Box::new(move |index, frame| {
        if let (1, ServerFrame::Deliver(deliver)) = (index, &frame) {
            kept.borrow_mut().push(deliver.clone());
        }
        Some(frame)
    }));
    for text in ["one", "two", "three"] {
        world.send(alice, "bob", text);
    }
    world.send(bob, "alice", "four");
    world.pass(130 * DAY_MS);
    world.send(alice, "bob", "five");
    world.pass(10_000);
    // In place of what comes now, the server serves all of the old ones, again and again.
    let before = world.screen(bob);
    let mut next = 0;
    let from = Rc::clone(&old);
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Deliver(mut deliver) if index == 1 => {
                let old = from.borrow();
                deliver.envelope = old[next % old.len()].envelope.clone();
                next += 1;
                ServerFrame::Deliver(deliver)
            }
            frame => frame,
        })
    }));
    assert!(old.borrow().len() >= 4);
    let swallowed: Vec<_> =
        (0..10).map(|number| world.send(alice, "bob", &format!("swallowed {number}"))).collect();
    world.pass(10_000);
    assert_eq!(world.screen(bob), before);
    for message in swallowed {
        assert_ne!(
            world.fate(alice, message),
            Fate::Delivered,
            "what the server swallowed was not delivered"
        );
    }
    both_talk(&mut world, alice, bob, ["alice", "bob"]);
}

#[test]
fn what_comes_in_another_order_appears_once_each_and_nothing_stands_still() {
    let mut world = World::new(212);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "first");
    // Each envelope comes in the place of the next one.
    let mut held = None;
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Deliver(deliver) if index == 1 => match held.take() {
            None => {
                held = Some(deliver);
                None
            }
            Some(earlier) => {
                let Deliver { number, .. } = deliver;
                // The later one first, and with the next pair the earlier one.
                held = (number.0 % 3 == 0).then(|| earlier.clone());
                Some(ServerFrame::Deliver(if held.is_some() {
                    deliver
                } else {
                    Deliver { number, ..earlier }
                }))
            }
        },
        frame => Some(frame),
    }));
    for number in 0..12 {
        world.send(alice, "bob", &format!("number {number}"));
    }
    world.pass(10_000);
    let mut screen = world.screen(bob);
    assert!(screen.len() > 4, "{screen:?}");
    let all = screen.len();
    screen.sort();
    screen.dedup();
    assert_eq!(screen.len(), all, "each once");
    assert!(screen.iter().all(|line| line.starts_with("alice: ")), "{screen:?}");
    both_talk(&mut world, alice, bob, ["alice", "bob"]);
}

#[test]
fn what_was_withheld_for_weeks_appears_when_it_is_served() {
    let mut world = World::new(213);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.send(bob, "alice", "two");
    world.tamper = Some(Box::new(|index, frame| {
        (index != 1 || !matches!(frame, ServerFrame::Deliver(_))).then_some(frame)
    }));
    let withheld = world.send(alice, "bob", "withheld");
    for _ in 0..4 {
        world.pass(7 * DAY_MS);
        world.connect(bob);
    }
    assert_eq!(world.fate(alice, withheld), Fate::Stored);
    world.tamper = None;
    world.connect(bob);
    world.pass(10_000);
    assert_eq!(world.screen(bob), ["alice: one", "bob: two", "alice: withheld"]);
    assert_eq!(world.fate(alice, withheld), Fate::Delivered);
    both_talk(&mut world, alice, bob, ["alice", "bob"]);
}

/// What a server may do to the keys that it hands out.
#[derive(Debug, Clone, Copy)]
enum BadKeys {
    Signature,
    ZeroOneTime,
    OthersSigned,
}

#[test]
fn bad_keys_lose_nothing_and_are_said_to_be_bad() {
    for (seed, bad) in (214..).zip([BadKeys::Signature, BadKeys::ZeroOneTime, BadKeys::OthersSigned]) {
        let mut world = World::new(seed);
        let (alice, bob, carol) = (world.person("alice"), world.person("bob"), world.person("carol"));
        let carols = world.claim(carol);
        world.tamper = Some(Box::new(move |_, frame| {
            Some(match frame {
                ServerFrame::Bundles(mut bundles) => {
                    for bundle in &mut bundles.bundles {
                        match (bad, &mut bundle.one_time) {
                            (BadKeys::Signature, _) => bundle.signed.signature.0[0] ^= 1,
                            (BadKeys::OthersSigned, _) => bundle.signed = carols.signed.clone(),
                            (BadKeys::ZeroOneTime, Some(one_time)) => one_time.key.0 = [0; 32],
                            (BadKeys::ZeroOneTime, None) => {}
                        }
                    }
                    ServerFrame::Bundles(bundles)
                }
                frame => frame,
            })
        }));
        let message = world.send(alice, "bob", "hello");
        world.pass(10_000);
        // Nothing is sealed to them; a bad one-time key is done without.
        let without = matches!(bad, BadKeys::ZeroOneTime);
        let expected = if without { Fate::Delivered } else { Fate::Waiting };
        assert_eq!(world.fate(alice, message), expected, "{bad:?}");
        assert!(world.warnings(alice).contains("the server handed out bad keys for bob"), "{bad:?}");
        world.tamper = None;
        world.pass(2 * DAY_MS);
        assert_eq!(world.said(bob), ["alice: hello"], "{bad:?}");
        assert_eq!(world.fate(alice, message), Fate::Delivered, "{bad:?}");
        both_talk(&mut world, alice, bob, ["alice", "bob"]);
    }
}

#[test]
fn a_server_that_goes_back_to_a_copy_of_its_data_makes_no_twins_and_wedges_nobody() {
    // What a real store skips at its opening; without that, the readers' cursors are beyond everything.
    for (seed, skipped) in [(220, 1_000_000), (221, 0)] {
        let mut world = World::new(seed);
        let (alice, bob, carol) = (world.person("alice"), world.person("bob"), world.person("carol"));
        world.send(alice, "bob", "one");
        world.send(bob, "alice", "two");
        world.pass(5_000);
        let copy = world.store.copy(skipped);
        world.send(alice, "bob", "three");
        world.send(bob, "alice", "four");
        // These keys are handed out again.
        world.send(carol, "bob", "five");
        world.pass(5_000);
        world.put_back(copy);
        for device in [alice, bob, carol] {
            world.connect(device);
        }
        world.pass(60_000);
        let dave = world.person("dave");
        let message = world.send(dave, "bob", "six");
        world.pass(2 * DAY_MS);
        let said = ["alice: one", "bob: two", "alice: three", "bob: four", "carol: five", "dave: six"];
        assert_eq!(world.said(bob), said, "{skipped}");
        assert_eq!(world.fate(dave, message), Fate::Delivered);
        both_talk(&mut world, alice, bob, ["alice", "bob"]);
        both_talk(&mut world, carol, bob, ["carol", "bob"]);
    }
}

#[test]
fn a_server_that_silently_goes_back_to_a_copy_is_noticed_and_what_it_lost_is_sent_again() {
    for (seed, skipped) in [(222, 1_000_000), (223, 0)] {
        let mut world = World::new(seed);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "one");
        world.pass(5_000);
        world.disconnect(bob);
        let copy = world.store.copy(skipped);
        let messages = ["two", "three"].map(|text| world.send(alice, "bob", text));
        assert_eq!(messages.map(|message| world.fate(alice, message)), [Fate::Stored; 2]);
        assert_eq!(world.warnings(alice), "");
        world.put_back(copy);
        world.connect(alice);
        world.pass(5_000);
        assert!(
            world.warnings(alice).contains("the server has lost 2 messages of yours"),
            "{}",
            world.warnings(alice)
        );
        assert_eq!(messages.map(|message| world.fate(alice, message)), [Fate::Stored; 2], "again");
        world.connect(bob);
        world.pass(5_000);
        assert_eq!(world.said(bob), ["alice: one", "alice: two", "alice: three"]);
        assert_eq!(messages.map(|message| world.fate(alice, message)), [Fate::Delivered; 2]);
        both_talk(&mut world, alice, bob, ["alice", "bob"]);
        assert_eq!(world.warnings(alice).matches("has lost").count(), 1);
    }
}

#[test]
fn what_a_server_lost_for_an_own_device_is_sent_there_once_and_to_nobody_else() {
    let mut world = World::new(225);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let laptop = world.second_device(world.devices[alice].account, None);
    for device in [alice, bob, laptop] {
        world.connect(device);
    }
    world.pass(5_000);
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.disconnect(laptop);
    let copy = world.store.copy(1_000_000);
    let message = world.send(alice, "bob", "two");
    world.pass(5_000);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    world.put_back(copy);
    world.connect(bob);
    for _ in 0..5 {
        world.connect(alice);
        // Longer than a server is not believed a second time.
        world.pass(20 * 60_000);
        assert_eq!(world.fate(alice, message), Fate::Delivered);
        world.crash(alice);
        world.start(alice);
    }
    let warnings = world.warnings(alice);
    assert_eq!(warnings.matches("has lost a message of yours").count(), 1, "{warnings}");
    for device in [alice, laptop] {
        world.connect(device);
    }
    world.pass(2 * DAY_MS);
    assert_eq!(world.said(laptop), ["alice: one", "alice: two"]);
    assert_eq!(world.said(bob), ["alice: one", "alice: two"]);
    assert_eq!(world.warnings(alice).matches("has lost").count(), 1);
}

#[test]
fn a_server_that_keeps_for_longer_since_lately_is_not_said_to_have_lost_what_it_forgot_before() {
    let day = CoreConfig { retention_ms: DAY_MS, ..CoreConfig::default() };
    let mut world = World::with(226, day, StoreConfig { retention_ms: DAY_MS, ..StoreConfig::default() });
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.tamper = Some(Box::new(move |to, frame| match frame {
        ServerFrame::Deliver(_) if to == alice => None,
        frame => Some(frame),
    }));
    let message = world.send(alice, "bob", "two");
    world.pass(10 * DAY_MS);
    assert_eq!(world.fate(alice, message), Fate::Taken);
    world.config.retention_ms = 30 * DAY_MS;
    world.crash_server();
    world.start_server();
    for _ in 0..20 {
        for device in [alice, bob] {
            world.connect(device);
        }
        world.pass(DAY_MS);
        world.disconnect(alice);
    }
    assert_eq!(world.fate(alice, message), Fate::Taken);
    assert!(!world.warnings(alice).contains("has lost"), "{}", world.warnings(alice));
}

#[test]
fn what_a_server_has_rightly_forgotten_is_not_sent_again() {
    for skew_days in [0, -70, 70] {
        let mut world = World::new(224);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "one");
        world.crash(alice);
        world.devices[alice].skew_ms = skew_days * i64::try_from(DAY_MS).unwrap();
        world.start(alice);
        world.connect(alice);
        // He has it, and nothing of his arrives any more.
        world.tamper = Some(Box::new(move |to, frame| match frame {
            ServerFrame::Deliver(_) if to == alice => None,
            frame => Some(frame),
        }));
        let message = world.send(alice, "bob", "two");
        world.pass(5_000);
        assert_eq!(world.fate(alice, message), Fate::Taken);
        world.devices[alice].asked.clear();
        for _ in 0..60 {
            world.pass(DAY_MS);
        }
        let asked: std::collections::BTreeSet<_> = world.devices[alice].asked.iter().copied().collect();
        assert!(asked.contains("QueryFates"), "{skew_days}: {asked:?}");
        assert_eq!(world.fate(alice, message), Fate::Taken);
        assert_eq!(world.said(bob), ["alice: one", "alice: two"]);
        assert!(!world.warnings(alice).contains("has lost"), "{}", world.warnings(alice));
    }
}

#[test]
fn other_keys_than_were_published_do_not_make_two_devices_ask_each_other_without_end() {
    let mut world = World::new(218);
    let (alice, bob, carol) = (world.person("alice"), world.person("bob"), world.person("carol"));
    let carols = world.claim(carol);
    // One-time keys are not signed: what is sealed to the wrong one does not open, and neither does any request for it.
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::Bundles(mut bundles) => {
                for bundle in &mut bundles.bundles {
                    bundle.one_time.clone_from(&carols.one_time);
                }
                ServerFrame::Bundles(bundles)
            }
            frame => frame,
        })
    }));
    let message = world.send(alice, "bob", "hello");
    world.pass(DAY_MS);
    let rows = world.said(bob).len() + world.said(alice).len();
    assert!((3..60).contains(&rows), "{rows} rows");
    world.tamper = None;
    world.pass(5 * DAY_MS);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    let screen = world.said(bob);
    assert_eq!(screen.iter().filter(|line| *line == "alice: hello").count(), 1, "{screen:?}");
    both_talk(&mut world, alice, bob, ["alice", "bob"]);
}

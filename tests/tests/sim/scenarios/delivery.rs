//! What is written arrives, once and in order, and its sender knows what became of it.

use sotto_client::api::{Command, Event, Fate, Reply};
use sotto_proto::{
    frame::ServerFrame,
    limits::{DAY_MS, MAX_ONE_TIME_KEM_PREKEYS, PREKEY_LIFETIME_MS},
};

use super::texts;
use crate::world::World;

#[test]
fn a_first_message_arrives_and_its_sender_knows() {
    let mut world = World::new(1);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let message = world.send(alice, "bob", "hello");
    assert_eq!(world.screen(bob), ["alice: hello"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    world.send(bob, "alice", "hello yourself");
    assert_eq!(world.screen(alice), ["alice: hello", "bob: hello yourself"]);
    let needle = b"hello yourself";
    assert!(!world.seen_by_server.windows(needle.len()).any(|window| window == needle));
}

#[test]
fn messages_for_somebody_offline_arrive_once_and_in_order() {
    let mut world = World::new(2);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    // More than a thousand, all of them from somebody new: they are held together until the list is there.
    for text in texts("number", 1_100) {
        world.write(alice, "bob", &text);
    }
    world.settle();
    let ids: Vec<_> = world.rows(alice).into_iter().map(|row| (row.message, row.fate)).collect();
    assert!(ids.iter().all(|(_, fate)| *fate == Some(Fate::Stored)), "{ids:?}");
    world.connect(bob);
    world.settle();
    let expected: Vec<_> = texts("alice: number", 1_100);
    assert_eq!(world.screen(bob), expected);
    assert!(world.rows(alice).iter().all(|row| row.fate == Some(Fate::Delivered)));
}

#[test]
fn drained_means_that_first_messages_are_on_screen() {
    let mut world = World::new(24);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    world.send(alice, "bob", "who am I?");
    world.devices[bob].events.clear();
    world.connect(bob);
    while !world.devices[bob].events.contains(&Event::Drained) {
        assert!(world.run_server() | world.run_device(bob, 1, true), "it is told in the end");
    }
    let shown = world.devices[bob].events.iter().position(|event| matches!(event, Event::Row(_)));
    let drained = world.devices[bob].events.iter().position(|event| *event == Event::Drained);
    assert!(shown.is_some() && shown < drained, "{:?}", world.devices[bob].events);
}

#[test]
fn an_unknown_user_is_said_to_be_unknown() {
    let mut world = World::new(3);
    let alice = world.person("alice");
    let message = world.send(alice, "nobody", "anybody there?");
    assert_eq!(world.fate(alice, message), Fate::UnknownUser);
    let Ok(Reply::Outbox(waiting)) = world.command(alice, Command::Outbox) else { panic!() };
    assert_eq!(waiting, []);
}

#[test]
fn first_messages_that_cross_both_arrive_and_the_two_agree() {
    let mut world = World::new(4);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    // Neither gets anything before both have written: each begins a session of its own.
    world.tamper =
        Some(Box::new(|_, frame| if matches!(frame, ServerFrame::Deliver(_)) { None } else { Some(frame) }));
    world.write(alice, "bob", "from alice");
    world.write(bob, "alice", "from bob");
    world.settle();
    let begun = (world.sending_session(alice, bob), world.sending_session(bob, alice));
    assert!(begun.0.is_some() && begun.1.is_some() && begun.0 != begun.1, "{begun:?}");
    world.tamper = None;
    for index in [alice, bob] {
        world.disconnect(index);
        world.connect(index);
    }
    world.settle();
    for round in 0..5 {
        world.send(alice, "bob", &format!("a{round}"));
        world.send(bob, "alice", &format!("b{round}"));
    }
    let (seen_by_alice, seen_by_bob) = (world.screen(alice), world.screen(bob));
    assert_eq!(seen_by_alice.len(), 12);
    assert_eq!(seen_by_bob.len(), 12);
    assert!(!seen_by_bob.iter().chain(&seen_by_alice).any(|line| line.contains('?')));
    let now = (world.sending_session(alice, bob), world.sending_session(bob, alice));
    assert!(now.0.is_some() && now.0 == now.1, "{begun:?}, {now:?}");
}

#[test]
fn what_nobody_fetched_expires_and_both_sides_see_it() {
    let mut world = World::new(11);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    let message = world.send(alice, "bob", "too late");
    world.disconnect(alice);
    world.pass(31 * DAY_MS);
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.fate(alice, message), Fate::Expired);
    world.connect(bob);
    world.pass(5_000);
    let screen = world.screen(bob);
    assert_eq!(screen.len(), 1, "{screen:?}");
    assert!(screen[0].contains("removed before this device"), "{screen:?}");
}

#[test]
fn a_message_that_waited_too_long_expires_visibly() {
    let mut world = World::new(19);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.disconnect(alice);
    let two = world.send(alice, "bob", "two");
    world.send(alice, "bob", "three");
    assert_eq!(world.fate(alice, two), Fate::Waiting);
    assert_eq!(world.warnings(alice), "");
    world.pass(15 * DAY_MS);
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.fate(alice, two), Fate::Expired);
    assert_eq!(world.screen(bob), ["alice: one"]);
    let warnings = world.warnings(alice);
    assert!(warnings.starts_with("2 messages to bob did not arrive in time: "), "{warnings}");
    assert!(warnings.ends_with("; sotto history @bob") && !warnings.contains('\n'), "{warnings}");
}

#[test]
fn without_one_time_keys_first_messages_still_arrive() {
    let mut world = World::new(20);
    let bob = world.person("bob");
    let account = world.accounts[world.devices[bob].account].id;
    world.disconnect(bob);
    let device = world.devices[bob].id;
    world.drain_one_time_keys(device);
    let alice = world.person("alice");
    let message = world.send(alice, "bob", "no key left for me");
    assert_eq!(world.fate(alice, message), Fate::Stored);
    world.connect(bob);
    world.settle();
    assert_eq!(world.screen(bob), ["alice: no key left for me"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert!(world.devices[alice].store.transaction(|tx| tx.contact(&account)).unwrap().is_some());
}

#[test]
fn signed_prekeys_are_replaced_weekly_also_without_a_reconnect() {
    let mut world = World::new(26);
    let bob = world.person("bob");
    let device = world.devices[bob].id;
    let first = world.published(device);
    world.pass(8 * DAY_MS);
    let later = world.published(device);
    assert!(later.signed > first.signed && later.last_resort > first.last_resort, "{first:?} {later:?}");
}

/// Nobody could use them, so each new sender would wait until all had been claimed in vain.
#[test]
fn one_time_keys_that_have_expired_keep_nobody_from_writing() {
    let mut world = World::new(51);
    let bob = world.person("bob");
    let device = world.devices[bob].id;
    let first = world.published(device);
    world.pass(PREKEY_LIFETIME_MS + DAY_MS);
    assert_eq!(world.published(device).one_time_kem, first.one_time_kem, "none was used in all that time");
    let alice = world.person("alice");
    let message = world.send(alice, "bob", "half a year later");
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.screen(bob), ["alice: half a year later"]);
    world.pass(DAY_MS);
    assert_eq!(world.published(device).one_time_kem as usize, MAX_ONE_TIME_KEM_PREKEYS, "new ones");
}

#[test]
fn a_message_to_a_device_without_keys_waits_for_them() {
    let mut world = World::new(34);
    let alice = world.person("alice");
    world.pass(2_000);
    let laptop = world.second_device(world.devices[alice].account, None);
    world.connect(alice);
    world.pass(5_000);
    let bob = world.person_without_keys("bob");
    let message = world.send(alice, "bob", "are you set up?");
    world.pass(180_000);
    assert_eq!(world.fate(alice, message), Fate::Waiting);
    let Ok(Reply::Outbox(waiting)) = world.command(alice, Command::Outbox) else { panic!() };
    assert_eq!(waiting.len(), 1, "it is still there");
    world.connect(bob);
    world.pass(180_000);
    assert_eq!(world.screen(bob), ["alice: are you set up?"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.screen(laptop).last().unwrap(), "alice: are you set up?");
}

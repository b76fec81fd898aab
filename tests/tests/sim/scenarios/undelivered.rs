//! How people are told of messages that did not arrive: everybody is, in few lines, and once.

use sotto_client::{
    api::{Command, Event, Fate, Recipient},
    core::Input,
};
use sotto_proto::{
    frame::ServerFrame,
    limits::{DAY_MS, MAX_FATES_PER_QUERY},
};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

use crate::world::World;

/// What a device warned of, in order.
fn warned(world: &World, index: usize) -> Vec<String> {
    world.warnings(index).lines().map(str::to_owned).collect()
}

/// Alice writes to some names while she has no connection, as often as said, and connects when it is too late.
fn too_late(seed: u64, written: &[(&str, usize)]) -> (World, usize) {
    let mut world = World::new(seed);
    let alice = world.person("alice");
    world.disconnect(alice);
    for (name, count) in written {
        for number in 0..*count {
            world.send(alice, name, &format!("number {number}"));
        }
    }
    world.pass(15 * DAY_MS);
    world.connect(alice);
    world.pass(5_000);
    (world, alice)
}

fn line(messages: &str, name: &str) -> String {
    format!("{messages} to {name} did not arrive in time: it waited here for 14 days; sotto history @{name}")
}

#[test]
fn each_conversation_has_a_line_and_what_is_beyond_five_is_counted_together() {
    let five = [("ada", 1), ("bea", 2), ("cleo", 1), ("dora", 3), ("eve", 1)];
    let mut lines: Vec<String> = five
        .iter()
        .map(|(name, count)| match count {
            1 => line("a message", name),
            count => line(&format!("{count} messages"), name),
        })
        .collect();
    let (world, alice) = too_late(361, &five);
    assert_eq!(warned(&world, alice), lines);
    let (world, alice) = too_late(361, &[&five[..], &[("fay", 3), ("gwen", 4)]].concat());
    lines.push("7 more messages did not arrive, or may not have; sotto history".to_owned());
    assert_eq!(warned(&world, alice), lines);
}

#[test]
fn a_note_that_no_other_own_device_has_got_is_said_to_be_for_those() {
    let mut world = World::new(362);
    let alice = world.person("alice");
    world.second_device(world.devices[alice].account, None);
    world.connect(alice);
    world.pass(5_000);
    world.disconnect(alice);
    let note = Command::Send { to: Recipient::Me, text: "too late".to_owned() };
    world.command(alice, note).unwrap();
    world.devices[alice].events.clear();
    world.pass(15 * DAY_MS);
    world.connect(alice);
    world.pass(5_000);
    let told = "a message to your other devices did not arrive in time: it waited here for 14 days; sotto history @me";
    assert_eq!(warned(&world, alice), [told]);
}

#[test]
fn a_refusal_is_told_of_where_the_program_that_wrote_it_may_be_gone() {
    let mut world = World::new(363);
    let alice = world.person("alice");
    let now = world.send(alice, "nobody", "are you there?");
    world.pass(60_000);
    assert_eq!(world.fate(alice, now), Fate::UnknownUser);
    assert_eq!(warned(&world, alice), Vec::<String>::new(), "who wrote it sees it");
    world.disconnect(alice);
    let later = world.send(alice, "nobody", "are you there?");
    world.pass(6_000);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.fate(alice, later), Fate::UnknownUser);
    let told = "a message to nobody did not arrive: there is no such user; sotto history @nobody";
    assert_eq!(warned(&world, alice), [told]);
}

#[test]
fn what_the_server_has_removed_is_told_of_together_however_many_questions_it_takes() {
    let mut world = World::new(364);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.disconnect(bob);
    let count = MAX_FATES_PER_QUERY + 200;
    for number in 0..count {
        world.write(alice, "bob", &format!("number {number}"));
    }
    world.settle();
    world.disconnect(alice);
    world.pass(31 * DAY_MS);
    world.devices[alice].events.clear();
    world.connect(alice);
    // Other things happen while it is asked.
    for _ in 0..1_000 {
        world.run_server();
        world.tell(alice, Input::Tick);
        for _ in 0..2 {
            world.run_device(alice, 1, true);
        }
    }
    world.pass(5_000);
    let expired = |event: &&Event| matches!(event, Event::Fate(fate) if fate.fate == Fate::Expired);
    assert_eq!(world.devices[alice].events.iter().filter(expired).count(), count);
    let told = format!(
        "{count} messages to bob did not arrive in time: the server removed it unfetched after its retention time; \
         sotto history @bob"
    );
    assert_eq!(warned(&world, alice), [told]);
}

#[test]
fn what_may_have_arrived_is_not_said_to_be_lost() {
    let mut world = World::new(365);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Submitted(_) | ServerFrame::Taken(_) | ServerFrame::Deliver(_) if index == alice => None,
        frame => Some(frame),
    }));
    let message = world.send(alice, "bob", "while nobody answered");
    assert_eq!(world.screen(bob), ["alice: before", "alice: while nobody answered"]);
    world.crash(alice);
    world.disconnect(bob);
    world.pass(60 * DAY_MS);
    world.start(alice);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.fate(alice, message), Fate::Expired);
    let warnings = warned(&world, alice);
    let (may, late) = ("a message to bob may not have arrived: ", "did not arrive");
    assert!(warnings.iter().any(|line| line.starts_with(may)), "{warnings:?}");
    assert!(!warnings.iter().any(|line| line.contains(late)), "{warnings:?}");
}

#[test]
fn what_waits_for_one_device_of_its_recipient_is_not_said_to_be_lost_with_the_copy_for_another() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(366, CoreConfig::default(), store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.pass(2_000);
    let laptop = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(5_000);
    // Its mailbox fills up; the other one's is read.
    world.disconnect(laptop);
    for number in 0..6 {
        world.send(alice, "bob", &format!("number {number}"));
    }
    world.disconnect(bob);
    let last = world.send(alice, "bob", "for whoever comes back");
    world.pass(15 * DAY_MS);
    assert_eq!(world.copy_fate(alice, last, laptop), Some(Fate::Expired));
    assert_eq!((world.fate(alice, last), warned(&world, alice)), (Fate::Stored, Vec::new()));
    world.connect(bob);
    world.pass(5_000);
    assert_eq!(world.fate(alice, last), Fate::Delivered);
}

//! Somebody is away for long, or something waits for long.

use sotto_client::api::{Command, Fate, Reply, Row};
use sotto_proto::{
    frame::ServerFrame,
    limits::{DAY_MS, MAX_RETENTION_MS, RETENTION_MS},
};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

use crate::world::World;

/// Drops everything that comes from a Submit of a device: the answer, that it was taken, receipts.
fn hear_nothing(world: &mut World, deaf: usize) {
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Submitted(_) | ServerFrame::Taken(_) | ServerFrame::Deliver(_) if index == deaf => None,
        frame => Some(frame),
    }));
}

#[test]
fn a_message_whose_answer_was_lost_is_settled_also_when_the_server_has_forgotten_the_submit() {
    let mut world = World::new(201);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    hear_nothing(&mut world, alice);
    let message = world.send(alice, "bob", "while nobody answered");
    world.crash(alice);
    world.tamper = None;
    // The Submit is remembered for 21 days, the receipt waits for 30, fate tags are remembered for 44.
    world.pass(35 * DAY_MS);
    assert_eq!(world.screen(bob), ["alice: before", "alice: while nobody answered"]);
    world.start(alice);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.fate(alice, message), Fate::Taken);
    assert_eq!(world.outbox_length(alice), 0);
}

#[test]
fn a_message_that_was_dropped_while_its_answer_was_lost_is_not_said_to_be_lost() {
    let mut world = World::new(210);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    hear_nothing(&mut world, alice);
    let sent = world.send(alice, "bob", "while nobody answered");
    world.crash(alice);
    world.tamper = None;
    world.start(alice);
    let unsent = world.send(alice, "bob", "never left");
    for (message, reason) in
        [(sent, "the server may have taken it before"), (unsent, "given up by its sender")]
    {
        assert_eq!(world.command(alice, Command::DropOutbox(message)), Ok(Reply::Done));
        assert_eq!(world.fate(alice, message), Fate::Expired);
        let said = world.fate_reason(alice, message).unwrap();
        assert!(said.ends_with(reason), "{said}");
    }
    world.connect(alice);
    world.pass(60_000);
    // The receipt that waited tells.
    assert_eq!((world.fate(alice, sent), world.fate(alice, unsent)), (Fate::Delivered, Fate::Expired));
    assert_eq!(world.screen(bob), ["alice: before", "alice: while nobody answered"]);
    assert_eq!(world.warnings(alice), "", "who gives a message up needs not be told");
}

#[test]
fn a_message_that_nobody_can_say_anything_of_is_given_up_with_that_reason() {
    let mut world = World::new(202);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    hear_nothing(&mut world, alice);
    let message = world.send(alice, "bob", "while nobody answered");
    world.crash(alice);
    world.disconnect(bob);
    world.pass(60 * DAY_MS);
    world.start(alice);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.fate(alice, message), Fate::Expired);
    let reason = world.fate_reason(alice, message).unwrap();
    assert!(reason.contains("cannot be known any more"), "{reason}");
}

#[test]
fn what_expires_while_a_connection_stands_is_seen_within_a_day() {
    let mut world = World::new(203);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.disconnect(bob);
    let message = world.send(alice, "bob", "for nobody");
    world.pass(32 * DAY_MS);
    assert_eq!(world.fate(alice, message), Fate::Expired);
}

/// A server that keeps messages for 150 days, the longest it can be set to.
fn patient_server(seed: u64) -> World {
    let retention_ms = MAX_RETENTION_MS;
    let (core, store) = (CoreConfig::default(), StoreConfig::default());
    World::with(seed, CoreConfig { retention_ms, ..core }, StoreConfig { retention_ms, ..store })
}

#[test]
fn what_a_server_keeps_for_longer_is_read_after_all_that_time_and_answered() {
    let mut world = patient_server(213);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.send(bob, "alice", "two");
    world.pass(2 * DAY_MS);
    world.crash(bob);
    let message = world.send(alice, "bob", "three");
    // From now on it keeps messages for 30 days; what is there waits on.
    world.config.retention_ms = RETENTION_MS;
    world.crash_server();
    world.start_server();
    world.connect(alice);
    world.pass(140 * DAY_MS);
    assert_eq!((world.fate(alice, message), world.fate_reason(alice, message)), (Fate::Stored, None));
    world.start(bob);
    world.connect(bob);
    world.pass(60_000);
    let answer = world.send(bob, "alice", "four");
    world.pass(60_000);
    assert_eq!(world.screen(bob), ["alice: one", "bob: two", "alice: three", "bob: four"]);
    assert_eq!(world.screen(alice), world.screen(bob));
    assert_eq!((world.fate(alice, message), world.fate(bob, answer)), (Fate::Delivered, Fate::Delivered));
    assert_eq!((world.unreadable(alice), world.unreadable(bob)), (0, 0));
}

#[test]
fn what_a_server_keeps_for_longer_expires_when_it_does_and_its_sender_sees_it() {
    let mut world = patient_server(214);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.disconnect(bob);
    let message = world.send(alice, "bob", "for nobody");
    world.pass(149 * DAY_MS);
    assert_eq!((world.fate(alice, message), world.fate_reason(alice, message)), (Fate::Stored, None));
    world.pass(3 * DAY_MS);
    assert_eq!(world.fate(alice, message), Fate::Expired);
    let warned = "a message to bob did not arrive in time: the server removed it unfetched after its retention time; sotto history @bob";
    assert_eq!(world.warnings(alice).matches(warned).count(), 1, "{}", world.warnings(alice));
}

#[test]
fn how_long_a_server_keeps_messages_is_believed_within_bounds_and_until_it_is_over() {
    let mut world = World::new(215);
    let alice = world.person("alice");
    let mut counted = |told_ms: u64, after_ms: u64| {
        world.config.retention_ms = told_ms;
        world.crash_server();
        world.start_server();
        world.pass(after_ms);
        world.connect(alice);
        world.pass(1_000);
        world.devices[alice].store.transaction(|tx| tx.number("retention")).unwrap() / DAY_MS
    };
    assert_eq!(counted(RETENTION_MS, 0), 0, "as long as everybody counts with");
    assert_eq!(counted(u64::MAX, 0), 150);
    assert_eq!(counted(90 * DAY_MS, 149 * DAY_MS), 150, "what it kept before may be there still");
    assert_eq!(counted(90 * DAY_MS, 2 * DAY_MS), 90);
    assert_eq!(counted(100 * DAY_MS, DAY_MS), 100);
    assert_eq!(counted(DAY_MS, 99 * DAY_MS), 100);
    assert_eq!(counted(DAY_MS, 2 * DAY_MS), 0);
}

#[test]
fn a_message_of_which_nothing_can_be_heard_any_more_says_so() {
    let mut world = World::new(204);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.disconnect(bob);
    let message = world.send(alice, "bob", "for nobody");
    assert_eq!(world.fate(alice, message), Fate::Stored);
    world.crash(alice);
    world.pass(70 * DAY_MS);
    world.start(alice);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.fate(alice, message), Fate::Stored);
    let reason = world.fate_reason(alice, message).unwrap();
    assert!(reason.contains("longer than the server remembers"), "{reason}");
    let warned = "a message to bob may not have arrived: this device was away for longer";
    assert_eq!(world.warnings(alice).matches(warned).count(), 1, "{}", world.warnings(alice));
}

#[test]
fn a_signed_key_stays_for_as_long_as_the_server_hands_it_out() {
    let mut world = World::new(205);
    let (bob, alice) = (world.person("bob"), world.person("alice"));
    world.pass(2 * DAY_MS);
    // Its successor never arrives.
    world.store.set_disk_full(true);
    world.pass(8 * DAY_MS);
    world.crash(bob);
    world.store.set_disk_full(false);
    world.pass(69 * DAY_MS);
    let message = world.send(alice, "bob", "to the old key");
    world.start(bob);
    world.connect(bob);
    world.pass(60_000);
    assert_eq!(world.said(bob), ["alice: to the old key"]);
    assert_eq!((world.fate(alice, message), world.unreadable(bob)), (Fate::Delivered, 0));
}

#[test]
fn a_peer_that_was_silent_for_weeks_is_written_to_and_answers() {
    let mut world = World::new(206);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.send(bob, "alice", "two");
    world.pass(1_000);
    world.crash(bob);
    let mut last = None;
    for week in 0..10 {
        last = Some(world.send(alice, "bob", &format!("week {week}")));
        world.pass(7 * DAY_MS);
    }
    world.start(bob);
    world.connect(bob);
    world.pass(60_000);
    let screen = world.screen(bob);
    let said: Vec<&String> = screen.iter().filter(|line| line.contains("week")).collect();
    assert_eq!(said, ["alice: week 6", "alice: week 7", "alice: week 8", "alice: week 9"], "{screen:?}");
    assert!(screen.iter().any(|line| line.contains("longer than it keeps them")), "{screen:?}");
    assert_eq!(world.fate(alice, last.unwrap()), Fate::Delivered);
    let answer = world.send(bob, "alice", "sorry");
    world.pass(60_000);
    assert_eq!(
        (world.fate(bob, answer), world.screen(alice).last().unwrap().as_str()),
        (Fate::Delivered, "bob: sorry")
    );
}

#[test]
fn keys_that_nobody_claimed_for_most_of_a_year_still_make_a_first_message_readable() {
    let mut world = World::new(207);
    let bob = world.person("bob");
    // One-time ML-KEM keys are signed for 180 days.
    world.pass(250 * DAY_MS);
    let alice = world.person("alice");
    let message = world.send(alice, "bob", "at last");
    world.pass(10_000);
    assert_eq!(world.said(bob), ["alice: at last"]);
    assert_eq!((world.fate(alice, message), world.unreadable(bob)), (Fate::Delivered, 0));
    assert_eq!(world.unreadable(alice), 0);
}

#[test]
fn a_device_whose_keys_have_expired_is_left_out_and_both_sides_are_told() {
    let mut world = World::new(208);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let tablet = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob, tablet] {
        world.connect(index);
    }
    world.pass(60_000);
    let before = world.send(alice, "bob", "to both");
    world.pass(60_000);
    assert_eq!(
        (world.fate(alice, before), world.said(tablet)),
        (Fate::Delivered, vec!["alice: to both".to_owned()])
    );
    // Signed keys are good for 180 days.
    world.crash(tablet);
    world.pass(200 * DAY_MS);
    let without = world.send(alice, "bob", "without the tablet");
    world.pass(70_000);
    assert_eq!(
        (world.fate(alice, without), world.said(bob).last().unwrap().as_str()),
        (Fate::Delivered, "alice: without the tablet")
    );
    assert_eq!(world.copy_fate(alice, without, tablet), Some(Fate::Expired));
    let tablets = vec![world.devices[tablet].id.to_string()];
    let unreached = |row: Row| (row.message == without).then_some(row.unreached);
    assert_eq!(world.rows(alice).into_iter().find_map(unreached), Some(tablets));
    // It is waited for once, not by every program and on every connection.
    world.crash(alice);
    world.start(alice);
    world.connect(alice);
    let again = world.send(alice, "bob", "at once");
    world.pass(2_000);
    assert_eq!(world.fate(alice, again), Fate::Delivered);
    world.start(tablet);
    world.connect(tablet);
    world.pass(70_000);
    let left_out = |line: &String| line.contains("so long that its keys have expired");
    assert_eq!(world.screen(tablet).iter().filter(|line| left_out(line)).count(), 1);
    assert_eq!(world.screen(bob).iter().filter(|line| left_out(line)).count(), 0);
    let after = world.send(alice, "bob", "to both again");
    world.pass(10_000);
    assert_eq!(world.said(tablet).last().unwrap(), "alice: to both again");
    assert_eq!(world.copy_fate(alice, after, tablet), Some(Fate::Delivered));
}

#[test]
fn keys_that_the_server_had_no_room_for_are_published_soon_after() {
    let mut world = World::new(209);
    let bob = world.person("bob");
    let tablet = world.second_device(world.devices[bob].account, None);
    for index in [bob, tablet] {
        world.connect(index);
    }
    world.pass(10_000);
    world.crash(tablet);
    world.pass(200 * DAY_MS);
    let alice = world.person("alice");
    world.store.set_disk_full(true);
    world.start(tablet);
    world.connect(tablet);
    world.pass(1_000);
    world.store.set_disk_full(false);
    let message = world.send(alice, "bob", "to both");
    world.pass(40_000);
    assert_eq!(world.said(tablet).last().map(String::as_str), Some("alice: to both"));
    assert_eq!(world.copy_fate(alice, message, tablet), Some(Fate::Delivered));
}

#[test]
fn a_clock_that_was_months_ahead_for_a_while_loses_nothing_in_silence() {
    for days in [25, 70, 400] {
        let mut world = World::new(216);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "one");
        world.send(bob, "alice", "two");
        world.disconnect(alice);
        let out = world.send(alice, "bob", "waits here");
        let here = world.send(bob, "alice", "waits there");
        assert_eq!((world.fate(alice, out), world.fate(bob, here)), (Fate::Waiting, Fate::Stored));
        // It starts with a clock that is wrong, and gets the time only when it has talked to the server.
        world.crash(alice);
        world.devices[alice].skew_ms = days * i64::try_from(DAY_MS).unwrap();
        world.start(alice);
        world.connect(alice);
        world.pass(60_000);
        let ahead = world.send(alice, "bob", "from the future");
        world.pass(5_000);
        world.crash(alice);
        world.devices[alice].skew_ms = 0;
        world.start(alice);
        world.connect(alice);
        world.pass(2 * DAY_MS);
        let back = world.send(alice, "bob", "from now");
        let answer = world.send(bob, "alice", "answer");
        world.pass(2 * DAY_MS);
        match world.fate(alice, out) {
            Fate::Delivered => {}
            Fate::Expired => {
                assert_eq!(world.fate_reason(alice, out).as_deref(), Some("it waited here for 14 days"));
                assert!(world.warnings(alice).contains("a message to bob did not arrive in time"));
            }
            other => panic!("{days} days: {other:?}"),
        }
        for (index, message) in [(bob, here), (alice, ahead), (alice, back), (bob, answer)] {
            assert_eq!(world.fate(index, message), Fate::Delivered, "{days} days: {:?}", world.said(bob));
        }
        let said = world.said(alice);
        for text in ["bob: two", "bob: waits there", "bob: answer"] {
            assert_eq!(said.iter().filter(|line| *line == text).count(), 1, "{days} days: {said:?}");
        }
        let said = world.said(bob);
        for text in ["alice: one", "alice: from the future", "alice: from now"] {
            assert_eq!(said.iter().filter(|line| *line == text).count(), 1, "{days} days: {said:?}");
        }
    }
}

#[test]
fn a_clock_that_is_set_forward_on_a_connection_does_not_keep_messages_from_being_heard_of() {
    let mut world = World::new(217);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.disconnect(bob);
    let message = world.send(alice, "bob", "two");
    world.devices[alice].skew_ms = 70 * i64::try_from(DAY_MS).unwrap();
    world.pass(2 * DAY_MS);
    world.disconnect(alice);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!((world.fate(alice, message), world.fate_reason(alice, message)), (Fate::Stored, None));
    world.connect(bob);
    world.pass(60_000);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two"]);
}

//! A server whose data was put back to a copy without a word, and how long it is believed to keep what it has.

use std::{cell::Cell, rc::Rc};

use sotto_client::api::{Command, Fate, Recipient, Reply, RowBody};
use sotto_proto::{
    frame::ServerFrame,
    limits::{DAY_MS, RETENTION_MS},
};
use sotto_server::core::CoreConfig;
use sotto_store::{Store as _, StoreConfig};

use super::texts;
use crate::world::World;

/// The texts of one conversation.
fn texts_with(world: &mut World, index: usize, with: Recipient) -> Vec<String> {
    let Ok(Reply::Rows(rows)) =
        world.command(index, Command::History { with: Some(with), limit: 100, before: None })
    else {
        panic!()
    };
    let text = |body| if let RowBody::Text(text) = body { Some(text) } else { None };
    rows.into_iter().filter_map(|row| text(row.body)).collect()
}

/// From now on the server says that it keeps messages for so long.
fn says_that_it_keeps_for(world: &mut World, retention_ms: u64) {
    world.config.retention_ms = retention_ms;
    world.crash_server();
    world.start_server();
}

#[test]
fn a_loss_is_noticed_also_weeks_after_the_message_was_stored() {
    // From the first day on, or for half a year by now.
    for (seed, first_ms, days) in [(601, RETENTION_MS, 0), (602, DAY_MS, 170)] {
        let core = CoreConfig { retention_ms: first_ms, ..CoreConfig::default() };
        let mut world = World::with(seed, core, StoreConfig::default());
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        says_that_it_keeps_for(&mut world, RETENTION_MS);
        for index in [alice, bob] {
            world.connect(index);
        }
        world.pass(days * DAY_MS);
        world.send(alice, "bob", "one");
        world.pass(5_000);
        assert_eq!(world.said(bob), ["alice: one"]);
        world.disconnect(bob);
        let copy = world.store.copy(1_000_000);
        let message = world.send(alice, "bob", "two");
        world.pass(20 * DAY_MS);
        assert_eq!(world.fate(alice, message), Fate::Stored);
        world.put_back(copy);
        world.connect(alice);
        world.pass(5_000);
        let warnings = world.warnings(alice);
        assert!(warnings.contains("the server has lost a message of yours"), "{seed}: {warnings}");
        world.connect(bob);
        world.pass(60_000);
        assert_eq!(world.said(bob), ["alice: one", "alice: two"]);
        assert_eq!(world.fate(alice, message), Fate::Delivered);
    }
}

#[test]
fn how_long_a_server_keeps_messages_counts_from_when_it_said_so_last() {
    let mut world = World::new(603);
    let alice = world.person("alice");
    let mut counted = |told_ms: u64, after_ms: u64| {
        says_that_it_keeps_for(&mut world, told_ms);
        world.pass(after_ms);
        world.connect(alice);
        world.pass(1_000);
        world.devices[alice].store.transaction(|tx| tx.number("retention")).unwrap() / DAY_MS
    };
    assert_eq!(counted(100 * DAY_MS, 0), 100);
    assert_eq!(counted(100 * DAY_MS, 90 * DAY_MS), 100);
    assert_eq!(counted(DAY_MS, 90 * DAY_MS), 100, "what it took yesterday waits for a hundred days");
    assert_eq!(counted(DAY_MS, 11 * DAY_MS), 0);
}

#[test]
fn a_copy_for_an_own_device_that_the_server_lost_comes_into_the_conversation_that_it_is_of() {
    let mut world = World::new(604);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[alice].account;
    let (laptop, tablet) = (world.second_device(account, None), world.second_device(account, None));
    for index in [alice, bob, laptop, tablet] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.disconnect(tablet);
    let copy = world.store.copy(1_000_000);
    world.send(alice, "bob", "two");
    let note = Command::Send { to: Recipient::Me, text: "a note".to_owned() };
    assert!(matches!(world.command(alice, note), Ok(Reply::Queued { .. })));
    world.pass(5_000);
    world.put_back(copy);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(60_000);
    assert!(world.warnings(alice).contains("the server has lost 2 messages"), "{}", world.warnings(alice));
    world.connect(tablet);
    world.pass(60_000);
    let bob_user = Recipient::User("bob".parse().unwrap());
    for index in [laptop, tablet] {
        assert_eq!(texts_with(&mut world, index, bob_user.clone()), ["one", "two"], "{index}");
        assert_eq!(texts_with(&mut world, index, Recipient::Me), ["a note"], "{index}");
    }
    assert_eq!(world.said(bob), ["alice: one", "alice: two"]);
}

#[test]
fn a_user_who_is_no_more_is_not_waited_for_where_the_clock_has_not_been_set() {
    for set in [true, false] {
        let mut world = World::new(605);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "one");
        world.pass(5_000);
        world.crash(alice);
        if !set {
            // A machine without a clock of its own begins in 1970.
            let now_ms = i64::try_from(world.now_ms).unwrap();
            world.devices[alice].skew_ms = i64::try_from(DAY_MS).unwrap() - now_ms;
        }
        let account = world.accounts[world.devices[bob].account].id;
        let now_ms = world.now_ms;
        world.crash(bob);
        assert_eq!(world.store.remove_account(account, now_ms).wait(), Ok(true));
        world.crash_server();
        world.start_server();
        world.start(alice);
        world.connect(alice);
        let message = world.send(alice, "bob", "are you there?");
        world.pass(120_000);
        assert_eq!(world.fate(alice, message), Fate::UnknownUser, "{set}");
        assert!(!world.warnings(alice).contains("has lost"), "{}", world.warnings(alice));
    }
}

#[test]
fn what_is_on_its_way_when_a_loss_is_noticed_is_not_sent_twice() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(619, CoreConfig::default(), store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let tablet = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob, tablet] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(alice, "bob", "zero");
    world.pass(5_000);
    world.disconnect(tablet);
    for text in ["one", "two", "three", "four"] {
        world.send(alice, "bob", text);
    }
    world.pass(5_000);
    world.disconnect(bob);
    let copy = world.store.copy(1_000_000);
    let five = world.send(alice, "bob", "five");
    assert_eq!(world.copy_fate(alice, five, bob), Some(Fate::Stored));
    assert_eq!(world.copy_fate(alice, five, tablet), None, "its mailbox is full");
    // The server goes back to before it had the copy for bob's phone; the one for his tablet is under way just then.
    world.crash_server();
    world.put_back(copy);
    let delivered = Rc::new(Cell::new(0));
    let counted = Rc::clone(&delivered);
    world.tamper = Some(Box::new(move |index, frame| {
        if index == tablet && matches!(frame, ServerFrame::Deliver(_)) {
            counted.set(counted.get() + 1);
        }
        Some(frame)
    }));
    world.connect(tablet);
    world.pass(5_000);
    assert_eq!(delivered.get(), 4);
    world.faults.slow_disk = true;
    world.connect(alice);
    while world.run_device(alice, 64, true) || world.run_server() {}
    assert!(world.warnings(alice).contains("the server has lost a message"), "{}", world.warnings(alice));
    world.end_faults();
    world.pass(60_000);
    assert_eq!(delivered.get(), 5);
    world.connect(bob);
    world.pass(60_000);
    for index in [bob, tablet] {
        assert_eq!(world.said(index).last().map(String::as_str), Some("alice: five"), "{index}");
    }
    assert_eq!(world.copy_fate(alice, five, bob), Some(Fate::Delivered));
}

#[test]
fn a_copy_that_was_lost_and_is_sent_again_has_a_fate_again() {
    let mut world = World::new(624);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let laptop = world.second_device(world.devices[alice].account, None);
    let tablet = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob, laptop, tablet] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(alice, "bob", "one");
    world.pass(5_000);
    for index in [laptop, tablet] {
        world.disconnect(index);
    }
    let copies = [world.store.copy(1_000_000), world.store.copy(2_000_000)];
    let message = world.send(alice, "bob", "two");
    world.pass(5_000);
    let fates = |world: &mut World| (world.fate(alice, message), world.copy_fate(alice, message, tablet));
    assert_eq!(fates(&mut world), (Fate::Delivered, Some(Fate::Stored)));
    // A second time as well as the first.
    for copy in copies {
        world.put_back(copy);
        for index in [alice, bob] {
            world.connect(index);
        }
        world.pass(3_600_000);
        assert_eq!(fates(&mut world), (Fate::Delivered, Some(Fate::Stored)));
    }
    assert_eq!(world.warnings(alice).matches("the server has lost a message").count(), 2);
    for index in [laptop, tablet] {
        world.connect(index);
    }
    world.pass(60_000);
    assert_eq!(fates(&mut world), (Fate::Delivered, Some(Fate::Delivered)));
    for index in [laptop, tablet] {
        assert_eq!(world.said(index), ["alice: one", "alice: two"], "{index}");
    }
}

#[test]
fn what_devices_tell_each_other_waits_for_a_contact_whose_account_the_server_lost() {
    let mut world = World::new(625);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    let mut damaged = false;
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Deliver(mut deliver) if index == alice && !damaged => {
            damaged = true;
            *deliver.envelope.last_mut().unwrap() ^= 1;
            Some(ServerFrame::Deliver(deliver))
        }
        frame => Some(frame),
    }));
    // Alice asks for it, and the server has lost everything before it reads that.
    world.write(bob, "alice", "two");
    while world.run_device(bob, 64, true) || world.run_server() {}
    while world.run_device(alice, 1, true) {}
    assert_eq!(world.unreadable(alice), 1);
    world.forget_everything();
    world.register_again(alice);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.outbox_length(alice), 1, "the request waits");
    world.register_again(bob);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(3_600_000);
    assert_eq!(world.screen(alice), ["alice: one", "bob: two"]);
    assert_eq!(world.outbox_length(alice), 0);
}

#[test]
fn a_message_whose_last_copy_is_refused_when_it_is_sent_again_is_not_said_to_be_stored() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(626, CoreConfig::default(), store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let tablet = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob, tablet] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(alice, "bob", "zero");
    world.pass(5_000);
    world.disconnect(tablet);
    for text in texts("number", 4) {
        world.send(alice, "bob", &text);
    }
    world.pass(5_000);
    world.disconnect(bob);
    let message = world.send(alice, "bob", "for nobody");
    assert_eq!(world.copy_fate(alice, message, tablet), None, "its mailbox is full");
    world.pass(10 * DAY_MS);
    let copy = world.store.copy(1_000_000);
    world.connect(tablet);
    world.pass(5_000);
    world.disconnect(tablet);
    // The tablet's copy is stored now, ten days after the phone's, and waits for longer.
    world.pass(22 * DAY_MS);
    let copies = [bob, tablet].map(|device| world.copy_fate(alice, message, device));
    assert_eq!(
        (world.fate(alice, message), copies),
        (Fate::Stored, [Some(Fate::Expired), Some(Fate::Stored)])
    );
    // Bob accepts nothing of hers any more when the server loses that copy.
    world.put_back(copy);
    world.connect(bob);
    let block = Command::Block { user: "alice".parse().unwrap(), blocked: true };
    world.command(bob, block).unwrap();
    world.connect(alice);
    world.pass(60_000);
    assert!(world.warnings(alice).contains("the server has lost a message"), "{}", world.warnings(alice));
    assert_eq!(world.copy_fate(alice, message, tablet), Some(Fate::Refused));
    assert_ne!(world.fate(alice, message), Fate::Stored);
    assert!(world.warnings(alice).contains("a message to bob did not arrive"), "{}", world.warnings(alice));
}

#[test]
fn a_server_that_goes_back_again_and_again_has_what_it_lost_sent_again_every_ten_minutes_at_most() {
    let mut world = World::new(618);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.disconnect(bob);
    let copy = world.store.copy(1_000_000);
    let message = world.send(alice, "bob", "two");
    for _ in 0..30 {
        world.put_back(copy.copy(1_000_000));
        world.connect(alice);
        world.pass(60_000);
    }
    let noticed = world.warnings(alice).matches("the server has lost").count();
    assert!((3..=4).contains(&noticed), "{noticed} times in half an hour");
    world.connect(bob);
    world.pass(11 * 60_000);
    assert_eq!(world.said(bob), ["alice: one", "alice: two"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
}

#[test]
fn a_contact_that_the_server_lost_is_looked_for_less_and_less_often() {
    let mut world = World::new(619);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.crash(bob);
    world.forget_everything();
    world.register_again(alice);
    world.connect(alice);
    world.send(alice, "bob", "two");
    world.devices[alice].asked.clear();
    world.pass(60 * 60_000);
    let asked = world.devices[alice].asked.iter().filter(|frame| **frame == "LookupLists").count();
    assert!((8..=12).contains(&asked), "{asked} in an hour: after 1, 2, 4, 8, and then every 10 minutes");
}

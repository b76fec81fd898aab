//! Devices and servers that lost something, or came back from a copy.

use sotto_client::api::Fate;
use sotto_proto::{
    frame::{FateState, ServerFrame},
    limits::DAY_MS,
};
use sotto_store::Store as _;

use crate::world::World;

#[test]
fn a_device_that_lost_its_sessions_says_so_and_is_healed() {
    let mut world = World::new(8);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.send(bob, "alice", "two");
    let account = world.accounts[world.devices[alice].account].id;
    world.crash(bob);
    world.devices[bob].store.transaction(|tx| tx.forget_sessions(&account)).unwrap();
    world.start(bob);
    world.connect(bob);
    world.settle();
    let three = world.send(alice, "bob", "three");
    world.pass(5_000);
    assert_eq!(world.unreadable(bob), 1);
    assert_eq!(world.screen(bob), ["alice: one", "bob: two", "alice: three"]);
    assert_eq!(world.fate(alice, three), Fate::Delivered);
}

#[test]
fn a_machine_that_was_installed_anew_takes_the_old_ones_place_and_what_the_old_one_missed_is_said() {
    let mut world = World::new(32);
    let (alice, old) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.send(old, "alice", "two");
    world.crash(old);
    let missed = world.send(alice, "bob", "to a machine that is gone");
    assert_eq!(world.fate(alice, missed), Fate::Stored);
    let (account, gone) = (world.devices[old].account, world.devices[old].id);
    let new = world.second_device(account, Some(gone));
    // The server was told behind its back, and started again.
    for index in [alice, new] {
        world.connect(index);
    }
    world.pass(5_000);
    let three = world.send(alice, "bob", "three");
    let four = world.send(new, "alice", "four");
    world.pass(2 * DAY_MS);
    assert_eq!((world.fate(alice, three), world.fate(new, four)), (Fate::Delivered, Fate::Delivered));
    assert_eq!(world.said(new), ["alice: three", "bob: four"]);
    assert_eq!(world.fate(alice, missed), Fate::Expired);
    assert!(
        world.warnings(alice).contains("a message to bob did not arrive in time"),
        "{}",
        world.warnings(alice)
    );
}

#[test]
fn a_first_message_that_is_lost_on_its_way_keeps_none_after_it_from_being_read() {
    let mut world = World::new(33);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let mut lost = 0;
    world.tamper = Some(Box::new(move |to, frame| match frame {
        ServerFrame::Deliver(_) if to == bob && lost < 1 => {
            lost += 1;
            None
        }
        frame => Some(frame),
    }));
    let first = world.send(alice, "bob", "lost");
    world.pass(5_000);
    assert_eq!(
        (world.screen(bob).len(), world.fate(alice, first)),
        (0, Fate::Stored),
        "it began the conversation"
    );
    let second = world.send(alice, "bob", "read");
    world.pass(5_000);
    assert_eq!(world.said(bob), ["alice: read"]);
    assert_eq!(world.fate(alice, second), Fate::Delivered);
    // He acked what he was not given: that is not taken for delivered.
    assert_eq!(world.fate(alice, first), Fate::Taken);
    let answer = world.send(bob, "alice", "answer");
    world.pass(5_000);
    assert_eq!(world.fate(bob, answer), Fate::Delivered);
}

#[test]
fn an_old_copy_of_a_profile_sends_nothing() {
    let mut world = World::new(10);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.send(bob, "alice", "two");
    assert!(world.devices[bob].asked.contains(&"Submit"));
    world.crash(bob);
    world.devices[bob]
        .store
        .transaction(|tx| {
            let mut cursor = tx.cursor()?.unwrap();
            cursor.number.0 -= 1;
            tx.set_cursor(&cursor)
        })
        .unwrap();
    world.start(bob);
    world.write(bob, "alice", "from the old copy");
    world.devices[bob].asked.clear();
    world.connect(bob);
    world.pass(5_000);
    assert!(world.devices[bob].asked.contains(&"DeviceLogin"));
    assert!(!world.devices[bob].asked.contains(&"Submit"), "{:?}", world.devices[bob].asked);
    assert_eq!(world.screen(alice), ["alice: one", "bob: two"]);
    let (error, reconnect) = world.devices[bob].closed.clone().expect("it stops");
    assert!(!reconnect);
    assert!(error.message.contains("old copy"), "{error}");
}

#[test]
fn a_restored_server_loses_nothing_that_its_senders_still_have() {
    let mut world = World::new(12);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.disconnect(bob);
    let two = world.send(alice, "bob", "two");
    world.crash_server();
    world.store.restored();
    world.start_server();
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(60_000);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two"]);
    assert_eq!(world.fate(alice, two), Fate::Delivered);
}

#[test]
fn a_name_that_belongs_to_somebody_else_after_the_server_lost_it_is_a_changed_identity() {
    let mut world = World::new(27);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.crash(bob);
    // The server comes back from before bob registered, and another bob takes the name.
    world.forget_everything();
    world.register_again(alice);
    let other = world.person("bob");
    world.connect(alice);
    world.pass(5_000);
    let held = world.send(alice, "bob", "for the bob I know");
    world.pass(5_000);
    assert_eq!(world.fate(alice, held), Fate::Held);
    assert_eq!(world.screen(other), Vec::<String>::new());
    assert!(world.warnings(alice).contains("identity of bob has changed"), "{}", world.warnings(alice));
}

#[test]
fn a_contact_that_the_server_lost_is_waited_for_but_not_for_ever() {
    let mut world = World::new(28);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.crash(bob);
    world.forget_everything();
    world.register_again(alice);
    world.connect(alice);
    world.pass(5_000);
    let gone = world.send(alice, "bob", "are you there?");
    world.pass(5_000);
    assert_eq!(world.fate(alice, gone), Fate::Waiting);
    assert!(world.warnings(alice).contains("has lost the account of bob"), "{}", world.warnings(alice));
    world.pass(15 * DAY_MS);
    assert_eq!(world.fate(alice, gone), Fate::Expired, "as anything that waits too long");
    let later = world.send(alice, "bob", "are you there now?");
    world.pass(120_000);
    assert_eq!(world.fate(alice, later), Fate::UnknownUser, "nobody is waited for any more");
}

#[test]
fn what_was_held_goes_to_the_new_identity_once_it_is_accepted() {
    let mut world = World::new(29);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.pass(2_000);
    let laptop = world.second_device(world.devices[alice].account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(alice, "bob", "one");
    world.disconnect(bob);
    world.pass(5_000);
    world.crash(bob);
    // The server loses its data. Bob makes a new identity; alice comes back with both of her devices.
    world.forget_everything();
    world.register_again(alice);
    let new = world.person("bob");
    for index in [alice, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    let two = world.send(alice, "bob", "two");
    world.pass(5_000);
    assert_eq!(world.fate(alice, two), Fate::Held);
    world.accept_identity(alice, "bob");
    world.pass(60_000);
    assert!(world.screen(new).contains(&"alice: two".to_owned()), "{:?}", world.screen(new));
    assert_eq!(world.fate(alice, two), Fate::Delivered);
    let seen = world.screen(laptop);
    assert_eq!(seen.iter().filter(|line| line.ends_with("two")).count(), 1, "{seen:?}");
}

#[test]
fn what_the_identity_before_was_sent_has_a_fate_also_when_another_one_is_accepted() {
    let mut world = World::new(30);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.disconnect(bob);
    let two = world.send(alice, "bob", "two");
    assert_eq!(world.fate(alice, two), Fate::Stored);
    // Bob's account ends, with what waits for it, and another one gets the name.
    world.crash(bob);
    let account = world.accounts[world.devices[bob].account].id;
    let now_ms = world.now_ms;
    assert_eq!(world.store.remove_account(account, now_ms).wait(), Ok(true));
    world.crash_server();
    world.start_server();
    let new = world.person("bob");
    world.connect(alice);
    let three = world.send(alice, "bob", "three");
    world.pass(60_000);
    assert_eq!(world.fate(alice, three), Fate::Held);
    world.accept_identity(alice, "bob");
    world.pass(3 * DAY_MS);
    assert_eq!(world.fate(alice, three), Fate::Delivered);
    assert_eq!(world.fate(alice, two), Fate::Expired);
    assert_eq!(world.screen(new), ["alice: three"]);
    let warnings = world.warnings(alice);
    assert_eq!(warnings.matches("a message to bob did not arrive in time").count(), 1, "{warnings}");
    assert!(!warnings.contains("may not have arrived"), "{warnings}");
}

#[test]
fn what_the_identity_before_was_sent_is_not_sent_to_the_next_one_when_the_server_loses_it() {
    let mut world = World::new(31);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    // A device that is away, whose copies the server loses too.
    let laptop = world.second_device(world.devices[alice].account, None);
    for device in [alice, bob, laptop] {
        world.connect(device);
    }
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.disconnect(laptop);
    let copy = world.store.copy(1_000_000);
    let read = world.send(alice, "bob", "he has it");
    world.pass(5_000);
    assert_eq!(world.fate(alice, read), Fate::Delivered);
    world.disconnect(bob);
    let two = world.send(alice, "bob", "two");
    assert_eq!(world.fate(alice, two), Fate::Stored);
    world.crash(bob);
    let account = world.accounts[world.devices[bob].account].id;
    let now_ms = world.now_ms;
    assert_eq!(copy.remove_account(account, now_ms).wait(), Ok(true));
    world.disconnect(alice);
    let three = world.send(alice, "bob", "three");
    world.tamper = Some(Box::new(|_, frame| match frame {
        // The server does not say yet what it has lost.
        ServerFrame::Fates(mut fates) => {
            fates.states.fill(FateState::Waiting);
            Some(ServerFrame::Fates(fates))
        }
        frame => Some(frame),
    }));
    world.put_back(copy);
    let new = world.person("bob");
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.fate(alice, three), Fate::Held);
    world.accept_identity(alice, "bob");
    world.pass(60_000);
    world.tamper = None;
    world.pass(2 * DAY_MS);
    assert_eq!(world.fate(alice, three), Fate::Delivered);
    assert_eq!((world.fate(alice, read), world.fate(alice, two)), (Fate::Delivered, Fate::Refused));
    assert_eq!(world.screen(new), ["alice: three"]);
    world.connect(laptop);
    world.pass(60_000);
    for text in ["alice: he has it", "alice: three"] {
        assert_eq!(
            world.said(laptop).iter().filter(|line| *line == text).count(),
            1,
            "{:?}",
            world.said(laptop)
        );
    }
    let warned = "a message to bob did not arrive: the server lost it, and it was for the identity before";
    assert!(world.warnings(alice).contains(warned), "{}", world.warnings(alice));
}

#[test]
fn what_the_identity_before_was_sent_is_not_for_one_that_comes_with_the_very_same_ids() {
    let mut world = World::new(34);
    let alice = world.person("alice");
    // From before bob registered.
    let copy = world.store.copy(1_000_000);
    let bob = world.person("bob");
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.crash(bob);
    let two = world.send(alice, "bob", "two");
    assert_eq!(world.fate(alice, two), Fate::Stored);
    world.disconnect(alice);
    let three = world.send(alice, "bob", "three");
    world.tamper = Some(Box::new(|_, frame| match frame {
        // The server does not say yet what it has lost.
        ServerFrame::Fates(mut fates) => {
            fates.states.fill(FateState::Waiting);
            Some(ServerFrame::Fates(fates))
        }
        frame => Some(frame),
    }));
    world.put_back(copy);
    let new = world.usurper(bob);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.fate(alice, three), Fate::Held);
    world.accept_identity(alice, "bob");
    world.pass(60_000);
    world.tamper = None;
    world.pass(2 * DAY_MS);
    assert_eq!((world.fate(alice, two), world.fate(alice, three)), (Fate::Refused, Fate::Delivered));
    assert_eq!(world.screen(new), ["alice: three"]);
}

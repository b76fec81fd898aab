//! Devices and servers that lost something, or came back from a copy.

use sotto_client::api::{Command, Fate, Reply};
use sotto_proto::limits::DAY_MS;

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
    assert_eq!(world.screen(bob), ["alice: one", "bob: two", "alice: three"]);
    assert_eq!(world.fate(alice, three), Fate::Delivered);
}

#[test]
fn an_old_copy_of_a_profile_sends_nothing() {
    let mut world = World::new(10);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
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
    world.connect(bob);
    world.settle();
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
    let name: sotto_proto::Username = "bob".parse().unwrap();
    let Ok(Reply::Safety(safety)) = world.command(alice, Command::Safety(name.clone())) else { panic!() };
    let number = safety.new_number.unwrap();
    world.command(alice, Command::Trust { user: name, number }).unwrap();
    world.pass(60_000);
    assert!(world.screen(new).contains(&"alice: two".to_owned()), "{:?}", world.screen(new));
    assert_eq!(world.fate(alice, two), Fate::Delivered);
    let seen = world.screen(laptop);
    assert_eq!(seen.iter().filter(|line| line.ends_with("two")).count(), 1, "{seen:?}");
}

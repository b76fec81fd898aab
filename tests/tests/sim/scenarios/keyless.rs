//! Devices that stand in their account's list and have published no keys: who waits for them, and for how long.

use sotto_client::{
    api::{Command, Fate, Reply},
    core::WithKey,
};

use crate::world::{PASSWORD, World};

/// A device that was added and has never been there since.
fn added_and_absent(world: &mut World, by: usize) -> usize {
    let account = world.devices[by].account;
    let stranger = world.waiting_device(account);
    let added = world.with_key(by, WithKey::Approve { code: stranger.code, key: PASSWORD });
    assert!(added.is_ok(), "{added:?}");
    world.finish_joining(account, &stranger).expect("it is in the list")
}

#[test]
fn a_device_that_messages_went_without_gets_the_answer_to_what_it_writes() {
    let mut world = World::new(321);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    let tablet = added_and_absent(&mut world, bob);
    let without = world.send(alice, "bob", "two");
    world.pass(30_000);
    assert_eq!(world.fate(alice, without), Fate::Waiting, "it may come at any moment");
    world.pass(45_000);
    assert_eq!(world.fate(alice, without), Fate::Delivered, "nobody waits for it for ever");
    assert_eq!(world.copy_fate(alice, without, tablet), Some(Fate::Expired));
    world.start(tablet);
    world.connect(tablet);
    world.settle();
    world.send(tablet, "alice", "here I am");
    let answer = world.send(alice, "bob", "there you are");
    world.pass(1_000);
    assert_eq!(world.said(tablet), ["bob: here I am", "alice: there you are"]);
    assert_eq!(world.copy_fate(alice, answer, tablet), Some(Fate::Delivered));
}

#[test]
fn each_device_is_waited_for_from_when_it_is_found_without_keys() {
    let mut world = World::new(322);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    let tablet = added_and_absent(&mut world, bob);
    let without = world.send(alice, "bob", "without the tablet");
    world.pass(10 * 60_000);
    assert_eq!(world.copy_fate(alice, without, tablet), Some(Fate::Expired));
    // That the tablet was waited for in vain is no reason not to wait for the next one.
    let desk = added_and_absent(&mut world, bob);
    let both = world.send(alice, "bob", "with the desk");
    world.pass(10_000);
    world.start(desk);
    world.connect(desk);
    world.pass(10_000);
    assert_eq!(world.said(desk), ["alice: with the desk"]);
    assert_eq!(world.copy_fate(alice, both, desk), Some(Fate::Delivered));
    assert_eq!(world.copy_fate(alice, both, tablet), Some(Fate::Expired));
}

#[test]
fn however_much_waits_for_an_own_device_without_keys_the_others_are_told() {
    let mut world = World::new(323);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "one");
    let laptop = world.second_device(world.devices[alice].account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    let tablet = added_and_absent(&mut world, alice);
    world.send(alice, "bob", "two");
    world.pass(70_000);
    let blocked = |world: &mut World, index: usize| match world.command(index, Command::Contacts) {
        Ok(Reply::Contacts(contacts)) => {
            contacts.into_iter().any(|contact| contact.name == "bob" && contact.blocked)
        }
        other => panic!("{other:?}"),
    };
    // More than go into one Submit.
    for number in 0..141 {
        let command = Command::Block { user: "bob".parse().unwrap(), blocked: number % 2 == 0 };
        assert_eq!(world.command(alice, command), Ok(Reply::Done));
    }
    world.pass(5_000);
    assert!(world.outbox_length(alice) > 140, "all of it waits for the tablet");
    assert!(blocked(&mut world, laptop));
    world.start(tablet);
    world.connect(tablet);
    world.pass(180_000);
    assert_eq!(world.outbox_length(alice), 0);
    assert!(world.command(tablet, Command::Safety("bob".parse().unwrap())).is_ok());
    assert!(blocked(&mut world, tablet));
}

//! Accounts with several devices.

use sotto_client::api::{ErrorKind, Fate};

use super::texts;
use crate::world::World;

#[test]
fn a_second_device_receives_and_sees_what_the_first_sends() {
    let mut world = World::new(5);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.pass(2_000);
    let account = world.devices[bob].account;
    let laptop = world.second_device(account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    let after = world.send(alice, "bob", "after");
    world.pass(5_000);
    world.send(bob, "alice", "from bob's first");
    world.pass(5_000);
    assert_eq!(world.fate(alice, after), Fate::Delivered);
    let added = format!("? a device was added to your account: {}.", world.devices[laptop].id);
    assert!(world.screen(bob).iter().any(|line| line.starts_with(&added)), "its owner is told");
    assert!(world.warnings(bob).contains("a device was added to your account"));
    assert_eq!(world.said(bob), ["alice: before", "alice: after", "bob: from bob's first"]);
    assert_eq!(world.screen(laptop), ["alice: after", "bob: from bob's first"]);
    world.send(laptop, "alice", "from bob's second");
    world.pass(5_000);
    assert_eq!(world.screen(alice).last().unwrap(), "bob: from bob's second");
    assert_eq!(world.screen(bob).last().unwrap(), "bob: from bob's second");
}

#[test]
fn a_revoked_device_reads_nothing_more() {
    let mut world = World::new(6);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "for the old one");
    world.pass(2_000);
    let account = world.devices[bob].account;
    let old = world.devices[bob].id;
    let new = world.second_device(account, Some(old));
    world.connect(alice);
    world.pass(5_000);
    world.send(alice, "bob", "for the new one");
    world.pass(5_000);
    assert_eq!(world.screen(bob), ["alice: for the old one"]);
    assert_eq!(world.screen(new), ["alice: for the new one"]);
    world.connect(bob);
    world.pass(1_000);
    let (error, reconnect) = world.devices[bob].closed.clone().expect("the server does not let it in");
    assert_eq!((error.kind, reconnect), (ErrorKind::LoginNeeded, false));
}

#[test]
fn a_device_that_is_added_to_a_large_submit_gets_everything_too() {
    let mut world = World::new(33);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "first");
    world.pass(2_000);
    world.disconnect(alice);
    for text in texts("number", 300) {
        world.write(alice, "bob", &text);
    }
    world.settle();
    let laptop = world.second_device(world.devices[bob].account, None);
    let desk = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(60_000);
    for device in [laptop, desk] {
        assert_eq!(world.said(device), texts("alice: number", 300));
    }
    assert_eq!(world.said(bob)[1..], texts("alice: number", 300));
}

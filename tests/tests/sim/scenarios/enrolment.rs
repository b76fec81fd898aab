//! Servers that lost accounts or devices, and clients that enrol again by themselves.

use sotto_client::api::{Command, ErrorKind, Fate, Reply, Trust};
use sotto_proto::frame::{ErrorCode, ErrorReply, Registration, ServerFrame};

use super::texts;
use crate::world::{Held, World};

/// How often a device sent a request of this kind.
pub(super) fn asked(world: &World, index: usize, kind: &str) -> usize {
    world.devices[index].asked.iter().filter(|asked| **asked == kind).count()
}

/// A name's pin stands as it did at first, as one device sees it.
fn still_pinned(world: &mut World, index: usize) {
    let Ok(Reply::Contacts(contacts)) = world.command(index, Command::Contacts) else { panic!() };
    assert!(contacts.iter().all(|contact| contact.trust == Trust::Pinned), "{contacts:?}");
    assert!(!world.warnings(index).contains("changed"), "{}", world.warnings(index));
}

/// Bob has a laptop, and all devices know it.
pub(super) fn with_laptop(world: &mut World) -> (usize, usize, usize) {
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.pass(2_000);
    let laptop = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.send(alice, "bob", "before");
    world.pass(5_000);
    assert_eq!((world.said(bob), world.said(laptop)), (texts_of("before"), texts_of("before")));
    (alice, bob, laptop)
}

fn texts_of(text: &str) -> Vec<String> {
    vec![format!("alice: {text}")]
}

#[test]
fn an_account_that_the_server_lost_comes_back_and_nothing_is_lost_with_it() {
    for alice_first in [true, false] {
        let mut world = World::new(40);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "number 0");
        world.disconnect(bob);
        // Some were stored by the server that is lost, some never left.
        for text in &texts("number", 300)[1..200] {
            world.write(alice, "bob", text);
        }
        world.settle();
        world.disconnect(alice);
        for text in &texts("number", 300)[200..] {
            world.write(alice, "bob", text);
        }
        world.settle();
        world.forget_everything();
        let order = if alice_first { [alice, bob] } else { [bob, alice] };
        world.connect(order[0]);
        world.pass(5_000);
        if alice_first {
            let told: Vec<_> = world.rows(alice).into_iter().map(|row| row.fate.unwrap()).collect();
            assert_eq!(told[1..], [Fate::Waiting; 299], "the truth about what the server lost");
            let Ok(Reply::Outbox(waiting)) = world.command(alice, Command::Outbox) else { panic!() };
            assert_eq!(waiting.len(), 299);
        }
        world.connect(order[1]);
        world.pass(180_000);
        assert_eq!(world.screen(bob), texts("alice: number", 300));
        assert!(world.rows(alice).iter().all(|row| row.fate == Some(Fate::Delivered)));
        world.send(bob, "alice", "all there");
        assert_eq!(world.screen(alice).last().unwrap(), "bob: all there");
        for index in order {
            assert_eq!(asked(&world, index, "Register"), 1);
            assert!(world.warnings(index).contains("registered again"), "{}", world.warnings(index));
            still_pinned(&mut world, index);
            let device = world.devices[index].id;
            let published = world.published(device);
            assert!(published.signed.is_some() && published.one_time > 0, "{published:?}");
        }
    }
}

#[test]
fn an_account_that_is_lost_twice_comes_back_twice() {
    let mut world = World::new(41);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    for round in 0..3 {
        world.send(alice, "bob", &format!("number {round}"));
        world.pass(5_000);
        world.forget_everything();
        for index in [bob, alice] {
            world.connect(index);
        }
        world.pass(180_000);
    }
    assert_eq!(world.screen(bob), texts("alice: number", 3));
    assert!(world.rows(alice).iter().all(|row| row.fate == Some(Fate::Delivered)));
}

#[test]
fn the_second_device_brings_the_account_back_for_the_first() {
    let mut world = World::new(42);
    let (alice, bob, laptop) = with_laptop(&mut world);
    world.disconnect(bob);
    world.send(alice, "bob", "between");
    world.forget_everything();
    for index in [laptop, bob, alice] {
        world.connect(index);
        world.pass(5_000);
    }
    world.pass(120_000);
    world.send(alice, "bob", "after");
    world.pass(5_000);
    let expected = ["alice: before", "alice: between", "alice: after"];
    assert_eq!(
        (world.said(bob), world.said(laptop)),
        (expected.map(str::to_owned).to_vec(), expected.map(str::to_owned).to_vec())
    );
    assert_eq!((asked(&world, laptop, "Register"), asked(&world, bob, "Register")), (1, 0));
    still_pinned(&mut world, alice);
}

#[test]
fn devices_that_come_back_at_the_same_moment_do_not_mind_each_other() {
    let mut world = World::new(43);
    let (alice, bob, laptop) = with_laptop(&mut world);
    world.forget_everything();
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(60_000);
    for index in [alice, bob, laptop] {
        assert!(world.connected(index) && world.devices[index].closed.is_none(), "device {index}");
    }
    let after = world.send(alice, "bob", "after");
    world.pass(5_000);
    assert_eq!(world.said(laptop).last().unwrap(), "alice: after");
    assert_eq!(world.fate(alice, after), Fate::Delivered);
}

#[test]
fn a_device_that_was_added_after_the_backup_hands_over_the_newer_list() {
    // By the account's key, or where a device does not have it, by the password's.
    for (account_key, proof) in [(true, "AccountLogin"), (false, "PasswordLogin")] {
        let mut world = World::new(44);
        world.held = Held { account_key, auth_key: true };
        let (alice, bob, laptop) = with_laptop(&mut world);
        let account = world.devices[bob].account;
        world.restore_first_list(account);
        world.connect(laptop);
        world.pass(5_000);
        assert!(world.connected(laptop), "{:?}", world.devices[laptop].closed);
        assert_eq!((asked(&world, laptop, proof), asked(&world, laptop, "ReplaceList")), (1, 1));
        assert_eq!(world.warnings(laptop).contains("derived from the password"), !account_key);
        for index in [alice, bob] {
            world.connect(index);
        }
        world.send(alice, "bob", "after");
        world.pass(60_000);
        assert_eq!(world.said(laptop), ["alice: before", "alice: after"]);
        assert_eq!(world.said(bob), ["alice: before", "alice: after"]);
        still_pinned(&mut world, alice);
    }
}

#[test]
fn a_server_that_shows_an_old_list_does_not_get_the_key_of_the_password_for_it() {
    let mut world = World::new(52);
    world.held = Held { account_key: false, auth_key: true };
    let (alice, bob, laptop) = with_laptop(&mut world);
    let account = world.devices[bob].account;
    world.pass(2_000);
    world.crash(laptop);
    world.restore_first_list(account);
    world.connect(bob);
    world.connect(alice);
    world.pass(5_000);
    assert!(world.connected(bob), "it is in the old list too");
    assert_eq!((asked(&world, bob, "PasswordLogin"), asked(&world, bob, "ReplaceList")), (0, 0));
    // The newer list goes along with what is sent, once its own devices without keys are no longer waited for; and so the
    // other device is let in again.
    world.send(bob, "alice", "after");
    world.pass(90_000);
    world.start(laptop);
    world.connect(laptop);
    world.pass(60_000);
    assert!(world.connected(laptop), "{:?}", world.devices[laptop].closed);
    assert!(world.connected(laptop), "{:?}", world.devices[laptop].closed);
    assert_eq!(asked(&world, laptop, "PasswordLogin"), 0);
    assert_eq!(world.said(alice).last().unwrap(), "bob: after");
}

#[test]
fn a_device_that_knew_only_the_older_list_registers_it_and_the_newer_one_follows() {
    let mut world = World::new(45);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.crash(bob);
    world.pass(2_000);
    let laptop = world.second_device(world.devices[bob].account, None);
    world.forget_everything();
    // Bob's first device has been away since before the laptop was added.
    world.start(bob);
    for index in [bob, laptop, alice] {
        world.connect(index);
        world.pass(5_000);
    }
    assert_eq!((asked(&world, bob, "Register"), asked(&world, laptop, "ReplaceList")), (1, 1));
    world.send(alice, "bob", "after");
    world.pass(120_000);
    assert_eq!(world.said(laptop).last().unwrap(), "alice: after");
    assert_eq!(world.said(bob), ["alice: before", "alice: after"]);
}

#[test]
fn a_newer_list_that_removes_a_device_is_handed_over_at_once() {
    let mut world = World::new(46);
    let bob = world.person("bob");
    world.crash(bob);
    world.pass(2_000);
    let old = world.devices[bob].id;
    let new = world.second_device(world.devices[bob].account, Some(old));
    world.forget_everything();
    // The removed device has not heard of it, and brings the account back as it was.
    world.start(bob);
    world.connect(bob);
    world.pass(5_000);
    assert!(world.connected(bob));
    world.connect(new);
    world.pass(5_000);
    assert!(world.connected(new) && !world.connected(bob));
    let (error, reconnect) = world.devices[bob].closed.clone().expect("it is told");
    assert_eq!((error.kind, reconnect), (ErrorKind::LoginNeeded, false));
}

#[test]
fn a_device_that_knows_that_it_was_removed_brings_nothing_back() {
    let mut world = World::new(47);
    let bob = world.person("bob");
    world.pass(2_000);
    let old = world.devices[bob].id;
    let new = world.second_device(world.devices[bob].account, Some(old));
    world.connect(bob);
    world.pass(5_000);
    let removed = world.devices[bob].closed.clone().expect("it is out");
    assert_eq!((removed.0.kind, removed.1), (ErrorKind::LoginNeeded, false));
    world.forget_everything();
    world.crash(bob);
    world.start(bob);
    world.connect(bob);
    world.pass(5_000);
    assert_eq!(
        world.devices[bob].closed.clone().map(|(error, again)| (error.message, again)),
        Some((removed.0.message, false))
    );
    assert_eq!(asked(&world, bob, "Register"), 0);
    world.connect(new);
    world.pass(5_000);
    assert!(world.connected(new));
}

#[test]
fn a_name_that_was_taken_meanwhile_is_said_and_not_tried_for_ever() {
    let mut world = World::new(48);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.forget_everything();
    let other = world.person("bob");
    world.connect(bob);
    world.pass(60_000);
    let (error, reconnect) = world.devices[bob].closed.clone().expect("it is told");
    assert_eq!((error.kind, reconnect), (ErrorKind::NameTaken, false));
    assert!(error.message.contains("belongs to somebody else"), "{error}");
    assert_eq!(asked(&world, bob, "Register"), 1);
    // To alice it is another identity, as it is.
    world.connect(alice);
    let held = world.send(alice, "bob", "for the bob I know");
    world.pass(60_000);
    assert_eq!(world.fate(alice, held), Fate::Held);
    assert_eq!(world.screen(other), Vec::<String>::new());
}

#[test]
fn a_server_that_takes_no_accounts_is_tried_again_until_it_does() {
    let mut world = World::new(49);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.config.registration = Registration::Closed;
    world.forget_everything();
    world.connect(bob);
    world.settle();
    let (error, reconnect) = world.devices[bob].closed.clone().expect("it is told");
    assert_eq!((error.kind, reconnect), (ErrorKind::LoginNeeded, true));
    assert!(error.message.contains("takes no new ones"), "{error}");
    assert_eq!(asked(&world, bob, "Register"), 1, "one attempt a connection");
    world.config.registration = Registration::Open;
    world.crash_server();
    world.start_server();
    for index in [alice, bob] {
        world.connect(index);
    }
    world.send(alice, "bob", "after");
    world.pass(120_000);
    assert_eq!(world.screen(bob), ["alice: after"]);
}

#[test]
fn a_server_that_is_busy_while_an_account_comes_back_is_tried_again() {
    let mut world = World::new(59);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.forget_everything();
    let mut refused = false;
    // The first Done that it says to bob is for the registration.
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Done if index == 1 && !refused => {
                refused = true;
                let message = "busy".to_owned();
                let retry_after_ms = Some(10_000);
                ServerFrame::Error(ErrorReply { code: ErrorCode::BUSY, message, retry_after_ms })
            }
            frame => frame,
        })
    }));
    world.connect(bob);
    world.settle();
    assert_eq!(asked(&world, bob, "Register"), 1);
    let (error, reconnect) = world.devices[bob].closed.clone().expect("it is told");
    assert!(reconnect && error.kind != ErrorKind::LoginNeeded, "{error}");
    for index in [bob, alice] {
        world.connect(index);
    }
    world.send(alice, "bob", "after");
    world.pass(120_000);
    assert_eq!(world.screen(bob), ["alice: after"]);
}

#[test]
fn a_server_that_lies_about_knowing_an_account_gains_nothing_and_ends_no_client() {
    let mut world = World::new(50);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.disconnect(bob);
    world.send(alice, "bob", "between");
    world.devices[bob].asked.clear();
    world.tamper = Some(Box::new(|index, frame| {
        Some(match frame {
            ServerFrame::DeviceIn(_) if index == 1 => ServerFrame::Error(ErrorReply {
                code: ErrorCode::UNKNOWN_USER,
                message: "never heard of".to_owned(),
                retry_after_ms: None,
            }),
            frame => frame,
        })
    }));
    world.connect(bob);
    world.settle();
    assert_eq!(world.devices[bob].asked, ["Hello", "DeviceLogin", "Register", "DeviceLogin"]);
    assert!(world.warnings(bob).contains("derived from the password"));
    let (error, reconnect) = world.devices[bob].closed.clone().expect("it gives this connection up");
    assert_eq!((error.kind, reconnect), (ErrorKind::Unreachable, true));
    world.tamper = None;
    world.pass(60_000);
    assert_eq!(world.screen(bob), ["alice: before", "alice: between"]);
    world.send(bob, "alice", "still here");
    world.pass(5_000);
    assert_eq!(world.screen(alice).last().unwrap(), "bob: still here");
    still_pinned(&mut world, alice);
}

#[test]
fn a_profile_without_the_key_that_registers_says_so_and_what_to_do() {
    let mut world = World::new(51);
    world.held = Held { account_key: true, auth_key: false };
    let bob = world.person("bob");
    world.forget_everything();
    world.connect(bob);
    world.pass(5_000);
    let (error, reconnect) = world.devices[bob].closed.clone().expect("it is told");
    assert_eq!((error.kind, reconnect), (ErrorKind::LoginNeeded, false));
    assert!(error.message.contains("lacks the key") && error.hint.is_some(), "{error:?}");
    assert_eq!(asked(&world, bob, "Register"), 0);
}

#[test]
fn what_the_server_lost_never_goes_to_another_identity_under_the_name() {
    let mut world = World::new(52);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    let lost = world.send(alice, "bob", "for the first bob");
    assert_eq!(world.fate(alice, lost), Fate::Stored);
    world.crash(bob);
    world.forget_everything();
    let other = world.person("bob");
    world.connect(alice);
    let waits = world.send(alice, "bob", "for whoever it is");
    world.pass(60_000);
    assert_eq!((world.fate(alice, lost), world.fate(alice, waits)), (Fate::Held, Fate::Held));
    world.accept_identity(alice, "bob");
    world.pass(60_000);
    assert_eq!(world.screen(other), ["alice: for whoever it is"]);
    assert_eq!((world.fate(alice, lost), world.fate(alice, waits)), (Fate::Refused, Fate::Delivered));
}

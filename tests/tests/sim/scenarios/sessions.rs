//! What cannot be read, and sessions that are lost or older than they should be.

use sotto_client::api::{Command, Event, Fate, Reply, Row, RowBody};
use sotto_proto::{frame::ServerFrame, limits::DAY_MS};

use crate::world::World;

/// Damages what a device is delivered, so many times from now on.
fn damage(world: &mut World, to: usize, times: usize) {
    let mut left = times;
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Deliver(mut deliver) if index == to && left > 0 => {
                left -= 1;
                *deliver.envelope.last_mut().unwrap() ^= 1;
                ServerFrame::Deliver(deliver)
            }
            frame => frame,
        })
    }));
}

#[test]
fn what_was_sent_again_and_damaged_again_is_asked_for_again() {
    for times in [1, 2, 3] {
        let mut world = World::new(620);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "one");
        world.pass(5_000);
        damage(&mut world, bob, times);
        let two = world.send(alice, "bob", "two");
        world.pass(600_000);
        assert_eq!(world.unreadable(bob), times);
        let screen = world.screen(bob);
        assert!(screen.contains(&"alice: two".to_owned()), "{times}: {screen:?}");
        assert_eq!(world.fate(alice, two), Fate::Delivered);
        // The other rows that stand for it are asked for once more the next day.
        world.pass(2 * DAY_MS);
        assert_eq!(world.screen(bob), ["alice: one", "alice: two"], "{times}");
    }
}

#[test]
fn what_an_own_device_has_sent_and_cannot_be_read_is_said_to_be_ones_own() {
    let mut world = World::new(621);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let laptop = world.second_device(world.devices[alice].account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(laptop, "bob", "one");
    world.pass(5_000);
    assert_eq!(world.said(alice), ["alice: one"]);
    let account = world.accounts[world.devices[alice].account].id;
    world.crash(alice);
    world.devices[alice].store.transaction(|tx| tx.forget_sessions(&account)).unwrap();
    world.start(alice);
    world.connect(alice);
    world.settle();
    world.send(laptop, "bob", "two");
    world.pass(5_000);
    let unreadable = |event: &Event| match event {
        Event::Row(Row { from, outgoing, body: RowBody::Undecryptable(reason), .. })
            if reason.starts_with("cannot be read") =>
        {
            Some((from.clone(), *outgoing))
        }
        _ => None,
    };
    let rows: Vec<_> = world.devices[alice].events.iter().filter_map(unreadable).collect();
    assert_eq!(rows, [("alice".to_owned(), true)]);
    assert_eq!(world.said(alice), ["alice: one", "alice: two"]);
}

#[test]
fn what_does_not_open_in_a_session_that_was_set_back_is_asked_for_in_another() {
    let mut world = World::new(622);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.send(bob, "alice", "two");
    world.pass(5_000);
    let (account, device) = (world.accounts[world.devices[bob].account].id, world.devices[bob].id);
    let old = world.devices[alice].store.transaction(|tx| tx.sessions(&account, &device)).unwrap().unwrap();
    for number in 0..5 {
        world.send(alice, "bob", &format!("there {number}"));
        world.send(bob, "alice", &format!("back {number}"));
        world.pass(5_000);
    }
    assert_eq!(world.screen(alice), world.screen(bob));
    world.crash(alice);
    world.devices[alice].store.transaction(|tx| tx.save_sessions(&account, &device, &old)).unwrap();
    world.start(alice);
    world.connect(alice);
    world.settle();
    let message = world.send(bob, "alice", "can you read this?");
    world.pass(60_000);
    assert_eq!(world.unreadable(alice), 1);
    assert_eq!(world.unreadable(bob), 0);
    assert_eq!(world.fate(bob, message), Fate::Delivered);
    assert_eq!(world.screen(alice), world.screen(bob));
}

#[test]
fn accepting_an_identity_leaves_alone_what_others_have_just_sent() {
    let mut world = World::new(623);
    let (alice, bob, carol) = (world.person("alice"), world.person("bob"), world.person("carol"));
    world.send(alice, "bob", "one");
    let knows = world.command(alice, Command::Safety("carol".parse().unwrap()));
    assert!(knows.is_ok());
    world.crash(bob);
    world.forget_everything();
    for index in [alice, carol] {
        world.register_again(index);
    }
    world.person("bob");
    for index in [alice, carol] {
        world.connect(index);
    }
    world.send(alice, "bob", "two");
    world.pass(60_000);
    let user = "bob".parse().unwrap();
    let Ok(Reply::Safety(safety)) = world.command(alice, Command::Safety(user)) else { panic!() };
    // It comes in the same moment in which the identity is accepted.
    world.write(carol, "alice", "first");
    while world.run_device(carol, 64, true) || world.run_server() {}
    let trust = Command::Trust { user: "bob".parse().unwrap(), number: safety.new_number.unwrap() };
    let command = world.ask(alice, trust);
    world.run_device(alice, 64, true);
    assert!(matches!(world.devices[alice].replies.remove(&command), Some(Ok(Reply::Safety(_)))));
    world.crash(alice);
    world.start(alice);
    world.connect(alice);
    world.send(carol, "alice", "second");
    world.pass(5_000);
    assert_eq!(world.unreadable(alice), 0);
    let screen = world.screen(alice);
    assert_eq!(screen[screen.len() - 2..], ["carol: first", "carol: second"]);
}

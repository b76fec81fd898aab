//! When a program may be closed.

use std::{cell::Cell, rc::Rc};

use sotto_client::api::{Command, Fate};
use sotto_proto::{frame::ServerFrame, limits::DAY_MS};

use crate::world::World;

/// Whether a frame is of some kind.
type Kind = fn(&ServerFrame) -> bool;

/// Keeps the answers of one kind from a device, until told otherwise.
fn withhold(world: &mut World, from: usize, is_answer: Kind) -> Rc<Cell<u32>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    world.tamper = Some(Box::new(move |index, frame| {
        let kept = index == from && is_answer(&frame);
        counted.set(counted.get() + u32::from(kept));
        (!kept).then_some(frame)
    }));
    count
}

#[test]
fn who_closes_a_program_waits_for_each_answer_that_settles_what_they_did_and_for_nothing_else() {
    let answers: [(&str, Kind); 3] = [
        ("the list", |frame| matches!(frame, ServerFrame::Lists(_))),
        ("the keys", |frame| matches!(frame, ServerFrame::Bundles(_))),
        ("the outcome", |frame| matches!(frame, ServerFrame::Submitted(_))),
    ];
    for (what, is_answer) in answers {
        let mut world = World::new(330);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        assert!(!world.busy(alice));
        let withheld = withhold(&mut world, alice, is_answer);
        let message = world.send(alice, "bob", "hello");
        assert_eq!((withheld.get(), world.busy(alice)), (1, true), "{what}");
        // Without a connection nothing will be heard.
        world.disconnect(alice);
        world.settle();
        assert!(!world.busy(alice), "{what}");
        world.tamper = None;
        world.connect(alice);
        world.settle();
        assert_eq!((world.fate(alice, message), world.busy(alice)), (Fate::Delivered, false), "{what}");
        assert_eq!(world.screen(bob), ["alice: hello"], "{what}");
    }
}

#[test]
fn who_closes_a_program_waits_until_the_server_knows_of_a_block() {
    let mut world = World::new(331);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "hello");
    world.pass(60_000);
    assert!(!world.busy(alice));
    let withheld = withhold(&mut world, alice, |frame| *frame == ServerFrame::Done);
    let block = Command::Block { user: "bob".parse().unwrap(), blocked: true };
    world.command(alice, block).unwrap();
    assert_eq!((withheld.get(), world.busy(alice)), (1, true));
    world.tamper = None;
    world.connect(alice);
    world.pass(5_000);
    assert!(!world.busy(alice));
}

#[test]
fn who_closes_a_program_waits_for_the_warning_of_what_did_not_arrive() {
    let mut world = World::new(332);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.disconnect(bob);
    world.send(alice, "bob", "for nobody");
    world.disconnect(alice);
    world.pass(31 * DAY_MS);
    world.connect(alice);
    world.settle();
    // Found, and held back for a moment, as more may come.
    assert_eq!((world.warnings(alice).as_str(), world.busy(alice)), ("", true));
    world.pass(1_000);
    assert!(world.warnings(alice).contains("a message to bob did not arrive in time"));
    assert!(!world.busy(alice));
}

//! What a server says of a Submit, and what becomes of the messages in it.

use std::{cell::RefCell, rc::Rc};

use sotto_client::api::Fate;
use sotto_proto::frame::{ErrorCode, ErrorReply, ServerFrame};

use crate::world::World;

/// How often a device has sent a Submit.
fn submits(world: &World, index: usize) -> usize {
    world.devices[index].asked.iter().filter(|kind| **kind == "Submit").count()
}

#[test]
fn a_submit_that_the_server_does_not_take_says_why_and_leaves_when_its_time_has_come() {
    let mut world = World::new(600);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "zero");
    world.pass(2_000);
    assert_eq!(world.screen(bob), ["alice: zero"]);
    world.disconnect(bob);
    let error: Rc<RefCell<Option<ErrorReply>>> = Rc::default();
    let answer = Rc::clone(&error);
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Submitted(_) if index == 0 => {
            Some(answer.borrow().clone().map_or(frame, ServerFrame::Error))
        }
        frame => Some(frame),
    }));
    let full = Some("the server's disk is full");
    let limit = Some("a limit of the server is reached");
    for (code, said_ms, fate, reason, again_ms) in [
        (ErrorCode::BUSY, None, Fate::Waiting, None, 1_000),
        (ErrorCode::BUSY, Some(5_000), Fate::Waiting, None, 5_000),
        // A disk does not become empty within moments.
        (ErrorCode::DISK_FULL, None, Fate::Refused, full, 10_000),
        (ErrorCode::DISK_FULL, Some(500), Fate::Refused, full, 10_000),
        (ErrorCode::DISK_FULL, Some(20_000), Fate::Refused, full, 20_000),
        // What may never be taken is not sent again and again.
        (ErrorCode::LIMIT, None, Fate::Refused, limit, 600_000),
    ] {
        let before = submits(&world, alice);
        *error.borrow_mut() = Some(ErrorReply { code, message: "no".to_owned(), retry_after_ms: said_ms });
        let message = world.send(alice, "bob", &format!("{code:?} {said_ms:?}"));
        assert_eq!(world.fate(alice, message), fate, "{code:?}");
        assert_eq!(world.fate_reason(alice, message).as_deref(), reason, "{code:?}");
        *error.borrow_mut() = None;
        world.pass(again_ms - 100);
        assert_eq!(submits(&world, alice), before + 1, "{code:?} {said_ms:?}: not yet");
        world.pass(200);
        assert_eq!(submits(&world, alice), before + 2, "{code:?} {said_ms:?}");
        assert_eq!((world.fate(alice, message), world.fate_reason(alice, message)), (Fate::Stored, None));
    }
    world.connect(bob);
    world.pass(60_000);
    assert_eq!(world.screen(bob), world.screen(alice));
    assert!(world.rows(alice).iter().all(|row| row.fate == Some(Fate::Delivered)));
}

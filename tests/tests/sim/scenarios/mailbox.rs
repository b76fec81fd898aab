//! A device's place in its mailbox, the holes in it, and the junk.

use sotto_client::{
    api::{ErrorKind, Fate},
    store::{StoreError, WantedBody},
};
use sotto_proto::{
    QueueNumber,
    frame::{Drained, ErrorCode, ErrorReply, ServerFrame},
    limits::DAY_MS,
};

use super::texts;
use crate::world::World;

fn rows_with(world: &mut World, index: usize, text: &str) -> usize {
    world.screen(index).iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_profile_from_before_its_first_login_does_not_go_on_where_the_server_has_seen_a_newer_one() {
    for acked in [0, 1] {
        let mut world = World::new(540);
        let alice = world.person_without_keys("alice");
        world.tamper = Some(Box::new(move |_, frame| {
            Some(match frame {
                ServerFrame::DeviceIn(mut device) => {
                    device.mailbox.acked = QueueNumber(acked);
                    ServerFrame::DeviceIn(device)
                }
                frame => frame,
            })
        }));
        world.connect(alice);
        world.settle();
        let old = acked > 0;
        assert_eq!(world.connected(alice), !old);
        assert_eq!(world.cursor(alice).is_none(), old);
        assert_eq!(world.published(world.devices[alice].id).signed.is_none(), old);
        if old {
            let (error, again) = world.devices[alice].closed.clone().unwrap();
            assert_eq!((error.kind, again), (ErrorKind::LocalStore, false));
            assert!(error.message.contains("this profile is an old copy"), "{error:?}");
        }
    }
}

#[test]
fn a_hole_is_told_of_where_something_is_missing_and_once_and_one_row_a_day_does() {
    let mut world = World::new(541);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    for text in ["one", "two", "three"] {
        world.send(bob, "alice", text);
    }
    world.pass(5_000);
    let number = world.cursor(alice).unwrap().number;
    assert!(number.0 >= 3);
    // Up to where, and how many rows and warnings there are then.
    let told = |world: &mut World, through: u64, rows: usize, warnings: usize| {
        world.push(
            alice,
            &ServerFrame::Drained(Drained { through: number, lost_through: QueueNumber(through) }),
        );
        world.settle();
        let text = "messages waited on the server for longer";
        let found = (rows_with(world, alice, text), world.warnings(alice).matches(text).count());
        assert_eq!(found, (rows, warnings), "through {through}");
    };
    told(&mut world, 1, 0, 0);
    told(&mut world, number.0, 0, 0);
    told(&mut world, number.0 + 1, 1, 0);
    let first_ms = world.now_ms;
    told(&mut world, number.0 + 1, 1, 0);
    told(&mut world, number.0 + 2, 1, 1);
    told(&mut world, number.0 + 1, 1, 1);
    world.now_ms = first_ms + DAY_MS - 1;
    told(&mut world, number.0 + 3, 1, 2);
    world.now_ms = first_ms + DAY_MS;
    told(&mut world, number.0 + 4, 2, 2);
}

#[test]
fn an_ack_that_does_not_fit_the_mailbox_leads_to_a_new_login_and_any_other_refusal_does_not() {
    for (code, anew) in
        [(ErrorCode::BUSY, false), (ErrorCode::INCARNATION, true), (ErrorCode::OUT_OF_ORDER, true)]
    {
        let mut world = World::new(542);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        let one = world.send(alice, "bob", "one");
        world.pass(5_000);
        assert_eq!(world.fate(alice, one), Fate::Delivered);
        // Nothing else of bob's is answered like that.
        world.tamper = Some(Box::new(move |index, frame| {
            Some(match frame {
                ServerFrame::Done if index == 1 => {
                    let message = "not this one".to_owned();
                    ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None })
                }
                frame => frame,
            })
        }));
        world.devices[bob].asked.clear();
        world.send(alice, "bob", "two");
        assert!(world.devices[bob].asked.contains(&"Ack"));
        assert_eq!(world.connected(bob), !anew, "{code:?}");
        let again = world.devices[bob].closed.as_ref().map(|(_, again)| *again);
        assert_eq!(again, anew.then_some(true), "{code:?}");
        world.tamper = None;
        world.pass(5_000);
        assert_eq!(world.devices[bob].asked.contains(&"DeviceLogin"), anew, "{code:?}");
        let three = world.send(alice, "bob", "three");
        world.pass(5_000);
        assert_eq!(world.fate(alice, three), Fate::Delivered);
        assert_eq!(world.screen(bob), ["alice: one", "alice: two", "alice: three"]);
    }
}

/// What bob fetches is damaged where its sender can still be read, or else nothing of it is left; of what arrives at others, so
/// that nobody sends it again, nothing at all.
fn damage(world: &mut World, readable: impl Fn(usize) -> bool + 'static) {
    let mut number = 0;
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Deliver(_) if index != 1 => None,
        ServerFrame::Deliver(mut deliver) => {
            if readable(number) {
                *deliver.envelope.last_mut().unwrap() ^= 1;
            } else {
                deliver.envelope = vec![u8::try_from(number).unwrap(); 40].into();
            }
            number += 1;
            Some(ServerFrame::Deliver(deliver))
        }
        frame => Some(frame),
    }));
}

#[test]
fn who_floods_a_mailbox_with_junk_gets_a_hundred_rows_a_day() {
    let mut world = World::new(543);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "hello");
    world.pass(5_000);
    let rows = |world: &mut World| rows_with(world, bob, "a message was damaged on its way");
    damage(&mut world, |number| [0, 101, 103].contains(&number));
    for (count, shown) in [(1, 1), (98, 99), (1, 100), (2, 100)] {
        for text in texts("number", count) {
            world.send(alice, "bob", &text);
        }
        assert_eq!(rows(&mut world), shown);
    }
    world.pass(DAY_MS + 1);
    for shown in [101, 102] {
        world.send(alice, "bob", "the next day");
        assert_eq!(rows(&mut world), shown);
    }
}

#[test]
fn no_more_than_two_thousand_envelopes_of_one_account_are_asked_for_again() {
    let mut world = World::new(544);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "hello");
    world.pass(5_000);
    let (account, device) = (world.accounts[world.devices[alice].account].id, world.devices[alice].id);
    let filled: Result<_, StoreError> = world.devices[bob].store.transaction(|tx| {
        (1..2_000u64).try_for_each(|number| {
            let mut reference = [0; 32];
            reference[..8].copy_from_slice(&number.to_be_bytes());
            tx.want_body(&WantedBody { reference, account, device, session: None }).map(drop)
        })
    });
    filled.unwrap();
    damage(&mut world, |_| true);
    for (number, shown) in [(1, 1), (2, 2)] {
        world.send(alice, "bob", &format!("number {number}"));
        let wanted: Result<_, StoreError> = world.devices[bob].store.transaction(|tx| tx.wanted_of(&account));
        assert_eq!(wanted.unwrap(), 2_000);
        assert_eq!(rows_with(&mut world, bob, "a message was damaged on its way"), shown);
    }
}

//! The keys that a device keeps at the server: when it publishes new ones, and how often at most.

use std::cell::Cell;

use sotto_client::{
    core::Input,
    store::{PrekeySlot, StoreError},
};
use sotto_proto::{
    frame::{ErrorCode, ErrorReply, KeyCounts, ServerFrame},
    limits::{DAY_MS, MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS, REFILL_BELOW},
    prekey::{PrekeyCounts, PrekeyId},
};

use crate::world::World;

/// How often a device has sent keys, or asked what is left of them.
fn uploads(world: &World, index: usize) -> usize {
    world.devices[index].asked.iter().filter(|asked| **asked == "PublishKeys").count()
}

#[test]
fn a_key_that_was_made_while_the_clock_was_far_ahead_is_replaced_once_it_is_right() {
    let mut world = World::new(350);
    let bob = world.person("bob");
    let mut published = |skew_ms: u64| {
        world.crash(bob);
        world.devices[bob].skew_ms = i64::try_from(skew_ms).unwrap();
        world.start(bob);
        world.connect(bob);
        world.pass(1_000);
        world.published(world.devices[bob].id).signed.unwrap().0
    };
    let keys = [0, DAY_MS / 2, 0, 30 * DAY_MS, 0, 0].map(&mut published);
    assert_eq!(keys, [1, 1, 1, 2, 3, 3]);
}

#[test]
fn a_server_that_says_again_and_again_that_no_keys_are_left_makes_a_device_work_only_once() {
    let mut world = World::new(351);
    let (bob, carol) = (world.person("bob"), world.person("carol"));
    world.send(carol, "bob", "hello");
    world.pass(120_000);
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Deliver(_) if index == bob => {
                ServerFrame::KeyCounts(KeyCounts { counts: PrekeyCounts::default() })
            }
            frame => frame,
        })
    }));
    world.devices[bob].asked.clear();
    for number in 0..20 {
        world.send(carol, "bob", &format!("number {number}"));
    }
    assert_eq!(uploads(&world, bob), 1);
    // Then it asks what is left, and hears that nothing is missing.
    world.pass(600_000);
    assert_eq!(uploads(&world, bob), 2);
}

#[test]
fn keys_that_the_server_lost_as_soon_as_it_had_them_are_published_again_within_minutes() {
    let mut world = World::new(352);
    let bob = world.person("bob");
    let device = world.devices[bob].id;
    let first = world.published(device);
    world.disconnect(bob);
    world.pass(8 * DAY_MS);
    let copy = world.store.copy(1_000);
    world.connect(bob);
    world.settle();
    let second = world.published(device);
    assert!(second.signed > first.signed);
    world.put_back(copy);
    world.connect(bob);
    world.settle();
    assert_eq!(world.published(device), first, "not at once: it has just sent some");
    world.pass(120_000);
    assert!(world.published(device).signed > second.signed);
}

#[test]
fn keys_that_are_refused_are_offered_less_and_less_often() {
    let mut world = World::new(353);
    let bob = world.person_without_keys("bob");
    // It takes none, and has none when it is asked what it has.
    let refused = Cell::new(false);
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::KeyCounts(_) if refused.replace(!refused.get()) => {
                ServerFrame::KeyCounts(KeyCounts { counts: PrekeyCounts::default() })
            }
            ServerFrame::KeyCounts(_) => {
                let (code, message) = (ErrorCode::BUSY, "busy".to_owned());
                ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None })
            }
            frame => frame,
        })
    }));
    world.connect(bob);
    let hour = |world: &mut World| {
        world.devices[bob].asked.clear();
        world.pass(3_600_000);
        uploads(world, bob)
    };
    // Each try asks first what is left.
    let (first, second) = (hour(&mut world), hour(&mut world));
    assert!((16..=22).contains(&first), "{first}");
    assert!((8..=14).contains(&second), "{second}");
    world.tamper = None;
    world.pass(11 * 60_000);
    assert_eq!(hour(&mut world), 0);
}

#[test]
fn one_time_keys_are_made_again_as_soon_as_fewer_than_twenty_of_a_kind_are_left() {
    let mut world = World::new(354);
    let bob = world.person("bob");
    let full = (MAX_ONE_TIME_PREKEYS, MAX_ONE_TIME_KEM_PREKEYS);
    let mut left_after = |claims: usize| {
        for _ in 0..claims {
            world.claim(bob);
        }
        world.pass(120_000);
        world.connect(bob);
        world.pass(1_000);
        let counts = world.published(world.devices[bob].id);
        (counts.one_time as usize, counts.one_time_kem as usize)
    };
    assert_eq!(left_after(0), full);
    let claims = full.1 - REFILL_BELOW;
    assert_eq!(left_after(claims), (full.0 - claims, REFILL_BELOW));
    assert_eq!(left_after(1), (full.0 - claims - 1, full.1));
    assert_eq!(left_after(full.0 - claims - 1 - REFILL_BELOW), (REFILL_BELOW, full.1));
    assert_eq!(left_after(1), (full.0, full.1 - 1));
}

/// On which day the first signed key is gone. It is replaced after a week, and due to be wiped after 60 days more. Each day the
/// device's program runs twice: first without a connection, then with one.
fn wiped_on(world: &mut World, index: usize) -> Option<u32> {
    (1..150).find(|_| {
        for connected in [false, true] {
            world.crash(index);
            world.start(index);
            world.tell(index, Input::Tick);
            if connected {
                world.connect(index);
            }
            world.pass(60_000);
        }
        world.crash(index);
        world.pass(DAY_MS - 120_000);
        let key: Result<_, StoreError> =
            world.devices[index].store.transaction(|tx| tx.prekey(PrekeySlot::Signed, PrekeyId(1)));
        key.unwrap().is_none()
    })
}

#[test]
fn keys_are_wiped_when_what_waited_has_come_however_the_day_began_and_at_last_where_the_server_never_says_so()
{
    for (drained, expected) in [(true, 67..=70), (false, 100..=130)] {
        let mut world = World::new(358);
        let alice = world.person("alice");
        world.tamper = Some(Box::new(move |_, frame| match frame {
            ServerFrame::Drained(_) if !drained => None,
            frame => Some(frame),
        }));
        let day = wiped_on(&mut world, alice).expect("wiped at last");
        assert!(expected.contains(&day), "{day} days, {drained}");
    }
}

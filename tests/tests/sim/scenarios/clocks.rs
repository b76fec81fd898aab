//! Clocks that are set while a device is connected, and machines that sleep for weeks.

use sotto_client::{
    api::Fate,
    core::{Input, WithKey},
};
use sotto_proto::{
    frame::{Bundles, ServerFrame},
    limits::DAY_MS,
};

use crate::world::{PASSWORD, World};

/// How often a device has asked for something.
fn asked(world: &World, index: usize, what: &str) -> usize {
    world.devices[index].asked.iter().filter(|asked| **asked == what).count()
}

#[test]
fn a_clock_that_is_corrected_by_minutes_ends_no_connection_nor_does_a_day_without_a_word() {
    let mut world = World::new(217);
    let alice = world.person("alice");
    world.pass(3 * DAY_MS);
    for minutes in [9, 0] {
        world.devices[alice].skew_ms = minutes * 60_000;
        world.tell(alice, Input::Tick);
        world.pass(2_000);
    }
    assert_eq!(asked(&world, alice, "Hello"), 1);
    for (minutes, hellos) in [(11, 1), (0, 2)] {
        world.devices[alice].skew_ms = minutes * 60_000;
        world.tell(alice, Input::Tick);
        world.pass(2_000);
        assert_eq!(asked(&world, alice, "Hello"), hellos, "back by more than ten minutes is another matter");
    }
}

#[test]
fn what_was_refused_before_the_clock_was_set_back_is_sent_again_as_soon_as_without_that() {
    for days in [0, 70] {
        let mut world = World::new(218);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "one");
        world.set_clock(alice, days);
        world.pass(2_000);
        world.store.set_disk_full(true);
        let two = world.send(alice, "bob", "two");
        assert_eq!(world.fate(alice, two), Fate::Refused);
        world.store.set_disk_full(false);
        world.set_clock(alice, 0);
        world.pass(60_000);
        assert_eq!(world.fate(alice, two), Fate::Delivered, "{days} days");
        assert_eq!(world.screen(bob), ["alice: one", "alice: two"], "{days} days");
    }
}

#[test]
fn keys_that_were_made_months_ahead_are_replaced_when_the_clock_is_right_again_and_not_asked_for_without_end()
{
    let mut world = World::new(219);
    let alice = world.person("alice");
    let published = |world: &World| world.published(world.devices[alice].id).signed;
    let first = published(&world);
    world.set_clock(alice, 70);
    world.pass(2 * DAY_MS);
    let ahead = published(&world);
    assert_ne!(ahead, first, "a key is made anew when it is that old");
    world.set_clock(alice, 0);
    let before = asked(&world, alice, "PublishKeys");
    world.pass(2 * DAY_MS);
    assert_ne!(published(&world), ahead, "a key from the future is made anew");
    let more = asked(&world, alice, "PublishKeys") - before;
    assert!(more < 10, "{more} uploads and questions in two days");
}

#[test]
fn what_is_signed_while_a_clock_is_months_ahead_is_not_too_new_for_the_server() {
    let mut world = World::new(220);
    let alice = world.person("alice");
    world.pass(2_000);
    for days in [70, 0] {
        let stranger = world.waiting_device(world.devices[alice].account);
        world.set_clock(alice, days);
        world.pass(2_000);
        for change in [
            WithKey::Approve { code: stranger.code, key: PASSWORD },
            WithKey::Remove { device: stranger.id, key: PASSWORD },
        ] {
            let changed = world.with_key(alice, change);
            assert!(changed.is_ok(), "{days} days: {changed:?}");
        }
    }
}

#[test]
fn what_waited_while_all_machines_slept_for_weeks_is_read() {
    let mut world = World::new(221);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(2_000);
    world.disconnect(bob);
    let message = world.send(alice, "bob", "two");
    // So long that what opens it is out of use, and that it would expire.
    world.now_ms += 120 * DAY_MS;
    world.tick_server();
    world.pass(60_000);
    world.connect(bob);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
}

#[test]
fn a_server_that_says_nothing_of_a_device_s_keys_is_not_asked_without_end() {
    let mut world = World::new(222);
    let (alice, _) = (world.person("alice"), world.person("bob"));
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Bundles(_) if index == alice => {
                ServerFrame::Bundles(Bundles { bundles: Vec::new(), missing: Vec::new() })
            }
            frame => frame,
        })
    }));
    world.send(alice, "bob", "hello");
    world.pass(60_000);
    let claims = asked(&world, alice, "ClaimBundles");
    assert!((2..40).contains(&claims), "{claims} in a minute");
}

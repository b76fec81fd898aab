//! Clocks that are set while a device is connected.

use sotto_client::api::Fate;
use sotto_proto::limits::DAY_MS;

use crate::world::World;

/// How often a device has asked for something.
fn asked(world: &World, index: usize, what: &str) -> usize {
    world.devices[index].asked.iter().filter(|asked| **asked == what).count()
}

#[test]
fn what_was_refused_before_the_clock_was_set_back_is_sent_again_as_soon_as_without_that() {
    for days in [0, 70] {
        let mut world = World::new(218);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "one");
        world.set_clock(alice, days);
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

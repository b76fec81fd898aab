//! Mailboxes and disks that are full, and what is too large for one frame.

use sotto_client::api::Fate;
use sotto_proto::frame::ServerFrame;
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

use super::texts;
use crate::world::World;

#[test]
fn a_full_mailbox_refuses_and_nothing_overtakes_what_it_refused() {
    let store = StoreConfig { mailbox_envelopes: 6, mailbox_floor_places: 0, ..StoreConfig::default() };
    let core = CoreConfig { mailbox_envelopes: 1_000_000, ..CoreConfig::default() };
    let mut world = World::with(16, core, store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    for text in texts("number", 10) {
        world.write(alice, "bob", &text);
    }
    world.settle();
    world.send(alice, "bob", "number 10");
    let fates = |world: &mut World| -> Vec<_> {
        world.rows(alice).into_iter().map(|row| row.fate.unwrap()).collect()
    };
    let told = fates(&mut world);
    assert_eq!(told[..6], [Fate::Stored; 6], "{told:?}");
    assert_eq!(told[6..], [Fate::Refused; 5], "{told:?}");
    world.connect(bob);
    world.pass(60_000);
    assert_eq!(world.screen(bob), texts("alice: number", 11));
    assert_eq!(fates(&mut world), [Fate::Delivered; 11]);
}

#[test]
fn a_full_disk_of_the_server_refuses_and_later_takes_everything() {
    let mut world = World::new(17);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.store.set_disk_full(true);
    let two = world.send(alice, "bob", "two");
    assert_eq!(world.fate(alice, two), Fate::Refused);
    world.store.set_disk_full(false);
    let three = world.send(alice, "bob", "three");
    world.pass(60_000);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two", "alice: three"]);
    assert_eq!((world.fate(alice, two), world.fate(alice, three)), (Fate::Delivered, Fate::Delivered));
}

#[test]
fn one_devices_full_mailbox_does_not_hold_up_the_others() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(18, CoreConfig::default(), store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[bob].account;
    world.pass(2_000);
    let laptop = world.second_device(account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(5_000);
    world.disconnect(laptop);
    for text in texts("number", 9) {
        world.send(alice, "bob", &text);
    }
    assert_eq!(world.said(bob), texts("alice: number", 9), "the connected device has everything");
    world.connect(laptop);
    world.pass(120_000);
    assert_eq!(world.screen(laptop), texts("alice: number", 9));
}

#[test]
fn large_messages_that_were_refused_leave_in_frames_that_hold_them() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(32, CoreConfig::default(), store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    let long = "x".repeat(sotto_proto::content::MAX_TEXT - 8);
    for number in 0..40 {
        world.write(alice, "bob", &format!("{number:04} {long}"));
    }
    world.settle();
    world.connect(bob);
    world.pass(600_000);
    let screen = world.screen(bob);
    let order: Vec<&str> = screen.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    let expected: Vec<String> = (0..40).map(|number| format!("{number:04}")).collect();
    assert_eq!(order, expected);
}

#[test]
fn a_contact_that_never_reads_cannot_fill_the_outbox_with_receipts() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(35, CoreConfig::default(), store);
    let (alice, mallory) = (world.person("alice"), world.person("mallory"));
    let mut drop_all = true;
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Deliver(_) if index == 1 && drop_all => {
            drop_all = true;
            None
        }
        frame => Some(frame),
    }));
    for number in 0..60 {
        world.send(mallory, "alice", &format!("hey {number}"));
    }
    let waiting = world.outbox_length(alice);
    assert!(waiting <= 6, "{waiting} entries");
    assert_eq!(world.rows(alice).len(), 60);
}

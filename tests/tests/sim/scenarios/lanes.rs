//! What goes out next and when: the order, and how much and how often at most.

use sotto_client::{api::Fate, core::WithKey};
use sotto_proto::{
    frame::{ErrorCode, ErrorReply, ServerFrame},
    limits::MAX_PIPELINED,
};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

use super::texts;
use crate::world::{PASSWORD, World};

/// A world whose mailboxes have room for six messages.
fn with_small_mailboxes(seed: u64) -> World {
    let store = StoreConfig { mailbox_envelopes: 6, mailbox_floor_places: 0, ..StoreConfig::default() };
    let core = CoreConfig { mailbox_envelopes: 1_000_000, ..CoreConfig::default() };
    World::with(seed, core, store)
}

/// How often a device has asked something since this was looked at last.
fn newly_asked(world: &mut World, index: usize, kind: &str) -> usize {
    let asked = std::mem::take(&mut world.devices[index].asked);
    asked.iter().filter(|asked| **asked == kind).count()
}

#[test]
fn no_more_is_under_way_at_a_time_than_a_server_reads_and_the_rest_follows() {
    let mut world = World::new(360);
    let alice = world.person("alice");
    let names: Vec<String> = (0..MAX_PIPELINED / 2 + 4).map(|number| format!("friend{number}")).collect();
    let friends: Vec<usize> = names.iter().map(|name| world.person(name)).collect();
    for name in &names {
        world.send(alice, name, "hello");
    }
    world.pass(1_000);
    newly_asked(&mut world, alice, "Submit");
    for name in &names {
        world.write(alice, name, "to everybody");
    }
    world.run_device(alice, names.len(), true);
    assert_eq!(newly_asked(&mut world, alice, "Submit"), MAX_PIPELINED / 2);
    world.settle();
    for friend in friends {
        assert_eq!(world.screen(friend), ["alice: hello", "alice: to everybody"]);
    }
}

#[test]
fn a_device_that_is_added_while_another_one_takes_nothing_gets_everything_in_order() {
    let mut world = with_small_mailboxes(361);
    let (alice, phone) = (world.person("alice"), world.person("bob"));
    let account = world.devices[phone].account;
    world.pass(2_000);
    let laptop = world.second_device(account, None);
    for index in [alice, phone] {
        world.connect(index);
    }
    world.send(alice, "bob", "before");
    world.pass(5_000);
    world.crash(phone);
    let sent: Vec<_> = texts("number", 8).iter().map(|text| world.send(alice, "bob", text)).collect();
    assert_eq!(world.copy_fate(alice, sent[5], phone), Some(Fate::Stored));
    assert_eq!(world.copy_fate(alice, sent[6], phone), None, "its mailbox is full");
    let stranger = world.waiting_device(account);
    assert!(world.with_key(laptop, WithKey::Approve { code: stranger.code, key: PASSWORD }).is_ok());
    let tablet = world.approved(account, &stranger).expect("it is in the list");
    world.send(alice, "bob", "later");
    world.pass(5_000);
    assert_eq!(world.said(tablet), ["alice: number 6", "alice: number 7", "alice: later"]);
    world.start(phone);
    world.connect(phone);
    world.pass(60_000);
    let all = [vec!["alice: before".to_owned()], texts("alice: number", 8), vec!["alice: later".to_owned()]];
    assert_eq!(world.said(phone), all.concat());
    assert_eq!(world.said(laptop), all.concat());
}

#[test]
fn a_full_mailbox_is_tried_again_after_ten_seconds_and_then_less_and_less_often() {
    let mut world = with_small_mailboxes(362);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    for text in texts("number", 6) {
        world.send(alice, "bob", &text);
    }
    newly_asked(&mut world, alice, "Submit");
    let last = world.send(alice, "bob", "number 6");
    let tried = |world: &mut World, after_ms: u64| {
        world.pass(after_ms);
        newly_asked(world, alice, "Submit")
    };
    assert_eq!(world.fate(alice, last), Fate::Refused);
    assert_eq!([0, 9_000, 2_000].map(|after_ms| tried(&mut world, after_ms)), [1, 0, 1]);
    // A reconnect is a good time to try.
    world.connect(alice);
    assert_eq!([0, 9_000, 2_000].map(|after_ms| tried(&mut world, after_ms)), [1, 0, 1]);
    assert_eq!([17_000, 3_000].map(|after_ms| tried(&mut world, after_ms)), [0, 1]);
    let hour = tried(&mut world, 3_600_000);
    assert!((6..=12).contains(&hour), "{hour}");
    world.connect(bob);
    world.pass(11 * 60_000);
    assert_eq!(world.screen(bob), texts("alice: number", 7));
}

#[test]
fn keys_that_a_server_is_too_busy_to_hand_out_are_asked_for_every_few_seconds() {
    let mut world = World::new(363);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Bundles(_) if index == alice => {
                let (code, message) = (ErrorCode::BUSY, "busy".to_owned());
                ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None })
            }
            frame => frame,
        })
    }));
    let message = world.send(alice, "bob", "hello");
    assert_eq!(newly_asked(&mut world, alice, "ClaimBundles"), 1);
    world.pass(60_000);
    let asked = newly_asked(&mut world, alice, "ClaimBundles");
    assert!((10..=12).contains(&asked), "{asked}");
    assert_eq!(world.fate(alice, message), Fate::Waiting);
    world.tamper = None;
    world.pass(6_000);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.screen(bob), ["alice: hello"]);
}

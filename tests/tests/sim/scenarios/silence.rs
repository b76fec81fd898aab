//! What became of messages that waited long, were lost, or of which nothing was heard.

use sotto_client::{
    api::Fate,
    store::{CopyFate, StoreError},
};
use sotto_proto::{
    MessageId,
    frame::{ServerFrame, Taken},
    limits::DAY_MS,
};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

use super::texts;
use crate::world::World;

/// Alice, and bob who has a laptop as well; everybody knows everybody.
fn with_laptop(mut world: World) -> (World, usize, usize, usize) {
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.pass(2_000);
    let laptop = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    let before = world.send(alice, "bob", "before");
    world.pass(5_000);
    assert_eq!(world.copy_fate(alice, before, laptop), Some(Fate::Delivered));
    (world, alice, bob, laptop)
}

/// Why a message stays stored of which nothing can be heard any more.
const UNHEARD: &str = "longer than the server remembers";

/// How often a device asked what became of its messages.
fn asked_fates(world: &World, index: usize) -> usize {
    world.devices[index].asked.iter().filter(|asked| **asked == "QueryFates").count()
}

#[test]
fn a_message_that_one_device_has_stays_delivered_while_it_waits_for_another() {
    let (mut world, alice, bob, laptop) = with_laptop(World::new(320));
    world.crash(laptop);
    let message = world.send(alice, "bob", "to both");
    world.pass(5_000);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    world.devices[alice].asked.clear();
    world.connect(alice);
    world.pass(60_000);
    assert!(asked_fates(&world, alice) > 0);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.copy_fate(alice, message, bob), Some(Fate::Delivered));
    assert_eq!(world.copy_fate(alice, message, laptop), Some(Fate::Stored));
}

#[test]
fn what_became_of_a_message_is_asked_for_as_long_as_the_server_can_know_and_a_day_later_it_is_given_up() {
    // It keeps messages for 30 days, and what became of them for 14 more.
    for (hours, known, given_up) in
        [(43 * 24, true, false), (44 * 24 + 12, false, false), (45 * 24 + 12, false, true)]
    {
        let mut world = World::new(321);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "before");
        world.disconnect(bob);
        let message = world.send(alice, "bob", "for nobody");
        world.crash(alice);
        world.pass(hours * 3_600_000);
        world.start(alice);
        world.devices[alice].asked.clear();
        world.connect(alice);
        world.pass(60_000);
        assert_eq!(asked_fates(&world, alice) > 0, known, "{hours} hours");
        assert_eq!(world.fate(alice, message), if known { Fate::Expired } else { Fate::Stored });
        let unheard = world.fate_reason(alice, message).is_some_and(|reason| reason.contains(UNHEARD));
        assert_eq!(unheard, given_up, "{hours} hours");
    }
}

/// What became of the copy of a message for the only other device of its sender's.
fn own_copy(world: &mut World, index: usize, message: MessageId) -> CopyFate {
    let own = world.accounts[world.devices[index].account].id;
    let copies = world.devices[index].store.transaction(|tx| tx.fates_of(&message));
    let copies: Result<Vec<CopyFate>, StoreError> = copies;
    copies.unwrap().into_iter().find(|copy| copy.account == own).unwrap()
}

#[test]
fn late_word_of_a_copy_for_an_own_device_makes_nothing_heard_of_the_message() {
    let mut world = World::new(327);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.pass(2_000);
    let mine = world.second_device(world.devices[alice].account, None);
    world.crash(mine);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.send(alice, "bob", "before");
    world.disconnect(bob);
    let message = world.send(alice, "bob", "for nobody");
    world.crash(alice);
    world.pass(70 * DAY_MS);
    world.start(alice);
    world.connect(alice);
    world.pass(60_000);
    let reason = world.fate_reason(alice, message).unwrap();
    assert!(reason.contains(UNHEARD), "{reason}");
    // In the place of what comes next, the server says that the other device has taken its copy.
    let copy = own_copy(&mut world, alice, message);
    assert_eq!(copy.state, Fate::Stored);
    let taken = Taken { tags: vec![copy.tag] };
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Deliver(_) if index == alice => ServerFrame::Taken(taken.clone()),
            frame => frame,
        })
    }));
    let carol = world.person("carol");
    world.send(carol, "alice", "hello");
    assert_eq!(own_copy(&mut world, alice, message).state, Fate::Taken);
    assert_eq!(world.fate(alice, message), Fate::Stored);
    assert_eq!(world.fate_reason(alice, message), Some(reason));
}

#[test]
fn a_message_that_expires_says_so_and_not_what_was_said_of_it_before() {
    let mut world = World::new(328);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.disconnect(bob);
    let message = world.send(alice, "bob", "for nobody");
    // The server's clock is months ahead for a while.
    world.server_skew_ms = 70 * i64::try_from(DAY_MS).unwrap();
    world.connect(alice);
    world.pass(60_000);
    let reason = world.fate_reason(alice, message).unwrap();
    assert!(reason.contains(UNHEARD), "{reason}");
    world.crash(alice);
    world.server_skew_ms = 0;
    world.pass(31 * DAY_MS);
    world.start(alice);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.fate(alice, message), Fate::Expired);
    let reason = world.fate_reason(alice, message).unwrap();
    assert_eq!(reason, "the server removed it unfetched after its retention time");
}

#[test]
fn what_a_server_loses_weeks_later_is_missed_for_as_long_as_it_should_know_of_it() {
    let mut world = World::new(322);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.pass(5_000);
    let copy = world.store.copy(1_000);
    world.disconnect(bob);
    let message = world.send(alice, "bob", "lost");
    assert_eq!(world.fate(alice, message), Fate::Stored);
    world.crash(alice);
    world.pass(40 * DAY_MS);
    world.put_back(copy);
    world.start(alice);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(60_000);
    assert!(world.warnings(alice).contains("has lost a message of yours"), "{}", world.warnings(alice));
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.screen(bob), ["alice: before", "alice: lost"]);
}

#[test]
fn a_message_that_never_got_to_a_server_that_would_remember_is_not_said_to_be_doubtful() {
    let mut world = World::new(323);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    // It is sealed and leaves, and the connection breaks before the server has read it.
    world.devices[alice].asked.clear();
    world.write(alice, "bob", "lost on its way");
    world.run_device(alice, 1, true);
    assert!(world.devices[alice].asked.contains(&"Submit"));
    world.crash(alice);
    world.pass(40 * DAY_MS);
    world.start(alice);
    world.connect(alice);
    world.pass(60_000);
    let message = world.rows(alice).last().unwrap().message;
    assert_eq!(world.fate(alice, message), Fate::Expired);
    assert_eq!(world.fate_reason(alice, message).as_deref(), Some("it waited here for 14 days"));
    assert_eq!(world.copy_fate(alice, message, bob), Some(Fate::Expired));
    assert_eq!(world.screen(bob), ["alice: before"]);
}

#[test]
fn each_device_that_goes_without_an_expired_message_is_named() {
    let store = StoreConfig { mailbox_envelopes: 6, mailbox_floor_places: 0, ..StoreConfig::default() };
    let core = CoreConfig { mailbox_envelopes: 1_000_000, ..CoreConfig::default() };
    let (mut world, alice, bob, laptop) = with_laptop(World::with(324, core, store));
    // The server hands out no keys of a device that is added now, so that nothing is ever sealed for it.
    let tablet = world.second_device(world.devices[bob].account, None);
    let hidden = world.devices[tablet].id;
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::Bundles(mut bundles) => {
                bundles.bundles.retain(|bundle| bundle.device != hidden);
                bundles.missing.push(hidden);
                ServerFrame::Bundles(bundles)
            }
            frame => frame,
        })
    }));
    world.connect(alice);
    for index in [bob, laptop] {
        world.crash(index);
    }
    for text in texts("number", 10) {
        world.write(alice, "bob", &text);
    }
    world.pass(120_000);
    let last = world.rows(alice).last().unwrap().message;
    assert_eq!(world.fate(alice, last), Fate::Refused, "their mailboxes are full");
    world.disconnect(alice);
    let unsealed = world.send(alice, "bob", "never sealed");
    world.pass(15 * DAY_MS);
    world.connect(alice);
    world.pass(60_000);
    for message in [last, unsealed] {
        assert_eq!(world.fate(alice, message), Fate::Expired);
        for device in [bob, laptop, tablet] {
            assert_eq!(world.copy_fate(alice, message, device), Some(Fate::Expired), "{device}");
        }
    }
}

/// A message that bob's first device has, and whose copy for a laptop that has read nothing yet the server loses.
fn with_lost_copy(seed: u64) -> (World, usize, usize, MessageId) {
    let mut world = World::new(seed);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.pass(2_000);
    let laptop = world.second_device(world.devices[bob].account, None);
    world.crash(laptop);
    for index in [alice, bob] {
        world.connect(index);
    }
    let message = world.send(alice, "bob", "to both");
    world.pass(5_000);
    assert_eq!(world.copy_fate(alice, message, bob), Some(Fate::Delivered));
    assert_eq!(world.copy_fate(alice, message, laptop), Some(Fate::Stored));
    // A session that was never answered is used for a week.
    world.pass(8 * DAY_MS);
    world.forget_everything();
    world.connect(bob);
    world.pass(5_000);
    (world, alice, laptop, message)
}

#[test]
fn a_lost_copy_that_could_not_be_sent_again_expires_for_its_device_alone() {
    let (mut world, alice, laptop, message) = with_lost_copy(325);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.copy_fate(alice, message, laptop), None, "it waits for the laptop's keys");
    world.pass(15 * DAY_MS);
    assert_eq!(world.copy_fate(alice, message, laptop), Some(Fate::Expired));
    assert_eq!(world.fate(alice, message), Fate::Delivered);
}

#[test]
fn a_lost_copy_that_was_sent_again_and_taken_does_not_expire_because_the_answer_was_lost() {
    let (mut world, alice, laptop, message) = with_lost_copy(326);
    world.start(laptop);
    world.connect(laptop);
    world.pass(5_000);
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Submitted(_) | ServerFrame::Taken(_) | ServerFrame::Deliver(_) if index == alice => None,
        frame => Some(frame),
    }));
    world.connect(alice);
    world.pass(60_000);
    world.crash(alice);
    world.tamper = None;
    assert_eq!(world.said(laptop), ["alice: to both"]);
    // The Submit is remembered for 21 days, the receipt waits for 30, what became of a copy is known for 44.
    world.pass(35 * DAY_MS);
    world.start(alice);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.copy_fate(alice, message, laptop), Some(Fate::Taken));
    assert_eq!(world.fate(alice, message), Fate::Delivered);
}

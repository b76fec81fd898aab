//! Envelopes that somebody damaged, replayed or forged.

use sotto_client::{
    api::{Command, Event, Fate, Reply, Row, RowBody},
    store::{PrekeySlot, StoreError},
};
use sotto_proto::{
    QueueNumber,
    frame::{ResetState, ServerFrame},
    limits::DAY_MS,
    prekey::PrekeyId,
};

use crate::world::World;

#[test]
fn a_message_that_was_damaged_on_its_way_is_asked_for_and_takes_its_place() {
    let mut world = World::new(7);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    let mut damaged = false;
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Deliver(mut deliver) if index == 1 && !damaged => {
                damaged = true;
                let last = deliver.envelope.len() - 1;
                deliver.envelope[last] ^= 1;
                ServerFrame::Deliver(deliver)
            }
            frame => frame,
        })
    }));
    let two = world.send(alice, "bob", "two");
    world.send(alice, "bob", "three");
    world.pass(5_000);
    assert_eq!(world.unreadable(bob), 1);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two", "alice: three"]);
    assert_eq!(world.fate(alice, two), Fate::Delivered);
}

#[test]
fn a_request_that_cannot_be_read_is_not_answered_in_its_session_without_end() {
    let mut world = World::new(37);
    let (alice, _) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    // The keys that bob's request is going to name are not there any more.
    let wiped = world.devices[alice].store.transaction(|tx| {
        for slot in [PrekeySlot::OneTime, PrekeySlot::OneTimeKem] {
            (1..=100).try_for_each(|id| tx.remove_prekey(slot, PrekeyId(id)))?;
        }
        Ok::<_, StoreError>(())
    });
    wiped.unwrap();
    let mut damaged = false;
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Deliver(mut deliver) if index == 1 && !damaged => {
                damaged = true;
                let last = deliver.envelope.len() - 1;
                deliver.envelope[last] ^= 1;
                ServerFrame::Deliver(deliver)
            }
            frame => frame,
        })
    }));
    world.send(alice, "bob", "two");
    world.pass(5 * DAY_MS);
    let unread = world.screen(alice).iter().filter(|line| line.contains("be read")).count();
    // Each day's request may name such keys, and what asks for it does not.
    assert!((1..=5).contains(&unread), "{:?}", world.screen(alice));
}

#[test]
fn a_strangers_message_under_a_contacts_name_changes_nothing() {
    let mut world = World::new(15);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "it is me");
    // Mallory certifies a device of hers under bob's name, and writes to alice with it.
    world.impostor("bob", None, alice, "it is me too, send the money");
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["bob: it is me"]);
    assert_eq!(world.warnings(alice), "");
    let Ok(Reply::Contacts(contacts)) = world.command(alice, Command::Contacts) else { panic!() };
    assert_eq!((contacts[0].name.as_str(), contacts[0].impostors), ("bob", 1));
    assert_eq!(contacts[0].trust, sotto_client::api::Trust::Pinned);
    world.send(alice, "bob", "still you");
    assert_eq!(world.screen(bob).last().unwrap(), "alice: still you");
}

/// Who has stolen a device's private keys can write to it under any name, once. What follows is noticed, and lost is nothing.
#[test]
fn a_planted_session_of_a_high_generation_makes_rows_and_is_overcome() {
    let mut world = World::new(38);
    let (alice, bob, mallory) = (world.person("alice"), world.person("bob"), world.person("mallory"));
    world.send(alice, "bob", "one");
    world.send(bob, "alice", "two");
    world.pass(5_000);
    world.plant_session(mallory, alice, bob, "planted");
    world.connect(bob);
    world.pass(5_000);
    assert_eq!(world.screen(bob).last().unwrap(), "alice: planted", "the keys are the stolen ones");
    // Bob answers in the session of the highest generation, which alice does not have.
    let astray: Vec<_> = (3..6).map(|number| world.send(bob, "alice", &format!("number {number}"))).collect();
    world.pass(60_000);
    let unread = |event: &&Event| matches!(event, Event::Row(Row { body: RowBody::Undecryptable(_), .. }));
    assert!(world.devices[alice].events.iter().filter(unread).count() > 0, "alice was told");
    let nothing = "bob? could not be read; bob says that it was no message";
    // The receipt for what was planted went astray as well.
    let screen = world.screen(alice);
    assert_eq!(
        screen,
        ["alice: one", "bob: two", nothing, "bob: number 3", "bob: number 4", "bob: number 5"]
    );
    for message in astray {
        assert_eq!(world.fate(bob, message), Fate::Delivered);
    }
    for number in 6..9 {
        let there = world.send(alice, "bob", &format!("number {number}"));
        let back = world.send(bob, "alice", &format!("number {number}"));
        world.pass(5_000);
        assert_eq!((world.fate(alice, there), world.fate(bob, back)), (Fate::Delivered, Fate::Delivered));
    }
    let three = ["number 6", "number 7", "number 8"];
    for (index, from) in [(alice, "bob"), (bob, "alice")] {
        let heard: Vec<String> = three.iter().map(|text| format!("{from}: {text}")).collect();
        let screen = world.screen(index);
        assert!(
            heard.iter().all(|line| screen.iter().filter(|other| *other == line).count() == 1),
            "{screen:?}"
        );
    }
}

#[test]
fn a_certificate_with_a_contacts_account_id_cannot_make_the_contacts_messages_vanish() {
    let mut world = World::new(23);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    let account = world.accounts[world.devices[alice].account].id;
    // Both wait for their list when alice's real message comes: one under a name nobody has, one under mallory's own.
    world.impostor("nobody-such", Some(account), bob, "forged");
    world.impostor("mallory", Some(account), bob, "forged too");
    let two = world.send(alice, "bob", "two");
    world.connect(bob);
    world.pass(120_000);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two"]);
    assert_eq!(world.fate(alice, two), Fate::Delivered);
}

#[test]
fn a_key_that_was_handed_out_twice_makes_a_row_and_is_healed() {
    let mut world = World::new(21);
    let bob = world.person("bob");
    world.pass(2_000);
    // The server hands the same bundle to two people.
    let mut first = None;
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::Bundles(bundles) if first.is_none() && bundles.bundles.len() == 1 => {
                first = Some(bundles.clone());
                ServerFrame::Bundles(bundles)
            }
            ServerFrame::Bundles(bundles) => {
                let same = first.take().unwrap();
                let fits = same.bundles[0].device == bundles.bundles[0].device;
                ServerFrame::Bundles(if fits { same } else { bundles })
            }
            frame => frame,
        })
    }));
    world.disconnect(bob);
    let (alice, carol) = (world.person("alice"), world.person("carol"));
    let one = world.send(alice, "bob", "from alice");
    let two = world.send(carol, "bob", "from carol");
    world.tamper = None;
    world.connect(bob);
    world.pass(5_000);
    assert_eq!(world.unreadable(bob), 1);
    assert_eq!(world.screen(bob), ["alice: from alice", "carol: from carol"]);
    assert_eq!((world.fate(alice, one), world.fate(carol, two)), (Fate::Delivered, Fate::Delivered));
}

#[test]
fn a_replayed_envelope_appears_once() {
    let mut world = World::new(22);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    let mut last = None;
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Deliver(mut deliver) if index == 1 => {
                let envelope = last.replace(deliver.envelope.clone());
                if let Some(envelope) = envelope {
                    deliver.envelope = envelope;
                }
                ServerFrame::Deliver(deliver)
            }
            frame => frame,
        })
    }));
    world.send(alice, "bob", "two");
    world.send(alice, "bob", "three");
    world.pass(5_000);
    assert_eq!(
        world.screen(bob),
        ["alice: one", "alice: two"],
        "what the server put in the place of three was two"
    );
}

#[test]
fn what_a_server_repeats_without_end_makes_one_row_a_day() {
    let mut world = World::new(26);
    let alice = world.person("alice");
    let count =
        |world: &mut World, text: &str| world.screen(alice).iter().filter(|line| line.contains(text)).count();
    let mut number = 0;
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::Drained(mut drained) => {
                number += 1;
                match number % 3 {
                    0 => ServerFrame::Reset(ResetState::Pending(1_790_000_000_000 + number)),
                    1 => ServerFrame::Reset(ResetState::Done),
                    _ => {
                        drained.lost_through = QueueNumber(1_000_000 + number);
                        ServerFrame::Drained(drained)
                    }
                }
            }
            frame => frame,
        })
    }));
    for days in 1..=2 {
        for _ in 0..12 {
            world.connect(alice);
            world.pass(1_000);
        }
        assert_eq!(count(&mut world, "has asked for a new identity"), days);
        assert_eq!(count(&mut world, "the account has a new identity"), days);
        assert_eq!(count(&mut world, "messages waited on the server"), days);
        world.pass(24 * 3_600_000);
    }
    assert_eq!(world.warnings(alice).matches("has asked for a new identity").count(), 8, "each is said");
    assert_eq!(world.warnings(alice).matches("messages waited on the server").count(), 8 - 2);
}

//! Whose a message is: what waits until that is known, what is dropped, and on whose side a row stands.

use std::{cell::RefCell, rc::Rc};

use sotto_client::{
    api::{Command, Event, Fate, Reply, Row, RowBody},
    store::{PrekeySlot, StoreError},
};
use sotto_proto::{SignedDeviceList, frame::ServerFrame, prekey::PrekeyId};

use crate::world::World;

/// How many messages wait for their sender to be confirmed, and how many were nobody's.
fn held_and_nobodys(world: &mut World, index: usize) -> (u64, u64) {
    let Ok(Reply::Doctor(findings)) = world.command(index, Command::Doctor) else { panic!() };
    let number = |what: &str| {
        let finding = findings.iter().find(|finding| finding.what.contains(what)).unwrap();
        let digits: String = finding.found.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    (number("not confirmed"), number("attributed to nobody"))
}

fn impostors(world: &mut World, index: usize, name: &str) -> u64 {
    let Ok(Reply::Contacts(contacts)) = world.command(index, Command::Contacts) else { panic!() };
    let contact = contacts.into_iter().find(|contact| contact.name.as_str() == name).unwrap();
    contact.impostors
}

#[test]
fn a_stranger_with_a_contacts_name_and_account_id_is_counted_and_nobody_is_warned_of_a_device() {
    let mut world = World::new(550);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "it is me");
    world.pass(5_000);
    let account = world.accounts[world.devices[bob].account].id;
    world.impostor("bob", Some(account), alice, "send the money");
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["bob: it is me"]);
    assert_eq!(world.warnings(alice), "", "bob has no such device");
    assert_eq!(held_and_nobodys(&mut world, alice), (0, 1));
    assert_eq!(impostors(&mut world, alice, "bob"), 1);
}

#[test]
fn what_a_new_identity_wrote_is_shown_once_it_is_accepted_and_a_strangers_never() {
    let mut world = World::new(551);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "the first bob");
    // So long that alice publishes keys again to a server that has none.
    world.pass(120_000);
    world.crash(bob);
    world.forget_everything();
    world.register_again(alice);
    let new = world.usurper(bob);
    world.connect(alice);
    world.pass(5_000);
    let two = world.send(new, "alice", "the second bob");
    world.impostor("bob", None, alice, "the third bob");
    world.connect(alice);
    world.pass(5_000);
    assert!(world.warnings(alice).contains("the identity of bob has changed"), "{}", world.warnings(alice));
    assert_eq!(world.screen(alice), ["bob: the first bob"]);
    assert_eq!(held_and_nobodys(&mut world, alice), (1, 1));
    assert_eq!(impostors(&mut world, alice, "bob"), 1);
    assert_ne!(world.fate(new, two), Fate::Delivered);
    world.accept_identity(alice, "bob");
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["bob: the first bob", "bob: the second bob"]);
    assert_eq!(world.fate(new, two), Fate::Delivered);
    assert_eq!(held_and_nobodys(&mut world, alice), (0, 1));
}

#[test]
fn what_nobody_has_written_is_dropped_and_what_waits_for_another_name_is_not() {
    let mut world = World::new(552);
    let (alice, carol) = (world.person("alice"), world.person("carol"));
    // The server does not say who carol is.
    world.tamper = Some(Box::new(|index, frame| match &frame {
        ServerFrame::Lists(lists) if index == 0 => {
            let carols =
                |bytes: &[u8]| SignedDeviceList::parse(bytes).unwrap().list().username.as_str() == "carol";
            (!lists.lists.iter().flatten().any(|bytes| carols(bytes))).then_some(frame)
        }
        _ => Some(frame),
    }));
    let message = world.send(carol, "alice", "from carol");
    world.pass(5_000);
    assert_eq!(held_and_nobodys(&mut world, alice), (1, 0));
    world.impostor("nobody-such", None, alice, "from nobody");
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(held_and_nobodys(&mut world, alice), (1, 1), "carol's waits");
    assert_eq!(world.screen(alice), [""; 0]);
    world.tamper = None;
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["carol: from carol"]);
    assert_eq!(world.fate(carol, message), Fate::Delivered);
    assert_eq!(held_and_nobodys(&mut world, alice), (0, 1));
}

/// The rows that could not be read, as they were first shown: whether one's own account sent them, and why not.
fn unread(world: &World, index: usize) -> Vec<(bool, String)> {
    let rows = world.devices[index].events.iter().filter_map(|event| match event {
        Event::Row(Row { outgoing, body: RowBody::Undecryptable(reason), .. }) => {
            Some((*outgoing, reason.clone()))
        }
        _ => None,
    });
    rows.collect()
}

/// Alice's phone and laptop, and bob, who all know each other.
fn phone_laptop_bob(seed: u64) -> (World, usize, usize, usize) {
    let mut world = World::new(seed);
    let (phone, bob) = (world.person("alice"), world.person("bob"));
    let laptop = world.second_device(world.devices[phone].account, None);
    for index in [phone, bob, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    (world, phone, laptop, bob)
}

#[test]
fn what_cannot_be_read_stands_on_the_side_of_who_wrote_it() {
    let (mut world, phone, laptop, bob) = phone_laptop_bob(553);
    world.disconnect(laptop);
    // Both begin a session with the laptop, by keys that are not there any more when it comes back.
    world.send(phone, "bob", "one");
    world.send(bob, "alice", "two");
    world.pass(5_000);
    let wiped = world.devices[laptop].store.transaction(|tx| {
        for slot in [PrekeySlot::OneTime, PrekeySlot::OneTimeKem] {
            (1..=200).try_for_each(|id| tx.remove_prekey(slot, PrekeyId(id)))?;
        }
        Ok::<_, StoreError>(())
    });
    wiped.unwrap();
    world.connect(laptop);
    world.pass(60_000);
    let unread = unread(&world, laptop);
    let side_of = |who: &str| {
        let of: Vec<bool> = unread
            .iter()
            .filter(|(_, reason)| reason.contains(&format!("{who} was asked to send it again")))
            .map(|(outgoing, _)| *outgoing)
            .collect();
        assert!(!of.is_empty(), "{who}: {unread:?}");
        of
    };
    assert!(side_of("alice").iter().all(|outgoing| *outgoing), "{unread:?}");
    assert!(side_of("bob").iter().all(|outgoing| !*outgoing), "{unread:?}");
    let said = world.said(laptop);
    assert!(["alice: one", "bob: two"].iter().all(|line| said.contains(&(*line).to_owned())), "{said:?}");
}

#[test]
fn what_comes_from_a_removed_device_stands_on_the_side_of_its_account() {
    for own in [true, false] {
        let (mut world, phone, laptop, bob) = phone_laptop_bob(554);
        let (reader, removed) = if own { (phone, laptop) } else { (laptop, bob) };
        // The server keeps the last message of a device that is then removed.
        let kept: Rc<RefCell<Option<Vec<u8>>>> = Rc::default();
        let keeping = Rc::clone(&kept);
        world.tamper = Some(Box::new(move |index, frame| match frame {
            ServerFrame::Deliver(deliver) if index == reader => {
                let mut kept = keeping.borrow_mut();
                let late = kept.get_or_insert_with(|| deliver.envelope.to_vec());
                (*late != *deliver.envelope).then_some(ServerFrame::Deliver(deliver))
            }
            frame => Some(frame),
        }));
        world.send(removed, if own { "bob" } else { "alice" }, "late");
        world.settle();
        let late = kept.borrow().clone().unwrap();
        let (account, device) = (world.devices[removed].account, world.devices[removed].id);
        world.crash(removed);
        let new = world.second_device(account, Some(device));
        for index in [reader, new] {
            world.connect(index);
        }
        world.send(reader, "bob", "for the new one");
        world.pass(5_000);
        let from_removed = |world: &World| {
            let mut rows = unread(world, reader);
            rows.retain(|(_, reason)| reason.contains("has removed from the account"));
            rows.into_iter().map(|(outgoing, _)| outgoing).collect::<Vec<bool>>()
        };
        assert_eq!(from_removed(&world), [false; 0]);
        world.arrive(reader, &late);
        assert_eq!(from_removed(&world), [own], "{:?}", unread(&world, reader));
    }
}

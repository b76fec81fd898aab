//! Device lists at odds: between one's own devices and the server, and of a contact that has a newer one.

use std::{cell::Cell, rc::Rc};

use sotto_client::{
    api::{Command, Fate, Reply},
    core::WithKey,
};
use sotto_proto::{
    SignedDeviceList,
    content::Body,
    frame::{ListChanged, ServerFrame},
};

use super::told::tells;
use crate::world::{Held, PASSWORD, Stranger, World};

/// Another list of an account under the number of its newest one.
fn fork(world: &World, account: usize) -> SignedDeviceList {
    let known = &world.accounts[account];
    let mut other = known.list.list().clone();
    other.previous = known.list.hash();
    known.secret.sign_device_list(&other).unwrap()
}

/// A device asks to be added, and this one adds it.
fn approve(world: &mut World, by: usize) -> Stranger {
    let stranger = world.waiting_device(world.devices[by].account);
    let added = world.with_key(by, WithKey::Approve { code: stranger.code, key: PASSWORD });
    assert!(added.is_ok(), "{added:?}");
    stranger
}

fn asked(world: &World, index: usize, what: &str) -> usize {
    world.devices[index].asked.iter().filter(|asked| **asked == what).count()
}

const FORK: &str = "there are two different device lists of alice under one number";

#[test]
fn a_server_with_an_older_list_gets_the_newest_at_once_from_whoever_can_prove_it() {
    let mut world = World::new(371);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    world.pass(2_000);
    let laptop = world.second_device(account, None);
    world.connect(alice);
    world.pass(5_000);
    let newest = world.devices_served(account);
    assert_eq!((newest.len(), asked(&world, alice, "ReplaceList")), (2, 0));
    world.crash(laptop);
    world.restore_first_list(account);
    assert_eq!(world.devices_served(account).len(), 1);
    // It is in the old list too, and has nothing to send.
    world.connect(alice);
    world.pass(5_000);
    assert_eq!((world.devices_served(account), asked(&world, alice, "ReplaceList")), (newest, 1));
    let warnings = world.warnings(alice);
    assert_eq!(warnings.matches("it has the newest one again").count(), 1, "{warnings}");
}

#[test]
fn another_own_list_under_the_same_number_raises_an_alarm_at_the_login_and_where_it_is_shown() {
    let mut world = World::new(372);
    world.held = Held { account_key: false, auth_key: true };
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let other = fork(&world, account);
    world.connect(alice);
    world.pass(5_000);
    assert!(!world.warnings(alice).contains(FORK));
    world.disconnect(alice);
    world.settle();
    world.devices[alice].store.transaction(|tx| tx.update_list(&other)).unwrap();
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.warnings(alice).matches(FORK).count(), 1, "{}", world.warnings(alice));

    let mut world = World::new(373);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let laptop = world.second_device(account, None);
    world.connect(alice);
    world.pass(5_000);
    let other = fork(&world, account).as_bytes().to_vec();
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::ListChanged(_) if index == laptop => {
                ServerFrame::ListChanged(ListChanged { list: other.clone().into() })
            }
            frame => frame,
        })
    }));
    assert!(!world.warnings(laptop).contains(FORK));
    approve(&mut world, alice);
    world.pass(5_000);
    assert_eq!(world.warnings(laptop).matches(FORK).count(), 1, "{}", world.warnings(laptop));
}

#[test]
fn a_message_is_held_for_a_newer_list_only_when_the_server_was_asked_and_does_not_have_it() {
    let mut world = World::new(374);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[bob].account;
    let one = world.send(alice, "bob", "one");
    // So long that bob's list may be asked for again.
    world.pass(120_000);
    // It waits for the keys of a device that bob has added.
    let tablet = approve(&mut world, bob);
    world.finish_joining(account, &tablet).expect("it is in the list");
    let two = world.send(alice, "bob", "two");
    assert_eq!(world.fate(alice, two), Fate::Waiting);
    // Bob adds another one, and his next receipt names that list; the server does not answer who he is, and then with
    // the list from before.
    let (answers, served) = (Rc::new(Cell::new(false)), world.accounts[account].list.as_bytes().to_vec());
    let (may_answer, id) = (Rc::clone(&answers), world.accounts[account].id);
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Lists(_) if index == alice && !may_answer.get() => None,
        ServerFrame::Lists(mut lists) if index == alice => {
            let his =
                |bytes: &[u8]| SignedDeviceList::parse(bytes).is_ok_and(|list| list.list().account == id);
            for list in lists.lists.iter_mut().flatten().filter(|list| his(list)) {
                *list = served.clone().into();
            }
            Some(ServerFrame::Lists(lists))
        }
        frame => Some(frame),
    }));
    let desk = approve(&mut world, bob);
    world.devices[alice].asked.clear();
    tells(&mut world, bob, alice, &Body::Delivered(vec![one]));
    assert_eq!(asked(&world, alice, "LookupLists"), 1);
    world.pass(5_000);
    assert_eq!(world.fate(alice, two), Fate::Waiting, "the newer list may come");
    answers.set(true);
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.fate(alice, two), Fate::Held);
    let doctor = |world: &mut World| match world.command(alice, Command::Doctor) {
        Ok(Reply::Doctor(findings)) => {
            let about = findings.into_iter().filter(|finding| finding.what == "device list");
            about.map(|finding| finding.found).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let said = doctor(&mut world);
    assert!(said.len() == 1 && said[0].contains("a newer device list than the server serves"), "{said:?}");
    world.tamper = None;
    let desk = world.approved(account, &desk).expect("it is in the list");
    world.pass(180_000);
    assert_eq!(world.fate(alice, two), Fate::Delivered);
    assert_eq!(world.said(desk), ["alice: two"]);
    assert_eq!(doctor(&mut world), Vec::<String>::new());
}

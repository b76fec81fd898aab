//! Names, keys and device lists: what is believed of what a server serves.

use sotto_client::{
    api::{Command, ErrorKind, Fate, Reply},
    store::{PrekeySlot, StoreError},
};
use sotto_proto::{SignedDeviceList, frame::ServerFrame, limits::DAY_MS, prekey::PrekeyId};

use crate::world::World;

#[test]
fn a_swapped_identity_holds_everything_until_it_is_accepted() {
    let mut world = World::new(9);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    let mallory = world.person("mallory");
    // The server serves a list under bob's name that somebody else's key has signed.
    let mut forged = world.accounts[world.devices[mallory].account].list.list().clone();
    let name = world.accounts[world.devices[bob].account].name.clone();
    forged.username = name.clone();
    forged.devices.clear();
    forged
        .revocations
        .push(sotto_proto::device_list::Revocation { device: world.devices[mallory].id, revoked_ms: 0 });
    let signer = &world.accounts[world.devices[mallory].account].secret;
    let forged: SignedDeviceList = signer.sign_device_list(&forged).unwrap();
    let bytes = forged.as_bytes().to_vec();
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Submitted(_) if index == 0 => {
                let lists = vec![bytes.clone().into()];
                ServerFrame::StaleDevices(sotto_proto::frame::StaleDevices { lists, wanted: Vec::new() })
            }
            frame => frame,
        })
    }));
    // No receipt must tell what this server hides: that it took the message.
    world.disconnect(bob);
    let held = world.send(alice, "bob", "for bob's eyes only");
    world.pass(5_000);
    assert_eq!(world.fate(alice, held), Fate::Held);
    assert!(world.warnings(alice).contains("identity of bob has changed"), "{}", world.warnings(alice));
    let later = world.send(alice, "bob", "and this");
    assert_eq!(world.fate(alice, later), Fate::Held);
    world.tamper = None;
    let Ok(Reply::Safety(safety)) = world.command(alice, Command::Safety(name.clone())) else { panic!() };
    assert_eq!(safety.held, 2);
    let wrong = world.command(alice, Command::Trust { user: name.clone(), number: safety.number.clone() });
    assert_eq!(wrong.unwrap_err().kind, ErrorKind::IdentityChanged, "the old number accepts nothing");
    let right = Command::Trust { user: name, number: safety.new_number.unwrap() };
    assert!(world.command(alice, right).is_ok());
}

/// What a server that holds back a list from the first device sends it in its place.
fn serve_old_list(world: &mut World, account: usize, old: Vec<u8>) {
    let id = world.accounts[account].id;
    world.tamper = Some(Box::new(move |index, frame| {
        if index != 0 {
            return Some(frame);
        }
        let is_theirs =
            |bytes: &[u8]| SignedDeviceList::parse(bytes).is_ok_and(|list| list.list().account == id);
        Some(match frame {
            ServerFrame::Lists(mut lists) => {
                for list in lists.lists.iter_mut().flatten() {
                    if is_theirs(list) {
                        *list = old.clone().into();
                    }
                }
                ServerFrame::Lists(lists)
            }
            ServerFrame::StaleDevices(mut stale) => {
                stale.lists.retain(|list| !is_theirs(list));
                ServerFrame::StaleDevices(stale)
            }
            frame => frame,
        })
    }));
}

#[test]
fn a_withheld_list_shows_and_nothing_is_sent_until_it_is_served() {
    let mut world = World::new(13);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(2_000);
    let account = world.devices[bob].account;
    let old = world.accounts[account].list.as_bytes().to_vec();
    serve_old_list(&mut world, account, old);
    // Bob adds a device; the server hides it from alice, but bob's next message names the new list.
    let laptop = world.second_device(account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    let own = world.accounts[account].list.clone();
    world.devices[bob].store.transaction(|tx| tx.update_list(&own)).unwrap();
    world.send(bob, "alice", "I have a laptop");
    world.pass(5_000);
    assert!(world.warnings(alice).contains("newer device list"), "{}", world.warnings(alice));
    let held = world.send(alice, "bob", "for all your devices");
    world.pass(5_000);
    assert_eq!(world.fate(alice, held), Fate::Held);
    assert!(!world.screen(bob).iter().any(|line| line.contains("for all your devices")));
    world.tamper = None;
    world.pass(120_000);
    assert_eq!(world.fate(alice, held), Fate::Delivered);
    assert!(world.screen(laptop).iter().any(|line| line.contains("for all your devices")));
}

#[test]
fn a_rolled_back_list_is_noticed_and_the_newer_one_is_used() {
    let mut world = World::new(14);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[bob].account;
    let old = world.accounts[account].list.as_bytes().to_vec();
    world.pass(2_000);
    let revoked = world.devices[bob].id;
    let new = world.second_device(account, Some(revoked));
    world.connect(alice);
    world.pass(5_000);
    world.send(alice, "bob", "for the new one");
    world.pass(5_000);
    assert_eq!(world.screen(new), ["alice: for the new one"]);
    serve_old_list(&mut world, account, old.clone());
    world.crash(alice);
    world.devices[alice]
        .store
        .transaction(|tx| tx.want_list(&SignedDeviceList::parse(&old).unwrap().list().account, u64::MAX >> 2))
        .unwrap();
    world.start(alice);
    world.connect(alice);
    world.send(alice, "bob", "anything");
    world.pass(5_000);
    assert!(world.warnings(alice).contains("old device list of bob"), "{}", world.warnings(alice));
    let known = world.devices[alice].store.transaction(|tx| tx.contact_by_name(&"bob".parse().unwrap()));
    assert!(known.unwrap().unwrap().list.list().revoked(&revoked), "the newer list stays");
}

/// Alice knows bob, who has a laptop since; the server goes on to serve the list without it. Answers both and the laptop.
fn withheld_list(seed: u64) -> (World, usize, usize, usize) {
    let mut world = World::new(seed);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "one");
    world.pass(2_000);
    let account = world.devices[bob].account;
    let old = world.accounts[account].list.as_bytes().to_vec();
    let laptop = world.second_device(account, None);
    serve_old_list(&mut world, account, old);
    (world, alice, bob, laptop)
}

#[test]
fn a_message_from_a_device_whose_list_is_withheld_waits_for_the_list() {
    let (mut world, alice, bob, laptop) = withheld_list(25);
    for index in [alice, bob] {
        world.connect(index);
    }
    let two = world.send(laptop, "alice", "two, from my laptop");
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["bob: one"]);
    assert!(world.warnings(alice).contains("wrote from a device"), "{}", world.warnings(alice));
    world.send(bob, "alice", "three, from the old one");
    world.pass(5_000);
    assert_eq!(world.screen(alice).last().unwrap(), "bob: three, from the old one", "others are not held up");
    world.tamper = None;
    world.pass(120_000);
    assert!(world.screen(alice).contains(&"bob: two, from my laptop".to_owned()));
    assert_eq!(world.fate(laptop, two), Fate::Delivered);
}

#[test]
fn what_waits_for_a_list_is_dropped_only_after_it_was_asked_for_and_a_row_says_so() {
    let (mut world, alice, _, laptop) = withheld_list(27);
    world.connect(alice);
    world.send(laptop, "alice", "two, from my laptop");
    world.pass(5_000);
    // Away for longer than it waits; the day's work is done before there is a connection.
    world.crash(alice);
    world.pass(61 * DAY_MS);
    world.start(alice);
    world.connect(alice);
    let told = |world: &mut World| world.screen(alice).iter().any(|row| row.contains("they were dropped"));
    world.pass(50 * 60_000);
    assert!(!told(&mut world), "the list may come yet");
    world.pass(20 * 60_000);
    assert!(told(&mut world), "{:?}", world.screen(alice));
}

#[test]
fn a_list_that_is_withheld_puts_off_the_wiping_of_keys_but_not_for_ever() {
    for withheld in [false, true] {
        let (mut world, alice, _, laptop) = withheld_list(39);
        if !withheld {
            world.tamper = None;
        }
        world.connect(alice);
        let first = |world: &mut World| {
            let key = world.devices[alice].store.transaction(|tx| tx.prekey(PrekeySlot::Signed, PrekeyId(1)));
            let key: Result<_, StoreError> = key;
            key.unwrap().is_some()
        };
        // The first key is replaced after a week, and due to be wiped after 60 days more.
        let mut wiped_after = None;
        for day in 1..150 {
            if day % 10 == 1 {
                world.send(laptop, "alice", "from my laptop");
            }
            // On a connection that stands the list is asked for every minute.
            world.connect(alice);
            world.pass(60_000);
            world.disconnect(alice);
            world.pass(DAY_MS - 60_000);
            if wiped_after.is_none() && !first(&mut world) {
                wiped_after = Some(day);
            }
        }
        let days = wiped_after.expect("wiped at last");
        assert!(
            if withheld { (100..=125).contains(&days) } else { (67..=70).contains(&days) },
            "{days} days"
        );
    }
}

#[test]
fn a_contact_that_certifies_its_device_anew_harms_nobody() {
    let mut world = World::new(30);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "one");
    world.pass(2_000);
    // The same device id with another certificate, in a list of bob's own signing.
    let account = world.devices[bob].account;
    let list = world.recertified(account);
    let bytes = list.as_bytes().to_vec();
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Submitted(_) if index == 0 => {
                ServerFrame::StaleDevices(sotto_proto::frame::StaleDevices {
                    lists: vec![bytes.clone().into()],
                    wanted: Vec::new(),
                })
            }
            frame => frame,
        })
    }));
    world.send(alice, "bob", "two");
    world.pass(5_000);
    assert!(world.warnings(alice).contains("other keys than before"), "{}", world.warnings(alice));
    world.tamper = None;
    let three = world.send(alice, "bob", "three");
    world.pass(120_000);
    assert_eq!(world.fate(alice, three), Fate::Delivered);
    assert_eq!(world.screen(bob), ["bob: one", "alice: two", "alice: three"]);
}

#[test]
fn a_list_that_names_another_contacts_account_leads_nothing_astray() {
    let mut world = World::new(31);
    let (alice, mallory) = (world.person("alice"), world.person("mallory"));
    let bob = world.person("bob");
    world.send(alice, "mallory", "hello");
    let forged = world.list_under(world.devices[mallory].account, "bob");
    let bytes = forged.as_bytes().to_vec();
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Lists(lists) if index == 0 => {
                let lists = lists.lists.iter().map(|_| Some(bytes.clone().into())).collect();
                ServerFrame::Lists(sotto_proto::frame::Lists { lists })
            }
            frame => frame,
        })
    }));
    let secret = world.send(alice, "bob", "for bob alone");
    world.pass(5_000);
    assert_eq!(world.screen(mallory), ["alice: hello"]);
    assert!(world.warnings(alice).contains("somebody else's account"), "{}", world.warnings(alice));
    world.tamper = None;
    world.pass(120_000);
    assert_eq!(world.screen(bob), ["alice: for bob alone"]);
    assert_eq!(world.fate(alice, secret), Fate::Delivered);
}

#[test]
fn what_waits_is_held_once_the_server_has_shown_an_old_list_and_not_before_it_has_answered() {
    let mut world = World::new(340);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(2_000);
    world.store.set_disk_full(true);
    let waits = world.send(alice, "bob", "for all your devices");
    assert_eq!(world.fate(alice, waits), Fate::Refused);
    world.store.set_disk_full(false);
    let account = world.devices[bob].account;
    let old = world.accounts[account].list.as_bytes().to_vec();
    let laptop = world.second_device(account, None);
    // The server does not say to alice which devices bob has.
    world.tamper = Some(Box::new(|index, frame| match frame {
        ServerFrame::Lists(_) if index == 0 => None,
        ServerFrame::StaleDevices(mut stale) if index == 0 => {
            stale.lists.clear();
            Some(ServerFrame::StaleDevices(stale))
        }
        frame => Some(frame),
    }));
    for index in [alice, bob] {
        world.connect(index);
    }
    world.settle();
    world.devices[alice].asked.clear();
    world.send(bob, "alice", "I have a laptop");
    world.pass(40_000);
    assert!(world.devices[alice].asked.contains(&"LookupLists"));
    assert_eq!(world.fate(alice, waits), Fate::Refused, "there is no sign of anything wrong yet");
    serve_old_list(&mut world, account, old);
    world.connect(alice);
    world.pass(40_000);
    assert_eq!(world.fate(alice, waits), Fate::Held);
    assert!(!world.screen(bob).iter().any(|line| line.contains("for all your devices")));
    world.tamper = None;
    world.pass(120_000);
    assert_eq!(world.fate(alice, waits), Fate::Delivered);
    assert_eq!(world.said(laptop).last().unwrap(), "alice: for all your devices");
}

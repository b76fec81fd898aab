//! The account's own devices: added by a code, named, and removed.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use serde_bytes::ByteBuf;
use sotto_client::{
    api::{AccountCommand, Command, Device, DeviceStanding, ErrorKind, Event, Fate, Reply},
    core::WithKey,
};
use sotto_crypto::{AccountSecret, DeviceSecret, PendingCode};
use sotto_proto::{
    frame::{AuthKey, ErrorCode, ErrorReply, ListChanged, ServerFrame},
    limits::DAY_MS,
};

use crate::world::{PASSWORD, World};

fn devices(world: &mut World, index: usize) -> Vec<Device> {
    match world.command(index, Command::Account(AccountCommand::Devices)) {
        Ok(Reply::Devices(devices)) => devices,
        other => panic!("{other:?}"),
    }
}

fn standings(devices: &[Device]) -> Vec<DeviceStanding> {
    devices.iter().map(|device| device.standing).collect()
}

fn approve(
    world: &mut World,
    index: usize,
    code: PendingCode,
) -> Result<Reply, sotto_client::api::ClientError> {
    world.with_key(index, WithKey::Approve { code, key: PASSWORD })
}

#[test]
fn a_device_is_added_by_its_code_named_and_removed() {
    let mut world = World::new(60);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "before");
    world.pass(2_000);
    let account = world.devices[alice].account;
    let stranger = world.waiting_device(account);
    let waits = Event::DevicesWait(vec![stranger.id.to_string()]);
    assert!(world.devices[alice].events.contains(&waits), "its owner is told at once");
    assert_eq!(standings(&devices(&mut world, alice)), [DeviceStanding::Listed, DeviceStanding::Waiting]);

    let Ok(Reply::Devices(after)) = approve(&mut world, alice, stranger.code) else { panic!() };
    assert_eq!(standings(&after), [DeviceStanding::Listed, DeviceStanding::Listed]);
    let laptop = world.approved(account, &stranger).expect("it is in the list");
    world.pass(5_000);
    let again = approve(&mut world, alice, stranger.code).unwrap_err();
    assert_eq!(again.kind, ErrorKind::NotFound, "nobody waits any more: {again:?}");

    let rename = AccountCommand::RenameDevice { device: stranger.id, name: "laptop".to_owned() };
    assert_eq!(world.command(alice, Command::Account(rename)), Ok(Reply::Done));
    world.pass(5_000);
    assert_eq!(devices(&mut world, laptop).iter().find(|device| device.this).unwrap().name, "laptop");
    let both = world.send(bob, "alice", "to both");
    world.pass(5_000);
    assert_eq!(world.screen(laptop), ["bob: to both"]);
    assert_eq!(world.fate(bob, both), Fate::Delivered);

    // It holds no account key: it can read and write, and change nothing.
    let remove = |device| WithKey::Remove { device, key: PASSWORD };
    let first = world.devices[alice].id;
    assert_eq!(world.with_key(laptop, remove(first)).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(world.with_key(alice, remove(first)).unwrap_err().kind, ErrorKind::Invalid);

    let Ok(Reply::Devices(after)) = world.with_key(alice, remove(stranger.id)) else { panic!() };
    assert_eq!(standings(&after), [DeviceStanding::Listed, DeviceStanding::Removed]);
    world.pass(2_000);
    world.crash(laptop);
    world.start(laptop);
    world.connect(laptop);
    world.pass(2_000);
    let (error, reconnect) = world.devices[laptop].closed.clone().expect("it is not let in");
    assert_eq!((error.kind, reconnect), (ErrorKind::LoginNeeded, false));
    let later = world.send(bob, "alice", "not for the laptop");
    world.pass(5_000);
    assert_eq!(world.screen(laptop), ["bob: to both"]);
    let Ok(Reply::Fate(fate)) = world.command(bob, Command::Fate(later)) else { panic!() };
    assert_eq!(fate.devices.len(), 1, "only what is left is sent to: {fate:?}");
    assert_eq!(fate.fate, Fate::Delivered);
}

const ADDED: &str = "a device was added to your account";

/// Alice, and a laptop of hers whose connection stands; it holds no account key.
fn with_laptop(seed: u64) -> (World, usize, usize) {
    let mut world = World::new(seed);
    let alice = world.person("alice");
    let laptop = add(&mut world, alice);
    assert!(!world.warnings(laptop).contains(ADDED));
    (world, alice, laptop)
}

/// A device asks to be added, and this one adds it.
fn add(world: &mut World, index: usize) -> usize {
    let account = world.devices[index].account;
    let stranger = world.waiting_device(account);
    assert!(approve(world, index, stranger.code).is_ok());
    let added = world.approved(account, &stranger).expect("it is in the list");
    world.pass(2_000);
    added
}

/// Counts the logins of a device from here on, and puts what `put` gives into the place of each list it is shown unasked.
fn watch(
    world: &mut World,
    watched: usize,
    put: impl Fn(ByteBuf) -> Option<ByteBuf> + 'static,
) -> Rc<Cell<u32>> {
    let logins = Rc::new(Cell::new(0));
    let counted = logins.clone();
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::ListChanged(changed) if index == watched => {
            put(changed.list).map(|list| ServerFrame::ListChanged(ListChanged { list }))
        }
        frame => {
            if index == watched && matches!(frame, ServerFrame::DeviceIn(_)) {
                counted.set(counted.get() + 1);
            }
            Some(frame)
        }
    }));
    logins
}

#[test]
fn a_device_that_is_added_is_seen_at_once_by_one_that_is_connected() {
    let (mut world, alice, laptop) = with_laptop(65);
    let logins = watch(&mut world, laptop, Some);
    let tablet = add(&mut world, alice);
    assert_eq!(world.warnings(laptop).matches(ADDED).count(), 1);
    let id = world.devices[tablet].id;
    let row = format!("? {ADDED}: {id}.");
    assert_eq!(world.screen(laptop).iter().filter(|line| line.starts_with(&row)).count(), 1);
    assert!(!world.warnings(tablet).contains(ADDED), "that it is there itself is no news");
    assert!(world.with_key(alice, WithKey::Remove { device: id, key: PASSWORD }).is_ok());
    world.pass(2_000);
    assert!(world.warnings(laptop).contains("a device was removed from your account"));
    assert_eq!(logins.get(), 0, "its connection stood all the time");
}

#[test]
fn a_list_that_the_server_does_not_show_is_asked_for_within_a_day() {
    let (mut world, alice, laptop) = with_laptop(66);
    let logins = watch(&mut world, laptop, |_| None);
    add(&mut world, alice);
    assert!(!world.warnings(laptop).contains(ADDED), "it was kept back");
    world.pass(DAY_MS);
    assert!(world.warnings(laptop).contains(ADDED));
    assert_eq!(logins.get(), 0);
}

#[test]
fn a_list_that_is_shown_unasked_is_believed_no_more_than_one_that_was_asked_for() {
    let (mut world, alice, laptop) = with_laptop(67);
    let account = world.devices[alice].account;
    let bob = world.person("bob");
    let shown = Rc::new(RefCell::new(Vec::new()));
    let put = shown.clone();
    watch(&mut world, laptop, move |_| Some(ByteBuf::from(put.borrow().clone())));
    let lies = [
        (b"no list".to_vec(), "does not hold"),
        (world.accounts[world.devices[bob].account].first_list(), "somebody else's device list"),
        (world.recertified(account).as_bytes().to_vec(), "a device has other keys than before"),
    ];
    for (lie, said) in lies {
        assert!(!world.warnings(laptop).contains(said));
        shown.replace(lie);
        add(&mut world, alice);
        assert!(world.warnings(laptop).contains(said), "{said}");
        assert!(!world.warnings(laptop).contains(ADDED), "{said}");
    }
    // An old one is no sign of anything: an answer may have overtaken it.
    let before = world.warnings(laptop);
    shown.replace(world.accounts[account].first_list());
    add(&mut world, alice);
    assert_eq!(world.warnings(laptop), before);
    world.tamper = None;
    add(&mut world, alice);
    assert_eq!(world.warnings(laptop).matches(ADDED).count(), 5, "the true one names them all");
}

#[test]
fn a_server_that_offers_a_device_of_its_own_gets_no_signature() {
    let mut world = World::new(61);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let stranger = world.waiting_device(account);
    let theirs = DeviceSecret::generate(&mut world.rng);
    let before = world.accounts[account].list.clone();
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::PendingDevices(mut pending) => {
                for device in &mut pending.devices {
                    (device.device_key, device.identity_key) = (theirs.device_key(), theirs.identity_key());
                }
                ServerFrame::PendingDevices(pending)
            }
            frame => frame,
        })
    }));
    let error = approve(&mut world, alice, stranger.code).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
    assert!(world.approved(account, &stranger).is_none());
    assert_eq!(world.accounts[account].list, before);

    // A new machine that was shown another account under the name has made its code from that account's key.
    world.tamper = None;
    let forged = AccountSecret::generate(&mut world.rng);
    let id = world.accounts[account].id;
    let pending = world.waiting_device(account);
    let keys = DeviceSecret::generate(&mut world.rng);
    let other = PendingCode::of(&id, &forged.public(), &pending.id, &keys.device_key(), &keys.identity_key());
    assert_eq!(approve(&mut world, alice, other).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(world.accounts[account].list, before);
}

#[test]
fn a_wrong_password_changes_nothing_and_a_refused_device_is_gone() {
    let mut world = World::new(62);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let stranger = world.waiting_device(account);
    let wrong = WithKey::Approve { code: stranger.code, key: AuthKey([8; 32]) };
    assert_eq!(world.with_key(alice, wrong).unwrap_err().kind, ErrorKind::LoginNeeded);
    assert!(world.approved(account, &stranger).is_none());
    let refuse = Command::Account(AccountCommand::RefuseDevice(stranger.id));
    assert_eq!(world.command(alice, refuse.clone()), Ok(Reply::Done));
    assert_eq!(standings(&devices(&mut world, alice)), [DeviceStanding::Listed]);
    let gone = approve(&mut world, alice, stranger.code).unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
    // Without a connection the list is known all the same.
    world.disconnect(alice);
    world.settle();
    assert_eq!(standings(&devices(&mut world, alice)), [DeviceStanding::Listed]);
    assert_eq!(world.command(alice, refuse).unwrap_err().kind, ErrorKind::Unreachable);
}

#[test]
fn of_two_devices_that_change_the_list_at_once_both_have_their_way() {
    let mut world = World::new(66);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let (laptop, phone) = (world.second_device(account, None), world.second_device(account, None));
    for index in [alice, laptop, phone] {
        world.connect(index);
    }
    world.pass(5_000);
    let stranger = world.waiting_device(account);
    let gone = world.devices[phone].id;
    for index in [alice, laptop] {
        world.devices[index].asked.clear();
    }
    let added = world.ask_with_key(alice, WithKey::Approve { code: stranger.code, key: PASSWORD });
    let removed = world.ask_with_key(laptop, WithKey::Remove { device: gone, key: PASSWORD });
    world.pass(5_000);
    for (index, command) in [(alice, added), (laptop, removed)] {
        let reply = world.devices[index].replies.remove(&command).expect("it is answered");
        assert!(matches!(reply, Ok(Reply::Devices(_))), "{reply:?}");
    }
    let asked = [alice, laptop].into_iter().flat_map(|index| world.devices[index].asked.clone());
    assert_eq!(asked.filter(|frame| *frame == "ReplaceList").count(), 3, "one of them was overtaken");
    let mut served = world.devices_served(account);
    let mut expected = vec![world.devices[alice].id, world.devices[laptop].id, stranger.id];
    served.sort_unstable();
    expected.sort_unstable();
    assert_eq!(served, expected);
    for index in [alice, laptop] {
        let listed = devices(&mut world, index);
        let listed = listed.iter().filter(|device| device.standing == DeviceStanding::Listed).count();
        assert_eq!(listed, 3);
        let warnings = world.warnings(index);
        assert!(!warnings.contains("older") && !warnings.contains("another list"), "{warnings}");
    }
}

#[test]
fn a_change_that_was_overtaken_is_made_again_on_the_newest_list_but_not_without_end() {
    let mut world = World::new(63);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let stranger = world.waiting_device(account);
    let conflict = |left: u32| {
        let mut left = left;
        move |index: usize, frame: ServerFrame| {
            Some(match frame {
                ServerFrame::Done if index == alice && left > 0 => {
                    left -= 1;
                    let (code, message) = (ErrorCode::CONFLICT, "another one was faster".to_owned());
                    ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None })
                }
                frame => frame,
            })
        }
    };
    // It says so although it took the list: the newest list has the device already.
    world.tamper = Some(Box::new(conflict(1)));
    let Ok(Reply::Devices(after)) = approve(&mut world, alice, stranger.code) else { panic!() };
    assert_eq!(standings(&after), [DeviceStanding::Listed, DeviceStanding::Listed]);
    assert!(world.approved(account, &stranger).is_some());
    // A list from before is no list to build on: the server may have been set back, and gets the newest.
    let third = world.waiting_device(account);
    let mut old = Some(world.accounts[account].first_list());
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::AccountIn(mut proven) if index == alice && old.is_some() => {
                proven.list = old.take().unwrap().into();
                ServerFrame::AccountIn(proven)
            }
            frame => frame,
        })
    }));
    let Ok(Reply::Devices(after)) = approve(&mut world, alice, third.code) else { panic!() };
    assert_eq!(after.iter().filter(|device| device.standing == DeviceStanding::Listed).count(), 3);
    assert!(world.approved(account, &third).is_some());
    // One that says so whatever is done, and hides what it took, is given up.
    let next = world.waiting_device(account);
    let mut never = conflict(u32::MAX);
    let known = world.accounts[account].list.as_bytes().to_vec();
    let (mut waits, hides) = (None, Rc::new(Cell::new(true)));
    let hidden = hides.clone();
    world.tamper = Some(Box::new(move |index, frame| {
        let frame = if hidden.get() { never(index, frame) } else { Some(frame) };
        frame.map(|frame| match frame {
            ServerFrame::Lists(mut lists) if index == alice => {
                lists.lists = vec![Some(known.clone().into())];
                ServerFrame::Lists(lists)
            }
            ServerFrame::AccountIn(mut proven) if index == alice => {
                proven.list = known.clone().into();
                ServerFrame::AccountIn(proven)
            }
            ServerFrame::PendingDevices(pending) if index == alice => {
                ServerFrame::PendingDevices(waits.get_or_insert(pending).clone())
            }
            frame => frame,
        })
    }));
    world.lists_sent.clear();
    for _ in 0..2 {
        assert_eq!(approve(&mut world, alice, next.code).unwrap_err().kind, ErrorKind::Unreachable);
        world.pass(60_000);
    }
    world.crash(alice);
    world.start(alice);
    hides.set(false);
    world.connect(alice);
    world.pass(2_000);
    hides.set(true);
    assert_eq!(approve(&mut world, alice, next.code).unwrap_err().kind, ErrorKind::Unreachable);
    // What it has collected gives the device one certificate, and no number two lists.
    let lists = std::mem::take(&mut world.lists_sent);
    assert!(lists.len() > 20, "{}", lists.len());
    let certificates: Vec<_> = lists.iter().map(|list| list.list().device(&next.id).unwrap()).collect();
    assert!(certificates.windows(2).all(|two| two[0] == two[1]));
    let mut numbers: Vec<u64> = lists.iter().map(|list| list.list().number).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), lists.len());
}

#[test]
fn no_second_list_is_signed_under_a_number_that_ran_ahead() {
    let mut world = World::new(64);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let stranger = world.waiting_device(account);
    let ahead = world.now_ms / 1000 + 13 * 3600;
    let store = &mut world.devices[alice].store;
    store.transaction(|tx| tx.set_number("signed list", ahead)).unwrap();
    let error = approve(&mut world, alice, stranger.code).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    assert!(error.hint.unwrap().contains("in 2 h"));
    assert!(world.lists_sent.is_empty());
    world.pass(2 * 3_600_000);
    assert!(approve(&mut world, alice, stranger.code).is_ok());
    assert_eq!(world.lists_sent[0].list().number, ahead + 1);
}

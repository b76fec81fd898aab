//! What one's own devices know of each other: which there are, which wait, and what they are called.

use std::{cell::RefCell, rc::Rc};

use sotto_client::{
    api::{AccountCommand, ClientError, Command, Device, DeviceStanding, ErrorKind, Reply},
    core::WithKey,
    store::StoreError,
};
use sotto_proto::{
    DeviceId,
    content::{MAX_DEVICE_NAME, kind},
    frame::{ErrorCode, ErrorReply, ServerFrame},
};

use crate::world::{Observed, PASSWORD, World};

/// More names than a store keeps.
const TOO_MANY_NAMES: u32 = 2_100;

fn devices(world: &mut World, index: usize) -> Vec<Device> {
    match world.command(index, Command::Account(AccountCommand::Devices)) {
        Ok(Reply::Devices(devices)) => devices,
        other => panic!("{other:?}"),
    }
}

fn standings(world: &mut World, index: usize) -> Vec<DeviceStanding> {
    devices(world, index).into_iter().map(|device| device.standing).collect()
}

/// What a device calls another one of its account's.
fn name_of(world: &mut World, index: usize, device: DeviceId) -> String {
    let id = device.to_string();
    devices(world, index).into_iter().find(|known| known.device == id).unwrap().name
}

fn rename(world: &mut World, index: usize, device: DeviceId, name: &str) -> Result<Reply, ClientError> {
    let rename = AccountCommand::RenameDevice { device, name: name.to_owned() };
    world.command(index, Command::Account(rename))
}

fn refuse_device(world: &mut World, index: usize, device: DeviceId) -> Result<Reply, ClientError> {
    world.command(index, Command::Account(AccountCommand::RefuseDevice(device)))
}

/// Puts this error into the place of each answer of a kind.
fn refuse(world: &mut World, code: ErrorCode, is_answer: fn(&ServerFrame) -> bool) {
    world.tamper = Some(Box::new(move |_, frame| {
        let message = "no".to_owned();
        let error = ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None });
        Some(if is_answer(&frame) { error } else { frame })
    }));
}

#[test]
fn devices_are_listed_also_where_the_server_does_not_say_which_wait() {
    for (code, kind, told) in
        [(ErrorCode::UNSUPPORTED, ErrorKind::Version, false), (ErrorCode::BUSY, ErrorKind::Unreachable, true)]
    {
        let mut world = World::new(310);
        let alice = world.person("alice");
        let stranger = world.waiting_device(world.devices[alice].account);
        assert_eq!(standings(&mut world, alice), [DeviceStanding::Listed, DeviceStanding::Waiting]);
        assert_eq!(world.warnings(alice), "");
        refuse(&mut world, code, |frame| matches!(frame, ServerFrame::PendingDevices(_)));
        assert_eq!(standings(&mut world, alice), [DeviceStanding::Listed]);
        // An older server has no devices that wait.
        let warned = world.warnings(alice).contains("which devices wait could not be asked");
        assert_eq!(warned, told, "{}", world.warnings(alice));
        let approve = || WithKey::Approve { code: stranger.code, key: PASSWORD };
        assert_eq!(world.with_key(alice, approve()).unwrap_err().kind, kind);
        world.tamper = None;
        assert!(world.with_key(alice, approve()).is_ok());
    }
}

#[test]
fn a_device_that_was_added_or_removed_is_not_shown_as_one_that_waits() {
    let mut world = World::new(311);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    // The server goes on to say that it waits.
    let waits = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&waits);
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::PendingDevices(pending) => {
                ServerFrame::PendingDevices(kept.borrow_mut().get_or_insert(pending).clone())
            }
            frame => frame,
        })
    }));
    let stranger = world.waiting_device(account);
    assert_eq!(standings(&mut world, alice), [DeviceStanding::Listed, DeviceStanding::Waiting]);
    assert!(world.with_key(alice, WithKey::Approve { code: stranger.code, key: PASSWORD }).is_ok());
    assert_eq!(standings(&mut world, alice), [DeviceStanding::Listed; 2]);
    assert!(world.with_key(alice, WithKey::Remove { device: stranger.id, key: PASSWORD }).is_ok());
    assert_eq!(standings(&mut world, alice), [DeviceStanding::Listed, DeviceStanding::Removed]);
}

#[test]
fn who_refuses_a_device_learns_when_that_could_not_be_done() {
    let mut world = World::new(312);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let stranger = world.waiting_device(account);
    assert_eq!(refuse_device(&mut world, alice, stranger.id), Ok(Reply::Done));
    let another = world.waiting_device(account);
    for (code, kind, said) in [
        (ErrorCode::UNKNOWN_DEVICE, ErrorKind::NotFound, "no such device waits"),
        (ErrorCode::BUSY, ErrorKind::Unreachable, "the server cannot do it now"),
    ] {
        refuse(&mut world, code, |frame| *frame == ServerFrame::Done);
        let error = refuse_device(&mut world, alice, another.id).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (kind, said));
    }
}

#[test]
fn a_name_for_a_device_has_a_bound_and_is_never_cut_short_in_silence() {
    let mut world = World::new(313);
    let alice = world.person("alice");
    let device = world.devices[alice].id;
    let longest = "x".repeat(MAX_DEVICE_NAME);
    assert_eq!(rename(&mut world, alice, device, &longest), Ok(Reply::Done));
    assert_eq!(name_of(&mut world, alice, device), longest);
    for more in [1, 2, 100] {
        let error = rename(&mut world, alice, device, &"y".repeat(MAX_DEVICE_NAME + more)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{more}: {error}");
        assert_eq!(name_of(&mut world, alice, device), longest);
    }
}

#[test]
fn names_of_what_never_was_a_device_make_room_and_no_others() {
    let mut world = World::new(314);
    let first = world.person("alice");
    let account = world.devices[first].account;
    world.pass(2_000);
    let laptop = world.second_device(account, None);
    world.connect(first);
    world.pass(5_000);
    let (old, kept) = (world.devices[first].id, world.devices[laptop].id);
    for (device, name) in [(old, "old"), (kept, "laptop")] {
        assert_eq!(rename(&mut world, laptop, device, name), Ok(Reply::Done));
    }
    let phone = world.second_device(account, Some(old));
    world.connect(laptop);
    world.pass(5_000);
    // As one's own devices could say, if one of them were somebody else's.
    let filled: Result<bool, StoreError> = world.devices[laptop].store.transaction(|tx| {
        for number in 0..TOO_MANY_NAMES {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            tx.set_device_name(&DeviceId(id), "nobody's", 1)?;
        }
        tx.set_device_name(&DeviceId([9; 16]), "one more", 1)
    });
    assert_eq!(filled.ok(), Some(false), "no room is left");
    let named = world.devices[phone].id;
    assert_eq!(rename(&mut world, laptop, named, "phone"), Ok(Reply::Done));
    let known = [named, kept, old].map(|device| name_of(&mut world, laptop, device));
    assert_eq!(known, ["phone", "laptop", "old"]);
    // Where there is room, nothing is forgotten.
    let stranger = DeviceId([9; 16]);
    let added = world.devices[laptop].store.transaction(|tx| tx.set_device_name(&stranger, "one more", 1));
    assert!(matches!(added, Ok::<_, StoreError>(true)));
    assert_eq!(rename(&mut world, laptop, named, "telephone"), Ok(Reply::Done));
    assert_eq!(name_of(&mut world, laptop, named), "telephone");
    let left = world.devices[laptop].store.transaction(|tx| tx.device_name(&stranger));
    assert!(matches!(left, Ok::<_, StoreError>((name, 1)) if name == "one more"));
}

#[test]
fn a_new_device_learns_what_the_others_are_called_and_nobody_else_is_told_again() {
    let mut world = World::new(315);
    let first = world.person("alice");
    let account = world.devices[first].account;
    world.pass(2_000);
    let laptop = world.second_device(account, None);
    world.connect(first);
    world.pass(5_000);
    let ids = [world.devices[first].id, world.devices[laptop].id];
    for (device, name) in ids.into_iter().zip(["phone", "laptop"]) {
        assert_eq!(rename(&mut world, first, device, name), Ok(Reply::Done));
        world.pass(5_000);
        assert_eq!(name_of(&mut world, laptop, device), name);
    }
    world.observed = Some(Observed::default());
    let tablet = world.second_device(account, None);
    for index in [first, laptop] {
        world.connect(index);
    }
    world.pass(60_000);
    assert_eq!(ids.map(|device| name_of(&mut world, tablet, device)), ["phone", "laptop"]);
    let sent = world.observed.take().unwrap().envelopes;
    let told: Vec<_> =
        sent.values().filter(|seen| seen.kind == kind::SYNC_DEVICE_NAME).map(|seen| seen.to).collect();
    // Two names, by each of the two that were there.
    assert_eq!(told, [world.devices[tablet].id; 4]);
}

//! Accounts and devices that a server does not know any more: what it refuses when they come back, and its lies.

use std::{cell::Cell, rc::Rc};

use sotto_client::api::{ErrorKind, Fate};
use sotto_proto::{
    DeviceId, DeviceList,
    device_list::Revocation,
    frame::{ErrorCode, ErrorReply, ServerFrame},
};

use super::enrolment::{asked, with_laptop};
use crate::world::World;

/// What a server refuses with that will do the same later.
const PASSING: [ErrorCode; 5] =
    [ErrorCode::BUSY, ErrorCode::STORE, ErrorCode::RATE_LIMITED, ErrorCode::DISK_FULL, ErrorCode::LIMIT];

fn error(code: ErrorCode) -> ServerFrame {
    ServerFrame::Error(ErrorReply { code, message: "no".to_owned(), retry_after_ms: None })
}

/// Refuses what a device asks next of a kind, as its answer shows; answers how often that happened.
fn refuse(
    world: &mut World,
    refused: usize,
    code: ErrorCode,
    is_answer: fn(&ServerFrame) -> bool,
) -> Rc<Cell<u32>> {
    let times = Rc::new(Cell::new(0));
    let counted = Rc::clone(&times);
    world.tamper = Some(Box::new(move |index, frame| {
        if index != refused || counted.get() > 0 || !is_answer(&frame) {
            return Some(frame);
        }
        counted.set(1);
        Some(error(code))
    }));
    times
}

/// What a device was closed with: the kind, the text, whether it tries again.
fn closed(world: &World, index: usize) -> (ErrorKind, String, bool) {
    let (error, again) = world.devices[index].closed.clone().expect("it is told");
    (error.kind, error.message, again)
}

#[test]
fn why_an_account_is_not_taken_back_is_said_and_tried_again_only_where_that_can_help() {
    let final_ones = [
        (ErrorCode::ACCOUNT_REMOVED, "the operator of this server removed this account"),
        (ErrorCode::ACCOUNT_REPLACED, "this account was reset: a new identity has its name"),
        (ErrorCode::BAD_KEYS, "the server lost this account, and does not register it again"),
    ];
    for (code, said) in PASSING.map(|code| (code, "")).into_iter().chain(final_ones) {
        let mut world = World::new(300);
        let bob = world.person("bob");
        world.forget_everything();
        let times = refuse(&mut world, bob, code, |frame| *frame == ServerFrame::Done);
        world.connect(bob);
        world.settle();
        assert_eq!((times.get(), asked(&world, bob, "Register")), (1, 1));
        let (kind, text, again) = closed(&world, bob);
        assert_eq!(again, PASSING.contains(&code), "{code:?}: {text}");
        assert_eq!(kind == ErrorKind::LoginNeeded, !again, "{code:?}: {text}");
        assert!(text.contains(said), "{code:?}: {text}");
        world.pass(60_000);
        assert_eq!(world.connected(bob), again, "{code:?}");
    }
}

#[test]
fn a_name_that_looks_like_one_that_was_taken_meanwhile_is_said_and_not_tried_for_ever() {
    let mut world = World::new(301);
    let bob = world.person("bob");
    world.forget_everything();
    world.person("b0b");
    world.connect(bob);
    world.pass(60_000);
    let (kind, text, again) = closed(&world, bob);
    assert_eq!((kind, again), (ErrorKind::NameTaken, false));
    assert!(text.contains("a name that looks like bob was taken there"), "{text}");
    assert_eq!(asked(&world, bob, "Register"), 1);
}

#[test]
fn a_device_whose_newer_list_is_not_taken_is_told_and_tries_again_only_where_that_can_help() {
    let proof: fn(&ServerFrame) -> bool = |frame| matches!(frame, ServerFrame::AccountIn(_));
    let list: fn(&ServerFrame) -> bool = |frame| *frame == ServerFrame::Done;
    let faster = (ErrorCode::CONFLICT, true);
    let passing = PASSING.map(|code| (code, true));
    let others = [faster, (ErrorCode::BAD_CREDENTIALS, false), (ErrorCode::BAD_KEYS, false)];
    for step in [proof, list] {
        for (code, helps) in passing.into_iter().chain(others) {
            let mut world = World::new(302);
            let (_, bob, laptop) = with_laptop(&mut world);
            let account = world.devices[bob].account;
            world.restore_first_list(account);
            let times = refuse(&mut world, laptop, code, step);
            world.connect(laptop);
            world.settle();
            assert_eq!(times.get(), 1);
            let (error, again) = world.devices[laptop].closed.clone().expect("it is told");
            assert_eq!(again, helps, "{code:?}: {error}");
            let hint = error.hint.unwrap_or_default();
            assert_eq!(hint.contains("give the recovery phrase"), !helps, "{code:?}: {hint}");
            world.pass(60_000);
            assert_eq!(world.connected(laptop), helps, "{code:?}");
        }
    }
}

#[test]
fn a_server_that_has_the_newest_list_and_denies_a_device_in_it_is_not_given_the_list_again() {
    let mut world = World::new(303);
    let bob = world.person("bob");
    world.devices[bob].asked.clear();
    let times =
        refuse(&mut world, bob, ErrorCode::UNKNOWN_DEVICE, |frame| matches!(frame, ServerFrame::DeviceIn(_)));
    world.connect(bob);
    world.pass(60_000);
    assert_eq!(times.get(), 1);
    assert_eq!(world.devices[bob].asked, ["Hello", "DeviceLogin", "AccountLogin"]);
    let (kind, text, again) = closed(&world, bob);
    assert_eq!((kind, again), (ErrorKind::LoginNeeded, false));
    assert!(text.contains("this device was removed from the account, or never added"), "{text}");
}

#[test]
fn a_server_that_denies_a_device_also_after_it_took_its_list_is_given_no_second_proof() {
    let mut world = World::new(304);
    let (_, bob, laptop) = with_laptop(&mut world);
    let account = world.devices[bob].account;
    world.restore_first_list(account);
    world.devices[laptop].asked.clear();
    world.tamper = Some(Box::new(move |index, frame| {
        let denied = index == laptop && matches!(frame, ServerFrame::DeviceIn(_));
        Some(if denied { error(ErrorCode::UNKNOWN_DEVICE) } else { frame })
    }));
    world.connect(laptop);
    world.pass(60_000);
    let asked = &world.devices[laptop].asked;
    assert_eq!(*asked, ["Hello", "DeviceLogin", "AccountLogin", "ReplaceList", "DeviceLogin"]);
    let (kind, _, again) = closed(&world, laptop);
    assert_eq!((kind, again), (ErrorKind::LoginNeeded, false));
}

/// Puts so many removed devices into an account's list; only the next device that is added to it knows of them.
fn with_removed(world: &mut World, account: usize, count: u32) {
    let now_ms = world.now_ms;
    let known = &mut world.accounts[account];
    let mut list: DeviceList = known.list.list().clone();
    list.previous = known.list.hash();
    list.number += 1;
    list.revocations = (0..count)
        .map(|number| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            Revocation { device: DeviceId(id), revoked_ms: now_ms }
        })
        .collect();
    known.list = known.secret.sign_device_list(&list).unwrap();
}

#[test]
fn an_account_comes_back_with_a_list_that_fits_and_one_that_is_too_long_is_said_to_be() {
    // A list has 16 kB before the login, less what else a registration says.
    for (removed, fits) in [(646, true), (647, false)] {
        let mut world = World::new(305);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        let account = world.devices[bob].account;
        with_removed(&mut world, account, removed);
        let laptop = world.second_device(account, None);
        let length = world.accounts[account].list.as_bytes().len();
        assert!(length.abs_diff(16 * 1024 - 256) < 24, "{length}: one removed device more or less");
        world.forget_everything();
        world.connect(laptop);
        world.pass(5_000);
        assert_eq!((asked(&world, laptop, "Register"), world.connected(laptop)), (usize::from(fits), fits));
        if fits {
            world.connect(alice);
            let message = world.send(alice, "bob", "hello");
            world.pass(120_000);
            assert_eq!(world.fate(alice, message), Fate::Delivered);
        } else {
            let (kind, text, again) = closed(&world, laptop);
            assert_eq!((kind, again), (ErrorKind::LoginNeeded, false));
            assert!(text.contains("its device list is too long to register it again"), "{text}");
        }
    }
}

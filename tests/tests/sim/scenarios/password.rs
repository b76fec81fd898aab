//! Another password: on the server, in this store, and on the other devices.

use sotto_client::{
    api::{ErrorKind, Reply},
    core::WithKey,
    store::WrapId,
};
use sotto_proto::frame::{AuthKey, ErrorCode, ErrorReply, ServerFrame};

use crate::world::{PASSWORD, World};

const NEW: AuthKey = AuthKey([8; 32]);

fn change(old: AuthKey, new: AuthKey) -> WithKey {
    WithKey::Password { old, new, wrap: WrapId([1; 8]) }
}

fn settled(world: &mut World, index: usize) -> (Option<bool>, bool, Option<WrapId>) {
    let device = &mut world.devices[index];
    let (open, right) = device
        .store
        .transaction(|tx| {
            Ok::<_, sotto_client::store::StoreError>((tx.password_change()?.is_some(), tx.right_wrap()?))
        })
        .unwrap();
    (device.password_changed, open, right)
}

#[test]
fn a_change_is_done_or_refused_and_the_store_knows_which_wrap_is_right() {
    let mut world = World::new(70);
    let alice = world.person("alice");
    let wrong = world.with_key(alice, change(NEW, AuthKey([9; 32]))).unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::LoginNeeded);
    assert_eq!(settled(&mut world, alice), (Some(false), false, None));
    world.pass(60_000);
    assert_eq!(world.with_key(alice, change(PASSWORD, NEW)), Ok(Reply::Done));
    assert_eq!(settled(&mut world, alice), (Some(true), false, Some(WrapId([1; 8]))));
    world.disconnect(alice);
    world.settle();
    let offline = world.with_key(alice, change(NEW, PASSWORD)).unwrap_err();
    assert_eq!(offline.kind, ErrorKind::Unreachable);
    assert_eq!(settled(&mut world, alice).0, Some(false));
}

#[test]
fn a_change_whose_answer_was_lost_is_settled_by_the_next_connection() {
    for (seed, happened) in [(71, true), (72, false)] {
        let mut world = World::new(seed);
        let alice = world.person("alice");
        if happened {
            world.tamper = Some(Box::new(|_, frame| (frame != ServerFrame::Done).then_some(frame)));
        }
        let device = &mut world.devices[alice];
        device.password_changed = None;
        let asked = world.ask_with_key(alice, change(PASSWORD, NEW));
        world.run_device(alice, 1, true);
        if happened {
            world.settle();
        }
        // A crash: the store alone remembers.
        world.crash(alice);
        world.tamper = None;
        assert!(!world.devices[alice].replies.contains_key(&asked));
        assert_eq!(settled(&mut world, alice), (None, true, None));
        world.start(alice);
        world.connect(alice);
        world.pass(120_000);
        assert_eq!(settled(&mut world, alice), (Some(true), false, Some(WrapId([1; 8]))), "{happened}");
        let told = |line: &String| line.contains("only the new one opens this device");
        assert!(world.screen(alice).iter().any(told), "whoever comes later can read it");
        // The new one is right on the server in either case.
        let other = world.waiting_device_with(world.devices[alice].account, NEW);
        let approve = WithKey::Approve { code: other.code, key: NEW };
        assert!(world.with_key(alice, approve).is_ok());
    }
}

#[test]
fn a_change_that_the_server_could_not_store_is_asked_for_again_while_the_connection_stands() {
    for (seed, happened) in [(74, true), (75, false)] {
        let mut world = World::new(seed);
        let alice = world.person("alice");
        world.pass(2_000);
        world.devices[alice].asked.clear();
        let mut failures = 3;
        world.tamper = Some(Box::new(move |index, frame| {
            let settles = frame == ServerFrame::Done || matches!(frame, ServerFrame::Error(_));
            Some(if index == alice && settles && failures > 0 {
                failures -= 1;
                let (code, message) = (ErrorCode::STORE, "the disk is slow".to_owned());
                ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None })
            } else {
                frame
            })
        }));
        // Whether the server has the new one or not: its answer says that it does not know.
        let (old, new) = if happened { (PASSWORD, NEW) } else { (NEW, AuthKey([9; 32])) };
        let error = world.with_key(alice, change(old, new)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(settled(&mut world, alice).1, "it is open");
        world.pass(10 * 60_000);
        assert!(!world.devices[alice].asked.contains(&"Hello"), "{:?}", world.devices[alice].asked);
        let wrap = happened.then_some(WrapId([1; 8]));
        assert_eq!(settled(&mut world, alice), (Some(happened), false, wrap));
        let told = if happened { "only the new one opens" } else { "opens with its old one" };
        assert!(world.screen(alice).iter().any(|line| line.contains(told)));
        let asked = world.devices[alice].asked.iter().filter(|asked| **asked == "SetPassword").count();
        assert!((3..=8).contains(&asked), "{asked}");
    }
}

#[test]
fn a_change_on_another_device_is_noticed_when_a_password_is_used() {
    let mut world = World::new(73);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let laptop = world.second_device(account, None);
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.with_key(laptop, change(PASSWORD, NEW)), Ok(Reply::Done));
    let device = world.devices[laptop].id;
    let old = world.with_key(alice, WithKey::Remove { device, key: PASSWORD }).unwrap_err();
    assert_eq!(old.kind, ErrorKind::LoginNeeded);
    assert!(old.hint.unwrap().contains("changed on another"), "it was right once");
    world.pass(60_000);
    assert!(world.with_key(alice, WithKey::Remove { device, key: NEW }).is_ok());
    assert!(world.warnings(alice).contains("the account's password was changed on another device"));
}

#[test]
fn only_of_a_password_that_was_checked_it_is_said_that_it_is_wrong() {
    let mut world = World::new(76);
    let alice = world.person("alice");
    let wrong = world.with_key(alice, change(NEW, AuthKey([9; 32]))).unwrap_err();
    assert_eq!((wrong.kind, wrong.message.as_str()), (ErrorKind::LoginNeeded, "the password is wrong"));
    world.pass(60_000);
    world.tamper = Some(Box::new(|_, frame| {
        Some(match frame {
            ServerFrame::Done => {
                let (code, message) = (ErrorCode::RATE_LIMITED, "try again in 5 s".to_owned());
                ServerFrame::Error(ErrorReply { code, message, retry_after_ms: Some(5_000) })
            }
            frame => frame,
        })
    }));
    let busy = world.with_key(alice, change(PASSWORD, NEW)).unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Limit);
    assert!(!busy.message.contains("wrong"), "{busy:?}");
}

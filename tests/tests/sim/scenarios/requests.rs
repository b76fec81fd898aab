//! What is asked of the server: how much at a time, what a lost or refused answer means, and what waits for what.

use std::{cell::RefCell, rc::Rc};

use sotto_client::{
    api::{ErrorKind, Fate, Reply},
    core::WithKey,
    store::WrapId,
};
use sotto_proto::{
    frame::{AuthKey, ErrorCode, ErrorReply, Lists, ServerFrame},
    limits::{DAY_MS, MAX_FATES_PER_QUERY, MAX_PIPELINED},
};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

use crate::world::{PASSWORD, World};

#[test]
fn no_more_is_asked_at_a_time_than_a_server_takes_and_nothing_is_forgotten_over_it() {
    let mut world = World::new(560);
    let alice = world.person("alice");
    let others: Vec<String> = (0..MAX_PIPELINED + 6).map(|number| format!("other-{number}")).collect();
    for name in &others {
        world.person_without_keys(name);
    }
    // Each name is looked up at first, and then keys are claimed for each.
    for name in &others {
        world.write(alice, name, "hello");
    }
    world.devices[alice].asked.clear();
    loop {
        let before = world.devices[alice].asked.len();
        let ran = world.run_device(alice, 1_000, true);
        let asked = world.devices[alice].asked.len() - before;
        assert!(asked <= MAX_PIPELINED, "{asked} at a time");
        let mut served = false;
        while world.run_server() {
            served = true;
        }
        if !ran && !served {
            break;
        }
    }
    let claims = world.devices[alice].asked.iter().filter(|asked| **asked == "ClaimBundles").count();
    assert!(claims >= others.len(), "{claims}");
}

#[test]
fn a_password_that_the_server_could_not_look_at_is_not_said_to_be_wrong() {
    let mut world = World::new(561);
    let alice = world.person("alice");
    let right = world.ask_with_key(alice, WithKey::Prove { key: PASSWORD });
    world.settle();
    assert!(!world.devices[alice].replies.contains_key(&right), "it is proven: the change goes on");
    let wrong = world.with_key(alice, WithKey::Prove { key: AuthKey([8; 32]) }).unwrap_err();
    assert_eq!((wrong.kind, wrong.message.as_str()), (ErrorKind::LoginNeeded, "the password is wrong"));
    world.tamper = Some(Box::new(|_, frame| {
        Some(match frame {
            ServerFrame::AccountIn(_) => {
                let (code, message) = (ErrorCode::RATE_LIMITED, "too often".to_owned());
                ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None })
            }
            frame => frame,
        })
    }));
    world.pass(60_000);
    let unknown = world.with_key(alice, WithKey::Prove { key: PASSWORD }).unwrap_err();
    assert_eq!((unknown.kind, unknown.message.as_str()), (ErrorKind::Limit, "too many requests"));
}

#[test]
fn who_waits_for_a_changed_password_when_the_connection_is_lost_hears_that_both_may_be_right() {
    let mut world = World::new(562);
    let alice = world.person("alice");
    let change = |old, new| WithKey::Password { old, new, wrap: WrapId([1; 8]) };
    let new = AuthKey([8; 32]);
    assert_eq!(world.with_key(alice, change(PASSWORD, new.clone())), Ok(Reply::Done));
    let asked = world.ask_with_key(alice, change(new, PASSWORD));
    world.run_device(alice, 1, true);
    world.disconnect(alice);
    world.settle();
    let error = world.devices[alice].replies.remove(&asked).unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("did not say whether it changed the password"), "{error:?}");
    assert!(error.hint.unwrap().contains("both passwords open this device"));
}

#[test]
fn who_removes_a_device_as_the_connection_is_lost_hears_whether_it_may_have_happened() {
    for (lost_at, may_have) in [("PasswordLogin", false), ("ReplaceList", true)] {
        let mut world = World::new(565);
        let alice = world.person("alice");
        let laptop = world.second_device(world.devices[alice].account, None);
        world.connect(alice);
        world.pass(5_000);
        let remove = WithKey::Remove { device: world.devices[laptop].id, key: PASSWORD };
        let asked = world.ask_with_key(alice, remove);
        while !world.devices[alice].asked.contains(&lost_at) {
            assert!(world.run_device(alice, 1, true) || world.run_server(), "{lost_at} is asked");
        }
        world.disconnect(alice);
        world.settle();
        let error = world.devices[alice].replies.remove(&asked).unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{lost_at}");
        let hint = error.hint.is_some_and(|hint| hint.contains("it may have happened: sotto device list"));
        assert_eq!(hint, may_have, "{lost_at}");
    }
}

#[test]
fn whose_account_is_gone_when_keys_are_asked_for_is_said_not_to_be_there_and_a_busy_server_is_waited_for() {
    for (code, gone) in [(ErrorCode::BUSY, false), (ErrorCode::UNKNOWN_USER, true)] {
        let mut world = World::new(566);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        // Between the first look for bob and the claim of his keys.
        let mut refused = false;
        world.tamper = Some(Box::new(move |index, frame| {
            Some(match frame {
                ServerFrame::Bundles(_) if index == 0 => {
                    refused = true;
                    let message = "not now, or never".to_owned();
                    ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None })
                }
                ServerFrame::Lists(_) if refused && gone => ServerFrame::Lists(Lists { lists: vec![None] }),
                frame => frame,
            })
        }));
        let message = world.send(alice, "bob", "hello");
        world.pass(20_000);
        let expected = if gone { Fate::UnknownUser } else { Fate::Waiting };
        assert_eq!(world.fate(alice, message), expected);
        assert_eq!(world.warnings(alice).contains("there is no user bob any more"), gone);
        world.tamper = None;
        world.pass(20_000);
        assert_eq!(world.fate(alice, message), if gone { expected } else { Fate::Delivered });
        assert_eq!(world.screen(bob).len(), usize::from(!gone));
    }
}

#[test]
fn what_did_not_arrive_is_told_of_together_when_the_server_has_said_it_of_everything() {
    let day = CoreConfig { retention_ms: DAY_MS, ..CoreConfig::default() };
    let mut world = World::with(563, day, StoreConfig { retention_ms: DAY_MS, ..StoreConfig::default() });
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "hello");
    world.pass(5_000);
    world.crash(bob);
    let count = MAX_FATES_PER_QUERY + 1;
    for number in 0..count {
        world.write(alice, "bob", &format!("number {number}"));
    }
    world.settle();
    world.disconnect(alice);
    world.pass(2 * DAY_MS);
    let told = |world: &World| world.warnings(alice).matches("did not arrive in time").count();
    assert_eq!(told(&world), 0);
    // Each of its answers takes a second.
    world.connect(alice);
    for _ in 0..60 {
        world.run_device(alice, 64, true);
        world.now_ms += 1_000;
        world.run_device(alice, 64, true);
        world.run_server();
    }
    assert_eq!(told(&world), 1, "{}", world.warnings(alice));
    let line = format!("{count} messages to bob did not arrive in time");
    assert!(world.warnings(alice).contains(&line), "{}", world.warnings(alice));
}

/// What bob has of a server that was put back to a copy since, and of which he has told alice in vain, has to be sealed anew: the
/// same bytes he would drop without a word. That also holds for what the server of today refuses at first.
#[test]
fn what_was_under_way_when_a_server_was_found_to_be_put_back_is_known_to_be_delivered_in_the_end() {
    for cut in [false, true] {
        let store = StoreConfig { mailbox_envelopes: 3, mailbox_floor_places: 0, ..StoreConfig::default() };
        let mut world = World::with(564, CoreConfig::default(), store);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        let (carol, dave) = (world.person("carol"), world.person("dave"));
        for (from, to) in [(alice, "bob"), (alice, "dave"), (carol, "bob")] {
            world.send(from, to, "one");
            world.pass(5_000);
        }
        world.disconnect(dave);
        let copy = world.store.copy(1_000_000);
        let for_dave = world.send(alice, "dave", "two");
        assert_eq!(world.fate(alice, for_dave), Fate::Stored);
        world.tamper = Some(Box::new(|index, frame| match frame {
            ServerFrame::Submitted(_) | ServerFrame::Deliver(_) | ServerFrame::Taken(_) if index == 0 => None,
            frame => Some(frame),
        }));
        let two = world.send(alice, "bob", "two");
        world.settle();
        assert_eq!(world.fate(alice, two), Fate::Waiting);
        assert_eq!(world.screen(bob).last().unwrap(), "alice: two");

        world.put_back(copy);
        world.connect(carol);
        for text in ["two", "three", "four"] {
            world.send(carol, "bob", text);
        }
        let seen: Rc<RefCell<Vec<&str>>> = Rc::default();
        let noted = Rc::clone(&seen);
        world.tamper = Some(Box::new(move |index, frame| {
            if let (0, ServerFrame::Fates(_) | ServerFrame::Submitted(_)) = (index, &frame) {
                noted.borrow_mut().push(frame.name());
            }
            Some(frame)
        }));
        world.connect(alice);
        while !seen.borrow().contains(&"Submitted") {
            world.run_device(alice, 64, true);
            assert!(world.run_server(), "the message is sent again");
        }
        assert_eq!(*seen.borrow(), ["Fates", "Submitted"]);
        if cut {
            world.disconnect(alice);
            world.settle();
            world.connect(alice);
        }
        world.settle();
        assert!(world.warnings(alice).contains("the server has lost a message of yours"));
        assert_eq!(world.fate(alice, two), Fate::Refused, "{:?}", world.fate_reason(alice, two));
        for index in [bob, dave] {
            world.connect(index);
        }
        world.pass(20 * 60_000);
        assert_eq!([two, for_dave].map(|message| world.fate(alice, message)), [Fate::Delivered; 2], "{cut}");
        let said = ["alice: one", "carol: one", "alice: two", "carol: two", "carol: three", "carol: four"];
        assert_eq!(world.said(bob), said);
        assert_eq!(world.said(dave), ["alice: one", "alice: two"]);
    }
}

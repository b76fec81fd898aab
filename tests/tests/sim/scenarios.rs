//! Named scenarios: one story each, and what everybody must see in the end.

use sotto_client::api::{Command, ErrorKind, Fate, Reply};
use sotto_proto::{SignedDeviceList, frame::ServerFrame, limits::DAY_MS};

use crate::world::World;

fn texts(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix} {number}")).collect()
}

#[test]
fn a_first_message_arrives_and_its_sender_knows() {
    let mut world = World::new(1);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let message = world.send(alice, "bob", "hello");
    assert_eq!(world.screen(bob), ["alice: hello"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    world.send(bob, "alice", "hello yourself");
    assert_eq!(world.screen(alice), ["alice: hello", "bob: hello yourself"]);
    let needle = b"hello yourself";
    assert!(!world.seen_by_server.windows(needle.len()).any(|window| window == needle));
}

#[test]
fn messages_for_somebody_offline_arrive_once_and_in_order() {
    let mut world = World::new(2);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    for text in texts("number", 300) {
        world.write(alice, "bob", &text);
    }
    world.settle();
    let ids: Vec<_> = world.rows(alice).into_iter().map(|row| (row.message, row.fate)).collect();
    assert!(ids.iter().all(|(_, fate)| *fate == Some(Fate::Stored)), "{ids:?}");
    world.connect(bob);
    world.settle();
    let expected: Vec<_> = texts("alice: number", 300);
    assert_eq!(world.screen(bob), expected);
    assert!(world.rows(alice).iter().all(|row| row.fate == Some(Fate::Delivered)));
}

#[test]
fn an_unknown_user_is_said_to_be_unknown() {
    let mut world = World::new(3);
    let alice = world.person("alice");
    let message = world.send(alice, "nobody", "anybody there?");
    assert_eq!(world.fate(alice, message), Fate::UnknownUser);
    let Ok(Reply::Outbox(waiting)) = world.command(alice, Command::Outbox) else { panic!() };
    assert_eq!(waiting, []);
}

#[test]
fn first_messages_that_cross_both_arrive_and_the_two_agree() {
    let mut world = World::new(4);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.write(alice, "bob", "from alice");
    world.write(bob, "alice", "from bob");
    world.settle();
    for round in 0..5 {
        world.send(alice, "bob", &format!("a{round}"));
        world.send(bob, "alice", &format!("b{round}"));
    }
    let (seen_by_alice, seen_by_bob) = (world.screen(alice), world.screen(bob));
    assert_eq!(seen_by_alice.len(), 12);
    assert_eq!(seen_by_bob.len(), 12);
    assert!(!seen_by_bob.iter().chain(&seen_by_alice).any(|line| line.contains('?')));
}

#[test]
fn a_second_device_receives_and_sees_what_the_first_sends() {
    let mut world = World::new(5);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "before");
    world.pass(2_000);
    let account = world.devices[bob].account;
    let laptop = world.second_device(account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    let after = world.send(alice, "bob", "after");
    world.pass(5_000);
    world.send(bob, "alice", "from bob's first");
    world.pass(5_000);
    assert_eq!(world.fate(alice, after), Fate::Delivered);
    assert_eq!(world.screen(bob), ["alice: before", "alice: after", "bob: from bob's first"]);
    assert_eq!(world.screen(laptop), ["alice: after", "bob: from bob's first"]);
    world.send(laptop, "alice", "from bob's second");
    world.pass(5_000);
    assert_eq!(world.screen(alice).last().unwrap(), "bob: from bob's second");
    assert_eq!(world.screen(bob).last().unwrap(), "bob: from bob's second");
}

#[test]
fn a_revoked_device_reads_nothing_more() {
    let mut world = World::new(6);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "for the old one");
    world.pass(2_000);
    let account = world.devices[bob].account;
    let old = world.devices[bob].id;
    let new = world.second_device(account, Some(old));
    world.connect(alice);
    world.pass(5_000);
    world.send(alice, "bob", "for the new one");
    world.pass(5_000);
    assert_eq!(world.screen(bob), ["alice: for the old one"]);
    assert_eq!(world.screen(new), ["alice: for the new one"]);
    world.connect(bob);
    world.pass(1_000);
    let (error, reconnect) = world.devices[bob].closed.clone().expect("the server does not let it in");
    assert_eq!((error.kind, reconnect), (ErrorKind::LoginNeeded, false));
}

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
    assert_eq!(world.screen(bob), ["alice: one", "alice: two", "alice: three"]);
    assert_eq!(world.fate(alice, two), Fate::Delivered);
}

#[test]
fn a_device_that_lost_its_sessions_says_so_and_is_healed() {
    let mut world = World::new(8);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.send(bob, "alice", "two");
    let account = world.accounts[world.devices[alice].account].id;
    world.crash(bob);
    world.devices[bob].store.transaction(|tx| tx.forget_sessions(&account)).unwrap();
    world.start(bob);
    world.connect(bob);
    world.settle();
    let three = world.send(alice, "bob", "three");
    world.pass(5_000);
    assert_eq!(world.screen(bob), ["alice: one", "bob: two", "alice: three"]);
    assert_eq!(world.fate(alice, three), Fate::Delivered);
}

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

#[test]
fn an_old_copy_of_a_profile_sends_nothing() {
    let mut world = World::new(10);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.crash(bob);
    world.devices[bob]
        .store
        .transaction(|tx| {
            let mut cursor = tx.cursor()?.unwrap();
            cursor.number.0 -= 1;
            tx.set_cursor(&cursor)
        })
        .unwrap();
    world.start(bob);
    world.connect(bob);
    world.settle();
    let (error, reconnect) = world.devices[bob].closed.clone().expect("it stops");
    assert!(!reconnect);
    assert!(error.message.contains("old copy"), "{error}");
}

#[test]
fn what_nobody_fetched_expires_and_both_sides_see_it() {
    let mut world = World::new(11);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    let message = world.send(alice, "bob", "too late");
    world.disconnect(alice);
    world.pass(31 * DAY_MS);
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.fate(alice, message), Fate::Expired);
    world.connect(bob);
    world.pass(5_000);
    let screen = world.screen(bob);
    assert_eq!(screen.len(), 1, "{screen:?}");
    assert!(screen[0].contains("removed before this device"), "{screen:?}");
}

#[test]
fn a_restored_server_loses_nothing_that_its_senders_still_have() {
    let mut world = World::new(12);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.disconnect(bob);
    let two = world.send(alice, "bob", "two");
    world.crash_server();
    world.store.restored();
    world.start_server();
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(60_000);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two"]);
    assert_eq!(world.fate(alice, two), Fate::Delivered);
}

//! What a client looks up at the server, when, and what becomes of who waits for the answer.

use std::{cell::Cell, rc::Rc};

use sotto_client::{
    api::{Command, ErrorKind, Fate, Reply},
    core::WithKey,
};
use sotto_proto::{
    frame::{ErrorCode, ErrorReply, Lists, ServerFrame},
    limits::MAX_LISTS,
};

use crate::world::{PASSWORD, World};

const ADDED: &str = "a device was added to your account";

#[test]
fn an_own_list_that_only_a_contact_knows_is_asked_for_at_once() {
    let mut world = World::new(331);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[alice].account;
    let laptop = world.second_device(account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.send(bob, "alice", "one");
    world.pass(120_000);
    world.devices[laptop].asked.clear();
    world.send(bob, "alice", "two");
    world.send(alice, "bob", "three");
    world.pass(5_000);
    assert_eq!(world.said(laptop), ["bob: one", "bob: two", "alice: three"]);
    let asked = &world.devices[laptop].asked;
    assert!(!asked.contains(&"LookupLists"), "nothing new is to be known: {asked:?}");
    // Alice adds a device. The server does not show that to the laptop, and bob learns of it.
    world.disconnect(bob);
    world.send(laptop, "bob", "four");
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::ListChanged(_) if index == laptop => None,
        frame => Some(frame),
    }));
    let stranger = world.waiting_device(account);
    world.with_key(alice, WithKey::Approve { code: stranger.code, key: PASSWORD }).unwrap();
    world.approved(account, &stranger).expect("it is in the list");
    world.pass(120_000);
    assert!(!world.warnings(laptop).contains(ADDED), "it was kept back");
    // All that he sends the laptop is a receipt, to which there is no answer.
    let newest = world.accounts[account].list.clone();
    world.devices[bob].store.transaction(|tx| tx.update_list(&newest)).unwrap();
    world.connect(bob);
    world.settle();
    assert!(world.warnings(laptop).contains(ADDED), "{}", world.warnings(laptop));
}

#[test]
fn a_server_that_is_too_busy_to_say_who_somebody_is_is_asked_again_when_it_said() {
    let mut world = World::new(332);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let busy = Rc::new(Cell::new(2));
    let left = Rc::clone(&busy);
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Lists(_) if index == alice && left.get() > 0 => {
                left.set(left.get() - 1);
                let (code, message) = (ErrorCode::BUSY, "busy".to_owned());
                ServerFrame::Error(ErrorReply { code, message, retry_after_ms: Some(20_000) })
            }
            frame => frame,
        })
    }));
    // Who asks for a number is told at once; a message waits.
    let error = world.command(alice, Command::Safety("bob".parse().unwrap())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
    let message = world.send(alice, "bob", "hello");
    world.pass(19_000);
    assert_eq!((world.fate(alice, message), busy.get()), (Fate::Waiting, 1), "not before it said");
    world.pass(2_000);
    assert_eq!((world.fate(alice, message), busy.get()), (Fate::Waiting, 0));
    world.pass(21_000);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.screen(bob), ["alice: hello"]);
}

#[test]
fn who_asks_for_a_name_is_answered_also_where_the_server_serves_no_list_of_it() {
    let mut world = World::new(333);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.person("carol");
    let safety = |user: &str| Command::Safety(user.parse().unwrap());
    assert!(matches!(world.command(alice, safety("carol")), Ok(Reply::Safety(_))));
    let bobs = world.accounts[world.devices[bob].account].first_list();
    for (user, served, said) in
        [("dave", b"no list".to_vec(), "does not hold"), ("erin", bobs, "somebody else's device list")]
    {
        world.person(user);
        world.tamper = Some(Box::new(move |index, frame| {
            Some(match frame {
                ServerFrame::Lists(_) if index == alice => {
                    ServerFrame::Lists(Lists { lists: vec![Some(served.clone().into())] })
                }
                frame => frame,
            })
        }));
        let error = world.command(alice, safety(user)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
        assert!(world.warnings(alice).contains(said), "{}", world.warnings(alice));
        world.tamper = None;
        world.pass(61_000);
        assert!(matches!(world.command(alice, safety(user)), Ok(Reply::Safety(_))));
    }
}

#[test]
fn somebody_elses_list_in_the_place_of_an_account_is_not_taken_for_its_own() {
    let mut world = World::new(334);
    let (alice, bob, carol) = (world.person("alice"), world.person("bob"), world.person("carol"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    let laptop = world.second_device(world.devices[alice].account, None);
    for index in [alice, bob, carol] {
        world.connect(index);
    }
    world.pass(5_000);
    let carols = world.accounts[world.devices[carol].account].first_list();
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Lists(_) if index == laptop => {
                ServerFrame::Lists(Lists { lists: vec![Some(carols.clone().into())] })
            }
            frame => frame,
        })
    }));
    world.send(alice, "bob", "two");
    world.pass(5_000);
    let said = "the server served somebody else's device list";
    assert!(world.warnings(laptop).contains(said), "{}", world.warnings(laptop));
    assert_eq!(world.command(laptop, Command::Contacts), Ok(Reply::Contacts(Vec::new())));
    world.tamper = None;
    world.pass(61_000);
    world.send(alice, "bob", "three");
    world.pass(5_000);
    let rows = world.rows(laptop);
    let seen: Vec<&str> =
        rows.iter().map(|row| row.conversation.as_str()).filter(|name| *name != "alice").collect();
    assert_eq!(seen, ["bob", "bob"]);
    assert_eq!(world.said(laptop), ["alice: two", "alice: three"]);
}

#[test]
fn a_list_that_is_withheld_is_asked_for_once_a_minute_and_its_change_told_once() {
    let mut world = World::new(335);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    // The server comes back from before bob registered, and another bob takes the name.
    world.crash(bob);
    world.forget_everything();
    world.register_again(alice);
    world.person("bob");
    world.connect(alice);
    world.pass(5_000);
    let held = world.send(alice, "bob", "two");
    world.pass(5_000);
    assert_eq!(world.fate(alice, held), Fate::Held);
    world.devices[alice].asked.clear();
    for _ in 0..20 {
        world.send(alice, "bob", "more");
        world.pass(30_000);
    }
    let asked = world.devices[alice].asked.iter().filter(|frame| **frame == "LookupLists").count();
    assert!((9..=11).contains(&asked), "{asked} times in ten minutes");
    assert_eq!(world.warnings(alice).matches("the identity of bob has changed").count(), 1);
}

#[test]
fn many_names_are_asked_for_in_as_few_questions_as_the_server_allows() {
    let mut world = World::new(336);
    let alice = world.person("alice");
    world.disconnect(alice);
    let messages: Vec<_> =
        (0..20).map(|number| world.send(alice, &format!("user-{number}"), "are you there?")).collect();
    world.devices[alice].asked.clear();
    world.connect(alice);
    world.pass(5_000);
    for message in messages {
        assert_eq!(world.fate(alice, message), Fate::UnknownUser);
    }
    let asked = world.devices[alice].asked.iter().filter(|frame| **frame == "LookupLists").count();
    assert_eq!(asked, 20usize.div_ceil(MAX_LISTS));
}

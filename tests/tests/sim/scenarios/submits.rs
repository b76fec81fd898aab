//! What a server says of a Submit, and what becomes of the messages in it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
};

use sotto_client::api::{Command, Fate, Reply};
use sotto_proto::{
    frame::{ErrorCode, ErrorReply, ServerFrame, StaleDevices},
    limits::DAY_MS,
};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

use super::texts;
use crate::world::{Observed, World};

/// How often a device has sent a Submit.
fn submits(world: &World, index: usize) -> usize {
    world.devices[index].asked.iter().filter(|kind| **kind == "Submit").count()
}

#[test]
fn a_submit_that_the_server_does_not_take_says_why_and_leaves_when_its_time_has_come() {
    let mut world = World::new(600);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "zero");
    world.pass(2_000);
    assert_eq!(world.screen(bob), ["alice: zero"]);
    world.disconnect(bob);
    let error: Rc<RefCell<Option<ErrorReply>>> = Rc::default();
    let answer = Rc::clone(&error);
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Submitted(_) if index == 0 => {
            Some(answer.borrow().clone().map_or(frame, ServerFrame::Error))
        }
        frame => Some(frame),
    }));
    let full = Some("the server's disk is full");
    let limit = Some("a limit of the server is reached");
    for (code, said_ms, fate, reason, again_ms) in [
        (ErrorCode::BUSY, None, Fate::Waiting, None, 1_000),
        (ErrorCode::BUSY, Some(5_000), Fate::Waiting, None, 5_000),
        // A disk does not become empty within moments.
        (ErrorCode::DISK_FULL, None, Fate::Refused, full, 10_000),
        (ErrorCode::DISK_FULL, Some(500), Fate::Refused, full, 10_000),
        (ErrorCode::DISK_FULL, Some(20_000), Fate::Refused, full, 20_000),
        // What may never be taken is not sent again and again.
        (ErrorCode::LIMIT, None, Fate::Refused, limit, 600_000),
    ] {
        let before = submits(&world, alice);
        *error.borrow_mut() = Some(ErrorReply { code, message: "no".to_owned(), retry_after_ms: said_ms });
        let message = world.send(alice, "bob", &format!("{code:?} {said_ms:?}"));
        assert_eq!(world.fate(alice, message), fate, "{code:?}");
        assert_eq!(world.fate_reason(alice, message).as_deref(), reason, "{code:?}");
        *error.borrow_mut() = None;
        world.pass(again_ms - 100);
        assert_eq!(submits(&world, alice), before + 1, "{code:?} {said_ms:?}: not yet");
        world.pass(200);
        assert_eq!(submits(&world, alice), before + 2, "{code:?} {said_ms:?}");
        assert_eq!((world.fate(alice, message), world.fate_reason(alice, message)), (Fate::Stored, None));
    }
    world.connect(bob);
    world.pass(60_000);
    assert_eq!(world.screen(bob), world.screen(alice));
    assert!(world.rows(alice).iter().all(|row| row.fate == Some(Fate::Delivered)));
}

#[test]
fn a_message_does_not_wait_behind_a_receipt_that_a_full_mailbox_refused() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(606, CoreConfig::default(), store);
    let (alice, bob, carol) = (world.person("alice"), world.person("bob"), world.person("carol"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.disconnect(alice);
    world.send(bob, "alice", "two");
    world.disconnect(bob);
    for text in texts("number", 5) {
        world.send(carol, "bob", &text);
    }
    world.connect(alice);
    world.settle();
    assert_eq!(world.screen(alice), ["alice: one", "bob: two"]);
    assert_eq!(world.outbox_length(alice), 1, "the receipt was refused");
    // There is room, and alice has not been told.
    world.connect(bob);
    world.settle();
    assert_eq!(world.outbox_length(alice), 1);
    let three = world.send(alice, "bob", "three");
    assert_eq!((world.fate(alice, three), world.fate_reason(alice, three)), (Fate::Delivered, None));
    world.pass(60_000);
    assert_eq!(world.outbox_length(alice), 0);
}

#[test]
fn a_message_that_one_device_refused_reaches_a_new_one_and_nobody_twice() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(607, CoreConfig::default(), store);
    world.observed = Some(Observed::default());
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[bob].account;
    let tablet = world.second_device(account, None);
    for index in [alice, bob, tablet] {
        world.connect(index);
    }
    world.pass(5_000);
    world.disconnect(tablet);
    let messages: Vec<_> =
        texts("number", 6).into_iter().map(|text| world.send(alice, "bob", &text)).collect();
    let twice = |world: &World, to: usize| {
        let to = world.devices[to].id;
        let seen = world.observed.as_ref().unwrap().envelopes.values();
        let messages: Vec<_> =
            seen.filter(|seen| seen.to == to && seen.user).map(|seen| seen.message).collect();
        messages.len() - messages.iter().collect::<BTreeSet<_>>().len()
    };
    assert_eq!(world.copy_fate(alice, messages[5], tablet), None, "it was refused");
    // Its mailbox is tried again and again.
    world.pass(120_000);
    assert_eq!(twice(&world, bob), 0, "bob has had each once");
    let desk = world.second_device(account, None);
    for index in [alice, bob, desk] {
        world.connect(index);
    }
    world.pass(60_000);
    assert_eq!(world.said(desk), ["alice: number 4", "alice: number 5"], "what some device still waits for");
    assert_eq!((twice(&world, bob), twice(&world, desk)), (0, 0));
    world.connect(tablet);
    world.pass(600_000);
    for index in [bob, tablet] {
        assert_eq!(world.said(index), texts("alice: number", 6), "{index}");
    }
}

#[test]
fn many_messages_for_several_new_devices_leave_in_frames_that_the_server_takes() {
    let store = StoreConfig { mailbox_envelopes: 120, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(608, CoreConfig::default(), store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[bob].account;
    let tablet = world.second_device(account, None);
    for index in [alice, bob, tablet] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(alice, "bob", "zero");
    world.pass(5_000);
    world.disconnect(tablet);
    for text in texts("number", 220) {
        world.write(alice, "bob", &text);
    }
    world.pass(5_000);
    assert_eq!(world.said(bob).len(), 221);
    // So that all of them are there when alice hears of the first.
    world.crash(alice);
    let new: Vec<usize> = (0..2).map(|_| world.second_device(account, None)).collect();
    world.start(alice);
    for index in new.iter().copied().chain([bob, alice]) {
        world.connect(index);
    }
    world.pass(60_000);
    let all = texts("alice: number", 220);
    for index in new {
        assert_eq!(world.said(index), all[120..], "what the tablet had no room for");
    }
    world.connect(tablet);
    world.pass(600_000);
    for index in [bob, tablet] {
        assert_eq!(world.said(index)[1..], all, "{index}");
    }
    assert_eq!(world.outbox_length(alice), 0);
}

#[test]
fn a_message_counts_as_sent_where_some_device_of_its_recipient_was_connected_and_no_own_one_counts() {
    let mut world = World::new(609);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let laptop = world.second_device(world.devices[alice].account, None);
    let tablet = world.second_device(world.devices[bob].account, None);
    let all = [alice, bob, laptop, tablet];
    // Which device the server names first is a matter of chance.
    for there in [vec![], vec![laptop], vec![bob, laptop], vec![tablet], vec![bob, tablet]] {
        for index in all {
            world.disconnect(index);
        }
        for index in there.iter().copied().chain([alice]) {
            world.connect(index);
        }
        world.pass(5_000);
        let message = world.send(alice, "bob", &format!("{there:?}"));
        let Ok(Reply::Fate(fate)) = world.command(alice, Command::Fate(message)) else { panic!() };
        assert!(fate.fate >= Fate::Stored, "{fate:?}");
        assert_eq!(fate.connected, there.contains(&bob) || there.contains(&tablet), "{there:?}");
    }
}

#[test]
fn a_message_that_only_ones_own_devices_have_got_waits_on() {
    let mut world = World::new(615);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let laptop = world.second_device(world.devices[alice].account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(alice, "bob", "one");
    world.pass(5_000);
    assert_eq!(world.said(bob), ["alice: one"]);
    // It is sealed, and does not get as far as the server.
    world.write(alice, "bob", "two");
    world.run_device(alice, 64, true);
    world.disconnect(alice);
    world.settle();
    // Bob's only device is another one by now, which has no keys yet.
    world.crash(bob);
    let old = world.devices[bob].id;
    let new = world.second_device_without_keys(world.devices[bob].account, Some(old));
    for index in [alice, laptop] {
        world.connect(index);
    }
    world.pass(300_000);
    let message = world.rows(alice).pop().unwrap().message;
    assert_eq!(world.said(laptop), ["alice: one", "alice: two"], "it did not wait for that device");
    assert_eq!(world.fate(alice, message), Fate::Waiting);
    world.connect(new);
    world.pass(300_000);
    assert_eq!(world.said(new), ["alice: two"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.said(laptop), ["alice: one", "alice: two"]);
}

#[test]
fn a_device_that_a_message_went_without_is_named_also_when_the_answer_comes_after_weeks() {
    let mut world = World::new(616);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    let tablet = world.second_device_without_keys(world.devices[bob].account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    // For a minute it is waited for.
    let waits = world.send(alice, "bob", "two");
    world.pass(70_000);
    assert_eq!(world.copy_fate(alice, waits, tablet), Some(Fate::Expired));
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Submitted(_) | ServerFrame::Taken(_) | ServerFrame::Deliver(_) if index == alice => None,
        frame => Some(frame),
    }));
    for text in ["three", "four"] {
        world.write(alice, "bob", text);
    }
    world.pass(300_000);
    assert_eq!(world.said(bob), ["alice: one", "alice: two", "alice: three", "alice: four"]);
    let message = world.rows(alice).pop().unwrap().message;
    assert_eq!(world.fate(alice, message), Fate::Waiting);
    world.crash(alice);
    world.tamper = None;
    world.pass(15 * DAY_MS);
    world.start(alice);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.copy_fate(alice, message, tablet), Some(Fate::Expired));
    let tablets = vec![world.devices[tablet].id.to_string()];
    assert_eq!(world.rows(alice).pop().unwrap().unreached, tablets);
}

#[test]
fn a_list_that_has_nothing_to_do_with_a_message_is_not_believed() {
    let mut world = World::new(617);
    let (alice, bob, carol) = (world.person("alice"), world.person("bob"), world.person("carol"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    let tablet = world.second_device(world.devices[bob].account, None);
    let carols = world.accounts[world.devices[carol].account].first_list();
    let named = Rc::new(Cell::new(false));
    let noted = Rc::clone(&named);
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::StaleDevices(mut stale) if index == alice => {
            noted.set(true);
            stale.lists.push(carols.clone().into());
            Some(ServerFrame::StaleDevices(stale))
        }
        frame => Some(frame),
    }));
    for index in [alice, bob, tablet] {
        world.connect(index);
    }
    world.send(alice, "bob", "two");
    world.pass(5_000);
    assert!(named.get());
    assert_eq!(world.said(tablet), ["alice: two"], "the list that was asked for is");
    let warned = "a device list that has nothing to do with the message";
    assert_eq!(world.warnings(alice).matches(warned).count(), 1, "{}", world.warnings(alice));
    let Ok(Reply::Contacts(contacts)) = world.command(alice, Command::Contacts) else { panic!() };
    assert_eq!(contacts.into_iter().map(|contact| contact.name).collect::<Vec<_>>(), ["bob"]);
}

#[test]
fn a_server_that_calls_stale_what_is_not_is_not_asked_without_end() {
    let mut world = World::new(618);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    assert_eq!(world.screen(bob), ["alice: one"]);
    world.disconnect(bob);
    let list = world.accounts[world.devices[bob].account].first_list();
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Submitted(_) if index == alice => {
            let lists = vec![list.clone().into()];
            Some(ServerFrame::StaleDevices(StaleDevices { lists, wanted: Vec::new() }))
        }
        frame => Some(frame),
    }));
    let before = submits(&world, alice);
    let message = world.send(alice, "bob", "two");
    world.pass(100_000);
    let asked = submits(&world, alice) - before;
    assert!((2..=5).contains(&asked), "{asked} times in 100 seconds");
    world.tamper = None;
    world.connect(bob);
    world.pass(60_000);
    assert_eq!(world.said(bob), ["alice: one", "alice: two"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
}

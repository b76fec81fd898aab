//! What devices tell each other beside messages: who may say what, and what is answered.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use sha2::{Digest, Sha256};
use sotto_client::{
    api::{Command, Fate, Recipient, Reply, Row, RowBody},
    core::Input,
    store::{NewEntry, StoreError, WantedBody},
};
use sotto_proto::{
    DeviceId, Envelope, MessageId,
    content::{Body, Place, kind},
    envelope::BodyHash,
    frame::ServerFrame,
    limits::DAY_MS,
    wire::labelled,
};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

use crate::world::{Observed, World};

/// A device tells another one whatever it likes, as a changed program can.
pub(super) fn tells(world: &mut World, from: usize, to: usize, body: &Body) {
    let (account, device) = (world.accounts[world.devices[to].account].id, world.devices[to].id);
    let (message, now_ms) = (MessageId(world.random()), world.now_ms);
    let entry = NewEntry {
        account: Some(account),
        username: None,
        device: Some(device),
        message,
        user: false,
        kind: body.kind(),
        body: &body.encode(),
        clock_ms: now_ms,
        now_ms,
    };
    world.devices[from].store.transaction::<_, StoreError>(|tx| tx.enqueue(&entry).map(drop)).unwrap();
    world.tell(from, Input::Tick);
    world.settle();
}

/// Alice, her laptop, bob whom both know, and mallory.
fn four(seed: u64) -> (World, [usize; 4]) {
    let mut world = World::new(seed);
    let (alice, bob, mallory) = (world.person("alice"), world.person("bob"), world.person("mallory"));
    let laptop = world.second_device(world.devices[alice].account, None);
    for index in [alice, bob, mallory] {
        world.connect(index);
    }
    world.send(bob, "alice", "from bob");
    world.send(mallory, "alice", "from mallory");
    world.pass(5_000);
    (world, [alice, laptop, bob, mallory])
}

fn text(row: &Row) -> &str {
    match &row.body {
        RowBody::Text(text) | RowBody::Undecryptable(text) => text,
        RowBody::Newer(_) => "",
    }
}

fn is_blocked(world: &mut World, index: usize, user: &str) -> bool {
    match world.command(index, Command::Contacts) {
        Ok(Reply::Contacts(contacts)) => {
            contacts.into_iter().find(|contact| contact.name == user).unwrap().blocked
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_ones_own_devices_say_whom_one_blocks_and_how_devices_are_called() {
    let (mut world, [alice, laptop, bob, mallory]) = four(341);
    let (account, device) = (world.accounts[world.devices[bob].account].id, world.devices[alice].id);
    let name = |world: &mut World| {
        let name: Result<_, StoreError> =
            world.devices[alice].store.transaction(|tx| tx.device_name(&device));
        name.unwrap().0
    };
    let said = |name: &str| Body::SyncDeviceName { device, name: name.to_owned() };
    for blocked in [true, false] {
        tells(&mut world, laptop, alice, &Body::SyncBlock { account, blocked });
        assert_eq!(is_blocked(&mut world, alice, "bob"), blocked);
        world.pass(1_000);
    }
    tells(&mut world, laptop, alice, &said("desk"));
    assert_eq!(name(&mut world), "desk");
    world.pass(1_000);

    tells(&mut world, mallory, alice, &Body::SyncBlock { account, blocked: true });
    tells(&mut world, mallory, alice, &said("mine now"));
    assert!(!is_blocked(&mut world, alice, "bob"));
    assert_eq!(name(&mut world), "desk");
    let rows = world.rows(alice);
    let refused: Vec<&Row> = rows.iter().filter(|row| text(row).starts_with("not shown")).collect();
    assert_eq!(refused.len(), 2, "{rows:?}");
    for row in refused {
        assert_eq!((row.from.as_str(), row.outgoing), ("mallory", false), "{row:?}");
        assert_eq!(text(row), "not shown: only one's own devices tell such things");
    }
}

#[test]
fn what_belongs_to_no_conversation_here_is_a_row_of_who_said_it() {
    let (mut world, [alice, laptop, _, mallory]) = four(342);
    let place = Place::Room([7; 16]);
    for (from, name, outgoing) in [(laptop, "alice", true), (mallory, "mallory", false)] {
        tells(&mut world, from, alice, &Body::SyncSent { place, kind: kind::TEXT, body: b"hi".to_vec() });
        let row = world.rows(alice).pop().unwrap();
        assert_eq!((row.from.as_str(), row.outgoing), (name, outgoing), "{row:?}");
        assert_eq!(text(&row), "not shown: it belongs to a room");
    }
}

#[test]
fn nobody_else_says_late_what_one_has_written_oneself() {
    let (mut world, [alice, laptop, bob, mallory]) = four(343);
    let account = world.accounts[world.devices[bob].account].id;
    let resent = |words: &str, as_sent: bool| {
        let (inner, body) = (kind::TEXT, words.as_bytes().to_vec());
        let sent = Body::SyncSent { place: Place::Account(account), kind: inner, body: body.clone() };
        let failed = BodyHash([1; 32]);
        if as_sent {
            Body::Resent { failed, kind: sent.kind(), body: sent.encode() }
        } else {
            Body::Resent { failed, kind: inner, body }
        }
    };
    tells(&mut world, laptop, alice, &resent("I owe you one", true));
    let row = world.rows(alice).pop().unwrap();
    let expected = ("bob", "alice", true, "I owe you one");
    assert_eq!((row.conversation.as_str(), row.from.as_str(), row.outgoing, text(&row)), expected);
    tells(&mut world, mallory, alice, &resent("late", false));
    let row = world.rows(alice).pop().unwrap();
    let expected = ("mallory", "mallory", false, "late");
    assert_eq!((row.conversation.as_str(), row.from.as_str(), row.outgoing, text(&row)), expected);
    let before = world.rows(alice);
    tells(&mut world, mallory, alice, &resent("I owe you a thousand", true));
    world.pass(5_000);
    assert_eq!(world.rows(alice), before);
}

/// Damages the next envelope for a device whenever the cell says so, and keeps what it was.
fn damage(world: &mut World, at: usize) -> (Rc<Cell<bool>>, Rc<RefCell<Vec<u8>>>) {
    let (next, kept) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
    let (damages, keeps) = (Rc::clone(&next), Rc::clone(&kept));
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Deliver(mut deliver) if index == at && damages.replace(false) => {
                keeps.replace(deliver.envelope.to_vec());
                *deliver.envelope.last_mut().unwrap() ^= 1;
                ServerFrame::Deliver(deliver)
            }
            frame => frame,
        })
    }));
    (next, kept)
}

#[test]
fn what_an_own_device_could_not_read_comes_again_into_its_conversation() {
    let (mut world, [alice, laptop, bob, _]) = four(344);
    let (damaged, _) = damage(&mut world, laptop);
    damaged.set(true);
    world.send(alice, "bob", "to bob");
    world.pass(5_000);
    damaged.set(true);
    let note = Command::Send { to: Recipient::Me, text: "a note".to_owned() };
    world.command(alice, note).unwrap();
    world.pass(5_000);
    damaged.set(true);
    world.send(bob, "alice", "from bob again");
    world.pass(5_000);
    assert!(!damaged.get());
    assert_eq!(world.unreadable(laptop), 3);
    let rows = world.rows(laptop);
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.conversation.as_str(), row.from.as_str(), row.outgoing, text(row)))
        .collect();
    let expected = [
        ("bob", "bob", false, "from bob"),
        ("mallory", "mallory", false, "from mallory"),
        ("bob", "alice", true, "to bob"),
        ("alice", "alice", true, "a note"),
        ("bob", "bob", false, "from bob again"),
    ];
    assert_eq!(seen, expected);
    let fates: Vec<Option<Fate>> = rows.iter().map(|row| row.fate).collect();
    assert_eq!(fates[4], None, "what others have written has none");
}

#[test]
fn only_the_device_that_a_message_was_sealed_to_gets_it_again() {
    let mut world = World::new(345);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    let (damaged, kept) = damage(&mut world, bob);
    damaged.set(true);
    world.send(alice, "bob", "for the phone");
    world.pass(5_000);
    assert_eq!(world.unreadable(bob), 1);
    assert_eq!(world.screen(bob), ["alice: one", "alice: for the phone"]);
    let laptop = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    // Asked for too soon it goes to nobody.
    world.pass(2 * DAY_MS);
    let envelope = Envelope::parse(&kept.borrow()).unwrap();
    let reference: [u8; 32] = Sha256::digest(labelled("sotto v1 envelope", &[&envelope.ephemeral.0])).into();
    let asked = WantedBody {
        reference,
        account: world.accounts[world.devices[alice].account].id,
        device: world.devices[alice].id,
        session: None,
    };
    world.send(alice, "bob", "to both");
    world.pass(5_000);
    world.devices[laptop].store.transaction(|tx| tx.want_body(&asked)).unwrap();
    world.tell(laptop, Input::Tick);
    world.pass(120_000);
    let open = world.devices[laptop].store.transaction(|tx| tx.wanted_body(&reference)).unwrap();
    assert!(open.is_none(), "it was answered: gone");
    assert_eq!(world.said(laptop), ["alice: to both"]);
}

/// The kinds of what a device has sent another one, messages of the user's aside.
fn told(world: &World, from: usize, to: DeviceId) -> Vec<u16> {
    let seen = world.observed.as_ref().unwrap().envelopes.values();
    let mut kinds: Vec<u16> =
        seen.filter(|seen| seen.from == from && seen.to == to && !seen.user).map(|seen| seen.kind).collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn who_asks_without_end_for_what_is_not_there_is_told_so_once_at_a_time() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(346, CoreConfig::default(), store);
    let (alice, mallory) = (world.person("alice"), world.person("mallory"));
    world.send(mallory, "alice", "hey");
    world.pass(5_000);
    world.observed = Some(Observed::default());
    let (to, mut number) = (world.devices[mallory].id, 0);
    let mut ask = |world: &mut World| {
        number += 1;
        tells(world, mallory, alice, &Body::ResendRequest(vec![BodyHash([number; 32])]));
        world.pass(5_000);
    };
    ask(&mut world);
    assert_eq!(told(&world, alice, to), [kind::GONE], "and nothing else");
    assert_eq!(world.outbox_length(alice), 0);
    // From here on she takes nothing.
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Deliver(_) if index == mallory => None,
        frame => Some(frame),
    }));
    for _ in 0..15 {
        ask(&mut world);
    }
    assert_eq!(world.outbox_length(alice), 1);
}

#[test]
fn who_asks_for_a_receipt_again_is_told_that_it_was_no_message_and_gets_its_receipt() {
    let mut world = World::new(347);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.observed = Some(Observed::default());
    let (damaged, _) = damage(&mut world, alice);
    damaged.set(true);
    let two = world.send(alice, "bob", "two");
    world.pass(5_000);
    assert!(!damaged.get());
    assert_eq!(world.fate(alice, two), Fate::Delivered);
    let to = world.devices[alice].id;
    assert_eq!(told(&world, bob, to), [kind::DELIVERED, kind::DELIVERED, kind::NO_MESSAGE]);
    // Of a message there is nothing more to say than the message.
    let (damaged, _) = damage(&mut world, bob);
    damaged.set(true);
    world.send(alice, "bob", "three");
    world.pass(5_000);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two", "alice: three"]);
    assert_eq!(told(&world, alice, world.devices[bob].id), [kind::RESEND_REQUEST, kind::RESENT]);
}

#[test]
fn a_copy_that_the_server_lost_for_one_device_is_sent_again_and_heard_of() {
    let mut world = World::new(348);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let laptop = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.disconnect(laptop);
    let copy = world.store.copy(1_000_000);
    let two = world.send(alice, "bob", "two");
    world.pass(5_000);
    let fates = |world: &mut World| [bob, laptop].map(|device| world.copy_fate(alice, two, device).unwrap());
    assert_eq!(fates(&mut world), [Fate::Delivered, Fate::Stored]);
    world.put_back(copy);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(60_000);
    assert_eq!(fates(&mut world), [Fate::Delivered, Fate::Stored]);
    world.connect(laptop);
    world.pass(60_000);
    assert_eq!(fates(&mut world), [Fate::Delivered, Fate::Delivered]);
    for device in [bob, laptop] {
        assert_eq!(world.said(device), ["alice: one", "alice: two"]);
    }
}

#[test]
fn another_list_under_the_number_of_the_known_one_raises_an_alarm_and_an_older_one_none() {
    let mut world = World::new(349);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "one");
    world.pass(5_000);
    let alarm = "bob has another device list than the server serves for bob";
    let account = world.devices[bob].account;
    let older = world.accounts[account].list.clone();
    // What waits for alice names bob's list of then; meanwhile he has a newer one, and she has seen it.
    world.disconnect(alice);
    world.send(bob, "alice", "two");
    world.second_device(account, None);
    let newer = world.accounts[account].list.clone();
    world.devices[alice].store.transaction(|tx| tx.update_list(&newer)).unwrap();
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["bob: one", "bob: two"]);
    assert!(newer.list().number > older.list().number && !world.warnings(alice).contains(alarm));
    // The server has shown alice another list than all others.
    let mut other = newer.list().clone();
    other.previous = newer.hash();
    let other = world.accounts[account].secret.sign_device_list(&other).unwrap();
    world.devices[alice].store.transaction(|tx| tx.update_list(&other)).unwrap();
    world.send(bob, "alice", "three");
    world.pass(5_000);
    assert!(world.warnings(alice).contains(alarm), "{}", world.warnings(alice));
    assert_eq!(world.screen(alice).last().unwrap(), "bob: three");
}

#[test]
fn requests_for_what_cannot_be_read_use_up_no_more_than_one_one_time_key() {
    let mut world = World::new(350);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "one");
    world.pass(2 * DAY_MS);
    world.disconnect(alice);
    world.send(bob, "alice", "two");
    // He is away when it is asked for.
    world.crash(bob);
    let before = world.published(world.devices[bob].id).one_time;
    let (damaged, _) = damage(&mut world, alice);
    damaged.set(true);
    world.connect(alice);
    world.pass(10 * DAY_MS);
    let used = before - world.published(world.devices[bob].id).one_time;
    assert_eq!((world.unreadable(alice), used), (1, 1));
    world.start(bob);
    world.connect(bob);
    world.pass(2 * DAY_MS);
    assert_eq!(world.screen(alice), ["bob: one", "bob: two"]);
}

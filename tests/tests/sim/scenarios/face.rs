//! What a face asks of its client: who it is, whom it may write to, who is there, and how things stand.

use std::{cell::Cell, rc::Rc};

use sotto_client::{
    api::{Command, ErrorKind, Event, Fate, Finding, Recipient, Reply, Safety, Trust, User, Whoami},
    store::StoreError,
};
use sotto_proto::{
    content::MAX_TEXT,
    frame::{Presence, ServerFrame, UserEntry, Users},
    limits::{DAY_MS, MAX_USERS_PER_PAGE},
};

use crate::world::World;

#[test]
fn the_server_is_named_with_the_key_that_it_is_known_by() {
    let mut world = World::new(301);
    let alice = world.person("alice");
    let laptop = world.second_device(world.devices[alice].account, None);
    let Ok(Reply::Whoami(Whoami { username, devices, device, server, .. })) =
        world.command(laptop, Command::Whoami)
    else {
        panic!()
    };
    let ids = [alice, laptop].map(|index| world.devices[index].id.to_string());
    assert_eq!((username.as_str(), &devices[..], &device), ("alice", &ids[..], &ids[1]));
    let pin: Result<_, StoreError> = world.devices[laptop].store.transaction(|tx| Ok(tx.server()?.unwrap()));
    // Whoever is given this address can tell the server from another one.
    let address: sotto_proto::Address = server.parse().unwrap();
    assert_eq!(address.fingerprint, Some(pin.unwrap().newest), "{server}");
}

#[test]
fn a_text_of_the_most_bytes_is_sent_and_one_byte_more_is_refused() {
    let mut world = World::new(302);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let longest = "x".repeat(MAX_TEXT);
    let message = world.send(alice, "bob", &longest);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.screen(bob), [format!("alice: {longest}")]);
    for text in [format!("{longest}x"), format!("{longest}xxxxxxxx")] {
        let to = Recipient::User("bob".parse().unwrap());
        let error = world.command(alice, Command::Send { to, text }).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
    }
    assert_eq!(world.rows(alice).len(), 1);
}

#[test]
fn a_note_to_oneself_needs_another_device_that_it_can_go_to() {
    let mut world = World::new(303);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let note = |text: &str| Command::Send { to: Recipient::Me, text: text.to_owned() };
    let error = world.command(alice, note("to nobody")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    assert_eq!(world.rows(alice).len(), 0);
    let laptop = world.second_device(account, None);
    let mut written = Vec::new();
    for text in ["for my laptop", "for both"] {
        for index in [alice, laptop] {
            world.connect(index);
        }
        world.pass(5_000);
        let Ok(Reply::Queued { message, .. }) = world.command(alice, note(text)) else { panic!() };
        world.pass(5_000);
        assert_eq!(world.fate(alice, message), Fate::Delivered);
        written.push(format!("alice: {text}"));
        assert_eq!(world.said(laptop), written);
        world.second_device(account, None);
    }
}

fn users(world: &mut World, index: usize) -> Vec<String> {
    match world.command(index, Command::Users) {
        Ok(Reply::Users(users)) => users.into_iter().map(|User { name, .. }| name).collect(),
        other => panic!("{other:?}"),
    }
}

/// A server that answers with a page of `names` that it has made up, as often as `pages` says that there is one more.
fn pages(world: &mut World, names: usize, mut pages: impl FnMut(usize) -> bool + 'static) -> Rc<Cell<usize>> {
    let served = Rc::new(Cell::new(0));
    let counted = Rc::clone(&served);
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::Users(_) => {
                let page = counted.get();
                counted.set(page + 1);
                let entry =
                    |number| UserEntry { name: format!("user-{page}-{number}"), presence: Presence::Offline };
                ServerFrame::Users(Users { users: (0..names).map(entry).collect(), more: pages(page) })
            }
            frame => frame,
        })
    }));
    served
}

#[test]
fn the_directory_is_read_to_its_end_and_no_further() {
    let mut world = World::new(304);
    let alice = world.person("alice");
    world.person("bob");
    assert_eq!(users(&mut world, alice), ["bob"]);
    let served = pages(&mut world, 2, |page| page < 2);
    let all: Vec<String> =
        (0..3).flat_map(|page| (0..2).map(move |number| format!("user-{page}-{number}"))).collect();
    assert_eq!(users(&mut world, alice), all);
    assert_eq!(served.get(), 3, "after the last page there is nothing to ask for");
    // A page without names has no last name to go on from.
    let served = pages(&mut world, 0, |page| page < 50);
    assert_eq!(users(&mut world, alice), Vec::<String>::new());
    assert_eq!(served.get(), 1);
}

#[test]
fn a_directory_without_end_is_cut_off() {
    let mut world = World::new(305);
    let alice = world.person("alice");
    pages(&mut world, MAX_USERS_PER_PAGE, |page| page < 500);
    let asked = world.ask(alice, Command::Users);
    // Whoever asks for so much is answered slowly.
    while !world.devices[alice].replies.contains_key(&asked) {
        world.pass(100);
    }
    let Some(Ok(Reply::Users(users))) = world.devices[alice].replies.remove(&asked) else { panic!() };
    let known = users.len();
    assert!((100_000..=100_000 + MAX_USERS_PER_PAGE).contains(&known), "{known}");
}

#[test]
fn who_asks_for_the_directory_without_a_connection_is_told_so_at_once() {
    let mut world = World::new(306);
    let alice = world.person("alice");
    world.person("bob");
    assert_eq!(users(&mut world, alice), ["bob"]);
    world.disconnect(alice);
    world.settle();
    assert_eq!(world.command(alice, Command::Users).unwrap_err().kind, ErrorKind::Unreachable);
}

fn safety(world: &mut World, index: usize, user: &str) -> Safety {
    match world.command(index, Command::Safety(user.parse().unwrap())) {
        Ok(Reply::Safety(safety)) => safety,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_contact_counts_as_compared_only_by_its_own_number() {
    let mut world = World::new(307);
    let alice = world.person("alice");
    world.person("bob");
    world.person("carol");
    let (bobs, carols) = (safety(&mut world, alice, "bob"), safety(&mut world, alice, "carol"));
    assert_eq!((bobs.trust, carols.trust), (Trust::Pinned, Trust::Pinned));
    let trust =
        |user: &str, number: &str| Command::Trust { user: user.parse().unwrap(), number: number.to_owned() };
    let Ok(Reply::Safety(compared)) = world.command(alice, trust("bob", &bobs.number)) else { panic!() };
    assert_eq!((compared.trust, &compared.number), (Trust::Compared, &bobs.number));
    let error = world.command(alice, trust("carol", &bobs.number)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::IdentityChanged, "{error:?}");
    assert_eq!(safety(&mut world, alice, "carol").trust, Trust::Pinned);
}

fn findings(world: &mut World, index: usize) -> Vec<Finding> {
    match world.command(index, Command::Doctor) {
        Ok(Reply::Doctor(findings)) => findings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_doctor_finds_what_is_wrong_and_nothing_where_nothing_is() {
    let mut world = World::new(308);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    let well = findings(&mut world, alice);
    assert!(well.iter().all(|finding| finding.ok), "{well:?}");
    let about = |findings: &[Finding], what: &str| {
        findings.iter().filter(|finding| finding.what == what).map(|finding| finding.found.clone()).collect()
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(about(&well, "blocked users"), none, "nobody is blocked");
    world.command(alice, Command::Block { user: "bob".parse().unwrap(), blocked: true }).unwrap();
    let blocking: Vec<String> = about(&findings(&mut world, alice), "blocked users");
    assert_eq!(blocking, ["1 blocked; 0 envelopes of theirs were dropped here"]);

    // The server comes back from before bob registered, and another bob takes the name.
    world.crash(bob);
    world.forget_everything();
    world.register_again(alice);
    world.person("bob");
    world.connect(alice);
    world.send(alice, "bob", "two");
    world.pass(5_000);
    let ill = findings(&mut world, alice);
    let changed: Vec<String> = about(&ill, "identity");
    assert_eq!(changed, ["bob has changed: sotto verify bob"]);
    assert!(ill.iter().any(|finding| !finding.ok));
}

#[test]
fn a_program_that_is_closed_tells_first_of_what_did_not_arrive() {
    let mut world = World::new(309);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(5_000);
    assert!(!world.busy(alice), "nothing is on its way");
    world.disconnect(alice);
    let late = world.send(alice, "bob", "two");
    world.pass(15 * DAY_MS);
    world.devices[alice].events.clear();
    world.connect(alice);
    let expired = |event: &Event| matches!(event, Event::Fate(fate) if fate.message == late);
    while !world.devices[alice].events.iter().any(expired) {
        assert!(world.run_server() | world.run_device(alice, 1, true), "it expires in the end");
    }
    let told = |world: &World| world.warnings(alice).contains("a message to bob did not arrive in time");
    // More of them may come within moments, and are told of in one line.
    assert!(!told(&world) && world.busy(alice), "{:?}", world.devices[alice].events);
    world.pass(5_000);
    assert!(told(&world) && !world.busy(alice));
    let warned = |event: &&Event| matches!(event, Event::Warning(_));
    assert_eq!(world.devices[alice].events.iter().filter(warned).count(), 1);
    assert_eq!(world.screen(bob), ["alice: one"]);
}

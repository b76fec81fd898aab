//! Blocks: what becomes of what a blocked user sends, on every device and on the server.

use std::{cell::Cell, rc::Rc};

use sotto_client::{
    api::{AccountCommand, ChatCommand, Command, ErrorKind, Event, Fate, Reply, RowBody, Trust},
    store::{BlockRecord, StoreError},
};
use sotto_proto::{
    AccountId,
    frame::{ErrorCode, ErrorReply, ServerFrame},
    limits::{DAY_MS, MAX_BLOCKED},
};

use crate::world::World;

fn block(world: &mut World, index: usize, user: &str, blocked: bool) {
    let command = Command::Block { user: user.parse().unwrap(), blocked };
    assert_eq!(world.command(index, command), Ok(Reply::Done));
}

fn is_blocked(world: &mut World, index: usize, user: &str) -> bool {
    match world.command(index, Command::Contacts) {
        Ok(Reply::Contacts(contacts)) => {
            contacts.into_iter().find(|contact| contact.name == user).unwrap().blocked
        }
        other => panic!("{other:?}"),
    }
}

fn doctor(world: &mut World, index: usize) -> String {
    match world.command(index, Command::Doctor) {
        Ok(Reply::Doctor(findings)) => {
            let lines = findings.into_iter().map(|finding| format!("{}: {}", finding.what, finding.found));
            lines.collect::<Vec<_>>().join("\n")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_blocked_user_is_refused_and_told_and_written_to_all_the_same() {
    let mut world = World::new(50);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    // Whom nobody has written with yet is looked up first.
    block(&mut world, alice, "bob", true);
    assert!(is_blocked(&mut world, alice, "bob"));
    let bob_account = world.accounts[world.devices[bob].account].id;
    assert_eq!(world.blocked_by(world.devices[alice].account), [bob_account]);

    let refused = world.send(bob, "alice", "let me in");
    assert_eq!(world.fate(bob, refused), Fate::Refused);
    let Ok(Reply::Fate(fate)) = world.command(bob, Command::Fate(refused)) else { panic!() };
    assert_eq!(fate.reason.as_deref(), Some("the recipient does not accept it"));
    let Ok(Reply::Outbox(waiting)) = world.command(bob, Command::Outbox) else { panic!() };
    assert_eq!(waiting, [], "it is not tried again");
    let invited = Command::Chat(ChatCommand::Invite(vec!["alice".parse().unwrap()]));
    assert_eq!(world.command(bob, invited.clone()).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(world.screen(alice), Vec::<String>::new());

    // Blocking stops nothing of one's own.
    world.send(alice, "bob", "last words");
    world.pass(5_000);
    assert_eq!(world.screen(bob), ["bob: let me in", "alice: last words"]);

    block(&mut world, alice, "bob", false);
    assert!(!is_blocked(&mut world, alice, "bob"));
    let welcome = world.send(bob, "alice", "hello again");
    world.pass(3_600_000);
    assert_eq!(world.screen(alice), ["alice: last words", "bob: hello again"]);
    assert_eq!(world.fate(bob, welcome), Fate::Delivered);
    assert_eq!(world.fate(bob, refused), Fate::Refused, "it was not written for who accepts again");
}

#[test]
fn what_was_in_the_mailbox_already_is_dropped_without_a_word_and_counted() {
    let mut world = World::new(51);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "before");
    world.pass(2_000);
    world.disconnect(alice);
    let there = world.send(bob, "alice", "already there");
    assert_eq!(world.fate(bob, there), Fate::Stored);
    // Without a connection: kept here, and told to the server at the next one.
    block(&mut world, alice, "bob", true);
    assert_eq!(world.blocked_by(world.devices[alice].account), []);
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["bob: before"]);
    assert_eq!(world.blocked_by(world.devices[alice].account).len(), 1);
    assert!(doctor(&mut world, alice).contains("1 blocked; 1 envelopes of theirs were dropped here"));
    assert_eq!(world.fate(bob, there), Fate::Taken, "no receipt says that it was shown");
    // The conversation still works once it is wanted again.
    block(&mut world, alice, "bob", false);
    world.send(bob, "alice", "after");
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["bob: before", "bob: after"]);
}

#[test]
fn what_was_taken_before_the_sender_knew_that_it_was_stored_is_known_to_be() {
    let mut world = World::new(55);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "before");
    world.pass(2_000);
    world.disconnect(alice);
    world.settle();
    block(&mut world, alice, "bob", true);
    // Stored, but the answer is lost with the connection.
    world.write(bob, "alice", "taken");
    world.run_device(bob, 64, true);
    while world.run_server() {}
    world.disconnect(bob);
    world.crash(bob);
    world.connect(alice);
    world.settle();
    world.start(bob);
    world.connect(bob);
    world.settle();
    assert_eq!(world.screen(alice), ["bob: before"]);
    let row = world.rows(bob).pop().unwrap();
    assert_eq!(row.fate, Some(Fate::Taken), "no receipt will ever tell");
}

#[test]
fn own_devices_agree_on_whom_they_block_also_one_that_comes_later() {
    let mut world = World::new(52);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "hello");
    world.pass(2_000);
    block(&mut world, alice, "bob", true);
    let account = world.devices[alice].account;
    let laptop = world.second_device(account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(10_000);
    // It has never heard of bob, and knows all the same once it does.
    let safety = Command::Safety("bob".parse().unwrap());
    assert!(world.command(laptop, safety).is_ok());
    assert!(is_blocked(&mut world, laptop, "bob"));
    block(&mut world, laptop, "bob", false);
    world.pass(5_000);
    assert!(!is_blocked(&mut world, alice, "bob"));
    assert_eq!(world.blocked_by(account), []);
    // At odds while apart: what was said last counts on both, and on the server.
    world.disconnect(alice);
    world.settle();
    block(&mut world, alice, "bob", true);
    world.now_ms += 1_000;
    block(&mut world, laptop, "bob", true);
    block(&mut world, laptop, "bob", false);
    world.connect(alice);
    world.pass(10_000);
    for index in [alice, laptop] {
        assert!(!is_blocked(&mut world, index, "bob"), "{index}");
    }
    assert_eq!(world.blocked_by(account), []);
}

#[test]
fn a_server_that_was_restored_is_told_again() {
    let mut world = World::new(53);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "hello");
    world.pass(2_000);
    block(&mut world, alice, "bob", true);
    world.forget_everything();
    for index in [alice, bob] {
        world.register_again(index);
    }
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(10_000);
    let bob_account = world.accounts[world.devices[bob].account].id;
    assert_eq!(world.blocked_by(world.devices[alice].account), [bob_account]);
    let refused = world.send(bob, "alice", "again");
    assert_eq!(world.fate(bob, refused), Fate::Refused);
    assert!(!world.devices[alice].events.iter().any(
        |event| matches!(event, Event::Row(row) if row.from == "bob" && row.sent_ms > 1_790_000_100_000)
    ));
}

#[test]
fn nobody_blocks_themselves_or_nobody() {
    let mut world = World::new(54);
    let alice = world.person("alice");
    for (user, kind) in [("alice", ErrorKind::Invalid), ("nobody", ErrorKind::NotFound)] {
        let command = Command::Block { user: user.parse().unwrap(), blocked: true };
        assert_eq!(world.command(alice, command).unwrap_err().kind, kind, "{user}");
    }
}

#[test]
fn a_block_from_a_clock_at_the_end_of_time_can_be_lifted_on_every_device() {
    for (seed, clock_ms) in [(58, u64::MAX), (59, u64::MAX >> 1)] {
        let mut world = World::new(seed);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.send(alice, "bob", "hello");
        world.pass(2_000);
        let (id, device) = (world.accounts[world.devices[bob].account].id, world.devices[alice].id);
        // What a device with a broken clock, or one in a thief's hands, says to all others.
        world.devices[alice]
            .store
            .transaction::<_, StoreError>(|tx| {
                tx.decide_block(&BlockRecord { account: id, blocked: true, clock_ms })?;
                tx.decide_device_name(&device, "mine now", clock_ms)
            })
            .unwrap();
        let account = world.devices[alice].account;
        let laptop = world.second_device(account, None);
        world.connect(alice);
        world.pass(120_000);
        assert!(is_blocked(&mut world, laptop, "bob"), "the block itself holds");
        // Each of them can take it back, and the others agree.
        for (index, blocked) in [(laptop, false), (alice, true), (laptop, false)] {
            block(&mut world, index, "bob", blocked);
            let name = format!("{index} {blocked}");
            let rename = AccountCommand::RenameDevice { device, name: name.clone() };
            assert_eq!(world.command(index, Command::Account(rename)), Ok(Reply::Done));
            world.pass(5_000);
            for at in [alice, laptop] {
                assert_eq!(is_blocked(&mut world, at, "bob"), blocked, "{at}");
                let known = world.devices[at].store.transaction(|tx| tx.device_name(&device)).unwrap();
                assert_eq!(known.0, name, "{at}");
            }
        }
    }
}

#[test]
fn a_server_that_is_busy_is_told_of_a_block_when_it_said_and_not_before() {
    let mut world = World::new(58);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "before");
    world.pass(2_000);
    let busy = Rc::new(Cell::new(false));
    let said = Rc::clone(&busy);
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Done if index == 0 && !said.replace(true) => {
                let message = "busy".to_owned();
                let retry_after_ms = Some(10_000);
                ServerFrame::Error(ErrorReply { code: ErrorCode::BUSY, message, retry_after_ms })
            }
            frame => frame,
        })
    }));
    block(&mut world, alice, "bob", true);
    let asked = |world: &World| world.devices[alice].asked.iter().filter(|kind| **kind == "Block").count();
    assert_eq!((busy.get(), asked(&world)), (true, 1));
    // What it does meanwhile is no reason to ask again.
    let meanwhile = world.send(alice, "bob", "meanwhile");
    world.pass(5_000);
    assert_eq!((asked(&world), world.fate(alice, meanwhile)), (1, Fate::Taken));
    world.pass(6_000);
    assert_eq!(asked(&world), 2);
    let bob_account = world.accounts[world.devices[bob].account].id;
    assert_eq!(world.blocked_by(world.devices[alice].account), [bob_account]);
}

#[test]
fn a_block_goes_along_with_a_new_identity_that_is_accepted() {
    let mut world = World::new(150);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "before");
    world.pass(2_000);
    block(&mut world, alice, "bob", true);
    let old = world.accounts[world.devices[bob].account].id;
    assert_eq!(world.blocked_by(world.devices[alice].account), [old]);
    // Bob lost everything, and so did the server: he is somebody new under the same name.
    world.crash(bob);
    // So long that alice publishes keys again to a server that has none.
    world.pass(DAY_MS);
    world.forget_everything();
    world.register_again(alice);
    let new = world.person("bob");
    world.connect(alice);
    world.pass(5_000);
    let meanwhile = world.send(new, "alice", "it is me, with a new machine");
    world.pass(5_000);
    assert_eq!(world.fate(new, meanwhile), Fate::Taken, "nobody blocks this account yet");
    world.accept_identity(alice, "bob");
    world.pass(120_000);
    assert!(is_blocked(&mut world, alice, "bob"));
    let id = world.accounts[world.devices[new].account].id;
    assert!(world.blocked_by(world.devices[alice].account).contains(&id));
    let refused = world.send(new, "alice", "and again");
    assert_eq!(world.fate(new, refused), Fate::Refused);
    world.pass(120_000);
    let shown: Vec<_> = world.rows(alice).into_iter().map(|row| (row.from, row.trust, row.body)).collect();
    let before = RowBody::Text("before".to_owned());
    assert_eq!(shown, [("bob".to_owned(), Trust::Unconfirmed, before)], "it is from who had the name then");
}

/// Alice and a laptop of hers, which both know everybody of these; what was asked for until now is forgotten.
fn with_laptop(seed: u64, others: &[&str]) -> (World, usize, usize) {
    let mut world = World::new(seed);
    let alice = world.person("alice");
    let account = world.devices[alice].account;
    let others: Vec<usize> = others.iter().map(|name| world.person(name)).collect();
    let laptop = world.second_device(account, None);
    for index in others.iter().copied().chain([alice]) {
        world.connect(index);
    }
    world.pass(5_000);
    for index in others {
        world.send(index, "alice", "hello");
    }
    world.pass(120_000);
    world.devices[laptop].asked.clear();
    (world, alice, laptop)
}

#[test]
fn of_a_block_on_another_device_the_server_is_asked_nothing_where_the_blocked_are_known() {
    let (mut world, alice, laptop) = with_laptop(151, &["bob"]);
    block(&mut world, alice, "bob", true);
    world.pass(5_000);
    assert!(is_blocked(&mut world, laptop, "bob"));
    assert!(!world.devices[laptop].asked.contains(&"LookupLists"), "{:?}", world.devices[laptop].asked);
    // Whose name it does not know it has to ask for.
    world.person("carol");
    block(&mut world, alice, "carol", true);
    world.pass(5_000);
    assert!(is_blocked(&mut world, laptop, "carol"));
    assert!(world.devices[laptop].asked.contains(&"LookupLists"));
}

#[test]
fn a_device_with_as_many_blocks_as_there_may_be_turns_away_one_more_and_nothing_else() {
    const FULL: &str = "users are blocked already";
    let (mut world, alice, laptop) = with_laptop(152, &["bob", "carol"]);
    let [bob, carol] = ["bob", "carol"]
        .map(|name| world.accounts.iter().find(|known| known.name.as_str() == name).unwrap().id);
    let strangers: Vec<AccountId> = (1..MAX_BLOCKED).map(|_| AccountId(world.random())).collect();
    world.devices[laptop]
        .store
        .transaction::<_, StoreError>(|tx| {
            for account in strangers.into_iter().chain([bob]) {
                let block = BlockRecord { account, blocked: true, clock_ms: 1 };
                tx.decide_block(&block)?;
                tx.set_told(&block)?;
            }
            Ok(())
        })
        .unwrap();
    // The same once more is no more than before.
    block(&mut world, alice, "bob", true);
    world.pass(5_000);
    assert!(is_blocked(&mut world, laptop, "bob"));
    assert!(!world.warnings(laptop).contains(FULL));
    block(&mut world, alice, "carol", true);
    world.pass(5_000);
    assert!(!is_blocked(&mut world, laptop, "carol"));
    assert_eq!(world.warnings(laptop).matches(FULL).count(), 1);
    assert!(
        world.blocked_by(world.devices[alice].account).contains(&carol),
        "the other device has told the server"
    );
    // To lift one is never too much.
    for name in ["carol", "bob"] {
        block(&mut world, alice, name, false);
    }
    world.pass(5_000);
    assert_eq!(world.warnings(laptop).matches(FULL).count(), 1);
    assert!(!is_blocked(&mut world, laptop, "bob"));
    block(&mut world, alice, "carol", true);
    world.pass(5_000);
    assert!(is_blocked(&mut world, laptop, "carol"), "there is room again");
}

#[test]
fn a_block_of_somebody_whom_the_server_does_not_know_is_no_alarm_and_keeps_up_no_other() {
    let mut world = World::new(153);
    let (alice, _, carol) = (world.person("alice"), world.person("bob"), world.person("carol"));
    let mut unknown = true;
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Done if index == 0 && std::mem::take(&mut unknown) => {
                let message = "there is no such account".to_owned();
                ServerFrame::Error(ErrorReply {
                    code: ErrorCode::UNKNOWN_USER,
                    message,
                    retry_after_ms: None,
                })
            }
            frame => frame,
        })
    }));
    block(&mut world, alice, "bob", true);
    block(&mut world, alice, "carol", true);
    world.pass(60_000);
    assert_eq!(world.warnings(alice), "");
    let asked = world.devices[alice].asked.iter().filter(|kind| **kind == "Block").count();
    assert_eq!(asked, 2, "each is told once");
    let carol = world.accounts[world.devices[carol].account].id;
    assert!(world.blocked_by(world.devices[alice].account).contains(&carol));
}

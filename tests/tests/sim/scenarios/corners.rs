//! Rules that no ordinary story needs, each with a story that goes wrong without it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use sha2::{Digest, Sha256};
use sotto_client::{
    api::{Command, Fate, Reply},
    store::{ClaimedIdentity, StoreError, WantedBody},
};
use sotto_proto::{
    Envelope, QueueNumber,
    frame::{ClientFrame, ErrorCode, ErrorReply, FrameDecoder, KeyCounts, Lists, ServerFrame},
    limits::{DAY_MS, MAILBOX_ENVELOPES, MAX_FRAME},
    prekey::PrekeyCounts,
    wire::labelled,
};
use sotto_store::Store as _;

use crate::world::World;

/// Rows about envelopes of which nothing could be read.
fn damaged(screen: &[String]) -> usize {
    screen.iter().filter(|line| line.contains("a message was damaged on its way")).count()
}

#[test]
fn junk_under_a_revoked_certificate_makes_no_row_and_what_is_genuine_says_where_it_is_from() {
    let mut world = World::new(101);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "one");
    // The server keeps back the last message of a device that is then removed.
    let kept = Rc::new(RefCell::new(None));
    let instead = Rc::new(RefCell::new(None));
    let (keeping, putting) = (Rc::clone(&kept), Rc::clone(&instead));
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Deliver(mut deliver) if index == 0 => {
            let mut kept = keeping.borrow_mut();
            if kept.as_ref().is_none_or(|kept| *kept == deliver.envelope) {
                *kept = Some(deliver.envelope);
                return None;
            }
            if let Some(envelope) = putting.borrow_mut().take() {
                deliver.envelope = envelope;
            }
            Some(ServerFrame::Deliver(deliver))
        }
        frame => Some(frame),
    }));
    world.send(bob, "alice", "late");
    world.pass(2_000);
    let old = world.devices[bob].id;
    let new = world.second_device(world.devices[bob].account, Some(old));
    world.connect(alice);
    world.send(alice, "bob", "for the new one");
    world.pass(5_000);
    assert_eq!(world.screen(new), ["alice: for the new one"]);

    let late = kept.borrow().clone().unwrap();
    let mut junk = late.clone();
    *junk.last_mut().unwrap() ^= 1;
    *instead.borrow_mut() = Some(junk);
    world.send(new, "alice", "two, in whose place comes junk");
    world.pass(5_000);
    let before = ["bob: one", "alice: for the new one"];
    assert_eq!(world.screen(alice), before);
    let account = world.accounts[world.devices[bob].account].id;
    let counts = world.devices[alice].store.transaction(|tx| {
        let (nobodys, asked) = (tx.number("nobodys")?, tx.wanted_of(&account)?);
        Ok::<_, StoreError>((nobodys, asked))
    });
    assert_eq!(counts.unwrap(), (1, 0), "counted, and nobody is asked to send it again");

    *instead.borrow_mut() = Some(late);
    world.send(new, "alice", "three, in whose place comes what was kept back");
    world.send(new, "alice", "four");
    world.pass(5_000);
    let after = ["bob? it comes from a device that bob has removed from the account", "bob: four"];
    assert_eq!(world.screen(alice), [before, after].concat());
}

#[test]
fn a_server_that_denies_a_contact_takes_neither_the_pin_nor_what_the_contact_wrote() {
    let mut world = World::new(102);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(2_000);
    let laptop = world.second_device(world.devices[bob].account, None);
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Lists(lists) if index == 0 => {
                ServerFrame::Lists(Lists { lists: lists.lists.iter().map(|_| None).collect() })
            }
            frame => frame,
        })
    }));
    for index in [alice, bob] {
        world.connect(index);
    }
    world.send(laptop, "alice", "from my laptop");
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["alice: one"]);
    assert!(world.warnings(alice).contains("there is no user bob any more"), "{}", world.warnings(alice));
    let Ok(Reply::Contacts(contacts)) = world.command(alice, Command::Contacts) else { panic!() };
    assert_eq!(contacts[0].trust, sotto_client::api::Trust::Pinned);
    let two = world.send(alice, "bob", "are you there?");
    world.pass(5_000);
    assert_eq!(world.fate(alice, two), Fate::Delivered);
    world.tamper = None;
    world.pass(120_000);
    assert_eq!(world.screen(alice), ["alice: one", "alice: are you there?", "bob: from my laptop"]);
}

#[test]
fn a_server_that_is_too_busy_to_say_whether_it_has_an_old_message_is_asked_again() {
    let mut world = World::new(103);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.disconnect(bob);
    world.tamper = Some(Box::new(|index, frame| match frame {
        ServerFrame::Submitted(_) if index == 0 => None,
        frame => Some(frame),
    }));
    let two = world.send(alice, "bob", "two, whose answer is lost");
    world.disconnect(alice);
    world.pass(15 * DAY_MS);
    let busy = Rc::new(Cell::new(0));
    let counted = Rc::clone(&busy);
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::SubmissionState(_) if index == 0 && counted.get() < 2 => {
                counted.set(counted.get() + 1);
                let message = "busy".to_owned();
                ServerFrame::Error(ErrorReply {
                    code: ErrorCode::BUSY,
                    message,
                    retry_after_ms: Some(10_000),
                })
            }
            frame => frame,
        })
    }));
    world.connect(alice);
    world.settle();
    assert_eq!((busy.get(), world.fate(alice, two)), (1, Fate::Waiting));
    world.pass(60_000);
    assert_eq!((busy.get(), world.fate(alice, two)), (2, Fate::Stored));
    world.connect(bob);
    world.pass(5_000);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two, whose answer is lost"]);
    assert_eq!(world.fate(alice, two), Fate::Delivered);
}

/// Connects a device, runs until it has sent a frame of a kind that the server has not read, and cuts its connection.
fn cut_at(world: &mut World, index: usize, what: impl Fn(&ClientFrame) -> bool) {
    let before = world.seen_by_server.len();
    world.connect(index);
    loop {
        let mut sent = FrameDecoder::new(MAX_FRAME);
        sent.push(&world.seen_by_server[before..]);
        while let Some(raw) = sent.next_frame().unwrap() {
            if ClientFrame::decode(raw.kind, &raw.payload).unwrap().is_some_and(|frame| what(&frame)) {
                world.disconnect(index);
                return;
            }
        }
        assert!(world.run_device(index, 1, true) || world.run_server(), "it is sent in the end");
    }
}

#[test]
fn of_a_batch_only_what_is_too_old_itself_expires() {
    let mut world = World::new(104);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "zero");
    world.disconnect(alice);
    let one = world.send(alice, "bob", "one");
    world.pass(2 * DAY_MS);
    let two = world.send(alice, "bob", "two");
    world.pass(DAY_MS);
    cut_at(&mut world, alice, |frame| matches!(frame, ClientFrame::Submit(_)));
    world.pass(12 * DAY_MS);
    world.connect(alice);
    world.pass(60_000);
    assert_eq!((world.fate(alice, one), world.fate(alice, two)), (Fate::Expired, Fate::Delivered));
    assert_eq!(world.screen(bob), ["alice: zero", "alice: two"]);
}

#[test]
fn a_restart_between_a_restore_and_its_questions_does_not_forget_to_send_again() {
    let mut world = World::new(105);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    let one = world.send(alice, "bob", "one");
    assert_eq!(world.fate(alice, one), Fate::Stored);
    // A backup from before the message.
    world.forget_everything();
    world.store.restored();
    for index in [alice, bob] {
        world.register_again(index);
    }
    // The answer to what became of it is lost, and alice's program ends.
    let asked = Rc::new(Cell::new(false));
    let noted = Rc::clone(&asked);
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Fates(_) if index == 0 => {
            noted.set(true);
            None
        }
        frame => Some(frame),
    }));
    world.connect(alice);
    world.settle();
    assert!(asked.get());
    world.crash(alice);
    world.tamper = None;
    world.start(alice);
    world.connect(alice);
    world.settle();
    world.connect(bob);
    world.pass(60_000);
    assert_eq!(world.screen(bob), ["alice: one"]);
    assert_eq!(world.fate(alice, one), Fate::Delivered);
}

#[test]
fn keys_whose_upload_was_lost_with_the_connection_are_published_on_the_next_one() {
    let mut world = World::new(108);
    let bob = world.person_without_keys("bob");
    cut_at(&mut world, bob, |frame| matches!(frame, ClientFrame::PublishKeys(_)));
    assert_eq!(world.published(world.devices[bob].id).signed, None);
    world.connect(bob);
    world.settle();
    assert!(world.published(world.devices[bob].id).signed.is_some());
}

#[test]
fn a_server_that_stays_busy_for_keys_is_told_of_from_the_third_time_on() {
    let mut world = World::new(109);
    let bob = world.person_without_keys("bob");
    cut_at(&mut world, bob, |frame| matches!(frame, ClientFrame::PublishKeys(_)));
    // It has no keys when it is asked what it has, and takes none.
    let refused = Rc::new(Cell::new(0));
    let counted = Rc::clone(&refused);
    let asked = Cell::new(false);
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::KeyCounts(_) if asked.replace(!asked.get()) => {
                ServerFrame::KeyCounts(KeyCounts { counts: PrekeyCounts::default() })
            }
            ServerFrame::KeyCounts(_) => {
                counted.set(counted.get() + 1);
                let message = "busy".to_owned();
                ServerFrame::Error(ErrorReply { code: ErrorCode::BUSY, message, retry_after_ms: None })
            }
            frame => frame,
        })
    }));
    world.connect(bob);
    for (times, told) in [(1, false), (2, false), (3, true)] {
        while refused.get() < times {
            world.pass(1_000);
        }
        assert_eq!(world.warnings(bob).contains("did not take this device's keys"), told, "{times}");
    }
    world.tamper = None;
    world.pass(600_000);
    assert!(world.published(world.devices[bob].id).signed.is_some());
}

#[test]
fn an_accepted_new_identity_is_not_sent_what_the_old_one_was() {
    let mut world = World::new(106);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "it is me");
    world.disconnect(bob);
    world.send(alice, "bob", "for the first bob");
    let waiting = world.store.read(world.devices[bob].id, QueueNumber(0), usize::MAX).wait().unwrap();
    let envelope = Envelope::parse(&waiting.last().unwrap().envelope).unwrap();
    let reference: [u8; 32] = Sha256::digest(labelled("sotto v1 envelope", &[&envelope.ephemeral.0])).into();
    world.crash(bob);
    // So long that alice publishes keys again to a server that has none.
    world.pass(DAY_MS);
    // The server lost its data, and whoever takes the name comes with the very ids of the first bob.
    world.forget_everything();
    world.register_again(alice);
    let new = world.usurper(bob);
    world.connect(alice);
    world.pass(5_000);
    let two = world.send(alice, "bob", "for the second bob");
    world.pass(5_000);
    assert_eq!(world.fate(alice, two), Fate::Held);
    world.accept_identity(alice, "bob");
    world.pass(60_000);
    assert_eq!(world.screen(new), ["alice: for the second bob"]);

    let asked = WantedBody {
        reference,
        account: world.accounts[world.devices[alice].account].id,
        device: world.devices[alice].id,
        session: None,
    };
    world.devices[new].store.transaction(|tx| tx.want_body(&asked)).unwrap();
    world.send(new, "alice", "and what did you write before?");
    world.pass(60_000);
    let seen = world.screen(new);
    assert!(!seen.iter().any(|line| line.contains("for the first bob")), "{seen:?}");
    let open = world.devices[new].store.transaction(|tx| tx.wanted_body(&reference)).unwrap();
    assert!(open.is_none(), "it was answered: gone");
}

#[test]
fn what_waits_under_one_name_has_a_bound_and_what_is_beyond_says_so() {
    let mut world = World::new(107);
    let alice = world.person("alice");
    // The server never says who carol and dave are.
    world.tamper = Some(Box::new(|index, frame| match frame {
        ServerFrame::Lists(_) if index == 0 => None,
        frame => Some(frame),
    }));
    for number in 0..33 {
        world.impostor("carol", None, alice, &format!("certificate {number}"));
    }
    world.connect(alice);
    world.settle();
    assert_eq!(damaged(&world.screen(alice)), 1, "the 33rd certificate is one too many");
    let (carol, dave) = ("carol".parse().unwrap(), "dave".parse().unwrap());
    let held = world.devices[alice].store.transaction(|tx| tx.held_under(&carol)).unwrap();
    assert_eq!(held, (32, 32));

    let now_ms = world.now_ms;
    let filled = world.devices[alice].store.transaction(|tx| {
        (0..MAILBOX_ENVELOPES - 1).try_for_each(|_| tx.hold(&ClaimedIdentity([7; 32]), &dave, b"x", now_ms))
    });
    filled.unwrap();
    for (number, rows) in [(1, 1), (2, 2)] {
        world.impostor("dave", None, alice, &format!("envelope {number}"));
        world.connect(alice);
        world.settle();
        assert_eq!(damaged(&world.screen(alice)), rows);
    }
    let held = world.devices[alice].store.transaction(|tx| tx.held_under(&dave)).unwrap();
    assert_eq!(held, (MAILBOX_ENVELOPES, 2));
}

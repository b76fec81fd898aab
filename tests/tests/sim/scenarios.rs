//! Named scenarios: one story each, and what everybody must see in the end.

use sotto_client::api::{Command, ErrorKind, Event, Fate, Reply};
use sotto_proto::{SignedDeviceList, frame::ServerFrame, limits::DAY_MS};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

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
    // More than a thousand, all of them from somebody new: they are held together until the list is there.
    for text in texts("number", 1_100) {
        world.write(alice, "bob", &text);
    }
    world.settle();
    let ids: Vec<_> = world.rows(alice).into_iter().map(|row| (row.message, row.fate)).collect();
    assert!(ids.iter().all(|(_, fate)| *fate == Some(Fate::Stored)), "{ids:?}");
    world.connect(bob);
    world.settle();
    let expected: Vec<_> = texts("alice: number", 1_100);
    assert_eq!(world.screen(bob), expected);
    assert!(world.rows(alice).iter().all(|row| row.fate == Some(Fate::Delivered)));
}

#[test]
fn drained_means_that_first_messages_are_on_screen() {
    let mut world = World::new(24);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    world.send(alice, "bob", "who am I?");
    world.devices[bob].events.clear();
    world.connect(bob);
    while !world.devices[bob].events.contains(&Event::Drained) {
        assert!(world.run_server() | world.run_device(bob, 1, true), "it is told in the end");
    }
    let shown = world.devices[bob].events.iter().position(|event| matches!(event, Event::Row(_)));
    let drained = world.devices[bob].events.iter().position(|event| *event == Event::Drained);
    assert!(shown.is_some() && shown < drained, "{:?}", world.devices[bob].events);
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
    // No receipt must tell what this server hides: that it took the message.
    world.disconnect(bob);
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

/// What a server that holds back a list from the first device sends it in its place.
fn serve_old_list(world: &mut World, account: usize, old: Vec<u8>) {
    let id = world.accounts[account].id;
    world.tamper = Some(Box::new(move |index, frame| {
        if index != 0 {
            return Some(frame);
        }
        let is_theirs =
            |bytes: &[u8]| SignedDeviceList::parse(bytes).is_ok_and(|list| list.list().account == id);
        Some(match frame {
            ServerFrame::Lists(mut lists) => {
                for list in lists.lists.iter_mut().flatten() {
                    if is_theirs(list) {
                        *list = old.clone().into();
                    }
                }
                ServerFrame::Lists(lists)
            }
            ServerFrame::StaleDevices(mut stale) => {
                stale.lists.retain(|list| !is_theirs(list));
                ServerFrame::StaleDevices(stale)
            }
            frame => frame,
        })
    }));
}

#[test]
fn a_withheld_list_shows_and_nothing_is_sent_until_it_is_served() {
    let mut world = World::new(13);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.pass(2_000);
    let account = world.devices[bob].account;
    let old = world.accounts[account].list.as_bytes().to_vec();
    serve_old_list(&mut world, account, old);
    // Bob adds a device; the server hides it from alice, but bob's next message names the new list.
    let laptop = world.second_device(account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    let own = world.accounts[account].list.clone();
    world.devices[bob].store.transaction(|tx| tx.update_list(&own)).unwrap();
    world.send(bob, "alice", "I have a laptop");
    world.pass(5_000);
    assert!(world.warnings(alice).contains("newer device list"), "{}", world.warnings(alice));
    let held = world.send(alice, "bob", "for all your devices");
    world.pass(5_000);
    assert_eq!(world.fate(alice, held), Fate::Held);
    assert!(!world.screen(bob).iter().any(|line| line.contains("for all your devices")));
    world.tamper = None;
    world.pass(120_000);
    assert_eq!(world.fate(alice, held), Fate::Delivered);
    assert!(world.screen(laptop).iter().any(|line| line.contains("for all your devices")));
}

#[test]
fn a_rolled_back_list_is_noticed_and_the_newer_one_is_used() {
    let mut world = World::new(14);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[bob].account;
    let old = world.accounts[account].list.as_bytes().to_vec();
    world.pass(2_000);
    let revoked = world.devices[bob].id;
    let new = world.second_device(account, Some(revoked));
    world.connect(alice);
    world.pass(5_000);
    world.send(alice, "bob", "for the new one");
    world.pass(5_000);
    assert_eq!(world.screen(new), ["alice: for the new one"]);
    serve_old_list(&mut world, account, old.clone());
    world.crash(alice);
    world.devices[alice]
        .store
        .transaction(|tx| tx.want_list(&SignedDeviceList::parse(&old).unwrap().list().account, u64::MAX >> 2))
        .unwrap();
    world.start(alice);
    world.connect(alice);
    world.send(alice, "bob", "anything");
    world.pass(5_000);
    assert!(world.warnings(alice).contains("old device list of bob"), "{}", world.warnings(alice));
    let known = world.devices[alice].store.transaction(|tx| tx.contact_by_name(&"bob".parse().unwrap()));
    assert!(known.unwrap().unwrap().list.list().revoked(&revoked), "the newer list stays");
}

#[test]
fn a_message_from_a_device_whose_list_is_withheld_waits_for_the_list() {
    let mut world = World::new(25);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "one");
    world.pass(2_000);
    let account = world.devices[bob].account;
    let old = world.accounts[account].list.as_bytes().to_vec();
    let laptop = world.second_device(account, None);
    serve_old_list(&mut world, account, old);
    for index in [alice, bob] {
        world.connect(index);
    }
    let two = world.send(laptop, "alice", "two, from my laptop");
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["bob: one"]);
    assert!(world.warnings(alice).contains("wrote from a device"), "{}", world.warnings(alice));
    world.send(bob, "alice", "three, from the old one");
    world.pass(5_000);
    assert_eq!(world.screen(alice).last().unwrap(), "bob: three, from the old one", "others are not held up");
    world.tamper = None;
    world.pass(120_000);
    assert!(world.screen(alice).contains(&"bob: two, from my laptop".to_owned()));
    assert_eq!(world.fate(laptop, two), Fate::Delivered);
}

#[test]
fn a_strangers_message_under_a_contacts_name_changes_nothing() {
    let mut world = World::new(15);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "it is me");
    // Mallory certifies a device of hers under bob's name, and writes to alice with it.
    world.impostor("bob", None, alice, "it is me too, send the money");
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.screen(alice), ["bob: it is me"]);
    assert_eq!(world.warnings(alice), "");
    let Ok(Reply::Contacts(contacts)) = world.command(alice, Command::Contacts) else { panic!() };
    assert_eq!((contacts[0].name.as_str(), contacts[0].impostors), ("bob", 1));
    assert_eq!(contacts[0].trust, sotto_client::api::Trust::Pinned);
    world.send(alice, "bob", "still you");
    assert_eq!(world.screen(bob).last().unwrap(), "alice: still you");
}

#[test]
fn a_certificate_with_a_contacts_account_id_cannot_make_the_contacts_messages_vanish() {
    let mut world = World::new(23);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    let account = world.accounts[world.devices[alice].account].id;
    // Both wait for their list when alice's real message comes: one under a name nobody has, one under mallory's own.
    world.impostor("nobody-such", Some(account), bob, "forged");
    world.impostor("mallory", Some(account), bob, "forged too");
    let two = world.send(alice, "bob", "two");
    world.connect(bob);
    world.pass(120_000);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two"]);
    assert_eq!(world.fate(alice, two), Fate::Delivered);
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

#[test]
fn a_full_mailbox_refuses_and_nothing_overtakes_what_it_refused() {
    let store = StoreConfig { mailbox_envelopes: 6, mailbox_floor_places: 0, ..StoreConfig::default() };
    let core = CoreConfig { mailbox_envelopes: 1_000_000, ..CoreConfig::default() };
    let mut world = World::with(16, core, store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    for text in texts("number", 10) {
        world.write(alice, "bob", &text);
    }
    world.settle();
    world.send(alice, "bob", "number 10");
    let fates = |world: &mut World| -> Vec<_> {
        world.rows(alice).into_iter().map(|row| row.fate.unwrap()).collect()
    };
    let told = fates(&mut world);
    assert_eq!(told[..6], [Fate::Stored; 6], "{told:?}");
    assert_eq!(told[6..], [Fate::Refused; 5], "{told:?}");
    world.connect(bob);
    world.pass(60_000);
    assert_eq!(world.screen(bob), texts("alice: number", 11));
    assert_eq!(fates(&mut world), [Fate::Delivered; 11]);
}

#[test]
fn a_full_disk_of_the_server_refuses_and_later_takes_everything() {
    let mut world = World::new(17);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.store.set_disk_full(true);
    let two = world.send(alice, "bob", "two");
    assert_eq!(world.fate(alice, two), Fate::Refused);
    world.store.set_disk_full(false);
    let three = world.send(alice, "bob", "three");
    world.pass(60_000);
    assert_eq!(world.screen(bob), ["alice: one", "alice: two", "alice: three"]);
    assert_eq!((world.fate(alice, two), world.fate(alice, three)), (Fate::Delivered, Fate::Delivered));
}

#[test]
fn one_devices_full_mailbox_does_not_hold_up_the_others() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(18, CoreConfig::default(), store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[bob].account;
    world.pass(2_000);
    let laptop = world.second_device(account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(5_000);
    world.disconnect(laptop);
    for text in texts("number", 9) {
        world.send(alice, "bob", &text);
    }
    assert_eq!(world.screen(bob), texts("alice: number", 9), "the connected device has everything");
    world.connect(laptop);
    world.pass(120_000);
    assert_eq!(world.screen(laptop), texts("alice: number", 9));
}

#[test]
fn a_message_that_waited_too_long_expires_visibly() {
    let mut world = World::new(19);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.disconnect(alice);
    let two = world.send(alice, "bob", "two");
    assert_eq!(world.fate(alice, two), Fate::Waiting);
    world.pass(15 * DAY_MS);
    world.connect(alice);
    world.pass(5_000);
    assert_eq!(world.fate(alice, two), Fate::Expired);
    assert_eq!(world.screen(bob), ["alice: one"]);
}

#[test]
fn without_one_time_keys_first_messages_still_arrive() {
    let mut world = World::new(20);
    let bob = world.person("bob");
    let account = world.accounts[world.devices[bob].account].id;
    world.disconnect(bob);
    let device = world.devices[bob].id;
    world.drain_one_time_keys(device);
    let alice = world.person("alice");
    let message = world.send(alice, "bob", "no key left for me");
    assert_eq!(world.fate(alice, message), Fate::Stored);
    world.connect(bob);
    world.settle();
    assert_eq!(world.screen(bob), ["alice: no key left for me"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert!(world.devices[alice].store.transaction(|tx| tx.contact(&account)).unwrap().is_some());
}

#[test]
fn a_key_that_was_handed_out_twice_makes_a_row_and_is_healed() {
    let mut world = World::new(21);
    let bob = world.person("bob");
    world.pass(2_000);
    // The server hands the same bundle to two people.
    let mut first = None;
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::Bundles(bundles) if first.is_none() && bundles.bundles.len() == 1 => {
                first = Some(bundles.clone());
                ServerFrame::Bundles(bundles)
            }
            ServerFrame::Bundles(bundles) => {
                let same = first.take().unwrap();
                let fits = same.bundles[0].device == bundles.bundles[0].device;
                ServerFrame::Bundles(if fits { same } else { bundles })
            }
            frame => frame,
        })
    }));
    world.disconnect(bob);
    let (alice, carol) = (world.person("alice"), world.person("carol"));
    let one = world.send(alice, "bob", "from alice");
    let two = world.send(carol, "bob", "from carol");
    world.tamper = None;
    world.connect(bob);
    world.pass(5_000);
    assert_eq!(world.screen(bob), ["alice: from alice", "carol: from carol"]);
    assert_eq!((world.fate(alice, one), world.fate(carol, two)), (Fate::Delivered, Fate::Delivered));
}

#[test]
fn a_replayed_envelope_appears_once() {
    let mut world = World::new(22);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    let mut last = None;
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Deliver(mut deliver) if index == 1 => {
                let envelope = last.replace(deliver.envelope.clone());
                if let Some(envelope) = envelope {
                    deliver.envelope = envelope;
                }
                ServerFrame::Deliver(deliver)
            }
            frame => frame,
        })
    }));
    world.send(alice, "bob", "two");
    world.send(alice, "bob", "three");
    world.pass(5_000);
    assert_eq!(
        world.screen(bob),
        ["alice: one", "alice: two"],
        "what the server put in the place of three was two"
    );
}

#[test]
fn signed_prekeys_are_replaced_weekly_also_without_a_reconnect() {
    let mut world = World::new(26);
    let bob = world.person("bob");
    let device = world.devices[bob].id;
    let first = world.published(device);
    world.pass(8 * DAY_MS);
    let later = world.published(device);
    assert!(later.signed > first.signed && later.last_resort > first.last_resort, "{first:?} {later:?}");
}

#[test]
fn a_name_that_belongs_to_somebody_else_after_the_server_lost_it_is_a_changed_identity() {
    let mut world = World::new(27);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.crash(bob);
    // The server comes back from before bob registered, and another bob takes the name.
    world.forget_everything();
    world.register_again(alice);
    let other = world.person("bob");
    world.connect(alice);
    world.pass(5_000);
    let held = world.send(alice, "bob", "for the bob I know");
    world.pass(5_000);
    assert_eq!(world.fate(alice, held), Fate::Held);
    assert_eq!(world.screen(other), Vec::<String>::new());
    assert!(world.warnings(alice).contains("identity of bob has changed"), "{}", world.warnings(alice));
}

#[test]
fn a_contact_that_the_server_lost_is_an_unknown_user() {
    let mut world = World::new(28);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "one");
    world.crash(bob);
    world.forget_everything();
    world.register_again(alice);
    world.connect(alice);
    world.pass(5_000);
    let gone = world.send(alice, "bob", "are you there?");
    world.pass(5_000);
    assert_eq!(world.fate(alice, gone), Fate::UnknownUser);
}

#[test]
fn what_was_held_goes_to_the_new_identity_once_it_is_accepted() {
    let mut world = World::new(29);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.pass(2_000);
    let laptop = world.second_device(world.devices[alice].account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(alice, "bob", "one");
    world.disconnect(bob);
    world.pass(5_000);
    world.crash(bob);
    // The server loses its data. Bob makes a new identity; alice comes back with both of her devices.
    world.forget_everything();
    world.register_again(alice);
    let new = world.person("bob");
    for index in [alice, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    let two = world.send(alice, "bob", "two");
    world.pass(5_000);
    assert_eq!(world.fate(alice, two), Fate::Held);
    let name: sotto_proto::Username = "bob".parse().unwrap();
    let Ok(Reply::Safety(safety)) = world.command(alice, Command::Safety(name.clone())) else { panic!() };
    let number = safety.new_number.unwrap();
    world.command(alice, Command::Trust { user: name, number }).unwrap();
    world.pass(60_000);
    assert!(world.screen(new).contains(&"alice: two".to_owned()), "{:?}", world.screen(new));
    assert_eq!(world.fate(alice, two), Fate::Delivered);
    let seen = world.screen(laptop);
    assert_eq!(seen.iter().filter(|line| line.ends_with("two")).count(), 1, "{seen:?}");
}

#[test]
fn a_contact_that_certifies_its_device_anew_harms_nobody() {
    let mut world = World::new(30);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(bob, "alice", "one");
    world.pass(2_000);
    // The same device id with another certificate, in a list of bob's own signing.
    let account = world.devices[bob].account;
    let list = world.recertified(account);
    let bytes = list.as_bytes().to_vec();
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Submitted(_) if index == 0 => {
                ServerFrame::StaleDevices(sotto_proto::frame::StaleDevices {
                    lists: vec![bytes.clone().into()],
                    wanted: Vec::new(),
                })
            }
            frame => frame,
        })
    }));
    world.send(alice, "bob", "two");
    world.pass(5_000);
    assert!(world.warnings(alice).contains("other keys than before"), "{}", world.warnings(alice));
    world.tamper = None;
    let three = world.send(alice, "bob", "three");
    world.pass(120_000);
    assert_eq!(world.fate(alice, three), Fate::Delivered);
    assert_eq!(world.screen(bob), ["bob: one", "alice: two", "alice: three"]);
}

#[test]
fn a_list_that_names_another_contacts_account_leads_nothing_astray() {
    let mut world = World::new(31);
    let (alice, mallory) = (world.person("alice"), world.person("mallory"));
    let bob = world.person("bob");
    world.send(alice, "mallory", "hello");
    let forged = world.list_under(world.devices[mallory].account, "bob");
    let bytes = forged.as_bytes().to_vec();
    world.tamper = Some(Box::new(move |index, frame| {
        Some(match frame {
            ServerFrame::Lists(lists) if index == 0 => {
                let lists = lists.lists.iter().map(|_| Some(bytes.clone().into())).collect();
                ServerFrame::Lists(sotto_proto::frame::Lists { lists })
            }
            frame => frame,
        })
    }));
    let secret = world.send(alice, "bob", "for bob alone");
    world.pass(5_000);
    assert_eq!(world.screen(mallory), ["alice: hello"]);
    assert!(world.warnings(alice).contains("somebody else's account"), "{}", world.warnings(alice));
    world.tamper = None;
    world.pass(120_000);
    assert_eq!(world.screen(bob), ["alice: for bob alone"]);
    assert_eq!(world.fate(alice, secret), Fate::Delivered);
}

#[test]
fn large_messages_that_were_refused_leave_in_frames_that_hold_them() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(32, CoreConfig::default(), store);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.disconnect(bob);
    let long = "x".repeat(sotto_proto::content::MAX_TEXT - 8);
    for number in 0..40 {
        world.write(alice, "bob", &format!("{number:04} {long}"));
    }
    world.settle();
    world.connect(bob);
    world.pass(600_000);
    let screen = world.screen(bob);
    let order: Vec<&str> = screen.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    let expected: Vec<String> = (0..40).map(|number| format!("{number:04}")).collect();
    assert_eq!(order, expected);
}

#[test]
fn a_device_that_is_added_to_a_large_submit_gets_everything_too() {
    let mut world = World::new(33);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "first");
    world.pass(2_000);
    world.disconnect(alice);
    for text in texts("number", 300) {
        world.write(alice, "bob", &text);
    }
    world.settle();
    let laptop = world.second_device(world.devices[bob].account, None);
    let desk = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(60_000);
    for device in [laptop, desk] {
        assert_eq!(world.screen(device), texts("alice: number", 300));
    }
    assert_eq!(world.screen(bob)[1..], texts("alice: number", 300));
}

#[test]
fn a_message_to_a_device_without_keys_waits_for_them() {
    let mut world = World::new(34);
    let alice = world.person("alice");
    world.pass(2_000);
    let laptop = world.second_device(world.devices[alice].account, None);
    world.connect(alice);
    world.pass(5_000);
    let bob = world.person_without_keys("bob");
    let message = world.send(alice, "bob", "are you set up?");
    world.pass(180_000);
    assert_eq!(world.fate(alice, message), Fate::Waiting);
    let Ok(Reply::Outbox(waiting)) = world.command(alice, Command::Outbox) else { panic!() };
    assert_eq!(waiting.len(), 1, "it is still there");
    world.connect(bob);
    world.pass(180_000);
    assert_eq!(world.screen(bob), ["alice: are you set up?"]);
    assert_eq!(world.fate(alice, message), Fate::Delivered);
    assert_eq!(world.screen(laptop).last().unwrap(), "alice: are you set up?");
}

#[test]
fn a_contact_that_never_reads_cannot_fill_the_outbox_with_receipts() {
    let store = StoreConfig { mailbox_envelopes: 4, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut world = World::with(35, CoreConfig::default(), store);
    let (alice, mallory) = (world.person("alice"), world.person("mallory"));
    let mut drop_all = true;
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::Deliver(_) if index == 1 && drop_all => {
            drop_all = true;
            None
        }
        frame => Some(frame),
    }));
    for number in 0..60 {
        world.send(mallory, "alice", &format!("hey {number}"));
    }
    let waiting = world.outbox_length(alice);
    assert!(waiting <= 6, "{waiting} entries");
    assert_eq!(world.rows(alice).len(), 60);
}

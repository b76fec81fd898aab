//! The beginning and the end of a connection: who the server is, what it refuses, and what counts before a login.

use sotto_client::{
    api::{ClientError, ErrorKind, Event, Fate},
    store::{Cursor, StoreError},
};
use sotto_proto::{
    DeviceId, KeyChain, MessageId, QueueNumber,
    frame::{
        ChatEnd, ChatEnded, ChatId, ChatStarted, Deliver, Drained, ErrorCode, ErrorReply, InviteEnd,
        InviteEnded, Invited, KeyCounts, ListChanged, PendingDevice, PendingDevices, ResetState, ServerFrame,
        Taken,
    },
    prekey::PrekeyCounts,
};
use sotto_server::core::Input as ServerInput;

use crate::world::{World, chain_of};

/// Why a device's last connection was given up, and whether it comes back.
fn given_up(world: &World, index: usize) -> (ClientError, bool) {
    world.devices[index].closed.clone().expect("the connection was given up")
}

fn stops(world: &World, index: usize) -> usize {
    world.devices[index].events.iter().filter(|event| matches!(event, Event::Stopped(_))).count()
}

fn talk(world: &mut World, from: usize, to: &str) {
    let message = world.send(from, to, "hello");
    world.pass(5_000);
    assert_eq!(world.fate(from, message), Fate::Delivered);
}

/// A connection on which a device says nothing, for the server is not the one that it knows.
fn is_not_believed(world: &mut World, index: usize, why: &str) {
    world.devices[index].asked.clear();
    let stopped = stops(world, index);
    world.connect(index);
    world.settle();
    let (error, again) = given_up(world, index);
    assert_eq!((error.kind, again), (ErrorKind::IdentityChanged, false), "{why}: {error:?}");
    assert_eq!(world.devices[index].asked, [""; 0], "{why}");
    assert_eq!(stops(world, index), stopped + 1, "{why}");
    world.crash(index);
    world.start(index);
}

#[test]
fn a_server_with_a_new_key_is_followed_and_its_old_key_is_not_believed_any_more() {
    let mut world = World::new(500);
    world.replace_chain(chain_of(&[1]));
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    talk(&mut world, alice, "bob");
    let newest = [1, 2, 3];
    for keys in [&newest[..2], &newest, &newest] {
        world.replace_chain(chain_of(keys));
        for index in [alice, bob] {
            world.connect(index);
        }
        talk(&mut world, alice, "bob");
    }
    // A key has one place in the chain: the last of these has the right one too far in front.
    for keys in [&[1][..], &[1, 2], &[1, 3]] {
        world.replace_chain(chain_of(keys));
        is_not_believed(&mut world, alice, &format!("{keys:?}"));
    }
    world.replace_chain(chain_of(&newest));
    for index in [alice, bob] {
        world.connect(index);
    }
    talk(&mut world, alice, "bob");
}

#[test]
fn a_server_that_does_not_prove_to_be_the_known_one_is_told_nothing() {
    let mut world = World::new(501);
    let honest = chain_of(&[1, 2]);
    world.replace_chain(honest.clone());
    let (alice, _) = (world.person("alice"), world.person("bob"));
    talk(&mut world, alice, "bob");
    let mut forged = honest.clone();
    forged.successors[0].signature.0[0] ^= 1;
    let another = KeyChain { first: honest.successors[0].spki.clone(), successors: Vec::new() };
    for (chain, why) in [
        (chain_of(&[9, 2]), "another first key, which names this one"),
        (another, "this session's key as the first"),
        (chain_of(&[1]), "it ends in another key than this session's"),
        (forged, "a signature does not hold"),
    ] {
        world.tamper = Some(Box::new(move |index, frame| match frame {
            ServerFrame::Chain(_) if index == 0 => Some(ServerFrame::Chain(chain.clone())),
            frame => Some(frame),
        }));
        is_not_believed(&mut world, alice, why);
    }
    world.tamper = None;
    world.connect(alice);
    talk(&mut world, alice, "bob");
}

/// What can be seen of what a push does: of what the user is told, the server is asked, and the store remembers.
fn state(world: &mut World, index: usize) -> (usize, usize, Option<Cursor>) {
    let device = &world.devices[index];
    (device.events.len(), device.asked.len(), world.cursor(index))
}

/// One of everything that a server pushes to a device that is signed in.
fn pushes(world: &mut World, message: MessageId) -> Vec<ServerFrame> {
    let fates: Result<_, StoreError> = world.devices[0].store.transaction(|tx| tx.fates_of(&message));
    let waiting = DeviceId(world.random());
    let keys = world.accounts[0].list.list().devices[0].certificate().clone();
    let (device_key, identity_key) = (keys.device_key, keys.identity_key);
    let pending = PendingDevice { device: waiting, device_key, identity_key, requested_ms: world.now_ms };
    let (number, lost_through, chat) = (QueueNumber(1_000_000), QueueNumber(0), ChatId(7));
    let (stored_ms, envelope) = (world.now_ms, vec![0; 100].into());
    let who = || "bob".to_owned();
    vec![
        ServerFrame::Deliver(Deliver { number, lost_through, stored_ms, envelope }),
        ServerFrame::Drained(Drained { through: number, lost_through }),
        ServerFrame::Drained(Drained { through: number, lost_through: number }),
        ServerFrame::Taken(Taken { tags: vec![fates.unwrap()[0].tag] }),
        ServerFrame::KeyCounts(KeyCounts { counts: PrekeyCounts::default() }),
        ServerFrame::Invited(Invited { chat, from: who(), with: Vec::new(), expires_in_ms: 60_000 }),
        ServerFrame::InviteEnded(InviteEnded { chat, why: InviteEnd::Cancelled }),
        ServerFrame::ChatStarted(ChatStarted { chat, with: vec![who()] }),
        ServerFrame::ChatEnded(ChatEnded { chat, why: ChatEnd::Quit(who()) }),
        ServerFrame::PendingDevices(PendingDevices { devices: vec![pending] }),
        ServerFrame::Reset(ResetState::Pending(world.now_ms + 1_000)),
        ServerFrame::ListChanged(ListChanged { list: world.accounts[1].first_list().into() }),
    ]
}

#[test]
fn nothing_counts_that_is_pushed_before_the_server_is_known_and_this_device_signed_in() {
    for which in 0.. {
        let mut world = World::new(510);
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        world.pass(120_000);
        world.disconnect(bob);
        let message = world.send(alice, "bob", "one");
        assert_eq!(world.fate(alice, message), Fate::Stored);
        let Some(frame) = pushes(&mut world, message).into_iter().nth(which) else { break };
        for missing in ["the chain", "the answer to the login", "nothing"] {
            world.tamper = Some(Box::new(move |index, frame| {
                let held_back = match frame {
                    ServerFrame::Chain(_) => missing == "the chain",
                    ServerFrame::DeviceIn(_) => missing == "the answer to the login",
                    _ => false,
                };
                (index != 0 || !held_back).then_some(frame)
            }));
            world.connect(alice);
            world.settle();
            let before = state(&mut world, alice);
            world.push(alice, &frame);
            world.settle();
            let after = state(&mut world, alice);
            assert_eq!(after != before, missing == "nothing", "{missing} was missing: {frame:?}");
        }
    }
}

/// Where a server refuses.
#[derive(Debug, Clone, Copy)]
enum At {
    Once,
    Hello,
    Login,
    Attach,
}

/// Refusals, what a user is told of each, and whether the client comes back.
const REFUSALS: [(At, ErrorCode, ErrorKind, bool, &str); 19] = {
    use ErrorKind::{Limit, LoginNeeded, Unreachable, Version};
    [
        (At::Once, ErrorCode::TOO_MANY_CLIENTS, Limit, true, "has as many clients as it takes"),
        (At::Once, ErrorCode::DISABLED, LoginNeeded, false, "disabled by the server's operator"),
        (At::Once, ErrorCode::BUSY, Unreachable, true, "cannot do it now"),
        (At::Hello, ErrorCode::VERSION, Version, false, "have no protocol in common"),
        (At::Hello, ErrorCode::UNSUPPORTED, Version, false, "does not know this request"),
        (At::Hello, ErrorCode::BUSY, Unreachable, true, "cannot do it now"),
        (At::Login, ErrorCode::BAD_CREDENTIALS, LoginNeeded, false, "does not let this device in"),
        (At::Login, ErrorCode::LOGIN_NEEDED, LoginNeeded, false, "does not let this device in"),
        (At::Login, ErrorCode::DISABLED, LoginNeeded, false, "disabled by the server's operator"),
        (At::Login, ErrorCode::ACCOUNT_REMOVED, LoginNeeded, false, "the operator of this server removed"),
        (At::Login, ErrorCode::ACCOUNT_REPLACED, LoginNeeded, false, "this account was reset"),
        (At::Login, ErrorCode::RATE_LIMITED, Limit, true, "too many requests"),
        (At::Login, ErrorCode::LIMIT, Limit, true, "a limit of the server is reached"),
        (At::Login, ErrorCode::DISK_FULL, Limit, true, "the server's disk is full"),
        (At::Login, ErrorCode::STORE, Unreachable, true, "cannot do it now"),
        (At::Attach, ErrorCode::INCARNATION, Unreachable, true, "refused a request"),
        (At::Attach, ErrorCode::BUSY, Unreachable, true, "cannot do it now"),
        (At::Attach, ErrorCode::UNKNOWN_USER, LoginNeeded, false, "does not know this account"),
        (At::Attach, ErrorCode::UNSUPPORTED, Version, false, "does not know this request"),
    ]
};

#[test]
fn what_waiting_can_mend_is_tried_again_and_what_it_cannot_stops_the_client_and_says_why() {
    let mut world = World::new(530);
    let (alice, _) = (world.person("alice"), world.person("bob"));
    for (at, code, kind, comes_back, text) in REFUSALS {
        world.tamper = Some(Box::new(move |index, frame| {
            let here = match frame {
                ServerFrame::Chain(_) => matches!(at, At::Once),
                ServerFrame::Welcome(_) => matches!(at, At::Hello),
                ServerFrame::DeviceIn(_) => matches!(at, At::Login),
                ServerFrame::Done => matches!(at, At::Attach),
                _ => false,
            };
            Some(if index == 0 && here {
                let message = "in the server's words".to_owned();
                ServerFrame::Error(ErrorReply { code, message, retry_after_ms: None })
            } else {
                frame
            })
        }));
        let stopped = stops(&world, alice);
        world.connect(alice);
        world.settle();
        let (error, again) = given_up(&world, alice);
        assert_eq!((error.kind, again), (kind, comes_back), "{at:?} {code:?}: {error:?}");
        assert!(error.message.contains(text), "{at:?} {code:?}: {error:?}");
        assert_eq!(stops(&world, alice), stopped + usize::from(!comes_back), "{at:?} {code:?}");
        world.tamper = None;
        world.devices[alice].asked.clear();
        world.pass(1_000);
        assert_eq!(world.connected(alice), comes_back, "{at:?} {code:?}");
        if !comes_back {
            world.connect(alice);
            world.settle();
            assert_eq!(world.devices[alice].asked, [""; 0], "{at:?} {code:?}: until it is started anew");
            world.crash(alice);
            world.start(alice);
            world.connect(alice);
        }
        talk(&mut world, alice, "bob");
    }
}

#[test]
fn a_server_that_stops_says_so_and_its_clients_come_back() {
    let mut world = World::new(531);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    talk(&mut world, alice, "bob");
    let now_ms = world.now_ms;
    world.server.as_mut().unwrap().handle(now_ms, ServerInput::Stop);
    world.settle();
    for index in [alice, bob] {
        let (error, again) = given_up(&world, index);
        assert_eq!((error.kind, again), (ErrorKind::Unreachable, true));
        assert!(error.message.contains("the server is stopping"), "{error:?}");
    }
    world.crash_server();
    world.start_server();
    world.pass(1_000);
    talk(&mut world, alice, "bob");
}

#[test]
fn a_device_whose_place_another_connection_took_does_not_take_it_back() {
    let mut world = World::new(532);
    let (alice, _) = (world.person("alice"), world.person("bob"));
    talk(&mut world, alice, "bob");
    world.push(alice, &ServerFrame::Replaced);
    world.settle();
    let (error, again) = given_up(&world, alice);
    assert_eq!((error.kind, again), (ErrorKind::ProfileInUse, false));
    assert!(error.hint.unwrap().contains("a copy of this profile"));
    assert_eq!(stops(&world, alice), 1);
    // Two copies of a profile would throw each other out without end.
    world.devices[alice].asked.clear();
    world.pass(60_000);
    world.connect(alice);
    world.settle();
    assert_eq!(world.devices[alice].asked, [""; 0]);
}

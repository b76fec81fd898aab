//! Live chats: what everybody sees of invitations, however they meet.

use sotto_client::api::{ChatCommand, ChatEvent, Command, ErrorKind, Fate, Reply, User};
use sotto_proto::frame::{ChatEnd, ChatId, InviteEnd, Invited, ServerFrame};

use crate::world::World;

fn invite(names: &[&str]) -> Command {
    Command::Chat(ChatCommand::Invite(names.iter().map(|name| name.parse().unwrap()).collect()))
}

fn accept(chat: ChatId) -> Command {
    Command::Chat(ChatCommand::Accept(chat))
}

fn quit(chat: ChatId) -> Command {
    Command::Chat(ChatCommand::Quit(chat))
}

fn started(chat: ChatId, with: &str) -> ChatEvent {
    ChatEvent::Started { chat, with: vec![with.to_owned()] }
}

/// An invitation of `with` by `from`, who is told its id.
fn inviting(world: &mut World, from: usize, with: &str) -> ChatId {
    match world.command(from, invite(&[with])) {
        Ok(Reply::Inviting { chat, .. }) => chat,
        other => panic!("no invitation: {other:?}"),
    }
}

fn two() -> (World, usize, usize) {
    let mut world = World::new(40);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.chat_events(alice);
    world.chat_events(bob);
    (world, alice, bob)
}

fn presence(world: &mut World, index: usize, name: &str) -> User {
    match world.command(index, Command::Users) {
        Ok(Reply::Users(users)) => users.into_iter().find(|user| user.name == name).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_accepted_invitation_is_a_chat_and_what_was_said_arrives_though_it_ended() {
    let (mut world, alice, bob) = two();
    let chat = inviting(&mut world, alice, "bob");
    let [ChatEvent::Invited { chat: asked, from, with, .. }] = &world.chat_events(bob)[..] else { panic!() };
    assert_eq!((*asked, from.as_str(), with.len()), (chat, "alice", 0));
    assert_eq!(world.command(bob, accept(chat)), Ok(Reply::Done));
    assert_eq!(world.chat_events(alice), [started(chat, "bob")]);
    assert_eq!(world.chat_events(bob), [started(chat, "alice")]);
    let carol = world.person("carol");
    let busy = presence(&mut world, carol, "alice");
    assert_eq!((busy.presence.as_str(), &busy.with[..]), ("busy", &["bob".to_owned()][..]));
    let error = world.command(carol, invite(&["bob"])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");

    // Said, and gone before it left.
    world.write(alice, "bob", "the last word");
    world.ask(alice, quit(chat));
    world.settle();
    for index in [alice, bob] {
        let ended = ChatEvent::Ended { chat, why: ChatEnd::Quit("alice".to_owned()) };
        assert!(world.chat_events(index).contains(&ended) || index == alice, "{index}");
    }
    assert_eq!(world.screen(bob), ["alice: the last word"]);
    let row = world.rows(alice).pop().unwrap();
    assert_eq!(row.fate, Some(Fate::Delivered));
    assert_eq!(presence(&mut world, carol, "alice").presence, "available");
    let late = world.command(bob, quit(chat)).unwrap_err();
    assert_eq!(late.kind, ErrorKind::NotFound, "{late:?}");
}

#[test]
fn invitations_that_cross_are_one_chat() {
    let (mut world, alice, bob) = two();
    let by_alice = world.ask(alice, invite(&["bob"]));
    let by_bob = world.ask(bob, invite(&["alice"]));
    world.settle();
    let chat_of = |world: &mut World, index: usize, id| match world.devices[index].replies.remove(&id) {
        Some(Ok(Reply::Inviting { chat, .. })) => chat,
        other => panic!("{other:?}"),
    };
    let (first, second) = (chat_of(&mut world, alice, by_alice), chat_of(&mut world, bob, by_bob));
    assert_eq!(first, second);
    assert!(world.chat_events(alice).contains(&started(first, "bob")));
    assert!(world.chat_events(bob).contains(&started(first, "alice")));
}

#[test]
fn of_accept_and_cancel_at_once_one_counts_for_both() {
    for alice_first in [true, false] {
        let (mut world, alice, bob) = two();
        let chat = inviting(&mut world, alice, "bob");
        world.chat_events(bob);
        let cancel = world.ask(alice, Command::Chat(ChatCommand::Cancel(chat)));
        let accepted = world.ask(bob, accept(chat));
        for index in if alice_first { [alice, bob] } else { [bob, alice] } {
            world.run_device(index, 1, true);
        }
        world.settle();
        let cancelled = world.devices[alice].replies.remove(&cancel).unwrap();
        let accepted = world.devices[bob].replies.remove(&accepted).unwrap();
        let (by_alice, by_bob) = (world.chat_events(alice), world.chat_events(bob));
        if alice_first {
            assert_eq!(cancelled, Ok(Reply::Done));
            assert_eq!(accepted.unwrap_err().kind, ErrorKind::NotFound);
            assert_eq!(by_bob, [ChatEvent::InviteEnded { chat, why: InviteEnd::Cancelled }]);
            assert!(!by_alice.contains(&started(chat, "bob")));
        } else {
            assert_eq!(accepted, Ok(Reply::Done));
            assert_eq!(cancelled.unwrap_err().kind, ErrorKind::NotFound);
            assert!(by_alice.contains(&started(chat, "bob")), "{by_alice:?}");
            assert!(by_bob.contains(&started(chat, "alice")), "{by_bob:?}");
        }
    }
}

#[test]
fn of_two_own_devices_the_first_answer_counts_and_the_other_is_told() {
    let (mut world, alice, bob) = two();
    let laptop = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob] {
        world.connect(index);
    }
    world.settle();
    for index in [alice, bob, laptop] {
        world.chat_events(index);
    }
    let chat = inviting(&mut world, alice, "bob");
    for index in [bob, laptop] {
        assert!(matches!(world.chat_events(index)[..], [ChatEvent::Invited { .. }]), "{index}");
    }
    assert_eq!(world.command(laptop, accept(chat)), Ok(Reply::Done));
    assert_eq!(world.chat_events(bob), [ChatEvent::InviteEnded { chat, why: InviteEnd::Elsewhere }]);
    assert_eq!(world.chat_events(laptop), [started(chat, "alice")]);
    assert_eq!(world.chat_events(alice), [started(chat, "bob")]);
}

#[test]
fn a_lost_connection_ends_everything_and_whoever_waits_is_told() {
    let (mut world, alice, bob) = two();
    let chat = inviting(&mut world, alice, "bob");
    world.command(bob, accept(chat)).unwrap();
    world.chat_events(alice);
    world.chat_events(bob);
    world.disconnect(alice);
    world.settle();
    assert_eq!(world.chat_events(alice), [ChatEvent::AllLost]);
    assert_eq!(world.chat_events(bob), [ChatEvent::Ended { chat, why: ChatEnd::Lost("alice".to_owned()) }]);
    let offline = world.command(alice, invite(&["bob"])).unwrap_err();
    assert_eq!(offline.kind, ErrorKind::Unreachable);

    world.connect(alice);
    world.settle();
    let asked = world.ask(alice, invite(&["bob"]));
    world.run_device(alice, 1, true);
    world.disconnect(alice);
    world.settle();
    let error = world.devices[alice].replies.remove(&asked).unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    // Nothing was open, so nothing was lost.
    assert_eq!(world.chat_events(alice), []);
}

#[test]
fn only_people_are_invited_and_only_people_invite() {
    let (mut world, alice, bob) = two();
    world.interactive(bob, false);
    assert_eq!(presence(&mut world, alice, "bob").presence, "offline");
    assert_eq!(world.command(alice, invite(&["bob"])).unwrap_err().kind, ErrorKind::NotFound);
    let error = world.command(bob, invite(&["alice"])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    for (wrong, kind) in [
        (invite(&[]), ErrorKind::Invalid),
        (invite(&["alice"]), ErrorKind::Invalid),
        (invite(&["nobody"]), ErrorKind::NotFound),
        (accept(ChatId(999)), ErrorKind::NotFound),
    ] {
        assert_eq!(world.command(alice, wrong.clone()).unwrap_err().kind, kind, "{wrong:?}");
    }
    world.interactive(bob, true);
    assert_eq!(presence(&mut world, alice, "bob").presence, "available");
    inviting(&mut world, alice, "bob");
    assert!(matches!(world.chat_events(bob)[..], [ChatEvent::Invited { .. }]));
    // A person who goes is somebody who does not answer.
    world.interactive(bob, false);
    let events = world.chat_events(alice);
    assert!(
        matches!(&events[..], [ChatEvent::InviteEnded { why: InviteEnd::Gone(name), .. }] if name == "bob"),
        "{events:?}"
    );
}

#[test]
fn what_is_no_name_is_not_shown() {
    let (mut world, alice, bob) = two();
    let mut first = true;
    world.tamper = Some(Box::new(move |_, frame| {
        Some(match frame {
            ServerFrame::Invited(invited) if std::mem::take(&mut first) => {
                ServerFrame::Invited(Invited { from: "\u{1b}]0;pwned\u{7}".to_owned(), ..invited })
            }
            ServerFrame::Invited(invited) => ServerFrame::Invited(Invited {
                with: vec!["\u{202e}evil".to_owned(), "carol".to_owned(), String::new()],
                ..invited
            }),
            frame => frame,
        })
    }));
    let chat = inviting(&mut world, alice, "bob");
    assert_eq!(world.chat_events(bob), []);
    world.command(alice, Command::Chat(ChatCommand::Cancel(chat))).unwrap();
    world.chat_events(bob);
    inviting(&mut world, alice, "bob");
    let [ChatEvent::Invited { with, .. }] = &world.chat_events(bob)[..] else { panic!() };
    assert_eq!(&with[..], ["carol"]);
}

//! Live chats: what everybody sees of invitations, however they meet.

use sotto_client::api::{ChatCommand, ChatEvent, Command, ErrorKind, Fate, Reply, User};
use sotto_proto::{
    frame::{ChatEnd, ChatId, ErrorCode, ErrorReply, InviteEnd, Invited, ServerFrame},
    limits::MAX_INVITED,
};

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

#[test]
fn what_ended_before_is_not_lost_with_the_connection() {
    let (mut world, alice, bob) = two();
    let chat = inviting(&mut world, alice, "bob");
    world.command(bob, accept(chat)).unwrap();
    world.command(bob, quit(chat)).unwrap();
    let again = inviting(&mut world, alice, "bob");
    world.command(bob, Command::Chat(ChatCommand::Deny(again))).unwrap();
    for index in [alice, bob] {
        world.chat_events(index);
        world.disconnect(index);
    }
    world.settle();
    for index in [alice, bob] {
        assert_eq!(world.chat_events(index), [], "{index}");
    }
}

#[test]
fn whether_a_person_sits_there_is_said_when_it_changes_and_at_the_login_and_not_besides() {
    let (mut world, alice, bob) = two();
    let said =
        |world: &World| world.devices[bob].asked.iter().filter(|kind| **kind == "SetInteractive").count();
    assert_eq!((said(&world), presence(&mut world, alice, "bob").presence.as_str()), (0, "available"));
    world.interactive(bob, false);
    assert_eq!((said(&world), presence(&mut world, alice, "bob").presence.as_str()), (1, "offline"));
    world.disconnect(bob);
    world.interactive(bob, true);
    world.connect(bob);
    world.settle();
    assert_eq!((said(&world), presence(&mut world, alice, "bob").presence.as_str()), (1, "available"));
}

#[test]
fn as_many_as_may_be_invited_all_see_each_other_and_one_more_is_too_many() {
    let mut world = World::new(41);
    let alice = world.person("alice");
    let names: Vec<String> = (0..=MAX_INVITED).map(|number| format!("guest{number:02}")).collect();
    let guests: Vec<usize> = names.iter().map(|name| world.person(name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = world.command(alice, invite(&names)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(!world.devices[alice].asked.contains(&"Invite"), "the server need not be asked");
    let (names, guests) = (&names[..MAX_INVITED], &guests[..MAX_INVITED]);
    let Ok(Reply::Inviting { chat, .. }) = world.command(alice, invite(names)) else { panic!() };
    for index in guests.iter().copied().chain([alice]) {
        world.chat_events(index);
    }
    for index in guests {
        assert_eq!(world.command(*index, accept(chat)), Ok(Reply::Done));
    }
    for (index, own) in guests.iter().zip(names).chain([(&alice, &"alice")]) {
        let mut expected: Vec<&str> =
            names.iter().copied().chain(["alice"]).filter(|name| name != own).collect();
        let events = world.chat_events(*index);
        let [ChatEvent::Started { with, .. }] = &events[..] else { panic!("{own}: {events:?}") };
        let mut with: Vec<&str> = with.iter().map(String::as_str).collect();
        with.sort_unstable();
        expected.sort_unstable();
        assert_eq!(with, expected, "{own}");
    }
}

#[test]
fn who_is_in_a_chat_is_told_that_another_is_not_possible_now() {
    let (mut world, alice, bob) = two();
    world.person("carol");
    let chat = inviting(&mut world, alice, "bob");
    assert_eq!(world.command(bob, accept(chat)), Ok(Reply::Done));
    let error = world.command(alice, invite(&["carol"])).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Invalid, "that cannot be done now"));
    assert!(error.cause.is_some(), "the server says what stands in the way");
    world.command(alice, quit(chat)).unwrap();
    inviting(&mut world, alice, "carol");
}

#[test]
fn a_server_without_live_chats_is_said_to_have_none() {
    let (mut world, alice, _) = two();
    let cancel = |chat| Command::Chat(ChatCommand::Cancel(chat));
    let chat = inviting(&mut world, alice, "bob");
    world.command(alice, cancel(chat)).unwrap();
    world.tamper = Some(Box::new(|_, frame| {
        Some(match frame {
            ServerFrame::Inviting(_) => {
                let message = "unknown request".to_owned();
                ServerFrame::Error(ErrorReply { code: ErrorCode::UNSUPPORTED, message, retry_after_ms: None })
            }
            frame => frame,
        })
    }));
    let error = world.command(alice, invite(&["bob"])).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Version, "this server has no live chats"));
}

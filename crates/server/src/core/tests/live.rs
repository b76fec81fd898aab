//! Live chats: who is asked, who is told, who is busy; and the races.

use sotto_proto::frame::{
    ChatEnd, ChatEnded, ChatId, ChatStarted, InChat, Invite, InviteEnd, InviteEnded, Invited, Inviting,
    ListUsers, PasswordLogin, Presence, ReplaceList, SetInteractive,
};
use sotto_proto::limits::{INVITE_TIMEOUT_MS, MAX_INVITED};

use super::*;

pub(super) fn invite(users: &[&str]) -> ClientFrame {
    ClientFrame::Invite(Invite { users: users.iter().map(|name| (*name).to_owned()).collect() })
}

fn accept(chat: ChatId) -> ClientFrame {
    ClientFrame::Accept(InChat { chat })
}

fn deny(chat: ChatId) -> ClientFrame {
    ClientFrame::Deny(InChat { chat })
}

fn cancel(chat: ChatId) -> ClientFrame {
    ClientFrame::Cancel(InChat { chat })
}

fn quit(chat: ChatId) -> ClientFrame {
    ClientFrame::Quit(InChat { chat })
}

fn there(interactive: bool) -> ClientFrame {
    ClientFrame::SetInteractive(SetInteractive { interactive })
}

fn invited(chat: ChatId, from: &str, with: &[&str]) -> ServerFrame {
    let with = with.iter().map(|name| (*name).to_owned()).collect();
    ServerFrame::Invited(Invited { chat, from: from.to_owned(), with, expires_in_ms: INVITE_TIMEOUT_MS })
}

fn ended(chat: ChatId, why: InviteEnd) -> ServerFrame {
    ServerFrame::InviteEnded(InviteEnded { chat, why })
}

fn started(chat: ChatId, with: &[&str]) -> ServerFrame {
    ServerFrame::ChatStarted(ChatStarted { chat, with: with.iter().map(|name| (*name).to_owned()).collect() })
}

fn over(chat: ChatId, why: ChatEnd) -> ServerFrame {
    ServerFrame::ChatEnded(ChatEnded { chat, why })
}

/// An account with two devices, as the server knows it.
pub(super) fn with_two_devices(bench: &mut Bench, name: &str, seed: u8) -> User {
    let mut user = User::new(name, seed);
    bench.register(&user);
    let expected = user.list.hash();
    user.add_device(seed + 50);
    let id = bench.greet();
    let login = PasswordLogin { username: name.to_owned(), auth_key: user.auth_key() };
    assert!(matches!(bench.ask(id, ClientFrame::PasswordLogin(login)), ServerFrame::AccountIn(_)));
    let replace = ReplaceList { expected, list: user.list.as_bytes().to_vec().into() };
    assert_eq!(bench.ask(id, ClientFrame::ReplaceList(replace)), ServerFrame::Done);
    bench.input(Input::Disconnected { connection: id });
    user
}

impl Bench {
    pub(super) fn inviting(&mut self, id: ConnectionId, users: &[&str]) -> ChatId {
        match self.ask(id, invite(users)) {
            ServerFrame::Inviting(Inviting { chat, .. }) => chat,
            other => panic!("not invited: {other:?}"),
        }
    }

    /// Two that are in a chat, and have seen it start.
    pub(super) fn chatting(&mut self, one: ConnectionId, other: ConnectionId, name: &str) -> ChatId {
        let chat = self.inviting(one, &[name]);
        assert_eq!(self.ask(other, accept(chat)), ServerFrame::Done);
        self.pushes(one);
        self.pushes(other);
        chat
    }

    fn presences(&mut self, id: ConnectionId) -> Vec<Presence> {
        match self.ask(id, ClientFrame::ListUsers(ListUsers { after: None, limit: 500 })) {
            ServerFrame::Users(users) => users.users.into_iter().map(|user| user.presence).collect(),
            other => panic!("no users: {other:?}"),
        }
    }

    fn not_available(&mut self, id: ConnectionId, users: &[&str]) -> String {
        let reply = self.refused(id, invite(users));
        assert_eq!(reply.code, ErrorCode::NOT_AVAILABLE, "{}", reply.message);
        reply.message
    }

    fn gone(&mut self, id: ConnectionId) {
        self.input(Input::Disconnected { connection: id });
    }

    fn nobody_is_engaged(&self) -> bool {
        self.core.chats.checked().count() == 0
    }

    fn logged(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }
}

fn three(bench: &mut Bench) -> [ConnectionId; 3] {
    [("alice", 1), ("bob", 2), ("carol", 3)].map(|(name, seed)| bench.online(name, seed).1)
}

fn busy(names: &[&str]) -> Presence {
    Presence::Busy(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn an_accepted_invitation_is_a_chat_that_the_others_see_and_quit_ends_it_for_both() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let free = vec![Presence::Available; 3];
    let chat = bench.inviting(alice, &["Bob"]);
    assert_eq!(bench.pushes(bob), [invited(chat, "alice", &[])]);
    assert_eq!(bench.presences(carol), free, "nobody is busy before all have accepted");
    assert_eq!(bench.ask(bob, accept(chat)), ServerFrame::Done);
    assert_eq!(bench.pushes(alice), [started(chat, &["bob"])]);
    assert_eq!(bench.pushes(bob), [started(chat, &["alice"])]);
    assert_eq!(bench.presences(carol), [busy(&["bob"]), busy(&["alice"]), Presence::Available]);
    assert_eq!(bench.core.roster().busy.get("alice"), Some(&vec!["bob".to_owned()]));
    assert_eq!(bench.not_available(carol, &["bob"]), "bob is in a chat");
    assert_eq!(bench.refused(alice, invite(&["carol"])).code, ErrorCode::OUT_OF_ORDER);
    assert_eq!(bench.refused(carol, quit(chat)).code, ErrorCode::NO_SUCH_CHAT, "not hers");
    assert_eq!(bench.ask(bob, quit(chat)), ServerFrame::Done);
    assert_eq!(bench.pushes(alice), [over(chat, ChatEnd::Quit("bob".to_owned()))]);
    assert_eq!(bench.pushes(bob), [], "its answer told it");
    assert_eq!(bench.pushes(carol), []);
    assert_eq!(bench.presences(carol), free);
    assert_eq!(bench.refused(alice, quit(chat)).code, ErrorCode::NO_SUCH_CHAT);
    for line in [
        "[ alice ] Invite (10 bytes): invites [ bob ]",
        "[ bob ] Accept (10 bytes): accepted: alice and bob are busy",
        "[ bob ] Quit (10 bytes): left the chat",
        "chat ended, bob left: alice and bob are available",
    ] {
        assert!(bench.logged(line), "{line}: {:#?}", bench.log);
    }
}

#[test]
fn chats_run_in_parallel_without_touching_each_other() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let (_, dave) = bench.online("dave", 4);
    let first = bench.chatting(alice, bob, "bob");
    let second = bench.chatting(carol, dave, "dave");
    assert_ne!(first, second);
    assert_eq!(bench.ask(alice, quit(first)), ServerFrame::Done);
    assert_eq!((bench.pushes(carol), bench.pushes(dave)), (vec![], vec![]));
    assert_eq!(
        bench.presences(alice),
        [Presence::Available, Presence::Available, busy(&["dave"]), busy(&["carol"])]
    );
}

#[test]
fn all_of_a_group_have_to_accept() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let chat = bench.inviting(alice, &["bob", "carol"]);
    assert_eq!(bench.pushes(bob), [invited(chat, "alice", &["carol"])]);
    assert_eq!(bench.pushes(carol), [invited(chat, "alice", &["bob"])]);
    bench.ask(bob, accept(chat));
    assert_eq!((bench.pushes(alice), bench.pushes(bob)), (vec![], vec![]));
    assert!(bench.logged("accepted, waits for carol"));
    bench.ask(carol, accept(chat));
    assert_eq!(bench.pushes(alice), [started(chat, &["bob", "carol"])]);
    assert_eq!(bench.pushes(carol), [started(chat, &["alice", "bob"])]);
    assert_eq!(bench.presences(bob)[2], busy(&["alice", "bob"]));
    bench.pushes(bob);
    bench.gone(carol);
    let lost = over(chat, ChatEnd::Lost("carol".to_owned()));
    assert_eq!((bench.pushes(alice), bench.pushes(bob)), (vec![lost.clone()], vec![lost]));
    assert!(bench.logged("chat ended, the connection of carol was lost: alice and bob are available"));
}

#[test]
fn one_denial_and_no_group_is_made_and_everybody_is_told() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let chat = bench.inviting(alice, &["bob", "carol"]);
    bench.ask(bob, accept(chat));
    bench.pushes(bob);
    bench.pushes(carol);
    assert_eq!(bench.ask(carol, deny(chat)), ServerFrame::Done);
    let denied = ended(chat, InviteEnd::Denied("carol".to_owned()));
    assert_eq!((bench.pushes(alice), bench.pushes(bob)), (vec![denied.clone()], vec![denied]));
    assert_eq!(bench.pushes(carol), [], "her answer told her");
    assert!(bench.nobody_is_engaged());
    // Who accepted may still step back.
    let chat = bench.inviting(alice, &["bob", "carol"]);
    bench.ask(bob, accept(chat));
    assert_eq!(bench.ask(bob, deny(chat)), ServerFrame::Done);
    assert_eq!(bench.pushes(alice), [ended(chat, InviteEnd::Denied("bob".to_owned()))]);
}

#[test]
fn two_who_invite_each_other_are_in_a_chat() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let chat = bench.inviting(alice, &["bob"]);
    bench.now_ms += 5_000;
    let inviting = Inviting { chat, expires_in_ms: INVITE_TIMEOUT_MS - 5_000 };
    assert_eq!(bench.ask(bob, invite(&["alice"])), ServerFrame::Inviting(inviting));
    assert_eq!(bench.pushes(bob)[1..], [started(chat, &["alice"])]);
    assert_eq!(bench.pushes(alice), [started(chat, &["bob"])]);
    bench.ask(alice, quit(chat));
    // Only if it is exactly each other that they ask.
    let chat = bench.inviting(alice, &["bob"]);
    let reply = bench.refused(bob, invite(&["alice", "carol"]));
    assert_eq!(reply.code, ErrorCode::OUT_OF_ORDER);
    assert_eq!(reply.message, "alice is asking you for a chat; answer that first");
    bench.ask(bob, deny(chat));
    let chat = bench.inviting(alice, &["bob", "carol"]);
    assert_eq!(bench.refused(bob, invite(&["alice"])).code, ErrorCode::OUT_OF_ORDER);
    bench.ask(alice, cancel(chat));
    bench.pushes(carol);
    assert!(bench.nobody_is_engaged());
}

#[test]
fn of_two_who_invite_one_the_first_does() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let chat = bench.inviting(alice, &["carol"]);
    assert_eq!(bench.not_available(bob, &["carol"]), "carol is answering another invitation");
    assert_eq!(bench.not_available(bob, &["alice"]), "alice is answering another invitation");
    assert_eq!(bench.pushes(carol), [invited(chat, "alice", &[])], "she was bothered once");
    assert_eq!(bench.ask(carol, accept(chat)), ServerFrame::Done);
}

#[test]
fn accept_and_cancel_at_the_same_moment_leave_both_sides_with_the_same_idea() {
    let mut bench = Bench::new();
    let [alice, bob, _] = three(&mut bench);
    let chat = bench.inviting(alice, &["bob"]);
    bench.pushes(bob);
    assert_eq!(bench.ask(alice, cancel(chat)), ServerFrame::Done);
    assert_eq!(bench.refused(bob, accept(chat)).code, ErrorCode::NO_SUCH_CHAT);
    assert_eq!((bench.pushes(alice), bench.pushes(bob)), (vec![], vec![ended(chat, InviteEnd::Cancelled)]));
    assert!(bench.nobody_is_engaged());
    let chat = bench.inviting(alice, &["bob"]);
    bench.pushes(bob);
    assert_eq!(bench.ask(bob, accept(chat)), ServerFrame::Done);
    let reply = bench.refused(alice, cancel(chat));
    assert_eq!(reply.code, ErrorCode::NO_SUCH_CHAT);
    assert!(reply.message.contains("has started"), "{}", reply.message);
    assert_eq!(bench.pushes(alice), [started(chat, &["bob"])]);
    assert_eq!(bench.ask(alice, quit(chat)), ServerFrame::Done);
    assert_eq!(bench.pushes(bob)[1..], [over(chat, ChatEnd::Quit("alice".to_owned()))]);
    assert!(bench.nobody_is_engaged());
}

#[test]
fn the_first_answer_of_an_account_counts_and_its_other_devices_are_told() {
    let mut bench = Bench::new();
    let (_, alice) = bench.online("alice", 1);
    let bob = with_two_devices(&mut bench, "bob", 2);
    let [here, there] = [0, 1].map(|device| {
        let id = bench.sign_in(&bob, device).0;
        bench.pushes(id);
        id
    });
    let elsewhere = |chat| vec![ended(chat, InviteEnd::Elsewhere)];
    let chat = bench.inviting(alice, &["bob"]);
    assert_eq!(
        (bench.pushes(here), bench.pushes(there)),
        (vec![invited(chat, "alice", &[])], vec![invited(chat, "alice", &[])])
    );
    bench.ask(here, accept(chat));
    assert_eq!(bench.pushes(there), elsewhere(chat));
    for frame in [accept(chat), deny(chat), quit(chat)] {
        assert_eq!(bench.refused(there, frame).code, ErrorCode::NO_SUCH_CHAT);
    }
    bench.gone(there);
    assert_eq!(bench.pushes(alice), [started(chat, &["bob"])], "the other device has no part in it");
    bench.ask(alice, quit(chat));
    let there = bench.sign_in(&bob, 1).0;
    bench.pushes(there);
    bench.pushes(here);
    let chat = bench.inviting(alice, &["bob"]);
    bench.pushes(there);
    bench.ask(here, deny(chat));
    assert_eq!(bench.pushes(there), elsewhere(chat));
    assert_eq!(bench.pushes(alice), [ended(chat, InviteEnd::Denied("bob".to_owned()))]);
    assert!(bench.nobody_is_engaged());
}

#[test]
fn a_device_that_comes_while_an_invitation_waits_is_shown_it_and_can_answer() {
    let mut bench = Bench::new();
    let (_, alice) = bench.online("alice", 1);
    let bob = with_two_devices(&mut bench, "bob", 2);
    let (here, _) = bench.sign_in(&bob, 0);
    let chat = bench.inviting(alice, &["bob"]);
    bench.now_ms += 20_000;
    // The same device again, on a new connection: the invitation goes on.
    let (here, _) = (bench.sign_in(&bob, 0).0, here);
    let shown = Invited { chat, from: "alice".to_owned(), with: vec![], expires_in_ms: 40_000 };
    assert_eq!(bench.pushes(here).last(), Some(&ServerFrame::Invited(shown.clone())));
    let late = bench.greet();
    assert!(matches!(bench.ask(late, bob.device_login(1, false)), ServerFrame::DeviceIn(_)));
    bench.pushes(late);
    assert_eq!(bench.refused(late, accept(chat)).code, ErrorCode::OUT_OF_ORDER, "nobody sits there");
    assert_eq!(bench.ask(late, there(true)), ServerFrame::Done);
    assert_eq!(bench.ask(late, there(true)), ServerFrame::Done, "nothing changes");
    assert_eq!(bench.pushes(late), [ServerFrame::Invited(shown)]);
    assert_eq!(bench.ask(late, accept(chat)), ServerFrame::Done);
    assert_eq!(bench.pushes(here), [ended(chat, InviteEnd::Elsewhere)]);
    assert_eq!(bench.pushes(alice), [started(chat, &["bob"])]);
}

#[test]
fn nobody_waits_longer_than_a_minute_for_an_answer() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let chat = bench.inviting(alice, &["bob", "carol"]);
    bench.ask(bob, accept(chat));
    bench.pushes(bob);
    bench.pushes(carol);
    assert!(bench.core.wake_at_ms() <= NOW + INVITE_TIMEOUT_MS);
    bench.now_ms += INVITE_TIMEOUT_MS - 1;
    bench.input(Input::Tick);
    assert_eq!(bench.pushes(alice), []);
    bench.now_ms += 1;
    // The answer comes before the tick, and yet too late.
    assert_eq!(bench.refused(carol, accept(chat)).code, ErrorCode::NO_SUCH_CHAT);
    for id in [alice, bob, carol] {
        assert_eq!(bench.pushes(id), [ended(chat, InviteEnd::TimedOut)]);
    }
    assert!(bench.nobody_is_engaged());
    let chat = bench.inviting(bob, &["carol"]);
    bench.now_ms += INVITE_TIMEOUT_MS;
    bench.input(Input::Tick);
    assert_eq!(bench.pushes(bob), [ended(chat, InviteEnd::TimedOut)]);
    assert!(bench.logged("invitation of bob ended: not all answered in time"));
}

#[test]
fn who_goes_while_an_invitation_waits_ends_it() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let chat = bench.inviting(alice, &["bob", "carol"]);
    bench.ask(bob, accept(chat));
    for id in [bob, carol] {
        bench.pushes(id);
    }
    assert_eq!(bench.ask(alice, ClientFrame::Bye), ServerFrame::Done);
    let gone = ended(chat, InviteEnd::Gone("alice".to_owned()));
    assert_eq!((bench.pushes(bob), bench.pushes(carol)), (vec![gone.clone()], vec![gone]));
    // Of the invited, too.
    let chat = bench.inviting(bob, &["carol"]);
    bench.gone(carol);
    assert_eq!(bench.pushes(bob), [ended(chat, InviteEnd::Gone("carol".to_owned()))]);
    assert_eq!(bench.not_available(bob, &["carol"]), "carol is offline");
    assert!(bench.nobody_is_engaged());
    assert_eq!(bench.presences(bob), [Presence::Offline, Presence::Available, Presence::Offline]);
}

#[test]
fn a_chat_does_not_outlive_a_connection_that_it_is_bound_to() {
    let mut bench = Bench::new();
    let (mut alice, at_alice) = bench.online("alice", 1);
    let (bob, at_bob) = bench.online("bob", 2);
    // Replaced by another connection of the same device.
    let chat = bench.chatting(at_alice, at_bob, "bob");
    let (at_bob, _) = bench.sign_in(&bob, 0);
    assert_eq!(bench.pushes(at_alice), [over(chat, ChatEnd::Lost("bob".to_owned()))]);
    bench.pushes(at_bob);
    assert_eq!(bench.presences(at_bob), [Presence::Available, Presence::Available]);
    // Nobody sits there any more.
    let chat = bench.chatting(at_alice, at_bob, "bob");
    assert_eq!(bench.ask(at_bob, there(false)), ServerFrame::Done);
    assert_eq!(bench.pushes(at_alice), [over(chat, ChatEnd::Quit("bob".to_owned()))]);
    assert_eq!(bench.pushes(at_bob), []);
    assert_eq!(bench.not_available(at_alice, &["bob"]), "bob is offline");
    assert_eq!(bench.ask(at_bob, there(true)), ServerFrame::Done);
    // The device is removed from its account.
    let chat = bench.chatting(at_alice, at_bob, "bob");
    alice.add_device(51);
    alice.revoke(0);
    let mut removing = bob.submit(9, &[]);
    removing.lists.push(alice.used());
    removing.lists[1].list = Some(alice.list.as_bytes().to_vec().into());
    removing.envelopes.push(alice.envelope(1, 9, 0, vec![9; 100]));
    bench.submitted(at_bob, removing);
    assert!(bench.closed.contains(&at_alice));
    assert_eq!(bench.pushes(at_bob), [over(chat, ChatEnd::Lost("alice".to_owned()))]);
    assert!(bench.nobody_is_engaged());
}

#[test]
fn a_device_where_nobody_sits_any_more_has_no_part_in_an_invitation() {
    let mut bench = Bench::new();
    let [alice, bob, _] = three(&mut bench);
    let chat = bench.inviting(alice, &["bob"]);
    bench.pushes(bob);
    bench.ask(bob, there(false));
    assert_eq!(
        (bench.pushes(alice), bench.pushes(bob)),
        (vec![ended(chat, InviteEnd::Gone("bob".to_owned()))], vec![])
    );
    bench.ask(bob, there(true));
    let chat = bench.inviting(alice, &["bob"]);
    bench.pushes(bob);
    bench.ask(alice, there(false));
    assert_eq!(
        (bench.pushes(alice), bench.pushes(bob)),
        (vec![], vec![ended(chat, InviteEnd::Gone("alice".to_owned()))])
    );
    assert_eq!(bench.refused(alice, invite(&["bob"])).code, ErrorCode::OUT_OF_ORDER);
    assert!(bench.nobody_is_engaged());
}

#[test]
fn an_invitation_that_cannot_be_bothers_nobody_and_says_why() {
    let mut bench = Bench::new();
    let [alice, bob, _] = three(&mut bench);
    let id = bench.greet();
    assert_eq!(bench.refused(id, invite(&["bob"])).code, ErrorCode::LOGIN_NEEDED);
    bench.register(&User::new("dave", 4));
    assert_eq!(bench.not_available(alice, &["bob", "dave"]), "dave is offline");
    assert_eq!(bench.not_available(alice, &["bob", "alice"]), "you cannot invite yourself");
    let reply = bench.refused(alice, invite(&["bob", "eve"]));
    assert_eq!((reply.code, reply.message.as_str()), (ErrorCode::UNKNOWN_USER, "there is no user eve"));
    assert_eq!(bench.refused(alice, invite(&["bob", "B o b"])).code, ErrorCode::BAD_NAME);
    assert_eq!(bench.refused(alice, invite(&["bob", "BOB"])).code, ErrorCode::MALFORMED);
    assert_eq!(bench.refused(alice, invite(&[])).code, ErrorCode::LIMIT);
    let many: Vec<String> = (0..=MAX_INVITED).map(|n| format!("user{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(bench.refused(alice, invite(&many)).code, ErrorCode::LIMIT);
    assert_eq!(
        bench.refused(alice, invite(&many[1..])).code,
        ErrorCode::UNKNOWN_USER,
        "that many may be named"
    );
    assert_eq!(bench.pushes(bob), []);
    assert!(bench.nobody_is_engaged());
    bench.input(Input::Stop);
    assert_eq!(bench.refused(alice, invite(&["bob"])).code, ErrorCode::BUSY);
}

#[test]
fn nobody_can_be_pestered_without_bound() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    for _ in 0..10 {
        let chat = bench.inviting(alice, &["bob"]);
        bench.ask(alice, cancel(chat));
    }
    let reply = bench.refused(alice, invite(&["carol"]));
    assert_eq!((reply.code, reply.retry_after_ms), (ErrorCode::RATE_LIMITED, Some(2_000)));
    assert_eq!(bench.pushes(bob).len(), 20);
    assert_eq!(bench.pushes(carol), []);
    let chat = bench.inviting(bob, &["alice"]);
    assert!(matches!(bench.ask(alice, invite(&["bob"])), ServerFrame::Inviting(_)), "that is an acceptance");
    bench.ask(alice, quit(chat));
    bench.now_ms += 2_000;
    bench.inviting(alice, &["carol"]);
}

#[test]
fn a_server_that_stops_leaves_chats_as_they_are_until_their_connections_end() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let chat = bench.chatting(alice, bob, "bob");
    bench.input(Input::Stop);
    assert_eq!(bench.presences(carol)[0], busy(&["bob"]));
    bench.pushes(bob);
    bench.gone(alice);
    assert_eq!(bench.pushes(bob), [over(chat, ChatEnd::Lost("alice".to_owned()))]);
    bench.gone(bob);
    bench.gone(carol);
    assert!(bench.nobody_is_engaged() && bench.core.interactive.is_empty());
}

#[test]
fn who_is_too_slow_to_be_told_is_closed_rather_than_left_in_a_wrong_belief() {
    let mut bench = Bench::new();
    let [alice, bob, carol] = three(&mut bench);
    let stuff = |bench: &mut Bench, id: ConnectionId| {
        bench.core.connections.get_mut(&id).unwrap().unwritten = 2 * reader::UNWRITTEN_LIMIT + 1;
    };
    // The invited.
    stuff(&mut bench, bob);
    let chat = bench.inviting(alice, &["bob", "carol"]);
    assert_eq!(bench.closed, [bob]);
    let gone = ended(chat, InviteEnd::Gone("bob".to_owned()));
    assert_eq!(bench.pushes(carol), [invited(chat, "alice", &["bob"]), gone.clone()]);
    assert_eq!(bench.pushes(alice), [gone]);
    // A member, when the chat starts.
    let chat = bench.inviting(alice, &["carol"]);
    stuff(&mut bench, alice);
    bench.ask(carol, accept(chat));
    assert_eq!(bench.closed, [bob, alice]);
    let pushes = bench.pushes(carol);
    assert_eq!(pushes[1..], [started(chat, &["alice"]), over(chat, ChatEnd::Lost("alice".to_owned()))]);
    assert!(bench.nobody_is_engaged());
    assert!(bench.logged("refused: too slow to be told about live chats"));
}

#[test]
fn a_peer_that_downloads_its_mailbox_is_not_too_slow() {
    let mut bench = Bench::new();
    bench.writes = false;
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    for n in 1..=20 {
        let mut submit = alice.submit(n, &[]);
        submit.lists.push(bob.used());
        submit.envelopes.push(bob.envelope(0, n, 0, vec![n; 48_000]));
        bench.submitted(sender, submit);
    }
    let (reader, _) = bench.attach(&bob, 0, 0);
    assert!(bench.core.connections[&reader].unwritten > 128 * 1024, "it takes nothing");
    let chat = bench.inviting(sender, &["bob"]);
    assert_eq!(bench.pushes(reader).last(), Some(&invited(chat, "alice", &[])));
    assert_eq!(bench.closed, []);
}

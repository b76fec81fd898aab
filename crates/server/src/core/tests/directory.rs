//! A closed directory: an account sees those with whom it shares a conversation, and nothing tells it of the others.

use sotto_proto::frame::{Block, ListUsers, LookupLists, Presence, Refusal, Users};

use super::{live::invite, *};

const CLOSED: CoreConfig = CoreConfig { directory: Directory::Closed, ..CONFIG };
const CONFIG: CoreConfig = CoreConfig {
    max_clients: 100,
    registration: sotto_proto::frame::Registration::Open,
    directory: Directory::Open,
    hashing_line: 10,
    retention_ms: 1_000_000,
    mailbox_envelopes: 1_000,
    register_burst: 100,
    claim_burst: 100,
};

fn closed() -> Bench {
    Bench::with(CLOSED, StoreConfig::default())
}

impl Bench {
    fn page(&mut self, id: ConnectionId, after: Option<&str>, limit: u16) -> Users {
        let list = ListUsers { after: after.map(str::to_owned), limit };
        match self.ask(id, ClientFrame::ListUsers(list)) {
            ServerFrame::Users(users) => users,
            other => panic!("no users: {other:?}"),
        }
    }

    /// Whom an account sees, and how.
    fn seen(&mut self, id: ConnectionId) -> Vec<(String, Presence)> {
        let page = self.page(id, None, 500);
        assert!(!page.more);
        page.users.into_iter().map(|user| (user.name, user.presence)).collect()
    }

    fn names_seen(&mut self, id: ConnectionId) -> Vec<String> {
        self.seen(id).into_iter().map(|(name, _)| name).collect()
    }

    fn write(&mut self, id: u8, (from, connection): (&User, ConnectionId), to: &User) -> Outcome {
        let submitted = self.submitted(connection, from.submit(id, &[(to, 0)]));
        outcomes(&submitted)[0]
    }

    /// Each writes to the other.
    fn meet(&mut self, id: u8, one: (&User, ConnectionId), other: (&User, ConnectionId)) {
        assert!(matches!(self.write(id, one, other.0), Outcome::Stored { .. }));
        assert!(matches!(self.write(id + 1, other, one.0), Outcome::Stored { .. }));
    }
}

fn available(name: &str) -> (String, Presence) {
    (name.to_owned(), Presence::Available)
}

#[test]
fn one_sees_oneself_and_after_writing_in_both_directions_the_other() {
    let mut bench = closed();
    let (alice, a) = bench.online("alice", 1);
    let (bob, b) = bench.online("bob", 2);
    let (_carol, c) = bench.online("carol", 3);
    assert_eq!(bench.seen(a), [available("alice")]);
    bench.write(1, (&alice, a), &bob);
    assert_eq!(bench.names_seen(a), ["alice"], "writing alone shows nobody");
    assert_eq!(bench.names_seen(b), ["bob"], "nor does being written to");
    bench.hold();
    bench.send(b, 5, ClientFrame::Submit(bob.submit(2, &[(&alice, 0)])));
    let held = bench.held.take();
    assert_eq!(bench.names_seen(a), ["alice"], "not before it is stored");
    bench.held = held;
    bench.release();
    assert_eq!(bench.seen(a), [available("alice"), available("bob")]);
    assert_eq!(bench.seen(b), [available("alice"), available("bob")]);
    assert_eq!(bench.names_seen(c), ["carol"]);
    bench.input(Input::Disconnected { connection: b });
    assert_eq!(bench.seen(a)[1], ("bob".to_owned(), Presence::Offline));
}

#[test]
fn an_account_that_writes_to_itself_or_whose_messages_are_refused_meets_nobody() {
    let mut bench = closed();
    let (alice, a) = bench.online("alice", 1);
    let (bob, b) = bench.online("bob", 2);
    let block = Block { account: alice.account, blocked: true };
    assert_eq!(bench.ask(b, ClientFrame::Block(block)), ServerFrame::Done);
    assert_eq!(bench.write(1, (&alice, a), &bob), Outcome::Refused(Refusal::NotAccepted));
    bench.write(2, (&bob, b), &alice);
    bench.write(3, (&alice, a), &alice);
    assert_eq!(bench.names_seen(a), ["alice"]);
    assert_eq!(bench.names_seen(b), ["bob"]);
}

#[test]
fn pages_follow_each_other_by_name() {
    let mut bench = closed();
    let (alice, a) = bench.online("alice", 1);
    for (seed, name) in (2..).zip(["dave", "bob", "carol", "eve"]) {
        let (user, id) = bench.online(name, seed);
        bench.meet(10 * seed, (&alice, a), (&user, id));
    }
    bench.online("stranger", 9);
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = bench.page(a, after.as_deref(), 2);
        seen.extend(page.users.into_iter().map(|user| user.name));
        after = seen.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, ["alice", "bob", "carol", "dave", "eve"]);
    assert_eq!(bench.page(a, Some("zoe"), 2), Users { users: Vec::new(), more: false });
}

#[test]
fn who_is_busy_with_a_stranger_is_busy_with_nobody_named() {
    let mut bench = closed();
    let (alice, a) = bench.online("alice", 1);
    let (bob, b) = bench.online("bob", 2);
    let (carol, c) = bench.online("carol", 3);
    bench.meet(1, (&alice, a), (&bob, b));
    bench.meet(3, (&bob, b), (&carol, c));
    bench.chatting(b, c, "carol");
    assert_eq!(bench.seen(a)[1], ("bob".to_owned(), Presence::Busy(Vec::new())));
    assert_eq!(bench.seen(b)[2], ("carol".to_owned(), Presence::Busy(vec!["bob".to_owned()])));
    bench.meet(5, (&alice, a), (&carol, c));
    assert_eq!(bench.seen(a)[1], ("bob".to_owned(), Presence::Busy(vec!["carol".to_owned()])));
    // The operator sees all.
    assert_eq!(bench.core.roster().busy["bob"], ["carol"]);
}

#[test]
fn an_invitation_tells_nothing_of_a_stranger_whatever_they_do() {
    let mut bench = closed();
    let (alice, a) = bench.online("alice", 1);
    let (bob, b) = bench.online("bob", 2);
    let (carol, c) = bench.online("carol", 3);
    let refused = |bench: &mut Bench| {
        let reply = bench.refused(a, invite(&["bob"]));
        assert_eq!(reply.code, ErrorCode::NOT_ACCEPTED);
        assert_eq!(bench.pushes(b), []);
        reply.message
    };
    let there = refused(&mut bench);
    assert!(there.contains("write to bob first"), "{there}");
    bench.meet(1, (&bob, b), (&carol, c));
    let chat = bench.inviting(b, &["carol"]);
    assert_eq!(refused(&mut bench), there, "in an invitation");
    bench.ask(b, ClientFrame::Cancel(sotto_proto::frame::InChat { chat }));
    bench.chatting(b, c, "carol");
    assert_eq!(refused(&mut bench), there, "in a chat");
    bench.ask(b, ClientFrame::Block(Block { account: alice.account, blocked: true }));
    assert_eq!(refused(&mut bench), there, "who blocks");
    bench.ask(b, ClientFrame::Block(Block { account: alice.account, blocked: false }));
    bench.input(Input::Disconnected { connection: b });
    assert_eq!(refused(&mut bench), there, "away");
    // By the exact name one finds them, and writes.
    let lookup = LookupLists { names: vec!["bob".to_owned()], accounts: Vec::new() };
    let ServerFrame::Lists(lists) = bench.ask(a, ClientFrame::LookupLists(lookup)) else { panic!() };
    assert!(lists.lists[0].is_some());
    let (b, _) = bench.sign_in(&bob, 0);
    bench.meet(5, (&alice, a), (&bob, b));
    bench.inviting(a, &["bob"]);
}

#[test]
fn what_is_never_stored_does_not_tell_a_stranger_who_is_there() {
    let mut bench = closed();
    let (alice, a) = bench.online("alice", 1);
    let (bob, _) = bench.online("bob", 2);
    let (b, _) = bench.attach(&bob, 0, 0);
    let typing = |bench: &mut Bench, id| {
        let mut submit = alice.submit(id, &[(&bob, 0)]);
        submit.envelopes[0].transient = true;
        outcomes(&bench.submitted(a, submit))[0]
    };
    assert_eq!(typing(&mut bench, 1), Outcome::Dropped);
    assert!(bench.deliveries(b).is_empty());
    bench.meet(2, (&alice, a), (&bob, b));
    bench.deliveries(b);
    assert_eq!(typing(&mut bench, 4), Outcome::Passed);
    assert_eq!(bench.deliveries(b).len(), 1);
}

#[test]
fn a_block_parts_two_people_until_both_write_again() {
    let mut bench = closed();
    let (alice, a) = bench.online("alice", 1);
    let (bob, b) = bench.online("bob", 2);
    bench.meet(1, (&alice, a), (&bob, b));
    bench.ask(b, ClientFrame::Block(Block { account: alice.account, blocked: true }));
    assert_eq!(bench.names_seen(a), ["alice"]);
    assert_eq!(bench.names_seen(b), ["bob"]);
    bench.ask(b, ClientFrame::Block(Block { account: alice.account, blocked: false }));
    assert_eq!(bench.names_seen(a), ["alice"]);
    bench.meet(3, (&alice, a), (&bob, b));
    assert_eq!(bench.names_seen(a), ["alice", "bob"]);
}

#[test]
fn an_account_that_is_no_more_is_seen_by_nobody() {
    let mut bench = closed();
    let (alice, a) = bench.online("alice", 1);
    let (bob, b) = bench.online("bob", 2);
    bench.meet(1, (&alice, a), (&bob, b));
    assert_eq!(bench.order(Order::Delete(bob.name.clone())), Ok(()));
    assert_eq!(bench.names_seen(a), ["alice"]);
}

#[test]
fn the_directory_closes_and_opens_with_the_configuration() {
    let mut bench = Bench::with(CONFIG, StoreConfig::default());
    let (alice, a) = bench.online("alice", 1);
    let (bob, b) = bench.online("bob", 2);
    bench.meet(1, (&alice, a), (&bob, b));
    assert_eq!(bench.names_seen(a), ["alice", "bob"]);
    bench.input(Input::Reload(CLOSED));
    assert_eq!(bench.names_seen(a), ["alice"], "an open server does not note who writes to whom");
    bench.meet(3, (&alice, a), (&bob, b));
    bench.input(Input::Reload(CLOSED));
    assert_eq!(bench.names_seen(a), ["alice", "bob"], "another reload forgets nothing");
    bench.input(Input::Reload(CONFIG));
    bench.online("carol", 3);
    assert_eq!(bench.names_seen(a), ["alice", "bob", "carol"]);
    bench.input(Input::Reload(CLOSED));
    assert_eq!(bench.names_seen(a), ["alice"]);
}

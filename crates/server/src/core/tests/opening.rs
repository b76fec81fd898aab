//! Opening a connection, hostile frames, the operator's limits.

use super::*;

#[test]
fn the_chain_is_the_first_frame_and_hello_the_first_request() {
    let mut bench = Bench::new();
    let id = bench.connect();
    assert_eq!(bench.pushes(id), [ServerFrame::Chain(chain())]);
    let alice = User::new("alice", 1);
    assert_eq!(bench.refused(id, alice.register()).code, ErrorCode::OUT_OF_ORDER);
    assert_eq!(bench.ask(id, ClientFrame::Ping), ServerFrame::Pong);
    let hello = Hello { versions: VersionRange { min: 0, max: 9 }, software: "test".to_owned() };
    let ServerFrame::Welcome(welcome) = bench.ask(id, ClientFrame::Hello(hello.clone())) else { panic!() };
    assert_eq!((welcome.version, welcome.challenge, welcome.now_ms), (1, [1; 32], NOW));
    assert_eq!(bench.refused(id, ClientFrame::Hello(hello)).code, ErrorCode::OUT_OF_ORDER);
    assert!(bench.closed.is_empty());
}

#[test]
fn no_common_version_names_both_ranges_and_ends() {
    let mut bench = Bench::new();
    let id = bench.connect();
    let hello = Hello { versions: VersionRange { min: 7, max: 9 }, software: String::new() };
    let reply = bench.refused(id, ClientFrame::Hello(hello));
    assert_eq!(reply.code, ErrorCode::VERSION);
    assert!(reply.message.contains("1 to 1") && reply.message.contains("7 to 9"), "{}", reply.message);
    assert_eq!(bench.closed, [id]);
}

#[test]
fn an_unknown_kind_is_answered_and_malformed_bytes_end_only_their_connection() {
    let mut bench = Bench::new();
    let (id, other) = (bench.greet(), bench.greet());
    bench.input(Input::Unsupported { connection: id, request: 5, size: 0, kind: 0x0fff });
    let ServerFrame::Error(reply) = bench.answer(id, 5) else { panic!() };
    assert_eq!(reply.code, ErrorCode::UNSUPPORTED);
    assert!(bench.closed.is_empty());
    bench.input(Input::Malformed { connection: id, request: 0, problem: "too long".to_owned() });
    assert!(
        matches!(bench.pushes(id).last(), Some(ServerFrame::Error(reply)) if reply.code == ErrorCode::MALFORMED)
    );
    assert_eq!(bench.closed, [id]);
    assert_eq!(bench.ask(other, ClientFrame::Ping), ServerFrame::Pong);
}

#[test]
fn one_client_too_many_is_told_so_after_the_chain() {
    let config = CoreConfig { max_clients: 2, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let first = bench.greet();
    bench.greet();
    let id = bench.connect();
    let pushes = bench.pushes(id);
    assert_eq!(pushes[0], ServerFrame::Chain(chain()));
    assert!(matches!(&pushes[1], ServerFrame::Error(reply) if reply.code == ErrorCode::TOO_MANY_CLIENTS));
    assert_eq!(bench.closed, [id]);
    bench.input(Input::Disconnected { connection: first });
    bench.greet();
    bench.input(Input::Reload(CoreConfig { max_clients: 3, mailbox_envelopes: 1, ..config }));
    bench.greet();
    assert_eq!(bench.core.config.mailbox_envelopes, config.mailbox_envelopes, "as the store was opened");
}

#[test]
fn who_does_not_log_in_is_dropped_and_who_does_stays() {
    let mut bench = Bench::new();
    let idle = bench.greet();
    let (_, alice) = bench.online("alice", 1);
    assert!(bench.core.wake_at_ms() <= NOW + LOGIN_TIMEOUT_MS);
    bench.now_ms += LOGIN_TIMEOUT_MS;
    bench.input(Input::Tick);
    assert!(bench.closed.contains(&idle));
    assert!(!bench.closed.contains(&alice));
}

#[test]
fn a_stopping_server_says_so_and_lets_what_is_under_way_finish() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    bench.hold();
    bench.send(id, 9, ClientFrame::Submit(alice.submit(1, &[(&alice, 0)])));
    bench.input(Input::Stop);
    assert!(!bench.core.idle());
    assert_eq!(bench.pushes(id), [ServerFrame::Stopping]);
    bench.release();
    assert!(bench.core.idle());
    assert!(matches!(bench.answer(id, 9), ServerFrame::Submitted(_)));
}

#[test]
fn the_log_has_the_lines_that_operators_look_for() {
    let mut bench = Bench::new();
    let (_, id) = bench.online("alice", 1);
    bench.input(Input::Disconnected { connection: id });
    let has = |line: &str| bench.log.iter().any(|logged| logged == line);
    assert!(has("127.0.0.1:1002 connected"), "{:?}", bench.log);
    assert!(has("127.0.0.1:1002 connected [ alice ]"), "{:?}", bench.log);
    assert!(has("127.0.0.1:1002 is offline [ alice ]"), "{:?}", bench.log);
}

#[test]
fn every_request_gets_exactly_one_answer() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    bench.answers.clear();
    for request in 1..=40 {
        bench.send(id, request, ClientFrame::Submit(alice.submit(1, &[(&alice, 0)])));
        bench.send(id, request + 100, ClientFrame::Ping);
    }
    let mut answered: Vec<u32> = bench.answers.iter().map(|(_, request)| *request).collect();
    answered.sort_unstable();
    let expected: Vec<u32> = (1..=40).chain(101..=140).collect();
    assert_eq!(answered, expected);
}

#[test]
fn bye_waits_for_the_answers_of_what_was_started_before_it() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    bench.answers.clear();
    bench.closed.clear();
    bench.hold();
    for request in 1..=3 {
        let submit = alice.submit(u8::try_from(request).unwrap(), &[(&alice, 0)]);
        bench.send(id, request, ClientFrame::Submit(submit));
    }
    bench.send(id, 4, ClientFrame::Bye);
    // What comes after it never starts.
    bench.send(id, 5, ClientFrame::Submit(alice.submit(5, &[(&alice, 0)])));
    bench.send(id, 6, ClientFrame::Ping);
    bench.input(Input::Unsupported { connection: id, request: 7, size: 0, kind: 0x7777 });
    assert_eq!((bench.answers.as_slice(), bench.closed.as_slice()), (&[][..], &[][..]));
    assert_eq!(bench.held.as_ref().unwrap().len(), 3, "nothing else is asked of the store");
    bench.release();
    let answered: Vec<u32> = bench.answers.iter().map(|(_, request)| *request).collect();
    assert_eq!(answered, [1, 2, 3, 4]);
    assert_eq!(bench.answer(id, 4), ServerFrame::Done);
    assert_eq!(bench.closed, [id]);
    assert!(bench.core.idle() && bench.core.connections.is_empty());
}

#[test]
fn bye_behind_a_login_waits_for_it_and_ends_what_stands_behind_it() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    bench.answers.clear();
    let id = bench.greet();
    bench.hold();
    bench.send(id, 1, alice.device_login(0, true));
    bench.send(id, 2, ClientFrame::Submit(alice.submit(1, &[(&alice, 0)])));
    bench.send(id, 3, ClientFrame::Bye);
    bench.send(id, 4, ClientFrame::Ping);
    bench.release();
    assert!(matches!(bench.answer(id, 1), ServerFrame::DeviceIn(_)));
    assert!(matches!(bench.answer(id, 2), ServerFrame::Submitted(_)));
    assert_eq!(bench.answer(id, 3), ServerFrame::Done);
    assert!(!bench.answers.contains(&(id, 4)));
    assert_eq!(bench.closed.last(), Some(&id));
}

#[test]
fn who_leaves_is_delivered_nothing_more_and_a_broken_connection_ends_the_wait() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let (leaving, _) = bench.attach(&bob, 0, 0);
    bench.pushes(leaving);
    bench.hold();
    bench.send(leaving, 1, ClientFrame::Submit(bob.submit(1, &[(&alice, 0)])));
    bench.send(leaving, 2, ClientFrame::Bye);
    bench.release();
    bench.hold();
    bench.send(sender, 3, ClientFrame::Submit(alice.submit(2, &[(&bob, 0)])));
    bench.release();
    assert_eq!(bench.deliveries(leaving), []);
    let (again, _) = bench.attach(&bob, 0, 0);
    assert_eq!(bench.deliveries(again).len(), 1, "it waits for the next connection");
    bench.hold();
    bench.send(again, 4, ClientFrame::Submit(bob.submit(3, &[(&alice, 0)])));
    bench.send(again, 5, ClientFrame::Bye);
    bench.input(Input::Disconnected { connection: again });
    bench.release();
    assert!(bench.core.idle() && !bench.core.connections.contains_key(&again));
}

#[test]
fn bye_before_hello_and_alone_ends_at_once() {
    let mut bench = Bench::new();
    let id = bench.connect();
    assert_eq!(bench.ask(id, ClientFrame::Bye), ServerFrame::Done);
    assert_eq!(bench.closed, [id]);
}

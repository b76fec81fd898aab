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

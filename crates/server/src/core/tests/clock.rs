//! A clock that is set: back, and all is as if it had been right before; or far ahead for a while.

use sotto_proto::{
    frame::{FateState, InviteEnd, InviteEnded, PasswordLogin, QueryFates},
    limits::INVITE_TIMEOUT_MS,
};

use super::*;

/// The server's clock as it was before it was set back to [`NOW`]: right, or months ahead.
const BEFORE_MS: [u64; 2] = [NOW, NOW + 70 * DAY_MS];

fn bench_at(now_ms: u64) -> Bench {
    let mut bench = Bench::new();
    bench.now_ms = now_ms;
    bench.input(Input::Tick);
    bench
}

#[test]
fn who_does_not_log_in_is_dropped_in_time() {
    for before_ms in BEFORE_MS {
        let mut bench = bench_at(before_ms);
        let idle = bench.greet();
        bench.now_ms = NOW;
        let later = bench.greet();
        assert!(bench.core.wake_at_ms() <= NOW + LOGIN_TIMEOUT_MS);
        bench.now_ms += LOGIN_TIMEOUT_MS;
        bench.input(Input::Tick);
        assert_eq!(bench.closed, [idle, later]);
    }
}

#[test]
fn an_invitation_that_nobody_answers_ends_in_time() {
    for before_ms in BEFORE_MS {
        let mut bench = bench_at(before_ms);
        let (_, alice) = bench.online("alice", 1);
        bench.online("bob", 2);
        let chat = bench.inviting(alice, &["bob"]);
        bench.now_ms = NOW;
        bench.input(Input::Tick);
        assert_eq!(bench.pushes(alice), [], "not at once");
        bench.now_ms += INVITE_TIMEOUT_MS;
        bench.input(Input::Tick);
        let ended = InviteEnded { chat, why: InviteEnd::TimedOut };
        assert_eq!(bench.pushes(alice), [ServerFrame::InviteEnded(ended)]);
    }
}

#[test]
fn wrong_passwords_lock_nobody_out_for_longer() {
    for before_ms in BEFORE_MS {
        let mut bench = bench_at(before_ms);
        let alice = User::new("alice", 1);
        bench.register(&alice);
        let login =
            |auth_key| ClientFrame::PasswordLogin(PasswordLogin { username: "alice".to_owned(), auth_key });
        let id = bench.greet();
        for _ in 0..3 {
            bench.refused(id, login(AuthKey([9; 32])));
        }
        bench.now_ms = NOW;
        let limited = bench.refused(id, login(alice.auth_key()));
        assert_eq!((limited.code, limited.retry_after_ms), (ErrorCode::RATE_LIMITED, Some(1_000)));
        bench.now_ms += 1_000;
        assert!(matches!(bench.ask(id, login(alice.auth_key())), ServerFrame::AccountIn(_)));
    }
}

/// Alice's session, and the tag of what she wrote to bob, who is away.
fn with_message(bench: &mut Bench) -> (User, ConnectionId, FateTag) {
    let (alice, id) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let submit = alice.submit(1, &[(&bob, 0)]);
    let tag = submit.envelopes[0].fate_tag;
    bench.submitted(id, submit);
    (alice, id, tag)
}

fn fate(bench: &mut Bench, id: ConnectionId, tag: FateTag) -> FateState {
    let query = ClientFrame::QueryFates(QueryFates { tags: vec![tag] });
    let ServerFrame::Fates(fates) = bench.ask(id, query) else { panic!() };
    fates.states[0]
}

#[test]
fn what_nobody_fetches_expires_in_time() {
    for before_ms in BEFORE_MS {
        let mut bench = bench_at(before_ms);
        bench.now_ms = NOW;
        let (_, id, tag) = with_message(&mut bench);
        for (passed_ms, expected) in
            [(bench.core.config.retention_ms - 1, FateState::Waiting), (2 * 60_000, FateState::Expired)]
        {
            bench.pass(passed_ms);
            bench.input(Input::Tick);
            assert_eq!(fate(&mut bench, id, tag), expected);
        }
    }
}

/// Bob does not come: only in the end it expires.
fn expires_in_the_end(bench: &mut Bench, id: ConnectionId, tag: FateTag) {
    bench.now_ms = NOW + DAY_MS;
    bench.pass(2 * 60_000);
    assert_eq!(fate(bench, id, tag), FateState::Waiting, "the clock is right again");
    bench.pass(bench.core.config.retention_ms);
    assert_eq!(fate(bench, id, tag), FateState::Expired, "nothing is kept for ever");
}

#[test]
fn a_clock_that_goes_months_ahead_for_hours_removes_nothing_that_waits() {
    let mut bench = bench_at(NOW);
    let (_, id, tag) = with_message(&mut bench);
    bench.pass(60 * 60_000);
    assert!(!bench.log.iter().any(|line| line.contains("look whether the time is right")));
    bench.now_ms = BEFORE_MS[1];
    bench.input(Input::Tick);
    assert!(bench.log.iter().any(|line| line.contains("look whether the time is right")));
    // Also where it is corrected a little meanwhile.
    for hours in [11, 12] {
        bench.pass(hours * 60 * 60_000);
        bench.now_ms -= 2_000;
        bench.input(Input::Tick);
    }
    bench.pass(5 * 60_000);
    assert_eq!(fate(&mut bench, id, tag), FateState::Waiting);
    expires_in_the_end(&mut bench, id, tag);
}

#[test]
fn a_clock_that_is_months_ahead_at_the_start_has_minutes_to_be_set_right() {
    let mut bench = bench_at(NOW);
    let (alice, _, tag) = with_message(&mut bench);
    bench.core = Core::new(CoreConfig::default(), &chain(), "hash of nobody".to_owned()).unwrap();
    bench.now_ms = BEFORE_MS[1];
    bench.input(Input::Tick);
    bench.pass(9 * 60_000);
    let (id, _) = bench.sign_in(&alice, 0);
    assert_eq!(fate(&mut bench, id, tag), FateState::Waiting);
    expires_in_the_end(&mut bench, id, tag);
}

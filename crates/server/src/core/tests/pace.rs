//! How much an account may ask.

use sotto_proto::frame::{ListUsers, LookupLists, QueryFates};

use super::*;

/// Parts that may be asked at once, and milliseconds until one more.
const BURST: u64 = 256;
const REFILL_MS: u64 = 10;

fn look_up(names: usize) -> ClientFrame {
    let names = vec!["asker".to_owned(); names];
    ClientFrame::LookupLists(LookupLists { names, accounts: Vec::new() })
}

fn answered(bench: &Bench, asker: ConnectionId) -> usize {
    bench.answers.iter().filter(|(to, request)| *to == asker && *request >= 100).count()
}

/// Asks until the burst is used up: an account and the connections of its two devices.
fn after_the_burst(bench: &mut Bench) -> (User, ConnectionId, ConnectionId) {
    let mut asker = User::new("asker", 1);
    asker.add_device(2);
    let id = bench.greet();
    assert_eq!(bench.ask(id, asker.register()), ServerFrame::Done);
    // The first sweep is over, so the next time to wake is that of who waits.
    bench.input(Input::Tick);
    let ((first, _), (second, _)) = (bench.sign_in(&asker, 0), bench.sign_in(&asker, 1));
    for request in 100..100 + u32::try_from(BURST / 8).unwrap() {
        bench.send(first, request, look_up(8));
    }
    assert_eq!(answered(bench, first), 32, "all of these are answered at once");
    (asker, first, second)
}

#[test]
fn an_account_may_ask_much_at_once_and_then_waits_for_its_answers() {
    let mut bench = Bench::new();
    let (_, first, second) = after_the_burst(&mut bench);
    let (_, other) = bench.online("other", 20);
    for request in 1_000..1_003 {
        bench.send(first, request, look_up(8));
    }
    bench.send(first, 1_003, ClientFrame::Ping);
    bench.send(second, 1_000, look_up(1));
    assert_eq!(
        (answered(&bench, first), answered(&bench, second)),
        (32, 0),
        "all devices of an account together"
    );
    assert!(matches!(bench.ask(other, look_up(8)), ServerFrame::Lists(_)), "others notice nothing");

    assert_eq!(bench.core.wake_at_ms(), NOW + 8 * REFILL_MS);
    bench.now_ms += 8 * REFILL_MS - 1;
    bench.input(Input::Tick);
    assert_eq!(answered(&bench, first), 32);
    bench.now_ms += 1;
    bench.input(Input::Tick);
    assert_eq!(answered(&bench, first), 33);
    // The second device's question came before the first one's next.
    bench.now_ms += REFILL_MS;
    bench.input(Input::Tick);
    assert_eq!((answered(&bench, first), answered(&bench, second)), (33, 1));
    bench.now_ms += 17 * REFILL_MS;
    bench.input(Input::Tick);
    assert_eq!(answered(&bench, first), 36, "each is answered once, in order");
    let requests = bench.answers.iter().filter(|(to, _)| *to == first).map(|(_, request)| *request);
    assert!(requests.collect::<Vec<_>>().ends_with(&[1_000, 1_001, 1_002, 1_003]));
}

#[test]
fn an_accounts_other_device_sends_and_acks_while_questions_have_to_wait() {
    let mut bench = Bench::new();
    let (asker, first, second) = after_the_burst(&mut bench);
    bench.send(first, 1_000, look_up(8));
    assert_eq!(answered(&bench, first), 32);
    let bob = User::new("bob", 31);
    bench.register(&bob);
    let (reader, incarnation) = bench.attach(&bob, 0, 0);
    for n in 1..=200 {
        let stored = [Outcome::Stored { connected: true }];
        assert_eq!(outcomes(&bench.submitted(second, asker.submit(n, &[(&bob, 0)]))), stored);
        let last = bench.deliveries(reader).last().unwrap().number;
        assert_eq!(bench.ack(reader, incarnation, last), ServerFrame::Done);
    }
    assert_eq!(answered(&bench, first), 32, "the questions still wait");
}

#[test]
fn what_costs_more_counts_for_more() {
    let fates = |count| ClientFrame::QueryFates(QueryFates { tags: vec![FateTag([1; 16]); count] });
    let users = |limit| ClientFrame::ListUsers(ListUsers { after: None, limit });
    let claim = |devices| {
        let devices = vec![DeviceId([7; 16]); devices];
        ClientFrame::ClaimBundles(ClaimBundles { account: AccountId([7; 16]), devices, one_time: false })
    };
    for (question, parts) in [
        (ClientFrame::Ping, 1),
        (claim(1), 1),
        (claim(8), 8),
        (look_up(1), 1),
        (look_up(8), 8),
        (fates(1), 1),
        (fates(64), 1),
        (fates(65), 2),
        (fates(1_000), 16),
        (users(64), 1),
        (users(500), 8),
        (users(60_000), 8),
    ] {
        let mut bench = Bench::new();
        let (_, first, _) = after_the_burst(&mut bench);
        bench.send(first, 1_000, question.clone());
        assert_eq!(answered(&bench, first), 32);
        assert_eq!(bench.core.wake_at_ms(), NOW + parts * REFILL_MS, "{question:?}");
    }
}

#[test]
fn a_long_answer_counts_by_its_length() {
    let mut bench = Bench::new();
    bench.register_large();
    let (_, asker) = bench.online("asker", 20);
    let names = vec!["large".to_owned(); 8];
    let question = ClientFrame::LookupLists(LookupLists { names, accounts: Vec::new() });
    let length = ServerFrame::encode(&bench.ask(asker, question.clone()), 1).unwrap().len() as u64;
    let parts = 8 + length / 8_192;
    assert!(parts > 8, "{length}");
    // The greatest number of them that the burst has room for, the first one among them; one more begins before it is empty.
    let at_once = usize::try_from(BURST / parts).unwrap();
    for request in 100..300 {
        bench.send(asker, request, question.clone());
    }
    assert!(
        (at_once - 1..=at_once).contains(&answered(&bench, asker)),
        "{} of {at_once}",
        answered(&bench, asker)
    );
}

#[test]
fn a_submit_with_old_lists_is_a_question() {
    let mut bench = Bench::new();
    let bob = User::new("bob", 31);
    bench.register(&bob);
    let (asker, first, _) = after_the_burst(&mut bench);
    let mut submit = asker.submit(1, &[(&bob, 0)]);
    submit.lists[1].hash = ListHash([9; 32]);
    bench.send(first, 1_000, ClientFrame::Submit(submit));
    assert_eq!(answered(&bench, first), 32);
    assert_eq!(bench.core.wake_at_ms(), NOW + REFILL_MS);
    bench.now_ms += REFILL_MS;
    bench.input(Input::Tick);
    assert!(matches!(bench.answer(first, 1_000), ServerFrame::StaleDevices(_)));
    let stored = [Outcome::Stored { connected: false }];
    assert_eq!(
        outcomes(&bench.submitted(first, asker.submit(2, &[(&bob, 0)]))),
        stored,
        "others do not wait"
    );
}

#[test]
fn nobody_waits_for_long_whoever_else_is_in_the_account() {
    let mut bench = Bench::new();
    let (asker, first, _) = after_the_burst(&mut bench);
    for request in 1_000..1_063 {
        bench.send(
            first,
            request,
            ClientFrame::QueryFates(QueryFates { tags: vec![FateTag([1; 16]); 1_000] }),
        );
        bench.now_ms += 1;
        bench.input(Input::Tick);
    }
    // Signing in is not asking; what a device asks then waits for two seconds at most.
    let (second, device_in) = bench.sign_in(&asker, 1);
    let attach = Attach { incarnation: device_in.mailbox.incarnation, after: QueueNumber(0) };
    bench.send(second, 1_000, ClientFrame::Attach(attach));
    assert_eq!(answered(&bench, second), 0);
    bench.now_ms += 2_000;
    bench.input(Input::Tick);
    assert_eq!(bench.answer(second, 1_000), ServerFrame::Done);
}

#[test]
fn who_has_only_the_password_or_the_account_key_makes_nobody_wait() {
    let mut bench = Bench::new();
    let (asker, first) = bench.online("asker", 1);
    let proven = bench.by_key(&asker);
    for request in 100..400 {
        bench.send(proven, request, look_up(8));
    }
    assert_eq!(answered(&bench, proven), 300, "refused, at once");
    bench.send(first, 100, look_up(8));
    assert_eq!(answered(&bench, first), 1);
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_wait() {
    let mut bench = Bench::new();
    let (_, first, _) = after_the_burst(&mut bench);
    bench.send(first, 1_000, look_up(8));
    assert_eq!(answered(&bench, first), 32);
    bench.now_ms -= 24 * 60 * 60 * 1000;
    bench.input(Input::Tick);
    assert_eq!(answered(&bench, first), 33);
    bench.send(first, 1_001, look_up(8));
    assert_eq!(answered(&bench, first), 34, "nor is anything owed any more");
}

#[test]
fn who_leaves_waits_for_nothing() {
    let mut bench = Bench::new();
    let (_, first, _) = after_the_burst(&mut bench);
    bench.send(first, 1_000, look_up(8));
    let before = bench.core.wake_at_ms();
    assert_eq!(before, NOW + 8 * REFILL_MS);
    bench.input(Input::Disconnected { connection: first });
    assert!(bench.core.wake_at_ms() > before);
}

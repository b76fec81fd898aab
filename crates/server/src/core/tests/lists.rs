//! Requests whose device list is being verified.

use sotto_proto::frame::{QuerySubmission, ResetAccount};

use super::*;

/// An account, proven on a connection, and its next list.
fn about_to_change(bench: &mut Bench) -> (User, User, ConnectionId) {
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let mut new = User::new("alice", 1);
    new.add_device(2);
    let proven = bench.by_key(&alice);
    (alice, new, proven)
}

/// The requests that have been answered.
fn answered(bench: &Bench, id: ConnectionId) -> Vec<u32> {
    let inbox = bench.inbox.get(&id).into_iter().flatten();
    let mut requests: Vec<u32> = inbox.map(|(request, _)| *request).filter(|request| *request > 0).collect();
    requests.sort_unstable();
    requests
}

#[test]
fn what_stands_behind_a_list_waits_and_what_others_ask_does_not() {
    let mut bench = Bench::new();
    let (mut alice, id) = bench.online("alice", 1);
    let (mut bob, other) = bench.online("bob", 2);
    bob.add_device(3);
    bench.pushes(id);
    bench.jobs = Some(Vec::new());
    bench.send(id, 1, ClientFrame::Submit(alice.handing_over(1, &bob, 0)));
    bench.send(id, 2, ClientFrame::Submit(alice.submit(2, &[(&bob, 0)])));
    bench.send(id, 3, ClientFrame::Ping);
    assert_eq!(bench.ask(other, ClientFrame::Ping), ServerFrame::Pong);
    assert_eq!(bench.jobs.as_ref().map(Vec::len), Some(1), "one at a time");
    assert_eq!(answered(&bench, id), [0_u32; 0]);
    bench.work_held();
    assert_eq!(answered(&bench, id), [1, 2, 3]);
    assert!(matches!(bench.answer(id, 1), ServerFrame::Submitted(_)));
    assert!(matches!(bench.answer(id, 2), ServerFrame::Submitted(_)));
    // The owner's own list likewise.
    let proven = bench.by_key(&alice);
    let old = User::new("alice", 1);
    alice.add_device(4);
    bench.send(proven, 1, replace(&old, &alice));
    bench.send(proven, 2, ClientFrame::Ping);
    assert_eq!(answered(&bench, proven), [0_u32; 0]);
    bench.work_held();
    assert_eq!(answered(&bench, proven), [1, 2]);
    assert_eq!(bench.answer(proven, 1), ServerFrame::Done);
}

/// A list that is put in its place while it is verified, and one of an account that was disabled meanwhile.
#[test]
fn what_changed_while_a_list_was_verified_counts() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let (mut with_second, mut with_third) = (User::new("alice", 1), User::new("alice", 1));
    with_second.add_device(2);
    with_third.add_device(3);
    let (first, second) = (bench.by_key(&alice), bench.by_key(&alice));
    bench.jobs = Some(Vec::new());
    bench.send(first, 1, replace(&alice, &with_second));
    bench.send(second, 1, replace(&alice, &with_third));
    bench.work_held();
    assert_eq!(bench.answer(first, 1), ServerFrame::Done);
    let ServerFrame::Error(reply) = bench.answer(second, 1) else { panic!() };
    assert_eq!(reply.code, ErrorCode::CONFLICT);
    assert_eq!(bench.record("alice").unwrap().list, with_second.list.as_bytes());
    let mut with_fourth = with_second;
    let old = User { list: with_fourth.list.clone(), ..User::new("alice", 1) };
    with_fourth.add_device(4);
    bench.send(first, 2, replace(&old, &with_fourth));
    bench.order(Order::Disable(alice.name.clone())).unwrap();
    bench.work_held();
    assert_eq!(bench.record("alice").unwrap().list, old.list.as_bytes(), "nobody was there any more");
}

/// Each names its list's problem, and changes nothing.
#[test]
fn a_list_that_does_not_hold_is_refused_wherever_it_comes() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let mut bob = User::new("bob", 2);
    bench.register(&bob);
    let old = User::new("bob", 2);
    bob.add_device(3);
    let forged = || {
        let mut bytes = bob.list.as_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    let proven = bench.by_key(&old);
    let mut handing = alice.handing_over(1, &bob, 0);
    handing.lists[1].list = Some(forged().into());
    let replacing = ReplaceList { expected: old.list.hash(), list: forged().into() };
    let mut register = User::new("carol", 4).registration(0, &[1; 32]);
    register.list = forged().into();
    register.username = "bob".to_owned();
    let stranger = bench.greet();
    for (connection, frame) in [
        (id, ClientFrame::Submit(handing)),
        (proven, ClientFrame::ReplaceList(replacing)),
        (proven, ClientFrame::ResetAccount(ResetAccount { list: forged().into() })),
        (stranger, ClientFrame::Register(register)),
    ] {
        let what = format!("{frame:?}");
        let refused = bench.refused(connection, frame);
        assert_eq!(refused.code, ErrorCode::BAD_KEYS, "{what}");
        assert!(refused.message.starts_with("the device list: "), "{}", refused.message);
        assert_eq!(bench.ask(connection, ClientFrame::Ping), ServerFrame::Pong, "its line goes on");
    }
    assert_eq!(bench.record("bob").unwrap().list, old.list.as_bytes());
    // The same with the list as it was signed.
    assert!(matches!(
        bench.ask(id, ClientFrame::Submit(alice.handing_over(2, &bob, 0))),
        ServerFrame::Submitted(_)
    ));
    assert_eq!(bench.record("bob").unwrap().list, bob.list.as_bytes());
}

#[test]
fn a_job_that_fails_is_answered_and_the_line_goes_on() {
    let mut bench = Bench::new();
    let (alice, new, proven) = about_to_change(&mut bench);
    bench.jobs = Some(Vec::new());
    bench.send(proven, 1, replace(&alice, &new));
    bench.send(proven, 2, ClientFrame::Ping);
    let (operation, _) = bench.jobs.take().unwrap().remove(0);
    bench.input(Input::Worked { operation, result: WorkResult::Failed("a job panicked".to_owned()) });
    let ServerFrame::Error(reply) = bench.answer(proven, 1) else { panic!() };
    assert_eq!(reply.code, ErrorCode::BUSY);
    assert_eq!(bench.answer(proven, 2), ServerFrame::Pong);
    assert_eq!(bench.ask(proven, replace(&alice, &new)), ServerFrame::Done, "and may come again");
}

/// And not again when it starts anew with its list verified.
#[test]
fn a_registration_is_counted_once() {
    let config = CoreConfig { register_burst: 2, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let id = bench.greet();
    for (n, name) in [(1, "alice"), (2, "bob")] {
        assert_eq!(bench.ask(id, User::new(name, n).register()), ServerFrame::Done);
    }
    assert_eq!(bench.refused(id, User::new("carol", 3).register()).code, ErrorCode::RATE_LIMITED);
}

/// Each list is verified on its own; one that another connection has put in its place meanwhile is no longer needed.
#[test]
fn of_several_lists_handed_over_each_is_verified_and_taken() {
    for meanwhile in [false, true] {
        let mut bench = Bench::new();
        let (alice, id) = bench.online("alice", 1);
        let (mut bob, mut carol) = (User::new("bob", 2), User::new("carol", 3));
        let others = [bob.name.clone(), carol.name.clone()];
        bench.register(&bob);
        bench.register(&carol);
        let (proven, old) = (bench.by_key(&carol), User::new("carol", 3));
        bob.add_device(4);
        carol.add_device(5);
        let mut submit = alice.submit(1, &[(&bob, 0), (&carol, 0)]);
        for (used, user) in submit.lists[1..].iter_mut().zip([&bob, &carol]) {
            used.list = Some(user.list.as_bytes().to_vec().into());
        }
        bench.jobs = Some(Vec::new());
        bench.send(id, 1, ClientFrame::Submit(submit));
        if meanwhile {
            let held = bench.jobs.replace(Vec::new()).unwrap();
            bench.send(proven, 1, replace(&old, &carol));
            bench.work_held();
            assert_eq!(bench.answer(proven, 1), ServerFrame::Done);
            bench.jobs = Some(held);
        }
        let mut jobs = 0;
        while bench.jobs.as_ref().is_some_and(|jobs| !jobs.is_empty()) {
            jobs += bench.jobs.as_ref().map_or(0, Vec::len);
            bench.work_held();
        }
        assert_eq!(jobs, 2, "carol's, which was verified for nothing if it came meanwhile, and bob's");
        assert!(matches!(bench.answer(id, 1), ServerFrame::Submitted(_)), "{meanwhile}");
        let lists = others.map(|name| bench.record(name.as_str()).unwrap().list);
        assert_eq!(lists, [bob.list.as_bytes(), carol.list.as_bytes()]);
    }
}

#[test]
fn who_leaves_while_a_list_is_verified_is_answered_first_and_who_is_gone_is_not() {
    for gone in [false, true] {
        let mut bench = Bench::new();
        let (alice, new, proven) = about_to_change(&mut bench);
        bench.jobs = Some(Vec::new());
        bench.send(proven, 1, replace(&alice, &new));
        bench.send(proven, 2, ClientFrame::Bye);
        if gone {
            bench.input(Input::Disconnected { connection: proven });
        }
        bench.work_held();
        let kept = bench.record("alice").unwrap().list;
        if gone {
            assert_eq!(answered(&bench, proven), [0_u32; 0]);
            assert_eq!(kept, alice.list.as_bytes());
        } else {
            assert_eq!(
                (bench.answer(proven, 1), bench.answer(proven, 2)),
                (ServerFrame::Done, ServerFrame::Done)
            );
            assert_eq!(kept, new.list.as_bytes());
        }
    }
}

/// A request before it, whose answer the line did not wait for, lets nothing go on.
#[test]
fn a_store_that_is_busy_for_one_request_lets_no_other_overtake() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let mut bob = User::new("bob", 2);
    bench.register(&bob);
    bob.add_device(3);
    bench.hold();
    let query = QuerySubmission { submission: SubmissionId([9; 16]) };
    bench.send(id, 1, ClientFrame::QuerySubmission(query));
    let (operation, _) = bench.held.take().unwrap().pop_front().unwrap();
    bench.jobs = Some(Vec::new());
    bench.send(id, 2, ClientFrame::Submit(alice.handing_over(1, &bob, 0)));
    bench.send(id, 3, ClientFrame::Ping);
    bench.input(Input::Stored { operation, result: Err(StoreError::Busy) });
    assert_eq!(answered(&bench, id), [1]);
    bench.work_held();
    assert_eq!(answered(&bench, id), [1, 2, 3]);
}

fn busy(bench: &mut Bench, id: ConnectionId, request: u32) {
    let ServerFrame::Error(reply) = bench.answer(id, request) else { panic!() };
    assert_eq!((reply.code, reply.retry_after_ms), (ErrorCode::BUSY, Some(1_000)));
}

/// Neither strangers nor one account keep the others from having theirs verified.
#[test]
fn what_waits_to_be_verified_is_bounded_for_strangers_and_for_each_account() {
    let mut bench = Bench::new();
    let (alice, bob) = (User::new("alice", 1), User::new("bob", 2));
    bench.register(&alice);
    bench.register(&bob);
    let mut new = User::new("alice", 1);
    new.add_device(5);
    let mine: Vec<_> = (0..=8).map(|_| bench.by_key(&alice)).collect();
    let bobs = bench.by_key(&bob);
    let strangers: Vec<_> = (0..=256).map(|_| bench.greet()).collect();
    bench.jobs = Some(Vec::new());
    for (connections, frame) in
        [(&strangers, User::new("carol", 3).register()), (&mine, replace(&alice, &new))]
    {
        for id in connections {
            bench.send(*id, 1, frame.clone());
        }
        let (last, others) = connections.split_last().unwrap();
        busy(&mut bench, *last, 1);
        assert!(others.iter().all(|id| answered(&bench, *id).is_empty()));
    }
    let mut bobs_new = User::new("bob", 2);
    bobs_new.add_device(6);
    bench.send(bobs, 1, replace(&bob, &bobs_new));
    bench.work_held();
    for id in [bobs, mine[0], mine[7]] {
        assert_eq!(bench.answer(id, 1), ServerFrame::Done);
    }
    assert!(bench.core.verifying.is_empty());
    assert_eq!(bench.record("alice").unwrap().list, new.list.as_bytes());
    // There is room again.
    let last = *mine.last().unwrap();
    bench.send(last, 2, replace(&new, &alice));
    bench.work_held();
    let answer = bench.answer(last, 2);
    let ServerFrame::Error(reply) = &answer else { panic!("{answer:?}") };
    assert_eq!(reply.code, ErrorCode::CONFLICT, "it was verified, and is older");
}

/// Many accounts with a few each.
#[test]
fn what_waits_to_be_verified_is_bounded_in_all() {
    let mut bench = Bench::new();
    let frame = |of: &User| {
        let mut list = of.list.as_bytes().to_vec();
        *list.last_mut().unwrap() ^= 1;
        ClientFrame::ReplaceList(ReplaceList { expected: of.list.hash(), list: list.into() })
    };
    // Letters none of which looks like another.
    let letters = "abcdefghkmpqrstuwxyz".chars().collect::<Vec<_>>();
    let mut connections = Vec::new();
    for n in 0..129 {
        let name = format!("u{}{}", letters[usize::from(n) / 20], letters[usize::from(n) % 20]);
        let user = User::new(&name, n);
        bench.register(&user);
        connections.extend((0..8).map(|_| (bench.by_key(&user), frame(&user))));
    }
    bench.jobs = Some(Vec::new());
    let mut refused = 0;
    for (id, frame) in connections {
        bench.send(id, 1, frame);
        refused += answered(&bench, id).len();
    }
    let waiting = bench.jobs.take().unwrap();
    assert_eq!(waiting.len(), 1_024);
    assert_eq!(refused, 129 * 8 - 1_024);
}

#[test]
fn a_list_longer_than_any_is_refused_and_not_verified() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let proven = bench.by_key(&alice);
    bench.jobs = Some(Vec::new());
    let list = vec![0; sotto_proto::limits::MAX_DEVICE_LIST + 1];
    let frame = ClientFrame::ReplaceList(ReplaceList { expected: alice.list.hash(), list: list.into() });
    assert_eq!(bench.refused(proven, frame).code, ErrorCode::BAD_KEYS);
    assert!(bench.jobs.take().is_some_and(|jobs| jobs.is_empty()));
}

//! Devices signing in, stale lists, lists handed over.

use sotto_proto::frame::Refusal;

use super::*;

#[test]
fn a_login_signature_is_bound_to_its_challenge_and_session() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let id = bench.greet();
    let forged = |challenge: [u8; 32], exporter: [u8; 32]| {
        let input = login::device_login(&chain().server_id(), &challenge, &exporter);
        let ClientFrame::DeviceLogin(login) = alice.device_login(0, true) else { panic!() };
        ClientFrame::DeviceLogin(DeviceLogin { signature: signature(&alice.devices[0].key, &input), ..login })
    };
    assert_eq!(bench.refused(id, forged([8; 32], [2; 32])).code, ErrorCode::BAD_CREDENTIALS);
    assert_eq!(bench.refused(id, forged([1; 32], [8; 32])).code, ErrorCode::BAD_CREDENTIALS);
    assert_eq!(bench.refused(id, User::new("eve", 9).device_login(0, true)).code, ErrorCode::UNKNOWN_USER);
    assert!(matches!(bench.ask(id, forged([1; 32], [2; 32])), ServerFrame::DeviceIn(_)));
    assert_eq!(bench.refused(id, forged([1; 32], [2; 32])).code, ErrorCode::OUT_OF_ORDER, "a second login");
}

#[test]
fn a_second_connection_of_a_device_takes_the_place_of_the_first() {
    let mut bench = Bench::new();
    let (alice, first) = bench.online("alice", 1);
    let (second, _) = bench.sign_in(&alice, 0);
    assert_eq!(bench.pushes(first), [ServerFrame::Replaced]);
    assert_eq!(bench.closed, [first]);
    bench.input(Input::Disconnected { connection: first });
    assert_eq!(bench.core.devices.get(&alice.devices[0].id), Some(&second));
    assert_eq!(bench.core.interactive.get(&alice.account), Some(&BTreeSet::from([second])));
}

#[test]
fn hello_login_and_attach_may_be_sent_in_one_go() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let (_, device_in) = bench.sign_in(&alice, 0);
    bench.hold();
    let id = bench.connect();
    bench.send(id, 1, ClientFrame::Hello(Hello { versions: VersionRange::OURS, software: String::new() }));
    bench.send(id, 2, alice.device_login(0, true));
    let attach = Attach { incarnation: device_in.mailbox.incarnation, after: QueueNumber(0) };
    bench.send(id, 3, ClientFrame::Attach(attach));
    bench.release();
    assert!(matches!(bench.answer(id, 2), ServerFrame::DeviceIn(_)));
    assert_eq!(bench.answer(id, 3), ServerFrame::Done);
}

#[test]
fn a_device_that_is_removed_while_it_signs_in_gets_no_session() {
    let mut bench = Bench::new();
    let (mut alice, first) = bench.online("alice", 1);
    alice.add_device(2);
    let mut both = alice.submit(1, &[(&alice, 1)]);
    both.lists[0].list = Some(alice.list.as_bytes().to_vec().into());
    bench.submitted(first, both);
    bench.hold();
    let second = bench.greet();
    bench.send(second, 1, alice.device_login(1, true));
    let (mailbox, call) = bench.held.as_mut().unwrap().pop_front().unwrap();
    bench.call(mailbox, call);
    let (prekeys, late) = bench.held.take().unwrap().pop_front().unwrap();
    alice.revoke(1);
    let mut removed = alice.submit(2, &[(&alice, 0)]);
    removed.lists[0].list = Some(alice.list.as_bytes().to_vec().into());
    bench.submitted(first, removed);
    bench.call(prekeys, late);
    let ServerFrame::Error(reply) = bench.answer(second, 1) else { panic!("signed in") };
    assert_eq!(reply.code, ErrorCode::UNKNOWN_DEVICE);
    assert_eq!(
        bench.refused(second, ClientFrame::Submit(alice.submit(3, &[]))).code,
        ErrorCode::LOGIN_NEEDED
    );
}

#[test]
fn a_stale_list_stores_nothing_and_brings_the_newest() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let mut bob = User::new("bob", 2);
    bench.register(&bob);
    let stale = alice.submit(1, &[(&bob, 0)]);
    bob.add_device(3);
    let handed = alice.handing_over(9, &bob, 1);
    assert_eq!(outcomes(&bench.submitted(id, handed)), [Outcome::Stored { connected: false }], "taken over");
    let ServerFrame::StaleDevices(answer) = bench.ask(id, ClientFrame::Submit(stale)) else { panic!() };
    assert_eq!(answer.lists, [bob.list.as_bytes().to_vec()]);
    assert!(answer.wanted.is_empty());
    let fresh = alice.submit(1, &[(&bob, 0), (&bob, 1)]);
    let stored = Outcome::Stored { connected: false };
    assert_eq!(outcomes(&bench.submitted(id, fresh)), [stored, stored], "the same id was not used up");
}

#[test]
fn a_list_the_server_lacks_is_asked_for_and_a_bad_one_refused() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let mut bob = User::new("bob", 2);
    bench.register(&bob);
    bob.add_device(3);
    let submit = alice.submit(1, &[(&bob, 1)]);
    let ServerFrame::StaleDevices(answer) = bench.ask(id, ClientFrame::Submit(submit.clone())) else {
        panic!()
    };
    assert_eq!((answer.lists.len(), answer.wanted), (0, vec![bob.account]));
    let mut forged = submit;
    let mut eve = User::new("bob", 7);
    eve.account = bob.account;
    forged.lists[1].list = Some(eve.list.as_bytes().to_vec().into());
    assert_eq!(bench.refused(id, ClientFrame::Submit(forged)).code, ErrorCode::BAD_KEYS);
}

#[test]
fn a_submission_that_was_stored_keeps_its_answer_though_lists_changed_since() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let mut bob = User::new("bob", 2);
    bench.register(&bob);
    let submit = alice.submit(1, &[(&bob, 0)]);
    let first = bench.submitted(id, submit.clone());
    let old = bob.devices[0].id;
    bob.add_device(3);
    bob.revoke(0);
    let handed = alice.handing_over(2, &bob, 1);
    bench.submitted(id, handed);
    assert_eq!(bench.submitted(id, submit.clone()), first, "stale lists");
    let mut fresh = submit;
    fresh.lists[1] = bob.used();
    assert_eq!(fresh.envelopes[0].device, old);
    assert_eq!(bench.submitted(id, fresh.clone()), first, "fresh lists, the device is gone");
    fresh.submission = SubmissionId([8; 16]);
    assert_eq!(outcomes(&bench.submitted(id, fresh)), [Outcome::UnknownDevice]);
}

#[test]
fn shapes_that_no_client_makes_are_refused() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let good = alice.submit(1, &[(&bob, 0)]);
    let without = |n: usize| {
        let mut submit = good.clone();
        submit.lists.remove(n);
        ClientFrame::Submit(submit)
    };
    assert_eq!(bench.refused(id, without(0)).code, ErrorCode::MALFORMED, "the sender's list");
    assert_eq!(bench.refused(id, without(1)).code, ErrorCode::MALFORMED, "the recipient's list");
    let mut twice = good.clone();
    twice.envelopes.push(twice.envelopes[0].clone());
    assert_eq!(
        bench.refused(id, ClientFrame::Submit(twice)).code,
        ErrorCode::MALFORMED,
        "one fate tag twice"
    );
    let mut nobody = good.clone();
    nobody.lists[1].account = AccountId([77; 16]);
    nobody.envelopes[0].account = AccountId([77; 16]);
    assert_eq!(outcomes(&bench.submitted(id, nobody)), [Outcome::UnknownDevice]);
    let mut large = good;
    large.envelopes[0].envelope = vec![0; sotto_proto::limits::MAX_ENVELOPE + 1].into();
    let large = Submit { submission: SubmissionId([5; 16]), ..large };
    assert_eq!(outcomes(&bench.submitted(id, large)), [Outcome::Refused(Refusal::TooLarge)]);
}

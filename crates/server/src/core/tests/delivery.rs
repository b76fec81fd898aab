//! Submit, Deliver, Ack, fates.

use sotto_proto::frame::{FateState, QueryFates, QuerySubmission};

use super::*;

fn numbers(deliveries: &[Deliver]) -> Vec<u64> {
    deliveries.iter().map(|deliver| deliver.number.0).collect()
}

fn bodies(deliveries: &[Deliver]) -> Vec<u8> {
    deliveries.iter().map(|deliver| deliver.envelope[0]).collect()
}

#[test]
fn what_waited_comes_in_order_then_drained_then_what_is_new() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    for n in 1..=20 {
        assert_eq!(
            outcomes(&bench.submitted(sender, alice.submit(n, &[(&bob, 0)]))),
            [Outcome::Stored { connected: false }]
        );
    }
    let (reader, incarnation) = bench.attach(&bob, 0, 0);
    let pushes = bench.pushes(reader);
    assert!(matches!(pushes.last(), Some(ServerFrame::Drained(drained)) if drained.through.0 > 0));
    bench.inbox.entry(reader).or_default().extend(pushes.into_iter().map(|frame| (0, frame)));
    let waited = bench.deliveries(reader);
    assert_eq!(bodies(&waited), (1..=20).collect::<Vec<u8>>());
    assert!(waited.windows(2).all(|pair| pair[0].number < pair[1].number));
    let live = bench.submitted(sender, alice.submit(21, &[(&bob, 0)]));
    assert_eq!(outcomes(&live), [Outcome::Stored { connected: true }]);
    let live = bench.pushes(reader);
    assert_eq!(live.len(), 1, "pushed once, and Drained is not said again: {live:?}");
    let ServerFrame::Deliver(deliver) = &live[0] else { panic!() };
    assert_eq!(bench.ack(reader, incarnation, deliver.number), ServerFrame::Done);
    assert!(matches!(&bench.pushes(sender)[..], [ServerFrame::Taken(taken)] if taken.tags.len() == 21));
    let (again, _) = bench.attach(&bob, 0, 0);
    assert!(bench.deliveries(again).is_empty(), "what was acked is gone");
}

#[test]
fn an_unacked_envelope_comes_again_and_a_cursor_ahead_of_the_server_counts_as_ack() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    for n in 1..=3 {
        bench.submitted(sender, alice.submit(n, &[(&bob, 0)]));
    }
    let (reader, _) = bench.attach(&bob, 0, 0);
    let first = bench.deliveries(reader);
    bench.input(Input::Disconnected { connection: reader });
    let (reader, _) = bench.attach(&bob, 0, 0);
    let second = bench.deliveries(reader);
    assert_eq!(numbers(&first), numbers(&second));
    let cursor = second[1].number.0;
    let (reader, _) = bench.attach(&bob, 0, cursor);
    assert_eq!(bodies(&bench.deliveries(reader)), [3]);
    assert!(matches!(&bench.pushes(sender)[..], [ServerFrame::Taken(taken)] if taken.tags.len() == 2));
}

#[test]
fn the_same_submission_again_stores_nothing_and_answers_the_same() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let submit = alice.submit(1, &[(&bob, 0)]);
    let first = bench.submitted(sender, submit.clone());
    let (reader, incarnation) = bench.attach(&bob, 0, 0);
    bench.now_ms += 5_000;
    assert_eq!(bench.submitted(sender, submit.clone()), first);
    let delivered = bench.deliveries(reader);
    assert_eq!(delivered.len(), 1);
    bench.ack(reader, incarnation, delivered[0].number);
    assert_eq!(bench.submitted(sender, submit.clone()), first);
    assert!(bench.deliveries(reader).is_empty());
    let query = QuerySubmission { submission: submit.submission };
    let ServerFrame::SubmissionState(state) = bench.ask(sender, ClientFrame::QuerySubmission(query)) else {
        panic!()
    };
    assert_eq!(state.submitted, Some(first));
    let query = QuerySubmission { submission: SubmissionId([9; 16]) };
    let ServerFrame::SubmissionState(state) = bench.ask(sender, ClientFrame::QuerySubmission(query)) else {
        panic!()
    };
    assert_eq!(state.submitted, None);
}

#[test]
fn many_messages_in_one_submit_keep_their_order_and_each_has_its_outcome() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let (reader, _) = bench.attach(&bob, 0, 0);
    bench.pushes(reader);
    let mut submit = alice.submit(1, &[]);
    submit.lists.push(bob.used());
    submit.envelopes = (0..200).map(|n| bob.envelope(0, 1, n, vec![n; 50])).collect();
    let submitted = bench.submitted(sender, submit.clone());
    assert_eq!(outcomes(&submitted), vec![Outcome::Stored { connected: true }; 200]);
    assert_eq!(bodies(&bench.deliveries(reader)), (0..200).collect::<Vec<u8>>());
    assert_eq!(bench.submitted(sender, submit), submitted);
    assert!(bench.deliveries(reader).is_empty());
}

#[test]
fn pipelined_submits_keep_their_order_though_their_accounts_had_to_be_looked_up() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let (bob, carol) = (User::new("bob", 2), User::new("carol", 3));
    bench.register(&bob);
    bench.register(&carol);
    bench.hold();
    // The first names an account the core has not seen yet, the others do not.
    bench.send(sender, 1, ClientFrame::Submit(alice.submit(1, &[(&bob, 0), (&carol, 0)])));
    for n in 2..=5 {
        bench.send(sender, u32::from(n), ClientFrame::Submit(alice.submit(n, &[(&bob, 0)])));
    }
    // Answers of reads may come in any order.
    let mut held = bench.held.take().unwrap();
    while let Some((operation, call)) = held.pop_back() {
        bench.call(operation, call);
    }
    let (reader, _) = bench.attach(&bob, 0, 0);
    assert_eq!(bodies(&bench.deliveries(reader)), [1, 2, 3, 4, 5]);
}

#[test]
fn acks_beyond_what_was_delivered_and_of_another_life_are_errors() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let ack = Ack { incarnation: Incarnation([0; 16]), through: QueueNumber(0) };
    assert_eq!(bench.refused(id, ClientFrame::Ack(ack)).code, ErrorCode::INCARNATION);
    let (id, incarnation) = bench.attach(&alice, 0, 0);
    bench.submitted(id, alice.submit(1, &[(&alice, 0)]));
    let number = bench.deliveries(id)[0].number;
    let beyond = QueueNumber(number.0 + 1);
    assert!(
        matches!(bench.ack(id, incarnation, beyond), ServerFrame::Error(reply) if reply.code == ErrorCode::OUT_OF_ORDER)
    );
    assert_eq!(bench.ack(id, incarnation, number), ServerFrame::Done);
    let attach = Attach { incarnation, after: number };
    assert_eq!(bench.refused(id, ClientFrame::Attach(attach)).code, ErrorCode::OUT_OF_ORDER);
}

#[test]
fn a_reader_that_is_ahead_of_an_old_copy_of_the_store_starts_from_the_front_and_misses_nothing() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    for n in 1..=3 {
        bench.submitted(sender, alice.submit(n, &[(&bob, 0)]));
    }
    // What it read last was given by a newer state of this store.
    let (reader, device_in) = bench.sign_in(&bob, 0);
    let before = device_in.mailbox.incarnation;
    let attach = Attach { incarnation: before, after: QueueNumber(5_000) };
    assert_eq!(bench.refused(reader, ClientFrame::Attach(attach)).code, ErrorCode::INCARNATION);
    assert_eq!(bench.closed, [reader]);
    assert!(
        bench.log.iter().any(|line| line.contains("[ bob ] ") && line.contains("old copy")),
        "{:?}",
        bench.log
    );
    let (reader, device_in) = bench.sign_in(&bob, 0);
    assert_ne!(device_in.mailbox.incarnation, before);
    assert_eq!(device_in.mailbox.acked, QueueNumber(0));
    let old = Attach { incarnation: before, after: QueueNumber(0) };
    assert_eq!(bench.refused(reader, ClientFrame::Attach(old)).code, ErrorCode::INCARNATION);
    let (reader, incarnation) = bench.attach(&bob, 0, 0);
    let waited = bench.deliveries(reader);
    assert_eq!(bodies(&waited), [1, 2, 3]);
    assert!(bench.pushes(sender).is_empty(), "nothing was taken until now");
    assert_eq!(bench.ack(reader, incarnation, waited[2].number), ServerFrame::Done);
    assert!(matches!(&bench.pushes(sender)[..], [ServerFrame::Taken(taken)] if taken.tags.len() == 3));
    let (_, again) = bench.sign_in(&bob, 0);
    assert_eq!(again.mailbox.incarnation, incarnation, "once is enough");
}

#[test]
fn a_slow_reader_is_served_from_its_mailbox_and_misses_nothing() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let (reader, _) = bench.attach(&bob, 0, 0);
    bench.pushes(reader);
    bench.writes = false;
    for n in 1..=60 {
        let mut submit = alice.submit(n, &[(&bob, 0)]);
        submit.envelopes[0].envelope = vec![n; 20_000].into();
        bench.submitted(sender, submit);
    }
    let mut got = Vec::new();
    let mut waves = 0;
    loop {
        let waiting = bench.deliveries(reader);
        if waiting.is_empty() {
            break;
        }
        let bytes: usize = waiting.iter().map(|deliver| deliver.envelope.len()).sum();
        assert!(bytes < 500_000, "{bytes} bytes wait for a peer that reads nothing");
        got.extend(bodies(&waiting));
        waves += 1;
        let unwritten = bench.core.connections[&reader].unwritten;
        bench.input(Input::Written { connection: reader, pushes: unwritten, answers: 0 });
    }
    assert_eq!(got, (1..=60).collect::<Vec<u8>>());
    assert!(waves > 2, "{waves}");
}

#[test]
fn what_arrives_while_the_mailbox_is_read_is_neither_lost_nor_doubled() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    bench.submitted(sender, alice.submit(1, &[(&bob, 0)]));
    let (id, device_in) = bench.sign_in(&bob, 0);
    bench.hold();
    let attach = Attach { incarnation: device_in.mailbox.incarnation, after: QueueNumber(0) };
    bench.send(id, 1, ClientFrame::Attach(attach));
    bench.send(sender, 2, ClientFrame::Submit(alice.submit(2, &[(&bob, 0)])));
    // The append is done before the read: the read brings both, the append's answer comes after it.
    let mut held = bench.held.take().unwrap();
    assert_eq!(held.len(), 2);
    let (append, read) = (held.pop_back().unwrap(), held.pop_front().unwrap());
    bench.call(append.0, append.1);
    bench.call(read.0, read.1);
    assert_eq!(bodies(&bench.deliveries(id)), [1, 2]);
    bench.submitted(sender, alice.submit(3, &[(&bob, 0)]));
    assert_eq!(bodies(&bench.deliveries(id)), [3]);
}

#[test]
fn transient_envelopes_are_passed_on_or_dropped_and_never_stored() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let transient = |n| {
        let mut submit = alice.submit(n, &[(&bob, 0)]);
        submit.envelopes[0].transient = true;
        submit
    };
    assert_eq!(outcomes(&bench.submitted(sender, transient(1))), [Outcome::Dropped]);
    let (reader, _) = bench.attach(&bob, 0, 0);
    assert!(bench.deliveries(reader).is_empty());
    assert_eq!(outcomes(&bench.submitted(sender, transient(2))), [Outcome::Passed]);
    assert_eq!(numbers(&bench.deliveries(reader)), [0]);
}

#[test]
fn fates_are_told_and_expiry_raises_what_is_lost() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let submit = alice.submit(1, &[(&bob, 0)]);
    let tag = submit.envelopes[0].fate_tag;
    bench.submitted(sender, submit);
    let fate = |bench: &mut Bench| {
        let query = QueryFates { tags: vec![tag, FateTag([99; 16])] };
        let ServerFrame::Fates(fates) = bench.ask(sender, ClientFrame::QueryFates(query)) else { panic!() };
        fates.states
    };
    assert_eq!(fate(&mut bench), [FateState::Waiting, FateState::Unknown]);
    bench.pass(sotto_proto::limits::RETENTION_MS + 1);
    for _ in 0..3 {
        bench.input(Input::Tick);
    }
    assert_eq!(fate(&mut bench), [FateState::Expired, FateState::Unknown]);
    assert_eq!(bench.core.waiting.count(&bob.devices[0].id, &alice.account), 0, "its sender's share is free");
    bench.submitted(sender, alice.submit(2, &[(&bob, 0)]));
    let (reader, _) = bench.attach(&bob, 0, 0);
    let deliveries = bench.deliveries(reader);
    assert_eq!(bodies(&deliveries), [2]);
    assert!(deliveries[0].lost_through.0 > 0 && deliveries[0].lost_through < deliveries[0].number);
}

//! Shares, full mailboxes, a full disk, a store that fails.

use sotto_proto::frame::Refusal;

use super::*;

#[test]
fn one_sender_takes_a_fifth_of_a_mailbox_and_acks_free_it() {
    let config = CoreConfig { mailbox_envelopes: 50, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    for n in 1..=10 {
        bench.submitted(sender, alice.submit(n, &[(&bob, 0)]));
    }
    let full = [Outcome::Refused(Refusal::SenderShare)];
    assert_eq!(outcomes(&bench.submitted(sender, alice.submit(11, &[(&bob, 0)]))), full);
    let stored = [Outcome::Stored { connected: false }];
    assert_eq!(outcomes(&bench.submitted(sender, alice.submit(1, &[(&bob, 0)]))), stored, "an old one again");
    let (carol, other) = bench.online("carol", 3);
    assert_eq!(
        outcomes(&bench.submitted(other, carol.submit(12, &[(&bob, 0)]))),
        stored,
        "others have theirs"
    );
    let (reader, incarnation) = bench.attach(&bob, 0, 0);
    let last = bench.deliveries(reader).last().unwrap().number;
    bench.ack(reader, incarnation, last);
    let stored = [Outcome::Stored { connected: true }];
    assert_eq!(outcomes(&bench.submitted(sender, alice.submit(13, &[(&bob, 0)]))), stored);
    assert_eq!(outcomes(&bench.submitted(sender, alice.submit(11, &[(&bob, 0)]))), full, "the same answer");
}

#[test]
fn nothing_overtakes_a_refused_message_of_the_same_submit() {
    let config = CoreConfig { mailbox_envelopes: 25, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let (alice, sender) = bench.online("alice", 1);
    let (bob, carol) = (User::new("bob", 2), User::new("carol", 3));
    bench.register(&bob);
    bench.register(&carol);
    let mut submit = alice.submit(1, &[(&carol, 0)]);
    submit.lists.push(bob.used());
    submit.envelopes.extend((1..9).map(|n| bob.envelope(0, 1, n, vec![n; 50])));
    let share = Outcome::Refused(Refusal::SenderShare);
    let stored = Outcome::Stored { connected: false };
    let expected = [stored, stored, stored, stored, stored, stored, share, share, share];
    assert_eq!(outcomes(&bench.submitted(sender, submit)), expected);
}

#[test]
fn a_full_mailbox_refuses_only_itself() {
    let store = StoreConfig { mailbox_envelopes: 3, mailbox_floor_places: 0, ..StoreConfig::default() };
    let mut bench = Bench::with(CoreConfig::default(), store);
    let (alice, sender) = bench.online("alice", 1);
    let (bob, carol) = (User::new("bob", 2), User::new("carol", 3));
    bench.register(&bob);
    bench.register(&carol);
    for n in 1..=3 {
        bench.submitted(sender, alice.submit(n, &[(&bob, 0)]));
    }
    let submitted = bench.submitted(sender, alice.submit(4, &[(&bob, 0), (&carol, 0)]));
    assert_eq!(
        outcomes(&submitted),
        [Outcome::Refused(Refusal::MailboxFull), Outcome::Stored { connected: false }]
    );
    assert_eq!(
        bench.core.waiting.count(&bob.devices[0].id, &alice.account),
        3,
        "the refused one is not counted"
    );
}

#[test]
fn a_full_disk_is_an_answer_and_no_end() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    bench.store.set_disk_full(true);
    let full = [Outcome::Refused(Refusal::DiskFull)];
    assert_eq!(outcomes(&bench.submitted(sender, alice.submit(1, &[(&bob, 0)]))), full);
    assert_eq!(bench.failed, None);
    let id = bench.greet();
    assert_eq!(bench.refused(id, User::new("dave", 4).register()).code, ErrorCode::DISK_FULL);
    bench.store.set_disk_full(false);
    let stored = [Outcome::Stored { connected: false }];
    assert_eq!(
        outcomes(&bench.submitted(sender, alice.submit(1, &[(&bob, 0)]))),
        stored,
        "the same id later"
    );
}

#[test]
fn when_the_store_fails_nobody_is_told_stored_and_the_server_ends() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    bench.hold();
    bench.send(sender, 5, ClientFrame::Submit(alice.submit(1, &[(&alice, 0)])));
    let (operation, _) = bench.held.take().unwrap().pop_front().unwrap();
    bench.input(Input::Stored { operation, result: Err(StoreError::Failed("I/O error".to_owned())) });
    assert!(matches!(bench.answer(sender, 5), ServerFrame::Error(reply) if reply.code == ErrorCode::STORE));
    assert!(bench.failed.as_ref().is_some_and(|what| what.contains("I/O error")), "{:?}", bench.failed);
}

#[test]
fn a_line_that_is_too_long_is_said_and_nobody_is_blamed_for_it() {
    let config = CoreConfig { hashing_line: 0, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let id = bench.greet();
    for _ in 0..20 {
        let reply = bench.refused(id, User::new("alice", 1).register());
        assert_eq!((reply.code, reply.retry_after_ms), (ErrorCode::BUSY, Some(1_000)));
    }
}

#[test]
fn a_connection_has_one_long_read_under_way_and_others_are_read_for_beside_it() {
    use sotto_proto::frame::{ListUsers, QueryFates};
    let mut bench = Bench::new();
    let (_, asker) = bench.online("asker", 1);
    let (_, other) = bench.online("other", 2);
    let (_, third) = bench.online("third", 3);
    let fates = ClientFrame::QueryFates(QueryFates { tags: vec![FateTag([1; 16]); 1000] });
    let users = ClientFrame::ListUsers(ListUsers { after: None, limit: 500 });
    assert!(matches!(bench.ask(asker, fates.clone()), ServerFrame::Fates(_)));
    assert!(matches!(bench.ask(asker, users.clone()), ServerFrame::Users(_)));

    // Long enough ago to count no more.
    bench.now_ms += 10_000;
    bench.hold();
    for request in 10..20 {
        bench.send(asker, 2 * request, fates.clone());
        bench.send(asker, 2 * request + 1, users.clone());
    }
    bench.send(other, 10, users);
    let held = |bench: &Bench| bench.held.as_ref().map_or(0, VecDeque::len);
    assert_eq!(held(&bench), 2, "one of each connection");
    assert_eq!(bench.ask(third, ClientFrame::Ping), ServerFrame::Pong);
    while bench.step() {
        assert!(held(&bench) <= 2);
    }
    let answered = bench.answers.iter().filter(|(to, request)| *to == asker && (20..40).contains(request));
    assert_eq!(answered.count(), 20, "each is answered once");
}

#[test]
fn who_asks_for_long_answers_and_reads_none_is_not_served_on() {
    let mut bench = Bench::new();
    bench.register_large();
    let (_, asker) = bench.online("asker", 20);
    let (_, other) = bench.online("other", 21);
    let question = ClientFrame::LookupLists(sotto_proto::frame::LookupLists {
        names: vec!["large".to_owned(); sotto_proto::limits::MAX_LISTS],
        accounts: Vec::new(),
    });
    let answer = ServerFrame::encode(&bench.ask(asker, question.clone()), 1).unwrap().len();
    assert!((4_096..64 * 1024).contains(&answer), "{answer}");
    let answered = |bench: &Bench| bench.answers.iter().filter(|(to, _)| *to == asker).count();
    let before = answered(&bench);

    bench.writes = false;
    for request in 100..150 {
        bench.send(asker, request, question.clone());
    }
    let first = answered(&bench) - before;
    assert_eq!(first, (256 * 1024usize).div_ceil(answer), "those that fill what may wait");
    assert_eq!(bench.ask(other, ClientFrame::Ping), ServerFrame::Pong, "others notice nothing");

    // Nor does what was asked that long ago hold it up.
    bench.now_ms += 10_000;
    bench.input(Input::Written { connection: asker, pushes: 0, answers: first * answer });
    let second = answered(&bench) - before - first;
    assert_eq!(second, first, "as many again once those were read");
    bench.writes = true;
    bench.now_ms += 10_000;
    bench.input(Input::Written { connection: asker, pushes: 0, answers: second * answer });
    assert_eq!(answered(&bench) - before, 50, "each is answered once");
}

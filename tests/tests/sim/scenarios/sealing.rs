//! What is sealed for whom, and how much of it leaves at once.

use sotto_client::core::WithKey;
use sotto_proto::{
    content::{MAX_TEXT, kind},
    frame::{ClientFrame, ErrorCode, ErrorReply, FrameDecoder, ServerFrame, Submit},
    limits::{DAY_MS, MAX_ENVELOPE, MAX_FRAME},
};

use crate::world::{Observed, PASSWORD, SeenEnvelope, World};

/// The Submits among what the server was sent after the first so many bytes.
fn submits_after(world: &World, before: usize) -> Vec<Submit> {
    let mut sent = FrameDecoder::new(MAX_FRAME);
    sent.push(&world.seen_by_server[before..]);
    let mut submits = Vec::new();
    while let Some(raw) = sent.next_frame().unwrap() {
        if let Some(ClientFrame::Submit(submit)) = ClientFrame::decode(raw.kind, &raw.payload).unwrap() {
            submits.push(submit);
        }
    }
    submits
}

#[test]
fn what_waited_leaves_in_pieces_that_a_slow_line_can_send_in_time() {
    let mut world = World::new(610);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.send(alice, "bob", "zero");
    for index in [alice, bob] {
        world.disconnect(index);
    }
    let long = "x".repeat(MAX_TEXT - 8);
    for number in 1..=12 {
        world.write(alice, "bob", &format!("{number:02} {long}"));
    }
    world.settle();
    let before = world.seen_by_server.len();
    world.connect(alice);
    world.settle();
    let submits = submits_after(&world, before);
    for submit in &submits {
        let bytes: usize = submit.envelopes.iter().map(|outgoing| outgoing.envelope.len()).sum();
        // A frame may take two minutes; a line of two kilobytes a second needs half of that.
        assert!(bytes <= 128 * 1024 + MAX_ENVELOPE, "{bytes} bytes at once");
    }
    assert!(submits.len() <= 6, "and not each message for itself: {}", submits.len());
    world.connect(bob);
    world.pass(10_000);
    let order: Vec<String> = world.screen(bob).iter().map(|line| line[7..9].to_owned()).collect();
    let numbers: Vec<String> = (1..=12).map(|number| format!("{number:02}")).collect();
    assert_eq!(order[1..], numbers);
}

#[test]
fn a_receipt_goes_to_the_device_that_it_is_for_and_nothing_goes_to_its_own_sender() {
    let mut world = World::new(611);
    world.observed = Some(Observed::default());
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let laptop = world.second_device(world.devices[alice].account, None);
    let tablet = world.second_device(world.devices[bob].account, None);
    for index in [alice, bob, laptop, tablet] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(bob, "alice", "hello");
    world.send(alice, "alice", "a note");
    world.pass(5_000);
    for index in [alice, laptop] {
        assert_eq!(world.said(index), ["bob: hello", "alice: a note"], "{index}");
    }
    let ids: Vec<_> = world.devices.iter().map(|device| device.id).collect();
    let seen: Vec<_> = world.observed.as_ref().unwrap().envelopes.values().collect();
    assert!(!seen.iter().any(|seen| seen.to == ids[seen.from]));
    for from in [alice, laptop] {
        let receipts = |to: usize| {
            let receipt = |seen: &&&SeenEnvelope| seen.from == from && seen.to == ids[to];
            seen.iter().filter(receipt).filter(|seen| seen.kind == kind::DELIVERED).count()
        };
        assert_eq!((receipts(bob), receipts(tablet)), (1, 0), "of {from}");
    }
}

#[test]
fn a_device_that_is_not_shown_its_own_new_list_hears_of_it_from_who_writes_to_it() {
    let mut world = World::new(612);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let account = world.devices[bob].account;
    let laptop = world.second_device(account, None);
    for index in [alice, bob, laptop] {
        world.connect(index);
    }
    world.pass(5_000);
    world.send(alice, "bob", "one");
    world.pass(5_000);
    world.tamper = Some(Box::new(move |index, frame| match frame {
        ServerFrame::ListChanged(_) if index == laptop => None,
        // Nor does it hear of it where it sends something itself.
        ServerFrame::StaleDevices(_) if index == laptop => {
            let message = "busy".to_owned();
            let retry_after_ms = Some(DAY_MS);
            Some(ServerFrame::Error(ErrorReply { code: ErrorCode::BUSY, message, retry_after_ms }))
        }
        frame => Some(frame),
    }));
    let added = |world: &mut World| {
        let screen = world.screen(laptop);
        screen.iter().filter(|line| line.contains("a device was added to your account")).count()
    };
    let before = added(&mut world);
    let stranger = world.waiting_device(account);
    world.with_key(bob, WithKey::Approve { code: stranger.code, key: PASSWORD }).unwrap();
    world.approved(account, &stranger).expect("it is in the list");
    world.pass(60_000);
    assert_eq!(added(&mut world), before, "the server says nothing");
    for text in ["two", "three"] {
        // The first one was sealed before alice heard of it herself.
        world.send(alice, "bob", text);
        world.pass(60_000);
    }
    assert_eq!(world.said(laptop), ["alice: one", "alice: two", "alice: three"]);
    assert_eq!(added(&mut world), before + 1);
}

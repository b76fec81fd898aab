//! Kinds, round trips, and what is refused.

use std::collections::BTreeSet;

use proptest::{
    prelude::{Strategy, any, prop_assert_eq, proptest},
    strategy::{Union, ValueTree},
    test_runner::TestRunner,
};
use sotto_proto::{
    codec::{self, CodecError},
    frame::{BODY_HEADER, ClientFrame, FIRST_DATA_KIND, FrameDecoder, ServerFrame},
    limits::MAX_FRAME,
};

use crate::{samples, strategies};

#[test]
fn no_kind_is_used_twice_and_each_stands_in_its_range() {
    let kinds: Vec<u16> = ClientFrame::KINDS.iter().chain(ServerFrame::KINDS).copied().collect();
    let distinct: BTreeSet<u16> = kinds.iter().copied().collect();
    assert_eq!(distinct.len(), kinds.len(), "a kind is used twice");
    for kind in ClientFrame::KINDS {
        let request = (0x0001..=0x00ff).contains(kind);
        assert!(request || *kind >= FIRST_DATA_KIND, "{kind:#06x} is neither a request nor a data frame");
    }
    for kind in ServerFrame::KINDS {
        let response_or_push = (0x0101..=0x02ff).contains(kind);
        assert!(response_or_push || *kind >= FIRST_DATA_KIND, "{kind:#06x} is not a server's");
    }
    let data: Vec<u16> = distinct.into_iter().filter(|kind| *kind >= FIRST_DATA_KIND).collect();
    assert_eq!(data, [0x1001, 0x1002], "Submit and Deliver are the data frames");
}

#[test]
fn samples_and_strategies_cover_every_frame() {
    let mut runner = TestRunner::deterministic();
    let client: BTreeSet<u16> = strategies::client()
        .into_iter()
        .map(|strategy| strategy.new_tree(&mut runner).unwrap().current().kind())
        .collect();
    let server: BTreeSet<u16> = strategies::server()
        .into_iter()
        .map(|strategy| strategy.new_tree(&mut runner).unwrap().current().kind())
        .collect();
    assert_eq!(client, ClientFrame::KINDS.iter().copied().collect());
    assert_eq!(server, ServerFrame::KINDS.iter().copied().collect());
    assert_eq!(client, samples::client_frames().iter().map(ClientFrame::kind).collect());
    assert_eq!(server, samples::server_frames().iter().map(ServerFrame::kind).collect());
}

proptest! {
    #[test]
    fn client_frames_come_back(frame in Union::new(strategies::client()), request in any::<u32>()) {
        let bytes = frame.encode(request).unwrap();
        let mut decoder = FrameDecoder::new(MAX_FRAME);
        decoder.push(&bytes);
        let raw = decoder.next_frame().unwrap().unwrap();
        prop_assert_eq!(raw.request, request);
        prop_assert_eq!(ClientFrame::decode(raw.kind, &raw.payload), Ok(Some(frame)));
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn server_frames_come_back(frame in Union::new(strategies::server()), request in any::<u32>()) {
        let bytes = frame.encode(request).unwrap();
        let mut decoder = FrameDecoder::new(MAX_FRAME);
        decoder.push(&bytes);
        let raw = decoder.next_frame().unwrap().unwrap();
        prop_assert_eq!(raw.request, request);
        prop_assert_eq!(ServerFrame::decode(raw.kind, &raw.payload), Ok(Some(frame)));
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn an_unknown_kind_is_no_error(kind in any::<u16>(), payload in proptest::collection::vec(any::<u8>(), 0..64)) {
        if !ClientFrame::KINDS.contains(&kind) {
            prop_assert_eq!(ClientFrame::decode(kind, &payload), Ok(None));
        }
        if !ServerFrame::KINDS.contains(&kind) {
            prop_assert_eq!(ServerFrame::decode(kind, &payload), Ok(None));
        }
    }
}

#[test]
fn neither_side_reads_the_frames_of_its_own_direction() {
    for frame in samples::client_frames() {
        let bytes = frame.encode(1).unwrap();
        assert_eq!(
            ServerFrame::decode(frame.kind(), &bytes[4 + BODY_HEADER..]),
            Ok(None),
            "{}",
            frame.name()
        );
    }
    for frame in samples::server_frames() {
        let bytes = frame.encode(1).unwrap();
        assert_eq!(
            ClientFrame::decode(frame.kind(), &bytes[4 + BODY_HEADER..]),
            Ok(None),
            "{}",
            frame.name()
        );
    }
}

#[test]
fn a_byte_too_many_or_too_few_is_an_error_in_every_frame() {
    for frame in samples::client_frames() {
        let bytes = frame.encode(1).unwrap();
        let payload = &bytes[4 + BODY_HEADER..];
        let longer = [payload, &[0]].concat();
        assert_eq!(ClientFrame::decode(frame.kind(), &longer), Err(CodecError::Trailing), "{}", frame.name());
        for cut in 0..payload.len() {
            let shorter = ClientFrame::decode(frame.kind(), &payload[..cut]);
            assert!(matches!(shorter, Err(CodecError::Malformed(_))), "{} cut to {cut}", frame.name());
        }
    }
    for frame in samples::server_frames() {
        let bytes = frame.encode(1).unwrap();
        let payload = &bytes[4 + BODY_HEADER..];
        let longer = [payload, &[0]].concat();
        assert_eq!(ServerFrame::decode(frame.kind(), &longer), Err(CodecError::Trailing), "{}", frame.name());
        for cut in 0..payload.len() {
            let shorter = ServerFrame::decode(frame.kind(), &payload[..cut]);
            assert!(matches!(shorter, Err(CodecError::Malformed(_))), "{} cut to {cut}", frame.name());
        }
    }
}

#[test]
fn what_no_peer_would_read_is_not_encoded() {
    use sotto_proto::frame::{AccountIn, Deliver};
    let envelope = |length| {
        ServerFrame::Deliver(Deliver {
            number: sotto_proto::QueueNumber(1),
            lost_through: sotto_proto::QueueNumber(0),
            stored_ms: 0,
            envelope: serde_bytes::ByteBuf::from(vec![0; length]),
        })
    };
    // Three u64, the length of the bytes as u64, and the bytes.
    let fits = MAX_FRAME - BODY_HEADER - 32;
    let bytes = envelope(fits).encode(1).unwrap();
    assert_eq!(bytes.len(), 4 + MAX_FRAME);
    let mut decoder = FrameDecoder::new(MAX_FRAME);
    decoder.push(&bytes);
    let raw = decoder.next_frame().unwrap().unwrap();
    assert_eq!(ServerFrame::decode(raw.kind, &raw.payload), Ok(Some(envelope(fits))));
    assert_eq!(envelope(fits + 1).encode(1), Err(CodecError::TooLarge));
    let list = serde_bytes::ByteBuf::from(vec![0; 2 * MAX_FRAME]);
    let frame = ServerFrame::AccountIn(AccountIn { account: sotto_proto::AccountId([0; 16]), list });
    assert_eq!(frame.encode(1), Err(CodecError::TooLarge));
    // The codec by itself: the length of the bytes as u64, and the bytes.
    let value = |length| codec::encode(&serde_bytes::ByteBuf::from(vec![0; length]));
    assert_eq!(value(MAX_FRAME - 8).map(|bytes| bytes.len()), Ok(MAX_FRAME));
    assert_eq!(value(MAX_FRAME - 7), Err(CodecError::TooLarge));
}

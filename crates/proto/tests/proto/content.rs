//! Content and bodies: round trips, limits, kinds of the future.

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_assert_eq, proptest},
    prop_oneof,
};
use sotto_proto::{
    AccountId, DeviceId, ListHash, MessageId,
    content::{Body, Content, ContentError, ListRef, MAX_TEXT, Place, kind},
    envelope::BodyHash,
    limits::{MAX_CONTENT, MAX_HASHES_PER_REQUEST},
    wire::WireError,
};

use crate::samples;

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        any::<[u8; 16]>().prop_map(|id| Place::Account(AccountId(id))),
        any::<[u8; 16]>().prop_map(Place::Room),
    ]
}

fn list_ref() -> impl Strategy<Value = ListRef> {
    any::<(u64, [u8; 32])>().prop_map(|(number, hash)| ListRef { number, hash: ListHash(hash) })
}

fn ids() -> impl Strategy<Value = Vec<MessageId>> {
    vec(any::<[u8; 16]>().prop_map(MessageId), 0..20)
}

fn hashes() -> impl Strategy<Value = Vec<BodyHash>> {
    vec(any::<[u8; 32]>().prop_map(BodyHash), 0..20)
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        ".*".prop_map(Body::Text),
        ids().prop_map(Body::Delivered),
        ids().prop_map(Body::Read),
        hashes().prop_map(Body::ResendRequest),
        hashes().prop_map(Body::Gone),
        hashes().prop_map(Body::NoMessage),
        (any::<[u8; 32]>(), any::<u16>(), vec(any::<u8>(), 0..200))
            .prop_map(|(failed, kind, body)| Body::Resent { failed: BodyHash(failed), kind, body }),
        (place(), any::<u16>(), vec(any::<u8>(), 0..200)).prop_map(|(place, kind, body)| Body::SyncSent {
            place,
            kind,
            body
        }),
        (any::<[u8; 16]>(), any::<bool>())
            .prop_map(|(account, blocked)| Body::SyncBlock { account: AccountId(account), blocked }),
        (any::<[u8; 16]>(), "\\PC{0,16}")
            .prop_map(|(device, name)| Body::SyncDeviceName { device: DeviceId(device), name }),
    ]
}

proptest! {
    #[test]
    fn content_comes_back(
        message in any::<[u8; 16]>(),
        clock_ms in any::<u64>(),
        place in place(),
        sender_list in list_ref(),
        recipient_list in list_ref(),
        kind in any::<u16>(),
        body in vec(any::<u8>(), 0..400),
    ) {
        let message = MessageId(message);
        let content = Content { message, clock_ms, place, sender_list, recipient_list, kind, body };
        let bytes = content.encode().unwrap();
        prop_assert_eq!(Content::decode(&bytes), Ok(content));
        let longer = [bytes.as_slice(), &[0]].concat();
        prop_assert_eq!(Content::decode(&longer), Err(WireError::Trailing.into()));
    }

    #[test]
    fn bodies_come_back(body in body()) {
        prop_assert_eq!(Body::decode(body.kind(), &body.encode()), Ok(Some(body)));
    }
}

#[test]
fn samples_hold_every_kind_and_each_comes_back() {
    let kinds = [
        kind::TEXT,
        kind::DELIVERED,
        kind::READ,
        kind::RESEND_REQUEST,
        kind::RESENT,
        kind::GONE,
        kind::NO_MESSAGE,
        kind::SYNC_SENT,
        kind::SYNC_BLOCK,
        kind::SYNC_DEVICE_NAME,
    ];
    for kind in kinds {
        assert!(samples::bodies().iter().any(|body| body.kind() == kind), "kind {kind}");
    }
    for body in samples::bodies() {
        let bytes = body.encode();
        assert_eq!(Body::decode(body.kind(), &bytes), Ok(Some(body.clone())));
        if body.kind() != kind::TEXT {
            assert_eq!(
                Body::decode(body.kind(), &[bytes.as_slice(), &[0]].concat()),
                Err(WireError::Trailing)
            );
        }
    }
}

#[test]
fn a_kind_of_the_future_is_kept_as_bytes() {
    for kind in [0, 2, 19, 22, 34, 43, u16::MAX] {
        assert_eq!(Body::decode(kind, b"whatever"), Ok(None), "kind {kind}");
        let content = Content { kind, ..samples::content() };
        assert_eq!(Content::decode(&content.encode().unwrap()), Ok(content));
    }
}

#[test]
fn malformed_content_says_what_is_wrong() {
    let good = samples::content().encode().unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Content::decode(&bytes)
    };
    assert_eq!(with(0, 2), Err(WireError::Version(2).into()));
    assert_eq!(with(25, 2), Err(WireError::Invalid("place").into()));
    assert_eq!(Content::decode(&good[..good.len() - 1]), Err(WireError::Short.into()));
    assert_eq!(Body::decode(kind::TEXT, &[0xff]), Err(WireError::Invalid("UTF-8")));
    assert_eq!(Body::decode(kind::SYNC_SENT, &[2; 60]), Err(WireError::Invalid("place")));
}

#[test]
fn counts_above_the_limit_are_refused() {
    let ids = |count| vec![MessageId([1; 16]); count];
    let hashes = |count| vec![BodyHash([1; 32]); count];
    let decode = |body: Body| Body::decode(body.kind(), &body.encode()).map(|body| body.is_some());
    for make in [Body::Delivered, Body::Read] {
        assert_eq!(decode(make(ids(MAX_HASHES_PER_REQUEST))), Ok(true));
        assert_eq!(decode(make(ids(MAX_HASHES_PER_REQUEST + 1))), Err(WireError::TooLong));
    }
    for make in [Body::ResendRequest, Body::Gone, Body::NoMessage] {
        assert_eq!(decode(make(hashes(MAX_HASHES_PER_REQUEST))), Ok(true));
        assert_eq!(decode(make(hashes(MAX_HASHES_PER_REQUEST + 1))), Err(WireError::TooLong));
        let content = Content { body: make(hashes(MAX_HASHES_PER_REQUEST)).encode(), ..samples::content() };
        assert!(content.encode().is_ok(), "a full request fits one content");
    }
}

#[test]
fn the_longest_text_fits_bare_synced_sent_again_and_both() {
    let text = Body::Text("x".repeat(MAX_TEXT));
    let synced = Body::SyncSent { place: Place::Room([1; 16]), kind: text.kind(), body: text.encode() };
    let resent = Body::Resent { failed: BodyHash([1; 32]), kind: text.kind(), body: text.encode() };
    let both = Body::Resent { failed: BodyHash([1; 32]), kind: synced.kind(), body: synced.encode() };
    for body in [text, synced, resent, both] {
        let content = Content { kind: body.kind(), body: body.encode(), ..samples::content() };
        let bytes = content.encode().unwrap();
        assert_eq!(Content::decode(&bytes), Ok(content));
    }
    let longest = MAX_CONTENT - (samples::content().encode().unwrap().len() - samples::content().body.len());
    let sized = |length| Content { body: vec![b'x'; length], ..samples::content() };
    let bytes = sized(longest).encode().unwrap();
    assert_eq!(bytes.len(), MAX_CONTENT);
    assert_eq!(Content::decode(&bytes), Ok(sized(longest)));
    // 128 bytes are left for what wraps a text that is synced or sent again.
    assert_eq!(MAX_TEXT, longest - 128);
    assert_eq!(MAX_TEXT, 32_512);
    assert_eq!(sized(longest + 1).encode(), Err(ContentError::TooLarge));
    assert_eq!(Content::decode(&vec![1; MAX_CONTENT + 1]), Err(ContentError::TooLarge));
}

//! Content and bodies.

use sotto_proto::{
    content::{Body, Content, kind},
    limits::MAX_CONTENT,
};

use crate::input::Input;

const KINDS: [u16; 10] = [
    kind::TEXT,
    kind::DELIVERED,
    kind::READ,
    kind::RESEND_REQUEST,
    kind::RESENT,
    kind::GONE,
    kind::SYNC_SENT,
    kind::SYNC_BLOCK,
    kind::SYNC_DEVICE_NAME,
    kind::NO_MESSAGE,
];
/// Bodies hold bodies; a receiver looks no deeper than the first, this a little further.
const DEPTH: usize = 4;

/// A whole content, or a body of a kind.
pub fn content(data: &[u8]) {
    let mut input = Input::new(data);
    let at = usize::from(input.u8());
    if let Some(kind) = KINDS.get(at) {
        body(*kind, input.rest(), DEPTH);
        return;
    }
    let bytes = input.rest();
    match Content::decode(bytes) {
        Ok(content) => {
            assert!(bytes.len() <= MAX_CONTENT);
            assert_eq!(content.encode().unwrap(), bytes, "a content has two spellings");
            body(content.kind, &content.body, DEPTH);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn body(kind: u16, bytes: &[u8], depth: usize) {
    let decoded = match Body::decode(kind, bytes) {
        Ok(Some(decoded)) => decoded,
        Ok(None) => return assert!(!KINDS.contains(&kind)),
        Err(_) => return assert!(KINDS.contains(&kind)),
    };
    assert_eq!(decoded.kind(), kind);
    assert_eq!(decoded.encode(), bytes, "a body has two spellings");
    if let (Body::Resent { kind, body: inner, .. } | Body::SyncSent { kind, body: inner, .. }, 1..) =
        (&decoded, depth)
    {
        body(*kind, inner, depth - 1);
    }
}

//! Frames out of a stream, and the values in them.

use sotto_proto::{
    frame::{BODY_HEADER, ClientFrame, FrameDecoder, FrameError, RawFrame, ServerFrame},
    limits::{MAX_FRAME, MAX_FRAME_BEFORE_LOGIN},
};

use crate::input::Input;

/// A stream cut anywhere, or the payload of one frame.
pub fn frames(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() {
        stream(&mut input);
    } else {
        payload(&mut input);
    }
}

fn stream(input: &mut Input<'_>) {
    let login_after = usize::from(input.u8() % 4);
    let step = 1 + usize::from(input.u8());
    let bytes = input.rest();
    let whole = taken(bytes, bytes.len().max(1), login_after);
    assert_eq!(taken(bytes, step, login_after), whole, "the cut changes what is read");
    assert_eq!(whole, expected(bytes, login_after));
    for frame in &whole.0 {
        values(frame);
    }
}

type Taken = (Vec<RawFrame>, Option<FrameError>);

/// What the decoder makes of a stream that arrives in steps; the login allows longer frames.
fn taken(bytes: &[u8], step: usize, login_after: usize) -> Taken {
    let limit = |frames: usize| if frames >= login_after { MAX_FRAME } else { MAX_FRAME_BEFORE_LOGIN };
    let mut decoder = FrameDecoder::new(limit(0));
    let mut frames = Vec::new();
    for piece in bytes.chunks(step) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    frames.push(frame);
                    decoder.set_limit(limit(frames.len()));
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(decoder.buffered() < 4 + limit(frames.len()), "more is kept than one frame");
    }
    (frames, None)
}

/// The same, read from the whole stream by the specification.
fn expected(mut bytes: &[u8], login_after: usize) -> Taken {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let limit = if frames.len() >= login_after { MAX_FRAME } else { MAX_FRAME_BEFORE_LOGIN };
        let length = u32::from_be_bytes(*length) as usize;
        if length > limit {
            return (frames, Some(FrameError::TooLong { length, limit }));
        }
        if length < BODY_HEADER {
            return (frames, Some(FrameError::TooShort(length)));
        }
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        frames.push(RawFrame {
            kind: u16::from_be_bytes([body[0], body[1]]),
            request: u32::from_be_bytes([body[2], body[3], body[4], body[5]]),
            payload: body[BODY_HEADER..].to_vec(),
        });
        bytes = rest;
    }
    (frames, None)
}

fn payload(input: &mut Input<'_>) {
    let kinds = [ClientFrame::KINDS, ServerFrame::KINDS].concat();
    let at = usize::from(input.u8());
    let kind = kinds.get(at).copied().unwrap_or(u16::from(input.u8()));
    values(&RawFrame { kind, request: u32::from(input.u8()), payload: input.rest().to_vec() });
}

/// What decodes is of a known kind and has one spelling.
fn values(raw: &RawFrame) {
    let length = u32::try_from(BODY_HEADER + raw.payload.len()).unwrap();
    let bytes =
        [&length.to_be_bytes()[..], &raw.kind.to_be_bytes(), &raw.request.to_be_bytes(), &raw.payload]
            .concat();
    match ClientFrame::decode(raw.kind, &raw.payload) {
        Ok(Some(frame)) => {
            assert_eq!(frame.kind(), raw.kind);
            assert_eq!(frame.encode(raw.request).unwrap(), bytes, "{}", frame.name());
        }
        Ok(None) => assert!(!ClientFrame::KINDS.contains(&raw.kind)),
        Err(_) => assert!(ClientFrame::KINDS.contains(&raw.kind)),
    }
    match ServerFrame::decode(raw.kind, &raw.payload) {
        Ok(Some(frame)) => {
            assert_eq!(frame.kind(), raw.kind);
            assert_eq!(frame.encode(raw.request).unwrap(), bytes, "{}", frame.name());
        }
        Ok(None) => assert!(!ServerFrame::KINDS.contains(&raw.kind)),
        Err(_) => assert!(ServerFrame::KINDS.contains(&raw.kind)),
    }
}

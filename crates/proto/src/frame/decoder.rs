//! Cuts a stream of bytes into frames, without IO.

use super::{BODY_HEADER, FrameError};

/// A frame whose payload has not been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// What the payload is.
    pub kind: u16,
    /// Pairs a response with its request; 0 in a push.
    pub request: u32,
    /// bincode.
    pub payload: Vec<u8>,
}

/// Bytes that were handed out, or room, that a buffer keeps beside what waits in it: a read, and the growth by it.
const KEPT: usize = 32 * 1024;

/// Which part of a long frame has to be there before room is made for all of it. Growing on by doubling would leave holes in
/// the heap as large as the frames; to make room for what is only announced would let a few bytes ask for a megabyte.
const SURELY: usize = 8;

/// Collects bytes until a frame is whole. A length above the limit is refused before anything is allocated for it, and
/// room is made only as bytes arrive, at most eight times as much.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// How much of `buffer` has been handed out; removed when more arrives, so that many small frames cost one move.
    taken: usize,
    limit: usize,
}

impl FrameDecoder {
    /// Starts with `limit` bytes as the longest body.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), taken: 0, limit }
    }

    /// Changes the longest body: it grows at login.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let whole = self.announced().map_or(0, |length| length.saturating_add(4 + KEPT));
        let there = self.buffer.len().saturating_add(bytes.len());
        if there > KEPT && there > whole / SURELY && self.buffer.capacity() < whole {
            self.buffer.reserve_exact(whole - self.buffer.len());
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The length of the body that comes next, if it is known and within the limit.
    fn announced(&self) -> Option<usize> {
        let (length, _) = self.buffer.get(self.taken..)?.split_first_chunk::<4>()?;
        usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= self.limit)
    }

    /// Bytes that wait for the rest of their frame, or to be taken out.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// Bytes that it holds for that, or may fill without asking for more.
    pub fn room(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next whole frame, if there is one. After an error the stream has no meaning any more: close it.
    pub fn next_frame(&mut self) -> Result<Option<RawFrame>, FrameError> {
        let waiting = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(FrameError::TooLong { length, limit: self.limit });
        }
        if length < BODY_HEADER {
            return Err(FrameError::TooShort(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let Some((kind, body)) = body.split_first_chunk::<2>() else { return Ok(None) };
        let Some((request, payload)) = body.split_first_chunk::<4>() else { return Ok(None) };
        let (kind, request) = (u16::from_be_bytes(*kind), u32::from_be_bytes(*request));
        if self.taken == 0 && length > KEPT {
            // The buffer itself goes on: a copy of a long frame would be there twice, and leave holes.
            let behind = self.buffer.split_off(4 + length);
            let mut payload = std::mem::replace(&mut self.buffer, behind);
            payload.drain(..4 + BODY_HEADER);
            return Ok(Some(RawFrame { kind, request, payload }));
        }
        let frame = RawFrame { kind, request, payload: payload.to_vec() };
        self.taken += 4 + length;
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
            // One large frame must not keep its buffer for the life of an idle connection.
            self.buffer.shrink_to(4096);
        } else if self.taken > KEPT {
            // Nor may it because a byte of the next one waits behind it.
            self.buffer.drain(..self.taken);
            self.taken = 0;
            self.buffer.shrink_to(KEPT);
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u16, request: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = super::super::begin(kind, request);
        bytes.extend_from_slice(payload);
        super::super::finish(bytes).unwrap_or_default()
    }

    #[test]
    fn frames_come_out_however_the_bytes_are_cut() -> Result<(), FrameError> {
        let mut stream = frame(1, 7, b"one");
        stream.extend(frame(2, 8, b""));
        stream.extend(frame(3, 9, &[5; 3000]));
        for step in [1, 2, 3, 7, 100, stream.len()] {
            let mut decoder = FrameDecoder::new(4096);
            let mut frames = Vec::new();
            for piece in stream.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame()? {
                    frames.push((frame.kind, frame.request, frame.payload.len()));
                }
            }
            assert_eq!(frames, [(1, 7, 3), (2, 8, 0), (3, 9, 3000)], "in steps of {step}");
            assert_eq!(decoder.buffered(), 0);
        }
        Ok(())
    }

    #[test]
    fn what_was_handed_out_is_not_kept_for_a_byte_that_waits_behind_it() -> Result<(), FrameError> {
        let whole = frame(1, 7, &vec![5; 1_000_000]);
        let mut decoder = FrameDecoder::new(1 << 20);
        for piece in whole.chunks(16 * 1024) {
            assert_eq!(decoder.next_frame()?, None);
            decoder.push(piece);
        }
        assert!(decoder.buffer.capacity() > whole.len(), "while it waits, it is kept");
        decoder.push(&[0]);
        assert!(decoder.next_frame()?.is_some());
        assert_eq!((decoder.next_frame()?, decoder.buffered()), (None, 1));
        assert!(decoder.buffer.capacity() <= KEPT, "{}", decoder.buffer.capacity());
        Ok(())
    }

    #[test]
    fn room_for_a_long_frame_is_made_once_and_only_when_much_of_it_is_there() {
        let whole = frame(1, 7, &vec![5; 1_000_000]);
        let mut decoder = FrameDecoder::new(1 << 20);
        let mut grown = 0;
        for piece in whole.chunks(16 * 1024) {
            let before = decoder.buffer.capacity();
            decoder.push(piece);
            let (capacity, there) = (decoder.buffer.capacity(), decoder.buffered());
            assert!(capacity <= SURELY * there + KEPT, "{capacity} for {there}");
            grown += usize::from(capacity > before && there > whole.len() / SURELY);
        }
        assert_eq!(grown, 1);
        // What comes right behind it fits as well.
        let before = decoder.buffer.capacity();
        decoder.push(&[0; 16 * 1024]);
        assert_eq!(decoder.buffer.capacity(), before);
        // What is refused gets no room.
        let mut decoder = FrameDecoder::new(100_000);
        for piece in frame(1, 7, &vec![5; 100_000]).chunks(20_000).take(3) {
            decoder.push(piece);
        }
        assert!(decoder.buffer.capacity() < 100_000);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_from_its_four_bytes() {
        let mut decoder = FrameDecoder::new(100);
        decoder.push(&100u32.to_be_bytes());
        assert_eq!(decoder.next_frame(), Ok(None));
        let mut decoder = FrameDecoder::new(100);
        decoder.push(&101u32.to_be_bytes());
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLong { length: 101, limit: 100 }));
        let mut decoder = FrameDecoder::new(100);
        decoder.push(&5u32.to_be_bytes());
        assert_eq!(decoder.next_frame(), Err(FrameError::TooShort(5)));
    }

    #[test]
    fn a_limit_that_grows_counts_for_the_next_frame() -> Result<(), FrameError> {
        let long = frame(1, 2, &[0; 100]);
        let mut decoder = FrameDecoder::new(BODY_HEADER + 99);
        decoder.push(&long);
        let limit = BODY_HEADER + 99;
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLong { length: limit + 1, limit }));
        decoder.set_limit(limit + 1);
        assert!(decoder.next_frame()?.is_some());
        Ok(())
    }

    #[test]
    fn what_was_taken_out_is_not_buffered_any_more() -> Result<(), FrameError> {
        let (first, second) = (frame(1, 2, b"first"), frame(1, 3, b"2nd"));
        let mut decoder = FrameDecoder::new(4096);
        decoder.push(&[first, second.clone()].concat());
        assert!(decoder.next_frame()?.is_some());
        assert_eq!(decoder.buffered(), second.len());
        Ok(())
    }
}

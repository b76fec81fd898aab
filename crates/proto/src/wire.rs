//! The encoding of everything that is signed, hashed or sealed: integers big-endian and of fixed width, byte strings
//! and UTF-8 strings prefixed by their length as `u32`, lists by their count as `u32`.

use thiserror::Error;

/// What can be wrong with encoded bytes; always the fault of whoever made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes end before the value does.
    #[error("the data ends too early")]
    Short,
    /// Bytes are left after the value.
    #[error("there is data after the end")]
    Trailing,
    /// A length or count above the limit for its place.
    #[error("a length is above its limit")]
    TooLong,
    /// A version this program does not know.
    #[error("unknown version {0}")]
    Version(u8),
    /// A value that its type does not allow.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

/// Builds an encoded value.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty value.
    pub fn new() -> Self {
        Self::default()
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Bytes of a length both sides know: no prefix.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A byte string: its length as `u32`, then the bytes. Nothing Sotto encodes comes near 4 GiB ([`crate::limits`]).
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// A UTF-8 string, encoded like a byte string.
    pub fn str(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// The count of a list; the items follow.
    pub fn count(&mut self, count: usize) -> &mut Self {
        // Saturating instead of wrapping: a reader then refuses the value as too long instead of misreading it.
        self.u32(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// The finished bytes.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// Reads an encoded value; every method fails instead of reading past the end.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next `length` bytes.
    pub fn raw(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A byte string of at most `limit` bytes.
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], WireError> {
        let length = self.count(limit)?;
        self.raw(length)
    }

    /// A UTF-8 string of at most `limit` bytes.
    pub fn str(&mut self, limit: usize) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(limit)?).map_err(|_| WireError::Invalid("UTF-8"))
    }

    /// A list's count of at most `limit`.
    pub fn count(&mut self, limit: usize) -> Result<usize, WireError> {
        let count = usize::try_from(self.u32()?).map_err(|_| WireError::TooLong)?;
        if count > limit { Err(WireError::TooLong) } else { Ok(count) }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Succeeds only at the end of the bytes.
    pub fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
    }
}

/// `label || part || part …`, each operand prefixed by its length as `u32`: the input of every signature and of every
/// hash over several values. The prefixes make two different lists of operands never encode alike.
pub fn labelled(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Writer::new();
    out.str(label);
    for part in parts {
        out.bytes(part);
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip_and_trailing_bytes_are_an_error() {
        let bytes = Writer::new().u8(1).u16(2).u32(3).u64(4).bytes(b"five").str("six").finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(4));
        assert_eq!(reader.bytes(4), Ok(&b"five"[..]));
        assert_eq!(Reader::new(reader.rest()).finish(), Err(WireError::Trailing));
        assert_eq!(reader.str(3), Ok("six"));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_length_above_its_limit_is_refused_before_anything_is_read() {
        let bytes = Writer::new().bytes(b"four").finish();
        assert_eq!(Reader::new(&bytes).bytes(4), Ok(&b"four"[..]));
        assert_eq!(Reader::new(&bytes).bytes(3), Err(WireError::TooLong));
        assert_eq!(Reader::new(&u32::MAX.to_be_bytes()).bytes(usize::MAX), Err(WireError::Short));
    }

    #[test]
    fn operands_cannot_be_shifted_between_each_other() {
        assert_ne!(labelled("l", &[b"ab", b"c"]), labelled("l", &[b"a", b"bc"]));
        assert_ne!(labelled("l", &[b"ab"]), labelled("la", &[b"b"]));
        assert_eq!(labelled("l", &[b"a"]), [0, 0, 0, 1, b'l', 0, 0, 0, 1, b'a']);
    }
}

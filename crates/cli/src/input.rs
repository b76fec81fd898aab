//! Stdin: a line for the password, the rest for the command. It is read without a buffer of the standard library's, which
//! would keep a copy of the password.

use std::io::{self, Read};

use sotto_client::api::ErrorKind;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::session::within;

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole line without its end.
    Text(Vec<u8>),
    /// More bytes than allowed without a line's end.
    TooLong,
    /// Nothing is left.
    End,
}

/// Reads lines of bounded length, and the rest.
#[derive(Debug)]
pub(crate) struct Input<R> {
    reader: R,
}

impl<R: Read> Input<R> {
    /// Takes what is left of a stream.
    pub(crate) fn new(reader: R) -> Self {
        Self { reader }
    }

    /// The first line, byte by byte, so that nothing behind it is taken. The buffer never moves, so no copy stays behind.
    pub(crate) fn secret_line(&mut self, max: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let mut line = Zeroizing::new(Vec::with_capacity(max + 2));
        let mut byte = Zeroizing::new([0_u8; 1]);
        let first = |byte: &[u8; 1]| byte.first().copied().unwrap_or_default();
        loop {
            match self.reader.read(&mut *byte) {
                Ok(0) if line.is_empty() => return Ok(None),
                Ok(0) => break,
                Ok(_) if first(&byte) == b'\n' => break,
                Ok(_) if line.len() > max => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the first line is too long"));
                }
                Ok(_) => line.push(first(&byte)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    }

    /// Everything that is left, as one text of at most `max` bytes, without one last line's end.
    pub(crate) fn text(self, max: usize) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        // Two more for a line's end that does not count, one more to see that it is too much.
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(3);
        self.reader
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::io("the input could not be read", &error))?;
        strip_line_end(&mut bytes);
        if bytes.len() > max {
            return Err(too_large(max));
        }
        utf8(bytes)
    }

    /// Turns it into lines of at most `max` bytes.
    pub(crate) fn lines(self, max: usize) -> Lines<io::BufReader<R>> {
        Lines { reader: io::BufReader::new(self.reader), max }
    }
}

/// Reads on a thread of its own, for a pipe may stay silent for long: until the time is up at most.
pub(crate) async fn read<T: Send + 'static>(
    until: Option<Instant>,
    awaited: &str,
    read: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    within(until, tokio::task::spawn_blocking(read))
        .await
        .map_err(|failure| failure.cause(format!("{awaited} was still awaited on stdin; nothing was done")))?
        .map_err(|error| Failure::new(ErrorKind::Bug, "the input's reader failed").cause(error))?
}

/// Bytes of a text that should be UTF-8.
pub(crate) fn utf8(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::new(ErrorKind::Invalid, "the input is not UTF-8 text"))
}

/// A text over the limit.
pub(crate) fn too_large(max: usize) -> Failure {
    Failure::new(ErrorKind::Invalid, format!("the text is larger than {max} bytes; nothing of it was sent"))
}

fn strip_line_end(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
}

/// Lines of bounded length.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    max: usize,
}

impl<R: io::BufRead> Lines<R> {
    /// The next one. After [`Line::TooLong`] nothing more should be read.
    pub(crate) fn next_line(&mut self) -> io::Result<Line> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(self.max).unwrap_or(u64::MAX).saturating_add(3);
        io::BufRead::read_until(&mut io::Read::take(&mut self.reader, limit), b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(Line::End);
        }
        strip_line_end(&mut bytes);
        Ok(if bytes.len() > self.max { Line::TooLong } else { Line::Text(bytes) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_password_is_the_first_line_and_the_rest_is_left() {
        let mut input = Input::new(&b"secret\r\nline 1\nline 2\n"[..]);
        assert_eq!(input.secret_line(100).unwrap().unwrap().as_slice(), b"secret");
        assert_eq!(input.text(100).unwrap(), "line 1\nline 2");
    }

    #[test]
    fn a_password_without_a_line_end_counts_and_none_is_none() {
        assert_eq!(Input::new(&b"secret"[..]).secret_line(100).unwrap().unwrap().as_slice(), b"secret");
        assert!(Input::new(&b""[..]).secret_line(100).unwrap().is_none());
        assert!(Input::new(&b"\nrest"[..]).secret_line(100).unwrap().unwrap().is_empty());
        assert!(Input::new(&[b'x'; 200][..]).secret_line(100).is_err());
    }

    #[test]
    fn a_text_may_fill_its_limit_and_no_more() {
        assert_eq!(Input::new(&b"12345\r\n"[..]).text(5).unwrap(), "12345");
        assert_eq!(Input::new(&b"123456"[..]).text(5).unwrap_err().code, 1);
        assert_eq!(Input::new(&b"1\n\n"[..]).text(5).unwrap(), "1\n");
        assert_eq!(Input::new(&b"\xff"[..]).text(5).unwrap_err().code, 1);
    }

    #[test]
    fn lines_are_read_one_by_one_with_a_bound() {
        let mut lines = Input::new(&b"a\r\n\n12345\n123456\nx"[..]).lines(5);
        assert_eq!(lines.next_line().unwrap(), Line::Text(b"a".to_vec()));
        assert_eq!(lines.next_line().unwrap(), Line::Text(Vec::new()));
        assert_eq!(lines.next_line().unwrap(), Line::Text(b"12345".to_vec()));
        assert_eq!(lines.next_line().unwrap(), Line::TooLong);
    }

    #[test]
    fn the_last_line_needs_no_end() {
        let mut lines = Input::new(&b"x"[..]).lines(5);
        assert_eq!(lines.next_line().unwrap(), Line::Text(b"x".to_vec()));
        assert_eq!(lines.next_line().unwrap(), Line::End);
    }
}

//! Keys out of the bytes that a terminal sends.

use sotto_proto::content::MAX_TEXT;

/// What was pressed, or pasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    /// A bracketed paste, with its line breaks.
    Paste(String),
    /// A paste that is longer than any message; nothing of it is kept.
    PasteTooLong,
    Enter,
    /// A line break inside of the line.
    Newline,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    KillToEnd,
    KillToStart,
    KillWord,
    Yank,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    EndOfInput,
    /// Ctrl-Z.
    Suspend,
    /// Ctrl-L.
    Clear,
}

/// Longest escape sequence that is looked at; real ones have a dozen bytes at most.
const MAX_SEQUENCE: usize = 32;
/// What ends a bracketed paste.
const PASTE_END: &[u8] = b"\x1b[201~";

#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After ESC [ or ESC O.
    Sequence(Vec<u8>),
    Paste {
        text: Vec<u8>,
        too_long: bool,
    },
    /// In the middle of a character.
    Utf8 {
        bytes: Vec<u8>,
        length: usize,
    },
}

/// Puts keys together from bytes, however they are cut.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    state: State,
}

impl Decoder {
    /// The keys that are complete with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        bytes.iter().filter_map(|byte| self.byte(*byte)).collect()
    }

    fn byte(&mut self, byte: u8) -> Option<Key> {
        match std::mem::take(&mut self.state) {
            State::Ground => self.ground(byte),
            State::Escape => self.escape(byte),
            State::Sequence(mut bytes) => {
                // Parameters, then one final byte.
                if (0x40..=0x7e).contains(&byte) {
                    return self.sequence(&bytes, byte);
                }
                if bytes.len() < MAX_SEQUENCE && (0x20..0x40).contains(&byte) {
                    bytes.push(byte);
                    self.state = State::Sequence(bytes);
                }
                None
            }
            State::Paste { mut text, mut too_long } => {
                text.push(byte);
                if text.ends_with(PASTE_END) {
                    text.truncate(text.len() - PASTE_END.len());
                    return Some(if too_long { Key::PasteTooLong } else { Key::Paste(pasted(&text)) });
                }
                if text.len() > MAX_TEXT + PASTE_END.len() {
                    // The end mark still has to be found.
                    too_long = true;
                    text.drain(..MAX_TEXT);
                }
                self.state = State::Paste { text, too_long };
                None
            }
            State::Utf8 { mut bytes, length } => {
                if byte & 0xc0 != 0x80 {
                    // Broken off: what follows is a key of its own.
                    return self.ground(byte);
                }
                bytes.push(byte);
                if bytes.len() < length {
                    self.state = State::Utf8 { bytes, length };
                    return None;
                }
                std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next()).map(Key::Char)
            }
        }
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        Some(match byte {
            0x01 => Key::Home,
            0x02 => Key::Left,
            0x03 => Key::Interrupt,
            0x04 => Key::EndOfInput,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x08 | 0x7f => Key::Backspace,
            b'\t' => Key::Tab,
            b'\r' | b'\n' => Key::Enter,
            0x0b => Key::KillToEnd,
            0x0c => Key::Clear,
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::KillToStart,
            0x17 => Key::KillWord,
            0x19 => Key::Yank,
            0x1a => Key::Suspend,
            0x1b => {
                self.state = State::Escape;
                return None;
            }
            0x20..=0x7e => Key::Char(char::from(byte)),
            0xc2..=0xdf => return self.multibyte(byte, 2),
            0xe0..=0xef => return self.multibyte(byte, 3),
            0xf0..=0xf4 => return self.multibyte(byte, 4),
            _ => return None,
        })
    }

    fn multibyte(&mut self, first: u8, length: usize) -> Option<Key> {
        self.state = State::Utf8 { bytes: vec![first], length };
        None
    }

    fn escape(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'[' | b'O' => {
                self.state = State::Sequence(Vec::new());
                None
            }
            b'b' => Some(Key::WordLeft),
            b'f' => Some(Key::WordRight),
            b'\r' | b'\n' => Some(Key::Newline),
            0x7f | 0x08 => Some(Key::KillWord),
            // Escape itself means nothing; a key pressed after it does.
            other => self.ground(other),
        }
    }

    fn sequence(&mut self, parameters: &[u8], last: u8) -> Option<Key> {
        let modified = parameters.contains(&b';');
        Some(match (parameters, last) {
            (_, b'A') => Key::Up,
            (_, b'B') => Key::Down,
            (_, b'C') if modified => Key::WordRight,
            (_, b'D') if modified => Key::WordLeft,
            (_, b'C') => Key::Right,
            (_, b'D') => Key::Left,
            (_, b'H') | (b"1" | b"7", b'~') => Key::Home,
            (_, b'F') | (b"4" | b"8", b'~') => Key::End,
            (b"3", b'~') => Key::Delete,
            (b"200", b'~') => {
                self.state = State::Paste { text: Vec::new(), too_long: false };
                return None;
            }
            _ => return None,
        })
    }
}

/// Terminals paste line breaks as carriage returns.
fn pasted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    text.trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Decoder::default().feed(bytes)
    }

    #[test]
    fn letters_of_any_length_and_control_keys() {
        assert_eq!(
            keys("aé漢😀\r".as_bytes()),
            [Key::Char('a'), Key::Char('é'), Key::Char('漢'), Key::Char('😀'), Key::Enter]
        );
        assert_eq!(keys(b"\x03\x04\x7f\t"), [Key::Interrupt, Key::EndOfInput, Key::Backspace, Key::Tab]);
    }

    #[test]
    fn arrows_and_their_kin_in_all_spellings() {
        assert_eq!(
            keys(b"\x1b[A\x1bOA\x1b[D\x1b[1;5D\x1bb"),
            [Key::Up, Key::Up, Key::Left, Key::WordLeft, Key::WordLeft]
        );
        assert_eq!(
            keys(b"\x1b[H\x1b[1~\x1b[F\x1b[4~\x1b[3~"),
            [Key::Home, Key::Home, Key::End, Key::End, Key::Delete]
        );
        // Unknown ones are swallowed whole.
        assert_eq!(keys(b"\x1b[99;12ux"), [Key::Char('x')]);
    }

    #[test]
    fn a_paste_is_one_key_with_its_line_breaks() {
        assert_eq!(
            keys(b"\x1b[200~one\rtwo\r\n\x1b[Athree\n\x1b[201~x"),
            [Key::Paste("one\ntwo\n\u{1b}[Athree".into()), Key::Char('x')]
        );
    }

    #[test]
    fn a_paste_beyond_any_message_is_not_cut_but_refused() {
        let mut bytes = b"\x1b[200~".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', 3 * MAX_TEXT));
        bytes.extend(b"\x1b[201~y");
        assert_eq!(keys(&bytes), [Key::PasteTooLong, Key::Char('y')]);
    }

    proptest! {
        #[test]
        fn however_bytes_are_cut_the_keys_are_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let whole = keys(&bytes);
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            let mut decoder = Decoder::default();
            let mut parts = decoder.feed(left);
            parts.extend(decoder.feed(right));
            prop_assert_eq!(whole, parts);
        }
    }
}

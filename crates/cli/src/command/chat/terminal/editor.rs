//! The line that is being typed, and those that were.

use std::collections::VecDeque;

use sotto_proto::content::MAX_TEXT;
use unicode_segmentation::UnicodeSegmentation;

use super::keys::Key;

/// Lines remembered, in memory only.
const HISTORY: usize = 200;

/// What a key led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// Nothing is to be drawn.
    Nothing,
    /// A text was added at the end.
    Appended(String),
    /// The last character was taken away.
    Shortened(String),
    /// Anything else has changed.
    Changed,
    /// A whole line.
    Line(String),
    /// The key cannot do anything here.
    Refused,
    /// These could be meant.
    Choices(Vec<String>),
    /// Ctrl-C on an empty line.
    Interrupted,
    /// Ctrl-D on an empty line.
    EndOfInput,
    Suspend,
    Clear,
}

/// A line in the making.
#[derive(Debug, Default)]
pub(super) struct Editor {
    text: String,
    /// A byte offset between two characters as people see them.
    cursor: usize,
    history: VecDeque<String>,
    /// How far back in the history, and what was typed before going there.
    back: Option<(usize, String)>,
    killed: String,
    /// Words that can be completed: commands at the start of a line, names anywhere else.
    commands: Vec<&'static str>,
    names: Vec<String>,
    /// Without a cursor that can be moved, only the end of the line is edited.
    end_only: bool,
}

impl Editor {
    /// An empty line.
    pub(super) fn new(commands: Vec<&'static str>, end_only: bool) -> Self {
        Self { commands, end_only, ..Self::default() }
    }

    /// What can be completed.
    pub(super) fn set_names(&mut self, names: Vec<String>) {
        self.names = names;
    }

    /// What was typed so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where the cursor stands in it, in bytes.
    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Does what a key says.
    pub(super) fn key(&mut self, key: Key) -> Edit {
        match key {
            Key::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            Key::Paste(text) => self.insert(&text),
            Key::Newline => self.insert("\n"),
            Key::PasteTooLong => Edit::Refused,
            Key::Enter => self.enter(),
            Key::Tab => self.complete(),
            Key::Backspace => self.backspace(),
            Key::EndOfInput if self.text.is_empty() => Edit::EndOfInput,
            Key::Delete | Key::EndOfInput => self.delete(),
            Key::Left => self.go(self.before()),
            Key::Right => self.go(self.behind()),
            Key::WordLeft => self.go(self.word_before()),
            Key::WordRight => self.go(self.word_behind()),
            Key::Home => self.go(0),
            Key::End => self.go(self.text.len()),
            Key::Up => self.older(),
            Key::Down => self.newer(),
            Key::KillToEnd => self.kill(self.cursor, self.text.len()),
            Key::KillToStart => self.kill(0, self.cursor),
            Key::KillWord => self.kill(self.word_before(), self.cursor),
            Key::Yank => self.insert(&self.killed.clone()),
            Key::Interrupt if self.text.is_empty() => Edit::Interrupted,
            Key::Interrupt => self.replace(String::new()),
            Key::Suspend => Edit::Suspend,
            Key::Clear => Edit::Clear,
        }
    }

    fn insert(&mut self, text: &str) -> Edit {
        // One more than can be sent, so that what is too long is said to be, and nothing grows for ever.
        if text.is_empty() || self.text.len() + text.len() > MAX_TEXT + 1 {
            return if text.is_empty() { Edit::Nothing } else { Edit::Refused };
        }
        let at_end = self.cursor == self.text.len();
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
        self.back = None;
        // A mark that joins the character before it changes what was drawn already.
        let plain = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        if at_end && plain { Edit::Appended(text.to_owned()) } else { Edit::Changed }
    }

    fn enter(&mut self) -> Edit {
        let line = std::mem::take(&mut self.text);
        self.cursor = 0;
        self.back = None;
        if !line.trim().is_empty() && self.history.back() != Some(&line) {
            if self.history.len() >= HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(line.clone());
        }
        Edit::Line(line)
    }

    fn backspace(&mut self) -> Edit {
        let start = self.before();
        if start == self.cursor {
            return Edit::Refused;
        }
        let at_end = self.cursor == self.text.len();
        let gone: String = self.text.drain(start..self.cursor).collect();
        self.cursor = start;
        if at_end { Edit::Shortened(gone) } else { Edit::Changed }
    }

    fn delete(&mut self) -> Edit {
        let end = self.behind();
        if end == self.cursor {
            return Edit::Refused;
        }
        self.text.drain(self.cursor..end);
        Edit::Changed
    }

    fn kill(&mut self, start: usize, end: usize) -> Edit {
        if start >= end {
            return Edit::Refused;
        }
        self.killed = self.text.drain(start..end).collect();
        self.cursor = start;
        Edit::Changed
    }

    fn go(&mut self, to: usize) -> Edit {
        if self.end_only || to == self.cursor {
            return Edit::Nothing;
        }
        self.cursor = to;
        Edit::Changed
    }

    fn replace(&mut self, text: String) -> Edit {
        self.cursor = text.len();
        self.text = text;
        Edit::Changed
    }

    fn older(&mut self) -> Edit {
        let (back, typed) = match &self.back {
            None => (1, self.text.clone()),
            Some((back, typed)) => (back + 1, typed.clone()),
        };
        let Some(line) = self.history.len().checked_sub(back).and_then(|at| self.history.get(at)).cloned()
        else {
            return Edit::Refused;
        };
        self.back = Some((back, typed));
        self.replace(line)
    }

    fn newer(&mut self) -> Edit {
        let Some((back, typed)) = self.back.take() else { return Edit::Refused };
        if back <= 1 {
            return self.replace(typed);
        }
        let line = self.history.len().checked_sub(back - 1).and_then(|at| self.history.get(at)).cloned();
        self.back = Some((back - 1, typed));
        self.replace(line.unwrap_or_default())
    }

    fn complete(&mut self) -> Edit {
        let start = self
            .text
            .get(..self.cursor)
            .and_then(|left| left.rfind(char::is_whitespace))
            .map_or(0, |at| at + 1);
        let word = self.text.get(start..self.cursor).unwrap_or_default();
        let sign = if word.starts_with('@') { "@" } else { "" };
        let stem = word.strip_prefix('@').unwrap_or(word);
        let mut found: Vec<String> = if start == 0 && word.starts_with('/') {
            self.commands
                .iter()
                .filter(|name| name.starts_with(word))
                .map(|name| (*name).to_owned())
                .collect()
        } else if stem.is_empty() && start == 0 {
            Vec::new()
        } else {
            let names = self.names.iter().filter(|name| name.starts_with(stem));
            names.map(|name| format!("{sign}{name}")).collect()
        };
        found.sort_unstable();
        let Some(first) = found.first() else { return Edit::Refused };
        let common = found.iter().fold(first.as_str(), |common, name| shared(common, name));
        let mut completed = common.to_owned();
        if found.len() == 1 && self.cursor == self.text.len() && (start > 0 || word.starts_with('/')) {
            completed.push(' ');
        }
        if completed.len() <= word.len() {
            return if found.len() > 1 { Edit::Choices(found) } else { Edit::Nothing };
        }
        let rest = completed.get(word.len()..).unwrap_or_default().to_owned();
        self.insert(&rest)
    }

    fn before(&self) -> usize {
        let left = self.text.get(..self.cursor).unwrap_or_default();
        left.grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn behind(&self) -> usize {
        let right = self.text.get(self.cursor..).unwrap_or_default();
        self.cursor + right.graphemes(true).next().map_or(0, str::len)
    }

    fn word_before(&self) -> usize {
        let left = self.text.get(..self.cursor).unwrap_or_default();
        let word_end = left.trim_end().len();
        left.get(..word_end)
            .and_then(|left| left.char_indices().rev().find(|(_, c)| c.is_whitespace()))
            .map_or(0, |(at, c)| at + c.len_utf8())
    }

    fn word_behind(&self) -> usize {
        let right = self.text.get(self.cursor..).unwrap_or_default();
        let blank = right.len() - right.trim_start().len();
        let word = right.get(blank..).and_then(|right| right.find(char::is_whitespace));
        self.cursor + word.map_or(right.len(), |at| blank + at)
    }
}

/// The beginning that both have.
fn shared<'a>(a: &'a str, b: &str) -> &'a str {
    let length: usize = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).map(|(c, _)| c.len_utf8()).sum();
    a.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::keys::Decoder;
    use super::*;

    fn type_into(editor: &mut Editor, bytes: &[u8]) -> Edit {
        let mut last = Edit::Nothing;
        for key in Decoder::default().feed(bytes) {
            last = editor.key(key);
        }
        last
    }

    fn typed(bytes: &[u8]) -> String {
        let mut editor = Editor::new(vec!["/help", "/users"], false);
        editor.set_names(vec!["alice".into(), "albert".into(), "bob".into()]);
        type_into(&mut editor, bytes);
        editor.text().to_owned()
    }

    #[test]
    fn a_line_is_edited_like_in_a_shell() {
        assert_eq!(typed(b"helo\x1b[Dl"), "hello");
        assert_eq!(typed(b"one two\x17"), "one ");
        assert_eq!(typed(b"one two\x15\x19\x19"), "one twoone two");
        assert_eq!(typed(b"one two\x01\x0b"), "");
        assert_eq!(typed(b"one two\x1bb\x1bb\x1b[3~"), "ne two");
        assert_eq!(typed("e\u{301}x\x7f\x7f".as_bytes()), "", "a letter with its mark is one");
        assert_eq!(typed(b"a\x1b\rb"), "a\nb");
        assert_eq!(typed(b"thrown away\x03"), "");
    }

    #[test]
    fn history_is_walked_and_what_was_typed_comes_back() {
        let mut editor = Editor::new(Vec::new(), false);
        assert_eq!(type_into(&mut editor, b"one\r"), Edit::Line("one".into()));
        type_into(&mut editor, b"two\rdraft\x10");
        assert_eq!(editor.text(), "two");
        type_into(&mut editor, b"\x10");
        assert_eq!(editor.text(), "one");
        assert_eq!(type_into(&mut editor, b"\x10"), Edit::Refused);
        type_into(&mut editor, b"\x0e\x0e");
        assert_eq!(editor.text(), "draft");
        for _ in 0..HISTORY * 2 {
            type_into(&mut editor, b"a\rb\r");
        }
        assert_eq!(editor.history.len(), HISTORY);
    }

    #[test]
    fn tab_completes_commands_and_names() {
        assert_eq!(typed(b"/he\t"), "/help ");
        assert_eq!(typed(b"/msg bo\t"), "/msg bob ");
        assert_eq!(typed(b"/msg a\t"), "/msg al");
        assert_eq!(typed(b"bo\t"), "bob", "an answer to a question has no blank behind it");
        let mut editor = Editor::new(vec!["/leave", "/ls"], false);
        assert_eq!(type_into(&mut editor, b"/l\t"), Edit::Choices(vec!["/leave".into(), "/ls".into()]));
    }

    #[test]
    fn interrupt_and_end_only_count_on_an_empty_line() {
        let mut editor = Editor::new(Vec::new(), false);
        assert_eq!(type_into(&mut editor, b"\x03"), Edit::Interrupted);
        assert_eq!(type_into(&mut editor, b"\x04"), Edit::EndOfInput);
        assert_eq!(type_into(&mut editor, b"x\x03"), Edit::Changed);
        assert_eq!(type_into(&mut editor, b"\x03"), Edit::Interrupted);
    }

    #[test]
    fn a_line_has_an_end() {
        let mut editor = Editor::new(Vec::new(), false);
        assert_eq!(
            editor.key(Key::Paste("x".repeat(MAX_TEXT + 1))),
            Edit::Appended("x".repeat(MAX_TEXT + 1))
        );
        assert_eq!(editor.key(Key::Char('x')), Edit::Refused);
    }

    proptest! {
        /// Whatever is pressed, the cursor stands between two characters.
        #[test]
        fn no_key_breaks_a_character(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x1b), Just(b'[')], 0..300)) {
            let mut editor = Editor::new(vec!["/help"], false);
            editor.set_names(vec!["bob".into()]);
            for key in Decoder::default().feed(&bytes) {
                editor.key(key);
                prop_assert!(editor.text().is_char_boundary(editor.cursor()));
            }
        }
    }
}

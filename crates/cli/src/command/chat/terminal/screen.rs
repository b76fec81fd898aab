//! Keys in, lines out, and what has to be written: a terminal's conversation with a person, without the terminal.

use std::collections::VecDeque;

use sotto_proto::content::MAX_TEXT;

use super::console::Heard;
use super::editor::{Edit, Editor};
use super::fold::fold;
use super::keys::{Decoder, Key};
use super::view::{Style, View};
use crate::untrusted::Sanitised;

/// What a key was for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    Heard(Heard),
    /// The program is to stop, as others do at Ctrl-Z.
    Suspend,
}

/// The prompt, the line that is being typed, and what is printed above them.
pub(super) struct Screen {
    decoder: Decoder,
    keys: VecDeque<Key>,
    editor: Editor,
    view: View,
    /// The context in which the line was begun.
    begun: Option<u64>,
    /// Whether the prompt is to stand there.
    prompting: bool,
    ended: bool,
}

impl Screen {
    /// Nothing is written yet.
    pub(super) fn new(style: Style, prompt: &str, size: (usize, usize), commands: Vec<&'static str>) -> Self {
        Self {
            decoder: Decoder::default(),
            keys: VecDeque::new(),
            editor: Editor::new(commands, style == Style::Append),
            view: View::new(style, prompt, size),
            begun: None,
            prompting: false,
            ended: false,
        }
    }

    /// Bytes that the terminal sent; none are its end.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.ended = bytes.is_empty();
        self.keys.extend(self.decoder.feed(bytes));
    }

    /// The next key that has not been looked at.
    pub(super) fn next_key(&mut self) -> Option<Key> {
        self.keys.pop_front()
    }

    /// Whether there will be no more keys.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// What can be completed.
    pub(super) fn set_names(&mut self, names: Vec<String>) {
        self.editor.set_names(names);
    }

    /// Shows the prompt from now on.
    pub(super) fn prompt(&mut self) -> String {
        if self.prompting {
            return String::new();
        }
        self.prompting = true;
        self.view.draw(self.editor.text(), self.editor.cursor())
    }

    /// Takes prompt and line away, until the prompt is shown again.
    pub(super) fn pause(&mut self) -> String {
        self.prompting = false;
        self.view.erase()
    }

    /// Takes prompt and line away for a moment.
    pub(super) fn erase(&mut self) -> String {
        self.view.erase()
    }

    /// The terminal has another size.
    pub(super) fn resized(&mut self, size: (usize, usize)) -> String {
        self.view.resized(size);
        self.redraw()
    }

    /// Lines above the prompt.
    pub(super) fn around(&mut self, lines: &str) -> String {
        let mut written = self.view.erase();
        written.push_str(&fold(lines, self.view.columns()));
        if self.prompting {
            written.push_str(&self.view.draw(self.editor.text(), self.editor.cursor()));
        }
        written
    }

    /// Writes prompt and line anew.
    pub(super) fn redraw(&mut self) -> String {
        if self.prompting {
            self.view.redraw(self.editor.text(), self.editor.cursor())
        } else {
            String::new()
        }
    }

    /// Does what a key says, while lines mean what `context` says.
    pub(super) fn key(&mut self, key: Key, context: u64) -> (String, Option<Done>) {
        let too_long = key == Key::PasteTooLong;
        if self.editor.text().is_empty() {
            self.begun = None;
        }
        let before = self.editor.text().to_owned();
        let edit = self.editor.key(key);
        if !self.editor.text().is_empty() {
            self.begun.get_or_insert(context);
        }
        let (text, cursor) = (self.editor.text(), self.editor.cursor());
        let written = match edit {
            Edit::Nothing => String::new(),
            Edit::Appended(added) => self.view.append(&added, text),
            Edit::Shortened(gone) => self.view.shorten(&gone, text, cursor),
            Edit::Changed => self.view.redraw(text, cursor),
            Edit::Refused if too_long => {
                self.around(&format!("The paste is longer than {MAX_TEXT} bytes; nothing of it was taken.\n"))
            }
            Edit::Refused => "\x07".to_owned(),
            Edit::Choices(choices) => {
                let choices = Sanitised::line(&choices.join("  "));
                self.around(&format!("{choices}\n"))
            }
            Edit::Clear => self.view.clear(text, cursor),
            Edit::Suspend => return (self.view.erase(), Some(Done::Suspend)),
            Edit::Line(line) => {
                self.prompting = false;
                let begun = self.begun.take().unwrap_or(context);
                return (self.view.enter(&before), Some(Done::Heard(Heard::Line { text: line, begun })));
            }
            Edit::Interrupted => return (self.view.enter(""), Some(Done::Heard(Heard::Interrupted))),
            Edit::EndOfInput => {
                self.ended = true;
                return (self.view.enter(""), Some(Done::Heard(Heard::End)));
            }
        };
        (written, None)
    }
}

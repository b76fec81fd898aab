//! A conversation for the fuzz targets.

use super::console::Heard;
use super::screen::{Done, Screen};
use super::view::Style;

/// A text folded at a width.
pub(crate) fn fold(text: &str, columns: usize) -> String {
    super::fold::fold(text, columns)
}

/// Somebody in front of a terminal of a size; each method answers what is written.
pub struct Chat(Screen);

impl Chat {
    /// A terminal whose cursor can be moved, or not.
    pub fn new(cursor: bool, prompt: &str, size: (usize, usize), names: Vec<String>) -> Self {
        let style = if cursor { Style::Cursor } else { Style::Append };
        let mut screen = Screen::new(style, prompt, size, vec!["/exit", "/help", "/list"]);
        screen.set_names(names);
        Self(screen)
    }

    /// Shows the prompt.
    pub fn prompt(&mut self) -> String {
        self.0.prompt()
    }

    /// Prints lines above it.
    pub fn print(&mut self, lines: &str) -> String {
        self.0.around(lines)
    }

    /// The terminal has another size.
    pub fn resized(&mut self, size: (usize, usize)) -> String {
        self.0.resized(size)
    }

    /// Bytes of the keyboard; what is written, and the lines that were entered.
    pub fn typed(&mut self, bytes: &[u8]) -> (String, Vec<String>) {
        self.0.feed(bytes);
        let (mut all, mut lines) = (String::new(), Vec::new());
        while let Some(key) = self.0.next_key() {
            let (written, done) = self.0.key(key, 0);
            all.push_str(&written);
            match done {
                Some(Done::Heard(Heard::Line { text, .. })) => {
                    lines.push(text);
                    all.push_str(&self.0.prompt());
                }
                Some(Done::Suspend) => all.push_str(&self.0.redraw()),
                _ => {}
            }
        }
        (all, lines)
    }
}

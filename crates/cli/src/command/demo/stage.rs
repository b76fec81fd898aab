//! What the audience sees: on the left what was typed and said on the screens of alice and bob, on the right what the
//! server saw of it. 80 columns, plain text.

use super::program::Server;
use crate::failure::Failure;
use crate::output::{Lines, Output, Tone};

/// Columns of each side; with the line between them 79.
const LEFT: usize = 36;
const RIGHT: usize = 40;
/// Lines of the server's log that are shown of one step.
const LOG_LINES: usize = 12;

/// Collects a step and shows it when it is over.
#[derive(Debug)]
pub(super) struct Stage {
    number: usize,
    title: String,
    left: Vec<String>,
    right: Vec<String>,
    quiet: bool,
}

impl Stage {
    pub(super) fn new(out: &Output) -> Self {
        Self { number: 0, title: String::new(), left: Vec::new(), right: Vec::new(), quiet: out.json() }
    }

    /// The next step begins.
    pub(super) fn step(&mut self, title: &str) {
        self.number += 1;
        title.clone_into(&mut self.title);
        self.left.clear();
        self.right.clear();
    }

    /// Somebody ran a command.
    pub(super) fn typed(&mut self, who: &str, command: &str) {
        self.left.extend(wrap(&format!("{who}$ {command}"), LEFT));
    }

    /// It answered.
    pub(super) fn said(&mut self, text: &str) {
        self.left.extend(wrap(&format!("  {text}"), LEFT));
    }

    /// Something happened to the server.
    pub(super) fn log(&mut self, text: &str) {
        self.right.extend(wrap(text, RIGHT));
    }

    /// The step is over: both sides of it.
    pub(super) fn shown(&mut self, server: &mut Server, out: &mut Output) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let mut log = server.new_lines();
        let left_out = log.len().saturating_sub(LOG_LINES);
        if left_out > 0 {
            log.truncate(LOG_LINES);
            log.push(format!("... {left_out} more lines ..."));
        }
        // What happened to the server stands after what it said before.
        let mut right: Vec<String> = log.iter().flat_map(|line| wrap(line, RIGHT)).collect();
        right.append(&mut self.right);
        out.people(|lines| {
            lines.toned(Tone::Good, &format!("== {}. {}", self.number, self.title));
            lines
                .toned(Tone::Faint, &format!("{:<LEFT$} | {}", "   on their screens", "what the server saw"));
            for row in 0..self.left.len().max(right.len()) {
                let left = self.left.get(row).map_or("", String::as_str);
                let right = right.get(row).map_or("", String::as_str);
                lines.line(format!("{left:<LEFT$} | {right}").trim_end());
            }
            lines.line("");
        })?;
        Ok(())
    }

    /// One check.
    pub(super) fn verdict(what: &str, ok: bool, lines: &mut Lines) {
        if ok {
            lines.toned(Tone::Good, &format!("ok      {what}"));
        } else {
            lines.toned(Tone::Bad, &format!("FAILED  {what}"));
        }
    }
}

/// Breaks at blanks where it can; further lines are indented.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut used = 0;
    for (number, word) in text.split(' ').enumerate() {
        let mut word = word;
        let length = word.chars().count();
        if number > 0 && used + 1 + length > width && used > 2 {
            rows.push("  ".into());
            used = 2;
        } else if number > 0 {
            push(&mut rows, " ", &mut used);
        }
        // A word that is longer than a row is cut.
        while used + word.chars().count() > width {
            let at = word.char_indices().nth(width.saturating_sub(used)).map_or(word.len(), |(at, _)| at);
            let (head, tail) = word.split_at(at);
            push(&mut rows, head, &mut used);
            rows.push("  ".into());
            used = 2;
            word = tail;
        }
        push(&mut rows, word, &mut used);
    }
    rows
}

fn push(rows: &mut [String], text: &str, used: &mut usize) {
    if let Some(row) = rows.last_mut() {
        row.push_str(text);
        *used += text.chars().count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_break_at_blanks_and_long_words_are_cut() {
        assert_eq!(wrap("one two three", 9), ["one two", "  three"]);
        assert_eq!(wrap("abcdefghij", 6), ["abcdef", "  ghij"]);
        assert_eq!(wrap("  said", 20), ["  said"]);
        assert_eq!(wrap("", 20), [""]);
        for row in wrap(&"word ".repeat(50), 30) {
            assert!(row.chars().count() <= 30, "{row:?}");
        }
    }
}

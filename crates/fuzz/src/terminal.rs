//! What reaches a terminal: texts of others, and a person who types and pastes while they come.

use sotto_cli::fuzzing::{self as cli, Chat};
use sotto_proto::content::MAX_TEXT;
use unicode_normalization::char::is_combining_mark;
use unicode_width::UnicodeWidthChar;

use crate::input::Input;

/// Steps of one conversation.
const MAX_STEPS: usize = 40;

/// A text, a folded text, or a conversation.
pub fn terminal(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 3 {
        0 => text(&String::from_utf8_lossy(input.rest())),
        1 => {
            let columns = usize::from(input.u8());
            folded(&String::from_utf8_lossy(input.rest()), columns);
        }
        _ => conversation(&mut input),
    }
}

/// Format characters (general category Cf) that are no letters, line and paragraph separators, and
/// Default_Ignorable_Code_Point, of Unicode 16; those of one width or more are not found by their width.
const INVISIBLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Vowels and finals of Hangul, drawn in the cell of the consonant before them; and signs that are drawn around or before the
/// letters that follow.
fn joins_others(c: char) -> bool {
    matches!(
        c,
        '\u{1161}'..='\u{11ff}'
            | '\u{d7b0}'..='\u{d7ff}'
            | '\u{600}'..='\u{605}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{d4e}'
            | '\u{a8fa}'
            | '\u{111c2}'..='\u{111c3}'
            | '\u{113d1}'
            | '\u{1193f}'
            | '\u{11941}'
            | '\u{11a84}'..='\u{11a89}'
            | '\u{11d46}'
            | '\u{11f02}'
    )
}

fn assert_visible(text: &str) {
    for c in text.chars() {
        assert!(!c.is_control(), "{c:?}");
        assert!(!INVISIBLE.iter().any(|(first, last)| (first..=last).contains(&&c)), "{c:?}");
        let drawn = c.width() != Some(0) || is_combining_mark(c) || joins_others(c);
        assert!(drawn, "{c:?} takes no place");
    }
}

/// As a terminal counts that knows nothing of clusters.
fn cells(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

fn text(text: &str) {
    let line = cli::line(text);
    assert_visible(&line);
    assert_eq!(cli::line(&line), line);
    let lines = cli::lines(text);
    assert_eq!(lines.len(), text.split('\n').count());
    for line in &lines {
        assert_visible(line);
    }
}

fn folded(text: &str, columns: usize) {
    let line = cli::line(text);
    let folded = cli::fold(&line, columns);
    // Below this the indent would take everything.
    let columns = columns.max(20);
    for row in folded.split('\n') {
        assert!(cells(row) <= columns, "{row:?} is wider than {columns}");
    }
    assert_eq!(folded.replace("\n    ", ""), line.replace("\n    ", ""));
}

/// What is written holds nothing but what can be seen and the few sequences that the view needs.
fn assert_written(written: &str, cursor: bool) {
    let mut rest = written;
    while let Some(at) = rest.find(|c: char| c.is_control()) {
        let (seen, after) = rest.split_at(at);
        assert_visible(seen);
        rest = &after[1..];
        match after.as_bytes()[0] {
            b'\n' | b'\r' | 0x08 | 0x07 => {}
            0x1b => {
                assert!(cursor, "an escape sequence for a terminal that has none");
                let sequence = rest.strip_prefix('[').unwrap();
                let end = sequence.find(|c: char| !c.is_ascii_digit()).unwrap();
                assert!(matches!(&sequence[end..=end], "A" | "C" | "H" | "J"), "{sequence:?}");
                rest = &sequence[end + 1..];
            }
            other => panic!("the control character {other:#x} is written"),
        }
    }
    assert_visible(rest);
}

fn conversation(input: &mut Input<'_>) {
    let cursor = input.flag();
    let size = (usize::from(input.u8()), usize::from(input.u8()));
    let name = String::from_utf8_lossy(input.take(8)).into_owned();
    let mut chat = Chat::new(cursor, "alice> ", size, vec!["bob".to_owned(), name]);
    assert_written(&chat.prompt(), cursor);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            return;
        }
        match input.u8() % 4 {
            0 => {
                let size = (usize::from(input.u8()), usize::from(input.u8()));
                assert_written(&chat.resized(size), cursor);
            }
            1 => {
                let length = usize::from(input.u8());
                let line = cli::line(&String::from_utf8_lossy(input.take(length)));
                assert_written(&chat.print(&format!("bob: {line}\n")), cursor);
            }
            _ => {
                let length = usize::from(input.u8());
                let (written, lines) = chat.typed(input.take(length));
                assert_written(&written, cursor);
                assert!(lines.iter().all(|line| line.len() <= MAX_TEXT + 1));
            }
        }
    }
}

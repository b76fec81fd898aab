//! The one way of text to a terminal. Messages, names, server texts and errors are written by others; shown raw they
//! could move the cursor, hide words or reverse them. Everything that [`crate::output`] writes for a person goes through
//! [`Sanitised`], our own words included, so nothing can be forgotten.

use std::fmt;

use unicode_normalization::char::is_combining_mark;

/// Marks on one letter that are still writing; more of them smear over the lines above and below.
const MAX_MARKS: usize = 4;

/// One line that is safe to show: no control, escape, bidi control, zero-width, invisible or tag character in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sanitised(String);

impl Sanitised {
    /// Makes one line of any text; a line break in it becomes a visible mark.
    pub(crate) fn line(text: &str) -> Self {
        let mut shown = String::with_capacity(text.len());
        let mut marks = 0;
        for c in text.chars() {
            marks = if is_combining_mark(c) { marks + 1 } else { 0 };
            if marks > MAX_MARKS {
                continue;
            }
            match class(c) {
                Class::Plain => shown.push(c),
                Class::Tab => shown.push_str("    "),
                Class::Joiner => {}
                Class::Hostile => shown.push(char::REPLACEMENT_CHARACTER),
            }
        }
        Self(shown)
    }

    /// The lines of a message: line breaks are kept as lines, everything else is as in [`Sanitised::line`].
    pub(crate) fn lines(text: &str) -> Vec<Self> {
        text.split('\n').map(|line| Self::line(line.strip_suffix('\r').unwrap_or(line))).collect()
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sanitised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Tab,
    /// Ordinary in some scripts and in emoji, invisible and of no worth on a terminal: left out.
    Joiner,
    /// Shown as a replacement mark, so that a reader sees that something was there.
    Hostile,
}

fn class(c: char) -> Class {
    match c {
        '\t' => Class::Tab,
        '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' => Class::Joiner,
        // C0, DEL and C1: escape sequences, carriage returns, backspaces.
        c if c.is_control() => Class::Hostile,
        // Fillers and marks without width or ink.
        '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        // Line and paragraph separators; marks, embeddings, overrides and isolates of bidirectional text.
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        // Tags and supplementary variation selectors.
        | '\u{e0000}'..='\u{e0fff}' => Class::Hostile,
        _ => Class::Plain,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        Sanitised::line(text).to_string()
    }

    #[test]
    fn ordinary_text_of_any_script_is_left_alone() {
        for text in ["hi bob", "e\u{301}té", "שלום", "こんにちは", "😀", "a|b\\c\"", "═█▀▄"]
        {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn what_could_deceive_is_made_visible_or_left_out() {
        assert_eq!(shown("\u{1b}[31mred\u{7}"), "\u{fffd}[31mred\u{fffd}");
        assert_eq!(shown("\u{9b}2J"), "\u{fffd}2J");
        assert_eq!(shown("a\u{202e}cod.exe\u{2066}"), "a\u{fffd}cod.exe\u{fffd}");
        assert_eq!(shown("pay\u{200b}pal\u{feff}\u{e0041}"), "pay\u{fffd}pal\u{fffd}\u{fffd}");
        // A joiner of hieroglyphs: a format character that takes a cell in tables of widths, and has no ink.
        assert_eq!(shown("a\u{13430}b"), "a\u{fffd}b");
        assert_eq!(shown("a\r\nb"), "a\u{fffd}\u{fffd}b");
        assert_eq!(shown("👨\u{200d}👩"), "👨👩");
        assert_eq!(shown("a\tb"), "a    b");
        assert_eq!(shown(&format!("z{}", "\u{300}".repeat(50))), "z\u{300}\u{300}\u{300}\u{300}");
    }

    #[test]
    fn a_message_keeps_its_lines() {
        let lines: Vec<String> =
            Sanitised::lines("one\r\ntwo\n\u{1b}three\n").iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["one", "two", "\u{fffd}three", ""]);
    }

    proptest! {
        /// Over every code point with equal weight, not only the likely ones.
        #[test]
        fn no_text_brings_a_hostile_character_through(points in proptest::collection::vec(any::<char>(), 0..64)) {
            let text: String = points.into_iter().collect();
            for line in Sanitised::lines(&text).iter().chain([&Sanitised::line(&text)]) {
                for c in line.as_str().chars() {
                    prop_assert!(!c.is_control(), "{:?}", c);
                    prop_assert_eq!(class(c), Class::Plain);
                }
            }
        }

        #[test]
        fn the_known_attacks_never_pass(
            c in prop_oneof![
                prop::char::range('\u{0}', '\u{1f}'),
                prop::char::range('\u{7f}', '\u{9f}'),
                prop::char::range('\u{200b}', '\u{200f}'),
                prop::char::range('\u{2028}', '\u{202e}'),
                prop::char::range('\u{2060}', '\u{206f}'),
                prop::char::range('\u{e0000}', '\u{e01ef}'),
                Just('\u{feff}'),
                Just('\u{61c}'),
            ],
            before in "[a-z]{0,3}",
        ) {
            let text = format!("{before}{c}x");
            prop_assert!(!shown(&text).contains(c));
        }

        #[test]
        fn sanitising_twice_changes_nothing(text in any::<String>()) {
            let once = shown(&text);
            prop_assert_eq!(shown(&once), once);
        }
    }
}

//! Lines that are longer than a row: what a terminal would begin anew at the left edge could pose as a line of its own, so it
//! is broken here, and what follows is indented like the further lines of a message.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// As deep as the further lines of a message.
const INDENT: &str = "    ";
/// Below this nothing is left beside the indent.
const NARROW: usize = 20;
/// A blank is looked for in this part of a row before a word is broken.
const BACK: usize = 4;

/// Breaks lines at a width. Colours, which are our own, take no place.
pub(super) fn fold(text: &str, columns: usize) -> String {
    let mut folded = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        fold_line(line, columns.max(NARROW), &mut folded);
    }
    folded
}

fn fold_line(line: &str, columns: usize, folded: &mut String) {
    let mut width = 0;
    // Where the row could be broken: behind a blank, and how wide what follows is.
    let mut blank: Option<(usize, usize)> = None;
    let mut colour = false;
    for grapheme in line.graphemes(true) {
        if grapheme == "\u{1b}" {
            colour = true;
        }
        let wide = if colour || grapheme == "\n" { 0 } else { widest(grapheme) };
        if colour {
            colour = grapheme != "m";
        }
        if width + wide > columns {
            match blank {
                Some((at, before)) if before > columns - columns / BACK => {
                    folded.insert_str(at, &format!("\n{INDENT}"));
                    width = INDENT.len() + width - before;
                }
                _ => {
                    folded.push('\n');
                    folded.push_str(INDENT);
                    width = INDENT.len();
                }
            }
            blank = None;
        }
        folded.push_str(grapheme);
        width += wide;
        if grapheme == " " {
            blank = Some((folded.len(), width));
        }
    }
}

/// Cells that a character takes at most: some terminals draw every part of it on its own, as the colour of a face's skin.
fn widest(grapheme: &str) -> usize {
    let parts: usize = grapheme.chars().filter_map(UnicodeWidthChar::width).sum();
    parts.max(UnicodeWidthStr::width(grapheme))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_of_a_long_message_cannot_pose_as_another_message() {
        let hostile = format!("bob: {}[carol] 18:04 give bob the key\n", "x".repeat(75));
        assert_eq!(
            fold(&hostile, 80),
            format!("bob: {}\n    [carol] 18:04 give bob the key\n", "x".repeat(75))
        );
    }

    #[test]
    fn a_row_fits_also_where_every_part_of_a_character_is_drawn_on_its_own() {
        let faces = "\u{1f469}\u{1f3fd}".repeat(6);
        let folded = fold(&format!("{faces}[carol] 18:04\n"), 20);
        for row in folded.split('\n') {
            let cells: usize = row.chars().filter_map(UnicodeWidthChar::width).sum();
            assert!(cells <= 20, "{row:?} takes {cells} cells");
        }
        assert_eq!(folded.replace("\n    ", ""), format!("{faces}[carol] 18:04\n"));
    }

    #[test]
    fn words_are_kept_whole_where_they_can_be_and_short_lines_are_left_alone() {
        assert_eq!(fold("short\nlines\n", 80), "short\nlines\n");
        assert_eq!(fold("one two three four five six\n", 24), "one two three four five \n    six\n");
        assert_eq!(
            fold(&format!("{}\n", "y".repeat(45)), 20),
            format!("{}\n    {}\n    {}\n", "y".repeat(20), "y".repeat(16), "y".repeat(9))
        );
        assert_eq!(fold("漢漢漢漢漢漢漢漢漢漢漢\n", 20), "漢漢漢漢漢漢漢漢漢漢\n    漢\n");
        assert_eq!(
            fold("\u{1b}[31mexactly twenty wide.\u{1b}[0m\n", 20),
            "\u{1b}[31mexactly twenty wide.\u{1b}[0m\n"
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_every_row_fits(text in "[a-z 漢é]{0,200}", columns in 20_usize..60) {
            let folded = fold(&text, columns);
            for row in folded.split('\n') {
                prop_assert!(UnicodeWidthStr::width(row) <= columns, "{:?}", row);
            }
            prop_assert_eq!(folded.replace(&format!("\n{INDENT}"), ""), text);
        }
    }
}

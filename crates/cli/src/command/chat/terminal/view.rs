//! What has to be written so that the prompt and the half-typed line stand below everything else.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::untrusted::Sanitised;

/// How a line break inside of the line is shown.
const BREAK: &str = "\u{21b5}";
/// Stands for what does not fit.
const MORE: &str = "\u{2026}";
/// Rows of the screen left to what was said.
const ABOVE: usize = 2;

/// What a terminal can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// The cursor can be moved.
    Cursor,
    /// Lines are only ever added; the last one can be overwritten from its start.
    Append,
}

/// The lowest lines of the screen.
#[derive(Debug)]
pub(super) struct View {
    style: Style,
    prompt: String,
    columns: usize,
    rows: usize,
    /// Widths of what stands there, and how many of them stand before the cursor.
    drawn: Option<(Vec<usize>, usize)>,
}

/// A cell or several that belong together.
struct Cell {
    text: String,
    width: usize,
}

impl View {
    /// Nothing is drawn yet.
    pub(super) fn new(style: Style, prompt: &str, (columns, rows): (usize, usize)) -> Self {
        let prompt = Sanitised::line(prompt).to_string();
        let mut view = Self { style, prompt, columns: 80, rows: 24, drawn: None };
        view.resized((columns, rows));
        view
    }

    /// The screen has another size. Terminals wrap anew what stands there.
    pub(super) fn resized(&mut self, (columns, rows): (usize, usize)) {
        // A size of nothing is that of a terminal that does not say.
        self.columns = if columns < 2 { 80 } else { columns };
        self.rows = if rows < 1 { 24 } else { rows };
    }

    /// How wide the screen is.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Takes prompt and line away.
    pub(super) fn erase(&mut self) -> String {
        let Some((widths, before)) = self.drawn.take() else { return String::new() };
        match self.style {
            Style::Cursor => {
                let (row, _) = self.place(widths.get(..before).unwrap_or(&widths));
                let up = if row > 0 { format!("\x1b[{row}A") } else { String::new() };
                format!("{up}\r\x1b[J")
            }
            Style::Append => {
                let width: usize = widths.iter().sum();
                if width < self.columns { format!("\r{}\r", " ".repeat(width)) } else { "\r\n".to_owned() }
            }
        }
    }

    /// Writes prompt and line where the cursor stands.
    pub(super) fn draw(&mut self, text: &str, cursor: usize) -> String {
        let (cells, before) = self.cells(text, cursor);
        let mut shown: String = cells.iter().map(|cell| cell.text.as_str()).collect();
        let widths: Vec<usize> = cells.iter().map(|cell| cell.width).collect();
        if self.style == Style::Cursor {
            let (end_row, end_column) = self.place(&widths);
            let (row, column) = self.place(widths.get(..before).unwrap_or(&widths));
            if end_column == 0 && end_row > 0 {
                // The last column is full: the terminal has not moved on yet.
                shown.push_str("\r\n");
            }
            if before < widths.len() {
                let up = if end_row > row { format!("\x1b[{}A", end_row - row) } else { String::new() };
                let right = if column > 0 { format!("\x1b[{column}C") } else { String::new() };
                shown = format!("{shown}{up}\r{right}");
            }
        }
        self.drawn = Some((widths, before));
        shown
    }

    /// Writes what was added at the end of the line, or the whole line if that is not enough.
    pub(super) fn append(&mut self, added: &str, text: &str) -> String {
        let width = UnicodeWidthStr::width(added);
        if let Some((widths, before)) = &mut self.drawn
            && *before == widths.len()
            && widths.iter().sum::<usize>() + width < self.columns
        {
            widths.push(width);
            *before += 1;
            return added.to_owned();
        }
        self.redraw(text, text.len())
    }

    /// Takes the last character away.
    pub(super) fn shorten(&mut self, gone: &str, text: &str, cursor: usize) -> String {
        let width = UnicodeWidthStr::width(display(gone).as_str());
        if self.style == Style::Append
            && let Some((widths, before)) = &mut self.drawn
            && widths.iter().sum::<usize>() < self.columns
        {
            let left = widths.iter().sum::<usize>().saturating_sub(width);
            // Only the sum counts here.
            *widths = vec![left];
            *before = 1;
            let back = "\x08".repeat(width);
            return format!("{back}{}{back}", " ".repeat(width));
        }
        self.redraw(text, cursor)
    }

    /// Takes prompt and line away and writes them again.
    pub(super) fn redraw(&mut self, text: &str, cursor: usize) -> String {
        let mut written = self.erase();
        written.push_str(&self.draw(text, cursor));
        written
    }

    /// The line is entered: what comes next stands below it.
    pub(super) fn enter(&mut self, text: &str) -> String {
        let written = match (&self.drawn, self.style) {
            (None, _) => return String::new(),
            (Some((widths, before)), Style::Cursor) if *before < widths.len() => {
                self.redraw(text, text.len())
            }
            // What was shown in part stands there whole once it is said.
            (Some(_), Style::Append) => {
                let shown: String = text.graphemes(true).map(display).collect();
                format!("{}{}{shown}", self.erase(), self.prompt)
            }
            _ => String::new(),
        };
        let full = self.drawn.take().is_some_and(|(widths, _)| {
            self.style == Style::Cursor && matches!(self.place(&widths), (row, 0) if row > 0)
        });
        // Behind a full last row the cursor stands on the next one already.
        if full { written } else { written + "\r\n" }
    }

    /// An empty screen with the line at its top.
    pub(super) fn clear(&mut self, text: &str, cursor: usize) -> String {
        if self.style == Style::Append {
            return self.redraw(text, cursor);
        }
        self.drawn = None;
        format!("\x1b[H\x1b[2J{}", self.draw(text, cursor))
    }

    /// Prompt and line as they are shown, and how many cells stand before the cursor. Of a line that is higher than the
    /// screen, or wider than the row where lines are only added, only the part around the cursor is shown.
    fn cells(&self, text: &str, cursor: usize) -> (Vec<Cell>, usize) {
        let prompt = Cell { width: UnicodeWidthStr::width(self.prompt.as_str()), text: self.prompt.clone() };
        let mut line: Vec<Cell> = Vec::new();
        let mut before = 0;
        for (at, grapheme) in text.grapheme_indices(true) {
            let shown = display(grapheme);
            line.push(Cell { width: UnicodeWidthStr::width(shown.as_str()), text: shown });
            if at < cursor {
                before = line.len();
            }
        }
        let most = match self.style {
            Style::Cursor => self.columns * self.rows.saturating_sub(ABOVE).max(1),
            // One row can be overwritten from its start.
            Style::Append => self.columns - 1,
        };
        let most = most.saturating_sub(prompt.width + 2);
        if line.iter().map(|cell| cell.width).sum::<usize>() > most {
            let mut room = most;
            let mut start = before;
            while start > 0 && line.get(start - 1).is_some_and(|cell| cell.width <= room) {
                start -= 1;
                room -= line.get(start).map_or(0, |cell| cell.width);
            }
            let mut end = before;
            while line.get(end).is_some_and(|cell| cell.width <= room) {
                room -= line.get(end).map_or(0, |cell| cell.width);
                end += 1;
            }
            let cut = line.len() > end;
            line.truncate(end);
            if cut {
                line.push(Cell { text: MORE.to_owned(), width: 1 });
            }
            if start > 0 {
                line.splice(..start, [Cell { text: MORE.to_owned(), width: 1 }]);
                before = before - start + 1;
            }
        }
        line.insert(0, prompt);
        (line, before + 1)
    }

    /// Row and column behind these cells, as a terminal wraps them.
    fn place(&self, widths: &[usize]) -> (usize, usize) {
        let (mut row, mut column) = (0, 0);
        for width in widths {
            // What is wider than the screen is the prompt, cell by cell.
            if *width > self.columns {
                column += width;
                row += column / self.columns;
                column %= self.columns;
                continue;
            }
            if column + width > self.columns {
                row += 1;
                column = 0;
            }
            column += width;
        }
        if column == self.columns { (row + 1, 0) } else { (row, column) }
    }
}

/// A character as it is shown: one's own paste can hold escape sequences too.
fn display(grapheme: &str) -> String {
    if grapheme == "\n" { BREAK.to_owned() } else { Sanitised::line(grapheme).to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::num::NonZero;

    use proptest::prelude::*;

    use super::*;

    /// A screen as the user sees it.
    struct Screen {
        parser: vt100::Parser,
        view: View,
    }

    fn size(cells: u16) -> NonZero<u16> {
        NonZero::new(cells).unwrap()
    }

    impl Screen {
        fn new(style: Style, columns: u16, rows: u16) -> Self {
            Self {
                parser: vt100::Parser::new(size(rows), size(columns), 0),
                view: View::new(style, "alice> ", (columns.into(), rows.into())),
            }
        }

        fn write(&mut self, text: &str) {
            // The terminal's line discipline does this.
            self.parser.process(text.replace("\r\n", "\n").replace('\n', "\r\n").as_bytes());
        }

        fn draw(&mut self, text: &str, cursor: usize) {
            let written = self.view.redraw(text, cursor);
            self.write(&written);
        }

        fn print(&mut self, line: &str, text: &str, cursor: usize) {
            let written = format!("{}{line}\n{}", self.view.erase(), self.view.draw(text, cursor));
            self.write(&written);
        }

        fn rows(&self) -> Vec<String> {
            let screen = self.parser.screen();
            let (_, columns) = screen.size();
            let mut rows: Vec<String> =
                screen.rows(0, columns.into()).map(|row| row.trim_end().to_owned()).collect();
            rows.truncate(rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1));
            rows
        }
    }

    #[test]
    fn what_arrives_stands_above_and_the_line_below() {
        for style in [Style::Cursor, Style::Append] {
            let mut screen = Screen::new(style, 40, 10);
            screen.draw("half ty", 7);
            screen.print("bob: hello", "half ty", 7);
            screen.print("bob: again", "half ty", 7);
            assert_eq!(screen.rows(), ["bob: hello", "bob: again", "alice> half ty"], "{style:?}");
        }
    }

    #[test]
    fn a_long_line_wraps_and_comes_back_whole() {
        let text = "x".repeat(50);
        for cursor in [50, 33, 32, 3, 0] {
            let mut screen = Screen::new(Style::Cursor, 20, 10);
            screen.draw(&text, cursor);
            screen.print("bob: one", &text, cursor);
            screen.print("bob: two", &text, cursor);
            let rows = screen.rows();
            assert_eq!(rows.len(), 5, "{rows:?}");
            assert_eq!(rows.concat(), format!("bob: onebob: twoalice> {text}"));
            let at = 7 + u16::try_from(cursor).unwrap();
            assert_eq!(screen.parser.screen().cursor_position(), (2 + at / 20, at % 20), "{cursor}");
        }
    }

    #[test]
    fn a_full_last_column_does_not_shift_anything() {
        let text = "y".repeat(13);
        let mut screen = Screen::new(Style::Cursor, 20, 10);
        screen.draw(&text, 13);
        screen.print("bob: one", &text, 13);
        screen.draw(&text, 13);
        assert_eq!(screen.rows(), ["bob: one".to_owned(), format!("alice> {text}")]);
        let entered = screen.view.enter(&text);
        screen.write(&entered);
        screen.write("next\n");
        assert_eq!(screen.rows(), ["bob: one".to_owned(), format!("alice> {text}"), "next".to_owned()]);
    }

    #[test]
    fn a_line_higher_than_the_screen_is_shown_around_the_cursor() {
        let text: String = ('a'..='z').cycle().take(1000).collect();
        let mut screen = Screen::new(Style::Cursor, 20, 8);
        screen.print("bob: one", &text, 1000);
        screen.print("bob: two", &text, 1000);
        let rows = screen.rows();
        assert!(rows.len() <= 8 && rows.iter().any(|row| row == "bob: two"), "{rows:?}");
        assert!(rows.last().unwrap().ends_with(&text[995..]), "{rows:?}");
        screen.draw(&text, 0);
        assert!(screen.rows().iter().any(|row| row == "alice> abcdefghijklm"), "{:?}", screen.rows());
    }

    #[test]
    fn where_lines_are_only_added_the_end_of_a_long_one_is_shown_until_it_is_entered() {
        let mut screen = Screen::new(Style::Append, 20, 8);
        let text = "abcdefghijklmnopqrstuvwxyz";
        screen.draw(text, text.len());
        screen.print("bob: one", text, text.len());
        screen.print("bob: two", text, text.len());
        assert_eq!(screen.rows(), ["bob: one", "bob: two", "alice> \u{2026}qrstuvwxyz"]);
        let entered = screen.view.enter(text);
        screen.write(&entered);
        screen.write("next\n");
        assert!(
            screen.rows().ends_with(&["alice> abcdefghijklm", "nopqrstuvwxyz", "next"].map(str::to_owned))
        );
    }

    #[test]
    fn another_width_moves_nothing_away_from_its_place() {
        let mut screen = Screen::new(Style::Cursor, 40, 10);
        screen.draw("some text", 9);
        screen.parser.screen_mut().set_size(size(10), size(30));
        screen.view.resized((30, 10));
        screen.print("bob: hi", "some text", 9);
        assert_eq!(screen.rows(), ["bob: hi", "alice> some text"]);
    }

    #[test]
    fn ones_own_paste_cannot_move_the_cursor() {
        let mut view = View::new(Style::Cursor, "alice> ", (80, 24));
        let text = "a\u{1b}[2J\n\u{202e}b";
        assert_eq!(view.draw(text, text.len()), "alice> a\u{fffd}[2J\u{21b5}\u{fffd}b");
    }

    #[test]
    fn without_a_cursor_nothing_but_carriage_returns_and_backspaces_is_written() {
        let mut view = View::new(Style::Append, "alice> ", (20, 24));
        let mut all = view.draw("", 0);
        all.push_str(&view.append("hi", "hi"));
        all.push_str(&view.shorten("i", "h", 1));
        all.push_str(&view.redraw(&"x".repeat(50), 50));
        all.push_str(&view.redraw("short", 5));
        all.push_str(&view.clear("short", 5));
        assert!(!all.contains('\u{1b}'), "{all:?}");
    }

    proptest! {
        /// The screen of many small steps is that of one drawing.
        #[test]
        fn drawing_again_shows_the_same(
            texts in proptest::collection::vec("[a-z漢é\u{301} ]{0,60}", 1..6),
            columns in 12_u16..40,
        ) {
            let mut many = Screen::new(Style::Cursor, columns, 24);
            for text in &texts {
                many.draw(text, text.len());
            }
            let last = texts.last().unwrap();
            let mut once = Screen::new(Style::Cursor, columns, 24);
            once.draw(last, last.len());
            prop_assert_eq!(many.rows(), once.rows());
            prop_assert_eq!(many.parser.screen().cursor_position(), once.parser.screen().cursor_position());
        }
    }
}

//! The rows below the messages: the status line and what is being typed.
//!
//! Messages are printed above them once and for all, and belong to the terminal
//! from then on: its own scrolling, searching and copying work.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::client::{Paint, harmless_text};

/// What stands before the typed text, and how far its other rows are indented.
const PROMPT: &str = "> ";

/// Begins an update that the terminal shows as a whole, the cursor hidden.
const BEGIN: &str = "\x1b[?2026h\x1b[?25l";
/// Ends it.
const END: &str = "\x1b[?25h\x1b[?2026l";
/// Rows must not wrap whatever the terminal takes for a character's width, or
/// the next update would begin at a wrong row.
const WRAP_OFF: &str = "\x1b[?7l";
/// Messages above may.
const WRAP_ON: &str = "\x1b[?7h";

/// Columns and rows of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns, at least one.
    pub columns: usize,
    /// Rows, at least one.
    pub rows: usize,
}

/// What the pane shows.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The status line, harmless, without escape sequences.
    pub status: &'a str,
    /// How the status line is painted: the parameters of an SGR sequence.
    pub status_style: &'a str,
    /// What is being typed.
    pub text: &'a str,
    /// The cursor's position in it, in bytes.
    pub cursor: usize,
}

/// What is on the terminal now.
#[derive(Debug, Default)]
pub struct Pane {
    /// The widths of the rows that were painted, from the top.
    widths: Vec<usize>,
    /// Where the cursor was left.
    cursor: (usize, usize),
}

impl Pane {
    /// The bytes that print `above` and paint the pane below it anew.
    pub fn paint(&mut self, above: &str, view: View, size: Size, paint: Paint) -> String {
        let mut out = String::from(BEGIN);
        self.erase(size, &mut out);
        out.push_str(above);
        out.push_str(WRAP_OFF);

        let input_rows_max = (size.rows / 2).max(1);
        let (input, mut cursor) = lay_out(view.text, view.cursor, size.columns, input_rows_max);
        let mut rows = vec![];
        if size.rows > input.len() {
            let status = cut(view.status, size.columns);
            self.widths.push(status.width());
            rows.push(paint.style(view.status_style, &status));
            cursor.0 += 1;
        }
        self.widths.extend(input.iter().map(|row| row.width()));
        rows.extend(input);
        out.push_str(&rows.join("\r\n"));
        move_by(&mut out, 'A', rows.len() - 1 - cursor.0);
        out.push('\r');
        move_by(&mut out, 'C', cursor.1);
        self.cursor = cursor;
        out.push_str(WRAP_ON);
        out.push_str(END);
        out
    }

    /// The bytes that take the pane away; the cursor is then at its first row.
    pub fn clear(&mut self, size: Size) -> String {
        let mut out = String::new();
        self.erase(size, &mut out);
        out
    }

    /// Forgets what was painted: the screen is empty, the cursor at its top.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn erase(&mut self, size: Size, out: &mut String) {
        // A terminal that has become narrower has broken long rows into several.
        let broken = |width: &usize| width.saturating_sub(1) / size.columns;
        let (row, column) = self.cursor;
        let above = self.widths.iter().take(row);
        let up = row + above.map(broken).sum::<usize>() + column / size.columns;
        out.push('\r');
        move_by(out, 'A', up);
        out.push_str("\x1b[J");
        self.forget();
    }
}

/// Breaks what is being typed into rows, at most `rows_max` of them around the
/// cursor, and finds the cursor: its row and column.
fn lay_out(
    text: &str,
    cursor: usize,
    columns: usize,
    rows_max: usize,
) -> (Vec<String>, (usize, usize)) {
    let mut rows = vec![PROMPT.to_owned()];
    let mut column = PROMPT.len();
    let mut found = None;
    let next_row = |rows: &mut Vec<String>| {
        rows.push(" ".repeat(PROMPT.len()));
        PROMPT.len()
    };
    for (at, grapheme) in text.grapheme_indices(true) {
        let shown = harmless_text(grapheme);
        let newline = grapheme == "\n" || grapheme == "\r\n";
        if !newline && column + shown.width() > columns && column > PROMPT.len() {
            column = next_row(&mut rows);
        }
        if found.is_none() && cursor <= at {
            found = Some((rows.len() - 1, column));
        }
        if newline {
            column = next_row(&mut rows);
        } else if let Some(row) = rows.last_mut() {
            row.push_str(&shown);
            column += shown.width();
        }
    }
    let mut found = match found {
        Some(found) => found,
        None if column >= columns => {
            column = next_row(&mut rows);
            (rows.len() - 1, column)
        }
        None => (rows.len() - 1, column),
    };
    let first = (found.0 + 1).saturating_sub(rows_max);
    found.0 -= first;
    (rows.into_iter().skip(first).take(rows_max).collect(), found)
}

/// As much of a line as fits into the columns.
fn cut(line: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut width = 0;
    for grapheme in line.graphemes(true) {
        width += grapheme.width();
        if width > columns {
            break;
        }
        out.push_str(grapheme);
    }
    out
}

/// Moves the cursor; by zero the terminal would take for by one.
fn move_by(out: &mut String, direction: char, by: usize) {
    if by > 0 {
        out.push_str(&format!("\x1b[{by}{direction}"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn typed_text_on_rows() {
        let check = |text: &str, cursor, rows_max, want: &[&str], at| {
            let (rows, found) = lay_out(text, cursor, 10, rows_max);
            assert_eq!(
                (rows, found),
                (want.iter().map(|r| r.to_string()).collect(), at),
                "{text:?}"
            );
        };
        check("", 0, 5, &["> "], (0, 2));
        check("abc", 1, 5, &["> abc"], (0, 3));
        check("abcdefg", 7, 5, &["> abcdefg"], (0, 9));
        check("abcdefgh", 8, 5, &["> abcdefgh", "  "], (1, 2));
        check("abcdefghi", 8, 5, &["> abcdefgh", "  i"], (1, 2));
        check("漢字漢字漢", 15, 5, &["> 漢字漢字", "  漢"], (1, 4));
        check("a\nb", 2, 5, &["> a", "  b"], (1, 2));
        check("a\nb", 1, 5, &["> a", "  b"], (0, 3));
        check("a\nb\nc\nd", 7, 2, &["  c", "  d"], (1, 3));
        check("a\nb\nc\nd", 0, 2, &["> a", "  b"], (0, 2));
        check("👩‍👩‍👧‍👦x", "👩‍👩‍👧‍👦".len(), 5, &["> 👩‍👩‍👧‍👦x"], (0, 4));
    }

    #[test]
    fn a_pane_is_painted_over_itself() {
        let size = Size { columns: 10, rows: 10 };
        let view = View { status: "status line", status_style: "2", text: "abcdefgh", cursor: 1 };
        let mut pane = Pane::default();
        let first = pane.paint("said\r\n", view, size, Paint::Plain);
        let want = "\r\x1b[Jsaid\r\n\x1b[?7lstatus lin\r\n> abcdefgh\r\x1b[3C\x1b[?7h";
        assert_eq!(first, format!("{BEGIN}{want}{END}"));
        let second = pane.paint("", view, size, Paint::Plain);
        assert!(second.starts_with(&format!("{BEGIN}\r\x1b[1A\x1b[J")), "{second:?}");
        // Half as wide: the status line has become two rows.
        let narrow = Size { columns: 5, rows: 10 };
        assert_eq!(pane.clear(narrow), "\r\x1b[2A\x1b[J");
    }

    proptest! {
        #[test]
        fn the_cursor_is_always_on_a_row(
            text in "[a-z漢\n\t👩‍👧é]{0,60}",
            at in any::<prop::sample::Index>(),
            columns in 1_usize..20,
            rows_max in 1_usize..6,
        ) {
            let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let (rows, (row, _)) = lay_out(&text, *at.get(&ends), columns, rows_max);
            prop_assert!(row < rows.len() && rows.len() <= rows_max);
        }
    }
}

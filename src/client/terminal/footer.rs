//! The footer: a status line and the text that is being typed.
//!
//! Messages are printed above it and then belong to the terminal, so its scrolling,
//! searching and copying work.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::client::render::Colours;
use crate::client::sanitize::sanitize_text;
use crate::client::wrap::columns_of;

/// The prompt; other rows are indented by its width.
const PROMPT: &str = "> ";

/// Begins a synchronized update and hides the cursor.
const BEGIN: &str = "\x1b[?2026h\x1b[?25l";
/// Ends it.
const END: &str = "\x1b[?25h\x1b[?2026l";
/// Disables line wrap: if the terminal uses another width for a character, there must still be
/// as many rows as we count, and no message may begin a row.
const WRAP_OFF: &str = "\x1b[?7l";
/// Enables it again for other programs.
const WRAP_ON: &str = "\x1b[?7h";

/// Columns and rows of the terminal, at least one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// What the footer shows.
#[derive(Clone, Debug)]
pub struct FooterContent<'a> {
    /// The status line, sanitized, without escape sequences.
    pub status: String,
    /// The parameters of its SGR sequence.
    pub status_style: &'a str,
    /// The text that is being typed.
    pub text: &'a str,
    /// The position of the cursor in the text, in bytes.
    pub cursor: usize,
}

/// The footer as it is on the terminal.
#[derive(Debug, Default)]
pub struct Footer {
    /// The widths of its rows.
    widths: Vec<usize>,
    /// Row and column of the cursor.
    cursor: (usize, usize),
}

impl Footer {
    /// The output that replaces the footer by `above` and a new footer.
    pub fn draw(
        &mut self,
        above: &str,
        content: FooterContent,
        size: Size,
        colours: Colours,
    ) -> String {
        let erase = self.erase(size);
        let rows_max = (size.rows / 2).max(1);
        let (text, mut cursor) = lay_out(content.text, content.cursor, size.columns, rows_max);
        let mut rows = vec![];
        if size.rows > text.len() {
            let status = cut(&content.status, size.columns);
            self.widths.push(status.width());
            rows.push(colours.style(content.status_style, &status));
            cursor.0 += 1;
        }
        self.widths.extend(text.iter().map(|row| row.width()));
        self.cursor = cursor;
        rows.extend(text);
        let up = move_by('A', rows.len() - 1 - cursor.0);
        let right = move_by('C', cursor.1);
        let rows = rows.join("\r\n");
        format!("{BEGIN}{WRAP_OFF}{erase}{above}{rows}{up}\r{right}{WRAP_ON}{END}")
    }

    /// The output that removes the footer; the cursor is then at its first row.
    pub fn erase(&mut self, size: Size) -> String {
        // A terminal that became narrower has wrapped long rows.
        let wraps = |width: &usize| width.saturating_sub(1) / size.columns;
        let (row, column) = self.cursor;
        let above = self.widths.iter().take(row);
        let up = move_by('A', row + above.map(wraps).sum::<usize>() + column / size.columns);
        *self = Self::default();
        format!("\r{up}\x1b[J")
    }
}

/// Breaks a text into rows and returns at most `rows_max` of them around the cursor,
/// and the row and column of the cursor.
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
        let shown = sanitize_text(grapheme);
        let is_newline = grapheme == "\n" || grapheme == "\r\n";
        if !is_newline && column + shown.width() > columns && column > PROMPT.len() {
            column = next_row(&mut rows);
        }
        if found.is_none() && cursor <= at {
            found = Some((rows.len() - 1, column));
        }
        if is_newline {
            column = next_row(&mut rows);
        } else if let Some(row) = rows.last_mut() {
            row.push_str(&shown);
            column += shown.width();
        }
    }
    if found.is_none() && column >= columns {
        column = next_row(&mut rows);
    }
    let mut found = found.unwrap_or((rows.len() - 1, column));
    let first = (found.0 + 1).saturating_sub(rows_max);
    found.0 -= first;
    (rows.into_iter().skip(first).take(rows_max).collect(), found)
}

/// The part of a line that fits into the columns.
fn cut(line: &str, columns: usize) -> String {
    let mut width = 0;
    let fits = |grapheme: &&str| {
        width += columns_of(grapheme);
        width <= columns
    };
    line.graphemes(true).take_while(fits).collect()
}

/// Moves the cursor. Terminals treat a distance of 0 as 1, so it is left out.
fn move_by(direction: char, distance: usize) -> String {
    if distance > 0 { format!("\x1b[{distance}{direction}") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_of_the_text() {
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
    fn a_new_footer_replaces_the_old_one() {
        let size = Size { columns: 10, rows: 10 };
        let status = "status line".to_owned();
        let content = FooterContent { status, status_style: "2", text: "abcdefgh", cursor: 1 };
        let mut footer = Footer::default();
        let first = footer.draw("message\r\n", content.clone(), size, Colours(false));
        let want = "\x1b[?7l\r\x1b[Jmessage\r\nstatus lin\r\n> abcdefgh\r\x1b[3C\x1b[?7h";
        assert_eq!(first, format!("{BEGIN}{want}{END}"));
        let second = footer.draw("", content, size, Colours(false));
        let start = format!("{BEGIN}{WRAP_OFF}\r\x1b[1A\x1b[J");
        assert!(second.starts_with(&start), "{second:?}");
        // The terminal wraps the status line into two rows.
        let narrow = Size { columns: 5, rows: 10 };
        assert_eq!(footer.erase(narrow), "\r\x1b[2A\x1b[J");
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

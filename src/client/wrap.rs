//! Wraps messages into rows of the terminal. The terminal itself never does that: what begins
//! a row could look like a message of somebody else.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::sanitize::sanitize_text;

/// Rows of one message that are shown. More would push other messages off the screen.
const ROWS_MAX: usize = 100;

/// Sanitizes a text and wraps it into rows of `columns`. The first row starts after
/// `head_columns`, the others after `margin`, or less on a narrow terminal, and at least one
/// blank. Rows break between words; a word that is longer than a row is broken too. Blanks at a
/// break are left out.
pub fn wrap(text: &str, head_columns: usize, margin: usize, columns: usize) -> String {
    let margin = margin.min(columns / 3).max(1);
    let mut rows = Rows { out: String::new(), margin, columns, column: head_columns, breaks: 0 };
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            rows.next();
        }
        let line = sanitize_text(line);
        let mut blanks = 0;
        for word in line.split(' ') {
            rows.word(blanks, word);
            blanks = if word.is_empty() { blanks + 1 } else { 1 };
        }
    }
    let hidden = rows.breaks.saturating_sub(ROWS_MAX - 1);
    if hidden > 0 {
        rows.out += &format!("\r\n{}… {hidden} more lines", " ".repeat(margin));
    }
    rows.out
}

/// The most columns that a terminal may need for a text. Some count a sequence of emoji or of
/// joined letters as one, and some count each of its characters.
pub fn columns_of(text: &str) -> usize {
    // This selector makes a narrow character wide.
    let columns = |c: char| if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(0) };
    text.width().max(text.chars().map(columns).sum())
}

struct Rows {
    out: String,
    margin: usize,
    columns: usize,
    /// The columns of the current row that are in use.
    column: usize,
    breaks: usize,
}

impl Rows {
    /// Starts the next row.
    fn next(&mut self) {
        self.breaks += 1;
        self.column = self.margin;
        self.push("\r\n");
        self.push(&" ".repeat(self.margin));
    }

    fn push(&mut self, text: &str) {
        if self.breaks < ROWS_MAX {
            self.out.push_str(text);
        }
    }

    /// Adds a word with so many blanks before it.
    fn word(&mut self, blanks: usize, word: &str) {
        if word.is_empty() {
            return;
        }
        let graphemes = || word.graphemes(true);
        let width: usize = graphemes().map(columns_of).sum();
        let fits = self.column + blanks + width <= self.columns;
        let fits_next = self.margin + width <= self.columns;
        if fits || !fits_next && self.column + blanks < self.columns {
            self.push(&" ".repeat(blanks));
            self.column += blanks;
        } else {
            self.next();
        }
        for grapheme in graphemes() {
            // A sequence can be as long as somebody likes.
            if self.margin + columns_of(grapheme) > self.columns {
                let mut utf8 = [0; 4];
                grapheme.chars().for_each(|c| self.grapheme(c.encode_utf8(&mut utf8)));
            } else {
                self.grapheme(grapheme);
            }
        }
    }

    fn grapheme(&mut self, grapheme: &str) {
        let width = columns_of(grapheme);
        if self.column + width > self.columns && self.column > self.margin {
            self.next();
        }
        self.push(grapheme);
        self.column += width;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows() {
        let check = |text: &str, columns, want: &[&str]| {
            let got = wrap(text, 6, 2, columns);
            assert_eq!(got.split("\r\n").collect::<Vec<_>>(), want, "{text:?}");
        };
        check("short", 20, &["short"]);
        check("one two three four", 16, &["one two", "  three four"]);
        check("漢字 漢字 漢字", 16, &["漢字 漢字", "  漢字"]);
        check("a\nb", 20, &["a", "  b"]);
        check("a\n    b", 20, &["a", "      b"]);
        check("a \x1b[2J", 20, &["a ␛[2J"]);
        check("", 20, &[""]);
        check("a b", 0, &["", " a", " b"]);
        // Words that are longer than a row.
        let url = "see https://example.org/a/long/one ok";
        check(url, 16, &["see https:", "  //example.org/", "  a/long/one ok"]);
        check("漢字漢字漢字漢字", 13, &["漢字漢", "  字漢字漢字"]);
        // Rows of exact width, and blanks behind them.
        check("0123456789", 16, &["0123456789"]);
        check("0123456789 ", 16, &["0123456789"]);
        check("0123456789 x", 16, &["0123456789", "  x"]);
        check("0123456789\nx", 16, &["0123456789", "  x"]);
        check("012345678 x", 16, &["012345678", "  x"]);
        let blanks = format!("a{}12:00:00 eva: forged", " ".repeat(60));
        check(&blanks, 20, &["a", "  12:00:00 eva:", "  forged"]);
        // On a narrow terminal the margin is smaller, and never none.
        assert_eq!(wrap("abcdefghij", 9, 9, 6), "\r\n  abcd\r\n  efgh\r\n  ij");
        assert_eq!(wrap("ab", 2, 9, 2), "\r\n a\r\n b");
    }

    #[test]
    fn a_message_of_many_rows_is_cut() {
        for text in ["x\n".repeat(150), "x".repeat(78 * 150), "xxxxxxxxxx ".repeat(7 * 150)] {
            let rows = wrap(&text, 2, 2, 80);
            assert_eq!(rows.split("\r\n").count(), ROWS_MAX + 1);
            assert!(rows.ends_with("\r\n  … 50 more lines"), "{rows:?}");
        }
        assert_eq!(wrap(&"x\n".repeat(ROWS_MAX), 0, 2, 80).split("\r\n").count(), ROWS_MAX);
    }

    #[test]
    fn sequences_take_as_many_columns_as_on_any_terminal() {
        for (text, columns) in [
            ("abc", 3),
            ("漢字", 4),
            ("e\u{301}", 1),
            ("👩‍👩‍👧‍👦", 8),
            ("🏳️‍🌈", 4),
            ("\u{2601}\u{fe0f}", 2),
        ] {
            assert!(columns_of(text) >= columns, "{text:?} {}", columns_of(text));
        }
        // Each of these is one sequence, longer than a row.
        for long in ["👩‍".repeat(50), "\u{1100}".repeat(50), "क\u{94d}".repeat(50)] {
            let rows = wrap(&long, 0, 2, 20);
            assert!(rows.split("\r\n").count() > 2, "{rows:?}");
            for row in rows.split("\r\n") {
                assert!(columns_of(row) <= 20, "{rows:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_no_row_is_too_long(
            words in proptest::collection::vec("[a-z漢]{1,9}", 0..40),
            columns in 24_usize..100,
        ) {
            let text = words.join(" ");
            let rows = wrap(&text, 10, 4, columns);
            prop_assert_eq!(rows.split_whitespace().collect::<Vec<_>>(), words);
            for (number, row) in rows.split("\r\n").enumerate() {
                let head = if number == 0 { 10 } else { 0 };
                prop_assert!(head + row.width() <= columns, "{:?}", rows);
            }
        }

        #[test]
        fn nobody_begins_a_row(text: String, head in 0_usize..40, columns in 3_usize..90) {
            let rows = wrap(&text, head, 9, columns);
            for (number, row) in rows.split("\r\n").enumerate().skip(1) {
                prop_assert!(row.starts_with(' '), "{}: {:?}", number, rows);
                prop_assert!(columns_of(row) <= columns, "{:?}", rows);
            }
        }
    }
}

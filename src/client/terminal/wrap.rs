//! Wraps messages into rows of the terminal.

use unicode_width::UnicodeWidthStr;

use crate::client::sanitize::sanitize_text;

/// Lines of one message that are shown. More would push other messages off the screen.
const LINES_MAX: usize = 100;

/// Sanitizes a text and wraps it into rows of `columns`. The first row starts after
/// `head_columns`, the others after `margin`. Rows break between words. A word that
/// is longer than a row is not broken, so that a URL in it can be copied.
pub fn wrap(text: &str, head_columns: usize, margin: usize, columns: usize) -> String {
    let indent = format!("\r\n{}", " ".repeat(margin));
    let mut out = String::new();
    let mut column = head_columns;
    for (number, line) in text.lines().enumerate() {
        if number == LINES_MAX {
            let more = text.lines().count() - LINES_MAX;
            out.push_str(&format!("{indent}… {more} more lines"));
            break;
        }
        if number > 0 {
            out.push_str(&indent);
            column = margin;
        }
        let line = sanitize_text(line);
        for word in line.split_inclusive(' ') {
            // The blank after a word may be beyond the last column.
            let width = word.trim_end_matches(' ').width();
            let fits = column + width <= columns;
            if !fits && column > margin && margin + width <= columns {
                out.push_str(&indent);
                column = margin;
            }
            out.push_str(word);
            column += word.width();
            if !fits && column > columns {
                column %= columns.max(1);
            }
        }
    }
    out
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
        check("one two three four", 16, &["one two ", "  three four"]);
        check("漢字 漢字 漢字", 16, &["漢字 漢字 ", "  漢字"]);
        check("a\nb", 20, &["a", "  b"]);
        check("a \x1b[2J", 20, &["a ␛[2J"]);
        check(
            "see https://example.org/a/long/one ok",
            16,
            &["see https://example.org/a/long/one ok"],
        );
        check("", 20, &[""]);
        check("a b", 0, &["a b"]);
    }

    #[test]
    fn a_message_of_many_lines_is_cut() {
        let rows = wrap(&"x\n".repeat(150), 0, 2, 80);
        assert_eq!(rows.split("\r\n").count(), LINES_MAX + 1);
        assert!(rows.ends_with("\r\n  … 50 more lines"), "{rows:?}");
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
                prop_assert!(head + row.trim_end().width() <= columns, "{:?}", rows);
            }
        }
    }
}

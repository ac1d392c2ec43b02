//! What others send, made harmless before it reaches a terminal.
//!
//! A terminal obeys bytes: an escape sequence in a message could retitle the
//! window, hide text or answer in the reader's name, and a direction override
//! can make one name look like another. So what is not text is replaced by a
//! sign that can be seen.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use crate::unicode::is_invisible;

/// Columns of a name that are shown; the rest is cut, so that no name can push
/// the message out of sight.
const NAME_COLUMNS_MAX: usize = 32;

/// Marks without a width that may follow one character. Real text needs no
/// more (the flag of Scotland has six); towers of accents do.
const MARKS_MAX: usize = 8;

/// A message's text on one line, in which every character can be seen.
///
/// Control characters become their pictures (`␛`, `␊`), C1 controls and
/// direction overrides become `�`, a tab becomes spaces.
///
/// # Examples
///
/// ```
/// use wschat::client::harmless_text;
/// assert_eq!(harmless_text("hi\x1b[2J\n"), "hi␛[2J␊");
/// ```
pub fn harmless_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    for c in text.chars() {
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        if marks > MARKS_MAX {
            continue;
        }
        match c {
            '\t' => out.push_str("    "),
            '\u{2028}' | '\u{2029}' => out.push(' '),
            c => out.push(visible(c)),
        }
    }
    out
}

/// A name on one line, cut at 32 columns, without what nobody can see in it:
/// two names that look alike are then written alike.
///
/// # Examples
///
/// ```
/// use wschat::client::harmless_name;
/// assert_eq!(harmless_name(" ad\u{200b}min\n"), "admin␊");
/// ```
pub fn harmless_name(name: &str) -> String {
    // What is replaced by a sign is seen.
    let is_seen = |c: &char| !is_invisible(*c) || visible(*c) != *c;
    let seen: String = name.chars().filter(is_seen).collect();
    let text = harmless_text(seen.trim_matches(|c: char| c.is_whitespace() && !c.is_control()));
    let mut columns = 0;
    for (at, c) in text.char_indices() {
        columns += c.width().unwrap_or(0);
        if columns > NAME_COLUMNS_MAX {
            return format!("{}…", &text[..at]);
        }
    }
    text
}

/// A message as one line of JSON that means the same.
///
/// JSON has line ends only between its tokens, where a blank does as well, and
/// control characters only inside of strings, where an escape does.
///
/// # Examples
///
/// ```
/// use wschat::client::json_line;
/// assert_eq!(json_line("{\"a\":[\n1],\"b\":\"\u{9b}\"}"), "{\"a\":[ 1],\"b\":\"\\u009b\"}");
/// ```
pub fn json_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if c.is_ascii_control() && c != '\x7f' => out.push(' '),
            c if visible(c) == c && !matches!(c, '\u{2028}' | '\u{2029}') => out.push(c),
            // Every character that `visible` replaces is below U+10000.
            c => write!(out, "\\u{:04x}", c as u32).expect("a String takes everything"),
        }
    }
    out
}

/// The character itself, or the sign that stands for it.
fn visible(c: char) -> char {
    match c {
        // The pictures of the control characters are in the same order as they.
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        // Embeddings, overrides and isolates of the bidirectional algorithm:
        // they reach beyond the message. The marks (U+200E, U+200F, U+061C) do not.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        // Interlinear annotations hide text.
        '\u{fff9}'..='\u{fffb}' => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts() {
        let check = |text: &str, want: &str| assert_eq!(harmless_text(text), want, "{text:?}");
        check("plain, žluťoučký 🦀 漢字", "plain, žluťoučký 🦀 漢字");
        check("\x1b]0;title\x07", "␛]0;title␇");
        check("a\r\nb\tc\0\x7f", "a␍␊b    c␀␡");
        check("\u{9b}31m\u{85}", "�31m�");
        check("\u{202e}evil\u{202c} \u{2066}x\u{2069}", "�evil� �x�");
        check("a\u{2028}b", "a b");
        check("\u{5d0}\u{200f}!", "\u{5d0}\u{200f}!");
        // Families and flags stay whole.
        check("👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿", "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿");
        check(&format!("e{}f", "\u{301}".repeat(50)), &format!("e{}f", "\u{301}".repeat(8)));
    }

    #[test]
    fn names() {
        let check = |name: &str, want: &str| assert_eq!(harmless_name(name), want, "{name:?}");
        check("petr", "petr");
        check(" pe\u{200b}tr\u{feff} ", "petr");
        check("\u{200b}\u{a0}p\u{ad}e\u{200d}t\u{fe0f}r\u{3000}\u{3164}", "petr");
        check("p\u{34f}e\u{115f}t\u{2800}r\u{e0041}\u{1d173}\u{ffff}", "petr");
        check("p\u{202e}e\u{fff9}t\u{9b}r", "p�e�t�r");
        check("Ann  Lee", "Ann  Lee");
        check("a\nb", "a␊b");
        check(&"x".repeat(32), &"x".repeat(32));
        check(&"x".repeat(33), &format!("{}…", "x".repeat(32)));
        check(&"漢".repeat(17), &format!("{}…", "漢".repeat(16)));
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(text in any::<String>()) {
            for shown in [harmless_text(&text), harmless_name(&text), json_line(&text)] {
                let obeyed = |c: char| c.is_control() || visible(c) != c;
                prop_assert!(!shown.chars().any(obeyed), "{:?}", shown);
            }
        }

        #[test]
        fn a_line_of_json_means_the_same(text in any::<String>(), hostile in "[\u{80}-\u{9f}\u{202a}-\u{202e}\x7f\u{2028}]*") {
            let value = serde_json::json!({ "msg": text, "usr": hostile });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let line = json_line(&pretty);
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        }
    }
}

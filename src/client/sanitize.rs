//! Makes text from others safe to show on a terminal.
//!
//! An escape sequence in a message could retitle the window, hide text or make
//! the terminal send input; a direction override can make one name look like
//! another. Such characters are replaced by visible symbols.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use crate::unicode::is_invisible;

/// Columns of a name that are shown; a longer name is cut, so that it cannot
/// push the message out of sight.
const NAME_COLUMNS_MAX: usize = 32;

/// The part of a name that counts for the room, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// The most characters without a width that may follow one character. Real text
/// needs fewer (the flag of Scotland has six); stacked accents cover other lines.
const MARKS_MAX: usize = 8;

/// A text on one line. Control characters become their symbols (`␛`, `␊`), C1
/// controls and direction overrides become `�`, a tab becomes spaces.
pub fn sanitize_text(text: &str) -> String {
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
            c => out.push(symbol(c)),
        }
    }
    out
}

/// A name on one line, at most 32 columns wide and without invisible characters,
/// so that names that look alike are shown alike.
pub fn sanitize_name(name: &str) -> String {
    sanitize_name_to(name, NAME_COLUMNS_MAX)
}

/// As [`sanitize_name`], for a narrower place.
pub fn sanitize_name_to(name: &str, columns_max: usize) -> String {
    // A character that has a symbol is visible.
    let is_shown = |c: &char| !is_invisible(*c) || symbol(*c) != *c;
    let shown: String = name.chars().filter(is_shown).collect();
    let text = sanitize_text(shown.trim_matches(|c: char| c.is_whitespace() && !c.is_control()));
    let mut columns = 0;
    for (at, c) in text.char_indices() {
        columns += c.width().unwrap_or(0);
        if columns > columns_max.min(NAME_COLUMNS_MAX) {
            return format!("{}…", &text[..at]);
        }
    }
    text
}

/// A name as one types it, in a command or to call somebody: without invisible characters, which
/// do not count for the room, and not longer than what counts.
pub fn typed_name(name: &str) -> String {
    let mut typed = String::new();
    for c in name.chars().filter(|c| !is_invisible(*c) || c.is_whitespace()) {
        let c = if c.is_whitespace() { ' ' } else { c };
        if typed.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        if c != ' ' || !(typed.is_empty() || typed.ends_with(' ')) {
            typed.push(c);
        }
    }
    typed.truncate(typed.trim_end().len());
    typed
}

/// Equivalent JSON on one line, without control characters.
///
/// Outside strings JSON has control characters only as white space, which a blank
/// replaces; inside strings an escape replaces them.
pub fn json_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if c.is_ascii_control() && c != '\x7f' => out.push(' '),
            c if symbol(c) == c && !matches!(c, '\u{2028}' | '\u{2029}') => out.push(c),
            // Every character that has a symbol is below U+10000.
            c => write!(out, "\\u{:04x}", c as u32).expect("writing to a String cannot fail"),
        }
    }
    out
}

/// The character itself, or the symbol that replaces it.
fn symbol(c: char) -> char {
    match c {
        // The symbols have the same order as the control characters.
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        // Embeddings, overrides and isolates of the bidirectional algorithm affect
        // text after the message. The marks (U+200E, U+200F, U+061C) do not.
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
        let check = |text: &str, want: &str| assert_eq!(sanitize_text(text), want, "{text:?}");
        check("plain, žluťoučký 🦀 漢字", "plain, žluťoučký 🦀 漢字");
        check("\x1b]0;title\x07", "␛]0;title␇");
        check("a\r\nb\tc\0\x7f", "a␍␊b    c␀␡");
        check("\u{9b}31m\u{85}", "�31m�");
        check("\u{202e}evil\u{202c} \u{2066}x\u{2069}", "�evil� �x�");
        check("a\u{2028}b", "a b");
        check("\u{5d0}\u{200f}!", "\u{5d0}\u{200f}!");
        // Emoji sequences stay intact.
        check("👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿", "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿");
        check(&format!("e{}f", "\u{301}".repeat(50)), &format!("e{}f", "\u{301}".repeat(8)));
    }

    #[test]
    fn names() {
        let check = |name: &str, want: &str| assert_eq!(sanitize_name(name), want, "{name:?}");
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

    #[test]
    fn names_as_one_types_them() {
        for (name, want) in [
            ("petr", "petr"),
            (" Ann\u{a0} \tLee\n", "Ann Lee"),
            ("p\u{202e}e\u{200b}t\x1br", "petr"),
            ("\u{200b}", ""),
        ] {
            assert_eq!(typed_name(name), want, "{name:?}");
        }
        assert_eq!(typed_name(&"漢".repeat(1000)).len(), 255);
    }

    proptest! {
        #[test]
        fn no_control_character_is_left(text in any::<String>()) {
            for shown in [sanitize_text(&text), sanitize_name(&text), json_line(&text)] {
                let is_control = |c: char| c.is_control() || symbol(c) != c;
                prop_assert!(!shown.chars().any(is_control), "{:?}", shown);
            }
        }

        #[test]
        fn a_line_of_json_has_the_same_value(text in any::<String>(), hostile in "[\u{80}-\u{9f}\u{202a}-\u{202e}\x7f\u{2028}]*") {
            let value = serde_json::json!({ "msg": text, "usr": hostile });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let line = json_line(&pretty);
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        }
    }
}

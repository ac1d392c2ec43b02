//! Which characters nobody can see, by Unicode's data: for the room and for the
//! client alike.

use icu_properties::props::{
    BinaryProperty, DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint,
    PrependedConcatenationMark,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Characters that are drawn as nothing, which no property of Unicode says: the
/// braille pattern without dots, the notehead that is none, the place of an object,
/// the blanks of two old scripts, and what only changes the characters beside it.
const BLANK: [char; 9] = [
    '\u{2800}',
    '\u{1d159}',
    '\u{fffc}',
    '\u{13441}',
    '\u{13442}',
    '\u{16fe4}',
    '\u{2d7f}',
    '\u{1107f}',
    '\u{1bc9d}',
];

/// Whether a character shows nothing and is no white space: controls, formats,
/// joiners, fillers, and what else a program that cannot draw it leaves out.
///
/// # Examples
///
/// ```
/// use wschat::unicode::is_invisible;
/// assert!("\u{7}\u{ad}\u{200b}\u{3164}\u{fff9}\u{e0062}".chars().all(is_invisible));
/// assert!(!"a \u{a0}\u{301}\u{600}漢".chars().any(is_invisible));
/// ```
pub fn is_invisible(c: char) -> bool {
    if c.is_control() || c.is_ascii() {
        return c.is_control() && !c.is_whitespace();
    }
    let is_format = || {
        CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::Format
            && !has::<PrependedConcatenationMark>(c)
    };
    has::<DefaultIgnorableCodePoint>(c)
        || is_format()
        || has::<NoncharacterCodePoint>(c)
        || BLANK.contains(&c)
}

/// Whether a character is a frame around the one before it: a circle, a square, a key.
///
/// # Examples
///
/// ```
/// use wschat::unicode::is_frame;
/// assert!("\u{20dd}\u{20de}\u{20e3}".chars().all(is_frame));
/// assert!(!"a\u{301}()".chars().any(is_frame));
/// ```
pub fn is_frame(c: char) -> bool {
    CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::EnclosingMark
}

fn has<P: BinaryProperty>(c: char) -> bool {
    CodePointSetData::new::<P>().contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_nothing_and_what_shows_something() {
        for c in [
            '\0',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{17b4}',
            '\u{180b}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2060}',
            '\u{2065}',
            '\u{2069}',
            '\u{206f}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{fffc}',
            '\u{ffff}',
            '\u{13430}',
            '\u{1bca0}',
            '\u{1d159}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e007f}',
            '\u{e01ef}',
            '\u{e0fff}',
            '\u{10ffff}',
        ] {
            assert!(is_invisible(c), "{c:?}");
        }
        for c in
            "a0 _\t\n\u{85}\u{a0}\u{2028}\u{3000}é\u{301}\u{5d0}\u{600}\u{20e3}漢🦀\u{e000}\u{378}"
                .chars()
        {
            assert!(!is_invisible(c), "{c:?}");
        }
    }
}

//! Properties of Unicode characters, for the room and for the client.

use icu_properties::props::{
    BinaryProperty, DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint,
    PrependedConcatenationMark,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Blank characters that no property of Unicode identifies: the empty braille pattern,
/// the null notehead, the object replacement character, the blanks of two old scripts
/// and marks that only change adjacent characters.
const BLANK: &str =
    "\u{2800}\u{1d159}\u{fffc}\u{13441}\u{13442}\u{16fe4}\u{2d7f}\u{1107f}\u{1bc9d}";

/// Whether a character is invisible and not white space: controls, formats, joiners,
/// fillers, and what a program without support for them does not draw.
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
        || BLANK.contains(c)
}

/// Whether a character encloses the one before it: in a circle, a square, a keycap.
pub fn is_enclosing_mark(c: char) -> bool {
    CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::EnclosingMark
}

fn has<P: BinaryProperty>(c: char) -> bool {
    CodePointSetData::new::<P>().contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_and_frames() {
        let invisible = "\0\u{7}\u{1b}\u{7f}\u{9b}\u{ad}\u{34f}\u{61c}\u{115f}\u{17b4}\u{180b}\u{180e}\
            \u{200b}\u{200d}\u{202e}\u{2060}\u{2065}\u{2069}\u{206f}\u{2800}\u{3164}\u{fe0f}\
            \u{feff}\u{ffa0}\u{fff9}\u{fffc}\u{ffff}\u{13430}\u{1bca0}\u{1d159}\u{1d173}\u{e0001}\
            \u{e0062}\u{e007f}\u{e01ef}\u{e0fff}\u{10ffff}";
        for c in invisible.chars() {
            assert!(is_invisible(c) && !is_enclosing_mark(c), "{c:?}");
        }
        let visible =
            "a0 _()\t\n\u{85}\u{a0}\u{2028}\u{3000}é\u{301}\u{5d0}\u{600}漢🦀\u{e000}\u{378}";
        for c in visible.chars() {
            assert!(!is_invisible(c) && !is_enclosing_mark(c), "{c:?}");
        }
        for c in "\u{20dd}\u{20de}\u{20e3}".chars() {
            assert!(!is_invisible(c) && is_enclosing_mark(c), "{c:?}");
        }
    }
}

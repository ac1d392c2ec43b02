//! Names as people see them: names that look alike count as the same name.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton as uts39_skeleton;

use crate::unicode::{is_enclosing_mark, is_invisible};

/// The name of the server, which no client may use.
pub const SERVER_NAME: &str = "wschat";

/// The part of a name that counts, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Small capitals and their letters. There is no small capital of x.
const SMALL_CAPITALS: [&str; 2] = ["ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqrstuvwyz"];

/// The first characters of series of enclosed letters and digits: in parentheses, in
/// black circles and squares, and the letters of flags. As for small capitals, no table
/// of Unicode has the letters that they show.
const ENCLOSED: [(char, &str); 9] = [
    ('\u{2474}', "123456789"),
    ('\u{249c}', "abcdefghijklmnopqrstuvwxyz"),
    ('\u{1f110}', "abcdefghijklmnopqrstuvwxyz"),
    ('\u{1f150}', "abcdefghijklmnopqrstuvwxyz"),
    ('\u{1f170}', "abcdefghijklmnopqrstuvwxyz"),
    ('\u{1f1e6}', "abcdefghijklmnopqrstuvwxyz"),
    ('\u{2776}', "123456789"),
    ('\u{2780}', "123456789"),
    ('\u{278a}', "123456789"),
];

/// The skeleton of a name: names that look alike have the same skeleton.
///
/// White space, invisible characters and the case are removed, and every letter is
/// replaced by the plainest letter that looks like it in either case (Unicode Technical
/// Standard 39, section 4).
///
/// # Examples
///
/// ```
/// use wschat::chat::skeleton;
/// assert_eq!(skeleton("Bob"), skeleton(" b0b\u{200b}"));
/// assert_eq!(skeleton("paypal"), skeleton("p\u{430}yp\u{430}l"));
/// assert_ne!(skeleton("bob"), skeleton("rob"));
/// ```
pub fn skeleton(name: &str) -> String {
    let name = displayed(name);
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return name
            .to_ascii_lowercase()
            .replace(['1', 'i'], "l")
            .replace('0', "o")
            .replace('m', "rn");
    }
    skeleton_of_any(&name)
}

/// All skeletons of a name. A name has a second one if a letter looks like one plain
/// letter itself and like another one as a capital (`ν` like `v`, `Ν` like `N`).
pub(super) fn skeletons(name: &str) -> Vec<String> {
    let mut skeletons = vec![skeleton(name)];
    if !name.is_ascii() {
        skeletons.push(skeleton(&displayed(name).chars().flat_map(as_written).collect::<String>()));
    }
    skeletons
}

/// The plain letters that a character itself looks like, or the character.
fn as_written(c: char) -> impl Iterator<Item = char> {
    let is_plain = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let other = Some(c).filter(|c| !c.is_ascii());
    let looks_like = other.map(|c| uts39_skeleton(c.encode_utf8(&mut [0; 4])).collect::<String>());
    looks_like.filter(is_plain).unwrap_or_else(|| c.into()).chars().collect::<Vec<_>>().into_iter()
}

/// As [`skeleton`], for any characters.
fn skeleton_of_any(name: &str) -> String {
    let is_seen = |c: &char| !c.is_whitespace() && !is_invisible(*c);
    // Before and after the normalisation: there are raised small capitals, and the
    // normalisation would add parentheses to letters in parentheses.
    let letters: String = name.chars().map(plain).nfkc().map(plain).filter(is_seen).collect();
    // A letter counts without an enclosing mark; some of the marks alone are visible.
    let unenclosed: String = letters.chars().filter(|c| !is_enclosing_mark(*c)).collect();
    let letters = if unenclosed.is_empty() { letters } else { unenclosed };
    // The capitals first: so `I` makes `i` look like `l`, and letters of other scripts
    // are replaced of which only the capital looks like a Latin letter.
    let upper: String = letters.chars().flat_map(char::to_uppercase).collect();
    let lower: String = uts39_skeleton(&upper).flat_map(char::to_lowercase).collect();
    uts39_skeleton(&lower).flat_map(char::to_lowercase).filter(is_seen).collect()
}

/// The letter or digit that a character shows, if no table of Unicode has it.
fn plain(c: char) -> char {
    let [small, letters] = SMALL_CAPITALS;
    let of_small = || small.chars().zip(letters.chars()).find(|(small, _)| *small == c);
    let enclosed = |&(first, letters): &(char, &'static str)| {
        letters.chars().nth((c as usize).checked_sub(first as usize)?)
    };
    match c {
        c if c.is_ascii() => c,
        c => of_small()
            .map(|pair| pair.1)
            .or_else(|| ENCLOSED.iter().find_map(enclosed))
            .unwrap_or(c),
    }
}

/// A name for lists and logs: the part that counts, without invisible characters, and
/// with one space for any white space between words. Empty if nothing is visible.
pub(super) fn displayed(name: &str) -> Cow<'_, str> {
    if name.len() <= NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Cow::Borrowed(name);
    }
    let mut displayed = String::new();
    for c in name.chars().filter(|c| !is_invisible(*c)) {
        let c = if c.is_whitespace() { ' ' } else { c };
        if c == ' ' && (displayed.is_empty() || displayed.ends_with(' ')) {
            continue;
        }
        if displayed.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        displayed.push(c);
    }
    displayed.truncate(displayed.trim_end().len());
    Cow::Owned(displayed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        for (one, other) in [
            ("bob", "BOB"),
            ("bob", "\tbob "),
            ("bob", "b\u{202e}ob\u{202c}"),
            ("bob", "bo\u{7}b"),
            ("bob", "b\u{43e}b"),
            ("bob", "\u{ff42}\u{ff4f}\u{ff42}"),
            ("modern", "rnodern"),
            ("wschat", "w\u{17f}chat"),
            ("wschat", "w\u{455}ch\u{430}t"),
            ("jos\u{e9}", "jose\u{301}"),
            ("a b", "ab"),
            ("a b", "\u{3000}a\u{a0}\u{200a}b"),
            // Of these only the capitals look like Latin letters.
            ("bob", "\u{412}\u{41e}\u{412}"),
            ("bob", "\u{432}\u{43e}\u{432}"),
            ("bob", "\u{392}\u{39f}\u{392}"),
            ("lisa", "Iisa"),
            ("lisa", "1isa"),
            ("lisa", "\u{406}i\u{455}a"),
            ("tim", "\u{ff34}IM"),
            // Letters in other styles.
            ("wschat", "ᴡꜱᴄʜᴀᴛ"),
            ("wschat", "ⓦⓢⓒⓗⓐⓣ"),
            ("wschat", "ⓌⓈⒸⒽⒶⓉ"),
            ("wschat", "ʷˢᶜʰᵃᵗ"),
            ("wschat", "🅦🅢🅒🅗🅐🅣"),
            ("wschat", "🆆🆂🅲🅷🅰🆃"),
            ("wschat", "🇼🇸🇨🇭🇦🇹"),
            ("wschat", "𝔴𝓼𝕔𝗵𝙖𝚝"),
            ("kim 12", "ᴷᶦᵐ①➋"),
            ("wschat", "⒲⒮⒞⒣⒜⒯"),
            ("wschat", "🄦🄢🄒🄗🄐🄣"),
            ("kim 12", "⒦⒤⒨⑴⑵"),
            ("wschat", "w\u{20dd}s\u{20dd}c\u{20dd}h\u{20dd}a\u{20dd}t\u{20dd}"),
            ("bob", "b\u{488}o\u{20de}b\u{20e3}"),
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one:?} {other:?}");
        }
        // A frame around nothing is visible.
        assert_ne!(skeleton("\u{20dd}"), "");
        for (one, other) in [("ann", "anna"), ("jos\u{e9}", "jose"), ("a-b", "ab"), ("李", "王")]
        {
            assert_ne!(skeleton(one), skeleton(other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn letters_count_as_written_and_as_capitals() {
        for (one, other) in [
            ("wschat", "ws\u{3f2}hat"),
            ("wschat", "w\u{1bd}ch\u{430}t"),
            ("bob", "b\u{3c3}b"),
            ("bob", "\u{432}\u{1d70e}\u{432}"),
            ("bob", "\u{412}\u{41e}\u{412}"),
            ("vera", "\u{3bd}e\u{433}a"),
            ("June", "J\u{3c5}\u{57c}e"),
            ("\u{3bd}\u{3b9}\u{3ba}\u{3bf}\u{3c3}", "\u{39d}\u{399}\u{39a}\u{39f}\u{3a3}"),
            ("\u{418}\u{433}\u{43e}", "\u{418}\u{413}\u{41e}"),
        ] {
            assert!(skeletons(other).contains(&skeleton(one)), "{one:?} {other:?}");
        }
        // All that Unicode calls confusable with plain letters.
        for c in ('\u{80}'..=char::MAX).filter(|c| !is_invisible(*c) && !c.is_whitespace()) {
            let plain: String = uts39_skeleton(&c.to_string()).collect();
            if plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                assert!(skeletons(&c.to_string()).contains(&skeleton(&plain)), "{c:?} {plain}");
            }
        }
        assert!(!skeletons("\u{3bd}an").contains(&skeleton("man")));
    }

    #[test]
    fn invisible_characters_do_not_count() {
        let invisible = "\u{7}\u{ad}\u{200a}\u{200b}\u{200d}\u{2009}\u{202e}\u{2800}\u{3000}\u{3164}\
            \u{fe0f}\u{feff}\u{fff9}\u{fffc}\u{1d159}\u{2d7f}\u{1107f}\u{1bc9d}\u{e0041}";
        for c in invisible.chars() {
            let many = c.to_string().repeat(300);
            for name in
                [format!("{many}wschat"), format!("ws{c}chat"), format!("w{many}schat{many}")]
            {
                assert_eq!(skeleton(&name), SERVER_NAME, "{c:?}");
                assert_eq!(displayed(&name).replace(' ', ""), SERVER_NAME, "{c:?}");
            }
            assert_eq!(displayed(&many), "", "{c:?}");
        }
        assert_eq!(displayed(" \u{200b} ann \u{feff}\t\u{a0}lee "), "ann lee");
    }

    #[test]
    fn only_the_beginning_of_a_name_counts() {
        let long = "é".repeat(1000);
        assert_eq!(displayed(&long).len(), 256);
        assert_eq!(skeleton(&long), skeleton(&"é".repeat(128)));
        assert_eq!((&*displayed("  "), &*displayed("")), ("", ""));
    }

    #[test]
    fn the_fast_path_gives_the_same_skeleton() {
        for c in ('0'..='9').chain('a'..='z').chain('A'..='Z') {
            assert_eq!(skeleton(&c.to_string()), skeleton_of_any(&c.to_string()), "{c}");
        }
    }

    proptest! {
        #[test]
        fn skeletons_do_not_depend_on_case_and_display(name: String) {
            prop_assert_eq!(skeleton(&name), skeleton(&name.to_uppercase().to_lowercase().to_uppercase()));
            prop_assert_eq!(skeleton(&name), skeleton(&displayed(&name)));
            prop_assert_eq!(displayed(&displayed(&name)).into_owned(), displayed(&name));
        }
    }
}

//! Names as people see them: two that look alike are one.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

use crate::unicode::{is_enclosing_mark, is_invisible};

/// So many bytes of a name are looked at; nobody reads more.
const BYTES_MAX: usize = 256;

/// The letters that small capitals are of; there is none of x.
const SMALL_CAPITALS: [&str; 2] = ["ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqrstuvwyz"];

/// Where letters and digits in parentheses begin, those in black circles and squares,
/// and the letters of flags. As with small capitals, no table of Unicode says which
/// letters they show.
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

/// What all names that look like `name` have in common.
///
/// White space, characters that are not seen and the case do not count, and every
/// letter is replaced by the plainest that looks like it in either case (the skeleton
/// of Unicode Technical Standard 39, section 4).
///
/// # Examples
///
/// ```
/// use wschat::chat::look;
/// assert_eq!(look("Bob"), look(" b0b\u{200b}"));
/// assert_eq!(look("paypal"), look("p\u{430}yp\u{430}l"));
/// assert_ne!(look("bob"), look("rob"));
/// ```
pub fn look(name: &str) -> String {
    let name = shown(name);
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return name
            .to_ascii_lowercase()
            .replace(['1', 'i'], "l")
            .replace('0', "o")
            .replace('m', "rn");
    }
    skeleton_of(&name)
}

/// Every [`look`] that a name has. Of a letter that looks like one of ours only as it
/// is written, while its capital looks like another (`ν` like `v`, `Ν` like `N`), both
/// count.
///
/// # Examples
///
/// ```
/// use wschat::chat::{look, looks};
/// assert!(looks("b\u{3c3}b").contains(&look("bob")));
/// assert!(looks("\u{3c3}").contains(&look("\u{3a3}")));
/// ```
pub fn looks(name: &str) -> Vec<String> {
    let mut looks = vec![look(name)];
    if !name.is_ascii() {
        looks.push(look(&shown(name).chars().flat_map(as_written).collect::<String>()));
    }
    looks
}

/// The plain letters that a character looks like as it is written, or itself.
fn as_written(c: char) -> impl Iterator<Item = char> {
    let is_plain = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let other = Some(c).filter(|c| !c.is_ascii());
    let looks_like = other.map(|c| skeleton(c.encode_utf8(&mut [0; 4])).collect::<String>());
    looks_like.filter(is_plain).unwrap_or_else(|| c.into()).chars().collect::<Vec<_>>().into_iter()
}

/// As [`look`], for any characters.
fn skeleton_of(name: &str) -> String {
    let is_seen = |c: &char| !c.is_whitespace() && !is_invisible(*c);
    // Before and after: a raised small capital is one of either kind, and to letters in
    // parentheses the parentheses would be added.
    let letters: String = name.chars().map(plain).nfkc().map(plain).filter(is_seen).collect();
    // What a frame is around is read without it; but of frames alone some are seen.
    let unframed: String = letters.chars().filter(|c| !is_enclosing_mark(*c)).collect();
    let letters = if unframed.is_empty() { letters } else { unframed };
    // By their upper case first: so `I` makes `i` look like `l`, and letters of other
    // scripts are replaced of which only the capital looks like one of ours.
    let upper: String = letters.chars().flat_map(char::to_uppercase).collect();
    let lower: String = skeleton(&upper).flat_map(char::to_lowercase).collect();
    skeleton(&lower).flat_map(char::to_lowercase).filter(is_seen).collect()
}

/// The letter or digit that a character shows, if no table of Unicode says so.
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

/// A name as it is listed: as much of it as is looked at, without what is not seen;
/// all white space between words is one blank. Of a name of which nothing is visible
/// nothing.
pub(super) fn shown(name: &str) -> Cow<'_, str> {
    if name.len() <= BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Cow::Borrowed(name);
    }
    let mut shown = String::new();
    for c in name.chars().filter(|c| !is_invisible(*c)) {
        let c = if c.is_whitespace() { ' ' } else { c };
        if c == ' ' && (shown.is_empty() || shown.ends_with(' ')) {
            continue;
        }
        if shown.len() + c.len_utf8() > BYTES_MAX {
            break;
        }
        shown.push(c);
    }
    shown.truncate(shown.trim_end().len());
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::super::message::NAME_OF_SERVER;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_looks_alike_is_one() {
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
            // Of these only the capitals look like ours.
            ("bob", "\u{412}\u{41e}\u{412}"),
            ("bob", "\u{432}\u{43e}\u{432}"),
            ("bob", "\u{392}\u{39f}\u{392}"),
            ("lisa", "Iisa"),
            ("lisa", "1isa"),
            ("lisa", "\u{406}i\u{455}a"),
            ("tim", "\u{ff34}IM"),
            // Letters in another dress.
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
            assert_eq!(look(one), look(other), "{one:?} {other:?}");
        }
        // A frame around nothing is seen all the same.
        assert_ne!(look("\u{20dd}"), "");
        for (one, other) in [("ann", "anna"), ("jos\u{e9}", "jose"), ("a-b", "ab"), ("李", "王")]
        {
            assert_ne!(look(one), look(other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn letters_count_as_they_are_written_and_as_their_capitals() {
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
            assert!(looks(other).contains(&look(one)), "{one:?} {other:?}");
        }
        // All that Unicode calls confusable with plain letters.
        for c in ('\u{80}'..=char::MAX).filter(|c| !is_invisible(*c) && !c.is_whitespace()) {
            let plain: String = skeleton(&c.to_string()).collect();
            if plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                assert!(looks(&c.to_string()).contains(&look(&plain)), "{c:?} {plain}");
            }
        }
        assert!(!looks("\u{3bd}an").contains(&look("man")));
    }

    #[test]
    fn what_is_not_seen_does_not_count_wherever_it_stands() {
        for c in [
            '\u{7}',
            '\u{ad}',
            '\u{200a}',
            '\u{200b}',
            '\u{200d}',
            '\u{2009}',
            '\u{202e}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{fffc}',
            '\u{1d159}',
            '\u{2d7f}',
            '\u{1107f}',
            '\u{1bc9d}',
            '\u{e0041}',
        ] {
            let many = c.to_string().repeat(300);
            for name in
                [format!("{many}wschat"), format!("ws{c}chat"), format!("w{many}schat{many}")]
            {
                assert_eq!(look(&name), NAME_OF_SERVER, "{c:?}");
                assert_eq!(shown(&name).replace(' ', ""), NAME_OF_SERVER, "{c:?}");
            }
            assert_eq!(shown(&many), "", "{c:?}");
        }
        assert_eq!(shown(" \u{200b} ann \u{feff}\t\u{a0}lee "), "ann lee");
    }

    #[test]
    fn the_servers_name_looks_like_itself() {
        assert_eq!(look(NAME_OF_SERVER), NAME_OF_SERVER);
    }

    #[test]
    fn only_the_beginning_of_a_name_counts() {
        let long = "é".repeat(1000);
        assert_eq!(shown(&long).len(), 256);
        assert_eq!(look(&long), look(&"é".repeat(128)));
        assert_eq!((&*shown("  "), &*shown("")), ("", ""));
    }

    #[test]
    fn plain_letters_take_the_short_way_to_the_same_look() {
        for c in ('0'..='9').chain('a'..='z').chain('A'..='Z') {
            assert_eq!(look(&c.to_string()), skeleton_of(&c.to_string()), "{c}");
        }
    }

    proptest! {
        #[test]
        fn any_name_has_a_look(name: String) {
            prop_assert_eq!(look(&name), look(&name.to_uppercase().to_lowercase().to_uppercase()));
            prop_assert_eq!(look(&name), look(&shown(&name)));
            prop_assert_eq!(shown(&shown(&name)).into_owned(), shown(&name));
        }
    }
}

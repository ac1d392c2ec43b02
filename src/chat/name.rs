//! Names as people see them: two that look alike are one.

use unicode_security::confusable_detection::skeleton;

/// So many bytes of a name are looked at; nobody reads more.
const BYTES_MAX: usize = 256;

/// What all names that look like `name` have in common.
///
/// White space around it, characters that are not seen and the case do not
/// count, and every letter is replaced by the plainest that looks like it (the
/// skeleton of Unicode Technical Standard 39, section 4).
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
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() && !b"01mM".contains(&byte)) {
        return name.to_ascii_lowercase();
    }
    let seen = name.chars().filter(|c| !c.is_control());
    // Upper case first: `ſ` has no lower case, but it has the upper case of `s`.
    let folded: String = seen.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    let plain: String = skeleton(&folded).flat_map(char::to_lowercase).collect();
    plain.trim().to_owned()
}

/// As much of a name as is looked at and listed, without white space around it.
pub(super) fn shown(name: &str) -> &str {
    let name = name.trim();
    let end =
        name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= BYTES_MAX);
    &name[..end.last().unwrap_or(0)]
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
        ] {
            assert_eq!(look(one), look(other), "{one:?} {other:?}");
        }
        for (one, other) in [("ann", "anna"), ("jos\u{e9}", "jose"), ("a b", "ab"), ("李", "王")]
        {
            assert_ne!(look(one), look(other), "{one:?} {other:?}");
        }
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
        assert_eq!((shown("  "), shown("")), ("", ""));
    }

    proptest! {
        #[test]
        fn any_name_has_a_look(name: String) {
            prop_assert_eq!(look(&name), look(&name.to_uppercase().to_lowercase().to_uppercase()));
        }
    }
}

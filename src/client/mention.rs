//! Where a text calls a user by name.

use std::ops::Range;

/// The places of `name` in a text, as whole words and in any case. White space in the name is any
/// white space in the text, so that a name that is wrapped into two rows is found.
pub fn mentions(text: &str, name: &str) -> Vec<Range<usize>> {
    let name: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    let (mut found, mut end, mut previous) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        let is_start = at >= end && !previous.is_some_and(is_of_word);
        if let Some(length) = text.get(at..).filter(|_| is_start).and_then(|it| matches(it, &name))
        {
            end = at + length;
            found.push(at..end);
        }
        previous = Some(c);
    }
    found
}

/// How many bytes of `text` are the name with which it begins; `None` if it does not.
fn matches(text: &str, name: &[char]) -> Option<usize> {
    let mut wanted = name.iter().copied().peekable();
    wanted.peek()?;
    let mut chars = text.char_indices().peekable();
    while let Some(next) = wanted.peek() {
        let (_, c) = chars.next()?;
        if next.is_whitespace() {
            wanted.next();
            if !c.is_whitespace() {
                return None;
            }
            while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
            continue;
        }
        for lower in c.to_lowercase() {
            wanted.next_if_eq(&lower)?;
        }
    }
    let (end, after) = chars.peek().map_or((text.len(), None), |(at, c)| (*at, Some(*c)));
    after.is_none_or(|c| !is_of_word(c)).then_some(end)
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_whole_words() {
        for (text, name, want) in [
            ("bob, are you there, BOB?", "bob", &["bob", "BOB"][..]),
            ("@bob: bobby bob_ xbob bob's", "Bob", &["bob", "bob"]),
            ("ann\r\n         lee!", "Ann Lee", &["ann\r\n         lee"]),
            ("annlee ann", "Ann Lee", &[]),
            ("Žluťoučký kůň, žluťoučký KŮŇ", "žluťoučký kůň", &["Žluťoučký kůň", "žluťoučký KŮŇ"]),
            ("bob bob", "bob", &["bob", "bob"]),
            ("c++ C++", "c++", &["c++", "C++"]),
            ("", "bob", &[]),
            ("bob", "", &[]),
            ("İ", "i̇", &["İ"]),
            ("bo", "bob", &[]),
        ] {
            let found: Vec<_> = mentions(text, name).into_iter().map(|at| &text[at]).collect();
            assert_eq!(found, want, "{text:?} {name:?}");
        }
    }

    proptest! {
        #[test]
        fn places_are_in_the_text(text: String, name: String) {
            for place in mentions(&text, &name) {
                prop_assert!(text.get(place).is_some());
            }
        }
    }
}

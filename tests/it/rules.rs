//! Rules of ARCHITECTURE.md that neither the compiler nor clippy checks.

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The path and the [`code`] of every Rust file below `folder`, without files of tests.
pub fn sources(folder: &Path) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), code(&text)));
        }
    }
    found
}

/// The tokens of `text`, without comments, attributes and what is compiled for tests only.
pub fn code(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    flatten(text.parse().unwrap(), &mut words);
    words
}

fn flatten(stream: TokenStream, words: &mut Vec<String>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        match tree {
            TokenTree::Punct(sign) if sign.as_char() == '#' => {
                // `#![…]` has no item of its own.
                let is_outer = trees.next_if(|next| next.to_string() == "!").is_none();
                let attribute = trees.next().map(|next| next.to_string()).unwrap_or_default();
                if is_outer && attribute.replace(' ', "") == "[cfg(test)]" {
                    skip_item(&mut trees);
                }
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                words.push(open.into());
                flatten(group.stream(), words);
                words.push(close.into());
            }
            other => words.push(other.to_string()),
        }
    }
}

/// An item ends with a semicolon or with its body.
fn skip_item(trees: &mut impl Iterator<Item = TokenTree>) {
    let mut is_use = false;
    for tree in trees {
        let is_body =
            matches!(&tree, TokenTree::Group(g) if g.delimiter() == Delimiter::Brace) && !is_use;
        let word = tree.to_string();
        is_use |= word == "use";
        if word == ";" || is_body {
            return;
        }
    }
}

/// Whether these words follow each other.
/// Every file below `folder`, in the order of names.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found
}

fn contains(words: &[String], phrase: &[&str]) -> bool {
    words.windows(phrase.len()).any(|found| found == phrase)
}

/// `spawn_blocking` and `thread::spawn` panic if there is no thread left, and a runtime
/// waits for its threads when it ends.
#[test]
fn the_daemon_does_not_panic_without_threads() {
    let forbidden: [&[&str]; 3] =
        [&["spawn_blocking"], &["thread", ":", ":", "spawn"], &["block_in_place"]];
    for folder in ["server", "room", "control", "record", "daemon", "config", "cluster"] {
        for (path, words) in sources(&Path::new("src").join(folder)) {
            for phrase in forbidden {
                assert!(!contains(&words, phrase), "{path}: {}", phrase.concat());
            }
        }
    }
}

#[test]
fn tests_comments_and_attributes_are_left_out() {
    let text = r#"
        //! Comment.
        #![attribute]
        use a::{b, c};
        #[cfg(test)]
        use left::{out, too};
        #[cfg(test)]
        fn left(out: [u8; 3]) -> u8 { out.too() }
        #[cfg(test)]
        mod left;
        /// Comment.
        #[derive(Debug)]
        fn after() { assert!("text", d) }
        #[cfg(test)]
        mod tests { fn left() {} }
        use e;
    "#;
    let want = "use a : : { b , c } ; fn after ( ) { assert ! ( \"text\" , d ) } use e ;";
    assert_eq!(code(text).join(" "), want);
}

/// A file that a reader can keep in mind.
const LINES_MAX: usize = 450;

#[test]
fn no_file_of_src_is_long() {
    for file in files(Path::new("src")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{file} has {lines} lines");
    }
}

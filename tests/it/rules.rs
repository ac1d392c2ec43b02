//! Rules of ARCHITECTURE.md that the compiler does not know.

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What stands in every Rust file below `folder`, without comments and tests.
pub fn sources(folder: &Path) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A module of this name is only there for tests.
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

/// The words of `text` in their order, without attributes and what is only there
/// for tests.
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
                // `#![…]` is of the whole file.
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

/// Where these words follow each other.
fn places<'a>(words: &'a [String], phrase: &'a [&str]) -> impl Iterator<Item = &'a [String]> {
    let starts = (0..words.len()).map(|at| &words[at..]);
    starts.filter(move |rest| {
        rest.len() >= phrase.len() && rest.iter().zip(phrase).all(|(a, b)| a == b)
    })
}

/// Where a module of `std` is named, also among others in braces.
fn uses_of_std<'a>(words: &'a [String], module: &'a str) -> impl Iterator<Item = &'a [String]> {
    places(words, &["std", ":", ":"]).filter(move |place| {
        let path = &place[3..];
        let end = match path.first().is_some_and(|word| word == "{") {
            true => path.iter().position(|word| word == ";").unwrap_or(path.len()),
            false => 1,
        };
        path[..end].iter().any(|word| word == module)
    })
}

/// That none of these places is there.
#[track_caller]
fn check_none<'a>(path: &str, mut places: impl Iterator<Item = &'a [String]>) {
    if let Some(place) = places.next() {
        panic!("{path}: {}", place.iter().take(20).cloned().collect::<Vec<_>>().join(" "));
    }
}

#[test]
fn pure_layers_use_no_socket_no_file_no_runtime_and_no_clock() {
    let forbidden = ["tokio", "mio", "Instant", "SystemTime", "Utc", "Local"];
    for layer in ["src/chat", "src/ws", "src/feed"] {
        for (path, words) in sources(Path::new(layer)) {
            for word in forbidden {
                check_none(&path, places(&words, &[word]));
            }
            for module in ["net", "fs", "env", "process"] {
                check_none(&path, uses_of_std(&words, module));
            }
        }
    }
}

#[test]
fn what_the_network_sends_meets_no_unwrap_and_no_expect() {
    for layer in ["src/chat", "src/room", "src/ws", "src/feed", "src/server", "src/control"] {
        for (path, words) in sources(Path::new(layer)) {
            for method in ["unwrap", "expect", "unwrap_err", "expect_err"] {
                check_none(&path, places(&words, &[".", method, "("]));
            }
        }
    }
}

/// `spawn_blocking` and `thread::spawn` panic if there is no thread left, and a
/// runtime waits for its threads at the end; macros that print block, and panic if
/// they cannot.
#[test]
fn the_daemon_panics_for_no_thread_and_prints_nothing() {
    let forbidden: [&[&str]; 5] = [
        &["spawn_blocking"],
        &["thread", ":", ":", "spawn"],
        &["block_in_place"],
        &["eprintln"],
        &["println"],
    ];
    for layer in ["src/server", "src/room", "src/control", "src/record", "src/daemon", "src/config"]
    {
        for (path, words) in sources(Path::new(layer)) {
            for phrase in forbidden {
                check_none(&path, places(&words, phrase));
            }
        }
    }
}

#[test]
fn all_of_a_file_is_looked_at_but_its_tests() {
    let text = r#"
        //! Says `.unwrap()`.
        #![allow(x)]
        use std::{io, fs};
        #[cfg(test)]
        use std::{net, env};
        #[cfg(test)]
        fn only(a: [u8; 3]) -> u8 { a.first().unwrap() }
        #[cfg(test)]
        mod more;
        /// Says ".expect(".
        #[derive(Debug)]
        fn after() { assert!(".unwrap()", x . expect ("this")) }
        #[cfg(test)]
        mod tests { fn f() { a.unwrap() } }
        use std::io::{self, net};
    "#;
    let words = code(text);
    assert_eq!(places(&words, &[".", "unwrap", "("]).count(), 0);
    assert_eq!(places(&words, &[".", "expect", "("]).count(), 1);
    assert_eq!(uses_of_std(&words, "fs").count(), 1);
    assert_eq!(uses_of_std(&words, "net").count(), 0);
}

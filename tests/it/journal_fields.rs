//! wschat(8) explains every field that the daemon logs, and no other.

use std::collections::BTreeSet;
use std::path::Path;

use crate::rules::{code, sources};

/// The names of the fields that `words` log: those of each call before the text.
fn fields(words: &[String]) -> BTreeSet<String> {
    const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
    let mut found = BTreeSet::new();
    for (at, start) in words.windows(3).enumerate() {
        if !LEVELS.contains(&start[0].as_str()) || start[1] != "!" || start[2] != "(" {
            continue;
        }
        let mut depth = 0;
        // A field is `name`, `%name`, `?name` or `name = value`.
        let mut is_new = false;
        for (index, word) in words.iter().enumerate().skip(at + 2) {
            let is_first = is_new && depth == 1;
            depth += match word.as_str() {
                "(" | "{" | "[" => 1,
                ")" | "}" | "]" => -1,
                _ => 0,
            };
            if depth == 0 || (is_first && word.starts_with('"')) {
                break;
            }
            let ends = matches!(words[index + 1].as_str(), "," | "=" | ")");
            if is_first && ends {
                found.insert(format!("WSCHAT_{}", word.to_ascii_uppercase()));
            }
            is_new =
                depth == 1 && (word == "(" || word == "," || (is_first && "%?".contains(word)));
        }
    }
    found
}

#[test]
fn the_manual_explains_every_field_of_the_journal() {
    let manual = include_str!("../../man/wschat.8");
    let items = manual.lines().filter_map(|line| line.strip_prefix(".It Li "));
    let explained: BTreeSet<_> =
        items.filter(|it| it.starts_with("WSCHAT_")).map(str::to_owned).collect();
    let daemon = sources(Path::new("src")).into_iter();
    // Programs have no log.
    let daemon = daemon.filter(|(path, _)| !path.contains("/bench/") && !path.contains("/client/"));
    let logged: BTreeSet<_> = daemon.flat_map(|(_, words)| fields(&words)).collect();
    assert_eq!(explained, logged);
}

#[test]
fn fields_are_found_in_code() {
    let text = r#"
        fn f() {
            warn!(%dir, why = if a { b } else { call(c, d) }, id, "text {x}", not_this);
            debug!(?thing, e = "a value", "text");
            info!("no field", nor_this);
        }
    "#;
    let want = ["DIR", "E", "ID", "THING", "WHY"].map(|name| format!("WSCHAT_{name}"));
    assert_eq!(fields(&code(text)), want.into());
}

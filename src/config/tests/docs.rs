//! `etc/wschat.toml` and the list of keys in `man/wschat.toml.5` are made from the table of
//! keys. `WSCHAT_BLESS=1 cargo test --lib config::tests::docs` writes them.

use std::path::Path;
use std::{env, fmt, fs};

use super::super::*;

#[track_caller]
fn check(path: &str, make: fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let old = fs::read_to_string(&path).unwrap();
    let new = make(&old);
    if env::var_os("WSCHAT_BLESS").is_some() {
        fs::write(&path, &new).unwrap();
    } else if new != old {
        panic!(
            "{} does not match src/config/table.rs; this writes it: \
             WSCHAT_BLESS=1 cargo test --lib config::tests::docs",
            path.display()
        );
    }
}

impl fmt::Display for Reload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Yes => "yes",
            Self::NewConnections => "new connections",
            Self::No => "no",
        })
    }
}

/// The keys of each section, in their order.
fn sections() -> impl Iterator<Item = (&'static str, &'static [Key])> {
    KEYS.chunk_by(|one, two| one.section == two.section).map(|keys| (keys[0].section, keys))
}

/// `text` in lines of at most 80 characters, each after `prefix`; code is not broken.
fn lines(prefix: &str, text: &str) -> String {
    let mut lines = vec![prefix.to_owned()];
    let mut is_code = true;
    let parts = text.split('`').map(|part| {
        is_code = !is_code;
        if is_code { part.replace(' ', "\0") } else { part.to_owned() }
    });
    for word in parts.collect::<Vec<_>>().join("`").split_whitespace() {
        let line = lines.last_mut().unwrap();
        let space = if line.len() == prefix.len() { "" } else { " " };
        if line.len() + space.len() + word.len() <= 80 {
            *line += &format!("{space}{word}");
        } else {
            lines.push(format!("{prefix}{word}"));
        }
    }
    lines.join("\n").replace('\0', " ") + "\n"
}

/// `text` in mdoc(7): a line for each sentence, and a macro for code.
fn mdoc(text: &str) -> String {
    let mut page = String::new();
    let mut is_code = false;
    for part in text.trim().replace('\n', "").split('`') {
        if is_code {
            page += &format!("\n.Li \"{}\"", part.replace('"', "\"\""));
        } else {
            let rest = part.trim_start_matches(|c| ".,;:".contains(c));
            let signs = part[..part.len() - rest.len()].chars().map(|c| format!(" {c}"));
            page.extend(signs);
            for sentence in rest.trim().split_inclusive(". ").filter(|text| !text.is_empty()) {
                page += &format!("\n{}", lines("", sentence).trim_end());
            }
        }
        is_code = !is_code;
    }
    page.trim_start().to_owned() + "\n"
}

#[test]
fn the_shipped_file_is_made_from_the_table() {
    check("etc/wschat.toml", |old| {
        let mut file = old[..=old.find("\n[").unwrap()].to_owned();
        for (section, keys) in sections() {
            file += &format!("[{section}]\n");
            for key in keys {
                let (about, allowed) = (lines("# ", key.about), (key.allowed)());
                // It cannot be used as it is: the value of a string is not empty.
                let default = (key.show)(&Config::default()).replace("none", "\"\"");
                let (leaf, reload) = (key.leaf, key.reload);
                file += &format!(
                    "{about}# Allowed: {allowed}. Reload: {reload}.\n#{leaf} = {default}\n\n"
                );
            }
        }
        file.trim_end().to_owned() + "\n"
    });
}

#[test]
fn the_manual_lists_the_table() {
    check("man/wschat.toml.5", |old| {
        let (start, end) = (old.find(".Sh SECTION").unwrap(), old.find(".Sh ENVIRONMENT").unwrap());
        let mut page = old[..start].to_owned();
        for (section, keys) in sections() {
            page += &format!(".Sh SECTION {section}\n.Bl -tag -width Ds\n");
            for Key { name, about, allowed, reload, show, .. } in keys {
                let entry = old
                    .split(".It Sy ")
                    .find_map(|text| text.strip_prefix(name)?.strip_prefix('\n'));
                let details = entry
                    .and_then(|text| text.split_once(DETAILS)?.1.split_once("\n.Pp\nDefault: "));
                let details =
                    details.map_or(String::new(), |(text, _)| format!("{DETAILS}{text}\n"));
                page += &format!(".It Sy {name}\n{}{details}.Pp\n", mdoc(about));
                let (default, allowed) = (show(&Config::default()), allowed());
                page += &format!("Default: {default}.\nAllowed: {allowed}.\nReload: {reload}.\n");
            }
            page += ".El\n";
        }
        page + &old[end..]
    });
}

/// Stands before what an entry of the manual has beyond the table.
const DETAILS: &str = ".\\\" Not from the table:\n";

//! `etc/wschat.toml.reference` and the list of keys in `man/wschat.toml.5` are made from the
//! table of keys. `WSCHAT_BLESS=1 cargo test --lib config::tests::docs` writes them.
//! `etc/wschat.toml` has the most important keys, with texts of its own.

use std::path::Path;
use std::{env, fmt, fs};

use super::super::*;

#[track_caller]
fn check(path: &str, make: fn(&str) -> String) {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let old = fs::read_to_string(&path).unwrap();
    let new = make(&old);
    if env::var_os("WSCHAT_BLESS").is_some() {
        fs::write(&path, &new).unwrap();
    } else if new != old {
        let command = "WSCHAT_BLESS=1 cargo test --lib config::tests::docs";
        panic!("{path} does not match src/config/table.rs; this writes it: {command}");
    }
}

#[test]
fn the_reference_is_made_from_the_table() {
    check("etc/wschat.toml.reference", |old| {
        let mut file = old[..=old.find("\n[").unwrap()].to_owned();
        for (section, keys) in sections() {
            file += &format!("[{section}]\n");
            for Key { leaf, about, allowed, reload, show, .. } in keys {
                // It cannot be used as it is: the value of a string is not empty.
                let default = show(&Config::default()).replace("none", "\"\"");
                let (about, allowed) = (lines("# ", about), allowed());
                file += &format!("{about}\n# Allowed: {allowed}. Reload: {reload}.\n");
                file += &format!("#{leaf} = {default}\n\n");
            }
        }
        file.trim_end().to_owned() + "\n"
    });
}

#[test]
fn the_shipped_file_has_comments_that_can_be_used() {
    const FILE: &str = include_str!("../../../etc/wschat.toml");
    let (file, mut section, mut keys) = (Path::new("f"), "", 0);
    let mut all = String::new();
    for line in FILE.lines() {
        assert!(line.len() <= 96, "{line}");
        let name = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        section = name.unwrap_or(section);
        let value = line.strip_prefix('#').filter(|text| text.starts_with(|c| c != ' '));
        let used = value.unwrap_or(line);
        all += &format!("{used}\n");
        let Some(value) = value else { continue };
        keys += 1;
        let config = parse(file, &FILE.replace(line, value)).unwrap();
        let (leaf, value) = value.split_once(" = ").unwrap();
        let is_it = |key: &&Key| key.name == format!("{section}.{leaf}");
        let key = KEYS.iter().find(is_it).unwrap_or_else(|| panic!("{section}.{leaf}"));
        assert_eq!((key.show)(&config), value, "{leaf}: its value as wschat config shows it");
        let default = (key.show)(&Config::default());
        let says_none = FILE.split(line).next().unwrap().rsplit("\n\n").next().unwrap();
        let says_none = says_none.replace("\n# ", " ").contains("No default");
        assert_eq!(says_none, default == "none", "{leaf}");
        assert!(says_none || default == value, "{leaf}: the default is {default}");
    }
    assert_eq!(keys, 10);
    assert_eq!(parse(file, FILE).unwrap(), Config::default());
    parse(file, &all).unwrap();
}

/// Stands before what an entry of the manual has beyond the table.
const DETAILS: &str = ".\\\" Not from the table:\n";

#[test]
fn the_manual_lists_the_table() {
    check("man/wschat.toml.5", |old| {
        let (head, _) = old.split_once(".Sh SECTION").unwrap();
        let (_, tail) = old.split_once(".Sh ENVIRONMENT").unwrap();
        let mut page = head.to_owned();
        for (section, keys) in sections() {
            page += &format!(".Sh SECTION {section}\n.Bl -tag -width Ds\n");
            for Key { name, about, allowed, reload, show, .. } in keys {
                page += &format!(".It Sy {name}\n{}", mdoc(about));
                let is_it = |entry: &&str| entry.starts_with(&format!("{name}\n"));
                let entry = old.split(".It Sy ").find(is_it).unwrap_or_default();
                if let Some((_, details)) = entry.split_once(DETAILS) {
                    let (details, _) = details.split_once(".Pp\nDefault: ").unwrap();
                    page += &format!("{DETAILS}{details}");
                }
                let (default, allowed) = (show(&Config::default()), allowed());
                page += &format!(".Pp\nDefault: {default}.\nAllowed: {allowed}.\n");
                page += &format!("Reload: {reload}.\n");
            }
            page += ".El\n";
        }
        page + ".Sh ENVIRONMENT" + tail
    });
}

/// The keys of each section, in their order.
fn sections() -> impl Iterator<Item = (&'static str, &'static [Key])> {
    KEYS.chunk_by(|one, two| one.section == two.section).map(|keys| (keys[0].section, keys))
}

/// `text` in lines of at most 80 characters, each after `prefix`; code is not broken.
fn lines(prefix: &str, text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(n, part)| part.replace(' ', if n % 2 == 1 { "\0" } else { " " }));
    let mut lines = vec![prefix.to_owned()];
    for word in parts.collect::<Vec<_>>().join("`").split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() == prefix.len() => *line += word,
            Some(line) if line.len() + word.len() < 80 => *line += &format!(" {word}"),
            _ => lines.push(format!("{prefix}{word}")),
        }
    }
    lines.join("\n").replace('\0', " ")
}

/// `text` in mdoc(7): a line for each sentence, and a macro for code.
fn mdoc(text: &str) -> String {
    let mut page = String::new();
    // Code in parentheses takes them with it.
    let text = text.trim().replace('\n', "").replace("(`", "`(").replace("`)", ")`");
    for (n, part) in text.split('`').enumerate() {
        if n % 2 == 1 {
            let inner = part.strip_prefix('(').and_then(|part| part.strip_suffix(')'));
            let macros = if inner.is_some() { ".Pq Li" } else { ".Li" };
            page += &format!("{macros} \"{}\"", inner.unwrap_or(part).replace('"', "\"\""));
            continue;
        }
        let rest = part.trim_start_matches(['.', ',', ';', ':']);
        page.extend(part[..part.len() - rest.len()].chars().map(|sign| format!(" {sign}")));
        for sentence in rest.trim().split_inclusive(". ").filter(|text| !text.is_empty()) {
            page += &format!("\n{}", lines("", sentence));
        }
        page += "\n";
    }
    page.trim().replace("\n\n", "\n") + "\n"
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

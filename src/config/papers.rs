//! The shipped file and the manual page say what the table of keys says.

use std::collections::BTreeMap;

use super::{Config, KEYS, Key};

const SHIPPED: &str = include_str!("../../etc/wschat.toml");
const MANUAL: &str = include_str!("../../man/wschat.toml.5");

/// What the manual page writes for a key's default.
fn default_of(key: &Key) -> String {
    key.show(&Config::default()).unwrap_or_else(|| "none".to_owned())
}

#[test]
fn shipped_file_has_every_key_with_its_default() {
    let mut section = "";
    let mut comment = String::new();
    let mut found = Vec::new();
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some(text) = line.strip_prefix("# ") {
            comment += text;
            comment += "\n";
        } else if let Some((leaf, value)) = line.strip_prefix('#').and_then(|l| l.split_once(" = "))
        {
            let name = format!("{section}.{leaf}");
            let key = Key::named(&name).unwrap_or_else(|| panic!("{name} is no key"));
            // Two empty strings stand for "none": they cannot be uncommented by mistake.
            let default = key.show(&Config::default()).unwrap_or_else(|| r#""""#.to_owned());
            assert_eq!(value, default, "{name}");
            let rule = format!("\nAllowed: {}. Reload: {}.\n", key.allowed(), key.reload);
            assert!(comment.ends_with(&rule), "{name}: {rule}");
            found.push(key.name);
        } else {
            assert!(line.is_empty() || line == "#", "{line}");
        }
        if !line.starts_with("# ") {
            comment.clear();
        }
    }
    assert_eq!(found, KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
}

#[test]
fn manual_page_has_every_key_with_its_rules() {
    let entry = |text: &'static str| text.split_once('\n').filter(|(name, _)| name.contains('.'));
    let entries: BTreeMap<_, _> = MANUAL.split(".It Sy ").skip(1).filter_map(entry).collect();
    for key in KEYS {
        let text = entries.get(key.name).unwrap_or_else(|| panic!("{} is missing", key.name));
        let rules = format!(
            "\n.Pp\nDefault: {}.\nAllowed: {}.\nReload: {}.\n",
            default_of(key),
            key.allowed(),
            key.reload
        );
        assert!(text.contains(&rules), "{}:{rules}", key.name);
    }
    assert_eq!(entries.len(), KEYS.len(), "an entry for a key that does not exist");
}

//! A key or section that the file has twice: its name, and where it is first.

use toml::de::{DeTable, DeValue};

use super::problem::Report;

/// How the parser reports one.
pub(super) const DUPLICATE: &str = "duplicate key";
/// The first places of at most this many are looked for, because each takes a pass over the text.
pub(super) const LOOKED_FOR_MAX: usize = 20;

/// The full name of the key or section that begins at the byte `offset` and is there twice, and
/// where it is first. `None` if that cannot be told.
pub(super) fn first_place(report: &Report<'_>, offset: usize) -> Option<(String, usize)> {
    let before = report.text.get(..offset)?;
    let name = name_at(report.text.get(offset..)?)?;
    // What is before it has no other end than this one, so its last lines may be malformed.
    let (document, _) = DeTable::parse_recoverable(before);
    let mut found = Vec::new();
    collect(document.get_ref(), "", &name, &mut found);
    // The parts of a table are usually together.
    found.into_iter().max_by_key(|(_, offset)| *offset)
}

/// The key with which `text` begins, bare or quoted.
fn name_at(text: &str) -> Option<String> {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let end = match quote {
        Some(quote) => text.char_indices().skip(1).find(|(_, c)| *c == quote)?.0 + 1,
        None => text.find(|c| !is_bare(c)).unwrap_or(text.len()),
    };
    let name = text.get(..end)?.trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// Adds the full names and offsets of all keys called `leaf`.
fn collect(table: &DeTable<'_>, parent: &str, leaf: &str, found: &mut Vec<(String, usize)>) {
    for (name, value) in table {
        let dot = if parent.is_empty() { "" } else { "." };
        let full = format!("{parent}{dot}{}", name.get_ref());
        if name.get_ref() == leaf {
            found.push((full.clone(), name.span().start));
        }
        match value.get_ref() {
            DeValue::Table(table) => collect(table, &full, leaf, found),
            DeValue::Array(rows) => {
                for table in rows.iter().filter_map(|row| row.get_ref().as_table()) {
                    collect(table, &full, leaf, found);
                }
            }
            _ => {}
        }
    }
}

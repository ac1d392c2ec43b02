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
        Some(quote) => quoted_end(text, quote)?,
        None => text.find(|c| !is_bare(c)).unwrap_or(text.len()),
    };
    // The parser knows what an escape sequence means.
    let assignment = format!("{} = 0", text.get(..end)?);
    let table = DeTable::parse(&assignment).ok()?;
    let (name, _) = table.get_ref().iter().next()?;
    Some(name.get_ref().to_string())
}

/// Where the quoted key ends with which `text` begins.
fn quoted_end(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    let is_end = |(_, c): &(usize, char)| {
        let is_end = *c == quote && !is_escaped;
        is_escaped = quote == '"' && *c == '\\' && !is_escaped;
        is_end
    };
    text.char_indices().skip(1).find(is_end).map(|(at, _)| at + 1)
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

//! Problems of a configuration: where, which key, and why. No text contains a line of the file,
//! because that line could contain the secret.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

/// One problem: `FILE:LINE:COLUMN: key: text`, or `wschat: what: text` if no place in a file
/// causes it. A warning has `warning: ` before the text, but not with `{:#}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file and the place in it.
    pub place: Option<(PathBuf, Position)>,
    /// The key, or what else causes it; empty if the TOML is malformed.
    pub(super) what: String,
    pub(super) text: String,
    pub(super) kind: Kind,
}

/// What follows from a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The configuration cannot be used.
    Error,
    /// A key for tokens cannot be used, or there is none. Tokens need the others; without any,
    /// nobody can send messages.
    NoKey,
    /// The configuration can be used.
    Warning,
}

impl Problem {
    pub(super) fn at(file: &Path, position: Position, key: &str, text: impl Into<String>) -> Self {
        Self { place: Some((file.to_owned(), position)), ..Self::outside(key, text) }
    }

    /// A problem with what is at `path`, which no place in a file causes.
    pub fn of(path: &Path, text: impl Into<String>) -> Self {
        Self::outside(&path.display().to_string(), text)
    }

    /// This as a warning.
    pub fn into_warning(self) -> Self {
        Self { kind: Kind::Warning, ..self }
    }

    /// Whether the configuration can be used nevertheless.
    pub fn is_warning(&self) -> bool {
        self.kind == Kind::Warning
    }

    pub(super) fn outside(what: &str, text: impl Into<String>) -> Self {
        Self { place: None, what: printable(what), text: text.into(), kind: Kind::Error }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((file, Position { line, column })) => {
                write!(out, "{}:{line}:{column}: ", printable(&file.display().to_string()))?;
            }
            None => out.write_str("wschat: ")?,
        }
        let colon = if self.what.is_empty() { "" } else { ": " };
        let prefix = if self.kind == Kind::Warning && !out.alternate() { "warning: " } else { "" };
        write!(out, "{}{colon}{prefix}{}", self.what, self.text)
    }
}

/// Why there is no configuration: every problem, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// At least one.
    pub list: Vec<Problem>,
    /// Whether a file could not be read, so that nothing is known about its content.
    pub unreadable: bool,
}

impl Problems {
    /// Nothing could be read, because of `what`.
    pub fn unreadable(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { list: vec![Problem::outside(&what.to_string(), why.to_string())], unreadable: true }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.list.iter().map(Problem::to_string).collect();
        out.write_str(&lines.join("\n"))
    }
}

/// `name` without control characters and of limited length.
pub(super) fn printable(name: &str) -> String {
    const CHARS_MAX: usize = 200;
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let end = if name.chars().nth(CHARS_MAX).is_some() { "…" } else { "" };
    name.chars().take(CHARS_MAX).map(printable).chain(end.chars()).collect()
}

/// The most problems that are shown of the first file, and of a drop-in or a file that is named.
pub(super) const FILE_PROBLEMS_MAX: usize = 1_000;
pub(super) const INCLUDE_PROBLEMS_MAX: usize = 20;

/// The problems of a text.
pub(super) struct Report<'a> {
    file: &'a Path,
    pub text: &'a str,
    /// The name of the key that is being read.
    pub key: String,
    /// The number of all problems.
    pub count: usize,
    shown: Vec<Problem>,
    shown_max: usize,
    /// Where each line begins, so that a text with many problems is read once.
    lines: Vec<usize>,
}

impl<'a> Report<'a> {
    /// A report about `text`, the content of `file`.
    pub fn new(file: &'a Path, text: &'a str, shown_max: usize) -> Self {
        let lines = [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, key: String::new(), count: 0, shown: Vec::new(), shown_max, lines }
    }

    /// Reports a problem with the key that is being read, at the byte `offset`.
    pub fn wrong(&mut self, offset: usize, text: impl Into<String>) {
        self.count += 1;
        if self.shown.len() <= self.shown_max {
            let position = self.position(offset);
            self.shown.push(Problem::at(self.file, position, &self.key, text));
        }
    }

    /// The position of the byte `offset`.
    pub fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|begin| *begin <= offset);
        let begin = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.as_bytes().get(begin..offset).unwrap_or_default();
        let before = String::from_utf8_lossy(before);
        Position { line, column: before.trim_start_matches('\u{feff}').chars().count() + 1 }
    }

    /// Calls `read` for the key `name` in the table that is being read.
    pub fn below<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let parent = self.key.len();
        self.key += if parent == 0 { "" } else { "." };
        self.key += name;
        let value = read(self);
        self.key.truncate(parent);
        value
    }

    /// The problems. The last one gives the number of those that are not shown.
    pub fn finish(mut self) -> Vec<Problem> {
        let more = self.count.saturating_sub(self.shown_max);
        if let (Some(last), 2..) = (self.shown.get_mut(self.shown_max), more) {
            last.what.clear();
            last.text = format!("and {more} more mistakes from here on");
        }
        self.shown
    }
}

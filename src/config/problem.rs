//! What is wrong with a configuration: where, which key, and why. No text here
//! ever repeats a line of the file, since that line could hold the secret.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a file, both numbers counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Position {
    /// The position of the byte `offset` of `text`; its end if it is shorter.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::config::Position;
    /// let text = "usr = 1\nmsg = 'ä' # x";
    /// assert_eq!(Position::of(text, 20), Position { line: 2, column: 12 });
    /// ```
    pub fn of(text: &str, offset: usize) -> Self {
        // A span may in principle end inside a character: go back to its start.
        let offset = (0..=offset.min(text.len())).rfind(|at| text.is_char_boundary(*at));
        let before = text.get(..offset.unwrap_or(0)).unwrap_or("");
        let before = before.strip_prefix('\u{feff}').unwrap_or(before);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line, column: before.chars().count() - before[..start].chars().count() + 1 }
    }
}

/// One thing that is wrong: `FILE:LINE:COL: key: text`, or `wschat: what: text`
/// where it is not in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file and the place in it, if that is where it is.
    pub place: Option<(PathBuf, Position)>,
    /// The key, or what else is at fault; none for a mistake in the TOML itself.
    pub what: Option<String>,
    /// Why, and what would be right.
    pub text: String,
}

impl Problem {
    pub(super) fn at(
        file: &Path,
        position: Position,
        key: Option<&str>,
        text: impl Into<String>,
    ) -> Self {
        let place = Some((file.to_owned(), position));
        Self { place, what: key.map(printable), text: text.into() }
    }

    pub(super) fn outside(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place: None, what: Some(printable(&what.into())), text: text.into() }
    }

    pub(super) fn is_about(&self, key: &str) -> bool {
        self.what.as_deref() == Some(key)
    }

    fn write(&self, out: &mut fmt::Formatter<'_>, prefix: &str) -> fmt::Result {
        match &self.place {
            Some((file, Position { line, column })) => {
                write!(out, "{}:{line}:{column}: ", printable(&file.display().to_string()))?;
            }
            None => out.write_str("wschat: ")?,
        }
        if let Some(what) = &self.what {
            write!(out, "{what}: ")?;
        }
        write!(out, "{prefix}{}", self.text)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(out, "")
    }
}

/// Something that works and should be different all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub Problem);

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(out, "warning: ")
    }
}

/// Why there is no configuration: every problem, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// At least one.
    pub list: Vec<Problem>,
    /// Whether the file could not be read at all, so that nothing is known of it.
    pub unreadable: bool,
}

impl Problems {
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        let problem = Problem::outside(file.display().to_string(), error.to_string());
        Self { list: vec![problem], unreadable: true }
    }

    /// The configuration as a whole could not be read, for a reason outside it.
    pub fn unread(why: impl Into<String>) -> Self {
        Self { list: vec![Problem::outside("configuration", why)], unreadable: true }
    }

    pub(super) fn new(mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.place.as_ref().map(|(_, position)| *position));
        Self { list, unreadable: false }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(out, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// `name` on one line and of a bounded length, whatever a file calls its keys.
fn printable(name: &str) -> String {
    const CHARS_MAX: usize = 200;
    let mut text: String = name.chars().take(CHARS_MAX).map(mask).collect();
    if name.chars().nth(CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

fn mask(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}

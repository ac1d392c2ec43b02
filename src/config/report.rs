//! The problems of a text, collected while it is read.

use std::path::Path;

use super::problem::{Position, Problem};

/// The problems of a text.
pub(super) struct Report<'a> {
    file: &'a Path,
    pub text: &'a str,
    /// The name of the key that is being read.
    pub key: String,
    /// How many problems there are.
    pub count: usize,
    /// How many are shown: to find a position takes long in a long text.
    shown_max: usize,
    shown: Vec<Problem>,
}

impl<'a> Report<'a> {
    /// A report about `text`, the content of `file`.
    pub fn new(file: &'a Path, text: &'a str, shown_max: usize) -> Self {
        Self { file, text, key: String::new(), count: 0, shown_max, shown: Vec::new() }
    }

    /// Reports a problem with the key that is being read, at the byte `offset`.
    pub fn wrong(&mut self, offset: usize, text: impl Into<String>) {
        self.count += 1;
        if self.shown.len() <= self.shown_max {
            let position = Position::of(self.text, offset);
            self.shown.push(Problem::at(self.file, position, &self.key, text));
        }
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

    /// The problems, the last of which counts those that are not shown.
    pub fn finish(mut self) -> Vec<Problem> {
        let more = self.count.saturating_sub(self.shown_max);
        if more > 1
            && let Some(last) = self.shown.pop()
        {
            self.shown.push(last.instead(format!("and {more} more mistakes from here on")));
        }
        self.shown
    }
}

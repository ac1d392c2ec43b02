//! The text of the file into a [`Draft`]: every key checked by the table, every problem
//! collected. Pure: no file is opened here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Position, Problem, Problems};
use super::report::Report;
use super::rule::expected;
use super::sources::Source;
use super::suggest::nearest;
use super::table::{Config, KEYS, contradictions};

/// A configuration that is being made.
#[derive(Default)]
pub(super) struct Draft {
    /// The file that is read first.
    pub file: PathBuf,
    /// The defaults, replaced by all that has been read.
    pub config: Config,
    /// Where the values come from that are not defaults, even if they are wrong.
    pub sources: BTreeMap<&'static str, Source>,
    /// Problems and warnings.
    pub problems: Vec<Problem>,
}

/// Reads `text`, the content of `file`.
pub(super) fn read(file: &Path, text: &str) -> Draft {
    let mut draft = Draft { file: file.to_owned(), ..Draft::default() };
    let mut report = Report::new(file, text, usize::MAX);
    draft.table(&parse(&mut report), &mut report);
    draft.problems = report.finish();
    draft.check_contradictions();
    draft
}

/// The text of `report` as a document; an empty one if it is malformed.
pub(super) fn parse<'a>(report: &mut Report<'a>) -> DeTable<'a> {
    let (document, errors) = DeTable::parse_recoverable(report.text);
    for error in &errors {
        // Never the error's Display: it prints the line, which may hold the secret.
        let offset = error.span().map_or(report.text.len(), |span| span.start);
        report.wrong(offset, error.message());
    }
    if errors.is_empty() { document.into_inner() } else { DeTable::new() }
}

impl Draft {
    fn table(&mut self, table: &DeTable<'_>, report: &mut Report<'_>) {
        for (name, value) in table {
            report.below(name.get_ref(), |report| self.entry(name, value, report));
        }
    }

    /// Takes an entry of a table, the full name of which is in the `report`.
    fn entry(
        &mut self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        report: &mut Report<'_>,
    ) {
        if let Some(key) = KEYS.iter().find(|key| key.name == report.key) {
            let position = Position::of(report.text, value.span().start);
            self.sources.insert(key.name, Source::File(self.file.clone(), position));
            (key.read)(&mut self.config, value, report);
        } else if KEYS.iter().any(|key| key.section == report.key) {
            match value.get_ref() {
                DeValue::Table(table) => self.table(table, report),
                other => report.wrong(value.span().start, expected("a table", other)),
            }
        } else {
            let what = if value.get_ref().is_table() { "section" } else { "key" };
            let hint = suggestion(&report.key).map(|name| format!("; did you mean {name}?"));
            let text = format!("unknown {what}{}", hint.unwrap_or_default());
            report.wrong(name.span().start, text);
        }
    }

    /// Reports each contradiction at the first of its keys that is set, unless the value of
    /// one of them is wrong: then the default says nothing about the other.
    fn check_contradictions(&mut self) {
        for (keys, text) in contradictions(&self.config) {
            let is_wrong = |problem: &Problem| keys.iter().any(|key| problem.is_about(key));
            let first = keys.iter().find(|key| self.sources.contains_key(**key));
            if let Some(key) = first.filter(|_| !self.problems.iter().any(is_wrong)) {
                self.refuse(key, text);
            }
        }
    }

    /// Where the value of `key` comes from.
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or_default()
    }

    /// Reports that the value of `key` is wrong.
    pub fn refuse(&mut self, key: &str, text: impl Into<String>) {
        self.problems.push(self.source(key).problem(key, text));
    }

    /// Warns of the value of `key`.
    pub fn warn(&mut self, key: &str, text: impl Into<String>) {
        self.problems.push(self.source(key).problem(key, text).warning());
    }

    /// The configuration and the warnings, if there is no other problem.
    pub fn finish(self) -> Result<(Config, Vec<Problem>), Problems> {
        let (warnings, problems): (Vec<_>, Vec<_>) =
            self.problems.into_iter().partition(|problem| problem.is_warning);
        if problems.is_empty() { Ok((self.config, warnings)) } else { Err(Problems::new(problems)) }
    }
}

/// The key or section that `unknown` may be a misspelling of: one with a similar name in the
/// same section, else in any.
fn suggestion(unknown: &str) -> Option<&'static str> {
    let (section, leaf) = unknown.rsplit_once('.').unwrap_or(("", unknown));
    let in_section = KEYS.iter().filter(|key| key.section == section);
    let sections = KEYS.iter().filter(|_| section.is_empty()).map(|key| key.section);
    nearest(leaf, in_section.map(|key| (key.leaf(), key.name)))
        .or_else(|| nearest(leaf, sections.map(|section| (section, section))))
        .or_else(|| nearest(leaf, KEYS.iter().map(|key| (key.leaf(), key.name))))
}

//! The text of the file into a [`Draft`], by the table of keys. No file is opened here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::duplicate::{DUPLICATE, LOOKED_FOR_MAX, first_place};
use super::environment::Source;
use super::problem::{FILE_PROBLEMS_MAX, Kind, Problem, Problems, Report};
use super::rule::expected;
use super::table::{Config, KEYS, contradictions};
use crate::suggest::nearest;

/// A configuration that is being made.
#[derive(Default)]
pub(super) struct Draft {
    /// The file that is read first.
    pub file: PathBuf,
    /// The defaults, replaced by all that has been read.
    pub config: Config,
    /// The sources of all values that are not defaults, also of wrong values.
    pub sources: BTreeMap<&'static str, Source>,
    /// Problems and warnings.
    pub problems: Vec<Problem>,
}

/// Reads `text`, the content of `file`.
pub(super) fn read(file: &Path, text: &str) -> Draft {
    let mut draft = Draft { file: file.to_owned(), ..Draft::default() };
    let mut report = Report::new(file, text, FILE_PROBLEMS_MAX);
    draft.table(&parse(&mut report), &mut report);
    draft.problems = report.finish();
    draft.check_contradictions();
    draft
}

/// The text of `report` as a document; an empty one if it is malformed.
pub(super) fn parse<'a>(report: &mut Report<'a>) -> DeTable<'a> {
    let (document, errors) = DeTable::parse_recoverable(report.text);
    let mut looks = 0;
    for error in &errors {
        // Display of the error prints the line, which may contain the secret.
        let offset = error.span().map_or(report.text.len(), |span| span.start);
        let is_duplicate = error.message() == DUPLICATE && looks < LOOKED_FOR_MAX;
        looks += usize::from(is_duplicate);
        match is_duplicate.then(|| first_place(report, offset)).flatten() {
            None => report.wrong(offset, error.message()),
            Some((name, first)) => {
                let line = report.position(first).line;
                let text = format!("{DUPLICATE}, first on line {line}; keep one of them");
                report.below(&name, |report| report.wrong(offset, text));
            }
        }
    }
    if errors.is_empty() { document.into_inner() } else { DeTable::new() }
}

impl Draft {
    /// Reads the values of a table; its name is in the `report`.
    fn table(&mut self, table: &DeTable<'_>, report: &mut Report<'_>) {
        for (name, value) in table {
            report.below(name.get_ref(), |report| {
                let offset = value.span().start;
                if let Some(key) = KEYS.iter().find(|key| key.name == report.key) {
                    let place = report.position(offset);
                    self.sources.insert(key.name, Source::File(self.file.clone(), place));
                    (key.read)(&mut self.config, value, report);
                } else if !KEYS.iter().any(|key| key.section == report.key) {
                    let what = if value.get_ref().is_table() { "section" } else { "key" };
                    let text = format!("unknown {what}{}", suggestion(&report.key));
                    report.wrong(name.span().start, text);
                } else if let Some(table) = value.get_ref().as_table() {
                    self.table(table, report);
                } else {
                    report.wrong(offset, expected("table", value.get_ref()));
                }
            });
        }
    }

    /// Reports each contradiction at the first of its keys that is set, unless the value of
    /// one of them is wrong: then the default says nothing about the other.
    /// Two sources of the secret contradict each other whatever their values.
    fn check_contradictions(&mut self) {
        if self.is_set("auth.jwt_secret") && self.is_set("auth.jwt_secret_file") {
            self.refuse("auth.jwt_secret_file", "jwt_secret is set too; keep one of them");
        }
        for (keys, text) in contradictions(&self.config) {
            let is_wrong = |problem: &Problem| keys.contains(&problem.what.as_str());
            let first = keys.iter().find(|key| self.is_set(key));
            if let Some(key) = first.filter(|_| !self.problems.iter().any(is_wrong)) {
                self.refuse(key, text);
            }
        }
    }

    /// Whether anything sets `key`, even to a wrong value.
    pub fn is_set(&self, key: &str) -> bool {
        self.sources.contains_key(key)
    }

    /// Where the value of `key` comes from.
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    /// Reports that the value of `key` is wrong.
    pub fn refuse(&mut self, key: &str, text: impl Into<String>) {
        self.report(Kind::Error, key, text);
    }

    /// Warns of the value of `key`.
    pub fn warn(&mut self, key: &str, text: impl Into<String>) {
        self.report(Kind::Warning, key, text);
    }

    /// Reports that `key` gives no key for tokens.
    pub fn no_key(&mut self, key: &str, text: impl Into<String>) {
        self.report(Kind::NoKey, key, text);
    }

    fn report(&mut self, kind: Kind, key: &str, text: impl Into<String>) {
        let problem = self.source(key).problem(key, text);
        self.problems.push(Problem { kind, ..problem });
    }

    /// Whether there is a problem of this kind.
    pub fn has(&self, kind: Kind) -> bool {
        self.problems.iter().any(|problem| problem.kind == kind)
    }

    /// The configuration, what is wrong with keys, and the warnings, if there is no other problem.
    pub fn finish(self) -> Result<(Config, Vec<Problem>, Vec<Problem>), Problems> {
        let all = self.problems.into_iter();
        let (warnings, problems) =
            all.partition::<Vec<_>, _>(|problem| problem.kind == Kind::Warning);
        if problems.iter().all(|problem| problem.kind == Kind::NoKey) {
            Ok((self.config, problems, warnings))
        } else {
            Err(Problems::new(problems))
        }
    }
}

/// `; did you mean …?` with the key or section that `unknown` may be a misspelling of: one with
/// a similar name in the same section, else in any.
fn suggestion(unknown: &str) -> String {
    let (section, leaf) = unknown.rsplit_once('.').unwrap_or(("", unknown));
    let in_section = KEYS.iter().filter(|key| key.section == section);
    let sections = KEYS.iter().filter(|_| section.is_empty()).map(|key| key.section);
    nearest(leaf, in_section.map(|key| (key.leaf, key.name)))
        .or_else(|| nearest(leaf, sections.map(|section| (section, section))))
        .or_else(|| nearest(leaf, KEYS.iter().map(|key| (key.leaf, key.name))))
        .map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

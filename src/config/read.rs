//! The texts of the files into a [`Draft`], by the table of keys. No file is opened here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::duplicate::{DUPLICATE, LOOKED_FOR_MAX, first_place};
use super::environment::Source;
use super::problem::{Kind, Position, Problem, Problems, Report, printable};
use super::rule::expected;
use super::table::{Config, KEYS, contradictions};
use crate::suggest::nearest;

/// A configuration that is being made.
#[derive(Default)]
pub(super) struct Draft {
    /// The files that were read, in this order: a value replaces that of an earlier file.
    pub files: Vec<PathBuf>,
    /// Those of them that all users may read.
    pub open_files: Vec<PathBuf>,
    /// Whether a file is malformed, so that none of its values is known.
    pub is_malformed: bool,
    /// The defaults, replaced by all that has been read.
    pub config: Config,
    /// The sources of all values that are not defaults, also of wrong values.
    pub sources: BTreeMap<&'static str, Source>,
    /// Problems and warnings.
    pub problems: Vec<Problem>,
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
    /// Reads `text`, the content of `file`, of which at most `shown_max` problems are shown.
    pub fn read(&mut self, file: &Path, text: &str, shown_max: usize) {
        self.files.push(file.to_owned());
        let mut report = Report::new(file, text, shown_max);
        let document = parse(&mut report);
        self.is_malformed |= report.count > 0;
        self.table(&document, file, &mut report);
        self.problems.extend(report.finish());
    }

    /// Reads the values of a table of `file`; its name is in the `report`.
    fn table(&mut self, table: &DeTable<'_>, file: &Path, report: &mut Report<'_>) {
        for (name, value) in table {
            report.below(name.get_ref(), |report| {
                let offset = value.span().start;
                if let Some(key) = KEYS.iter().find(|key| key.name == report.key) {
                    let place = report.position(offset);
                    self.sources.insert(key.name, Source::File(file.to_owned(), place));
                    (key.read)(&mut self.config, value, report);
                } else if !KEYS.iter().any(|key| key.section == report.key) {
                    let what = if value.get_ref().is_table() { "section" } else { "key" };
                    let text = format!("unknown {what}{}", suggestion(&report.key));
                    report.wrong(name.span().start, text);
                } else if let Some(table) = value.get_ref().as_table() {
                    self.table(table, file, report);
                } else {
                    report.wrong(offset, expected("table", value.get_ref()));
                }
            });
        }
    }

    /// Reports each contradiction at the first of its keys that is set, unless the value of
    /// one of them is wrong: then the default says nothing about the other.
    /// Two sources of the secret contradict each other whatever their values.
    pub fn check_contradictions(&mut self) {
        if self.is_set("auth.jwt_secret") && self.is_set("auth.jwt_secret_file") {
            let text = "jwt_secret is set too; keep one of them";
            self.refuse_both("auth.jwt_secret_file", "auth.jwt_secret", text);
        }
        for ([one, two], text) in contradictions(&self.config) {
            let is_wrong = |problem: &Problem| [one, two].contains(&problem.what.as_str());
            if self.problems.iter().any(is_wrong) {
                continue;
            }
            let (key, other) = if self.is_set(one) { (one, two) } else { (two, one) };
            self.refuse_both(key, other, text);
        }
    }

    /// Reports that the value of `key` contradicts that of `other`, with the place of the latter
    /// if it stands in another file.
    pub fn refuse_both(&mut self, key: &str, other: &str, text: impl Into<String>) {
        let mut text = text.into();
        if let (Source::File(file, _), Source::File(other_file, Position { line, column })) =
            (self.source(key), self.source(other))
            && file != other_file
        {
            let other_file = printable(&other_file.display().to_string());
            text += &format!(" ({other}: {other_file}:{line}:{column})");
        }
        self.refuse(key, text);
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
    /// Problems are in the order of the files; those outside of them come first.
    pub fn finish(mut self) -> Result<(Config, Vec<Problem>, Vec<Problem>), Problems> {
        let files = &self.files;
        self.problems.sort_by_key(|problem| {
            let place = problem.place.as_ref();
            // A file that the configuration names comes after it.
            let number = |file| files.iter().position(|it| it == file).unwrap_or(files.len());
            place.map(|(file, position)| (number(file), *position))
        });
        let all = self.problems.into_iter();
        let (warnings, problems) =
            all.partition::<Vec<_>, _>(|problem| problem.kind == Kind::Warning);
        if problems.iter().all(|problem| problem.kind == Kind::NoKey) {
            Ok((self.config, problems, warnings))
        } else {
            Err(Problems { list: problems, unreadable: false })
        }
    }
}

/// `; did you mean …?` with the key or section that `unknown` may be a misspelling of: one with
/// a similar name in the same section, else in any. Or what is wrong with `limits.threads` behind
/// another section.
fn suggestion(unknown: &str) -> String {
    let (section, leaf) = unknown.rsplit_once('.').unwrap_or(("", unknown));
    let in_section = KEYS.iter().filter(|key| key.section == section);
    let sections = KEYS.iter().filter(|_| section.is_empty()).map(|key| key.section);
    let near = nearest(leaf, in_section.map(|key| (key.leaf, key.name)))
        .or_else(|| nearest(leaf, sections.map(|section| (section, section))));
    if near.is_none() && KEYS.iter().any(|key| key.section == leaf) {
        return format!(
            "; {leaf} is a section of its own, and a line below [{section}] is in {section}"
        );
    }
    near.or_else(|| nearest(leaf, KEYS.iter().map(|key| (key.leaf, key.name))))
        .map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

//! What the value of a key may be: how it is read, shown and described.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::problem::{Position, Report};
use crate::chat::Secret;
use crate::suggest::hint;

/// A rule for values of type `T`.
pub(super) struct Rule<T> {
    /// What the value may be, as the manual says it.
    pub allowed: String,
    /// Reads a value; none if it is wrong. A list has its valid items even then.
    pub read: Box<Read<T>>,
    /// Shows a value as TOML, or [`NONE`].
    pub show: Box<dyn Fn(&T) -> String>,
}

type Read<T> = dyn Fn(&Spanned<DeValue<'_>>, &mut Report<'_>) -> Option<T>;

/// Shows that no value is set.
pub(super) const NONE: &str = "none";

impl<T> Rule<T> {
    pub fn new(
        allowed: impl Into<String>,
        read: impl Fn(&Spanned<DeValue<'_>>, &mut Report<'_>) -> Option<T> + 'static,
        show: impl Fn(&T) -> String + 'static,
    ) -> Self {
        Self { allowed: allowed.into(), read: Box::new(read), show: Box::new(show) }
    }
}

/// A rule for single values. `read` says why a value is wrong.
pub(super) fn scalar<T>(
    allowed: impl Into<String>,
    read: impl Fn(&DeValue<'_>) -> Result<T, String> + 'static,
    show: impl Fn(&T) -> String + 'static,
) -> Rule<T> {
    let read = move |value: &Spanned<DeValue<'_>>, report: &mut Report<'_>| {
        read(value.get_ref()).map_err(|text| report.wrong(value.span().start, text)).ok()
    };
    Rule::new(allowed, read, show)
}

pub(super) fn integer<T: TryFrom<i128> + ToString + 'static>(
    range: RangeInclusive<i128>,
) -> Rule<T> {
    let allowed = format!("{} to {}", range.start(), range.end());
    let bounds = allowed.clone();
    let read = move |value: &DeValue<'_>| {
        let DeValue::Integer(digits) = value else { return Err(expected("integer", value)) };
        let number = i128::from_str_radix(digits.as_str(), digits.radix()).ok();
        let good = number.filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok());
        let shown = number.map_or_else(|| "the number".to_owned(), |n| n.to_string());
        good.ok_or_else(|| format!("{shown} is out of range, {bounds}"))
    };
    scalar(allowed, read, T::to_string)
}

pub(super) fn seconds(range: RangeInclusive<i128>) -> Rule<Duration> {
    let Rule { allowed, read, show } = integer::<u64>(range);
    Rule::new(
        allowed,
        move |value, report| read(value, report).map(Duration::from_secs),
        move |time| show(&time.as_secs()),
    )
}

pub(super) fn flag() -> Rule<bool> {
    let read = |it: &DeValue<'_>| it.as_bool().ok_or_else(|| expected("true or false", it));
    scalar("true, false", read, bool::to_string)
}

/// A string that is not empty. `parse` says why another one is wrong.
fn text<T>(
    allowed: impl Into<String>,
    parse: impl Fn(&str) -> Result<T, String> + 'static,
    show: impl Fn(&T) -> String + 'static,
) -> Rule<T> {
    let read = move |value: &DeValue<'_>| match value.as_str() {
        None => Err(expected("string", value)),
        Some("") => Err("empty; leave it out".to_owned()),
        Some(text) => parse(text),
    };
    scalar(allowed, read, move |value| Value::from(show(value)).to_string())
}

/// A string that its type parses; `allowed` are the forms that it may have.
pub(super) fn parsed<T: FromStr<Err: Display> + Display + 'static>(allowed: &str) -> Rule<T> {
    text(allowed, |text| text.parse().map_err(|error: T::Err| error.to_string()), T::to_string)
}

/// A text in one line, of at most that many characters.
pub(super) fn one_line(chars_max: usize) -> Rule<String> {
    let parse = move |text: &str| {
        if text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err("it has a line break or another control character".to_owned());
        }
        match text.chars().count() {
            chars if chars > chars_max => Err(format!("{chars} characters, more than {chars_max}")),
            _ => Ok(text.to_owned()),
        }
    };
    text(format!("1 to {chars_max} characters in one line"), parse, String::clone)
}

/// A secret, which is never shown.
pub(super) fn secret() -> Rule<Secret> {
    let parse = |text: &str| Secret::new(text).map_err(|error| error.to_string());
    let rule = text("a string that is not empty", parse, |_| String::new());
    Rule { show: Box::new(|_| "set".to_owned()), ..rule }
}

/// A path that may be relative to the folder of the file that contains it.
pub(super) fn path(allowed: &str) -> Rule<PathBuf> {
    text(allowed, |path| Ok(path.into()), |path: &PathBuf| path.to_string_lossy().into_owned())
}

pub(super) fn absolute_path() -> Rule<PathBuf> {
    let is_good = |path: &str| Path::new(path).is_absolute() && !path.contains('\0');
    let wrong = || "not an absolute path".to_owned();
    let parse = move |path: &str| is_good(path).then(|| path.into()).ok_or_else(wrong);
    Rule { show: path("").show, ..text("an absolute path", parse, |_| String::new()) }
}

/// One of `values`, by its name.
pub(super) fn one_of<T: Clone + 'static>(values: Vec<T>, name: fn(&T) -> String) -> Rule<T> {
    let allowed = values.iter().map(name).collect::<Vec<_>>().join(", ");
    let names = allowed.clone();
    let parse = move |wanted: &str| {
        let value = values.iter().find(|value| name(value) == wanted).cloned();
        value.ok_or_else(|| format!("not one of {names}{}", hint(wanted, names.split(", "))))
    };
    text(allowed, parse, name)
}

/// A value that may be left out.
pub(super) fn optional<T: 'static>(rule: Rule<T>) -> Rule<Option<T>> {
    let Rule { allowed, read, show } = rule;
    let show = move |value: &Option<T>| value.as_ref().map_or_else(|| NONE.to_owned(), &show);
    Rule::new(allowed, move |value, report| read(value, report).map(Some), show)
}

/// An array of at least `items_min` items, each under the rule `item`.
pub(super) fn list<T: 'static>(items_min: usize, item: Rule<T>) -> Rule<Vec<T>> {
    let Rule { allowed, read, show } = item;
    let read = move |value: &Spanned<DeValue<'_>>, report: &mut Report<'_>| {
        let Some(array) = value.get_ref().as_array() else {
            report.wrong(value.span().start, expected("array", value.get_ref()));
            return None;
        };
        if array.len() < items_min {
            report.wrong(value.span().start, "empty; it takes at least one");
        }
        Some(array.iter().filter_map(|item| read(item, report)).collect())
    };
    let show = move |items: &Vec<T>| {
        format!("[{}]", items.iter().map(&show).collect::<Vec<_>>().join(", "))
    };
    let at_least = if items_min == 0 { "" } else { "; at least one" };
    Rule::new(format!("{allowed}{at_least}"), read, show)
}

/// One table of an array.
pub(super) struct Row<'a, 'b> {
    table: &'a DeTable<'a>,
    report: &'a mut Report<'b>,
}

impl Row<'_, '_> {
    /// The value of `column`, if it is set and `rule` allows it.
    pub fn get<T>(&mut self, column: &str, rule: Rule<T>) -> Option<T> {
        let value = self.table.get(column)?;
        self.report.below(column, |report| (rule.read)(value, report))
    }

    /// Where the value of `column` is.
    pub fn position(&self, column: &str) -> Position {
        self.report.position(self.table.get(column).map_or(0, |value| value.span().start))
    }
}

/// A table with some of `columns`. `read` makes an item of it, or says what is wrong with a
/// column, or with the row if it has no name. `show` gives the columns that are set, as TOML.
pub(super) fn table<T: 'static>(
    allowed: &str,
    columns: &'static [&'static str],
    read: fn(&mut Row<'_, '_>) -> Result<T, (&'static str, String)>,
    show: fn(&T) -> Vec<(&'static str, String)>,
) -> Rule<T> {
    let read = move |value: &Spanned<DeValue<'_>>, report: &mut Report<'_>| {
        let offset = value.span().start;
        let Some(table) = value.get_ref().as_table() else {
            report.wrong(offset, expected("table", value.get_ref()));
            return None;
        };
        let before = report.count;
        for name in table.keys().filter(|name| !columns.contains(&name.get_ref().as_ref())) {
            let text = format!("unknown key{}", hint(name.get_ref(), columns.iter().copied()));
            report.below(name.get_ref(), |report| report.wrong(name.span().start, text));
        }
        match read(&mut Row { table, report }) {
            // A wrong column already explains what is wrong with the row.
            _ if report.count > before => None,
            Err((column, text)) => {
                let offset = table.get(column).map_or(offset, |value| value.span().start);
                match column {
                    "" => report.wrong(offset, text),
                    column => report.below(column, |report| report.wrong(offset, text)),
                }
                None
            }
            Ok(item) => Some(item),
        }
    };
    Rule::new(allowed, read, move |item| {
        let columns = show(item).into_iter().map(|(name, value)| format!("{name} = {value}"));
        format!("{{ {} }}", columns.collect::<Vec<_>>().join(", "))
    })
}

/// The text of a problem: a value has another type than `wanted`.
pub(super) fn expected(wanted: &str, found: &DeValue<'_>) -> String {
    format!("expected {wanted}, found {}", found.type_str())
}

//! The rule for the tables of an array: `keys = [{ kid = "a", … }, …]`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Position;
use super::report::Report;
use super::rule::{Rule, expected};
use super::suggest::hint;

/// One table of an array.
pub(super) struct Row<'a, 'b> {
    table: &'a DeTable<'a>,
    report: &'a mut Report<'b>,
}

/// A column, or an empty name for the row as a whole, and what is wrong with it.
pub(super) type RowError = (&'static str, String);

impl Row<'_, '_> {
    /// The value of `column`, if it is set and `rule` allows it.
    pub fn get<T>(&mut self, column: &str, rule: Rule<T>) -> Option<T> {
        let value = self.table.get(column)?;
        self.report.below(column, |report| (rule.read)(value, report))
    }

    /// Where the value of `column` is.
    pub fn position(&self, column: &str) -> Position {
        let offset = self.table.get(column).map_or(0, |value| value.span().start);
        Position::of(self.report.text, offset)
    }
}

/// A table with some of `columns`. `read` makes an item of it; `show` gives the columns of an
/// item that are set, as TOML.
pub(super) fn table<T: 'static>(
    allowed: &str,
    columns: &'static [&'static str],
    read: fn(&mut Row<'_, '_>) -> Result<T, RowError>,
    show: fn(&T) -> Vec<(&'static str, String)>,
) -> Rule<T> {
    let read = move |value: &Spanned<DeValue<'_>>, report: &mut Report<'_>| {
        let offset = value.span().start;
        let Some(table) = value.get_ref().as_table() else {
            report.wrong(offset, expected("a table", value.get_ref()));
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
            Err(("", text)) => {
                report.wrong(offset, text);
                None
            }
            Err((column, text)) => {
                let offset = table.get(column).map_or(offset, |value| value.span().start);
                report.below(column, |report| report.wrong(offset, text));
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

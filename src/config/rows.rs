//! Arrays of tables: `keys = [{ kid = "a", … }, …]`, row by row.

use std::ops::Range;

use chrono::DateTime;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A column that a row may have.
pub(super) struct Column {
    /// Its name.
    pub name: &'static str,
    /// Whether it holds a time; a string that is not empty otherwise.
    pub is_time: bool,
}

/// One table of the array, its types and names checked.
#[derive(Debug)]
pub(super) struct Row {
    /// Where the table begins, in bytes.
    offset: usize,
    cells: Vec<(&'static str, usize, Cell)>,
}

#[derive(Debug)]
enum Cell {
    Text(String),
    /// Seconds since the Unix epoch.
    Time(f64),
}

/// What is wrong with a row: the column, or `""` for the row as a whole, where,
/// and why.
#[derive(Debug)]
pub(super) struct Wrong {
    pub column: String,
    pub offset: usize,
    pub why: String,
}

/// The good rows of `array`, those that `add` takes, and all that is wrong.
pub(super) fn read(
    columns: &'static [Column],
    array: &DeArray<'_>,
    mut add: impl FnMut(&Row) -> Result<(), Wrong>,
) -> (Vec<Row>, Vec<Wrong>) {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for element in array {
        let DeValue::Table(table) = element.get_ref() else {
            let why = format!("expected a table, found {}", type_of(element.get_ref()));
            wrong.push(Wrong { column: String::new(), offset: element.span().start, why });
            continue;
        };
        match Row::read(columns, table, element.span()) {
            Err(cells) => wrong.extend(cells),
            Ok(row) => match add(&row) {
                Ok(()) => rows.push(row),
                Err(why) => wrong.push(why),
            },
        }
    }
    (rows, wrong)
}

impl Row {
    /// Reads `table`, which lies at `span`.
    ///
    /// # Errors
    ///
    /// All that is wrong with single columns.
    fn read(
        columns: &'static [Column],
        table: &DeTable<'_>,
        span: Range<usize>,
    ) -> Result<Self, Vec<Wrong>> {
        let mut row = Self { offset: span.start, cells: Vec::new() };
        let mut wrong = Vec::new();
        for (name, value) in table {
            let (offset, column) = match columns.iter().find(|column| column.name == name.get_ref())
            {
                None => (name.span().start, Err(unknown(columns, name.get_ref()))),
                Some(column) => (value.span().start, column.cell(value).map(|cell| (column, cell))),
            };
            match column {
                Ok((column, cell)) => row.cells.push((column.name, offset, cell)),
                Err(why) => wrong.push(Wrong { column: name.get_ref().to_string(), offset, why }),
            }
        }
        if wrong.is_empty() { Ok(row) } else { Err(wrong) }
    }

    /// The string in a column.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.cells.iter().find_map(|(name, _, cell)| match cell {
            Cell::Text(text) if *name == column => Some(text.as_str()),
            _ => None,
        })
    }

    /// The time in a column, in seconds since the Unix epoch.
    pub fn secs(&self, column: &str) -> Option<f64> {
        self.cells.iter().find_map(|(name, _, cell)| match cell {
            Cell::Time(secs) if *name == column => Some(*secs),
            _ => None,
        })
    }

    /// Where a column's value begins; where the row does if it is not there.
    pub fn offset(&self, column: &str) -> usize {
        let cell = self.cells.iter().find(|(name, ..)| *name == column);
        cell.map_or(self.offset, |(_, offset, _)| *offset)
    }

    /// A mistake in a column, or with `""` in the row as a whole.
    pub fn wrong(&self, column: &str, why: impl Into<String>) -> Wrong {
        Wrong { column: column.to_owned(), offset: self.offset(column), why: why.into() }
    }
}

impl Wrong {
    /// What is wrong, under the name of the array.
    pub fn key(&self, array: &str) -> String {
        let dot = if self.column.is_empty() { "" } else { "." };
        format!("{array}{dot}{}", self.column)
    }
}

impl Column {
    fn cell(&self, value: &Spanned<DeValue<'_>>) -> Result<Cell, String> {
        match (value.get_ref(), self.is_time) {
            (DeValue::String(text), false) if text.is_empty() => Err("empty".to_owned()),
            (DeValue::String(text), false) => Ok(Cell::Text(text.to_string())),
            (DeValue::Datetime(time), true) => {
                let time = DateTime::parse_from_rfc3339(&time.to_string());
                let nanos = time.map(|time| (time.timestamp(), time.timestamp_subsec_nanos()));
                match nanos {
                    // Below 2^53, so that nothing is lost.
                    Ok((secs, nanos)) => Ok(Cell::Time(secs as f64 + f64::from(nanos) / 1e9)),
                    Err(_) => Err("a time without its date or offset".to_owned()),
                }
            }
            (other, is_time) => {
                let expected = if is_time { "a time" } else { "a string" };
                Err(format!("expected {expected}, found {}", type_of(other)))
            }
        }
    }
}

fn unknown(columns: &[Column], name: &str) -> String {
    let hint = super::nearest(name, columns.iter().map(|column| column.name))
        .map_or(String::new(), |name| format!("; did you mean {name}?"));
    format!("unknown key{hint}")
}

/// A value's type, in words.
pub(super) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Integer(_) => "an integer",
        DeValue::Array(_) => "an array",
        DeValue::String(_) => "a string",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Table(_) => "a table",
    }
}

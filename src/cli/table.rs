//! Tables of text.

use unicode_width::UnicodeWidthChar;

/// The space between two columns.
const GAP: &str = "  ";

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub head: &'static str,
    /// Whether its cells, which are numbers, are aligned at their right side.
    pub is_number: bool,
}

/// A column of texts.
pub const fn text(head: &'static str) -> Column {
    Column { head, is_number: false }
}

/// A column of numbers.
pub const fn number(head: &'static str) -> Column {
    Column { head, is_number: true }
}

/// The lines of a table: the heads of the columns, and the rows, which have a cell for each.
pub fn lines(columns: &[Column], rows: &[Vec<String>]) -> Vec<String> {
    let all: Vec<usize> = (0..columns.len()).collect();
    let widths = widths(columns, rows);
    draw(columns, rows, &widths, &all)
}

/// The lines of a table that is at most `width` columns of the terminal wide. The last columns
/// of the table that do not fit are left out, but never the first one or `keep`.
pub fn lines_within(
    width: usize,
    keep: usize,
    columns: &[Column],
    rows: &[Vec<String>],
) -> Vec<String> {
    let widths = widths(columns, rows);
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let is_too_wide = |shown: &[usize]| {
        // A last column of texts is cut instead.
        let last = |at: &usize| !columns[*at].is_number && *at + 1 == columns.len();
        let needs = |at: &usize| if last(at) { columns[*at].head.len() } else { widths[*at] };
        shown.iter().map(|at| needs(at) + GAP.len()).sum::<usize>() > width + GAP.len()
    };
    while is_too_wide(&shown)
        && let Some(at) = shown.iter().rposition(|at| *at > 0 && *at != keep)
    {
        shown.remove(at);
    }
    let lines = draw(columns, rows, &widths, &shown).into_iter();
    lines.map(|line| cut(&line, width).trim_end().to_owned()).collect()
}

/// The beginning of a line that fits into so many columns.
pub fn cut(line: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    line.chars().take_while(fits).collect()
}

fn widths(columns: &[Column], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |(at, column): (usize, &Column)| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or(0).max(column.head.len())
    };
    columns.iter().enumerate().map(width).collect()
}

fn draw(
    columns: &[Column],
    rows: &[Vec<String>],
    widths: &[usize],
    shown: &[usize],
) -> Vec<String> {
    let line = |cell: &dyn Fn(usize) -> String| {
        let pad = |at: &usize| {
            let (text, width) = (cell(*at), widths[*at]);
            if columns[*at].is_number {
                format!("{text:>width$}")
            } else {
                format!("{text:<width$}")
            }
        };
        shown.iter().map(pad).collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    let head = line(&|at| columns[at].head.to_owned());
    let rows = rows.iter().map(|row| line(&|at| row[at].clone()));
    std::iter::once(head).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [text("ID"), number("COUNT"), number("REFUSED"), text("NAME")];

    fn rows() -> Vec<Vec<String>> {
        [["1", "7", "12", "ann"], ["234", "1000000", "0", "a long name, 漢字"]]
            .map(|row| row.map(String::from).to_vec())
            .to_vec()
    }

    #[test]
    fn a_table_without_a_limit() {
        assert_eq!(
            lines(&COLUMNS, &rows()),
            [
                "ID     COUNT  REFUSED  NAME",
                "1          7       12  ann",
                "234  1000000        0  a long name, 漢字",
            ]
        );
        assert_eq!(lines(&COLUMNS, &[]), ["ID  COUNT  REFUSED  NAME"]);
    }

    #[test]
    fn a_narrow_table() {
        let head = |width, keep| lines_within(width, keep, &COLUMNS, &rows()).swap_remove(0);
        assert_eq!(
            lines_within(40, 1, &COLUMNS, &rows())[2],
            "234  1000000        0  a long name, 漢字"
        );
        assert_eq!(
            lines_within(39, 1, &COLUMNS, &rows())[2],
            "234  1000000        0  a long name, 漢"
        );
        assert_eq!(head(24, 1), "ID     COUNT  REFUSED");
        assert_eq!(head(15, 1), "ID     COUNT");
        assert_eq!(head(15, 2), "ID   REFUSED");
        assert_eq!(head(7, 1), "ID");
        assert_eq!(head(0, 1), "");
    }
}

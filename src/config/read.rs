//! TOML text into a [`Draft`]: every key checked against the table, every
//! problem collected. Pure: no file is opened here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::Config;
use super::keys::{KEYS, Key, Kind};
use super::problem::{Position, Problem};
use super::rows::{self, Row};
use crate::chat::Secret;

/// What the file says, before secrets of other sources are looked for.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The defaults, with what the file says in their place.
    pub config: Config,
    /// `auth.jwt_secret_file`, as written.
    pub secret_file: Option<PathBuf>,
    /// Where the value of each key that the file names begins, good or not.
    pub places: BTreeMap<&'static str, Position>,
    /// The good rows of each array of tables.
    pub rows: BTreeMap<&'static str, Vec<Row>>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
}

/// Reads `text`, the content of `file`.
pub(super) fn read(file: &Path, text: &str) -> Draft {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { file, text, draft: Draft::default() };
    if errors.is_empty() {
        reader.table("", table.get_ref());
        reader.contradictions();
    }
    for error in errors {
        // Never the error's Display: it prints the line, which may hold the secret.
        let offset = error.span().map_or(text.len(), |span| span.start);
        reader.problem(offset, None, error.message());
    }
    reader.draft
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    draft: Draft,
}

impl Reader<'_> {
    /// Takes every entry of the table called `path` (`""` is the document).
    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let dot = if path.is_empty() { "" } else { "." };
            let full = format!("{path}{dot}{}", name.get_ref());
            if let Some(key) = Key::named(&full) {
                self.value(key, value);
            } else if KEYS.iter().any(|key| key.section() == full) {
                match value.get_ref() {
                    DeValue::Table(table) => self.table(&full, table),
                    other => self.wrong_type(value, &full, "a table", other),
                }
            } else {
                self.unknown(name, &full, value.get_ref());
            }
        }
    }

    /// Checks the value of `key` and puts it where it belongs.
    fn value(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        let place = Position::of(self.text, value.span().start);
        self.draft.places.insert(key.name, place);
        let config = &mut self.draft.config;
        match (&key.kind, value.get_ref()) {
            (Kind::Secret, DeValue::String(text)) => match Secret::new(text.as_bytes()) {
                Ok(secret) => config.auth.secret = Some(secret),
                Err(_) => self.wrong(value, key, "empty; leave the key out to have no secret"),
            },
            (Kind::SecretFile, DeValue::String(text)) => match text.as_ref() {
                "" => self.wrong(value, key, "empty; leave the key out to have no secret"),
                path => self.draft.secret_file = Some(path.into()),
            },
            (Kind::Number { min, max, set, .. }, DeValue::Integer(number)) => match whole(number) {
                Ok(n) if (*min..=*max).contains(&n) => set(config, n),
                Ok(n) => self.out_of_range(value, key, &n.to_string()),
                Err(shown) => self.out_of_range(value, key, &shown),
            },
            (Kind::Flag { set, .. }, DeValue::Boolean(on)) => set(config, *on),
            (Kind::Text { set, .. }, DeValue::String(text)) => {
                if let Err(why) = set(config, text) {
                    self.wrong(value, key, &why);
                }
            }
            (Kind::List { may_be_empty: false, .. }, DeValue::Array(array)) if array.is_empty() => {
                self.wrong(value, key, "empty; it takes at least one");
            }
            (Kind::List { set, .. }, DeValue::Array(array)) => {
                let (strings, others): (Vec<_>, Vec<_>) =
                    array.iter().partition(|element| element.get_ref().is_str());
                let texts: Vec<_> = strings.iter().filter_map(|s| s.get_ref().as_str()).collect();
                for (index, why) in set(config, &texts).err().into_iter().flatten() {
                    if let Some(element) = strings.get(index) {
                        self.wrong(element, key, &why);
                    }
                }
                for other in others {
                    self.wrong_type(other, key.name, "a string", other.get_ref());
                }
            }
            (Kind::Rows { columns, add, .. }, DeValue::Array(array)) => {
                let (rows, wrong) = rows::read(columns, array, |row| add(config, row));
                self.draft.rows.insert(key.name, rows);
                for wrong in wrong {
                    self.problem(wrong.offset, Some(&wrong.key(key.name)), &wrong.why);
                }
            }
            (kind, other) => self.wrong_type(value, key.name, expected(kind), other),
        }
    }

    /// What single values cannot tell: two good ones that exclude each other.
    fn contradictions(&mut self) {
        let places = &self.draft.places;
        if let (Some(text), Some(file)) =
            (places.get("auth.jwt_secret"), places.get("auth.jwt_secret_file"))
        {
            let (place, key, other, line) = if text > file {
                (*text, "auth.jwt_secret", "jwt_secret_file", file.line)
            } else {
                (*file, "auth.jwt_secret_file", "jwt_secret", text.line)
            };
            let text = format!("{other} is set too, in line {line}; keep one of them");
            self.draft.problems.push(Problem::at(self.file, place, Some(key), text));
        }
        let limits = &self.draft.config.limits;
        let idle = (limits.idle_timeout <= limits.ping_interval).then(|| {
            let (idle, ping) = (limits.idle_timeout.as_secs(), limits.ping_interval.as_secs());
            format!("idle_timeout_secs, {idle}, has to be over ping_interval_secs, {ping}")
        });
        let tail = (limits.feed_tail_bytes < 4 * limits.message_bytes_max).then(|| {
            let (tail, message) = (limits.feed_tail_bytes, limits.message_bytes_max);
            format!("feed_tail_bytes, {tail}, has to be at least 4 x message_bytes_max, {message}")
        });
        self.contradiction(["limits.idle_timeout_secs", "limits.ping_interval_secs"], idle);
        self.contradiction(["limits.feed_tail_bytes", "limits.message_bytes_max"], tail);
    }

    /// Reports `text` at the first of `keys` that the file names, unless one of
    /// them is wrong by itself: then its default says nothing about the other.
    fn contradiction(&mut self, keys: [&'static str; 2], text: Option<String>) {
        let wrong = |problem: &Problem| keys.iter().any(|key| problem.is_about(key));
        if self.draft.problems.iter().any(wrong) {
            return;
        }
        let found = keys.iter().find_map(|key| Some((*key, *self.draft.places.get(key)?)));
        if let (Some((key, place)), Some(text)) = (found, text) {
            self.draft.problems.push(Problem::at(self.file, place, Some(key), text));
        }
    }

    fn unknown(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, full: &str, v: &DeValue<'_>) {
        let what = if v.is_table() { "section" } else { "key" };
        let hint = suggestion(full).map_or(String::new(), |name| format!("; did you mean {name}?"));
        self.problem(name.span().start, Some(full), &format!("unknown {what}{hint}"));
    }

    fn wrong(&mut self, value: &Spanned<DeValue<'_>>, key: &Key, text: &str) {
        self.problem(value.span().start, Some(key.name), text);
    }

    fn out_of_range(&mut self, value: &Spanned<DeValue<'_>>, key: &Key, shown: &str) {
        self.wrong(value, key, &format!("{shown} is out of range, {}", key.allowed()));
    }

    fn wrong_type(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        name: &str,
        expected: &str,
        found: &DeValue<'_>,
    ) {
        let found = rows::type_of(found);
        let text = format!("expected {expected}, found {found}");
        self.problem(value.span().start, Some(name), &text);
    }

    fn problem(&mut self, offset: usize, key: Option<&str>, text: &str) {
        let place = Position::of(self.text, offset);
        self.draft.problems.push(Problem::at(self.file, place, key, text));
    }
}

fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::Secret | Kind::SecretFile | Kind::Text { .. } => "a string",
        Kind::Number { .. } => "an integer",
        Kind::Flag { .. } => "true or false",
        Kind::List { .. } => "an array of strings",
        Kind::Rows { .. } => "an array of tables",
    }
}

/// The number, or how to show one that no key takes.
fn whole(number: &DeInteger<'_>) -> Result<u64, String> {
    match i128::from_str_radix(number.as_str(), number.radix()) {
        Ok(n) => u64::try_from(n).map_err(|_| n.to_string()),
        Err(_) => Err("the number".to_owned()),
    }
}

/// The key or section that somebody who wrote `unknown` may have meant: one
/// with a like name, in the same section or not.
fn suggestion(unknown: &str) -> Option<&'static str> {
    let (section, leaf) = unknown.rsplit_once('.').unwrap_or(("", unknown));
    let near = |keys: &mut dyn Iterator<Item = &'static Key>| {
        let keys: Vec<_> = keys.collect();
        let leaf = super::nearest(leaf, keys.iter().map(|key| key.leaf()))?;
        keys.iter().find(|key| key.leaf() == leaf).map(|key| key.name)
    };
    near(&mut KEYS.iter().filter(|key| key.section() == section))
        .or_else(|| {
            let sections = KEYS.iter().map(Key::section);
            if section.is_empty() { super::nearest(leaf, sections) } else { None }
        })
        .or_else(|| near(&mut KEYS.iter()))
}

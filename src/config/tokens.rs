//! The parts of `[auth]` that are tables, and the files that they name.

use std::path::Path;

use chrono::{DateTime, SecondsFormat};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use toml::de::{DeTable, DeValue};

use super::keys::{name_in, one_of};
use super::problem::{Position, Problem};
use super::rows::{self, Column, Row, Wrong};
use super::{Auth, Config, KeyEntry, KeyFile};
use crate::chat::{KeyError, PublicKeys, Revocation, TokenKey, read_public_keys};

/// Keys that a token may have to be tried with, and so what one costs at most.
pub(super) const KEYS_MAX: usize = 64;

/// Mistakes of a file that are shown one by one.
pub(super) const PROBLEMS_MAX: usize = 20;

/// The columns of `auth.keys`.
pub(super) const KEY_COLUMNS: &[Column] = &[
    Column { name: "kid", is_time: false },
    Column { name: "alg", is_time: false },
    Column { name: "file", is_time: false },
    Column { name: "secret_file", is_time: false },
];

/// The columns of `auth.revoked`.
pub(super) const REVOKED_COLUMNS: &[Column] = &[
    Column { name: "jti", is_time: false },
    Column { name: "sub", is_time: false },
    Column { name: "issued_before", is_time: true },
];

const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Adds a row of `auth.keys`, its file still unread.
pub(super) fn add_key(config: &mut Config, row: &Row) -> Result<(), Wrong> {
    let algorithm = row.text("alg").map(|name| one_of(&ALGORITHMS, name)).transpose();
    let algorithm = algorithm.map_err(|why| row.wrong("alg", why))?;
    let is_for_secrets = algorithm.map(|alg| alg.family() == AlgorithmFamily::Hmac);
    let file = match (row.text("file"), row.text("secret_file")) {
        (Some(_), Some(_)) => return Err(row.wrong("secret_file", "file is set too")),
        (None, None) => return Err(row.wrong("", "file or secret_file is missing")),
        (Some(_), None) if is_for_secrets == Some(true) => {
            return Err(row.wrong("alg", KeyError::NotForPublic.to_string()));
        }
        (Some(path), None) => KeyFile::Public(path.into()),
        (None, Some(path)) => match is_for_secrets {
            None => return Err(row.wrong("", "alg is missing")),
            Some(false) => return Err(row.wrong("alg", KeyError::NotForSecrets.to_string())),
            Some(true) => KeyFile::Secret(path.into()),
        },
    };
    let kid = row.text("kid").map(ToOwned::to_owned);
    config.auth.keys.push(KeyEntry { kid, algorithm, file, keys: Vec::new() });
    Ok(())
}

/// `auth.keys` as it was written.
pub(super) fn key_rows(config: &Config) -> Vec<toml::Table> {
    let row = |entry: &KeyEntry| {
        let (name, path) = match &entry.file {
            KeyFile::Public(path) => ("file", path),
            KeyFile::Secret(path) => ("secret_file", path),
        };
        let algorithm = entry.algorithm.map(|alg| name_in(&ALGORITHMS, &alg));
        let cells = [
            ("kid", entry.kid.clone()),
            ("alg", algorithm),
            (name, Some(path.to_string_lossy().into_owned())),
        ];
        let set = |(name, text): (&str, Option<String>)| Some((name.to_owned(), text?.into()));
        cells.into_iter().filter_map(set).collect()
    };
    config.auth.keys.iter().map(row).collect()
}

/// What a row of `auth.revoked` revokes.
pub(super) fn revocation(row: &Row) -> Result<Revocation, Wrong> {
    match (row.text("jti"), row.text("sub"), row.secs("issued_before")) {
        (Some(jti), None, None) => Ok(Revocation::Token(jti.to_owned())),
        (Some(_), Some(_), _) => Err(row.wrong("sub", "jti is set too; make it two entries")),
        (_, None, Some(_)) => Err(row.wrong("issued_before", "it takes a sub")),
        (None, Some(sub), None) => Ok(Revocation::Speaker(sub.to_owned())),
        (None, Some(sub), Some(secs)) => Ok(Revocation::IssuedBefore(sub.to_owned(), secs)),
        (None, None, None) => Err(row.wrong("", "jti or sub is missing")),
    }
}

/// `auth.revoked` as it was written.
pub(super) fn revoked_rows(config: &Config) -> Vec<toml::Table> {
    let row = |revocation: &Revocation| {
        let mut table = toml::Table::new();
        match revocation {
            Revocation::Token(jti) => drop(table.insert("jti".into(), jti.as_str().into())),
            Revocation::Speaker(sub) => drop(table.insert("sub".into(), sub.as_str().into())),
            Revocation::IssuedBefore(sub, secs) => {
                table.insert("sub".into(), sub.as_str().into());
                if let Some(time) = time(*secs) {
                    table.insert("issued_before".into(), time.into());
                }
            }
        }
        table
    };
    config.auth.revoked.iter().map(row).collect()
}

/// The revocations in `text`, the content of `file` with the key `revoked`, as
/// `auth.revoked_file` names one.
///
/// # Errors
///
/// What is wrong in it, and how much more there is if that is a lot.
///
/// # Examples
///
/// ```
/// use wschat::chat::Revocation;
/// use wschat::config::read_revoked;
/// let file = std::path::Path::new("revoked.toml");
/// let revoked = read_revoked(file, "[[revoked]]\nsub = 'eve'\n").unwrap();
/// assert_eq!(revoked, [Revocation::Speaker("eve".into())]);
/// let wrong = read_revoked(file, "[[revoked]]\nsub = 7\n").unwrap_err();
/// assert_eq!(wrong[0].to_string(), "revoked.toml:2:7: revoked.sub: expected a string, found an integer");
/// ```
pub fn read_revoked(file: &Path, text: &str) -> Result<Vec<Revocation>, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let (mut revoked, mut wrong) = (Vec::new(), Vec::new());
    for error in &errors {
        let offset = error.span().map_or(text.len(), |span| span.start);
        wrong.push((offset, None, error.message().to_owned()));
    }
    for (name, value) in document.get_ref().iter().filter(|_| errors.is_empty()) {
        match value.get_ref() {
            DeValue::Array(rows) if name.get_ref() == "revoked" => {
                let add = |row: &Row| revocation(row).map(|r| revoked.push(r));
                let (_, rows) = rows::read(REVOKED_COLUMNS, rows, add);
                let key = |row: &Wrong| Some(row.key("revoked"));
                wrong.extend(rows.into_iter().map(|row| (row.offset, key(&row), row.why)));
            }
            _ => {
                let why = "the file is to hold revoked = […]".to_owned();
                wrong.push((name.span().start, Some(name.get_ref().to_string()), why));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(revoked);
    }
    let more = wrong.len().saturating_sub(PROBLEMS_MAX);
    if let Some((_, key, why)) = wrong.get_mut(PROBLEMS_MAX).filter(|_| more > 1) {
        (*key, *why) = (None, format!("and {more} more mistakes from here on"));
    }
    // To find a place takes long in a long file: only what is shown is looked for.
    let shown = wrong.iter().take(PROBLEMS_MAX + 1);
    let problem = |(offset, key, why): &(usize, Option<String>, String)| {
        Problem::at(file, Position::of(text, *offset), key.as_deref(), why)
    };
    Err(shown.map(problem).collect())
}

/// The keys of an entry whose file holds `content`.
pub(super) fn keys_of(entry: &KeyEntry, content: &[u8]) -> Result<PublicKeys, KeyError> {
    let kid = entry.kid.as_deref();
    match &entry.file {
        KeyFile::Public(_) => read_public_keys(kid, entry.algorithm, content),
        KeyFile::Secret(_) => {
            let algorithm = entry.algorithm.ok_or(KeyError::AlgorithmMissing)?;
            let key = TokenKey::secret(kid, algorithm, content)?;
            Ok(PublicKeys { keys: vec![key], unusable: Vec::new() })
        }
    }
}

/// Which keys mean nothing while everybody may speak without a token.
pub(super) fn idle(auth: &Auth) -> Vec<&'static str> {
    if !auth.token_keys().is_empty() {
        return Vec::new();
    }
    let set = [
        ("auth.issuer", auth.issuer.is_some()),
        ("auth.audience", auth.audience.is_some()),
        ("auth.bind_usr", auth.bind_usr.is_some()),
        ("auth.moderator_claim", auth.moderator_claim.is_some()),
    ];
    set.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect()
}

fn time(secs: f64) -> Option<toml::value::Datetime> {
    let time = DateTime::from_timestamp_millis((secs * 1_000.0) as i64)?;
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true).parse().ok()
}

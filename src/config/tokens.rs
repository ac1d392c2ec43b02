//! The parts of `[auth]` that are tables, and the files that they name.

use std::path::Path;

use chrono::{DateTime, SecondsFormat};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use toml::de::{DeTable, DeValue};

use super::keys::{name_in, one_of};
use super::problem::{Position, Problem};
use super::rows::{self, Column, Row, Wrong};
use super::{Auth, Config, KeyEntry, KeyFile};
use crate::chat::{KeyError, Revocation, TokenKey};

/// Keys that a token may have to be tried with, and so what one costs at most.
pub(super) const KEYS_MAX: usize = 64;

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

/// The revocations in `text`, the content of a file with the key `revoked`.
///
/// # Errors
///
/// All that is wrong in it.
pub(super) fn read_revoked(file: &Path, text: &str) -> Result<Vec<Revocation>, Vec<Problem>> {
    let problem = |offset, key: Option<&str>, why: &str| {
        Problem::at(file, Position::of(text, offset), key, why)
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut problems = Vec::new();
    for error in &errors {
        let offset = error.span().map_or(text.len(), |span| span.start);
        problems.push(problem(offset, None, error.message()));
    }
    let mut revoked = Vec::new();
    for (name, value) in document.get_ref().iter().filter(|_| errors.is_empty()) {
        let wrong = match value.get_ref() {
            DeValue::Array(rows) if name.get_ref() == "revoked" => {
                rows::read(REVOKED_COLUMNS, rows, |row| revocation(row).map(|r| revoked.push(r))).1
            }
            _ => {
                let key = Some(name.get_ref().as_ref());
                problems.push(problem(name.span().start, key, "the file is to hold revoked = […]"));
                continue;
            }
        };
        let named = wrong.iter().map(|w| problem(w.offset, Some(&w.key("revoked")), &w.why));
        problems.extend(named);
    }
    if problems.is_empty() { Ok(revoked) } else { Err(problems) }
}

/// The keys of an entry whose file holds `content`.
pub(super) fn keys_of(entry: &KeyEntry, content: &[u8]) -> Result<Vec<TokenKey>, KeyError> {
    let kid = entry.kid.as_deref();
    match &entry.file {
        KeyFile::Public(_) => TokenKey::public(kid, entry.algorithm, content),
        KeyFile::Secret(_) => {
            let algorithm = entry.algorithm.ok_or(KeyError::AlgorithmMissing)?;
            TokenKey::secret(kid, algorithm, content).map(|key| vec![key])
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

//! Keys and revocations: the rules for their tables in `[auth]`.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use toml::de::DeValue;

use super::problem::Position;
use super::rule::{Row, Rule, expected, one_of, parsed, path, scalar, table};
use crate::chat::{KeyError, Revocation, TokenKey};

/// One entry of `auth.keys`.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyEntry {
    pub(super) kid: Option<String>,
    /// That of every key of the file; a JWKS can say it itself.
    pub(super) algorithm: Option<Algorithm>,
    /// Which column names the file: `secret_file`, or `file` for public keys.
    pub(super) column: &'static str,
    pub(super) file: PathBuf,
    /// Where the configuration names the file.
    pub(super) position: Position,
    /// The keys that the file holds: one, or those of a JWKS.
    pub(super) keys: Vec<TokenKey>,
}

fn is_for_secrets(algorithm: Algorithm) -> bool {
    algorithm.family() == AlgorithmFamily::Hmac
}

/// An algorithm that signs with a secret.
pub(super) fn secret_algorithm() -> Rule<Algorithm> {
    one_of(AlgorithmFamily::Hmac.algorithms().to_vec(), |algorithm| format!("{algorithm:?}"))
}

fn any_algorithm() -> Rule<Algorithm> {
    use AlgorithmFamily::{Ec, Ed, Hmac, Rsa};
    let algorithms = [Hmac, Rsa, Ec, Ed].iter().flat_map(|family| family.algorithms());
    one_of(algorithms.copied().collect(), |algorithm| format!("{algorithm:?}"))
}

/// An entry of `auth.keys`, whose file is not read yet.
pub(super) fn key_entry() -> Rule<KeyEntry> {
    let read = |row: &mut Row<'_, '_>| {
        let kid = row.get("kid", parsed(""));
        let algorithm = row.get("alg", any_algorithm());
        let [public, secret] = ["file", "secret_file"].map(|column| row.get(column, path("")));
        let file = match (public, secret, algorithm.map(is_for_secrets)) {
            (Some(_), Some(_), _) => Err(("secret_file", "file is set too".to_owned())),
            (None, None, _) => Err(("", "file or secret_file is missing".to_owned())),
            (Some(_), None, Some(true)) => Err(("alg", KeyError::NotForPublic.to_string())),
            (None, Some(_), Some(false)) => Err(("alg", KeyError::NotForSecrets.to_string())),
            (None, Some(_), None) => Err(("", "alg is missing".to_owned())),
            (Some(file), None, _) => Ok(("file", file)),
            (None, Some(file), _) => Ok(("secret_file", file)),
        };
        let (column, file) = file?;
        let position = row.position(column);
        Ok(KeyEntry { kid, algorithm, column, file, position, keys: Vec::new() })
    };
    let show = |entry: &KeyEntry| {
        let kid = entry.kid.as_ref().map(|kid| ("kid", (parsed("").show)(kid)));
        let alg = entry.algorithm.as_ref().map(|alg| ("alg", (any_algorithm().show)(alg)));
        let file = Some((entry.column, (path("").show)(&entry.file)));
        [kid, alg, file].into_iter().flatten().collect()
    };
    let allowed = "tables of kid, alg, and file or secret_file";
    table(allowed, &["kid", "alg", "file", "secret_file"], read, show)
}

/// An entry of `auth.revoked`, or of the file of `auth.revoked_file`.
pub(super) fn revocation() -> Rule<Revocation> {
    let read = |row: &mut Row<'_, '_>| {
        let [jti, sub] = ["jti", "sub"].map(|column| row.get(column, parsed("")));
        match (jti, sub, row.get("issued_before", time())) {
            (Some(jti), None, None) => Ok(Revocation::Token(jti)),
            (None, Some(sub), None) => Ok(Revocation::Speaker(sub)),
            (None, Some(sub), Some(secs)) => Ok(Revocation::IssuedBefore(sub, secs)),
            (Some(_), Some(_), _) => Err(("sub", "jti is set too; make it two entries".to_owned())),
            (_, None, Some(_)) => Err(("issued_before", "it takes a sub".to_owned())),
            (None, None, None) => Err(("", "jti or sub is missing".to_owned())),
        }
    };
    let show = |revocation: &Revocation| {
        let (column, claim, secs) = match revocation {
            Revocation::Token(jti) => ("jti", jti, None),
            Revocation::Speaker(sub) => ("sub", sub, None),
            Revocation::IssuedBefore(sub, secs) => ("sub", sub, Some(secs)),
        };
        let time = secs.map(|secs| ("issued_before", (time().show)(secs)));
        [(column, (parsed("").show)(claim))].into_iter().chain(time).collect()
    };
    let allowed = "tables of jti, or of sub and perhaps issued_before";
    table(allowed, &["jti", "sub", "issued_before"], read, show)
}

/// A time with its date and offset, in seconds since the Unix epoch.
fn time() -> Rule<f64> {
    let read = |value: &DeValue<'_>| {
        let DeValue::Datetime(time) = value else { return Err(expected("datetime", value)) };
        let time = DateTime::parse_from_rfc3339(&time.to_string())
            .map_err(|_| "a time without its date or offset")?;
        // Seconds are far below 2^53, so that nothing is lost.
        Ok(time.timestamp() as f64 + f64::from(time.timestamp_subsec_nanos()) / 1e9)
    };
    let show = |secs: &f64| {
        let time = DateTime::from_timestamp_millis((secs * 1_000.0) as i64).unwrap_or_default();
        time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    };
    scalar("", read, show)
}

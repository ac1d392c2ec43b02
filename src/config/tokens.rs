//! Keys and revocations: the rules for their tables in `[auth]`.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use toml::Value;
use toml::de::DeValue;

use super::problem::Position;
use super::rule::{Rule, expected, one_of, parsed, path, scalar};
use super::table_array::{Row, table};
use crate::chat::{KeyError, PublicKeys, Revocation, TokenKey, read_public_keys};

/// One entry of `auth.keys`.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyEntry {
    kid: Option<String>,
    /// That of every key of the file; a JWKS can say it itself.
    algorithm: Option<Algorithm>,
    pub(super) file: PathBuf,
    /// Where the configuration names the file.
    pub(super) position: Position,
    /// The keys that the file holds: one, or those of a JWKS.
    pub(super) keys: Vec<TokenKey>,
}

impl KeyEntry {
    /// Whether the file holds a secret, and not public keys.
    pub(super) fn is_secret(&self) -> bool {
        self.algorithm.is_some_and(is_for_secrets)
    }

    /// The keys in `content`, the content of the file.
    pub(super) fn keys_in(&self, content: &[u8]) -> Result<PublicKeys, KeyError> {
        let kid = self.kid.as_deref();
        match self.algorithm.filter(|_| self.is_secret()) {
            Some(algorithm) => {
                let keys = vec![TokenKey::secret(kid, algorithm, content)?];
                Ok(PublicKeys { keys, unusable: Vec::new() })
            }
            None => read_public_keys(kid, self.algorithm, content),
        }
    }
}

fn is_for_secrets(algorithm: Algorithm) -> bool {
    algorithm.family() == AlgorithmFamily::Hmac
}

/// An algorithm of one of these families.
pub(super) fn algorithm(families: &[AlgorithmFamily]) -> Rule<Algorithm> {
    let algorithms = families.iter().flat_map(|family| family.algorithms().to_vec()).collect();
    one_of(algorithms, |algorithm| format!("{algorithm:?}"))
}

fn any_algorithm() -> Rule<Algorithm> {
    use AlgorithmFamily::{Ec, Ed, Hmac, Rsa};
    algorithm(&[Hmac, Rsa, Ec, Ed])
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
            (Some(file), None, _) => Ok((file, row.position("file"))),
            (None, Some(file), _) => Ok((file, row.position("secret_file"))),
        };
        let (file, position) = file?;
        Ok(KeyEntry { kid, algorithm, file, position, keys: Vec::new() })
    };
    let show = |entry: &KeyEntry| {
        let kid = entry.kid.as_ref().map(|kid| ("kid", (parsed("").show)(kid)));
        let alg = entry.algorithm.as_ref().map(|alg| ("alg", (any_algorithm().show)(alg)));
        let column = if entry.is_secret() { "secret_file" } else { "file" };
        let file = (column, (path("").show)(&entry.file));
        kid.into_iter().chain(alg).chain([file]).collect()
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
        let claim = |claim: &String| (parsed("").show)(claim);
        match revocation {
            Revocation::Token(jti) => vec![("jti", claim(jti))],
            Revocation::Speaker(sub) => vec![("sub", claim(sub))],
            Revocation::IssuedBefore(sub, secs) => {
                vec![("sub", claim(sub)), ("issued_before", (time().show)(secs))]
            }
        }
    };
    let allowed = "tables of jti, or of sub and perhaps issued_before";
    table(allowed, &["jti", "sub", "issued_before"], read, show)
}

/// A time with its date and offset, in seconds since the Unix epoch.
fn time() -> Rule<f64> {
    let read = |value: &DeValue<'_>| {
        let DeValue::Datetime(time) = value else { return Err(expected("a time", value)) };
        let time = DateTime::parse_from_rfc3339(&time.to_string())
            .map_err(|_| "a time without its date or offset")?;
        // Seconds are far below 2^53, so that nothing is lost.
        Ok(time.timestamp() as f64 + f64::from(time.timestamp_subsec_nanos()) / 1e9)
    };
    let show = |secs: &f64| {
        let time = DateTime::from_timestamp_millis((secs * 1_000.0) as i64).unwrap_or_default();
        let text = time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        text.parse().map_or_else(|_| text.into(), Value::Datetime)
    };
    scalar("", read, show)
}

//! The files that the configuration names, and the sources of the secret outside of it.

use std::io::ErrorKind;
use std::mem::take;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str;

use toml::de::DeValue;

use super::problem::Position;
use super::problem::Problem;
use super::read::{Draft, parse};
use super::report::Report;
use super::rule::list;
use super::sources::{CREDENTIAL, CREDENTIALS_VARIABLE, Environment, SECRET_VARIABLE, Source};
use super::tokens::revocation;
use crate::chat::{Revocation, Secret};
use crate::file::{Content, read_file};

/// Bytes of any file but `auth.revoked_file` at most.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of `auth.revoked_file` at most: enough for many thousand entries.
const REVOKED_BYTES_MAX: u64 = 16 << 20;

/// Keys that a token may have to be tried with: they bound what one token costs.
const KEYS_MAX: usize = 64;

/// Problems of one included file that are shown one by one.
const SHOWN_MAX: usize = 20;

const SECRET: &str = "auth.jwt_secret";
const SECRET_FILE: &str = "auth.jwt_secret_file";

const OTHERS_MAY_READ: &str = "everybody on this machine may read the secret; chmod o= the file";

impl Draft {
    /// Finds the secret: in the configuration, whose file others may read or not, else in its
    /// sources outside.
    pub fn include_secret(&mut self, others_may_read: bool, outside: &Environment) {
        let is_set = |key: &str| self.sources.contains_key(key);
        let (key, bytes) = if is_set(SECRET) {
            let Some(secret) = self.config.auth.secret.take() else { return };
            if others_may_read {
                self.warn(SECRET, OTHERS_MAY_READ);
            }
            (SECRET, Ok(secret.bytes().to_vec()))
        } else if is_set(SECRET_FILE) {
            self.sources.insert(SECRET, self.source(SECRET_FILE));
            let Some(path) = self.config.auth.secret_file.clone() else { return };
            (SECRET_FILE, self.secret_file(SECRET_FILE, &path))
        } else if let Some(content) = self.credential(outside) {
            self.sources.insert(SECRET, Source::Credential);
            (SECRET, content.map(without_newline))
        } else if let Some(value) = &outside.jwt_secret {
            self.sources.insert(SECRET, Source::Variable(SECRET_VARIABLE));
            (SECRET, Ok(value.as_bytes().to_vec()))
        } else {
            return;
        };
        self.config.auth.secret = self.secret(key, bytes);
    }

    /// The credential with the secret; none if there is no such file.
    fn credential(&mut self, outside: &Environment) -> Option<Result<Content, String>> {
        let folder = outside.credentials.as_ref().filter(|path| !path.as_os_str().is_empty())?;
        if folder.is_relative() {
            // Otherwise the working directory would decide about the secret.
            let problem = Problem::outside(CREDENTIALS_VARIABLE, "not an absolute path; ignored");
            self.problems.push(problem.warning());
            return None;
        }
        match read_file(&folder.join(CREDENTIAL), FILE_BYTES_MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            content => Some(content.map_err(|error| error.to_string())),
        }
    }

    /// The bytes of the secret in the file at `path`, which `key` names.
    fn secret_file(&mut self, key: &str, path: &Path) -> Result<Vec<u8>, String> {
        let content = read(&self.beside(path), FILE_BYTES_MAX)?;
        if content.others_may_read {
            self.warn(key, OTHERS_MAY_READ);
        }
        Ok(without_newline(content))
    }

    /// The secret that `key` has set to `bytes`.
    fn secret(&mut self, key: &str, bytes: Result<Vec<u8>, String>) -> Option<Secret> {
        let secret = bytes.and_then(|b| Secret::new(b).map_err(|error| error.to_string()));
        let secret = secret.map_err(|text| self.refuse(key, text)).ok()?;
        if secret.is_short() {
            self.warn(key, "the secret is shorter than 32 bytes and may be guessed");
        }
        Some(secret)
    }

    /// Reads the files of `auth.keys`.
    pub fn include_keys(&mut self) {
        let mut entries = take(&mut self.config.auth.keys);
        for entry in &mut entries {
            let is_secret = entry.is_secret();
            let key = if is_secret { "auth.keys.secret_file" } else { "auth.keys.file" };
            // All messages about this entry give its own place.
            self.sources.insert(key, Source::File(self.file.clone(), entry.position));
            let content = if is_secret {
                let bytes = self.secret_file(key, &entry.file);
                let Some(secret) = self.secret(key, bytes) else { continue };
                Ok(secret.bytes().to_vec())
            } else {
                read(&self.beside(&entry.file), FILE_BYTES_MAX).map(|content| content.bytes)
            };
            match content.and_then(|bytes| entry.keys_in(&bytes).map_err(|why| why.to_string())) {
                Err(text) => self.refuse(key, text),
                Ok(found) => {
                    entry.keys = found.keys;
                    for unusable in found.unusable.iter().take(SHOWN_MAX) {
                        self.warn(key, unusable.to_string());
                    }
                    if let more @ 1.. = found.unusable.len().saturating_sub(SHOWN_MAX) {
                        self.warn(key, format!("{more} more keys cannot be used"));
                    }
                }
            }
        }
        self.config.auth.keys = entries;
        let count = self.config.auth.token_keys().len();
        if count > KEYS_MAX {
            self.refuse("auth.keys", format!("{count} keys are more than {KEYS_MAX}"));
        }
    }

    /// Adds what the file of `auth.revoked_file` revokes.
    pub fn include_revoked(&mut self) {
        let Some(path) = &self.config.auth.revoked_file else { return };
        let path = self.beside(path);
        match read(&path, REVOKED_BYTES_MAX) {
            Err(text) => self.refuse("auth.revoked_file", text),
            Ok(content) => match utf8(&path, &content.bytes) {
                Err(problem) => self.problems.push(problem),
                Ok(text) => match read_revoked(&path, text) {
                    Err(problems) => self.problems.extend(problems),
                    Ok(revoked) => self.config.auth.revoked.extend(revoked),
                },
            },
        }
    }

    /// A path that may start at the folder of the configuration.
    fn beside(&self, path: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// The revocations in `text`, the content of `file`, as `auth.revoked_file` names one.
///
/// # Errors
///
/// The first problems in it, and how many more there are.
pub fn read_revoked(file: &Path, text: &str) -> Result<Vec<Revocation>, Vec<Problem>> {
    let mut report = Report::new(file, text, SHOWN_MAX);
    let mut revoked = Vec::new();
    for (name, value) in &parse(&mut report) {
        report.below(name.get_ref(), |report| match value.get_ref() {
            DeValue::Array(_) if report.key == "revoked" => {
                revoked = (list(0, revocation()).read)(value, report).unwrap_or_default();
            }
            _ => report.wrong(name.span().start, "the file is to hold only revoked = […]"),
        });
    }
    let problems = report.finish();
    if problems.is_empty() { Ok(revoked) } else { Err(problems) }
}

/// The text in `bytes`, the content of `file`.
pub(super) fn utf8<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a str, Problem> {
    str::from_utf8(bytes).map_err(|error| {
        let position = Position::of(&String::from_utf8_lossy(bytes), error.valid_up_to());
        Problem::at(file, position, "", "not UTF-8")
    })
}

fn read(path: &Path, bytes_max: u64) -> Result<Content, String> {
    // The path is not shown: it could be the secret, under the wrong key.
    read_file(path, bytes_max).map_err(|error| format!("the file cannot be read: {error}"))
}

/// Editors end a file with a newline, of Unix or of Windows, which is not part of the secret.
fn without_newline(content: Content) -> Vec<u8> {
    let mut bytes = content.bytes;
    let rest = bytes.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    bytes.truncate(rest.map_or(bytes.len(), <[u8]>::len));
    bytes
}

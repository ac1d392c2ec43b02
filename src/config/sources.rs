//! Values that are not in the file, and which source wins: files, credential, environment.

use std::mem::take;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str;

use toml::de::DeValue;

use super::environment::{Environment, Source};
use super::problem::{INCLUDE_PROBLEMS_MAX, Kind, Problem, Report};
use super::read::{Draft, parse};
use super::rule::list;
use super::tokens::revocation;
use crate::chat::{Revocation, Secret, TokenKey, read_public_keys};
use crate::file::{Content, read_file};

/// Bytes of any file but `auth.revoked_file` at most.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of `auth.revoked_file` at most: enough for many thousand entries.
const REVOKED_BYTES_MAX: u64 = 16 << 20;
/// The most keys that one token may have to be verified with.
const KEYS_MAX: usize = 64;

const SECRET: &str = "auth.jwt_secret";
const SECRET_FILE: &str = "auth.jwt_secret_file";
pub(super) const OTHERS_MAY_READ: &str =
    "all users of this machine can read the secret; chmod o= the file";

impl Draft {
    /// Takes the secret from the first source that has it.
    pub fn include_secret(&mut self, outside: &Environment) {
        let written = self.config.auth.secret.take().map(|secret| secret.bytes().to_vec());
        self.config.auth.secret = if self.is_set(SECRET) {
            if self.is_in_open_file(SECRET) {
                self.warn(SECRET, OTHERS_MAY_READ);
            }
            written.and_then(|bytes| self.secret(SECRET, bytes))
        } else if self.is_set(SECRET_FILE) {
            self.sources.insert(SECRET, self.source(SECRET_FILE));
            let path = self.config.auth.secret_file.clone();
            path.and_then(|path| self.secret_file(SECRET_FILE, &path))
        } else if let Some(path) = self.credential("wschat.jwt_secret", outside) {
            self.sources.insert(SECRET, Source::Other("credential wschat.jwt_secret"));
            let content = self.key_file(SECRET, &path);
            content.and_then(|content| self.secret(SECRET, content.without_newline()))
        } else if let Some(value) = &outside.jwt_secret {
            self.sources.insert(SECRET, Source::Other("environment variable JWT_SECRET"));
            self.secret(SECRET, value.as_bytes().to_vec())
        } else {
            None
        };
    }

    /// The file of the systemd credential `name`, if there is one.
    pub fn credential(&mut self, name: &str, outside: &Environment) -> Option<PathBuf> {
        let folder = outside.credentials.as_ref().filter(|path| !path.as_os_str().is_empty())?;
        if folder.is_relative() {
            // Relative to the working directory, a file of another user could be the secret.
            let wrong = Problem::outside("CREDENTIALS_DIRECTORY", "not an absolute path; ignored");
            let wrong = Problem { kind: Kind::Warning, ..wrong };
            if !self.problems.contains(&wrong) {
                self.problems.push(wrong);
            }
            return None;
        }
        let path = folder.join(name);
        (!path.try_exists().is_ok_and(|exists| !exists)).then_some(path)
    }

    /// Applies the command line, and the environment where the file sets nothing.
    pub fn override_from(&mut self, outside: &Environment) {
        if !outside.listen.is_empty() {
            self.config.listen.addresses = outside.listen.clone();
            self.sources.insert("listen.addresses", Source::Other("--listen"));
        }
        if let Some(threads) = outside.threads {
            self.config.server.threads = threads;
            self.sources.insert("server.threads", Source::Other("--threads"));
        }
        let log_dir = outside.log_dir.as_ref().filter(|dir| !dir.as_os_str().is_empty());
        if let (Some(dir), false) = (log_dir, self.is_set("record.dir")) {
            self.config.record.dir = Some(dir.clone());
            self.sources.insert("record.dir", Source::Other("environment variable LOG_DIR"));
        }
    }

    /// The content of the file at `path`, which `key` names.
    pub fn file(&mut self, key: &str, path: &Path, bytes_max: u64) -> Option<Content> {
        let content = self.content(key, path, bytes_max);
        content.map_err(|unreadable| self.refuse(key, unreadable)).ok()
    }

    /// The content of the file at `path`, which `key` names, and which gives keys for tokens.
    fn key_file(&mut self, key: &str, path: &Path) -> Option<Content> {
        let content = self.content(key, path, FILE_BYTES_MAX);
        content.map_err(|unreadable| self.no_key(key, unreadable)).ok()
    }

    fn content(&self, key: &str, path: &Path, bytes_max: u64) -> Result<Content, String> {
        // The path is not shown: it could be the secret, under the wrong key.
        let unreadable = |error| format!("the file cannot be read: {error}");
        read_file(&self.beside(key, path), bytes_max).map_err(unreadable)
    }

    /// The secret in the file at `path`, which `key` names.
    fn secret_file(&mut self, key: &str, path: &Path) -> Option<Secret> {
        let content = self.key_file(key, path)?;
        if content.others_may_read {
            self.warn(key, OTHERS_MAY_READ);
        }
        self.secret(key, content.without_newline())
    }

    /// The secret that `key` has set to `bytes`.
    fn secret(&mut self, key: &str, bytes: Vec<u8>) -> Option<Secret> {
        let secret =
            Secret::new(bytes).map_err(|empty| self.no_key(key, empty.to_string())).ok()?;
        if secret.is_short() {
            self.warn(key, "the secret is shorter than 32 bytes and may be guessed");
        }
        Some(secret)
    }

    /// Reads the files of `auth.keys`.
    pub fn include_keys(&mut self) {
        let mut entries = take(&mut self.config.auth.keys);
        let Source::File(file, _) = self.source("auth.keys") else { return };
        for entry in &mut entries {
            let is_secret = entry.column == "secret_file";
            let key = if is_secret { "auth.keys.secret_file" } else { "auth.keys.file" };
            // Messages about this entry show its own place.
            self.sources.insert(key, Source::File(file.clone(), entry.position));
            let kid = entry.kid.as_deref();
            if let Some(algorithm) = entry.algorithm.filter(|_| is_secret) {
                let token_key = |s: Secret| TokenKey::secret(kid, algorithm, s.bytes()).ok();
                let secret = self.secret_file(key, &entry.file);
                entry.keys = secret.and_then(token_key).into_iter().collect();
                continue;
            }
            let Some(content) = self.key_file(key, &entry.file) else { continue };
            match read_public_keys(kid, entry.algorithm, &content.bytes) {
                Err(error) => self.no_key(key, error.to_string()),
                Ok(found) => {
                    entry.keys = found.keys;
                    for unusable in found.unusable.iter().take(INCLUDE_PROBLEMS_MAX) {
                        self.warn(key, unusable.to_string());
                    }
                    if let more @ 1.. = found.unusable.len().saturating_sub(INCLUDE_PROBLEMS_MAX) {
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

    /// Adds the revocations of the file that `auth.revoked_file` names.
    pub fn include_revoked(&mut self) {
        let Some(path) = self.config.auth.revoked_file.clone() else { return };
        let key = "auth.revoked_file";
        let Some(content) = self.file(key, &path, REVOKED_BYTES_MAX) else { return };
        let path = self.beside(key, &path);
        let text = utf8(&path, &content.bytes).map_err(|problem| vec![problem]);
        match text.and_then(|text| read_revoked(&path, text)) {
            Ok(revoked) => self.config.auth.revoked.extend(revoked),
            Err(problems) => self.problems.extend(problems),
        }
    }

    /// `path`, if relative then to the folder of the file that sets `key` to it.
    pub fn beside(&self, key: &str, path: &Path) -> PathBuf {
        match self.source(key) {
            Source::File(file, _) => file.parent().unwrap_or(Path::new("")).join(path),
            _ => path.to_owned(),
        }
    }

    /// Whether all users may read the file that sets `key`.
    pub fn is_in_open_file(&self, key: &str) -> bool {
        matches!(self.source(key), Source::File(file, _) if self.open_files.contains(&file))
    }
}

/// The revocations in `text`, the content of the `file` that `auth.revoked_file` names.
///
/// # Errors
///
/// The first problems in it, and the number of the others.
pub fn read_revoked(file: &Path, text: &str) -> Result<Vec<Revocation>, Vec<Problem>> {
    let mut report = Report::new(file, text, INCLUDE_PROBLEMS_MAX);
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
        let text = String::from_utf8_lossy(bytes);
        let position = Report::new(file, &text, 0).position(error.valid_up_to());
        Problem::at(file, position, "", "not UTF-8")
    })
}

//! From everything that comes from outside to a [`Config`]: the file, the
//! secret's other sources, the command line.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::keys::{KEYS, Key, Kind};
use super::problem::{Position, Problem, Problems, Warning};
use super::read::{Draft, read};
use super::tokens;
use super::{Config, KeyFile};
use crate::address::ListenAddress;
use crate::chat::{PublicKeys, Secret};
use crate::descriptors;
use crate::file::{Content, read_file};

/// Everything outside that a configuration depends on. It may hold a secret, so
/// there is no way to print it.
#[derive(Clone, Default)]
pub struct Environment {
    /// The configuration file.
    pub file: PathBuf,
    /// Whether it is an error that the file is not there: somebody named it, or
    /// the configuration in force came from it.
    pub file_required: bool,
    /// Where systemd put the credentials: an absolute path; empty is none.
    pub credentials: Option<PathBuf>,
    /// The variable `JWT_SECRET`.
    pub jwt_secret: Option<OsString>,
    /// The variable `LOG_DIR`, as an absolute path; empty is none.
    pub log_dir: Option<PathBuf>,
    /// `--listen`: instead of `listen.addresses`, unless empty.
    pub listen: Vec<ListenAddress>,
    /// `--threads`: instead of `server.threads`.
    pub threads: Option<usize>,
    /// Descriptors that the process may open at most; none is no bound.
    pub descriptors_max: Option<u64>,
}

/// A good configuration, and what is known about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What should be different although it works.
    pub warnings: Vec<Warning>,
    /// Whether there was a file; without one, all is default.
    pub file_found: bool,
    /// Every value of the table with its source, for `wschat config`.
    pub values: Vec<Value>,
}

/// One effective value: `limits.connections_max = 100000  # default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The key's name.
    pub name: &'static str,
    /// The value as TOML; `set` for a secret, `none` where there is none.
    pub text: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said otherwise.
    Default,
    /// A line of the file, counted from 1.
    File(PathBuf, usize),
    /// The systemd credential `wschat.jwt_secret`.
    Credential,
    /// The environment variable of that name.
    Variable(&'static str),
    /// An option of the command line.
    Option(&'static str),
}

/// The environment variable with the folder of systemd's credentials.
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The name of the secret among systemd's credentials.
pub const CREDENTIAL: &str = "wschat.jwt_secret";

/// The environment variable with the secret, as wschat 0.2.1 knew it.
pub const VARIABLE: &str = "JWT_SECRET";

/// The environment variable with the record's directory, as wschat 0.2.1 knew it.
pub const RECORD_VARIABLE: &str = "LOG_DIR";

/// Bytes read of any file at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes read of `auth.revoked_file` at most: enough for many thousand entries.
const REVOKED_BYTES_MAX: u64 = 16 << 20;

/// Reads and checks the whole configuration.
///
/// # Errors
///
/// Every [`Problem`] there is, all at once.
///
/// # Examples
///
/// ```
/// use wschat::config::{Environment, load};
/// let outside = Environment { file: "/nonexistent".into(), ..Environment::default() };
/// let loaded = load(&outside).unwrap();
/// assert_eq!(loaded.config, wschat::config::Config::default());
/// ```
pub fn load(outside: &Environment) -> Result<Loaded, Problems> {
    let content = match read_file(&outside.file, FILE_BYTES_MAX) {
        Ok(content) => Some(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !outside.file_required => None,
        Err(error) => return Err(Problems::unreadable(&outside.file, &error)),
    };
    let file_found = content.is_some();
    let content = content.unwrap_or_default();
    let text = text(&outside.file, &content.bytes)?;

    let draft = read(&outside.file, text);
    let mut loading = Loading { outside, draft, warnings: Vec::new(), secret_from: None };
    loading.secret(&content);
    loading.keys(text);
    loading.revoked_file();
    loading.idle();
    loading.descriptors();
    let elsewhere = loading.elsewhere();
    loading.exclusions();
    if !loading.draft.problems.is_empty() {
        return Err(Problems::new(loading.draft.problems));
    }
    let values = KEYS.iter().map(|key| loading.show(key, &elsewhere)).collect();
    let Loading { draft, warnings, .. } = loading;
    Ok(Loaded { config: draft.config, warnings, file_found, values })
}

/// Checks the text of a configuration file alone: no file that it names is
/// read, and nothing else from outside counts.
///
/// # Errors
///
/// Every [`Problem`] there is, all at once.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// let problems = wschat::config::parse(Path::new("f"), "port = 1").unwrap_err();
/// assert_eq!(problems.to_string(), "f:1:1: port: unknown key");
/// ```
pub fn parse(file: &Path, text: &str) -> Result<Config, Problems> {
    let draft = read(file, text);
    if draft.problems.is_empty() { Ok(draft.config) } else { Err(Problems::new(draft.problems)) }
}

impl Environment {
    /// The same for a reload of `loaded`: a file that was there may not vanish.
    pub fn for_reload(mut self, loaded: &Loaded) -> Self {
        self.file_required |= loaded.file_found;
        self
    }
}

struct Loading<'a> {
    outside: &'a Environment,
    draft: Draft,
    warnings: Vec<Warning>,
    secret_from: Option<Source>,
}

impl Loading<'_> {
    /// Finds the secret: the file first, then the credential, then the variable.
    fn secret(&mut self, config: &Content) {
        let in_text = self.draft.places.get("auth.jwt_secret").copied();
        let in_file = self.draft.places.get("auth.jwt_secret_file").copied();
        if let Some(place) = in_text {
            self.secret_from = Some(self.line(place));
            if config.others_may_read {
                self.warn_at(place, "auth.jwt_secret", OTHERS_MAY_READ);
            }
            self.warn_if_short(|file| Problem::at(file, place, Some("auth.jwt_secret"), SHORT));
        } else if let Some(place) = in_file {
            self.secret_from = Some(self.line(place));
            self.secret_file(place);
        } else if let Some(bytes) = self.credential() {
            self.secret_from = Some(Source::Credential);
            self.secret_outside(&format!("credential {CREDENTIAL}"), bytes);
        } else if let Some(value) = self.outside.jwt_secret.clone() {
            self.secret_from = Some(Source::Variable(VARIABLE));
            self.secret_outside(VARIABLE, Ok(value.into_vec()));
        }
    }

    fn secret_file(&mut self, place: Position) {
        // Without a path, the reader has already said what is wrong with it.
        let Some(path) = &self.draft.secret_file else { return };
        let key = "auth.jwt_secret_file";
        let problem = match read_file(&self.beside(path), FILE_BYTES_MAX) {
            // The path stays unsaid: it could be the secret, set under the wrong key.
            Err(error) => format!("the file cannot be read: {error}"),
            Ok(content) => {
                if content.others_may_read {
                    self.warn_at(place, key, OTHERS_MAY_READ);
                }
                match Secret::new(without_newline(content.bytes)) {
                    Ok(secret) => {
                        self.draft.config.auth.secret = Some(secret);
                        self.warn_if_short(|file| Problem::at(file, place, Some(key), SHORT));
                        return;
                    }
                    Err(error) => error.to_string(),
                }
            }
        };
        self.wrong_at(place, key, problem);
    }

    /// The credential's bytes, or why they cannot be had; none if there is none.
    fn credential(&mut self) -> Option<io::Result<Vec<u8>>> {
        let folder = self.outside.credentials.as_ref().filter(|path| !path.as_os_str().is_empty());
        let folder = folder?;
        if folder.is_relative() {
            // Whoever chose the working directory would choose the secret.
            let problem = Problem::outside(CREDENTIALS_VARIABLE, "not an absolute path; ignored");
            self.warnings.push(Warning(problem));
            return None;
        }
        let path = folder.join(CREDENTIAL);
        match read_file(&path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            content => Some(content.map(|content| without_newline(content.bytes))),
        }
    }

    fn secret_outside(&mut self, what: &str, bytes: io::Result<Vec<u8>>) {
        let secret = bytes
            .map_err(|error| error.to_string())
            .and_then(|bytes| Secret::new(bytes).map_err(|error| error.to_string()));
        match secret {
            Ok(secret) => {
                self.draft.config.auth.secret = Some(secret);
                self.warn_if_short(|_| Problem::outside(what, SHORT));
            }
            Err(why) => self.draft.problems.push(Problem::outside(what, why)),
        }
    }

    /// Reads the files of `auth.keys`, whose rows are in `text`.
    fn keys(&mut self, text: &str) {
        let key = "auth.keys";
        let rows = self.draft.rows.remove(key).unwrap_or_default();
        let mut entries = std::mem::take(&mut self.draft.config.auth.keys);
        for (entry, row) in entries.iter_mut().zip(&rows) {
            let (column, path, is_secret) = match &entry.file {
                KeyFile::Public(path) => ("file", path, false),
                KeyFile::Secret(path) => ("secret_file", path, true),
            };
            let name = format!("{key}.{column}");
            let place = Position::of(text, row.offset(column));
            let keys = read_file(&self.beside(path), FILE_BYTES_MAX)
                .map_err(|error| format!("the file cannot be read: {error}"))
                .and_then(|content| {
                    if is_secret && content.others_may_read {
                        self.warn_at(place, &name, OTHERS_MAY_READ);
                    }
                    let bytes = content.bytes;
                    let bytes = if is_secret { without_newline(bytes) } else { bytes };
                    if is_secret && Secret::new(&*bytes).is_ok_and(|secret| secret.is_short()) {
                        self.warn_at(place, &name, SHORT);
                    }
                    tokens::keys_of(entry, &bytes).map_err(|error| error.to_string())
                });
            match keys {
                Ok(PublicKeys { keys, unusable }) => {
                    entry.keys = keys;
                    for key in unusable.iter().take(tokens::PROBLEMS_MAX) {
                        self.warn_at(place, &name, &key.to_string());
                    }
                    let more = unusable.len().saturating_sub(tokens::PROBLEMS_MAX);
                    if more > 0 {
                        self.warn_at(place, &name, &format!("{more} more keys cannot be used"));
                    }
                }
                Err(why) => self.wrong_at(place, &name, why),
            }
        }
        self.draft.config.auth.keys = entries;
        let count = self.draft.config.auth.token_keys().len();
        if let Some(place) = self.draft.places.get(key).filter(|_| count > tokens::KEYS_MAX) {
            let why = format!("{count} keys are more than {}", tokens::KEYS_MAX);
            self.wrong_at(*place, key, why);
        }
    }

    /// Reads `auth.revoked_file`.
    fn revoked_file(&mut self) {
        let key = "auth.revoked_file";
        let Some(place) = self.draft.places.get(key).copied() else { return };
        // Without a path, the reader has already said what is wrong with it.
        let Some(path) = &self.draft.config.auth.revoked_file else { return };
        let path = self.beside(path);
        let content = match read_file(&path, REVOKED_BYTES_MAX) {
            Ok(content) => content,
            Err(error) => {
                return self.wrong_at(place, key, format!("the file cannot be read: {error}"));
            }
        };
        let revoked = match text(&path, &content.bytes) {
            Ok(text) => tokens::read_revoked(&path, text),
            Err(problems) => Err(problems.list),
        };
        match revoked {
            Ok(revoked) => self.draft.config.auth.revoked_in_file = revoked,
            Err(problems) => self.draft.problems.extend(problems),
        }
    }

    /// Warns of what has no effect where everybody may speak.
    fn idle(&mut self) {
        for key in tokens::idle(&self.draft.config.auth) {
            if let Some(place) = self.draft.places.get(key).copied() {
                self.warn_at(place, key, "it has no effect without a secret or a key");
            }
        }
    }

    /// A path that is relative to the folder of the configuration.
    fn beside(&self, path: &Path) -> PathBuf {
        self.outside.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Warns where somebody asked for more connections than can be open. The
    /// default is only a bound that nobody chose: it earns no warning.
    fn descriptors(&mut self) {
        let key = "limits.connections_max";
        let Some(place) = self.draft.places.get(key).copied() else { return };
        let Some(max) = self.outside.descriptors_max else { return };
        let shards = self.draft.config.server.shards();
        let possible =
            descriptors::websockets_max(descriptors::clients_max(Some(max), shards)) as u64;
        let wanted = u64::try_from(self.draft.config.limits.connections_max).unwrap_or(u64::MAX);
        if wanted > possible {
            let text = format!(
                "{wanted} is more than the {max} descriptors of the process allow, \
                 which is {possible} connections (LimitNOFILE= or ulimit -Hn)"
            );
            self.warn_at(place, key, &text);
        }
    }

    /// Applies what the command line says, and the environment where the file
    /// says nothing; gives back which keys those were.
    fn elsewhere(&mut self) -> Vec<(&'static str, Source)> {
        let mut applied = Vec::new();
        if !self.outside.listen.is_empty() {
            self.draft.config.listen.addresses = self.outside.listen.clone();
            applied.push(("listen.addresses", Source::Option("--listen")));
        }
        if let Some(threads) = self.outside.threads {
            self.draft.config.server.threads = threads;
            applied.push(("server.threads", Source::Option("--threads")));
        }
        let log_dir = self.outside.log_dir.as_ref().filter(|dir| !dir.as_os_str().is_empty());
        if let (Some(dir), false) = (log_dir, self.draft.places.contains_key("record.dir")) {
            self.draft.config.record.dir = Some(dir.clone());
            applied.push(("record.dir", Source::Variable(RECORD_VARIABLE)));
        }
        applied
    }

    /// Reports addresses that cannot be listened at together.
    fn exclusions(&mut self) {
        let Config { listen, metrics, .. } = &self.draft.config;
        let room = listen.addresses.iter().map(|address| ("listen.addresses", address));
        let all: Vec<_> =
            room.chain(metrics.address.as_ref().map(|a| ("metrics.address", a))).collect();
        let mut wrong = Vec::new();
        for (index, (key, address)) in all.iter().enumerate() {
            let before = all.iter().take(index).map(|(_, before)| before);
            if let Some(other) = before.into_iter().find(|before| before.excludes(address)) {
                wrong.push((*key, format!("{address} cannot be listened at beside {other}")));
            }
        }
        for (key, why) in wrong {
            let from_option = key == "listen.addresses" && !self.outside.listen.is_empty();
            match self.draft.places.get(key).copied().filter(|_| !from_option) {
                Some(place) => self.wrong_at(place, key, why),
                None => self.draft.problems.push(Problem::outside("--listen", why)),
            }
        }
    }

    fn show(&self, key: &Key, elsewhere: &[(&'static str, Source)]) -> Value {
        let other = elsewhere.iter().find(|(name, _)| *name == key.name);
        let place = self.draft.places.get(key.name);
        let mut source = match (other, place) {
            (Some((_, source)), _) => source.clone(),
            (None, Some(place)) => self.line(*place),
            (None, None) => Source::Default,
        };
        let none = || "none".to_owned();
        let text = match (&key.kind, &self.secret_from) {
            (Kind::Secret, Some(from)) => {
                source = from.clone();
                "set".to_owned()
            }
            (Kind::SecretFile, _) => match &self.draft.secret_file {
                Some(path) => toml::Value::from(path.to_string_lossy().as_ref()).to_string(),
                None => none(),
            },
            _ => key.show(&self.draft.config).unwrap_or_else(none),
        };
        Value { name: key.name, text, source }
    }

    fn line(&self, place: Position) -> Source {
        Source::File(self.outside.file.clone(), place.line)
    }

    fn wrong_at(&mut self, place: Position, key: &str, why: String) {
        self.draft.problems.push(Problem::at(&self.outside.file, place, Some(key), why));
    }

    fn warn_at(&mut self, place: Position, key: &str, text: &str) {
        self.warnings.push(Warning(Problem::at(&self.outside.file, place, Some(key), text)));
    }

    fn warn_if_short(&mut self, problem: impl FnOnce(&Path) -> Problem) {
        if self.draft.config.auth.secret.as_ref().is_some_and(Secret::is_short) {
            self.warnings.push(Warning(problem(&self.outside.file)));
        }
    }
}

const SHORT: &str = "the secret is shorter than 32 bytes and may be guessed";
const OTHERS_MAY_READ: &str = "everybody on this machine may read the secret; chmod o= the file";

fn text<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a str, Problems> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let good = std::str::from_utf8(good).unwrap_or_default();
        let place = Position::of(good, good.len());
        Problems::new(vec![Problem::at(file, place, None, "not UTF-8")])
    })
}

/// A file's last newline is there for editors; it is no part of the secret, be it
/// that of Unix or that of Windows.
fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    let rest = bytes.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    bytes.truncate(rest.map_or(bytes.len(), <[u8]>::len));
    bytes
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} = {}  # {}", self.name, self.text, self.source)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path, line) => write!(out, "{}:{line}", path.display()),
            Self::Credential => write!(out, "credential {CREDENTIAL}"),
            Self::Variable(name) => write!(out, "environment variable {name}"),
            Self::Option(option) => out.write_str(option),
        }
    }
}

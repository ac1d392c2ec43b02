//! Makes a [`Config`] of all its sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::{Environment, Source};
use super::files::{ConfigFile, read_files};
use super::problem::{FILE_PROBLEMS_MAX, INCLUDE_PROBLEMS_MAX, Kind, Problem, Problems};
use super::read::Draft;
use super::restriction;
use super::sources::utf8;
use super::table::{Config, KEYS};
use crate::descriptors;

const REQUIRED: &str = "auth.required";
const NO_KEY: &str = "there is no secret and no key, so nobody can send messages; \
     set auth.required = false if everybody may";
const NO_KEY_LEFT: &str = "there is no secret and no key any more, so nobody can send messages; \
     set auth.required = false if everybody may";

/// A valid configuration, and what is known about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Problems that do not prevent its use.
    pub warnings: Vec<Problem>,
    /// Keys for tokens that cannot be used, or that there is none and there was one. A room can
    /// start nevertheless, with those who listen.
    pub unusable_keys: Vec<Problem>,
    /// Whether there was the file that drop-ins are beside.
    pub file_found: bool,
    /// The files that were read, in this order: a value replaces that of an earlier file.
    pub files: Vec<PathBuf>,
    /// Whether there are drop-ins among them.
    pub has_drop_ins: bool,
    /// A line for every key, with its value and where that comes from:
    /// `limits.connections_max = 100000  # default`.
    pub values: Vec<String>,
    /// Where each value that is not a default comes from.
    sources: BTreeMap<&'static str, Source>,
}

/// Reads and checks the whole configuration.
///
/// # Errors
///
/// Every problem that it has.
pub fn load(outside: &Environment) -> Result<Loaded, Problems> {
    let (files, warnings) = read_files(outside)?;
    let mut draft = Draft::default();
    draft.problems.extend(warnings);
    for file in &files {
        draft.read_file(file);
    }
    // If a file is malformed, what the others contain may contradict values that are not known.
    let values = if draft.is_malformed { Vec::new() } else { draft.complete(outside) };
    let sources = draft.sources.clone();
    let (config, unusable_keys, warnings) = draft.finish()?;
    let file_found = files.iter().any(|file| !file.is_drop_in);
    let has_drop_ins = files.iter().any(|file| file.is_drop_in);
    let files = files.into_iter().map(|file| file.path).collect();
    Ok(Loaded { config, warnings, unusable_keys, file_found, files, has_drop_ins, values, sources })
}

impl Loaded {
    /// Whether anything sets `key`.
    pub fn is_set(&self, key: &str) -> bool {
        self.sources.contains_key(key)
    }

    /// Where the value of `key` comes from.
    pub fn source(&self, key: &str) -> String {
        self.sources.get(key).unwrap_or(&Source::Default).to_string()
    }

    /// A problem with the value of `key` that only shows outside the configuration.
    pub fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        self.sources.get(key).unwrap_or(&Source::Default).problem(key, text)
    }

    /// Remembers in the state directory that a token is needed, if one is. If that fails, there is
    /// a warning.
    pub fn remember_restriction(&mut self, state_dir: Option<&Path>) {
        let Some(folder) = state_dir.filter(|_| self.config.auth.needs_token()) else {
            return;
        };
        if let Err(error) = restriction::remember(folder) {
            let text = format!(
                "that a token is needed cannot be remembered in {}: {error}; without it, a lost \
                 key would open the room at the next start",
                folder.display()
            );
            let problem = Problem::outside(REQUIRED, text);
            self.warnings.push(Problem { kind: Kind::Warning, ..problem });
        }
    }

    /// Closes the room if it has no key and nothing says that it needs none: the room of the
    /// previous process needed tokens.
    pub fn restrict(&mut self) {
        let auth = &mut self.config.auth;
        if auth.required.is_none() && auth.token_keys().is_empty() {
            auth.required = Some(true);
            let problem = Problem::outside(REQUIRED, NO_KEY_LEFT);
            self.unusable_keys.push(Problem { kind: Kind::NoKey, ..problem });
        }
    }

    /// Why nobody can send messages, if that is so, and how to open the room on purpose.
    pub fn why_closed(&self) -> Option<String> {
        let problem = self.unusable_keys.first().filter(|_| self.config.auth.is_closed())?;
        let how = match problem.what == REQUIRED {
            true => "",
            false => "; if everybody may, remove it and set auth.required = false",
        };
        Some(format!("{problem}{how}"))
    }

    /// This, unless a key for tokens cannot be used or is missing.
    ///
    /// # Errors
    ///
    /// What is wrong with the keys.
    pub fn with_usable_keys(self) -> Result<Self, Problems> {
        if self.unusable_keys.is_empty() {
            return Ok(self);
        }
        Err(Problems { list: self.unusable_keys, unreadable: false })
    }
}

/// Reads `text` as the content of `file`, without any other source, for `fuzz/`.
#[doc(hidden)]
pub fn parse(file: &Path, text: &str) -> Result<Config, Problems> {
    let mut draft = Draft::default();
    draft.read(file, text, FILE_PROBLEMS_MAX);
    draft.check_contradictions();
    draft.finish().map(|(config, ..)| config)
}

impl Draft {
    fn read_file(&mut self, file: &ConfigFile) {
        let shown_max = if file.is_drop_in { INCLUDE_PROBLEMS_MAX } else { FILE_PROBLEMS_MAX };
        match utf8(&file.path, &file.content.bytes) {
            Ok(text) => self.read(&file.path, text, shown_max),
            Err(problem) => {
                self.is_malformed = true;
                self.problems.push(problem);
            }
        }
        if file.content.others_may_read {
            self.open_files.push(file.path.clone());
        }
    }

    /// Adds all that is not in the files, and checks everything together. Returns a line for
    /// every key.
    fn complete(&mut self, outside: &Environment) -> Vec<String> {
        self.check_contradictions();
        self.include_secret(outside);
        self.include_keys();
        self.override_from(outside);
        self.complete_cluster(outside);
        let line = |name, shown| format!("{name} = {shown}  # {}", self.source(name));
        let values = KEYS.iter().map(|key| line(key.name, (key.show)(&self.config))).collect();
        self.include_revoked();
        self.include_cluster();
        self.warn_of_no_effect();
        self.warn_of_descriptors(outside.descriptors_max);
        self.refuse_exclusions();
        self.close_without_keys(outside);
        values
    }

    /// Warns of keys about tokens if no token is needed, and about a record that is not there.
    fn warn_of_no_effect(&mut self) {
        if self.config.auth.token_keys().is_empty() {
            let keys = ["auth.issuer", "auth.audience", "auth.bind_usr", "auth.moderator_claim"];
            for key in keys.into_iter().filter(|key| self.is_set(key)).collect::<Vec<_>>() {
                self.warn(key, "it has no effect without a secret or a key");
            }
        }
        let record = &self.config.record;
        if record.keep_days > 0 && record.dir.is_none() {
            self.warn("record.keep_days", "it has no effect without record.dir");
        }
    }

    /// Without a usable key, nobody can send messages where a token is required, and where one
    /// was needed once. Without a state directory nobody knows the latter: then a key that
    /// cannot be used is an error.
    fn close_without_keys(&mut self, outside: &Environment) {
        let required = self.config.auth.required;
        let has_keys = !self.config.auth.token_keys().is_empty();
        let is_remembered =
            |folder: &Path| outside.was_restricted || restriction::is_remembered(folder);
        let was_restricted = || outside.state_dir.as_deref().is_some_and(is_remembered);
        if !has_keys && !self.has(Kind::NoKey) && required.unwrap_or_else(was_restricted) {
            self.no_key(REQUIRED, if required.is_some() { NO_KEY } else { NO_KEY_LEFT });
        }
        if !self.has(Kind::NoKey) {
            return;
        }
        if required.unwrap_or(outside.state_dir.is_some()) {
            self.config.auth.required = Some(true);
        } else {
            for problem in self.problems.iter_mut().filter(|it| it.kind == Kind::NoKey) {
                problem.kind = Kind::Error;
            }
        }
    }

    /// Warns if more connections are configured than can be open; the default does not count.
    fn warn_of_descriptors(&mut self, descriptors_max: Option<u64>) {
        let (key, wanted) = ("limits.connections_max", self.config.limits.connections_max);
        let Some(max) = descriptors_max.filter(|_| self.is_set(key)) else { return };
        let clients_max = descriptors::clients_max(Some(max), self.config.server.shards());
        let possible = descriptors::websockets_max(clients_max);
        if wanted > possible {
            let text = format!(
                "{wanted} is more than the {max} descriptors of the process allow, which is \
                 {possible} connections (LimitNOFILE= or ulimit -Hn)"
            );
            self.warn(key, text);
        }
    }

    /// Reports addresses that cannot be listened at together.
    fn refuse_exclusions(&mut self) {
        let Config { listen, metrics, .. } = self.config.clone();
        let room = listen.addresses.into_iter().map(|address| ("listen.addresses", address));
        let metrics = metrics.address.into_iter().map(|address| ("metrics.address", address));
        let all: Vec<_> = room.chain(metrics).collect();
        for (index, (key, address)) in all.iter().enumerate() {
            let mut before = all.iter().take(index);
            if let Some((other_key, other)) = before.find(|(_, other)| other.excludes(address)) {
                let text = format!("cannot listen at both {other} and {address}");
                self.refuse_both(key, other_key, text);
            }
        }
    }
}

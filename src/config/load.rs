//! Makes a [`Config`] of all its sources.

use std::io::ErrorKind;
use std::path::Path;

use super::environment::Environment;
use super::problem::{Kind, Problem, Problems};
use super::read::{Draft, read};
use super::restriction;
use super::sources::{FILE_BYTES_MAX, utf8};
use super::table::{Config, KEYS};
use crate::descriptors;
use crate::file::{Content, read_file};

const REQUIRED: &str = "auth.required";
const NO_KEY: &str = "there is no secret and no key, so nobody can send messages";
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
    /// Whether there was a file; without one, all values are defaults.
    pub file_found: bool,
    /// A line for every key, with its value and where that comes from:
    /// `limits.connections_max = 100000  # default`.
    pub values: Vec<String>,
}

/// Reads and checks the whole configuration.
///
/// # Errors
///
/// Every problem that it has.
pub fn load(outside: &Environment) -> Result<Loaded, Problems> {
    let file = &outside.file;
    let (file_found, content) = match read_file(file, FILE_BYTES_MAX) {
        Ok(content) => (true, content),
        Err(error) if error.kind() == ErrorKind::NotFound && !outside.file_required => {
            (false, Content::default())
        }
        Err(error) => return Err(Problems::unreadable(file.display(), error)),
    };
    let text = utf8(file, &content.bytes).map_err(|problem| Problems::new(vec![problem]))?;
    let mut draft = read(file, text);
    draft.include_secret(content.others_may_read, outside);
    draft.include_keys();
    draft.override_from(outside);
    draft.complete_cluster(outside);
    let line = |name, shown| format!("{name} = {shown}  # {}", draft.source(name));
    let values = KEYS.iter().map(|key| line(key.name, (key.show)(&draft.config))).collect();
    draft.include_revoked();
    draft.include_cluster(content.others_may_read);
    draft.warn_of_no_effect();
    draft.warn_of_descriptors(outside.descriptors_max);
    draft.refuse_exclusions();
    draft.close_without_keys(outside);
    let (config, unusable_keys, warnings) = draft.finish()?;
    Ok(Loaded { config, warnings, unusable_keys, file_found, values })
}

impl Loaded {
    /// Remembers in the state directory that a key is in force, if one is. If that fails, there is
    /// a warning.
    pub fn remember_keys(&mut self, state_dir: Option<&Path>) {
        let Some(folder) = state_dir.filter(|_| !self.config.auth.token_keys().is_empty()) else {
            return;
        };
        if let Err(error) = restriction::remember(folder) {
            let text = format!(
                "that a key is in force cannot be remembered in {}: {error}; without it, a lost \
                 key would open the room",
                folder.display()
            );
            let problem = Problem::outside(REQUIRED, text);
            self.warnings.push(Problem { kind: Kind::Warning, ..problem });
        }
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
        Err(Problems::new(self.unusable_keys))
    }
}

/// Reads `text` as the content of `file`, without any other source, for `fuzz/`.
#[doc(hidden)]
pub fn parse(file: &Path, text: &str) -> Result<Config, Problems> {
    read(file, text).finish().map(|(config, ..)| config)
}

impl Draft {
    /// Warns of keys about tokens if no token is needed.
    fn warn_of_no_effect(&mut self) {
        if self.config.auth.token_keys().is_empty() {
            let keys = ["auth.issuer", "auth.audience", "auth.bind_usr", "auth.moderator_claim"];
            for key in keys.into_iter().filter(|key| self.is_set(key)).collect::<Vec<_>>() {
                self.warn(key, "it has no effect without a secret or a key");
            }
        }
    }

    /// Without a usable key, nobody can send messages where a token is required, and where a key
    /// was in force once. Without a state directory nobody knows the latter: then a key that
    /// cannot be used is an error.
    fn close_without_keys(&mut self, outside: &Environment) {
        let required = self.config.auth.required;
        let has_keys = !self.config.auth.token_keys().is_empty();
        let was_restricted =
            || outside.state_dir.as_deref().is_some_and(restriction::is_remembered);
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
            if let Some((_, other)) = before.find(|(_, other)| other.excludes(address)) {
                self.refuse(key, format!("cannot listen at both {other} and {address}"));
            }
        }
    }
}

//! The table of all keys: what each may be and where it lives in [`Config`].
//!
//! A new key is a field in [`Config`] with its default, and one entry here. Its
//! checks, its line in `wschat config`, whether a reload applies it, and what
//! the tests demand of the papers follow from the entry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tracing::Level;

use super::Config;
use super::rows::{Column, Row, Wrong};
use super::tokens;
use crate::address::ListenAddress;

/// One key of the configuration file.
pub struct Key {
    /// Its full name, `section.key`.
    pub name: &'static str,
    /// When a change of it takes effect.
    pub reload: Reload,
    /// What it may be, and how it gets into a [`Config`] and out again.
    pub(super) kind: Kind,
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// At the reload.
    Yes,
    /// At the reload, for connections that come after it.
    NewConnections,
    /// Only at the next start.
    No,
}

impl fmt::Display for Reload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Yes => "yes",
            Self::NewConnections => "new connections",
            Self::No => "no",
        })
    }
}

/// The type of a value, its bounds, and the field it belongs to.
pub(super) enum Kind {
    /// The secret itself. Not part of a Config until all its sources are known.
    Secret,
    /// A file that holds the secret.
    SecretFile,
    /// A whole number, both bounds included.
    Number { min: u64, max: u64, get: fn(&Config) -> u64, set: fn(&mut Config, u64) },
    /// True or false.
    Flag { get: fn(&Config) -> bool, set: fn(&mut Config, bool) },
    /// A string, which `set` may refuse with a reason; perhaps none by default.
    Text { form: &'static str, get: fn(&Config) -> Option<String>, set: SetText },
    /// An array of strings, each of which `set` may refuse with a reason.
    List { form: &'static str, may_be_empty: bool, get: GetList, set: SetList },
    /// An array of tables, each of which `add` may refuse with a reason.
    Rows { form: &'static str, columns: &'static [Column], get: GetRows, add: AddRow },
}

type SetText = fn(&mut Config, &str) -> Result<(), String>;
type GetList = fn(&Config) -> Vec<String>;
type GetRows = fn(&Config) -> Vec<toml::Table>;
type AddRow = fn(&mut Config, &Row) -> Result<(), Wrong>;
type SetList = fn(&mut Config, &[&str]) -> Result<(), Vec<Refused>>;

/// Which element of an array is wrong, and why.
pub(super) type Refused = (usize, String);

const ALGORITHMS: [(&str, Algorithm); 3] =
    [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)];

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// Every key there is, in the order in which papers and `wschat config` name them.
pub const KEYS: &[Key] = &[
    Key { name: "auth.jwt_secret", reload: Reload::Yes, kind: Kind::Secret },
    Key { name: "auth.jwt_secret_file", reload: Reload::Yes, kind: Kind::SecretFile },
    Key {
        name: "auth.algorithms",
        reload: Reload::Yes,
        kind: Kind::List {
            form: "HS256, HS384, HS512",
            may_be_empty: false,
            get: |c| c.auth.algorithms.iter().map(|a| name_in(&ALGORITHMS, a)).collect(),
            set: |c, names| put(&mut c.auth.algorithms, each(names, |n| one_of(&ALGORITHMS, n))),
        },
    },
    Key {
        name: "auth.keys",
        reload: Reload::Yes,
        kind: Kind::Rows {
            form: "tables of kid, alg, and file or secret_file",
            columns: tokens::KEY_COLUMNS,
            get: tokens::key_rows,
            add: tokens::add_key,
        },
    },
    Key {
        name: "auth.issuer",
        reload: Reload::Yes,
        kind: Kind::Text {
            form: "a string that is not empty",
            get: |c| c.auth.issuer.clone(),
            set: |c, text| words(text).map(|text| c.auth.issuer = Some(text)),
        },
    },
    Key {
        name: "auth.audience",
        reload: Reload::Yes,
        kind: Kind::Text {
            form: "a string that is not empty",
            get: |c| c.auth.audience.clone(),
            set: |c, text| words(text).map(|text| c.auth.audience = Some(text)),
        },
    },
    Key {
        name: "auth.check_exp",
        reload: Reload::Yes,
        kind: Kind::Flag { get: |c| c.auth.check_exp, set: |c, on| c.auth.check_exp = on },
    },
    Key {
        name: "auth.leeway_secs",
        reload: Reload::Yes,
        kind: seconds(0, 300, |c| c.auth.leeway.as_secs(), |c, n| c.auth.leeway = secs(n)),
    },
    Key {
        name: "auth.bind_usr",
        reload: Reload::Yes,
        kind: Kind::Text {
            form: "the name of a claim",
            get: |c| c.auth.bind_usr.clone(),
            set: |c, text| words(text).map(|text| c.auth.bind_usr = Some(text)),
        },
    },
    Key {
        name: "auth.moderator_claim",
        reload: Reload::Yes,
        kind: Kind::Text {
            form: "the name of a claim",
            get: |c| c.auth.moderator_claim.clone(),
            set: |c, text| words(text).map(|text| c.auth.moderator_claim = Some(text)),
        },
    },
    Key {
        name: "auth.revoked",
        reload: Reload::Yes,
        kind: Kind::Rows {
            form: "tables of jti, or of sub and perhaps issued_before",
            columns: tokens::REVOKED_COLUMNS,
            get: tokens::revoked_rows,
            add: |c, row| tokens::revocation(row).map(|revoked| c.auth.revoked.push(revoked)),
        },
    },
    Key {
        name: "auth.revoked_file",
        reload: Reload::Yes,
        kind: Kind::Text {
            form: "the path of a TOML file",
            get: |c| c.auth.revoked_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
            set: |c, path| words(path).map(|path| c.auth.revoked_file = Some(path.into())),
        },
    },
    Key {
        name: "listen.addresses",
        reload: Reload::No,
        kind: Kind::List {
            form: "IP:PORT, [IP6]:PORT, unix:/PATH",
            may_be_empty: false,
            get: |c| texts(&c.listen.addresses),
            set: |c, list| put(&mut c.listen.addresses, each(list, parsed)),
        },
    },
    Key {
        name: "listen.trusted_proxies",
        reload: Reload::NewConnections,
        kind: Kind::List {
            form: "IP, IP/BITS, unix",
            may_be_empty: true,
            get: |c| texts(&c.listen.trusted_proxies),
            set: |c, list| put(&mut c.listen.trusted_proxies, each(list, parsed)),
        },
    },
    Key {
        name: "listen.origins",
        reload: Reload::NewConnections,
        kind: Kind::List {
            form: "http://HOST[:PORT], https://HOST[:PORT]",
            may_be_empty: true,
            get: |c| texts(&c.listen.origins),
            set: |c, list| put(&mut c.listen.origins, each(list, parsed)),
        },
    },
    Key {
        name: "limits.connections_max",
        reload: Reload::Yes,
        kind: Kind::Number {
            min: 1,
            max: 10_000_000,
            get: |c| count(c.limits.connections_max),
            set: |c, n| c.limits.connections_max = size(n),
        },
    },
    Key {
        name: "limits.connections_per_address_max",
        reload: Reload::Yes,
        kind: Kind::Number {
            min: 0,
            max: 10_000_000,
            get: |c| count(c.limits.connections_per_address_max),
            set: |c, n| c.limits.connections_per_address_max = size(n),
        },
    },
    Key {
        name: "limits.connects_per_address_per_sec",
        reload: Reload::Yes,
        kind: Kind::Number {
            min: 0,
            max: 100_000,
            get: |c| c.limits.connects_per_address_per_sec.into(),
            set: |c, n| {
                c.limits.connects_per_address_per_sec = u32::try_from(n).unwrap_or(u32::MAX);
            },
        },
    },
    Key {
        name: "limits.message_bytes_max",
        reload: Reload::NewConnections,
        kind: Kind::Number {
            min: 128,
            max: 1_048_576,
            get: |c| count(c.limits.message_bytes_max),
            set: |c, n| c.limits.message_bytes_max = size(n),
        },
    },
    Key {
        name: "limits.handshake_timeout_secs",
        reload: Reload::Yes,
        kind: seconds(
            1,
            120,
            |c| c.limits.handshake_timeout.as_secs(),
            |c, n| c.limits.handshake_timeout = secs(n),
        ),
    },
    Key {
        name: "limits.ping_interval_secs",
        reload: Reload::Yes,
        kind: seconds(
            1,
            3600,
            |c| c.limits.ping_interval.as_secs(),
            |c, n| c.limits.ping_interval = secs(n),
        ),
    },
    Key {
        name: "limits.idle_timeout_secs",
        reload: Reload::Yes,
        kind: seconds(
            2,
            7200,
            |c| c.limits.idle_timeout.as_secs(),
            |c, n| c.limits.idle_timeout = secs(n),
        ),
    },
    Key {
        name: "limits.feed_tail_bytes",
        reload: Reload::No,
        kind: Kind::Number {
            min: 65_536,
            max: 1_073_741_824,
            get: |c| count(c.limits.feed_tail_bytes),
            set: |c, n| c.limits.feed_tail_bytes = size(n),
        },
    },
    Key {
        name: "limits.send_buffer_bytes",
        reload: Reload::NewConnections,
        kind: Kind::Number {
            min: 4096,
            max: 16_777_216,
            get: |c| count(c.limits.send_buffer_bytes),
            set: |c, n| c.limits.send_buffer_bytes = size(n),
        },
    },
    Key {
        name: "limits.messages_per_sec",
        reload: Reload::Yes,
        kind: Kind::Number {
            min: 0,
            max: 100_000,
            get: |c| c.limits.messages_per_sec.into(),
            set: |c, n| c.limits.messages_per_sec = small(n),
        },
    },
    Key {
        name: "limits.messages_burst",
        reload: Reload::Yes,
        kind: Kind::Number {
            min: 1,
            max: 100_000,
            get: |c| c.limits.messages_burst.into(),
            set: |c, n| c.limits.messages_burst = small(n),
        },
    },
    Key {
        name: "limits.slow_mode_secs",
        reload: Reload::Yes,
        kind: seconds(
            0,
            86_400,
            |c| c.limits.slow_mode.as_secs(),
            |c, n| c.limits.slow_mode = secs(n),
        ),
    },
    Key {
        name: "limits.repeat_secs",
        reload: Reload::Yes,
        kind: seconds(0, 86_400, |c| c.limits.repeat.as_secs(), |c, n| c.limits.repeat = secs(n)),
    },
    Key {
        name: "page.enabled",
        reload: Reload::Yes,
        kind: Kind::Flag { get: |c| c.page.enabled, set: |c, on| c.page.enabled = on },
    },
    Key {
        name: "record.dir",
        reload: Reload::Yes,
        kind: Kind::Text {
            form: "an absolute path",
            get: |c| c.record.dir.as_ref().map(|dir| dir.to_string_lossy().into_owned()),
            set: |c, path| absolute(path).map(|dir| c.record.dir = Some(dir)),
        },
    },
    Key {
        name: "log.level",
        reload: Reload::Yes,
        kind: Kind::Text {
            form: "error, warn, info, debug, trace",
            get: |c| Some(name_in(&LEVELS, &c.log.level)),
            set: |c, name| one_of(&LEVELS, name).map(|level| c.log.level = level),
        },
    },
    Key {
        name: "metrics.address",
        reload: Reload::No,
        kind: Kind::Text {
            form: "IP:PORT, [IP6]:PORT, unix:/PATH",
            get: |c| c.metrics.address.as_ref().map(ListenAddress::to_string),
            set: |c, text| parsed(text).map(|address| c.metrics.address = Some(address)),
        },
    },
    Key {
        name: "server.threads",
        reload: Reload::No,
        kind: Kind::Number {
            min: 0,
            max: 1024,
            get: |c| count(c.server.threads),
            set: |c, n| c.server.threads = size(n),
        },
    },
    Key {
        name: "server.shutdown_timeout_secs",
        reload: Reload::Yes,
        kind: seconds(
            0,
            300,
            |c| c.server.shutdown_timeout.as_secs(),
            |c, n| c.server.shutdown_timeout = secs(n),
        ),
    },
];

impl Key {
    /// The key called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Its value in `config` as TOML; none if it has no value, and for the
    /// secret and its file, which are not values to show.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::config::{Config, Key};
    /// let key = Key::named("listen.addresses").unwrap();
    /// assert_eq!(key.show(&Config::default()).unwrap(), r#"["127.0.0.1:8080"]"#);
    /// ```
    pub fn show(&self, config: &Config) -> Option<String> {
        let value: toml::Value = match self.kind {
            Kind::Secret | Kind::SecretFile => return None,
            // Numbers are bounded far below i64::MAX by the table itself.
            Kind::Number { get, .. } => return Some(get(config).to_string()),
            Kind::Flag { get, .. } => get(config).into(),
            Kind::Text { get, .. } => get(config)?.into(),
            Kind::List { get, .. } => get(config).into(),
            Kind::Rows { get, .. } => get(config).into(),
        };
        Some(value.to_string())
    }

    /// What it may be, in words.
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Secret => "a string that is not empty".to_owned(),
            Kind::SecretFile => "the path of a file that is not empty".to_owned(),
            Kind::Number { min, max, .. } => format!("{min} to {max}"),
            Kind::Flag { .. } => "true, false".to_owned(),
            Kind::List { form, may_be_empty: false, .. } => format!("{form}; at least one"),
            Kind::Text { form, .. } | Kind::List { form, .. } | Kind::Rows { form, .. } => {
                form.to_owned()
            }
        }
    }

    /// The part of the name after the section.
    pub fn leaf(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(_, leaf)| leaf)
    }

    /// The part of the name before the key.
    pub fn section(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(section, _)| section)
    }
}

/// The keys that differ between two configurations and that only a restart applies.
///
/// # Examples
///
/// ```
/// use wschat::config::{Config, needs_restart};
/// let old = Config::default();
/// let mut new = old.clone();
/// new.server.threads = 4;
/// new.page.enabled = false;
/// assert_eq!(needs_restart(&old, &new), ["server.threads"]);
/// ```
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    KEYS.iter()
        .filter(|key| key.reload == Reload::No && key.show(old) != key.show(new))
        .map(|key| key.name)
        .collect()
}

const fn seconds(min: u64, max: u64, get: fn(&Config) -> u64, set: fn(&mut Config, u64)) -> Kind {
    Kind::Number { min, max, get, set }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Numbers of the table fit any `usize` of the machines that have shards.
fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Numbers of the table that are kept in 32 bits fit them.
fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn put<T>(field: &mut T, value: Result<T, Vec<Refused>>) -> Result<(), Vec<Refused>> {
    value.map(|value| *field = value)
}

/// All of `texts` parsed, or every reason why not.
fn each<T>(
    texts: &[&str],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Vec<Refused>> {
    let mut values = Vec::new();
    let mut refused = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match parse(text) {
            Ok(value) => values.push(value),
            Err(why) => refused.push((index, why)),
        }
    }
    if refused.is_empty() { Ok(values) } else { Err(refused) }
}

fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn texts<T: fmt::Display>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.is_empty() {
        return Err("empty; leave the key out to have none".to_owned());
    }
    let good = Path::new(path).is_absolute() && !path.contains('\0');
    if good { Ok(path.into()) } else { Err("not an absolute path".to_owned()) }
}

fn words(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("empty; leave the key out".to_owned()) } else { Ok(text.to_owned()) }
}

pub(super) fn one_of<T: Clone>(names: &[(&str, T)], wanted: &str) -> Result<T, String> {
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == wanted) {
        return Ok(value.clone());
    }
    let all: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    let hint = super::nearest(wanted, all.iter().copied())
        .map_or(String::new(), |name| format!("; did you mean {name}?"));
    Err(format!("not one of {}{hint}", all.join(", ")))
}

pub(super) fn name_in<T: PartialEq>(names: &[(&str, T)], wanted: &T) -> String {
    let name = names.iter().find(|(_, value)| value == wanted);
    name.map_or("?", |(name, _)| *name).to_owned()
}

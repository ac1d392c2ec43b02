//! The configuration: `/etc/wschat.toml`, the secret's other sources and the
//! command line, turned into one [`Config`] that has no invalid state.
//!
//! ```text
//! Environment ─► load ─► read (TOML with spans) ─► keys (one table) ─► Config
//!                  └────► problems: every one at once, FILE:LINE:COL: key: text
//! ```
//!
//! Nothing in here looks at the process's environment by itself: all that comes
//! from outside is in an [`Environment`], which the program's edge fills in.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod keys;
mod load;
#[cfg(test)]
mod papers;
mod problem;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod tokens;

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tracing::Level;

use crate::address::{ListenAddress, Origin, TrustedProxy};
use crate::chat::{Revocation, Revocations, Secret, TokenKey};

pub use keys::{KEYS, Key, Reload, needs_restart};
pub use load::{
    CREDENTIAL, CREDENTIALS_VARIABLE, Environment, Loaded, RECORD_VARIABLE, Source, VARIABLE,
    Value, load, parse,
};
pub use problem::{Position, Problem, Problems, Warning};
pub use tokens::read_revoked;

/// Everything that an operator can decide, checked.
///
/// # Examples
///
/// ```
/// let config = wschat::config::Config::default();
/// assert_eq!(config.limits.message_bytes_max, 16_384);
/// assert!(config.auth.secret.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Who may speak.
    pub auth: Auth,
    /// Where connections come from.
    pub listen: Listen,
    /// Every bound that an operator can set.
    pub limits: Limits,
    /// The chat page on the same port.
    pub page: Page,
    /// Where messages are written down.
    pub record: Record,
    /// What is logged.
    pub log: Log,
    /// What Prometheus is told.
    pub metrics: Metrics,
    /// The process itself.
    pub server: Server,
}

impl Config {
    /// Whether `address` is to be bound for IPv6 alone: it is `[::]`, and there is
    /// an IPv4 address of the same port.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::config::Config;
    /// let mut config = Config::default();
    /// config.listen.addresses = vec!["0.0.0.0:80".parse().unwrap(), "[::]:80".parse().unwrap()];
    /// assert!(config.is_v6_only(&config.listen.addresses[1]));
    /// ```
    pub fn is_v6_only(&self, address: &ListenAddress) -> bool {
        let mut all = self.listen.addresses.iter().chain(&self.metrics.address);
        all.any(|other| address.includes(other))
    }
}

/// Who may speak (`[auth]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// What tokens are verified with, beside [`keys`](Self::keys).
    pub secret: Option<Secret>,
    /// The only algorithms that a token may use with the secret; never empty.
    pub algorithms: Vec<Algorithm>,
    /// Further keys, each with its own algorithm.
    pub keys: Vec<KeyEntry>,
    /// The `iss` that a token must carry.
    pub issuer: Option<String>,
    /// The audience that a token must be meant for.
    pub audience: Option<String>,
    /// The claim that is the only name under which one may speak.
    pub bind_usr: Option<String>,
    /// The claim that makes a moderator.
    pub moderator_claim: Option<String>,
    /// What the configuration itself revokes.
    pub revoked: Vec<Revocation>,
    /// A file that revokes more.
    pub revoked_file: Option<PathBuf>,
    /// What that file revokes.
    pub revoked_in_file: Vec<Revocation>,
    /// Whether `exp` and `nbf` are looked at, for every message.
    pub check_exp: bool,
    /// How far clocks may differ when `exp` and `nbf` are looked at.
    pub leeway: Duration,
}

impl Auth {
    /// Every key that a token may be signed with. Without any, everybody may
    /// speak.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::Secret;
    /// use wschat::config::Auth;
    /// let secret = Some(Secret::new("correct horse").unwrap());
    /// assert_eq!(Auth { secret, ..Auth::default() }.token_keys().len(), 1);
    /// assert!(Auth::default().token_keys().is_empty());
    /// ```
    pub fn token_keys(&self) -> Vec<TokenKey> {
        let with = |secret: &Secret, alg| TokenKey::secret(None, alg, secret.bytes()).ok();
        let own = self.secret.iter().flat_map(|s| self.algorithms.iter().map(move |a| (s, *a)));
        let own = own.filter_map(|(secret, algorithm)| with(secret, algorithm));
        own.chain(self.keys.iter().flat_map(|entry| entry.keys.iter().cloned())).collect()
    }

    /// The key that new tokens are signed with: the first secret among the keys,
    /// so that a rotation begins with it, else `jwt_secret`.
    pub fn signing_key(&self) -> Option<TokenKey> {
        let mut entries = self.keys.iter().flat_map(|entry| entry.keys.iter());
        let first = entries.find(|key| key.secret_bytes().is_some()).cloned();
        first.or_else(|| self.token_keys().into_iter().find(|key| key.secret_bytes().is_some()))
    }

    /// All that is revoked.
    pub fn revocations(&self) -> Revocations {
        self.revoked.iter().chain(&self.revoked_in_file).cloned().collect()
    }
}

/// One entry of `auth.keys`.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyEntry {
    /// Its name, which tokens give in their header.
    pub kid: Option<String>,
    /// What it is for; a JWKS may say so itself.
    pub algorithm: Option<Algorithm>,
    /// Where it is.
    pub file: KeyFile,
    /// What the file holds: one key, or those of a JWKS.
    pub keys: Vec<TokenKey>,
}

/// Where a key is, relative to the folder of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFile {
    /// A public key in PEM, or a JWKS.
    Public(PathBuf),
    /// A secret, byte for byte but for the file's last newline.
    Secret(PathBuf),
}

/// Where connections come from (`[listen]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Addresses to bind where systemd passes no socket; never empty.
    pub addresses: Vec<ListenAddress>,
    /// Peers who are believed when they say for whom they speak.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Web pages that may open a WebSocket; all may if it is empty.
    pub origins: Vec<Origin>,
}

/// Every bound that an operator can set (`[limits]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open WebSockets; one more is answered with 503.
    pub connections_max: usize,
    /// Open WebSockets of one address; one more is answered with 429. 0 is no
    /// bound.
    pub connections_per_address_max: usize,
    /// WebSockets that one address may open in a second, answered with 429 if
    /// they are more. 0 is no bound.
    pub connects_per_address_per_sec: u32,
    /// Bytes of one message; more closes the connection with 1009.
    pub message_bytes_max: usize,
    /// How long a client may take over its HTTP request.
    pub handshake_timeout: Duration,
    /// How often every connection is pinged; less than `idle_timeout`.
    pub ping_interval: Duration,
    /// How long a connection may send no frame at all before it is closed.
    pub idle_timeout: Duration,
    /// Bytes of the feed kept for slow listeners, all together; at least four
    /// times `message_bytes_max`.
    pub feed_tail_bytes: usize,
    /// Bytes the kernel may hold for one connection (`SO_SNDBUF`).
    pub send_buffer_bytes: usize,
    /// Messages a second of one speaker, in the long run; 0 is no limit.
    pub messages_per_sec: u32,
    /// Messages that a speaker may send at once after a pause.
    pub messages_burst: u32,
    /// How long a speaker waits between two messages; nothing is no limit.
    pub slow_mode: Duration,
    /// How long a speaker waits before saying the same again.
    pub repeat: Duration,
}

/// The chat page (`[page]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Whether `GET /` gives the page; 426 otherwise.
    pub enabled: bool,
}

/// Where messages are written down (`[record]`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The directory with a file for each day; nothing is recorded without.
    pub dir: Option<PathBuf>,
}

/// What is logged (`[log]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The least important level that is still logged.
    pub level: Level,
}

/// What Prometheus is told (`[metrics]`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The address to bind where systemd passes no socket of that name; without
    /// one there are no metrics over HTTP.
    pub address: Option<ListenAddress>,
}

/// The process itself (`[server]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Shards to run; 0 is one per core.
    pub threads: usize,
    /// How long clients get to take what the feed holds for them at a stop.
    pub shutdown_timeout: Duration,
}

impl Server {
    /// How many shards run.
    pub fn shards(&self) -> usize {
        match self.threads {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            secret: None,
            algorithms: vec![Algorithm::HS256],
            keys: Vec::new(),
            issuer: None,
            audience: None,
            bind_usr: None,
            moderator_claim: None,
            revoked: Vec::new(),
            revoked_file: None,
            revoked_in_file: Vec::new(),
            check_exp: false,
            leeway: Duration::from_secs(30),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addresses: vec![ListenAddress::Tcp(([127, 0, 0, 1], 8080).into())],
            trusted_proxies: Vec::new(),
            origins: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            connections_per_address_max: 0,
            connects_per_address_per_sec: 0,
            message_bytes_max: 16_384,
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            idle_timeout: Duration::from_secs(60),
            feed_tail_bytes: 4_194_304,
            send_buffer_bytes: 65_536,
            messages_per_sec: 20,
            messages_burst: 60,
            slow_mode: Duration::ZERO,
            repeat: Duration::ZERO,
        }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::INFO }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { threads: 0, shutdown_timeout: Duration::from_secs(10) }
    }
}

/// The name among `names` that `wanted` is a likely misspelling of.
fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LIKE: f64 = 0.85;
    names
        .map(|name| (likeness(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(like, _)| *like >= LIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// From 0 to 1; words left out, added or in another order count little.
fn likeness(a: &str, b: &str) -> f64 {
    let within = |a: &str, b: &str| a.split('_').all(|word| b.split('_').any(|w| w == word));
    let letters = strsim::jaro_winkler(a, b);
    if within(a, b) || within(b, a) { 0.9 + letters / 10.0 } else { letters }
}

//! The table of keys: one entry defines all about a key. [`Config`], its defaults, the checks,
//! `wschat config`, `etc/wschat.toml.reference` and the keys in `man/wschat.toml.5` are made from it.

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use toml::Spanned;
use toml::de::DeValue;
use tracing::Level;

use super::credentials_file::{CredentialsFile, credentials_file};
use super::keys_macro::keys;
use super::problem::Report;
use super::rule::*;
use super::tokens::{KeyEntry, key_entry, revocation, secret_algorithm};
use crate::address::{ListenAddress, Origin, TrustedProxy};
use crate::chat::{NOTICE_CHARS_MAX, Revocation, Secret, TITLE_CHARS_MAX};
use crate::cluster::options::ServerUrl;
use crate::cluster::{NodeName, StreamName};

keys! {
    /// Who can send messages.
    auth: Auth {
        /// The secret that tokens are signed with. If it is not set, the systemd credential
        /// `wschat.jwt_secret` is used, or the environment variable `JWT_SECRET`. Without a secret
        /// or a key, every client can send messages. Use 32 bytes or more (`openssl rand -hex 32`).
        secret as "jwt_secret": Option<Secret> = None, optional(secret()), Yes;
        /// A file with the secret, instead of `jwt_secret`. A newline at its end is not part of the
        /// secret. A relative path starts at the folder of the file that has this key.
        secret_file as "jwt_secret_file": Option<PathBuf> = None,
            optional(path("the path of a file that is not empty")), Yes;
        /// The algorithms that a token may use with the secret. `wschat token` uses the first.
        algorithms: Vec<Algorithm> = vec![Algorithm::HS256], list(1, secret_algorithm()), Yes;
        /// Further keys for tokens: secrets, and public keys in PEM or in a JWKS. For example
        /// `[{ kid = "2026", alg = "HS256", secret_file = "wschat.2026.secret" }]` or
        /// `[{ file = "identity.jwks.json" }]`.
        keys: Vec<KeyEntry> = Vec::new(), list(0, key_entry()), Yes;
        /// Whether a token is needed. Without this key, one is needed if there is a secret or a key,
        /// or if one was needed once and the service has a state directory: a lost key does not open
        /// the room. `true`: without a usable key nobody can send messages; recommended where the
        /// state directory can get lost, as in a container without a volume. `false`: without a key
        /// every client can.
        required: Option<bool> = None, optional(flag()), Yes;
        /// The issuer that a token must name in its claim `iss`.
        issuer: Option<String> = None, optional(parsed("a string that is not empty")), Yes;
        /// The audience that a token must name in its claim `aud`, alone or among others.
        audience: Option<String> = None, optional(parsed("a string that is not empty")), Yes;
        /// Whether a token must have `exp`, and every message is checked for `exp` and `nbf`.
        check_exp: bool = false, flag(), Yes;
        /// How far clocks may differ when `exp` and `nbf` are checked, in seconds.
        leeway as "leeway_secs": Duration = Duration::from_secs(30), seconds(0..=300), Yes;
        /// A claim, for example `sub`, that holds the only name that its bearer may use. Without
        /// this key, speakers choose their names.
        bind_usr: Option<String> = None, optional(parsed("the name of a claim")), Yes;
        /// A claim that makes its bearer a moderator if its value is `true`. The chat page contains
        /// its name.
        moderator_claim: Option<String> = None, optional(parsed("the name of a claim")), Yes;
        /// Tokens that are refused although they verify: one by its `jti`, all of a `sub`, or those
        /// of a `sub` whose `iat` is before a time. For example
        /// `[{ jti = "4711" }, { sub = "bob", issued_before = 2026-11-22T10:00:00Z }]`.
        revoked: Vec<Revocation> = Vec::new(), list(0, revocation()), Yes;
        /// A TOML file with more of them, under the key `revoked` or as `[[revoked]]` tables. It is
        /// read again at every reload, and may hold many thousand.
        revoked_file: Option<PathBuf> = None, optional(path("the path of a TOML file")), Yes;
    }

    /// Where connections come from.
    listen: Listen {
        /// The addresses to listen at if systemd passes no socket.
        addresses: Vec<ListenAddress> = vec![ListenAddress::Tcp(([127, 0, 0, 1], 8080).into())],
            list(1, parsed("IP:PORT, [IP6]:PORT, unix:/PATH")), No;
        /// Proxies whose PROXY header (version 2) or `X-Forwarded-For` is trusted. `unix` is every
        /// peer on a Unix socket. List only proxies that set the header themselves.
        trusted_proxies: Vec<TrustedProxy> = Vec::new(), list(0, parsed("IP, IP/BITS, unix")),
            NewConnections;
        /// Origins of the web pages that may listen and send, the chat page included; other pages
        /// are answered with 403. If the list is empty, all pages may. Only pages with a listed
        /// origin may show the chat page in a frame.
        origins: Vec<Origin> = Vec::new(),
            list(0, parsed("http://HOST[:PORT], https://HOST[:PORT]")), NewConnections;
    }

    /// Limits on what clients can use.
    limits: Limits {
        /// Listeners (WebSockets and event streams) at the same time; one more is answered with
        /// 503. Each takes a file descriptor, so `LimitNOFILE=` has to be larger.
        connections_max: usize = 100_000, integer(1..=10_000_000), Yes;
        /// Listeners that one address may have; one more is answered with 429. 0 is no limit. An
        /// address is an IPv4 address, the /64 network of an IPv6 address, or all Unix sockets
        /// together. Clients in one office or behind one carrier can share an address.
        connections_per_address_max: usize = 0, integer(0..=10_000_000), Yes;
        /// Listeners and messages by POST that one address may start in a second, and five times as
        /// many at once after a pause; one more is answered with 429. 0 is no limit.
        connects_per_address_per_sec: u32 = 0, integer(0..=100_000), Yes;
        /// Bytes of one message; a longer one is answered with close code 1009 or status 413.
        message_bytes_max: usize = 16_384, integer(128..=1_048_576), NewConnections;
        /// Seconds until an HTTP request has arrived, and until a message by POST is sent.
        handshake_timeout as "handshake_timeout_secs": Duration = Duration::from_secs(10),
            seconds(1..=120), Yes;
        /// Seconds between two pings to a connection.
        ping_interval as "ping_interval_secs": Duration = Duration::from_secs(25),
            seconds(1..=3_600), Yes;
        /// Seconds without any frame from a connection until it is closed with code 1008; greater
        /// than `ping_interval_secs`. For an event stream: without any acknowledgement (TCP).
        idle_timeout as "idle_timeout_secs": Duration = Duration::from_secs(60),
            seconds(2..=7_200), Yes;
        /// Bytes of the latest messages that are kept for slow listeners, for all of them together;
        /// at least 4 times `message_bytes_max`. A listener that falls further behind is closed.
        feed_tail_bytes: usize = 4_194_304, integer(65_536..=1_073_741_824), No;
        /// Seconds of the latest messages that a listener can get when it comes back (`?since=`), as
        /// far as `feed_tail_bytes` holds them; 0 is none.
        resume as "resume_secs": Duration = Duration::from_secs(300), seconds(0..=86_400), Yes;
        /// Bytes that the kernel may keep for a connection that does not read.
        send_buffer_bytes: usize = 65_536, integer(4_096..=16_777_216), NewConnections;
        /// Messages that one speaker may send in a second, in the long run. A speaker is the claim
        /// `sub` of a token, or without it an address as in `connections_per_address_max`, whatever
        /// the number of its connections. 0 is no limit.
        messages_per_sec: u32 = 20, integer(0..=100_000), Yes;
        /// Messages that a speaker may send at once after a pause.
        messages_burst: u32 = 60, integer(1..=100_000), Yes;
        /// Seconds that a speaker has to wait between two messages; 0 is no slow mode.
        /// `wschat slow` overrides it.
        slow_mode as "slow_mode_secs": Duration = Duration::ZERO, seconds(0..=86_400), Yes;
        /// Seconds until a speaker may send the same text again, whatever it sends in between. 0 is
        /// no limit.
        repeat as "repeat_secs": Duration = Duration::ZERO, seconds(0..=86_400), Yes;
    }

    /// What listeners are told of the room.
    room: RoomInfo {
        /// Whether each listener is told, on joining and at changes, how many listen, who can send
        /// messages now, and the title and the notice: see PRESENCE in wschat-protocol(7).
        presence: bool = true, flag(), Yes;
        /// The title of the room, which the chat page and `wschat join` show.
        title: Option<String> = None, optional(one_line(TITLE_CHARS_MAX)), Yes;
        /// What everybody who joins should know, for example rules or a link. The chat page and
        /// `wschat join` show it.
        notice: Option<String> = None, optional(one_line(NOTICE_CHARS_MAX)), Yes;
    }

    /// The chat page.
    page: Page {
        /// Whether `GET /` is answered with the chat page; otherwise with 426.
        enabled: bool = true, flag(), Yes;
    }

    /// The record of messages.
    record: Record {
        /// An existing directory in which every message is recorded without its token: a line of
        /// JSON each, in a file `YYYY-MM-DD` for each day (UTC). Without this key, `LOG_DIR` in the
        /// environment names it. The packaged service can write to `/var/log/wschat`.
        dir: Option<PathBuf> = None, optional(absolute_path()), Yes;
        /// How many days the record is kept, besides today (UTC). Files of earlier days are deleted
        /// at the start, at a reload and when a day begins. 0 keeps all.
        keep_days: u32 = 0, integer(0..=36_500), Yes;
    }

    /// The log.
    log: Logging {
        /// The least important messages that are logged.
        level: Level = Level::INFO, one_of(levels(), |level| level.to_string().to_lowercase()), Yes;
    }

    /// Metrics over HTTP.
    metrics: Metrics {
        /// The address for `/metrics` and `/healthz` over HTTP; none without it. The packaged
        /// service gets a socket named `metrics` from a socket unit instead: see wschat(8).
        address: Option<ListenAddress> = None,
            optional(parsed("IP:PORT, [IP6]:PORT, unix:/PATH")), No;
    }

    /// One room on several machines, ordered by a stream of NATS JetStream.
    cluster: Cluster {
        /// The servers of NATS. Without this key, the room is on this machine only. `nats://` uses
        /// TLS if the server requires it, `tls://` always.
        servers: Vec<ServerUrl> = Vec::new(),
            list(0, parsed("nats://[USER:PASSWORD@]HOST[:PORT], tls://[USER:PASSWORD@]HOST[:PORT]")), No;
        /// The stream of the room, which `wschat cluster init` creates. Every node of a room has the
        /// same; another room on the same servers needs another.
        stream: StreamName = StreamName::default(),
            parsed("1 to 64 letters, digits, - and _, of which the first is a letter or a digit"), No;
        /// A file with the credentials for the servers: a `.creds` file, or the seed of an nkey. If
        /// it is not set, the systemd credential `wschat.nats` is used. A relative path starts at
        /// the folder of the file that has this key.
        credentials_file: Option<CredentialsFile> = None, optional(credentials_file()), No;
        /// A file in PEM with the only certificates of authorities that are trusted; TLS is required
        /// with it. Without this key, those of the system are trusted.
        tls_ca_file: Option<PathBuf> = None, optional(path("the path of a file in PEM")), No;
        /// The name of this node in the status of the others. Each node needs its own. Without this
        /// key, it is the host name.
        node: Option<NodeName> = None,
            optional(parsed("1 to 64 letters, digits, -, _ and ., of which the first is a letter or a digit")), No;
    }

    /// The process.
    server: Server {
        /// Threads that serve connections; 0 is one per core.
        threads: usize = 0, integer(0..=1_024), No;
        /// Seconds that clients have at a stop to receive the messages that are left for them.
        shutdown_timeout as "shutdown_timeout_secs": Duration = Duration::from_secs(10),
            seconds(0..=300), Yes;
    }
}

fn levels() -> Vec<Level> {
    vec![Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE]
}

/// Pairs of keys with valid values that contradict each other, and how.
pub(super) fn contradictions(config: &Config) -> Vec<([&'static str; 2], String)> {
    let limits = &config.limits;
    let mut found = Vec::new();
    let (idle, ping) = (limits.idle_timeout.as_secs(), limits.ping_interval.as_secs());
    if idle <= ping {
        let why = format!("idle_timeout_secs, {idle}, must be over ping_interval_secs, {ping}");
        found.push((["limits.idle_timeout_secs", "limits.ping_interval_secs"], why));
    }
    let (tail, max) = (limits.feed_tail_bytes, limits.message_bytes_max);
    if tail < 4 * max {
        let why = format!("feed_tail_bytes, {tail}, must be at least 4 x message_bytes_max, {max}");
        found.push((["limits.feed_tail_bytes", "limits.message_bytes_max"], why));
    }
    found
}

/// One key of the configuration file.
pub struct Key {
    /// Its full name, `section.leaf`.
    pub name: &'static str,
    pub(super) section: &'static str,
    pub(super) leaf: &'static str,
    /// What it is for, with code in backticks.
    pub about: &'static str,
    /// When a change of it takes effect.
    pub reload: Reload,
    /// What its value may be, in words.
    pub allowed: fn() -> String,
    pub(super) read: fn(&mut Config, &Spanned<DeValue<'_>>, &mut Report<'_>),
    /// Its value as TOML; `set` for a secret, and `none` if there is none.
    pub show: fn(&Config) -> String,
    /// Whether its value is the same in both, what is not shown included.
    pub(super) is_same: fn(&Config, &Config) -> bool,
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

/// The keys that differ between two configurations and that only a restart applies.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = KEYS.iter().filter(|key| key.reload == Reload::No);
    keys.filter(|key| !(key.is_same)(old, new)).map(|key| key.name).collect()
}

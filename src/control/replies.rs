//! The content of the replies of the control protocol.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterStatus;
use crate::control::rates::Rates;
use crate::record::RecordStats;
use crate::server::{AddressRow, ClientRow, SlowestListener};

/// The state of the room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the daemon.
    pub version: String,
    /// When the room was opened; a handover does not change it.
    pub started: DateTime<Utc>,
    /// The process id of the daemon.
    #[serde(default)]
    pub pid: u32,
    /// Its resident memory, in bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// The addresses that the room listens on.
    #[serde(default)]
    pub listening: Vec<String>,
    /// Open WebSockets.
    pub listeners: usize,
    /// The highest number of open WebSockets and event streams so far.
    pub listeners_peak: usize,
    /// Messages published in the room.
    pub messages: u64,
    /// Messages completely written to a socket.
    pub deliveries: u64,
    /// Bytes of messages written to sockets.
    pub bytes_sent: u64,
    /// Rates over the last ten seconds.
    #[serde(flatten)]
    pub rates: Rates,
    /// Refused messages, by the code of their notice.
    pub refused: BTreeMap<String, u64>,
    /// Rejected connections, by reason.
    pub refused_connections: BTreeMap<String, u64>,
    /// Listeners whose socket would block now.
    pub lagging: usize,
    /// The listener that is furthest behind, if one is.
    #[serde(default)]
    pub slowest: Option<SlowestListener>,
    /// Connections closed because they were too far behind.
    pub closed_too_slow: u64,
    /// Connections closed because the client sent or acknowledged nothing for too long.
    #[serde(default)]
    pub closed_idle: u64,
    /// Connections closed because the client violated RFC 6455.
    #[serde(default)]
    pub closed_protocol: u64,
    /// Bytes of the feed in memory.
    pub feed_bytes: u64,
    /// The configuration in force.
    #[serde(flatten)]
    pub config: ConfigStatus,
    /// The record of messages.
    pub record: RecordStats,
    /// How many restarts the room has survived, since the service was started.
    pub restarts_survived: u64,
    /// How many crashes the messages have survived, since the service was started.
    #[serde(default)]
    pub crashes_survived: u64,
    /// Who can send messages.
    #[serde(flatten)]
    pub policy: PolicyStats,
    /// Messages per second that a speaker can send on average; 0 is no limit.
    pub messages_per_sec_max: u32,
    /// Connections closed by moderation.
    pub kicked: u64,
    /// The other machines of the room and what orders their messages; missing in a room on
    /// one machine, as the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterStatus>,
    /// The listeners of all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners_total: Option<u64>,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// 1 at the start; every reload adds 1.
    #[serde(rename = "config_generation")]
    pub generation: u64,
    /// When it was loaded.
    #[serde(rename = "config_loaded")]
    pub loaded: DateTime<Utc>,
    /// The configuration that the last reload rejected, if it did.
    #[serde(rename = "config_rejected")]
    pub rejected: Option<RejectedConfig>,
    /// Why nobody can send messages: no usable key, see `auth.required`.
    #[serde(rename = "config_no_key", default, skip_serializing_if = "Option::is_none")]
    pub no_key: Option<String>,
    /// Why the room does not listen where its socket unit says, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_problem: Option<String>,
    /// Why mutes, lock and slow mode are not saved, so that a stop would lose them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moderation_unsaved: Option<String>,
}

/// Who can send messages, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStats {
    /// Keys that verify tokens; without any, every client can send messages.
    pub keys: usize,
    /// Revoked tokens and speakers.
    pub revocations: usize,
    /// Muted names and addresses.
    pub mutes: usize,
    /// Whether only moderators can send messages.
    pub locked: bool,
    /// Seconds between two messages of a speaker; 0 is no slow mode.
    pub slow_mode_secs: u64,
}

/// A configuration that was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedConfig {
    /// When.
    pub at: DateTime<Utc>,
    /// Its first problem.
    pub why: String,
    /// How many other problems it has; they are in the log.
    #[serde(default)]
    pub others: usize,
}

impl fmt::Display for RejectedConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.others {
            0 => out.write_str(&self.why),
            others => write!(out, "{} (and {others} more, see the log)", self.why),
        }
    }
}

/// The result of a successful reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The generation of the configuration now in force.
    pub generation: u64,
    /// Warnings about it, one line each.
    pub warnings: Vec<String>,
    /// Changed keys that take effect only after a restart.
    pub needs_restart: Vec<String>,
}

/// One page of the list of clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clients {
    /// The number of all clients that meet the filter.
    pub total: usize,
    /// The requested page.
    pub clients: Vec<ClientRow>,
}

/// The addresses and the clients that are first in an order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// The addresses.
    pub addresses: Vec<AddressRow>,
    /// The clients.
    pub clients: Vec<ClientRow>,
}

/// The result of a moderation action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModerateReply {
    /// What was done, for people.
    pub done: String,
    /// Connections closed by it, in a cluster on all nodes that have told so in time.
    pub connections: u64,
    /// Messages that it has retracted and the room still has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub messages: u64,
    /// Nodes of the cluster that have not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub silent_nodes: usize,
}

/// The decisions of moderation in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModerationStatus {
    /// Whether only moderators can send messages.
    pub locked: bool,
    /// Seconds between two messages; `None` if the configuration decides.
    pub slow_mode_secs: Option<u32>,
    /// All mutes, oldest first.
    pub mutes: Vec<Muted>,
}

/// A mute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Muted {
    /// A name, in quotes and escaped, or an address.
    pub whom: String,
    /// When it began.
    pub since: DateTime<Utc>,
    /// When it ends; `None` if only an unmute ends it.
    pub until: Option<DateTime<Utc>>,
    /// The actor of the mute.
    pub by: String,
}

/// Whether a field is left out.
fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

//! The cluster as this node sees it, for the status and the metrics. The driver and the presence
//! write it.

use std::sync::Mutex;
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::names::{NodeName, StreamName};
use super::presence_table::{NodeProcess, NodeStatus, Presence, PresenceTable};
use crate::mutex::lock;

/// Characters of a name or a reason at most.
const CHARS_MAX: usize = 300;

/// The state of the cluster, shared by those who write it and those who read it.
///
/// # Examples
///
/// ```
/// use wschat::cluster::{ClusterState, NodeName, StreamName};
/// let node: NodeName = "web1".parse().unwrap();
/// let state = ClusterState::new(&StreamName::default(), &node, 7);
/// assert_eq!(state.status().reason.as_deref(), Some("not connected yet"));
/// state.connected("nats1");
/// assert!(state.status().connected);
/// ```
#[derive(Debug)]
pub struct ClusterState {
    process: NodeProcess,
    engine: Mutex<ClusterStatus>,
    presence: Mutex<PresenceTable>,
}

/// The state of the cluster for the status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The name of this node.
    pub node: String,
    /// The stream of the room.
    pub stream: String,
    /// Whether the engine can be used: senders are served.
    pub connected: bool,
    /// Since when that is so.
    pub since: DateTime<Utc>,
    /// The server of the connection; the last one while there is none.
    pub server: Option<String>,
    /// Why the engine cannot be used.
    pub reason: Option<String>,
    /// The sequence of the last record that was read.
    pub sequence: u64,
    /// Records of this node whose fate is not known yet.
    pub pending: u64,
    /// Holes in the sequence that were found.
    pub holes: u64,
    /// Records whose publisher had another `tim` than this node.
    pub divergences: u64,
    /// Records that were skipped because they are not valid.
    pub bad_records: u64,
    /// Messages of other nodes that were ignored because they are not valid.
    pub bad_presence: u64,
    /// The nodes of which this one has heard in the last 15 seconds, with this one.
    pub nodes: Vec<NodeStatus>,
}

impl ClusterStatus {
    /// The listeners of all nodes.
    pub fn listeners_total(&self) -> u64 {
        self.nodes.iter().fold(0, |sum, node| sum.saturating_add(node.listeners))
    }
}

impl ClusterState {
    /// The state of a process that has not been connected yet. `incarnation` is the number that
    /// it has chosen at random.
    pub fn new(stream: &StreamName, node: &NodeName, incarnation: u64) -> Self {
        let process = NodeProcess { node: node.to_string(), incarnation };
        let engine = ClusterStatus {
            node: node.to_string(),
            stream: stream.to_string(),
            connected: false,
            since: Utc::now(),
            server: None,
            reason: Some("not connected yet".to_owned()),
            sequence: 0,
            pending: 0,
            holes: 0,
            divergences: 0,
            bad_records: 0,
            bad_presence: 0,
            nodes: Vec::new(),
        };
        Self { process, engine: Mutex::new(engine), presence: Mutex::default() }
    }

    /// This process.
    pub const fn process(&self) -> &NodeProcess {
        &self.process
    }

    /// The engine can be used, by this server.
    pub fn connected(&self, server: &str) {
        self.set_connection(Some(one_line(server)), None);
    }

    /// The engine cannot be used, for this reason.
    pub fn away(&self, reason: &str) {
        self.set_connection(None, Some(one_line(reason)));
    }

    /// Since when and why the engine cannot be used; `None` if it can.
    pub fn away_since(&self) -> Option<(DateTime<Utc>, String)> {
        let engine = lock(&self.engine);
        Some((engine.since, engine.reason.clone()?))
    }

    /// How far the stream was read, and how many records of this node are on their way.
    pub fn progress(&self, sequence: u64, pending: u64) {
        let mut engine = lock(&self.engine);
        (engine.sequence, engine.pending) = (sequence, pending);
    }

    /// Counts a hole in the sequence.
    pub fn count_hole(&self) {
        lock(&self.engine).holes += 1;
    }

    /// Counts a record whose publisher had another `tim` than this node.
    pub fn count_divergence(&self) {
        lock(&self.engine).divergences += 1;
    }

    /// Counts a record that is not valid.
    pub fn count_bad_record(&self) {
        lock(&self.engine).bad_records += 1;
    }

    /// Counts a message of another node that is not valid, but for those of presence.
    pub fn count_bad_presence(&self) {
        lock(&self.engine).bad_presence += 1;
    }

    /// Reads what a node has told. Returns whether it was not known.
    pub fn read_presence(&self, message: &[u8]) -> bool {
        lock(&self.presence).read(message, Instant::now())
    }

    /// Notes what this process tells of itself. The engine may be away.
    pub fn note_presence(&self, presence: Presence) {
        lock(&self.presence).note(presence, Instant::now());
    }

    /// This process has so many listeners now. It may not have told the other nodes yet.
    pub fn note_listeners(&self, listeners: u64) {
        lock(&self.presence).set_listeners(&self.process, listeners);
    }

    /// Which names more than one node has since the last call, and which one node has again.
    pub fn twins_changed(&self) -> (Vec<String>, Vec<String>) {
        lock(&self.presence).twins_changed(Instant::now())
    }

    /// The listeners of all other nodes that are there.
    pub fn listeners_elsewhere(&self) -> u64 {
        lock(&self.presence).listeners_elsewhere(&self.process, Instant::now())
    }

    /// The processes of all nodes that are there.
    pub fn processes(&self) -> Vec<NodeProcess> {
        lock(&self.presence).processes(Instant::now())
    }

    /// The state for the status and the metrics.
    pub fn status(&self) -> ClusterStatus {
        let presence = lock(&self.presence);
        let (nodes, ignored) = (presence.nodes(Instant::now()), presence.ignored());
        drop(presence);
        let engine = lock(&self.engine).clone();
        ClusterStatus { nodes, bad_presence: engine.bad_presence + ignored, ..engine }
    }

    fn set_connection(&self, server: Option<String>, reason: Option<String>) {
        let mut engine = lock(&self.engine);
        if engine.connected != server.is_some() {
            engine.connected = server.is_some();
            engine.since = Utc::now();
        }
        engine.server = server.or(engine.server.take());
        engine.reason = reason;
    }
}

/// A text in which a server may have put control characters.
fn one_line(text: &str) -> String {
    text.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_comes_and_goes() {
        let state = ClusterState::new(&StreamName::default(), &"a".parse().unwrap(), 1);
        let connection = || {
            let status = state.status();
            (status.connected, status.server, status.reason)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(connection(), (false, None, text("not connected yet")));
        let started = state.status().since;
        state.away("no server answers");
        assert_eq!(connection(), (false, None, text("no server answers")));
        assert_eq!(state.status().since, started);
        state.connected("n1");
        assert_eq!(connection(), (true, text("n1"), None));
        let since = state.status().since;
        state.connected("n2");
        assert_eq!((connection(), state.status().since), ((true, text("n2"), None), since));
        state.away("no heartbeat");
        assert_eq!(connection(), (false, text("n2"), text("no heartbeat")));
        state.connected("\u{1b}[31m\n");
        assert_eq!(connection(), (true, text(" [31m "), None));
        assert_eq!(state.away_since(), None);
        state.away(&"x".repeat(1000));
        assert_eq!(state.away_since().unwrap().1.len(), CHARS_MAX);
    }

    #[test]
    fn the_listeners_of_all_nodes() {
        let state = ClusterState::new(&StreamName::default(), &"a".parse().unwrap(), 1);
        let presence =
            |process, listeners| Presence { process, number: 1, listeners, stops: false };
        state.note_presence(presence(state.process().clone(), 10));
        let other = NodeProcess { node: "b".into(), incarnation: 2 };
        let message = serde_json::to_vec(&presence(other, u64::MAX)).unwrap();
        assert!(state.read_presence(&message) && !state.read_presence(&message));
        assert!(!state.read_presence(b"nonsense"));
        let status = state.status();
        assert_eq!(status.nodes.len(), 2);
        state.note_listeners(11);
        assert_eq!(state.status().nodes[0].listeners, 11);
        assert_eq!((status.listeners_total(), status.bad_presence), (u64::MAX, 1));
    }
}

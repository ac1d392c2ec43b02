//! Nodes of one room: real daemons behind relays to the same servers.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crowd::Crowd;
use crate::harness::Daemon;
use crate::manager::Manager;
use crate::outcomes::{check_same, check_told, check_with_gaps};
use crate::relay::Relay;
use crate::senders::{By, Outcome, Sender, Senders, Told};
use crate::servers::{Servers, wait_for};

/// The stream of the room.
pub const STREAM: &str = "room";

/// No ping disturbs the comparison of bytes, and nothing but the gate limits senders.
const CONFIG: &str = "[limits]\nmessages_per_sec = 0\nping_interval_secs = 3600\n\
    idle_timeout_secs = 7200\nconnects_per_address_per_sec = 0\n";

/// Servers and nodes, and what the listeners and senders of the nodes have seen.
pub struct Cluster {
    pub servers: Servers,
    pub nodes: Vec<Node>,
}

/// A daemon with what keeps its descriptors.
pub struct Node {
    pub daemon: Daemon,
    pub relay: Relay,
    manager: Manager,
}

impl Cluster {
    /// Starts servers, creates the stream of the room, starts nodes and waits until all are
    /// connected.
    pub fn start(servers: usize, nodes: usize) -> Self {
        Self::with_limits(servers, nodes, "")
    }

    /// As [`start`](Self::start), with more lines in the section `limits` of all nodes.
    pub fn with_limits(servers: usize, nodes: usize, limits: &str) -> Self {
        let servers = Servers::start(servers);
        create_stream(&servers, limits);
        let nodes = 0..nodes;
        let nodes = nodes.map(|number| Node::start(&servers, number, limits)).collect();
        let cluster = Self { servers, nodes };
        cluster.nodes.iter().for_each(Node::wait_until_connected);
        cluster
    }

    /// Where the clients of each node connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.daemon.addr).collect()
    }

    /// Starts so many listeners on each node.
    pub fn crowds(&self, count: usize) -> Vec<Crowd> {
        self.addresses().into_iter().map(|node| Crowd::start(node, count)).collect()
    }

    /// Starts senders on all nodes, which pause between their messages.
    pub fn senders(&self, count: usize) -> Senders {
        Senders::start(&self.addresses(), count, Duration::from_millis(50))
    }

    /// Starts so many listeners on one node.
    pub fn crowd(&self, node: usize, count: usize) -> Crowd {
        Crowd::start(self.nodes[node].daemon.addr, count)
    }

    /// Sends a message by a node, again until it is sent.
    pub fn say(&self, node: usize, msg: &str) {
        let mut sender = Sender::connect(self.nodes[node].daemon.addr, By::Post, "tester");
        wait_for("the message is sent", || {
            matches!(sender.say(msg).outcome, Outcome::Sent(_)).then_some(())
        });
    }
}

impl Node {
    /// Starts a node without waiting for its connection to the servers.
    pub fn start(servers: &Servers, number: usize, limits: &str) -> Self {
        let relay = Relay::start(&servers.addresses());
        let config = format!(
            "{CONFIG}{limits}[server]\nthreads = 2\n{}node = \"node-{number}\"\n",
            section(relay.addresses())
        );
        let manager = Manager::with_config(&config);
        Self { daemon: manager.start(), relay, manager }
    }

    /// The answer to `wschat status`.
    pub fn status(&self) -> Value {
        let out = self.daemon.command(&["status", "--json"]).output().unwrap();
        serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"))
    }

    /// Whether it reaches the stream.
    pub fn is_connected(&self) -> bool {
        self.status()["cluster"]["connected"] == true
    }

    /// Waits until it reaches the stream.
    pub fn wait_until_connected(&self) {
        wait_for("the node is connected", || self.is_connected().then_some(()));
    }

    /// Waits until it knows that it does not reach the stream.
    pub fn wait_until_away(&self) {
        wait_for("the node notices", || (!self.is_connected()).then_some(()));
    }

    /// Restarts it as `systemctl restart` does.
    pub fn restart(&mut self) {
        self.daemon.signal(rustix::process::Signal::USR2);
        assert_eq!(self.daemon.wait().code(), Some(0), "{}", self.daemon.log());
        self.daemon = self.manager.start();
        self.daemon.wait_for_log("took over the room");
    }

    /// Kills it as `kill -9` does, and starts it again.
    pub fn crash(&mut self) {
        self.manager.tail_file(&self.daemon);
        self.daemon.signal(rustix::process::Signal::KILL);
        self.daemon.wait();
        self.daemon = self.manager.start();
    }
}

/// Listeners and senders on all nodes of a cluster, while something is done to it.
pub struct Traffic {
    pub crowds: Vec<Crowd>,
    pub senders: Senders,
}

impl Traffic {
    /// Starts listeners on each node and senders, and waits until these are at work.
    pub fn start(cluster: &Cluster, listeners: usize, senders: usize) -> Self {
        let crowds = cluster.crowds(listeners);
        let traffic = Self { crowds, senders: cluster.senders(senders) };
        traffic.wait_for_sent(senders);
        traffic
    }

    /// Waits until so many more messages were sent.
    pub fn wait_for_sent(&self, more: usize) {
        let before = self.senders.sent();
        wait_for("messages are sent", || (self.senders.sent() >= before + more).then_some(()));
    }

    /// Waits until so many messages in all were refused.
    pub fn wait_for_refused(&self, count: usize) {
        wait_for("messages are refused", || (self.senders.refused() >= count).then_some(()));
    }

    /// Ends the traffic. Checks that all listeners have received the same, nobody was closed,
    /// and what senders were told is true. Returns how many messages were sent, were not, and
    /// of how many it is not known.
    pub fn check_same(self, cluster: &Cluster) -> [usize; 3] {
        let (texts, mut told) = self.end(cluster);
        check_same(&texts);
        // None of the notices that only one listener gets is among them.
        let (all, gaps) = check_with_gaps(&texts);
        assert!(gaps.iter().all(|count| *count == 0), "{gaps:?}");
        let counts = check_told(&all, &told);
        told.sort_by_key(|one| one.after);
        let slowest = told.last().map(|one| one.after);
        eprintln!("sent, refused, unknown: {counts:?}; the slowest answer took {slowest:?}");
        counts
    }

    /// As [`check_same`](Self::check_same), but for gaps that are announced: so many on each
    /// node.
    pub fn check_with_gaps(self, cluster: &Cluster, counts: &[Range<usize>]) -> [usize; 3] {
        let (texts, told) = self.end(cluster);
        let (all, gaps) = check_with_gaps(&texts);
        let is_right = gaps.iter().zip(counts).all(|(gaps, count)| count.contains(gaps));
        assert!(is_right, "{gaps:?} gaps, not {counts:?}");
        check_told(&all, &told)
    }

    fn end(self, cluster: &Cluster) -> (Vec<Vec<String>>, Vec<Told>) {
        let told = self.senders.end();
        cluster.nodes.iter().for_each(Node::wait_until_connected);
        cluster.say(0, "the end");
        (self.crowds.iter().map(|crowd| crowd.texts_up_to("the end")).collect(), told)
    }
}

/// Waits for so long, while something is disturbed.
pub fn for_secs(secs: u64) {
    let start = Instant::now();
    wait_for("time", || (start.elapsed().as_secs() >= secs).then_some(()));
}

/// Creates the stream of the room, and what belongs to it, by `wschat cluster init`.
pub fn create_stream(servers: &Servers, limits: &str) {
    create_stream_with(servers, limits, &[]);
}

/// As [`create_stream`], with more arguments.
pub fn create_stream_with(servers: &Servers, limits: &str, more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (config, control) = (folder.path().join("wschat.toml"), folder.path().join("none"));
    let servers = servers.addresses();
    fs::write(&config, format!("{CONFIG}{limits}{}", section(&servers))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
    command.args(["cluster", "init", "--replicas", &servers.len().to_string(), "--config"]);
    command.arg(config).arg("--control").arg(control).args(more);
    // The servers may not be able to do that yet.
    wait_for("the stream is created", || command.output().unwrap().status.success().then_some(()));
}

fn section(servers: &[SocketAddr]) -> String {
    let urls: Vec<_> = servers.iter().map(|server| format!("nats://{server}")).collect();
    format!("[cluster]\nstream = \"{STREAM}\"\nservers = {urls:?}\n")
}

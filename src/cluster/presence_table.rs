//! Which nodes there are, from what they tell about themselves. Pure: the caller passes the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::names::NodeName;

/// How often a node tells that it is there.
pub const TELL_INTERVAL: Duration = Duration::from_secs(3);
/// A node that has told nothing for this long is gone.
const GONE_AFTER: Duration = Duration::from_secs(15);
/// A restart replaces a process of a node by another one. Two that have both been there for
/// longer than this are two nodes with one name.
const RESTART_MAX: Duration = Duration::from_secs(10);
/// Processes in the table; of more nothing is known.
const PROCESSES_MAX: usize = 256;
/// The longest message about a node.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A process of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeProcess {
    /// The name of the node.
    pub node: String,
    /// The number that the process has chosen at random.
    pub incarnation: u64,
}

/// What a process of a node tells about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Who tells.
    #[serde(flatten)]
    pub process: NodeProcess,
    /// Each process counts what it tells; of two messages the one with the higher number holds.
    pub number: u64,
    /// Its listeners.
    pub listeners: u64,
    /// Whether the process stops now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stops: bool,
}

/// A node for the status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its listeners, as it has told last.
    pub listeners: u64,
    /// How long ago it has told so, in seconds.
    pub age_secs: f64,
    /// Whether another node has the same name.
    pub has_twin: bool,
}

/// The processes that are there.
#[derive(Debug, Default)]
pub struct PresenceTable {
    processes: BTreeMap<NodeProcess, Seen>,
    /// Messages that were ignored: not valid, or of too many nodes.
    ignored: u64,
    /// The names that more than one node had when [`Self::twins_changed`] was called last.
    twins: Vec<String>,
}

/// What is known of a process.
#[derive(Clone, Copy, Debug)]
struct Seen {
    number: u64,
    listeners: u64,
    first: Instant,
    last: Instant,
    stops: bool,
}

impl Seen {
    fn is_gone(&self, now: Instant) -> bool {
        now.duration_since(self.last) >= GONE_AFTER
    }
}

impl PresenceTable {
    /// Reads a message that arrived at `now`. One that is not valid, or of one node too many, is
    /// ignored and counted. Returns whether the process was not known.
    pub fn read(&mut self, message: &[u8], now: Instant) -> bool {
        let presence = (message.len() <= MESSAGE_BYTES_MAX)
            .then(|| serde_json::from_slice::<Presence>(message).ok())
            .flatten()
            .filter(|presence| presence.process.node.parse::<NodeName>().is_ok());
        match presence {
            Some(presence) if self.has_place(&presence.process, now) => {
                let is_new = !self.processes.contains_key(&presence.process);
                self.note(presence, now);
                is_new
            }
            _ => {
                self.ignored += 1;
                false
            }
        }
    }

    /// Notes what a process has told at `now`. A number that is not higher than the last one is
    /// a repetition or comes late, and changes nothing.
    pub fn note(&mut self, presence: Presence, now: Instant) {
        let Presence { process, number, listeners, stops } = presence;
        let seen = Seen { number, listeners, first: now, last: now, stops };
        let known = self.processes.entry(process).or_insert(seen);
        // One that is gone and comes back was not there in between.
        let first = if known.is_gone(now) { now } else { known.first };
        if known.number < number && !known.stops {
            *known = Seen { first, ..seen };
        }
    }

    /// Sets the listeners of a process that is known.
    pub fn set_listeners(&mut self, process: &NodeProcess, listeners: u64) {
        if let Some(seen) = self.processes.get_mut(process) {
            seen.listeners = listeners;
        }
    }

    /// The listeners at `now` of all other processes than this one.
    pub fn listeners_elsewhere(&self, own: &NodeProcess, now: Instant) -> u64 {
        let others = self.present(now).filter(|(process, ..)| *process != own);
        others.fold(0, |sum, (_, seen, _)| sum.saturating_add(seen.listeners))
    }

    /// The nodes at `now`, by name. Of two processes of one name during a restart it has the
    /// newer one.
    pub fn nodes(&self, now: Instant) -> Vec<NodeStatus> {
        let status = |(process, seen, has_twin): (&NodeProcess, &Seen, bool)| NodeStatus {
            name: process.node.clone(),
            listeners: seen.listeners,
            age_secs: now.duration_since(seen.last).as_millis() as f64 / 1000.0,
            has_twin,
        };
        self.present(now).map(status).collect()
    }

    /// The processes that are there at `now`.
    pub fn processes(&self, now: Instant) -> Vec<NodeProcess> {
        self.present(now).map(|(process, ..)| process.clone()).collect()
    }

    /// Messages that were ignored so far.
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Forgets who is gone, and returns which names more than one node has since the last call,
    /// and which are those of one node again.
    pub fn twins_changed(&mut self, now: Instant) -> (Vec<String>, Vec<String>) {
        self.processes.retain(|_, seen| !seen.is_gone(now));
        let twins = self.present(now).filter(|(_, _, has_twin)| *has_twin);
        let mut twins: Vec<_> = twins.map(|(process, ..)| process.node.clone()).collect();
        twins.dedup();
        let new = twins.iter().filter(|name| !self.twins.contains(name)).cloned().collect();
        let over = self.twins.iter().filter(|name| !twins.contains(name)).cloned().collect();
        self.twins = twins;
        (new, over)
    }

    /// Whether `process` is known, or there is a place for it.
    fn has_place(&mut self, process: &NodeProcess, now: Instant) -> bool {
        if self.processes.contains_key(process) || self.processes.len() < PROCESSES_MAX {
            return true;
        }
        self.processes.retain(|_, seen| !seen.is_gone(now));
        self.processes.len() < PROCESSES_MAX
    }

    /// The processes that are there, and whether each is one of several nodes with its name.
    fn present(&self, now: Instant) -> impl Iterator<Item = (&NodeProcess, &Seen, bool)> {
        let here = move || {
            self.processes.iter().filter(move |(_, seen)| !seen.stops && !seen.is_gone(now))
        };
        here().filter_map(move |(process, seen)| {
            let others = || {
                let same = move |other: &NodeProcess| {
                    other.node == process.node && other.incarnation != process.incarnation
                };
                here().filter(move |(other, _)| same(other)).map(|(_, seen)| seen)
            };
            let has_twin = others().any(|other| {
                let both_since = seen.first.max(other.first);
                seen.last.min(other.last).duration_since(both_since) > RESTART_MAX
            });
            let is_newest = others().all(|other| other.first <= seen.first);
            (has_twin || is_newest).then_some((process, seen, has_twin))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table and a clock.
    struct World {
        table: PresenceTable,
        start: Instant,
        number: u64,
    }

    impl World {
        fn new() -> Self {
            Self { table: PresenceTable::default(), start: Instant::now(), number: 0 }
        }

        fn at(&self, secs: u64) -> Instant {
            self.start + Duration::from_secs(secs)
        }

        fn message(
            &mut self,
            node: &str,
            incarnation: u64,
            listeners: u64,
            stops: bool,
        ) -> Vec<u8> {
            self.number += 1;
            let process = NodeProcess { node: node.into(), incarnation };
            let presence = Presence { process, number: self.number, listeners, stops };
            serde_json::to_vec(&presence).unwrap()
        }

        fn tell(&mut self, secs: u64, node: &str, incarnation: u64, listeners: u64) {
            let message = self.message(node, incarnation, listeners, false);
            self.table.read(&message, self.at(secs));
        }

        /// Names, listeners and whether there is a twin.
        fn nodes(&self, secs: u64) -> Vec<(String, u64, bool)> {
            let nodes = self.table.nodes(self.at(secs));
            nodes.into_iter().map(|node| (node.name, node.listeners, node.has_twin)).collect()
        }
    }

    fn node(name: &str, listeners: u64, has_twin: bool) -> (String, u64, bool) {
        (name.to_owned(), listeners, has_twin)
    }

    #[test]
    fn nodes_come_and_go() {
        let mut world = World::new();
        world.tell(0, "b", 2, 20);
        world.tell(1, "a", 1, 10);
        assert_eq!(world.nodes(2), [node("a", 10, false), node("b", 20, false)]);
        world.tell(3, "a", 1, 11);
        assert_eq!(world.table.nodes(world.at(5))[0].age_secs, 2.0);
        assert_eq!(world.nodes(14), [node("a", 11, false), node("b", 20, false)]);
        assert_eq!(world.nodes(15), [node("a", 11, false)], "15 s after its last message");
        assert_eq!(world.nodes(18), []);
        world.tell(20, "b", 2, 22);
        assert_eq!(world.nodes(20), [node("b", 22, false)]);
    }

    #[test]
    fn listeners_elsewhere_are_those_of_other_nodes() {
        let mut world = World::new();
        let own = NodeProcess { node: "a".into(), incarnation: 2 };
        let elsewhere = |world: &World, secs| world.table.listeners_elsewhere(&own, world.at(secs));
        assert_eq!(elsewhere(&world, 0), 0);
        // The process before this one.
        world.tell(0, "a", 1, 100);
        world.tell(1, "a", 2, 10);
        world.tell(1, "b", 3, 20);
        world.tell(9, "c", 4, u64::MAX);
        assert_eq!(elsewhere(&world, 9), u64::MAX);
        world.tell(10, "c", 4, 5);
        assert_eq!(elsewhere(&world, 10), 25);
        assert_eq!(elsewhere(&world, 16), 5);
    }

    #[test]
    fn a_node_that_stops_is_gone_at_once() {
        let mut world = World::new();
        world.tell(0, "a", 1, 10);
        let late = world.message("a", 1, 9, false);
        let stops = world.message("a", 1, 0, true);
        world.table.read(&stops, world.at(1));
        assert_eq!(world.nodes(1), []);
        world.table.read(&late, world.at(1));
        world.tell(2, "a", 1, 10);
        assert_eq!(world.nodes(2), [], "also if a message comes late");
        world.tell(2, "a", 2, 10);
        assert_eq!(world.nodes(2), [node("a", 10, false)], "another process is another one");
    }

    #[test]
    fn an_older_message_changes_nothing() {
        let mut world = World::new();
        let first = world.message("a", 1, 1, false);
        let second = world.message("a", 1, 2, false);
        for message in [&second, &first, &second] {
            world.table.read(message, world.at(0));
        }
        assert_eq!(world.nodes(0), [node("a", 2, false)]);
        world.table.read(&second, world.at(10));
        assert_eq!(world.nodes(16), [], "a repetition is no sign of life");
    }

    #[test]
    fn a_restart_is_one_node() {
        let mut world = World::new();
        let none = || (Vec::<String>::new(), Vec::<String>::new());
        for secs in [0, 3, 6] {
            world.tell(secs, "a", 1, 100);
        }
        world.tell(7, "a", 2, 40);
        assert_eq!(world.nodes(7), [node("a", 40, false)], "without a goodbye");
        // The old process sends the rest to its clients while the new one is there.
        for secs in [9, 12, 15] {
            world.tell(secs, "a", 1, 1);
            world.tell(secs, "a", 2, 50);
            assert_eq!(world.nodes(secs), [node("a", 50, false)]);
            assert_eq!(world.table.twins_changed(world.at(secs)), none());
        }
        for secs in [18, 21, 24, 27, 30, 33] {
            world.tell(secs, "a", 2, 60);
            assert_eq!(world.nodes(secs), [node("a", 60, false)]);
            assert_eq!(world.table.twins_changed(world.at(secs)), none());
        }
        // Many restarts in a row are one node, too.
        for (secs, incarnation) in (34..60).zip(3..) {
            world.tell(secs, "a", incarnation, 60);
            assert_eq!(world.nodes(secs), [node("a", 60, false)]);
            assert_eq!(world.table.twins_changed(world.at(secs)), none());
        }
    }

    #[test]
    fn two_nodes_of_one_name_are_told_apart() {
        let mut world = World::new();
        let mut changes = Vec::new();
        for secs in (0..60).step_by(3) {
            world.tell(secs, "b", 9, 5);
            world.tell(secs, "a", 1, 10);
            if (9..42).contains(&secs) {
                world.tell(secs, "a", 2, 20);
            }
            let (new, over) = world.table.twins_changed(world.at(secs));
            changes.extend(new.into_iter().map(|name| (secs, name, true)));
            changes.extend(over.into_iter().map(|name| (secs, name, false)));
            if (21..54).contains(&secs) {
                let want = [node("a", 10, true), node("a", 20, true), node("b", 5, false)];
                assert_eq!(world.nodes(secs), want, "{secs}");
            } else {
                assert_eq!(world.nodes(secs).len(), 2, "{secs}");
            }
        }
        assert_eq!(changes, [(21, "a".to_owned(), true), (54, "a".to_owned(), false)]);
    }

    #[test]
    fn three_nodes_of_one_name() {
        let mut world = World::new();
        for secs in (0..30).step_by(3) {
            (1..4).for_each(|incarnation| world.tell(secs, "a", incarnation, incarnation));
        }
        let want = [node("a", 1, true), node("a", 2, true), node("a", 3, true)];
        assert_eq!(world.nodes(30), want);
        assert_eq!(world.table.twins_changed(world.at(30)).0, ["a"], "one line for all");
    }

    #[test]
    fn messages_that_are_not_valid_are_ignored_and_counted() {
        let mut world = World::new();
        world.tell(0, "a", 1, 10);
        let long = format!(
            r#"{{"node":"a","incarnation":1,"number":99,"listeners":1,"x":"{}"}}"#,
            "x".repeat(1024)
        );
        let messages: [&[u8]; 9] = [
            b"",
            b"null",
            b"\xff",
            b"{}",
            br#"{"node":"a","incarnation":1,"number":99}"#,
            br#"{"node":"a","incarnation":1,"number":99,"listeners":-1}"#,
            br#"{"node":"a\nb","incarnation":1,"number":99,"listeners":1}"#,
            br#"{"node":"","incarnation":1,"number":99,"listeners":1}"#,
            long.as_bytes(),
        ];
        for (count, message) in messages.iter().enumerate() {
            world.table.read(message, world.at(0));
            assert_eq!(world.table.ignored(), count as u64 + 1, "{message:?}");
        }
        assert_eq!(world.nodes(0), [node("a", 10, false)]);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut world = World::new();
        for incarnation in 0..1000 {
            world.tell(0, &format!("n{incarnation:03}"), incarnation, 1);
        }
        assert_eq!(world.table.processes(world.at(0)).len(), PROCESSES_MAX);
        assert_eq!(world.table.ignored(), 1000 - PROCESSES_MAX as u64);
        world.tell(1, "n000", 0, 7);
        assert_eq!(world.nodes(1)[0], node("n000", 7, false), "who is known stays");
        world.tell(20, "other", 1, 1);
        assert_eq!(world.nodes(20), [node("other", 1, false)], "who is gone gives its place");
    }
}

//! How many connections a kick has met on all nodes. Pure: the caller passes what arrives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::NodeName;
use super::presence_table::NodeProcess;

/// Kicks of this process whose answers are collected at the same time.
const KICKS_MAX: usize = 64;
/// Answers to one kick.
const ANSWERS_MAX: usize = 256;
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 1024;

/// What a node tells when it has carried out a kick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KickAnswer {
    /// The process that has published the kick.
    pub origin: NodeProcess,
    /// The number of its record.
    pub number: u64,
    /// The process that has carried it out.
    pub process: NodeProcess,
    /// The connections that it closes.
    pub closed: u64,
}

/// The answers to a kick, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KickTotal {
    /// Closed connections of the nodes that have answered.
    pub closed: u64,
    /// How many of the nodes have not answered.
    pub silent: usize,
}

/// The answers to the kicks of this process that are collected at the moment.
#[derive(Debug)]
pub struct KickAnswers {
    origin: NodeProcess,
    /// By the number of the record.
    kicks: BTreeMap<u64, BTreeMap<NodeProcess, u64>>,
    ignored: u64,
}

impl KickAnswers {
    /// Collects the answers to the kicks of `origin`.
    pub const fn new(origin: NodeProcess) -> Self {
        Self { origin, kicks: BTreeMap::new(), ignored: 0 }
    }

    /// Collects the answers to the kick with this number from now on. The oldest kick gives its
    /// place, if there are too many.
    pub fn open(&mut self, number: u64) {
        self.kicks.insert(number, BTreeMap::new());
        if self.kicks.len() > KICKS_MAX {
            self.kicks.pop_first();
        }
    }

    /// Ends it.
    pub fn close(&mut self, number: u64) {
        self.kicks.remove(&number);
    }

    /// Reads an answer. Those to other nodes, or to kicks that are over, change nothing; one that
    /// is not valid is ignored and counted.
    pub fn read(&mut self, message: &[u8]) {
        let answer = (message.len() <= ANSWER_BYTES_MAX)
            .then(|| serde_json::from_slice::<KickAnswer>(message).ok())
            .flatten()
            .filter(|answer| answer.process.node.parse::<NodeName>().is_ok());
        match answer {
            Some(answer) => self.note(answer),
            None => self.ignored += 1,
        }
    }

    /// Notes an answer; the first one of each process holds.
    pub fn note(&mut self, answer: KickAnswer) {
        let kick = match self.kicks.get_mut(&answer.number) {
            Some(kick) if answer.origin == self.origin => kick,
            _ => return,
        };
        if kick.len() < ANSWERS_MAX {
            kick.entry(answer.process).or_insert(answer.closed);
        }
    }

    /// The answers so far, where `nodes` should answer.
    pub fn total(&self, number: u64, nodes: &[NodeProcess]) -> KickTotal {
        let Some(kick) = self.kicks.get(&number) else {
            return KickTotal { closed: 0, silent: nodes.len() };
        };
        KickTotal {
            closed: kick.values().fold(0, |sum, closed| sum.saturating_add(*closed)),
            silent: nodes.iter().filter(|process| !kick.contains_key(process)).count(),
        }
    }

    /// Messages that were ignored so far.
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(node: &str) -> NodeProcess {
        NodeProcess { node: node.into(), incarnation: 1 }
    }

    fn answer(origin: &str, number: u64, node: &str, closed: u64) -> Vec<u8> {
        let (origin, process) = (process(origin), process(node));
        serde_json::to_vec(&KickAnswer { origin, number, process, closed }).unwrap()
    }

    fn total(closed: u64, silent: usize) -> KickTotal {
        KickTotal { closed, silent }
    }

    #[test]
    fn answers_are_added_up() {
        let mut answers = KickAnswers::new(process("a"));
        let nodes = ["a", "b", "c"].map(process);
        answers.open(7);
        assert_eq!(answers.total(7, &nodes), total(0, 3));
        answers.read(&answer("a", 7, "b", 2));
        answers.read(&answer("a", 7, "a", 0));
        assert_eq!(answers.total(7, &nodes), total(2, 1));
        answers.read(&answer("a", 7, "b", 5));
        answers.read(&answer("a", 8, "c", 5));
        answers.read(&answer("b", 7, "c", 5));
        assert_eq!(answers.total(7, &nodes), total(2, 1), "twice, or to another kick or node");
        answers.read(&answer("a", 7, "unheard", 1));
        assert_eq!(answers.total(7, &nodes), total(3, 1), "a node that nobody knew counts");
        answers.read(&answer("a", 7, "c", u64::MAX));
        assert_eq!(answers.total(7, &nodes), total(u64::MAX, 0));
        answers.close(7);
        answers.read(&answer("a", 7, "a", 1));
        assert_eq!(answers.total(7, &nodes), total(0, 3));
        assert_eq!(answers.ignored(), 0);
    }

    #[test]
    fn answers_that_are_not_valid_are_ignored_and_counted() {
        let mut answers = KickAnswers::new(process("a"));
        answers.open(1);
        let long = [answer("a", 1, "b", 1), vec![b' '; ANSWER_BYTES_MAX]].concat();
        let messages: [&[u8]; 5] = [b"", b"[]", b"{}", &answer("a", 1, "b b", 1), &long];
        for (count, message) in messages.iter().enumerate() {
            answers.read(message);
            assert_eq!(answers.ignored(), count as u64 + 1);
        }
        assert_eq!(answers.total(1, &[]), total(0, 0));
    }

    #[test]
    fn all_is_bounded() {
        let mut answers = KickAnswers::new(process("a"));
        (0..1000).for_each(|number| answers.open(number));
        assert_eq!(answers.kicks.len(), KICKS_MAX);
        for n in 0..1000 {
            answers.read(&answer("a", 999, &format!("n{n}"), 1));
        }
        assert_eq!(answers.total(999, &[]), total(ANSWERS_MAX as u64, 0));
        assert_eq!(answers.total(0, &[]), total(0, 0), "the oldest has given its place");
    }
}

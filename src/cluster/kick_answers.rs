//! How many connections a kick has met on all nodes. Pure: the caller passes what arrives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::NodeName;
use super::presence_table::NodeProcess;
use crate::feed::Position;
use crate::server::KickedSpeaker;

/// Kicks whose answers are kept; the one that is first in the log gives its place.
const KICKS_MAX: usize = 64;
/// Answers to one kick.
const ANSWERS_MAX: usize = 256;
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 1024;

/// What a node tells when it has carried out a kick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KickAnswer {
    /// Where the kick is in the log.
    #[serde(flatten)]
    pub position: Position,
    /// Who has carried it out.
    #[serde(flatten)]
    pub process: NodeProcess,
    /// The connections that it closes.
    pub closed: u64,
    /// Some of those whom it has met: they can come back to another node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kicked: Vec<KickedSpeaker>,
}

/// The answers to a kick, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KickTotal {
    /// Closed connections of the nodes that have answered.
    pub closed: u64,
    /// How many of the nodes have not answered.
    pub silent: usize,
}

/// The answers to the last kicks. They can come before this node has read the kick.
#[derive(Debug, Default)]
pub struct KickAnswers {
    kicks: BTreeMap<Position, BTreeMap<NodeProcess, u64>>,
}

impl KickAnswers {
    /// Reads an answer. Returns it if it is valid.
    pub fn read(&mut self, message: &[u8]) -> Option<KickAnswer> {
        let answer = (message.len() <= ANSWER_BYTES_MAX)
            .then(|| serde_json::from_slice::<KickAnswer>(message).ok())
            .flatten()
            .filter(|answer| answer.process.node.parse::<NodeName>().is_ok())?;
        self.note(answer.clone());
        Some(answer)
    }

    /// Notes an answer; the first one of each process holds.
    pub fn note(&mut self, answer: KickAnswer) {
        let kick = self.kicks.entry(answer.position).or_default();
        if kick.len() < ANSWERS_MAX {
            kick.entry(answer.process).or_insert(answer.closed);
        }
        if self.kicks.len() > KICKS_MAX {
            self.kicks.pop_first();
        }
    }

    /// The answers so far to the kick at `position`, where `nodes` should answer.
    pub fn total(&self, position: Position, nodes: &[NodeProcess]) -> KickTotal {
        let Some(kick) = self.kicks.get(&position) else {
            return KickTotal { closed: 0, silent: nodes.len() };
        };
        KickTotal {
            closed: kick.values().fold(0, |sum, closed| sum.saturating_add(*closed)),
            silent: nodes.iter().filter(|process| !kick.contains_key(process)).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(node: &str) -> NodeProcess {
        NodeProcess { node: node.into(), incarnation: 1 }
    }

    const fn at(sequence: u64) -> Position {
        Position { created: 1, sequence }
    }

    fn answer(sequence: u64, node: &str, closed: u64) -> Vec<u8> {
        let answer = KickAnswer {
            position: at(sequence),
            process: process(node),
            closed,
            kicked: Vec::new(),
        };
        serde_json::to_vec(&answer).unwrap()
    }

    fn total(closed: u64, silent: usize) -> KickTotal {
        KickTotal { closed, silent }
    }

    #[test]
    fn answers_are_added_up() {
        let mut answers = KickAnswers::default();
        let nodes = ["a", "b", "c"].map(process);
        assert_eq!(answers.total(at(7), &nodes), total(0, 3));
        answers.read(&answer(7, "b", 2));
        answers.read(&answer(7, "a", 0));
        assert_eq!(answers.total(at(7), &nodes), total(2, 1));
        answers.read(&answer(7, "b", 5));
        answers.read(&answer(8, "c", 5));
        assert_eq!(answers.total(at(7), &nodes), total(2, 1), "twice, or to another kick");
        answers.read(&answer(7, "unheard", 1));
        assert_eq!(answers.total(at(7), &nodes), total(3, 1), "a node that nobody knew counts");
        answers.read(&answer(7, "c", u64::MAX));
        assert_eq!(answers.total(at(7), &nodes), total(u64::MAX, 0));
    }

    #[test]
    fn answers_that_are_not_valid() {
        let mut answers = KickAnswers::default();
        let long = [answer(1, "b", 1), vec![b' '; ANSWER_BYTES_MAX]].concat();
        let messages: [&[u8]; 5] = [b"", b"[]", b"{}", &answer(1, "b b", 1), &long];
        for message in messages {
            assert!(answers.read(message).is_none(), "{message:?}");
        }
        assert_eq!(answers.total(at(1), &[]), total(0, 0));
    }

    #[test]
    fn all_is_bounded() {
        let mut answers = KickAnswers::default();
        for n in 0..1000 {
            answers.read(&answer(n, "a", 1));
            answers.read(&answer(999, &format!("n{n}"), 1));
        }
        assert_eq!(answers.kicks.len(), KICKS_MAX);
        assert_eq!(answers.total(at(999), &[]), total(ANSWERS_MAX as u64, 0));
        assert_eq!(answers.total(at(0), &[]), total(0, 0), "the first one has given its place");
    }
}

//! Compares what listeners have received, on all nodes, and with what senders were told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::senders::{Outcome, Told};

/// A text that a listener received.
#[derive(Debug)]
enum Received<'a> {
    Message {
        tim: String,
        text: &'a str,
    },
    /// Messages are missing here, between these times; `before` is missing if no message
    /// followed when it was found.
    Gap {
        after: String,
        before: Option<String>,
    },
}

fn received(text: &str) -> Received<'_> {
    let json: Value = serde_json::from_str(text).unwrap();
    let field = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("{text}")).to_owned();
    match json.get("err") {
        None => Received::Message { tim: field("tim"), text },
        Some(code) => {
            assert_eq!(code, "gap", "{text}");
            let before = json.get("before").map(|_| field("before"));
            Received::Gap { after: field("after"), before }
        }
    }
}

/// Checks that the listeners of all nodes received the same texts in the same order.
#[track_caller]
pub fn check_same(nodes: &[Vec<String>]) {
    for (number, texts) in nodes.iter().enumerate() {
        for (at, (text, first)) in texts.iter().zip(&nodes[0]).enumerate() {
            assert_eq!(text, first, "at {at} of node {number}");
        }
        assert_eq!(texts.len(), nodes[0].len(), "node {number}");
    }
}

/// Checks that every node has the same messages in the same order except in the gaps that it
/// has announced, and that each gap stands at its place and is one.
///
/// Returns all messages, and how many gaps each node has announced.
pub fn check_with_gaps(nodes: &[Vec<String>]) -> (Vec<String>, Vec<usize>) {
    let mut all = BTreeMap::new();
    let nodes: Vec<Vec<_>> =
        nodes.iter().map(|texts| texts.iter().map(|t| received(t)).collect()).collect();
    for entry in nodes.iter().flatten() {
        if let Received::Message { tim, text } = entry {
            let known = all.entry(tim.clone()).or_insert(*text);
            assert_eq!(known, text, "two messages with one tim");
        }
    }
    let mut gaps = Vec::new();
    for (number, entries) in nodes.iter().enumerate() {
        let (mut last, mut missing, mut have) = (None::<&String>, Vec::new(), BTreeSet::new());
        for (at, entry) in entries.iter().enumerate() {
            match entry {
                Received::Message { tim, text } => {
                    assert!(last.is_none_or(|last| last < tim), "node {number}: {text}");
                    have.insert(tim);
                    last = Some(tim);
                }
                Received::Gap { after, before } => {
                    let Some(Received::Message { tim: next, .. }) = entries.get(at + 1) else {
                        panic!("node {number}: no message after {entry:?}");
                    };
                    let is_placed =
                        last == Some(after) && before.as_ref().is_none_or(|before| before == next);
                    assert!(is_placed, "node {number}: {entry:?} after {last:?} before {next:?}");
                    missing.push((after, next));
                }
            }
        }
        for (tim, text) in &all {
            let is_in_gap = missing.iter().any(|(after, before)| *after < tim && tim < *before);
            assert_ne!(have.contains(tim), is_in_gap, "node {number}: {text}");
        }
        gaps.push(missing.len());
    }
    (all.into_values().map(str::to_owned).collect(), gaps)
}

/// Checks that what the senders were told is true of these messages, which are all that
/// anybody has received. Messages of others than the senders are ignored. Returns how many
/// were sent, were not, and for how many it is not known.
pub fn check_told(all: &[String], told: &[Told]) -> [usize; 3] {
    let mut delivered = BTreeMap::<(String, String), Vec<&String>>::new();
    for text in all {
        let json: Value = serde_json::from_str(text).unwrap();
        let key = ["usr", "msg"].map(|name| json[name].as_str().unwrap().to_owned());
        delivered.entry(key.into()).or_default().push(text);
    }
    let mut counts = [0; 3];
    for one in told {
        let found = delivered.remove(&(one.usr.clone(), one.msg.clone())).unwrap_or_default();
        let count = match &one.outcome {
            Outcome::Sent(text) => {
                assert_eq!(found, [text], "{one:?}");
                0
            }
            Outcome::Unavailable => {
                assert_eq!(found, [] as [&String; 0], "{one:?}");
                1
            }
            Outcome::Unknown => {
                assert!(found.len() <= 1, "{one:?} and {found:?}");
                2
            }
        };
        counts[count] += 1;
    }
    let names: BTreeSet<_> = told.iter().map(|one| &one.usr).collect();
    let unsent = delivered.keys().find(|(usr, _)| names.contains(usr));
    assert_eq!(unsent, None, "nobody has sent this");
    counts
}

//! A node, and what its machine keeps of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use wschat::chat::{AddressBlock, LoggedMessage, LoggedSpeaker, Tim, announcement};
use wschat::cluster::log::Node;
use wschat::feed::{Position, StreamMark};

use super::engine::Link;
use super::truth::Truth;

/// A node. A sender is a number.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub incarnation: u64,
    pub node: Node<u64>,
    pub link: Link,
    /// The mark that was stored with the last messages.
    pub mark: Option<StreamMark>,
    /// The last record that the stream still has, if it has lost the one of the mark.
    kept: Option<Position>,
    /// The last record that was given out.
    last: Option<Position>,
    /// Whether a hole was reported, and not announced to listeners.
    pub has_hole: bool,
    pub needs_gap: bool,
    /// The time of the last message before the newest gap that was announced.
    gap_after: Option<Tim>,
    last_tim: Tim,
    /// Who waits, and since when.
    pub tickets: BTreeMap<u64, u64>,
    pub is_available: bool,
}

impl Member {
    pub fn new(name: String) -> Self {
        let node = Node::new(name.parse().expect("a name"), 0, None);
        let (link, tickets) = (Link::default(), BTreeMap::new());
        Self {
            name,
            incarnation: 0,
            node,
            link,
            mark: None,
            kept: None,
            last: None,
            has_hole: false,
            needs_gap: false,
            gap_after: None,
            last_tim: Tim::default(),
            tickets,
            is_available: false,
        }
    }

    /// The next process, with or without what the last has stored.
    pub fn restart(&mut self, incarnation: u64, is_fresh: bool) {
        let (mark, name) = (self.mark.filter(|_| !is_fresh), self.name.parse());
        let mut next = Self::new(self.name.clone());
        next.node = Node::new(name.expect("a name"), incarnation, mark);
        next.link.number = self.link.number + 1;
        next.last = mark.map(|mark| mark.position);
        next.kept = self.kept.filter(|_| mark.is_some());
        // The engine finds that the record of the mark is another one now.
        next.link.received = next.kept.or(next.last);
        next.last_tim = if is_fresh { Tim::default() } else { self.last_tim };
        (next.mark, next.incarnation) = (mark, incarnation);
        // The listeners have what the last process has sent.
        next.needs_gap = self.needs_gap && !is_fresh;
        *self = next;
    }

    /// Checks what was given out for the record at this place; `messages` is `None` for an act.
    pub fn append(&mut self, messages: Option<&[Bytes]>, mark: StreamMark, truth: &Truth) {
        let place = truth.place(mark.position);
        let name = &self.name;
        let next = self.last.map(|last| Position { sequence: last.sequence + 1, ..last });
        assert!(
            self.has_hole || next.is_none_or(|next| next == mark.position),
            "{name}: nothing is missing without a report: {next:?} {mark:?}"
        );
        if place.has_tim && mark.position > truth.uncertain_to {
            assert_eq!(mark.newest, place.mark.newest, "{name} {:?}", mark.position);
            assert_eq!(mark.tim, place.mark.tim, "{name} {:?}", mark.position);
        }
        let is_certain = mark.position > truth.uncertain_to;
        assert!(!is_certain || messages.is_none() == place.is_act);
        // Nothing can be missing between two times that follow each other.
        let follows = |tim: Tim| self.mark.is_some_and(|mark| mark.tim.nanos() + 1 == tim.nanos());
        self.needs_gap &= !place.first.is_some_and(follows);
        if let Some(messages) = messages {
            assert!(!is_certain || messages == place.texts, "{name} {:?}", mark.position);
            for text in messages {
                let tim = Tim::stamped(text).unwrap_or_else(|| panic!("a tim in {text:?}"));
                assert!(tim > self.last_tim, "{name}: {tim} is not after {}", self.last_tim);
                assert!(!self.needs_gap, "{name}: a gap is announced before {tim}");
                (self.last_tim, self.needs_gap) = (tim, false);
            }
        }
        (self.last, self.mark, self.has_hole) = (Some(mark.position), Some(mark), false);
        self.kept = None;
    }

    /// The stream has lost all records behind this one.
    pub fn lose_newest(&mut self, last: Position) {
        self.link.lose_newest(last);
        let is_lost = |position: &Position| position.created == last.created && *position > last;
        if self.mark.map(|mark| mark.position).filter(is_lost).is_some() {
            self.kept = Some(self.kept.filter(|kept| !is_lost(kept)).unwrap_or(last));
        }
    }

    /// Checks a gap that is announced.
    pub fn gap(&mut self, after: Option<Tim>, before: Option<Tim>) {
        let after = after.unwrap_or_default();
        assert!(after >= self.last_tim, "{}: the gap is behind the last message", self.name);
        assert!(before.is_none_or(|before| before.nanos() > after.nanos() + 1));
        assert_ne!(self.gap_after, Some(after), "{}: a gap is announced twice", self.name);
        (self.needs_gap, self.gap_after) = (false, Some(after));
    }

    /// Records are missing.
    pub fn hole(&mut self) {
        self.has_hole = true;
        let after = self.mark.map(|mark| mark.tim);
        self.needs_gap |= after.is_some() && after != self.gap_after;
    }
}

/// A message with this ticket, of a client or of the server itself.
pub fn message(ticket: u64, bytes: usize, is_of_server: bool) -> LoggedMessage {
    let mut text = Vec::new();
    announcement(&format!("{ticket} {}", "x".repeat(bytes)), &mut text);
    let speaker = (!is_of_server).then(|| LoggedSpeaker {
        usr: "alice".into(),
        sub: None,
        address: AddressBlock::UNIX,
        is_moderator: false,
    });
    LoggedMessage { text, speaker }
}

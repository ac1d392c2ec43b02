//! Checks that every listener receives every message once, all in the same order.
//!
//! The first listener that receives a message determines its position in the order; all
//! others must receive it at the same position. So a listener is one number here, and
//! every lost, repeated or reordered message is found at once. A message that every
//! listener has received is forgotten; the others are in flight.

use std::collections::{HashMap, HashSet, VecDeque};

use super::message::MessageId;

/// Missed messages that are remembered for each listener, to tell a late message from a
/// repeated one.
const MISSED_MAX: usize = 1 << 16;

/// A position in the order: the number of messages before it.
pub type Position = u64;

/// All messages of a run that are in flight.
#[derive(Debug)]
pub struct Tracker {
    listeners: usize,
    senders: Vec<Sender>,
    order: VecDeque<Entry>,
    /// The position of the first entry in `order`.
    base: Position,
    in_flight: usize,
    missed: HashMap<usize, HashSet<MessageId>>,
    errors: StreamErrors,
}

/// Errors on the way of a message to a listener, counted for each listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StreamErrors {
    /// Messages that did not arrive.
    pub lost: u64,
    /// Messages that arrived again.
    pub repeated: u64,
    /// Messages that arrived after a later one.
    pub reordered: u64,
}

/// The messages of one sender that no listener has received.
#[derive(Clone, Debug, Default)]
struct Sender {
    first_number: u32,
    sent_ns: VecDeque<u64>,
}

#[derive(Debug)]
struct Entry {
    id: MessageId,
    /// Listeners that have not received it.
    waiting: usize,
    sent_ns: u64,
}

impl Tracker {
    /// Nothing is sent yet; all listeners are at position 0.
    pub fn new(senders: usize, listeners: usize) -> Self {
        Self {
            listeners,
            senders: vec![Sender::default(); senders],
            order: VecDeque::new(),
            base: 0,
            in_flight: 0,
            missed: HashMap::new(),
            errors: StreamErrors::default(),
        }
    }

    /// Gives the next message of a sender its id.
    pub fn send(&mut self, sender: u16, now_ns: u64) -> MessageId {
        let Sender { first_number, sent_ns } = &mut self.senders[usize::from(sender)];
        let number = *first_number + sent_ns.len() as u32;
        sent_ns.push_back(now_ns);
        self.in_flight += 1;
        MessageId { sender, number }
    }

    /// The position behind the last message that a listener has received.
    pub fn end(&self) -> Position {
        self.base + self.order.len() as Position
    }

    /// How many messages some listener has not received.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A listener receives a message. Returns the time at which it was sent, or `None`
    /// if it is repeated or late.
    #[inline]
    pub fn receive(
        &mut self,
        listener: usize,
        position: &mut Position,
        id: MessageId,
    ) -> Option<u64> {
        match self.order.get_mut((*position - self.base) as usize) {
            Some(entry) if entry.id == id => {
                *position += 1;
                entry.waiting -= 1;
                let (sent_ns, is_last) = (entry.sent_ns, entry.waiting == 0);
                if is_last {
                    self.forget_received();
                }
                Some(sent_ns)
            }
            _ => self.receive_unexpected(listener, position, id),
        }
    }

    fn receive_unexpected(
        &mut self,
        listener: usize,
        position: &mut Position,
        id: MessageId,
    ) -> Option<u64> {
        self.place(id);
        let found = self.order.iter().position(|entry| entry.id == id);
        if let Some(at) = found.map(|at| self.base + at as u64).filter(|at| at >= position) {
            for skipped in *position..at {
                self.skip(listener, skipped);
            }
            *position = at;
            return self.receive(listener, position, id);
        }
        if self.missed.get_mut(&listener).is_some_and(|missed| missed.remove(&id)) {
            self.errors.lost -= 1;
            self.errors.reordered += 1;
        } else {
            self.errors.repeated += 1;
        }
        None
    }

    /// Appends to the order what this sender sent up to this message, if it is new.
    fn place(&mut self, MessageId { sender, number }: MessageId) {
        let Some(messages) = self.senders.get_mut(usize::from(sender)) else { return };
        let first = messages.first_number;
        let Some(index) = number.checked_sub(first) else { return };
        if index as usize >= messages.sent_ns.len() {
            return;
        }
        messages.first_number = number + 1;
        for (number, sent_ns) in (first..=number).zip(messages.sent_ns.drain(..=index as usize)) {
            let id = MessageId { sender, number };
            self.order.push_back(Entry { id, waiting: self.listeners, sent_ns });
        }
    }

    fn skip(&mut self, listener: usize, position: Position) {
        let Some(entry) = self.order.get_mut((position - self.base) as usize) else { return };
        entry.waiting -= 1;
        self.errors.lost += 1;
        let missed = self.missed.entry(listener).or_default();
        if missed.len() < MISSED_MAX {
            missed.insert(entry.id);
        }
    }

    /// A listener at `position` is disconnected, so nothing is in flight to it.
    pub fn leave(&mut self, position: Position) {
        self.listeners -= 1;
        for entry in self.order.range_mut((position - self.base) as usize..) {
            entry.waiting -= 1;
        }
        self.forget_received();
    }

    fn forget_received(&mut self) {
        while self.order.front().is_some_and(|entry| entry.waiting == 0) {
            self.order.pop_front();
            self.base += 1;
            self.in_flight -= 1;
        }
    }

    /// The errors of the run, with all that is still in flight counted as lost.
    pub fn finish(&self) -> StreamErrors {
        let unplaced: usize = self.senders.iter().map(|sender| sender.sent_ns.len()).sum();
        let waiting: usize = self.order.iter().map(|entry| entry.waiting).sum();
        let lost = self.errors.lost + (unplaced * self.listeners + waiting) as u64;
        StreamErrors { lost, ..self.errors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_found() {
        // Two senders send two messages each: a, c and b, d. In each case the messages
        // that two listeners receive, one listener after the other; x and y were never sent.
        for (received, lost, repeated, reordered, in_flight) in [
            (["bacd", "bacd"], 0, 0, 0, 0),
            (["", ""], 8, 0, 0, 4),
            (["a", "a"], 6, 0, 0, 3),
            (["abcd", "acd"], 1, 0, 0, 0),
            (["cbd", "acbd"], 1, 0, 0, 0),
            (["abcd", "bacd"], 0, 0, 1, 0),
            (["aabcd", "abcdd"], 0, 2, 0, 0),
            (["xy", ""], 8, 2, 0, 4),
        ] {
            let mut tracker = Tracker::new(2, 2);
            for sender in [0, 1, 0, 1] {
                tracker.send(sender, 5);
            }
            for (listener, messages) in received.iter().enumerate() {
                let mut position = 0;
                for message in messages.bytes() {
                    let (sender, number) = match message {
                        b'x' => (0, 9),
                        b'y' => (7, 0),
                        _ => (u16::from(message - b'a') % 2, u32::from(message - b'a') / 2),
                    };
                    tracker.receive(listener, &mut position, MessageId { sender, number });
                }
            }
            let want = (StreamErrors { lost, repeated, reordered }, in_flight);
            assert_eq!((tracker.finish(), tracker.in_flight()), want, "{received:?}");
        }
    }

    #[test]
    fn a_listener_that_leaves_is_not_waited_for() {
        let mut tracker = Tracker::new(1, 2);
        let id = tracker.send(0, 1);
        tracker.send(0, 2);
        let mut position = 0;
        assert_eq!(tracker.receive(0, &mut position, id), Some(1));
        assert_eq!(tracker.in_flight(), 2);
        tracker.leave(0);
        assert_eq!((tracker.in_flight(), tracker.finish().lost), (1, 1));
    }
}

//! The order of the messages, and each listener's place in it.
//!
//! The first listener that hears a message says where in the order it stands;
//! all others must then hear it at the same place. So a listener is one number
//! here too, and loss, repetition and disorder show at once. A message that
//! every listener has heard leaves the ledger: what is left is on the way.

use std::collections::{HashMap, HashSet, VecDeque};

use super::text::Mark;

/// Missing messages that are remembered, to tell a late one from a repeated one.
const MISSING_MAX: usize = 1 << 16;

/// A place in the order: the number of messages before it.
pub type Place = u64;

/// What became of all messages of a run.
#[derive(Debug)]
pub struct Ledger {
    listeners: usize,
    /// For each sender the times of what it sent and nobody has heard yet.
    unheard: Vec<VecDeque<u64>>,
    /// For each sender the number of the first such message.
    first_unheard: Vec<u32>,
    order: VecDeque<Entry>,
    /// The place of the first entry in `order`.
    base: Place,
    on_the_way: usize,
    missing: HashMap<usize, HashSet<Mark>>,
    faults: Faults,
}

/// What must not happen to a message on its way to a listener, counted per listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub repeated: u64,
    /// Came after one that stands behind it.
    pub reordered: u64,
}

#[derive(Debug)]
struct Entry {
    mark: Mark,
    /// Listeners that have not heard it.
    waiting: usize,
    sent_ns: u64,
}

impl Ledger {
    /// Nothing sent yet, by `senders` to `listeners`, who all stand at place 0.
    pub fn new(senders: usize, listeners: usize) -> Self {
        Self {
            listeners,
            unheard: vec![VecDeque::new(); senders],
            first_unheard: vec![0; senders],
            order: VecDeque::new(),
            base: 0,
            on_the_way: 0,
            missing: HashMap::new(),
            faults: Faults::default(),
        }
    }

    /// A sender sends its next message, stamped with a time of the caller's clock.
    pub fn send(&mut self, sender: u16, now_ns: u64) -> Mark {
        let unheard = &mut self.unheard[usize::from(sender)];
        let number = self.first_unheard[usize::from(sender)] + unheard.len() as u32;
        unheard.push_back(now_ns);
        self.on_the_way += 1;
        Mark { sender, number }
    }

    /// Messages that some listener has not heard.
    pub fn on_the_way(&self) -> usize {
        self.on_the_way
    }

    /// The listener `who`, at `place`, hears a message: the time it was sent,
    /// or `None` if it is not one that was to come.
    #[inline]
    pub fn hear(&mut self, who: usize, place: &mut Place, mark: Mark) -> Option<u64> {
        let next = self.order.get_mut((*place - self.base) as usize);
        match next {
            Some(entry) if entry.mark == mark => {
                *place += 1;
                entry.waiting -= 1;
                let (sent_ns, last) = (entry.sent_ns, entry.waiting == 0);
                if last {
                    self.retire();
                }
                Some(sent_ns)
            }
            _ => self.hear_unexpected(who, place, mark),
        }
    }

    fn hear_unexpected(&mut self, who: usize, place: &mut Place, mark: Mark) -> Option<u64> {
        self.publish(mark);
        let found = self.order.iter().position(|entry| entry.mark == mark);
        match found.map(|at| self.base + at as u64).filter(|at| at >= place) {
            Some(at) => {
                for skipped in *place..at {
                    self.skip(who, skipped);
                }
                *place = at;
                self.hear(who, place, mark)
            }
            None => {
                if self.missing.get_mut(&who).is_some_and(|marks| marks.remove(&mark)) {
                    self.faults.lost -= 1;
                    self.faults.reordered += 1;
                } else {
                    self.faults.repeated += 1;
                }
                None
            }
        }
    }

    /// Gives a place to all that its sender sent up to this one and nobody has heard.
    fn publish(&mut self, mark: Mark) {
        let sender = usize::from(mark.sender);
        let (Some(unheard), Some(first)) =
            (self.unheard.get_mut(sender), self.first_unheard.get_mut(sender))
        else {
            return;
        };
        let count = u64::from(mark.number) + 1;
        let known = u64::from(*first) + unheard.len() as u64;
        while u64::from(*first) < count && count <= known {
            let Some(sent_ns) = unheard.pop_front() else { break };
            let mark = Mark { sender: mark.sender, number: *first };
            self.order.push_back(Entry { mark, waiting: self.listeners, sent_ns });
            *first += 1;
        }
    }

    fn skip(&mut self, who: usize, place: Place) {
        let Some(entry) = self.order.get_mut((place - self.base) as usize) else { return };
        entry.waiting -= 1;
        self.faults.lost += 1;
        let marks = self.missing.entry(who).or_default();
        if marks.len() < MISSING_MAX {
            marks.insert(entry.mark);
        }
    }

    /// A listener at `place` is gone: nothing is on the way to it any more.
    pub fn leave(&mut self, place: Place) {
        self.listeners -= 1;
        for entry in self.order.range_mut((place - self.base) as usize..) {
            entry.waiting -= 1;
        }
        self.retire();
    }

    fn retire(&mut self) {
        while self.order.front().is_some_and(|entry| entry.waiting == 0) {
            self.order.pop_front();
            self.base += 1;
            self.on_the_way -= 1;
        }
    }

    /// The verdict when nothing more will come: what is still on the way is lost.
    pub fn close(&self) -> Faults {
        let unheard: usize = self.unheard.iter().map(VecDeque::len).sum();
        let waiting: usize = self.order.iter().map(|entry| entry.waiting).sum();
        let lost = self.faults.lost + (unheard * self.listeners + waiting) as u64;
        Faults { lost, ..self.faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two senders send two messages each; two listeners hear what `heard`
    /// says, as `(listener, sender, number)`.
    fn check(heard: &[(usize, u16, u32)], want: Faults, on_the_way: usize) {
        let mut ledger = Ledger::new(2, 2);
        for sender in [0, 1, 0, 1] {
            ledger.send(sender, 5);
        }
        let mut places = [0, 0];
        for &(who, sender, number) in heard {
            ledger.hear(who, &mut places[who], Mark { sender, number });
        }
        assert_eq!((ledger.close(), ledger.on_the_way()), (want, on_the_way), "{heard:?}");
    }

    fn faults(lost: u64, repeated: u64, reordered: u64) -> Faults {
        Faults { lost, repeated, reordered }
    }

    #[test]
    fn all_hear_all_in_one_order() {
        let order = [(1, 0), (0, 0), (0, 1), (1, 1)];
        let heard: Vec<_> =
            (0..2).flat_map(|who| order.map(|(sender, number)| (who, sender, number))).collect();
        check(&heard, faults(0, 0, 0), 0);
    }

    #[test]
    fn what_nobody_hears_is_lost_to_all() {
        check(&[], faults(8, 0, 0), 4);
        check(&[(0, 0, 0), (1, 0, 0)], faults(6, 0, 0), 3);
    }

    #[test]
    fn a_gap_is_a_loss() {
        let a = [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)];
        let b = [(1, 0, 0), (1, 0, 1), (1, 1, 1)];
        check(&[&a[..], &b[..]].concat(), faults(1, 0, 0), 0);
        // Also when the one with the gap hears first.
        let b = [(1, 0, 1), (1, 1, 0), (1, 1, 1)];
        let a = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)];
        check(&[&b[..], &a[..]].concat(), faults(1, 0, 0), 0);
    }

    #[test]
    fn a_late_one_is_out_of_order() {
        let a = [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)];
        let b = [(1, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1)];
        check(&[&a[..], &b[..]].concat(), faults(0, 0, 1), 0);
    }

    #[test]
    fn a_second_one_is_a_repetition() {
        let a = [(0, 0, 0), (0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)];
        let b = [(1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1), (1, 1, 1)];
        check(&[&a[..], &b[..]].concat(), faults(0, 2, 0), 0);
    }

    #[test]
    fn a_message_that_was_never_sent_is_a_repetition_of_nothing() {
        check(&[(0, 0, 9), (0, 7, 0)], faults(8, 2, 0), 4);
    }

    #[test]
    fn who_leaves_is_not_waited_for() {
        let mut ledger = Ledger::new(1, 2);
        let mark = ledger.send(0, 1);
        ledger.send(0, 2);
        let mut place = 0;
        assert_eq!(ledger.hear(0, &mut place, mark), Some(1));
        assert_eq!(ledger.on_the_way(), 2);
        ledger.leave(0);
        assert_eq!((ledger.on_the_way(), ledger.close()), (1, faults(1, 0, 0)));
    }
}

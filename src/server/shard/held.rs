//! Messages that are read and wait to be handled: for the gate, or for their turn
//! to be verified. Whoever has been served less comes first.

use std::collections::{BTreeMap, HashMap};

use crate::ws::frame::{self, Opcode};

/// Whose turn it is: speakers that are proven, then by their turn at the gate,
/// then whoever waits longest.
type Place = (bool, u64, u64);

/// The messages of a shard's connections that wait.
#[derive(Debug, Default)]
pub(crate) struct Held {
    queues: HashMap<u64, Queue>,
    order: BTreeMap<Place, u64>,
    /// How many places were given.
    places: u64,
}

/// The messages of one connection.
#[derive(Debug)]
struct Queue {
    /// Each as a text frame, which takes the least room.
    frames: Vec<u8>,
    /// Where the first of them begins.
    start: usize,
    place: Place,
}

impl Held {
    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether a message of speakers that are proven waits, or one of the others.
    pub fn has(&self, proven: bool) -> bool {
        self.first(proven).is_some()
    }

    /// How many bytes of a connection wait.
    pub fn bytes(&self, id: u64) -> usize {
        self.queues.get(&id).map_or(0, |queue| queue.frames.len() - queue.start)
    }

    /// The connection whose message is next, and its turn.
    pub fn first(&self, proven: bool) -> Option<(u64, u64)> {
        let (place, id) = self.order.range((!proven, 0, 0)..).next()?;
        (place.0 != proven).then_some((place.1, *id))
    }

    /// The least turn of all that wait.
    pub fn first_turn(&self) -> Option<u64> {
        let turns = [true, false].into_iter().filter_map(|proven| self.first(proven));
        turns.map(|(turn, _)| turn).min()
    }

    /// Adds a message behind those of this connection; if there are none, it waits
    /// among the proven or the others for this turn.
    pub fn push(&mut self, id: u64, text: &str, (proven, turn): (bool, u64)) {
        let queue = self.queues.entry(id).or_insert_with(|| {
            self.places += 1;
            let place = (!proven, turn, self.places);
            self.order.insert(place, id);
            Queue { frames: Vec::new(), start: 0, place }
        });
        // What was taken out must not add up while the rest is never empty.
        if queue.start > queue.frames.len() / 2 {
            queue.frames.drain(..queue.start);
            queue.start = 0;
        }
        frame::put(Opcode::Text, text.as_bytes(), &mut queue.frames);
    }

    /// The next message of a connection.
    pub fn peek(&self, id: u64) -> Option<&str> {
        let queue = self.queues.get(&id)?;
        let (text, _) = frame::split(queue.frames.get(queue.start..)?)?;
        // It was a string when it came in.
        std::str::from_utf8(text).ok()
    }

    /// Drops the next message of a connection.
    pub fn pop(&mut self, id: u64) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        match frame::split(&queue.frames[queue.start..]) {
            Some((_, rest)) if !rest.is_empty() => queue.start = queue.frames.len() - rest.len(),
            _ => self.remove(id),
        }
    }

    /// Gives a connection another place. With `behind`, those that wait for the
    /// same turn come first.
    pub fn move_to(&mut self, id: u64, proven: bool, turn: u64, behind: bool) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        self.order.remove(&queue.place);
        self.places += u64::from(behind);
        let order = if behind { self.places } else { queue.place.2 };
        queue.place = (!proven, turn, order);
        self.order.insert(queue.place, id);
    }

    /// Drops all messages of a connection.
    pub fn remove(&mut self, id: u64) {
        if let Some(queue) = self.queues.remove(&id) {
            self.order.remove(&queue.place);
        }
        if self.queues.is_empty() {
            *self = Self { places: self.places, ..Self::default() };
        }
    }

    /// Takes the messages of a connection out, each a text frame as a server
    /// would send it.
    pub fn take(&mut self, id: u64) -> Vec<u8> {
        let frames = self.queues.get_mut(&id).map(|queue| queue.frames.split_off(queue.start));
        self.remove(id);
        frames.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_proven_comes_first_then_the_least_turn_then_who_waits_longest() {
        let mut held = Held::default();
        let mut push = |id, proven, turn| held.push(id, &format!("from {id}"), (proven, turn));
        push(1, false, 0);
        push(2, true, 20);
        push(3, true, 10);
        push(4, true, 10);
        push(3, true, 99);
        assert_eq!((held.first(true), held.first(false)), (Some((10, 3)), Some((0, 1))));
        assert_eq!(held.first_turn(), Some(0));
        assert_eq!(held.peek(3), Some("from 3"));
        held.pop(3);
        held.move_to(3, true, 10, true);
        assert_eq!(held.first(true), Some((10, 4)));
        held.move_to(4, true, 20, false);
        held.move_to(3, true, 20, false);
        assert_eq!(held.first(true), Some((20, 2)), "it was there first");
        held.remove(2);
        assert_eq!(held.first(true), Some((20, 4)));
        held.pop(4);
        held.pop(3);
        assert!(!held.has(true) && held.has(false));
        assert_eq!(held.take(1), b"\x81\x06from 1");
        assert!(held.is_empty() && held.order.is_empty());
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut held = Held::default();
        let texts: Vec<String> = (0..300).map(|n| "ü".repeat(n)).collect();
        texts.iter().for_each(|text| held.push(7, text, (true, 0)));
        for text in &texts {
            assert_eq!(held.peek(7), Some(&**text));
            held.pop(7);
        }
        assert_eq!((held.peek(7), held.bytes(7)), (None, 0));
    }
}

//! Held messages: they were read and wait, for the gate or for the verification of their
//! token.

use std::collections::{BTreeMap, HashMap};

use crate::ws::frame::{self, Opcode};

/// The order in which connections are served: first those that are proven (`false` sorts
/// first), then by their turn at the gate, then by the time of waiting.
type Priority = (bool, u64, u64);

/// The held messages of the connections of a shard.
#[derive(Debug, Default)]
pub(crate) struct Held {
    queues: HashMap<u64, Queue>,
    by_priority: BTreeMap<Priority, u64>,
    /// How often a connection began to wait.
    begun: u64,
}

/// The held messages of one connection.
#[derive(Debug)]
struct Queue {
    /// Each message is a text frame, which takes the least memory.
    frames: Vec<u8>,
    /// Where the first message starts.
    start: usize,
    priority: Priority,
}

impl Held {
    /// Whether no message is held.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether a message of a proven connection is held, or one of another connection.
    pub fn has(&self, proven: bool) -> bool {
        self.first(proven).is_some()
    }

    /// The number of bytes that are held for a connection.
    pub fn bytes(&self, id: u64) -> usize {
        self.queues.get(&id).map_or(0, |queue| queue.frames.len() - queue.start)
    }

    /// The turn of the next message, and its connection.
    pub fn first(&self, proven: bool) -> Option<(u64, u64)> {
        let ((is_unproven, turn, _), id) = self.by_priority.range((!proven, 0, 0)..).next()?;
        (*is_unproven != proven).then_some((*turn, *id))
    }

    /// The first turn of all messages.
    pub fn first_turn(&self) -> Option<u64> {
        [true, false].into_iter().filter_map(|proven| Some(self.first(proven)?.0)).min()
    }

    /// Adds a message of a connection. The connection gets this priority unless it has
    /// held messages already.
    pub fn push(&mut self, id: u64, text: &str, (proven, turn): (bool, u64)) {
        let queue = self.queues.entry(id).or_insert_with(|| {
            self.begun += 1;
            let priority = (!proven, turn, self.begun);
            self.by_priority.insert(priority, id);
            Queue { frames: Vec::new(), start: 0, priority }
        });
        // Removed messages must not use memory for as long as others follow.
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
        std::str::from_utf8(text).ok()
    }

    /// Removes the next message of a connection.
    pub fn pop(&mut self, id: u64) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        match frame::split(&queue.frames[queue.start..]) {
            Some((_, rest)) if !rest.is_empty() => queue.start = queue.frames.len() - rest.len(),
            _ => self.remove(id),
        }
    }

    /// Changes the priority of a connection. With `behind`, connections that wait for the
    /// same turn come first.
    pub fn set_priority(&mut self, id: u64, proven: bool, turn: u64, behind: bool) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        self.by_priority.remove(&queue.priority);
        self.begun += u64::from(behind);
        let since = if behind { self.begun } else { queue.priority.2 };
        queue.priority = (!proven, turn, since);
        self.by_priority.insert(queue.priority, id);
    }

    /// Serves a connection no more, until [`unpark`](Self::unpark).
    pub fn park(&mut self, id: u64) {
        if let Some(queue) = self.queues.get(&id) {
            self.by_priority.remove(&queue.priority);
        }
    }

    /// Serves a connection again, if it has held messages.
    pub fn unpark(&mut self, id: u64) {
        if let Some(queue) = self.queues.get(&id) {
            self.by_priority.insert(queue.priority, id);
        }
    }

    /// Removes all messages of a connection.
    pub fn remove(&mut self, id: u64) {
        if let Some(queue) = self.queues.remove(&id) {
            self.by_priority.remove(&queue.priority);
        }
        if self.queues.is_empty() {
            *self = Self { begun: self.begun, ..Self::default() };
        }
    }

    /// Removes all messages of a connection and returns them, each as a text frame of a
    /// server.
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
    fn proven_connections_come_first_then_the_first_turn_then_the_longest_wait() {
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
        held.set_priority(3, true, 10, true);
        assert_eq!(held.first(true), Some((10, 4)));
        held.set_priority(4, true, 20, false);
        held.set_priority(3, true, 20, false);
        assert_eq!(held.first(true), Some((20, 2)), "it was there first");
        held.remove(2);
        assert_eq!(held.first(true), Some((20, 4)));
        held.pop(4);
        held.pop(3);
        assert!(!held.has(true) && held.has(false));
        assert_eq!(held.take(1), b"\x81\x06from 1");
        assert!(held.is_empty() && held.by_priority.is_empty());
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

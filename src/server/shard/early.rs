//! Listeners that want the messages after a time to which the room has not come yet.

use std::collections::{BTreeSet, HashMap};

use crate::chat::Tim;
use crate::room::Room;

/// The early connections of a shard, and the time of each.
#[derive(Debug, Default)]
pub(crate) struct Early {
    by_tim: BTreeSet<(Tim, u64)>,
    tims: HashMap<u64, Tim>,
}

impl Early {
    /// Adds a connection that gets only messages with a greater `tim`.
    pub fn insert(&mut self, id: u64, after: Tim) {
        self.tims.insert(id, after);
        self.by_tim.insert((after, id));
    }

    /// Removes a connection, if it is one of them. Returns its time.
    pub fn remove(&mut self, id: u64) -> Option<Tim> {
        let after = self.tims.remove(&id)?;
        self.by_tim.remove(&(after, id));
        Some(after)
    }

    /// All of them.
    pub fn ids(&self) -> Vec<u64> {
        self.tims.keys().copied().collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_tim.is_empty()
    }

    /// Removes a connection whose first message is in the feed.
    pub fn pop(&mut self, last_tim: Tim) -> Option<(u64, Tim)> {
        let (_, id) = *self.by_tim.first().filter(|(after, _)| *after < last_tim)?;
        Some((id, self.remove(id)?))
    }

    /// Whether the first message of this connection is in the feed.
    pub fn has_due(&self, id: u64, room: &Room) -> bool {
        self.tims.get(&id).is_some_and(|after| *after < room.last_tim())
    }

    /// Whether the first message of any connection is in the feed.
    pub fn is_due(&self, room: &Room) -> bool {
        self.by_tim.first().is_some_and(|(after, _)| *after < room.last_tim())
    }
}

//! Which moderation is in force at a place of the log: what the key-value bucket has, and the
//! actions of the log behind it. Pure.

use std::collections::VecDeque;

use super::stored_moderation::StoredModeration;
use crate::chat::Moderation;
use crate::feed::Position;

/// Values of the bucket that wait for their place. There are never many: a node that reads
/// further takes or drops them.
const VALUES_MAX: usize = 64;

/// What a node knows of the moderation.
///
/// # Examples
///
/// ```
/// use wschat::cluster::{ModerationSync, StoredModeration};
/// use wschat::feed::Position;
/// let at = |sequence| Position { created: 7, sequence };
/// let mut sync = ModerationSync::new(None);
/// sync.found(vec![StoredModeration { position: at(5), ..StoredModeration::default() }]);
/// // The node begins behind record 3: the value is the oldest one, so it has to do.
/// assert!(sync.read_up_to(at(3)).is_some());
/// assert!(!sync.is_new(at(4)) && !sync.is_new(at(5)));
/// assert!(sync.is_new(at(6)));
/// ```
#[derive(Debug, Default)]
pub struct ModerationSync {
    /// All actions up to this place are in force. `None` until the bucket was read, in a process
    /// that has no moderation but that of a file.
    known: Option<Position>,
    /// What the bucket has beyond that, oldest first.
    values: VecDeque<StoredModeration>,
}

impl ModerationSync {
    /// A node whose moderation is that of all records up to `known`.
    pub const fn new(known: Option<Position>) -> Self {
        Self { known, values: VecDeque::new() }
    }

    /// Whether the moderation of this process counts only until the bucket was read.
    pub const fn is_provisional(&self) -> bool {
        self.known.is_none()
    }

    /// Up to where all actions are in force.
    pub const fn known(&self) -> Option<Position> {
        self.known
    }

    /// Takes values of the bucket, oldest first.
    pub fn found(&mut self, values: Vec<StoredModeration>) {
        self.values.extend(values);
        let surplus = self.values.len().saturating_sub(VALUES_MAX);
        self.values.drain(..surplus);
    }

    /// The moderation that is in force from now on, if it changes, when all records up to
    /// `position` were read.
    pub fn read_up_to(&mut self, position: Position) -> Option<Moderation> {
        let mut adopted = None;
        while let Some(value) = self.values.pop_front() {
            let is_due = value.position.created != position.created
                || value.position.sequence <= position.sequence;
            // Who knows nothing takes the oldest value, even if it is from further on.
            if !is_due && self.known.is_some() {
                self.values.push_front(value);
                break;
            }
            if self.is_beyond(value.position, position) {
                self.known = Some(value.position);
                adopted = Some(value.moderation);
            }
        }
        adopted
    }

    /// Whether an action at `position` is not in force yet.
    pub fn is_new(&self, position: Position) -> bool {
        self.known.is_none_or(|known| {
            known.created != position.created || known.sequence < position.sequence
        })
    }

    /// Notes that the action at `position` is in force.
    pub fn carried_out(&mut self, position: Position) {
        self.known = Some(position);
    }

    /// Whether a value that counts up to `value` has more than what is known, where the log is
    /// read up to `position`.
    fn is_beyond(&self, value: Position, position: Position) -> bool {
        match self.known {
            None => true,
            Some(known) if known.created == value.created => known.sequence < value.sequence,
            // A stream that was made anew goes on with what the old one has left.
            Some(known) => known.created != position.created && value.created == position.created,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Actor, ModAction, Tim};

    const fn at(created: u64, sequence: u64) -> Position {
        Position { created, sequence }
    }

    /// A value that is recognized by its slow mode.
    fn value(created: u64, sequence: u64) -> StoredModeration {
        let mut moderation = Moderation::default();
        let slow = ModAction::Slow { secs: Some(sequence as u32) };
        moderation.apply(&slow, &Actor::Operator { uid: 0 }, Tim::default()).unwrap();
        StoredModeration { position: at(created, sequence), moderation }
    }

    /// The slow mode that is adopted at each of `places` of stream 7.
    fn adopted(sync: &mut ModerationSync, places: &[u64]) -> Vec<Option<u32>> {
        let read = |place: &u64| Some(sync.read_up_to(at(7, *place))?.slow_secs().unwrap());
        places.iter().map(read).collect()
    }

    #[test]
    fn a_node_that_starts_takes_each_value_at_its_place() {
        let mut sync = ModerationSync::new(None);
        assert!(sync.is_provisional());
        sync.found(vec![value(7, 2), value(7, 5), value(7, 9)]);
        assert_eq!(
            adopted(&mut sync, &[6, 7, 8, 9, 10]),
            [Some(5), None, None, Some(9), None],
            "the value in force at 6 is that of 5"
        );
        assert!(!sync.is_provisional() && !sync.is_new(at(7, 9)) && sync.is_new(at(7, 10)));
    }

    #[test]
    fn actions_of_the_log_are_not_undone_by_older_values() {
        let mut sync = ModerationSync::new(None);
        sync.found(vec![value(7, 2), value(7, 5)]);
        assert_eq!(adopted(&mut sync, &[3]), [Some(2)]);
        for place in [4, 5] {
            assert!(sync.is_new(at(7, place)));
            sync.carried_out(at(7, place));
            assert_eq!(adopted(&mut sync, &[place]), [None]);
        }
        sync.found(vec![value(7, 1), value(7, 4), value(7, 5)]);
        assert_eq!(adopted(&mut sync, &[6, 100]), [None, None]);
    }

    #[test]
    fn the_oldest_value_has_to_do_for_what_is_before_it() {
        let mut sync = ModerationSync::new(None);
        sync.found(vec![value(7, 20), value(7, 30)]);
        assert_eq!(adopted(&mut sync, &[10, 11, 30]), [Some(20), None, Some(30)]);
        let mut sync = ModerationSync::new(None);
        sync.found(vec![value(7, 20)]);
        adopted(&mut sync, &[10]);
        assert!(!sync.is_new(at(7, 15)), "it is in the value already");
        assert!(sync.is_new(at(7, 21)));
    }

    #[test]
    fn what_the_log_has_lost_is_in_the_bucket() {
        // The actions between 10 and 40 are in a hole.
        let mut sync = ModerationSync::new(Some(at(7, 10)));
        sync.found(vec![value(7, 35)]);
        assert_eq!(adopted(&mut sync, &[11, 34, 40]), [None, None, Some(35)]);
    }

    #[test]
    fn a_room_that_was_single_and_a_stream_made_anew() {
        let mut sync = ModerationSync::new(None);
        sync.found(vec![value(0, 0)]);
        assert_eq!(adopted(&mut sync, &[0]), [Some(0)]);
        assert!(sync.is_new(at(7, 1)), "all records of the stream come after it");
        sync.carried_out(at(7, 1));
        sync.found(vec![value(0, 0), value(6, 99)]);
        assert_eq!(adopted(&mut sync, &[2, 100]), [None, None], "of an older stream");

        // The old stream had an action that this node has not seen.
        let mut sync = ModerationSync::new(Some(at(6, 10)));
        sync.found(vec![value(6, 12)]);
        assert_eq!(adopted(&mut sync, &[1]), [Some(12)]);
        assert!(sync.is_new(at(7, 1)));
        // Another node was quicker in the new stream.
        sync.found(vec![value(7, 3)]);
        assert_eq!(adopted(&mut sync, &[2, 3]), [None, Some(3)]);
    }

    #[test]
    fn without_a_value_nothing_changes() {
        let mut sync = ModerationSync::new(None);
        sync.found(Vec::new());
        assert_eq!(adopted(&mut sync, &[1, 2]), [None, None]);
        assert!(sync.is_new(at(7, 1)));
        for _ in 0..1000 {
            sync.found(vec![value(7, 1000)]);
        }
        assert_eq!(sync.values.len(), VALUES_MAX);
    }
}

//! Which moderation is in force at a place of the log: what the key-value bucket has, and the
//! actions of the log behind it. Pure.

use std::collections::VecDeque;

use super::log::LoggedAct;
use super::stored_moderation::StoredModeration;
use crate::chat::{Moderation, Tim};
use crate::feed::Position;

/// Values of the bucket that wait for their place. There are never many: a node that reads
/// further takes or drops them.
const VALUES_MAX: usize = 64;
/// Actions that are kept while another node may know of one that this node lacks.
const ACTS_MAX: usize = 1024;

/// The moderation at a place of the log, as somebody has found it out who looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundModeration {
    /// What is in force there. If nothing is known that early, its position is later, and which
    /// moderation was in force before that is not known.
    pub start: StoredModeration,
    /// What the bucket has beyond that, oldest first.
    pub later: Vec<StoredModeration>,
    /// Set if the stream has lost records behind this place, which `start` includes. Actions can
    /// have been among them, and other nodes may know these.
    pub lacks_behind: Option<Position>,
    /// Whether actions behind the last value of the bucket are in `start`.
    pub is_news: bool,
}

/// A moderation action at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedAct {
    /// Where it is in the log.
    pub position: Position,
    /// The action.
    pub act: LoggedAct,
    /// Its time.
    pub tim: Tim,
}

/// What a node knows of the moderation.
///
/// # Examples
///
/// ```
/// use wschat::cluster::{FoundModeration, ModerationSync, StoredModeration};
/// use wschat::feed::Position;
/// let at = |sequence| Position { created: 7, sequence };
/// let value = |sequence| StoredModeration { position: at(sequence), ..StoredModeration::default() };
/// let mut sync = ModerationSync::new(None);
/// let (start, later) = (value(3), vec![value(5)]);
/// sync.begin(FoundModeration { start, later, ..FoundModeration::default() });
/// assert!(sync.is_new(at(4)));
/// assert!(sync.read_up_to(at(5)).is_some());
/// assert!(!sync.is_new(at(5)) && sync.is_new(at(6)));
/// ```
#[derive(Debug, Default)]
pub struct ModerationSync {
    /// All actions up to this place are in force. `None` until the bucket was read, in a process
    /// that has no moderation but that of a file.
    known: Option<Position>,
    /// What the bucket has beyond that, oldest first.
    values: VecDeque<StoredModeration>,
    doubt: Option<Doubt>,
}

/// Actions may be missing.
#[derive(Debug)]
struct Doubt {
    /// None of them is before this place.
    behind: Position,
    /// What was carried out since then.
    acts: Vec<PlacedAct>,
}

/// Looks for the moderation at `place` among the values of a bucket, oldest first, where the
/// stream has records up to `newest`. Returns the newest value that counts there, or else the
/// oldest one; and those that count further. `known` is what a node knows by itself.
pub fn moderation_at(
    place: Position,
    newest: u64,
    values: Vec<StoredModeration>,
    known: Option<StoredModeration>,
) -> (Option<StoredModeration>, Vec<StoredModeration>) {
    let is_same = |position: Position| position.created == place.created;
    let (mut before, mut later) = (None, Vec::new());
    for mut value in values {
        // The stream has lost its newest records, and uses their numbers again.
        if is_same(value.position) {
            value.position.sequence = value.position.sequence.min(newest);
        }
        if is_same(value.position) && value.position.sequence > place.sequence {
            later.push(value);
        } else {
            before = Some(value);
        }
    }
    let is_before = |position: Position| !is_same(position) || position.sequence <= place.sequence;
    if let Some(known) = known.filter(|known| is_before(known.position)) {
        let is_better = before.as_ref().is_none_or(|before| {
            let (ours, theirs) = (known.position, before.position);
            if ours.created == theirs.created {
                ours.sequence > theirs.sequence
            } else {
                !is_same(theirs)
            }
        });
        if is_better {
            before = Some(known);
        }
    }
    if before.is_none() && !later.is_empty() {
        before = Some(later.remove(0));
    }
    (before, later)
}

impl ModerationSync {
    /// A node whose moderation is that of all records up to `known`.
    pub const fn new(known: Option<Position>) -> Self {
        Self { known, values: VecDeque::new(), doubt: None }
    }

    /// Whether the moderation of this process is that of a place of the log.
    pub const fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// Up to where all actions are in force; `None` if some may be missing.
    pub fn certain(&self) -> Option<Position> {
        self.known.filter(|_| self.doubt.is_none())
    }

    /// The moderation that was looked for is in force.
    pub fn begin(&mut self, found: FoundModeration) {
        let FoundModeration { start, later, lacks_behind, .. } = found;
        self.known = Some(start.position);
        self.values.clear();
        self.found(later);
        self.doubt = lacks_behind.map(|behind| Doubt { behind, acts: Vec::new() });
    }

    /// Takes values of the bucket, oldest first.
    pub fn found(&mut self, values: Vec<StoredModeration>) {
        self.values.extend(values);
        let surplus = self.values.len().saturating_sub(VALUES_MAX);
        self.values.drain(..surplus);
    }

    /// No other node knows more.
    pub fn end_doubt(&mut self) {
        self.doubt = None;
    }

    /// The moderation that is in force from now on, if it changes, when all records up to
    /// `position` were read.
    pub fn read_up_to(&mut self, position: Position) -> Option<Moderation> {
        let mut adopted = None;
        while let Some(value) = self.values.pop_front() {
            let is_due = value.position.created != position.created
                || value.position.sequence <= position.sequence;
            if !is_due {
                self.values.push_front(value);
                break;
            }
            if let Some(moderation) = self.adopt(value, position) {
                adopted = Some(moderation);
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

    /// Notes that an action is in force.
    pub fn carried_out(&mut self, act: PlacedAct) {
        self.known = Some(act.position);
        if let Some(doubt) = self.doubt.as_mut().filter(|doubt| doubt.acts.len() < ACTS_MAX) {
            doubt.acts.push(act);
        }
    }

    /// Notes that no action lies between what is known and `position`.
    pub fn advance(&mut self, position: Position) {
        self.known = Some(position);
    }

    /// The moderation to put in force, where the log is read up to `position`, if `value` has
    /// more than what is known.
    fn adopt(&mut self, value: StoredModeration, position: Position) -> Option<Moderation> {
        let StoredModeration { position: at, mut moderation } = value;
        if let Some(doubt) = &mut self.doubt
            && at.created == position.created
            && (at.created != doubt.behind.created || at.sequence > doubt.behind.sequence)
        {
            // A node in doubt stores nothing, so this is from one that is certain.
            doubt.behind = at;
            doubt.acts.retain(|act| act.position > at);
            for PlacedAct { act, tim, .. } in &doubt.acts {
                // As when it was carried out, it may change nothing.
                let _ = moderation.apply(&act.action, &act.actor, *tim);
            }
            self.known = self.known.max(Some(at));
            return Some(moderation);
        }
        let is_beyond = match self.known {
            None => true,
            Some(known) if known.created == at.created => known.sequence < at.sequence,
            // A stream that was made anew goes on with what the old one has left.
            Some(known) => known.created != position.created && at.created == position.created,
        };
        if !is_beyond {
            return None;
        }
        self.known = Some(at);
        Some(moderation)
    }
}

#[cfg(test)]
mod tests;

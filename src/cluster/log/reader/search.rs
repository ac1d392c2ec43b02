//! The search for the clock in mid-stream.

use crate::chat::Tim;
use crate::cluster::log::clock::{LogClock, is_ahead, later};
use crate::cluster::log::codec::BadRecord;
use crate::cluster::log::record::Record;
use crate::feed::{Position, StreamMark};

/// A record that has arrived.
#[derive(Debug)]
pub(super) struct Arrived {
    pub position: Position,
    pub time: Tim,
    pub record: Result<Record, BadRecord>,
    pub bytes: usize,
}

/// The search for the clock.
#[derive(Debug)]
pub(super) struct Search {
    /// The place before the first record that has arrived.
    pub base: Position,
    /// The clock there is not before this one.
    pub floor: LogClock,
    /// The clock is not after the later of this time and of that in the record that is looked
    /// for,
    pub upper: Tim,
    /// by more than this number of messages.
    pub messages: u64,
    /// The greatest stream time of what has arrived.
    pub newest: Tim,
    /// When the stream has stored the first record that asks the other nodes for the clock.
    pub asked: Option<Tim>,
}

impl Arrived {
    /// How many `tim` it needs.
    pub fn messages(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.body.messages())
    }
}

impl Search {
    pub const fn new(base: Position, floor: LogClock) -> Self {
        Self { base, floor, upper: floor.tim, messages: 0, newest: floor.newest, asked: None }
    }

    /// Whether `after`, in the record that has just arrived, can be the clock at a place that
    /// has arrived. A record that came too late does not count, not even for this.
    pub fn can_be(&self, after: &StreamMark, arrived: &Arrived, by: Tim) -> bool {
        let Arrived { position, time, .. } = *arrived;
        let StreamMark { position: place, tim, newest } = *after;
        place.created == position.created
            && (self.base.sequence..position.sequence).contains(&place.sequence)
            && !is_ahead(tim, time)
            && !is_ahead(newest, time)
            && by >= self.newest.max(newest)
    }

    /// Whether all that was sent before `time`, behind the place `after`, has an earlier `tim`.
    pub fn is_behind(&self, after: &StreamMark, time: Tim) -> bool {
        time > later(self.upper.max(after.tim), self.messages)
    }

    pub fn pass(&mut self, time: Tim, record: &Record) {
        let after = record.after.map(|after| after.tim).filter(|tim| !is_ahead(*tim, time));
        self.upper = self.upper.max(time).max(after.unwrap_or_default());
        self.messages += record.body.messages();
        if record.asks() {
            self.asked.get_or_insert(time);
        }
    }
}

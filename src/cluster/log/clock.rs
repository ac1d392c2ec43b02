//! `tim` as a function of the log.

use super::record::{Body, Record};
use crate::chat::Tim;
use crate::feed::{Position, StreamMark};

/// What follows from the records up to a place of the log: the `tim` of the next message, and
/// which records come too late.
///
/// - `tim` of the first message of a record = max(stream time of the record, `tim` that its
///   publisher had read + 1 ns, `tim` before it + 1 ns); each further message has 1 ns more. A
///   moderation action counts as one message.
/// - A `tim` of a publisher that is over 10 s ahead of the stream time is ignored, so that
///   nothing poisons the clock.
/// - A record counts only if its deadline is not before the greatest stream time up to its
///   place, and if it was published to this stream, not to one of the same name before it. So
///   it is certain what becomes of a record that was on its way for long.
///
/// # Examples
///
/// ```
/// use wschat::chat::Tim;
/// use wschat::cluster::log::{Body, LogClock, Publisher, Record};
/// let publisher = Publisher { node: "a".into(), incarnation: 1, number: 1 };
/// let record = Record { publisher, after: None, by: Tim::from_nanos(8), body: Body::Empty };
/// let mut clock = LogClock::default();
/// assert_eq!(clock.read(1, Tim::from_nanos(7), Some(&record)), Some(Tim::from_nanos(7)));
/// // It comes too late.
/// assert_eq!(clock.read(1, Tim::from_nanos(9), Some(&record)), None);
/// // It is in time only for the leader of the stream, whose clock was set back.
/// assert_eq!(clock.read(1, Tim::from_nanos(6), Some(&record)), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogClock {
    /// The `tim` of the last message.
    pub tim: Tim,
    /// The greatest stream time.
    pub newest: Tim,
}

impl LogClock {
    /// The greatest time by which a publisher may be ahead of the stream.
    const AHEAD_NANOS_MAX: u64 = 10_000_000_000;

    /// The clock at a place of the log.
    pub const fn at(mark: &StreamMark) -> Self {
        Self { tim: mark.tim, newest: mark.newest }
    }

    /// What it says about the place up to which it has read.
    pub const fn mark(self, position: Position) -> StreamMark {
        StreamMark { position, tim: self.tim, newest: self.newest }
    }

    /// Reads the next record of the log, which the stream that was created at `created` has
    /// stored at `time`; `None` is one that is not valid. Returns the `tim` of its first message, or of the next message if it
    /// has none; `None` if it does not count.
    pub fn read(&mut self, created: u64, time: Tim, record: Option<&Record>) -> Option<Tim> {
        self.newest = self.newest.max(time);
        let record = record.filter(|record| record.by >= self.newest)?;
        if record.after.is_some_and(|after| after.position.created != created) {
            return None;
        }
        if let Some(after) = record.after.filter(|after| !is_ahead(after.tim, time)) {
            self.tim = self.tim.max(after.tim);
        }
        let first = time.max(later(self.tim, 1));
        if let Some(others) = record.body.messages().checked_sub(1) {
            self.tim = later(first, others);
        }
        Some(first)
    }
}

/// Whether a time of a publisher is so far ahead of the stream that it is ignored.
pub(super) fn is_ahead(of_publisher: Tim, time: Tim) -> bool {
    of_publisher > later(time, LogClock::AHEAD_NANOS_MAX)
}

/// The time this many nanoseconds later.
pub(super) const fn later(time: Tim, nanos: u64) -> Tim {
    Tim::from_nanos(time.nanos().saturating_add(nanos))
}

impl Body {
    /// How many times it needs.
    pub(super) fn messages(&self) -> u64 {
        match self {
            Self::Messages(messages) => messages.len() as u64,
            Self::Act(_) => 1,
            Self::Empty => 0,
        }
    }
}

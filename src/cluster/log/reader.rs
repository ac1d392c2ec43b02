//! Reading the log: which records are missing, and the state of the clock at each place.
//!
//! A node that starts in mid-stream, or that lacks records, does not know the clock there. It
//! holds what it reads until a record says what its publisher had read at a place since then.
//! What is before that place cannot have a certain `tim`: it counts as missing.

mod search;

use std::collections::VecDeque;

use self::search::{Arrived, Search};
use super::clock::{LogClock, later};
use super::codec::{BadRecord, decode};
use super::record::{Publisher, Record};
use crate::chat::Tim;
use crate::cluster::engine::{Connection, Delivery};
use crate::feed::{Position, StreamMark};

/// What reading the log gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All messages since this time follow. Comes once, before the first record.
    CompleteSince(Tim),
    /// Records up to this place are missing.
    Hole(Position),
    /// The clock at this place is not known by any node.
    Alone(Position),
    /// The place of a hole among the messages: between these times.
    Gap { after: Tim, before: Option<Tim> },
    /// A record.
    Record(Box<ReadRecord>),
    /// A record that is not valid.
    Bad { mark: StreamMark, error: BadRecord },
    /// A record that counts as missing.
    Skipped(Publisher),
    /// A publisher has another `tim` than this node.
    Divergence(Divergence),
}

/// A record at its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadRecord {
    pub record: Record,
    /// When the stream has stored it.
    pub time: Tim,
    /// The `tim` of its first message; `None` if it came too late.
    pub first: Option<Tim>,
    /// Its place, and what follows from all records up to it.
    pub mark: StreamMark,
    /// Whether it was in the stream before this node started.
    pub is_backlog: bool,
}

/// Two nodes have computed different times for the same message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The other node.
    pub node: String,
    /// The place in the stream.
    pub position: Position,
    /// The `tim` of the last message there, as the other node has it.
    pub theirs: Tim,
    /// The same, as this node has it.
    pub ours: Tim,
}

/// Reads the log in its order.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The last record that was given out, with the clock there.
    mark: Option<StreamMark>,
    /// The last record that has arrived.
    last: Option<Position>,
    /// Whether nothing was given out yet.
    is_fresh: bool,
    /// The newest record that was in the stream when the connection began.
    newest_sequence: u64,
    /// Of a fresh one, once it is known: since when no message is missing.
    complete_since: Option<Tim>,
    /// The last sequence of the backlog.
    backlog_end: u64,
    /// Set while the clock is not known.
    search: Option<Search>,
    /// What has arrived and was not given out.
    held: VecDeque<Arrived>,
    held_bytes: usize,
    /// The time before a hole that was not announced yet.
    gap_after: Option<Tim>,
    /// The time before the newest hole that was announced.
    announced_after: Option<Tim>,
    out: VecDeque<Read>,
    /// Nobody knows which moderation was in force up to this place.
    unjudged: Option<Position>,
    /// The `tim` at the newest places, to compare with that of others.
    history: VecDeque<(u64, Tim)>,
}

impl Reader {
    /// The most bytes that are held during a search.
    const SEARCH_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// How long, in stream time, other nodes may take to answer.
    const ANSWER_NANOS_MAX: u64 = 1_000_000_000;
    /// The number of places whose `tim` is kept.
    const HISTORY_MAX: usize = 4096;

    /// A reader that continues behind `start`, or that is fresh.
    pub fn new(start: Option<StreamMark>) -> Self {
        let last = start.map(|mark| mark.position);
        Self { mark: start, last, is_fresh: start.is_none(), ..Self::default() }
    }

    /// The last record that was given out, with the clock there.
    pub const fn mark(&self) -> Option<StreamMark> {
        self.mark
    }

    /// The greatest stream time of what was given out.
    pub fn newest(&self) -> Tim {
        self.mark.map_or_else(Tim::default, |mark| mark.newest)
    }

    /// Whether the backlog was read, and a place of this stream is known to publish behind.
    pub fn is_serving(&self) -> bool {
        let created = |position: Position| position.created;
        !self.is_fresh && self.mark.map(|mark| mark.position.created) == self.last.map(created)
    }

    /// Whether the clock is not known, although all that was in the stream has arrived.
    pub fn is_searching(&self) -> bool {
        self.search.is_some() && self.has_caught_up()
    }

    /// Goes on with a connection. Returns whether the stream was made anew, or has lost its newest
    /// records.
    pub fn connected(&mut self, connection: &Connection) -> bool {
        let Connection { newest, from_sequence, .. } = *connection;
        let base = Position { sequence: from_sequence.saturating_sub(1), ..newest };
        let mut is_other = false;
        match self.last {
            Some(last) if self.is_fresh && last == base => {}
            Some(last) if !self.is_fresh => {
                // A server can lose its newest records when its machine fails.
                let is_shorter = last.created == base.created && base.sequence < last.sequence;
                is_other = is_shorter || last.created != base.created;
                if last != base {
                    self.hole(base, is_shorter);
                }
            }
            _ => self.start(base),
        }
        self.newest_sequence = newest.sequence;
        if self.has_caught_up() {
            self.announce_gap(None);
        }
        is_other
    }

    /// Takes the next record.
    pub fn arrived(&mut self, delivery: Delivery) {
        let Delivery { position, time, headers, payload } = delivery;
        let base = Position { sequence: position.sequence.saturating_sub(1), ..position };
        match self.last {
            Some(last) if last == base => {}
            Some(last) if last.created == base.created && last.sequence > base.sequence => return,
            Some(_) if !self.is_fresh => self.hole(base, false),
            _ => self.start(base),
        }
        self.last = Some(position);
        let record = decode(&headers, &payload);
        let arrived = Arrived { position, time, record, bytes: payload.len() };
        self.search(&arrived);
        self.held_bytes += arrived.bytes;
        self.held.push_back(arrived);
        if let Some(search) = &self.search {
            let is_alone = search.asked.is_some_and(|at| time > later(at, Self::ANSWER_NANOS_MAX));
            if is_alone || self.held_bytes > Self::SEARCH_BYTES_MAX {
                let Search { base, floor, upper, .. } = *search;
                self.out.push_back(Read::Alone(base));
                self.calibrate(floor.mark(base), upper);
            } else {
                self.announce_gap(None);
            }
        }
    }

    /// All that the stream has has arrived; the newest records may have been discarded.
    pub fn at_end(&mut self) {
        self.newest_sequence = self.newest_sequence.min(self.last.map_or(0, |last| last.sequence));
        self.announce_gap(None);
    }

    fn has_caught_up(&self) -> bool {
        self.last.is_some_and(|last| last.sequence >= self.newest_sequence)
    }

    /// Whether so much has arrived and was not given out that nothing more should arrive.
    pub const fn is_full(&self) -> bool {
        self.held_bytes > Self::SEARCH_BYTES_MAX
    }

    /// What is up to `place`, and was not given out, counts as missing.
    pub fn pass_over(&mut self, place: Option<Position>) {
        self.unjudged = place;
        if let (Some(place), Some(last)) = (place, self.last)
            && place.created == last.created
        {
            self.newest_sequence = self.newest_sequence.max(place.sequence);
        }
    }

    /// What reading gives next.
    pub fn next(&mut self) -> Option<Read> {
        if let Some(read) = self.out.pop_front() {
            return Some(read);
        }
        let must_wait = self.is_fresh && !self.has_caught_up();
        if self.search.is_some() || self.mark.is_none() || must_wait {
            return None;
        }
        while self.held.front().is_some_and(|arrived| is_up_to(arrived, self.unjudged)) {
            self.leave_out();
        }
        if let Some(read) = self.out.pop_front() {
            return Some(read);
        }
        if self.is_fresh {
            self.is_fresh = false;
            self.backlog_end = self.newest_sequence;
            return Some(Read::CompleteSince(self.complete_since.take().unwrap_or_default()));
        }
        let arrived = self.held.pop_front()?;
        self.held_bytes = self.held_bytes.saturating_sub(arrived.bytes);
        self.give_out(arrived);
        self.out.pop_front()
    }

    /// Starts behind a place.
    fn start(&mut self, base: Position) {
        let Self { newest_sequence, unjudged, .. } = *self;
        *self = Self { newest_sequence, unjudged, ..Self::new(None) };
        self.last = Some(base);
        if base.sequence == 0 {
            // Nothing is before the first record, and nothing in the stream is older than it.
            self.calibrate(LogClock::default().mark(base), Tim::from_nanos(base.created));
        } else {
            self.search = Some(Search::new(base, LogClock::default()));
        }
    }

    /// Goes on behind a place up to which records are missing; `is_shorter` is set if the stream
    /// has lost its newest records.
    fn hole(&mut self, base: Position, is_shorter: bool) {
        let Some(mark) = self.mark else { return };
        self.skip_held(u64::MAX);
        // Behind an older hole nothing was given out yet.
        if self.search.is_none() {
            self.gap_after = Some(mark.tim);
        }
        self.out.push_back(Read::Hole(base));
        self.history.clear();
        self.backlog_end = 0;
        self.last = Some(base);
        let mut clock = LogClock::at(&mark);
        let is_new = base.created != mark.position.created;
        if is_new {
            // Its server can have another clock. `tim` still goes on above the last.
            clock.newest = Tim::default();
        }
        self.search = None;
        if is_shorter || (is_new && base.sequence == 0) {
            self.mark = Some(clock.mark(base));
        } else {
            self.search = Some(Search::new(base, clock));
        }
    }

    /// Looks into the record that has just arrived for the clock at a place since the search
    /// has begun.
    fn search(&mut self, arrived: &Arrived) {
        let Some(search) = &mut self.search else { return };
        search.newest = search.newest.max(arrived.time);
        let Ok(record) = &arrived.record else { return };
        let found = record.after.filter(|after| search.can_be(after, arrived, record.by));
        let found = found.filter(|after| {
            let mut behind = self.held.iter().rev();
            let mut behind =
                behind.by_ref().take_while(|held| held.position.sequence > after.position.sequence);
            behind.all(|held| held.messages() == 0)
                || arrived.messages() > 0 && search.is_behind(after, arrived.time)
        });
        let Some(after) = found else { return search.pass(arrived.time, record) };
        let floor = search.floor;
        let mut clock =
            LogClock { tim: after.tim.max(floor.tim), newest: after.newest.max(floor.newest) };
        let mut position = after.position;
        self.skip_held(position.sequence);
        // If the publisher has a time that is too late, other nodes have another `tim` until
        // that of a message is its stream time, or until this record.
        while let Some(held) = self.held.front() {
            let mut next = clock;
            let first = next.read(position.created, held.time, held.record.as_ref().ok());
            if first == Some(held.time) && held.messages() > 0 {
                break;
            }
            (clock, position) = (next, held.position);
            self.skip_held(position.sequence);
        }
        self.calibrate(clock.mark(position), clock.tim);
    }

    fn calibrate(&mut self, mark: StreamMark, complete_since: Tim) {
        self.search = None;
        self.mark = Some(mark);
        self.complete_since = Some(complete_since);
    }

    /// Lets what is held up to this sequence count as missing.
    fn skip_held(&mut self, sequence: u64) {
        while self.held.front().is_some_and(|held| held.position.sequence <= sequence) {
            let Some(Arrived { record, bytes, .. }) = self.held.pop_front() else { return };
            self.held_bytes = self.held_bytes.saturating_sub(bytes);
            if let (false, Ok(record)) = (self.is_fresh, record) {
                self.out.push_back(Read::Skipped(record.publisher));
            }
        }
    }

    /// Reads only the clock in a record.
    fn leave_out(&mut self) {
        let (Some(arrived), Some(mark)) = (self.held.pop_front(), self.mark) else { return };
        let Arrived { position, time, record, bytes } = arrived;
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        let mut clock = LogClock::at(&mark);
        clock.read(position.created, time, record.as_ref().ok());
        let next = clock.mark(position);
        self.mark = Some(next);
        let Ok(record) = record else { return };
        if self.is_fresh {
            self.complete_since = self.complete_since.max(Some(next.tim));
        } else {
            if record.body.messages() > 0 {
                self.gap_after.get_or_insert(mark.tim);
            }
            self.out.push_back(Read::Skipped(record.publisher));
        }
    }

    fn give_out(&mut self, arrived: Arrived) {
        let Arrived { position, time, record, .. } = arrived;
        let Some(mark) = self.mark else { return };
        if let Some(divergence) =
            record.as_ref().ok().and_then(|record| self.divergence(position, record))
        {
            self.out.push_back(Read::Divergence(divergence));
        }
        let mut clock = LogClock::at(&mark);
        let first = clock.read(position.created, time, record.as_ref().ok());
        let mark = clock.mark(position);
        self.mark = Some(mark);
        self.history.push_back((position.sequence, mark.tim));
        if self.history.len() > Self::HISTORY_MAX {
            self.history.pop_front();
        }
        let has_messages = record.as_ref().is_ok_and(|record| record.body.messages() > 0);
        self.announce_gap(first.filter(|_| has_messages));
        self.out.push_back(match record {
            Ok(record) => {
                let is_backlog = position.sequence <= self.backlog_end;
                Read::Record(Box::new(ReadRecord { record, time, first, mark, is_backlog }))
            }
            Err(error) => Read::Bad { mark, error },
        });
    }

    fn announce_gap(&mut self, before: Option<Tim>) {
        if let Some(after) = self.gap_after.take()
            // No message can be between two that follow each other.
            && before != Some(later(after, 1))
            && self.announced_after != Some(after)
        {
            self.announced_after = Some(after);
            self.out.push_back(Read::Gap { after, before });
        }
    }

    fn divergence(&self, position: Position, record: &Record) -> Option<Divergence> {
        let after = record.after.filter(|after| after.position.created == position.created)?;
        let place = self.history.binary_search_by_key(&after.position.sequence, |place| place.0);
        let (_, ours) = *self.history.get(place.ok()?)?;
        let StreamMark { position, tim: theirs, .. } = after;
        let node = record.publisher.node.clone();
        (theirs != ours).then_some(Divergence { node, position, theirs, ours })
    }
}

fn is_up_to(arrived: &Arrived, place: Option<Position>) -> bool {
    let Position { created, sequence } = arrived.position;
    place.is_some_and(|place| created == place.created && sequence <= place.sequence)
}

#[cfg(test)]
mod tests;

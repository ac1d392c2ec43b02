//! Connections outside the sweep: own frames, lagging listeners, lost places.

use crate::feed::Pieces;
use crate::server::shard::connection::{Closing, ColdState, FeedState, Stream, Wrote};
use crate::server::shard::table::{Table, Turn};
use crate::server::snapshot::DETACHED;
use crate::ws::close::{AfterClose, Close};

/// How much a lagging connection is given at once.
const CATCH_UP_BYTES: usize = 256 * 1024;

/// How long a lagging connection counts as one that reads when it takes nothing.
/// Only one that reads can hold the gate.
const PATIENCE_MS: u64 = 1_000;
/// The longest round trip in which a client is expected to empty its socket: who
/// does so counts as one that reads for ever.
const ROUND_TRIP_MS: u64 = 300;

impl ColdState {
    /// The connection is lagging from now on.
    pub(crate) fn start_lagging(&mut self, ms: u64) {
        self.reads_until_ms = ms + PATIENCE_MS;
    }

    /// A lagging connection took so many bytes. Half a send buffer buys the time
    /// of a round trip, so a listener that takes less than that runs out of time,
    /// however often it takes something.
    fn add_reading_time(&mut self, bytes: u64, send_buffer_bytes: usize, ms: u64) {
        let bought_ms = bytes * 2 * ROUND_TRIP_MS / (send_buffer_bytes as u64).max(1);
        // A long pause is no debt: who reads again counts as reading soon.
        let until_ms = self.reads_until_ms.max(ms.saturating_sub(PATIENCE_MS));
        self.reads_until_ms = (until_ms + bought_ms).min(ms + PATIENCE_MS);
    }
}

impl<S: Stream> Table<S> {
    /// Writes all that a connection outside the sweep lacks, until its socket
    /// would block; then it is lagging. Whoever has everything joins the sweep.
    pub(crate) fn serve(&mut self, id: u64, turn: &mut Turn<'_>) {
        while let Some(&row) = self.rows.get(&id) {
            let connection = &mut self.connections[row];
            let before = connection.cursor;
            let end = turn.room.end();
            // What is in the sweep is at a frame boundary, and speaks for itself.
            let outside = connection.state != FeedState::Swept && before < end;
            let pieces = match outside {
                true => turn.room.read_from(before, CATCH_UP_BYTES),
                false => Pieces::default(),
            };
            if outside && pieces.is_empty() {
                self.detach_passed(row, &pieces, turn);
                continue;
            }
            let Ok((wrote, messages)) = connection.write(&pieces) else {
                return self.disconnect(row);
            };
            let (cursor, cold) = (connection.cursor, &mut self.cold[row]);
            self.counters.deliveries += messages;
            self.counters.bytes_sent += cursor - before;
            self.lagging.remove(&(before, id));
            self.reading.remove(&(before, id));
            if wrote == Wrote::Blocked {
                if connection.state == FeedState::Swept {
                    connection.state = FeedState::Lagging;
                    cold.start_lagging(self.ms);
                }
                let buffer_bytes = connection.stream.send_buffer_bytes();
                let buffer_bytes = buffer_bytes.unwrap_or(turn.limits.send_buffer_bytes);
                cold.add_reading_time(cursor - before, buffer_bytes, self.ms);
                if cursor != DETACHED {
                    self.lagging.insert((cursor, id));
                }
                if connection.state == FeedState::Lagging && cold.reads_until_ms > self.ms {
                    self.reading.insert((cursor, id));
                }
                return;
            }
            match connection.closing() {
                Some(Closing { then: AfterClose::Drop, .. }) => return self.disconnect(row),
                Some(_) => return,
                None if cursor < end && outside => {}
                None => {
                    connection.state = FeedState::Swept;
                    match self.farewell.clone().flatten() {
                        Some(close) => self.close(row, &close, AfterClose::AwaitClose),
                        None => return,
                    }
                }
            }
        }
    }

    /// The oldest cursor of the lagging connections that read; the maximum if
    /// there is none.
    pub(crate) fn oldest_reading(&mut self) -> u64 {
        while let Some(&(cursor, id)) = self.reading.first() {
            let reads = self.rows.get(&id).map(|&row| self.cold[row].reads_until_ms > self.ms);
            if reads == Some(true) {
                return cursor;
            }
            self.reading.pop_first();
        }
        u64::MAX
    }

    /// Writes the own frames of a connection, unless its socket would block.
    pub(crate) fn write_own_frames(&mut self, id: u64, turn: &mut Turn<'_>) {
        let Some(&row) = self.rows.get(&id) else { return };
        let connection = &self.connections[row];
        let silent = !connection.has_own_frames() && connection.closing().is_none();
        if !silent && connection.state != FeedState::Lagging {
            self.serve(id, turn);
        }
    }

    /// Closes the lagging connections whose cursor is before `floor`.
    pub(crate) fn close_passed(&mut self, floor: u64, turn: &mut Turn<'_>) {
        while let Some(&(cursor, id)) = self.lagging.first().filter(|first| first.0 < floor) {
            let Some(&row) = self.rows.get(&id) else { return };
            let pieces = turn.room.read_from(cursor, 1);
            self.detach_passed(row, &pieces, turn);
            self.serve(id, turn);
        }
    }

    /// The tail has passed a connection: it gets the rest of the frame that it
    /// has begun, which is in `pieces`, and a close frame.
    pub(crate) fn detach_passed(&mut self, row: usize, pieces: &Pieces, turn: &mut Turn<'_>) {
        let (connection, id) = (&mut self.connections[row], self.cold[row].id);
        let behind = turn.room.messages_behind(connection.cursor);
        self.lagging.remove(&(connection.cursor, id));
        self.reading.remove(&(connection.cursor, id));
        connection.detach(pieces);
        if connection.closing().is_none() {
            self.counters.too_slow += 1;
            self.close(row, &Close::too_slow(behind), AfterClose::AwaitClose);
        }
    }
}

//! Connections outside the sweep: lagging ones, early ones, those with own frames, and those
//! that the feed's tail passes.

use crate::chat::Tim;
use crate::feed::{Encoding, Pieces};
use crate::server::client_log::CloseReason;
use crate::server::shard::cold_state::ColdState;
use crate::server::shard::connection::{FeedState, Stream};
use crate::server::shard::outbox::Closing;
use crate::server::shard::table::{ROWS_PER_TURN, Table, Turn};
use crate::server::snapshot::DETACHED;
use crate::ws::close::{AfterClose, Close};
use crate::ws::frame::Opcode;

/// The most bytes of the feed that a lagging connection is given at once.
const CATCH_UP_BYTES: usize = 256 * 1024;

/// How long a lagging connection that takes no bytes counts as one that reads. Only one that
/// reads can hold the gate.
const PATIENCE_MS: u64 = 1_000;
/// The longest round trip for which a client that empties its socket once in each counts as
/// one that reads for ever.
const ROUND_TRIP_MS: u64 = 300;

/// A connection that resumes further back than this part of the tail does not hold the gate:
/// if it did, clients could stop the room by resuming again and again.
const FAR_BACK_PART: usize = 2;

impl ColdState {
    /// The connection is lagging from now on.
    pub(crate) fn start_lagging(&mut self, ms: u64) {
        self.reads_until_ms = ms + PATIENCE_MS;
    }

    /// The lagging connection has taken so many bytes. Half a send buffer is worth the time of
    /// a round trip: a client that takes less runs out of time, however often it reads.
    fn add_reading_time(&mut self, bytes: u64, send_buffer_bytes: usize, ms: u64) {
        let added_ms = bytes * 2 * ROUND_TRIP_MS / (send_buffer_bytes as u64).max(1);
        // The time of a pause is not owed, so a client that reads again soon counts as reading.
        let until_ms = self.reads_until_ms.max(ms.saturating_sub(PATIENCE_MS));
        self.reads_until_ms = (until_ms + added_ms).min(ms + PATIENCE_MS);
    }
}

impl<S: Stream> Table<S> {
    /// Writes all that a connection lacks. If its socket would block, it is lagging; if not,
    /// it joins the sweep.
    pub(crate) fn write_missing(&mut self, id: u64, turn: &mut Turn<'_>) {
        while let Some(&row) = self.rows.get(&id) {
            let connection = &mut self.connections[row];
            let before = connection.cursor;
            let end = turn.room.end();
            // A connection of the sweep is at a frame boundary: it only writes own frames here.
            let is_behind = !matches!(connection.state, FeedState::Swept | FeedState::Early);
            let lacks_feed = is_behind && before < end;
            let pieces = match lacks_feed {
                true => turn.room.read_from(before, CATCH_UP_BYTES),
                false => Pieces::default(),
            };
            if lacks_feed && pieces.is_empty() {
                self.close_too_slow(row, &pieces, turn);
                continue;
            }
            let written = match connection.write(&pieces) {
                Ok(written) => written,
                Err(error) => {
                    self.count_loss(row, &error);
                    return self.disconnect(row);
                }
            };
            let connection = &mut self.connections[row];
            let (cursor, cold) = (connection.cursor, &mut self.cold[row]);
            self.counters.deliveries += written.messages;
            self.counters.bytes_sent += written.feed_bytes as u64;
            let is_written = written.feed_bytes + written.own_bytes > 0;
            if !self.held.is_empty() && !connection.owes_frames() {
                self.held.unpark(id);
            }
            if connection.encoding == Encoding::Events && is_written {
                cold.postpone_comment(self.ms);
            }
            cold.is_far_back &=
                end.saturating_sub(cursor) > (turn.limits.feed_tail_bytes / FAR_BACK_PART) as u64;
            self.lagging.remove(&(before, id));
            self.reading.remove(&(before, id));
            if written.is_blocked {
                if connection.state == FeedState::Swept {
                    connection.state = FeedState::Lagging;
                    cold.start_lagging(self.ms);
                }
                let buffer_bytes = connection.stream.send_buffer_bytes();
                let buffer_bytes = buffer_bytes.unwrap_or(turn.limits.send_buffer_bytes);
                cold.add_reading_time(written.feed_bytes as u64, buffer_bytes, self.ms);
                if cursor != DETACHED && connection.state != FeedState::Early {
                    self.lagging.insert((cursor, id));
                }
                let holds_gate = cold.reads_until_ms > self.ms && !cold.is_far_back;
                if connection.state == FeedState::Lagging && holds_gate {
                    self.reading.insert((cursor, id));
                }
                return;
            }
            match connection.closing() {
                Some(Closing { then: AfterClose::Drop, .. }) => return self.disconnect(row),
                Some(_) => return,
                None if lacks_feed && cursor < end => {}
                None => {
                    if connection.state == FeedState::Lagging {
                        connection.state = FeedState::Swept;
                    }
                    match self.close_reason.clone() {
                        // It gets its first messages before that.
                        _ if self.early.has_due(id, turn.room) => return,
                        Some(reason) => self.close(row, &reason, AfterClose::AwaitClose),
                        None => return,
                    }
                }
            }
        }
    }

    /// Lets a connection wait for the first message with a greater `tim`.
    pub(crate) fn wait_for_later(&mut self, row: usize, after: Tim) {
        let (connection, id) = (&mut self.connections[row], self.cold[row].id);
        if connection.state == FeedState::Lagging {
            self.lagging.remove(&(connection.cursor, id));
            connection.state = FeedState::Early;
            self.early.insert(id, after);
            // The state of the room may have been told while it was on its way to this shard.
            self.early_told = self.early_told.min(connection.cursor);
        }
    }

    /// Starts some of the connections whose first message is in the feed.
    pub(crate) fn start_early(&mut self, turn: &mut Turn<'_>) {
        // The newest `tim` is behind the room's lock.
        if self.early.is_empty() {
            return;
        }
        self.tell_early(turn);
        let last_tim = turn.room.last_tim();
        for _ in 0..ROWS_PER_TURN {
            let Some((id, after)) = self.early.pop(last_tim) else { return };
            let Some(&row) = self.rows.get(&id) else { continue };
            let connection = &mut self.connections[row];
            if connection.state != FeedState::Early {
                continue;
            }
            match turn.room.position_after(after) {
                Some(cursor) => {
                    (connection.state, connection.cursor) = (FeedState::Lagging, cursor);
                    self.lagging.insert((cursor, id));
                }
                // Many messages were sent while it was on its way to this shard.
                None => self.close_too_slow(row, &Pieces::default(), turn),
            }
            self.write_missing(id, turn);
        }
    }

    /// Tells them the state of the room, which the others get in a sweep.
    fn tell_early(&mut self, turn: &mut Turn<'_>) {
        let Some((end, text)) = turn.room.newest_presence() else { return };
        if end <= self.early_told {
            return;
        }
        self.early_told = end;
        for id in self.early.ids() {
            let Some(connection) = self.connection_mut(id) else { continue };
            // Its cursor is otherwise not used: it is behind what it was told.
            if connection.state == FeedState::Early && connection.cursor < end {
                connection.cursor = end;
                connection.queue_frame(Opcode::Text, &text);
                self.write_own_frames(id, turn);
            }
        }
    }

    /// The oldest cursor of the lagging connections that read; the maximum if none does.
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
        let has_work = connection.has_pending_frames() || connection.closing().is_some();
        if has_work && connection.state != FeedState::Lagging {
            self.write_missing(id, turn);
        }
    }

    /// Closes the lagging connections whose cursor is before `floor`.
    pub(crate) fn close_passed(&mut self, floor: u64, turn: &mut Turn<'_>) {
        while let Some(&(cursor, id)) = self.lagging.first().filter(|first| first.0 < floor) {
            let Some(&row) = self.rows.get(&id) else { return };
            let pieces = turn.room.read_from(cursor, 1);
            self.close_too_slow(row, &pieces, turn);
            self.write_missing(id, turn);
        }
    }

    /// The tail has passed a connection: it gets the rest of a partly written frame, which is
    /// in `pieces`, and a close frame.
    fn close_too_slow(&mut self, row: usize, pieces: &Pieces, turn: &mut Turn<'_>) {
        let (connection, id) = (&mut self.connections[row], self.cold[row].id);
        let behind = turn.room.messages_behind(connection.cursor);
        self.lagging.remove(&(connection.cursor, id));
        self.reading.remove(&(connection.cursor, id));
        connection.detach(pieces);
        if connection.closing().is_none() {
            self.counters.too_slow += 1;
            self.log_close(row, CloseReason::TooSlow, turn);
            self.close(row, &Close::too_slow(behind), AfterClose::AwaitClose);
        }
    }
}

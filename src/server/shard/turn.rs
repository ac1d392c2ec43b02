//! The turns of a table, and how connections come into it and leave it at a handover.

use crate::chat::{Now, Tim};
use crate::room::Room;
use crate::server::admission::connection_counts::ConnectionPermit;
use crate::server::shard::cold_state::{ColdState, NewConnection};
use crate::server::shard::connection::{Connection, FeedState, Stream};
use crate::server::shard::table::{Table, Turn};
use crate::server::shard::timers::TIMER_INTERVAL_MS;
use crate::server::snapshot::ConnectionSnapshot;
use crate::ws::frame::Opcode;

/// The most time between two turns that counts for clients. If more has passed, the shard
/// stood still and could not read.
const STANDSTILL_MS: u64 = 1_000;

impl<S: Stream> Table<S> {
    /// Advances the clock; the first call of each turn.
    pub fn tick(&mut self, now: Now) {
        self.ms += now.ms.saturating_sub(self.ticked_ms).min(STANDSTILL_MS);
        self.ticked_ms = self.ticked_ms.max(now.ms);
    }

    /// Adopts a connection, with the bytes that followed its handshake. It may have missed
    /// messages on its way here, so it starts as lagging.
    pub fn adopt(
        &mut self,
        stream: S,
        mut new: NewConnection,
        mut received: Vec<u8>,
        turn: &mut Turn<'_>,
    ) {
        let (id, after, notice) = (new.id, new.after, new.notice.take());
        let mut connection = Connection::new(stream, new.encoding, new.cursor);
        if let Some(text) = notice {
            connection.queue_frame(Opcode::Text, &text);
        }
        let mut cold = ColdState::new(new, self.ms);
        cold.spread_ping(turn.limits.ping_interval.as_millis() as u64, self.ms);
        cold.start_lagging(self.ms);
        self.counters.accepted[connection.encoding as usize] += 1;
        let row = self.insert(connection, cold);
        if let Some(after) = after {
            self.wait_for_later(row, after);
        }
        self.start_event_stream(row, turn.limits);
        if !received.is_empty() {
            self.receive_early(row, &mut received, turn);
        }
        self.write_missing(id, turn);
    }

    /// Continues a connection of another process.
    pub fn resume(
        &mut self,
        stream: S,
        snapshot: &ConnectionSnapshot,
        permit: ConnectionPermit,
        turn: &mut Turn<'_>,
    ) {
        let connection = Connection::resume(stream, snapshot, self.ms);
        let mut cold = ColdState::resume(snapshot, permit, self.ms, turn.now.ms);
        cold.start_lagging(self.ms);
        if cold.participant.is_sender() {
            self.addresses.of(cold.peer().block(), turn.now.ms).add_totals(&snapshot.totals());
        }
        let row = self.insert(connection, cold);
        if snapshot.after_tim > 0 {
            self.wait_for_later(row, Tim::from_nanos(snapshot.after_tim));
        }
        self.start_event_stream(row, turn.limits);
        self.restore_held(row, &snapshot.held, turn);
        self.write_missing(snapshot.id, turn);
    }

    /// Removes all connections for the next process. The table must not be used afterwards.
    pub fn hand_over(&mut self, now: Now) -> Vec<(ConnectionSnapshot, S)> {
        let connections = std::mem::take(&mut self.connections).into_iter();
        let cold = std::mem::take(&mut self.cold);
        self.rows.clear();
        let end = self.view_end();
        let snapshot = |(mut connection, cold): (Connection<S>, ColdState)| {
            let after = self.early.remove(cold.id);
            if after.is_some() {
                connection.cursor = end;
            }
            let (mut snapshot, stream) =
                connection.into_snapshot(&cold, self.held.take(cold.id), self.ms, now.ms);
            snapshot.after_tim = after.map_or(0, Tim::nanos);
            (snapshot, stream)
        };
        connections.zip(cold).map(snapshot).collect()
    }

    /// The socket is writable again.
    pub fn writable(&mut self, id: u64, turn: &mut Turn<'_>) {
        if self.connection_mut(id).is_some_and(|it| it.state != FeedState::Swept) {
            self.write_missing(id, turn);
        }
    }

    /// A turn: reads, publishes the accepted messages as one batch, fetches the feed, sweeps
    /// some rows and runs the timers of some rows. Returns whether to wake the other shards:
    /// there are messages, or the gate may have opened.
    pub fn turn(&mut self, read_buffer: &mut [u8], turn: &mut Turn<'_>) -> bool {
        let room = turn.room;
        self.tick(turn.now);
        self.read(read_buffer, turn);
        // The batch may also hold messages that arrived with commands.
        let mut wakes_others = !turn.batch.is_empty();
        room.publish(turn.batch, turn.now.tim);
        for (id, outcome) in turn.batch.take_outcomes() {
            self.settle(id, outcome, turn);
        }
        if room.end() != self.view_end() {
            self.fetch_feed(turn);
        }
        self.start_early(turn);
        self.sweep(turn);
        // If a new round started before the last one ended, the last rows would never have
        // their turn.
        if self.timer_row.is_none() && turn.now.ms >= self.timers_due_ms {
            self.timers_due_ms = turn.now.ms + TIMER_INTERVAL_MS;
            self.timer_row = Some(0);
        }
        self.run_timers(turn);
        wakes_others |= room.gate().report_progress(self.shard, self.swept, self.oldest_reading());
        wakes_others
    }

    /// When the next turn is due without an event: 0 is now, `None` is never.
    pub fn due_ms(&self, room: &Room) -> Option<u64> {
        let gate_opens = |turn| room.gate().is_due_or_wait(self.shard, turn);
        let has_work = self.sweep_end.is_some()
            || self.timer_row.is_some()
            || room.end() != self.view_end()
            || self.early.is_due(room)
            || self.readable.iter().any(|queue| !queue.is_empty())
            || self.held.first_turn().is_some_and(gate_opens);
        match (has_work, self.connections.is_empty()) {
            (true, _) => Some(0),
            (false, false) => Some(self.timers_due_ms),
            (false, true) => None,
        }
    }
}

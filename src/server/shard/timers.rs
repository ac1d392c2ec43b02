//! Pings, idle connections, deadlines and addresses, slice by slice.

use crate::config::Limits;
use crate::server::shard::connection::{ColdState, Connection, Stream};
use crate::server::shard::table::{ROWS_PER_TURN, Table, Turn};
use crate::ws::close::{self, AfterClose};
use crate::ws::frame::Opcode;

/// What is due for a connection.
enum Due {
    /// Its client has not answered a close frame, or has gone.
    End,
    /// Nothing came from it for too long.
    Idle,
    Ping,
}

impl ColdState {
    /// The first ping is somewhere in the interval, so that a storm of connections
    /// or a reload does not come back as a storm of pings.
    pub(crate) fn spread_ping(&mut self, interval_ms: u64, ms: u64) {
        let phase_ms = self.id.wrapping_mul(0x9E37_79B9_7F4A_7C15) % interval_ms.max(1);
        self.ping_due_ms = ms + 1 + phase_ms;
    }

    /// Whether nothing came for as long as `limits` allow, and a ping was in vain
    /// for long enough: a reload may have changed what a client had to answer.
    fn is_idle(&self, limits: &Limits, ms: u64) -> bool {
        let patience = limits.idle_timeout.saturating_sub(limits.ping_interval);
        self.last_frame_ms + limits.idle_timeout.as_millis() as u64 <= ms
            && self.pinged_ms.saturating_add(patience.as_millis() as u64) <= ms
    }
}

impl<S: Stream> Table<S> {
    /// Pings, idle connections and those that never answered a close frame,
    /// among the next connections of a round.
    pub(crate) fn run_timers(&mut self, turn: &mut Turn<'_>) {
        let Some(start) = self.timer_row else { return };
        let end = self.connections.len().min(start + ROWS_PER_TURN);
        let mut due = Vec::new();
        for row in start..end {
            if let Some(what) = self.due_timer(row, turn.limits) {
                due.push((self.cold[row].id, what));
            }
        }
        // Whoever leaves now may move another into its row: that one is looked
        // after in the next round.
        self.timer_row = (end < self.connections.len()).then_some(end);
        for (id, what) in due {
            self.fire_timer(id, what, turn);
        }
    }

    fn due_timer(&mut self, row: usize, limits: &Limits) -> Option<Due> {
        let (connection, cold) = (&self.connections[row], &mut self.cold[row]);
        if let Some(closing) = connection.closing() {
            return (closing.deadline_ms <= self.ms).then_some(Due::End);
        }
        // What is there and not read is a sign of life.
        let waits = connection.has_unread() || self.held.bytes(cold.id) > 0;
        if !waits && cold.is_idle(limits, self.ms) {
            return Some(Due::Idle);
        }
        let interval_ms = limits.ping_interval.as_millis() as u64;
        if cold.ping_due_ms <= self.ms {
            cold.ping_due_ms = self.ms + interval_ms;
            return Some(Due::Ping);
        }
        // A reload may have made the interval shorter.
        if cold.ping_due_ms > self.ms + interval_ms {
            cold.spread_ping(interval_ms, self.ms);
        }
        None
    }

    fn fire_timer(&mut self, id: u64, due: Due, turn: &mut Turn<'_>) {
        let Some(&row) = self.rows.get(&id) else { return };
        match due {
            Due::End => return self.disconnect(row),
            Due::Idle => {
                self.counters.idle += 1;
                self.close(row, &close::IDLE, AfterClose::AwaitClose);
            }
            Due::Ping => {
                self.connections[row].queue_frame(Opcode::Ping, b"");
                let pinged_ms = &mut self.cold[row].pinged_ms;
                *pinged_ms = self.ms.min(*pinged_ms);
            }
        }
        self.write_own_frames(id, turn);
    }
}

impl<S: Stream> Connection<S> {
    /// Whether its client has sent something that is not read yet.
    fn has_unread(&self) -> bool {
        self.queued || self.unread
    }
}

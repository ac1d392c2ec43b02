//! Pings, idle connections and deadlines, for some rows in each turn.

use crate::config::Limits;
use crate::feed::Encoding;
use crate::server::shard::cold_state::ColdState;
use crate::server::shard::connection::{FeedState, Readiness, Stream};
use crate::server::shard::table::{ROWS_PER_TURN, Table, Turn};
use crate::ws::close::{self, AfterClose};
use crate::ws::frame::Opcode;

/// How often the timers of each connection run.
pub(super) const TIMER_INTERVAL_MS: u64 = 500;

/// How long an event stream may be silent: proxies close a silent connection after a minute.
const SILENCE_MS: u64 = 15_000;

/// A timer of a connection.
enum Timer {
    /// The client has not answered the close frame.
    Deadline,
    /// The client has sent nothing for too long.
    Idle,
    /// A ping, or in an event stream a comment.
    Ping,
}

impl ColdState {
    /// Sets the first ping to some time within the interval, so that a storm of connections
    /// or a reload does not cause a storm of pings.
    pub(crate) fn spread_ping(&mut self, interval_ms: u64, ms: u64) {
        let phase_ms = self.id.wrapping_mul(0x9E37_79B9_7F4A_7C15) % interval_ms.max(1);
        self.ping_due_ms = ms + 1 + phase_ms;
    }

    /// The event stream is not silent at this time.
    pub(crate) fn postpone_comment(&mut self, ms: u64) {
        self.ping_due_ms = ms + SILENCE_MS;
    }

    /// Whether no frame arrived within the limits, and a ping was not answered for long
    /// enough: a reload may have changed the intervals.
    fn is_idle(&self, limits: &Limits, ms: u64) -> bool {
        let ping_timeout = limits.idle_timeout.saturating_sub(limits.ping_interval);
        self.last_frame_ms + limits.idle_timeout.as_millis() as u64 <= ms
            && self.pinged_ms.saturating_add(ping_timeout.as_millis() as u64) <= ms
    }
}

impl<S: Stream> Table<S> {
    /// Runs the timers of the next rows.
    pub(crate) fn run_timers(&mut self, turn: &mut Turn<'_>) {
        let Some(start) = self.timer_row else { return };
        let end = self.connections.len().min(start + ROWS_PER_TURN);
        let mut due = Vec::new();
        for row in start..end {
            if let Some(timer) = self.due_timer(row, turn.limits) {
                due.push((self.cold[row].id, timer));
            }
        }
        // A connection that is removed now may move another into its row, whose timers then
        // run in the next round.
        self.timer_row = (end < self.connections.len()).then_some(end);
        for (id, timer) in due {
            self.fire_timer(id, timer, turn);
        }
    }

    fn due_timer(&mut self, row: usize, limits: &Limits) -> Option<Timer> {
        let (connection, cold) = (&self.connections[row], &mut self.cold[row]);
        if let Some(closing) = connection.closing() {
            return (closing.deadline_ms <= self.ms).then_some(Timer::Deadline);
        }
        if connection.encoding == Encoding::Events {
            let is_sent = matches!(connection.state, FeedState::Swept | FeedState::Early);
            let silent_until_ms = match connection.state {
                // A sweep does not write to it.
                FeedState::Early => cold.ping_due_ms,
                _ => cold.ping_due_ms.max(self.swept_ms + SILENCE_MS),
            };
            let is_due = is_sent && silent_until_ms <= self.ms;
            cold.ping_due_ms = silent_until_ms;
            if is_due {
                cold.postpone_comment(self.ms);
            }
            return is_due.then_some(Timer::Ping);
        }
        // Bytes that were not read or handled yet are a sign of life.
        let is_alive = connection.readiness != Readiness::Drained || self.held.bytes(cold.id) > 0;
        if !is_alive && cold.is_idle(limits, self.ms) {
            return Some(Timer::Idle);
        }
        let interval_ms = limits.ping_interval.as_millis() as u64;
        if cold.ping_due_ms <= self.ms {
            cold.ping_due_ms = self.ms + interval_ms;
            return Some(Timer::Ping);
        }
        // A reload may have made the interval shorter.
        if cold.ping_due_ms > self.ms + interval_ms {
            cold.spread_ping(interval_ms, self.ms);
        }
        None
    }

    /// Sets the timers of a new event stream. Its client answers no pings: the system notices a
    /// dead one, because it does not acknowledge the comments.
    pub(crate) fn start_event_stream(&mut self, row: usize, limits: &Limits) {
        let (connection, cold) = (&self.connections[row], &mut self.cold[row]);
        if connection.encoding == Encoding::Events {
            cold.postpone_comment(self.ms);
            connection.stream.set_user_timeout(limits.idle_timeout);
        }
    }

    fn fire_timer(&mut self, id: u64, timer: Timer, turn: &mut Turn<'_>) {
        let Some(&row) = self.rows.get(&id) else { return };
        match timer {
            Timer::Deadline => return self.disconnect(row),
            Timer::Idle => {
                self.counters.idle += 1;
                self.close(row, &close::IDLE, AfterClose::AwaitClose);
            }
            Timer::Ping => {
                self.connections[row].queue_frame(Opcode::Ping, b"");
                let pinged_ms = &mut self.cold[row].pinged_ms;
                *pinged_ms = self.ms.min(*pinged_ms);
            }
        }
        self.write_own_frames(id, turn);
    }
}

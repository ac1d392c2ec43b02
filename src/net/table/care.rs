//! Pings, idle connections, deadlines and addresses, slice by slice.

use super::super::connection::{AfterClose, Stream};
use super::{READING_MS, ROWS_PER_TURN, Table, Turn};
use crate::wire::close;
use crate::wire::frame::Opcode;

impl<S: Stream> Table<S> {
    /// Pings, idle connections and those that never answered a close frame,
    /// among the next connections of a round. Those who came before a reload
    /// that bounds the connections of an address are counted, too, or no more.
    pub(super) fn look_after(&mut self, turn: &mut Turn<'_>) {
        let Some(start) = self.care else { return };
        let idle_ms = turn.limits.idle_timeout.as_millis() as u64;
        let interval_ms = turn.limits.ping_interval.as_millis() as u64;
        let counts = turn.limits.connections_per_address_max > 0;
        let now_ms = turn.now.ms;
        let end = self.connections.len().min(start + ROWS_PER_TURN);
        let mut due = Vec::new();
        for row in start..end {
            let (connection, details) = (&mut self.connections[row], &mut self.details[row]);
            let act = match connection.closing() {
                Some(closing) => closing.deadline_ms <= now_ms,
                None if details.heard_ms + idle_ms <= now_ms => true,
                None if details.ping_due_ms <= now_ms => {
                    details.ping_due_ms = now_ms + interval_ms;
                    true
                }
                // A reload may have made the interval shorter.
                None => {
                    details.ping_due_ms = details.ping_due_ms.min(now_ms + interval_ms);
                    false
                }
            };
            if act {
                due.push(details.id);
            }
            if connection.counted != counts {
                connection.counted = counts;
                match counts {
                    true => self.addresses.count(details.peer.block()),
                    false => self.addresses.leave(details.peer.block()),
                }
            }
            if details.read_ms + READING_MS <= now_ms {
                self.reading.remove(&(connection.cursor, details.id));
            }
        }
        // Whoever leaves now may move another into its row: that one is looked
        // after in the next round.
        self.care = (end < self.connections.len()).then_some(end);
        for id in due {
            self.look_after_one(id, idle_ms, turn);
        }
    }

    pub(super) fn look_after_one(&mut self, id: u64, idle_ms: u64, turn: &mut Turn<'_>) {
        let Some(&row) = self.rows.get(&id) else { return };
        if self.connections[row].closing().is_some() {
            return self.remove(row);
        }
        if self.details[row].heard_ms + idle_ms <= turn.now.ms {
            self.tally.idle += 1;
            self.close(row, &close::IDLE, AfterClose::AwaitClose, turn.now);
        } else {
            self.connections[row].say(Opcode::Ping, b"");
        }
        self.speak(id, turn);
    }
}

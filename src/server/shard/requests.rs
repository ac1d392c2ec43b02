//! Requests to a table: of operators, of moderators, and at the end of the room.

use chrono::DateTime;

use crate::chat::{AddressBlock, SpeakerId};
use crate::config::Limits;
use crate::feed::Encoding;
use crate::room::{TrafficRates, TrafficTotals};
use crate::server::client_list::{ClientChunk, ClientRow};
use crate::server::client_log::CloseReason;
use crate::server::shard::cold_state::ColdState;
use crate::server::shard::connection::{Connection, FeedState, Stream};
use crate::server::shard::held::Held;
use crate::server::shard::table::{ROWS_PER_TURN, Table, Turn};
use crate::ws::close::{self, AfterClose, Close};
use crate::ws::frame::Opcode;

impl<S: Stream> Table<S> {
    /// Lists some of the connections in the rows before `before`, while the feed ends at
    /// `end`. `now_ms` is the clock of the shards.
    pub fn list(&self, before: usize, end: u64, now_ms: u64) -> ClientChunk {
        let before = before.min(self.connections.len());
        let start = before.saturating_sub(ROWS_PER_TURN);
        let rows = self.connections[start..before].iter().zip(&self.cold[start..before]);
        let client = |(connection, cold): (&Connection<S>, &ColdState)| {
            let speaker = cold.participant.speaker();
            ClientRow {
                id: cold.id,
                address: cold.peer(),
                usr: speaker.name().to_owned(),
                sub: speaker.sub().map(str::to_owned),
                moderator: speaker.is_moderator(),
                muted: false,
                since: DateTime::from_timestamp(cold.since_secs.into(), 0).unwrap_or_default(),
                totals: cold.totals(),
                rates: cold.participant.traffic().rates(now_ms),
                transport: connection.encoding,
                behind_bytes: match connection.state {
                    FeedState::Early => 0,
                    _ => end.saturating_sub(connection.cursor),
                },
                state: connection.state,
            }
        };
        ClientChunk { clients: rows.map(client).collect(), before: start }
    }

    /// What the addresses have sent, and send.
    pub fn traffic(&self, now_ms: u64) -> Vec<(AddressBlock, TrafficTotals, TrafficRates)> {
        let all = self.addresses.iter();
        all.map(|(address, it)| (address, it.totals(), it.rates(now_ms))).collect()
    }

    /// Closes connections among some of the rows before `before`: those of which `meets` says so.
    /// It gets the speaker, the id, and whether a message was sent from there; it is asked once
    /// about each connection that is not closed already. Returns how many are closed, and the
    /// row before which to continue.
    pub fn kick(
        &mut self,
        meets: impl Fn(&SpeakerId<'_>, u64, bool) -> bool,
        before: usize,
        turn: &mut Turn<'_>,
    ) -> (usize, usize) {
        let before = before.min(self.connections.len());
        let start = before.saturating_sub(ROWS_PER_TURN);
        let rows = self.connections[start..before].iter().zip(&self.cold[start..before]);
        let is_met = |(connection, cold): &(&Connection<S>, &ColdState)| {
            let speaker = cold.participant.speaker();
            let id = speaker.id(speaker.name(), cold.peer().block());
            connection.closing().is_none() && meets(&id, cold.id, speaker.has_sent())
        };
        let ids: Vec<u64> = rows.filter(is_met).map(|(_, cold)| cold.id).collect();
        let mut kicked = 0;
        for id in ids {
            if let Some(&row) = self.rows.get(&id)
                && self.connections[row].closing().is_none()
            {
                kicked += 1;
                self.log_close(row, CloseReason::Kicked, turn);
                self.held.remove(id);
                self.read_deferred(row);
                self.close(row, &close::KICKED, AfterClose::AwaitClose);
                self.write_own_frames(id, turn);
            }
        }
        self.counters.kicked += kicked as u64;
        (kicked, start)
    }

    /// Sends a text to one connection alone.
    pub fn send_notice(&mut self, id: u64, text: &[u8], turn: &mut Turn<'_>) {
        if let Some(connection) = self.connection_mut(id)
            && !connection.queue_frame(Opcode::Text, text)
        {
            self.counters.notices_dropped += 1;
        }
        self.write_own_frames(id, turn);
    }

    /// Runs the timers of all connections from the next turn on, under new limits.
    pub fn run_timers_soon(&mut self, limits: &Limits) {
        self.timers_due_ms = 0;
        for connection in self.connections.iter().filter(|it| it.encoding == Encoding::Events) {
            connection.stream.set_user_timeout(limits.idle_timeout);
        }
    }

    /// Ignores new messages and drops those that are held, so that the feed ends.
    pub fn stop_reading(&mut self) {
        self.ignores_messages = true;
        self.held = Held::default();
        for row in 0..self.connections.len() {
            self.read_deferred(row);
        }
    }

    /// Closes each connection with this reason as soon as it has the whole feed.
    pub fn close_all(&mut self, reason: Close) {
        self.ignores_messages = true;
        self.close_reason = Some(reason);
        // A sweep visits all connections even if there is nothing to send.
        self.sweep_row = 0;
        self.sweep_end = Some(self.view_end());
    }
}

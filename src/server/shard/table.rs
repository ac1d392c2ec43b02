//! A shard's connections, densely packed, and all that happens to them. It is
//! generic over the stream, so that a simulation can drive it without a socket.
//!
//! The life of a connection: it is [adopted](Table::adopt), its bytes are
//! read into the batch of a [turn](Table::turn), the sweep sends it the feed; if
//! its socket would block it is lagging and served when [writable](Table::writable),
//! or closed when the tail passes its cursor. Pings and deadlines are looked
//! after slice by slice.

use std::collections::{BTreeSet, HashMap, VecDeque};

use chrono::DateTime;

use crate::chat::{Actor, ModAction, Now, Rules, Target};
use crate::config::Limits;
use crate::feed::Pieces;
use crate::room::{Batch, Room};
use crate::server::admission::connection_counts::ConnectionPermit;
use crate::server::client_list::{ClientChunk, ClientRow};
use crate::server::counters::Counters;
use crate::server::shard::connection::{
    Closing, ColdState, Connection, FeedState, NEVER, NewConnection, Stream,
};
use crate::server::shard::held::Held;
use crate::server::snapshot::{ConnectionSnapshot, DETACHED};
use crate::ws::close::{self, AfterClose, Close};
use crate::ws::frame::Opcode;

/// How long the answer to a close frame is waited for.
pub(super) const CLOSE_TIMEOUT_MS: u64 = 5_000;
/// Connections that one turn visits, so that a sweep never keeps senders waiting.
pub(super) const ROWS_PER_TURN: usize = 256;
/// How often pings and deadlines are looked after.
pub(super) const TIMER_INTERVAL_MS: u64 = 500;

/// A shard that did not turn for longer stood still. Then its clients could not be
/// heard, so no more than this counts for them.
pub(super) const STANDSTILL_MS: u64 = 1_000;

/// What a turn of the event loop hands to the table.
pub struct Turn<'a> {
    /// The time.
    pub now: Now,
    /// Microseconds of any clock that does not step back, to measure with.
    pub clock_us: &'a dyn Fn() -> u64,
    /// Where messages get their order.
    pub room: &'a Room,
    /// Who may speak, and how.
    pub rules: &'a Rules,
    /// The bounds that the operator set.
    pub limits: &'a Limits,
    /// What was sent in this turn.
    pub batch: &'a mut Batch,
    /// What moderators asked for in this turn.
    pub pending: &'a mut Vec<PendingAction>,
}

/// What a moderator asked for; the shard sees to it, and tells whoever asked.
#[derive(Debug)]
pub struct PendingAction {
    /// The connection that it came from.
    pub id: u64,
    /// What is to be done.
    pub act: ModAction,
    /// Who wants it.
    pub by: Actor,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedPosition {
    /// Its id.
    pub id: u64,
    /// The position in the feed up to which all was sent; none if it gets
    /// nothing more from the feed.
    pub cursor: Option<u64>,
    /// How it is fed.
    pub state: FeedState,
}

/// The connections of one shard.
pub struct Table<S> {
    /// What every sweep reads, one after the other; the same rows as `cold`.
    pub(super) connections: Vec<Connection<S>>,
    pub(super) cold: Vec<ColdState>,
    /// The row of an id.
    pub(super) rows: HashMap<u64, usize>,
    /// Connections that have something to read: those that are not proven, and
    /// those that are.
    pub(super) readable: [VecDeque<u64>; 2],
    /// Messages that are read and wait.
    pub(super) held: Held,
    /// Lagging connections by their cursor.
    pub(super) lagging: BTreeSet<(u64, u64)>,
    /// Those of them that read, or may do.
    pub(super) reading: BTreeSet<(u64, u64)>,
    /// The pieces of the feed that the sweep is handing out.
    pub(super) view: Pieces,
    /// The position up to which every connection of the sweep has everything.
    pub(super) swept: u64,
    /// Where the sweep is: rows before this one have been visited.
    pub(super) sweep_row: usize,
    /// The end of the view when the sweep began; none while there is nothing to do.
    pub(super) sweep_end: Option<u64>,
    /// The time by which clients are judged: it stands still while the shard does.
    pub(super) ms: u64,
    /// When [`Table::tick`] was called last.
    pub(super) ticked_ms: u64,
    /// When pings and deadlines are looked after next.
    pub(super) timers_due_ms: u64,
    /// The row that is looked after next; none while no round is under way.
    pub(super) timer_row: Option<usize>,
    /// Messages are no longer read; with a reason, whoever has everything is
    /// closed with it.
    pub(super) farewell: Option<Option<Close>>,
    /// The number of this shard in the room.
    pub(super) shard: usize,
    pub(super) counters: Counters,
}

impl<S: Stream> Table<S> {
    /// An empty table for that shard of the room.
    pub fn new(shard: usize, room: &Room) -> Self {
        Self {
            connections: Vec::new(),
            cold: Vec::new(),
            rows: HashMap::new(),
            readable: Default::default(),
            held: Held::default(),
            lagging: BTreeSet::new(),
            reading: BTreeSet::new(),
            view: Pieces::default(),
            swept: room.end(),
            sweep_row: 0,
            sweep_end: None,
            ms: 0,
            ticked_ms: 0,
            timers_due_ms: 0,
            timer_row: None,
            farewell: None,
            shard,
            counters: Counters::default(),
        }
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// How many are lagging.
    pub fn lagging(&self) -> usize {
        self.lagging.len()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where every connection is, row by row: for whoever checks that the table
    /// is sound.
    pub fn positions(&self) -> impl Iterator<Item = FeedPosition> {
        self.connections.iter().zip(&self.cold).map(|(connection, cold)| FeedPosition {
            id: cold.id,
            cursor: (connection.cursor != DETACHED).then_some(connection.cursor),
            state: connection.state,
        })
    }

    /// The position up to which every connection of the sweep has everything,
    /// and whether a sweep is under way.
    pub fn swept(&self) -> (u64, bool) {
        (self.swept, self.sweep_end.is_some())
    }

    /// Lists some of the connections in the rows before `before`, from the last
    /// to the first, while the feed ends at `end`.
    pub(crate) fn list(&self, before: usize, end: u64) -> ClientChunk {
        let before = before.min(self.connections.len());
        let start = before.saturating_sub(ROWS_PER_TURN);
        let rows = self.connections[start..before].iter().zip(&self.cold[start..before]);
        let client = |(connection, cold): (&Connection<S>, &ColdState)| ClientRow {
            id: cold.id,
            address: cold.peer(),
            usr: cold.participant.speaker().name().to_owned(),
            sub: cold.participant.speaker().sub().map(str::to_owned),
            moderator: cold.participant.speaker().is_moderator(),
            muted: false,
            since: DateTime::from_timestamp(cold.since_secs as i64, 0).unwrap_or_default(),
            messages: cold.messages,
            behind_bytes: end.saturating_sub(connection.cursor),
            state: connection.state,
        };
        ClientChunk { clients: rows.map(client).collect(), before: start }
    }

    /// Tells the time; to be called before anything else in a turn.
    pub fn tick(&mut self, now: Now) {
        self.ms += now.ms.saturating_sub(self.ticked_ms).min(STANDSTILL_MS);
        self.ticked_ms = self.ticked_ms.max(now.ms);
    }

    /// Takes a connection in, with the bytes that came behind its handshake. It
    /// may have missed something on the way here, so it begins as lagging.
    pub fn adopt(
        &mut self,
        stream: S,
        arrival: NewConnection,
        mut received: Vec<u8>,
        turn: &mut Turn<'_>,
    ) {
        let row = self.connections.len();
        self.rows.insert(arrival.id, row);
        self.lagging.insert((arrival.cursor, arrival.id));
        let connection = Connection::new(stream, arrival.cursor);
        self.connections.push(connection);
        let mut cold = ColdState {
            id: arrival.id,
            permit: arrival.permit,
            since_secs: arrival.since_secs,
            message_bytes_max: arrival.message_bytes_max,
            messages: 0,
            last_frame_ms: self.ms,
            ping_due_ms: 0,
            pinged_ms: NEVER,
            reads_until_ms: 0,
            participant: Default::default(),
        };
        cold.spread_ping(turn.limits.ping_interval.as_millis() as u64, self.ms);
        cold.start_lagging(self.ms);
        self.cold.push(cold);
        if !received.is_empty() {
            self.receive_early(row, &mut received, turn);
        }
        self.serve(arrival.id, turn);
    }

    /// Takes a connection in that another process handed over.
    pub fn resume(
        &mut self,
        stream: S,
        row: &ConnectionSnapshot,
        permit: ConnectionPermit,
        turn: &mut Turn<'_>,
    ) {
        let at = self.connections.len();
        self.rows.insert(row.id, at);
        let connection = Connection::resume(stream, row, self.ms);
        if connection.cursor != DETACHED {
            self.lagging.insert((connection.cursor, row.id));
        }
        self.connections.push(connection);
        let mut cold = ColdState::resume(row, permit, self.ms, turn.now.ms);
        cold.start_lagging(self.ms);
        self.cold.push(cold);
        self.restore_held(at, &row.held, turn);
        self.serve(row.id, turn);
    }

    /// Gives every connection away, as it is at this moment.
    pub fn hand_over(&mut self, now: Now) -> Vec<(ConnectionSnapshot, S)> {
        let connections = std::mem::take(&mut self.connections).into_iter();
        let cold = std::mem::take(&mut self.cold);
        let mut held = std::mem::take(&mut self.held);
        self.rows.clear();
        self.readable = Default::default();
        self.lagging.clear();
        self.reading.clear();
        (self.sweep_row, self.sweep_end, self.timer_row) = (0, None, None);
        let row = |(connection, cold): (Connection<S>, ColdState)| {
            connection.into_snapshot(&cold, held.take(cold.id), self.ms, now.ms)
        };
        connections.zip(cold).map(row).collect()
    }

    /// The client has sent its last byte; it is behind what is still to be read.
    pub fn ended(&mut self, id: u64) {
        if let Some(connection) = self.row(id) {
            connection.ended = true;
        }
        self.readable(id);
    }

    /// The socket has something to read; the next turn will.
    pub fn readable(&mut self, id: u64) {
        let Some(connection) = self.row(id) else { return };
        if !connection.queued {
            connection.queued = true;
            let proven = connection.proven;
            self.readable[usize::from(proven)].push_back(id);
        }
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, id: u64, turn: &mut Turn<'_>) {
        if self.row(id).is_some_and(|connection| connection.state != FeedState::Swept) {
            self.serve(id, turn);
        }
    }

    /// One turn: reads what is readable and publishes as one batch what may be
    /// sent, takes the news, sweeps and looks after a slice of the
    /// connections. Gives back whether the other shards should be woken: there
    /// is news, or the gate may have opened.
    pub fn turn(&mut self, scratch: &mut [u8], turn: &mut Turn<'_>) -> bool {
        let room = turn.room;
        self.tick(turn.now);
        self.read(scratch, turn);
        // Letters may have brought messages too.
        let mut wake = !turn.batch.is_empty();
        room.publish(turn.batch, turn.now.tim);
        if room.end() != self.view_end() {
            self.fetch_feed(turn);
        }
        self.sweep(turn);
        // A round that is under way is finished first, or the last rows might never
        // be looked after.
        if self.timer_row.is_none() && turn.now.ms >= self.timers_due_ms {
            self.timers_due_ms = turn.now.ms + TIMER_INTERVAL_MS;
            self.timer_row = Some(0);
        }
        self.run_timers(turn);
        wake |= room.gate().report_progress(self.shard, self.swept, self.oldest_reading());
        wake
    }

    /// When the next turn is due if no event asks for it: 0 is at once, nothing
    /// is never.
    pub fn due_ms(&self, room: &Room) -> Option<u64> {
        let work = self.sweep_end.is_some()
            || self.timer_row.is_some()
            || room.end() != self.view_end()
            || self.has_readable()
            || self
                .held
                .first_turn()
                .is_some_and(|turn| room.gate().is_due_or_wait(self.shard, turn));
        match (work, self.connections.is_empty()) {
            (true, _) => Some(0),
            (false, false) => Some(self.timers_due_ms),
            (false, true) => None,
        }
    }

    /// Looks after every connection from the next turn on, under new bounds.
    pub fn run_timers_soon(&mut self) {
        self.timers_due_ms = 0;
    }

    /// Reads no more messages; the feed will end, and stay at its end.
    pub fn stop_reading(&mut self) {
        self.farewell = Some(None);
        self.held = Held::default();
        for row in 0..self.connections.len() {
            self.read_on(row);
        }
    }

    /// Closes every connection with this reason as soon as it has everything.
    pub fn close_all(&mut self, close: Close) {
        self.farewell = Some(Some(close));
        // Even if nothing is left to hand out, every connection is visited.
        self.sweep_row = 0;
        self.sweep_end = Some(self.view_end());
    }

    /// Tells a connection something that is for it alone.
    pub fn send_notice(&mut self, id: u64, text: &[u8], turn: &mut Turn<'_>) {
        if let Some(connection) = self.row(id)
            && !connection.queue_frame(Opcode::Text, text)
        {
            self.counters.notices_dropped += 1;
        }
        self.write_own_frames(id, turn);
    }

    /// Closes whom `target` means among some of the connections in the rows
    /// before `before`, from the last to the first, as they are listed.
    /// Gives back how many, and the row before which to go on.
    pub fn kick(&mut self, target: &Target, before: usize, turn: &mut Turn<'_>) -> (usize, usize) {
        let before = before.min(self.connections.len());
        let start = before.saturating_sub(ROWS_PER_TURN);
        let is_meant = |cold: &&ColdState| {
            let (speaker, from) = (cold.participant.speaker(), cold.peer().block());
            target.matches(&speaker.id(speaker.name(), from), cold.id)
        };
        let meant = self.cold[start..before].iter().filter(is_meant);
        let meant: Vec<u64> = meant.map(|cold| cold.id).collect();
        let mut kicked = 0;
        for id in meant {
            if let Some(&row) = self.rows.get(&id)
                && self.connections[row].closing().is_none()
            {
                kicked += 1;
                self.held.remove(id);
                self.read_on(row);
                self.close(row, &close::KICKED, AfterClose::AwaitClose);
                self.write_own_frames(id, turn);
            }
        }
        self.counters.kicked += kicked as u64;
        (kicked, start)
    }

    /// Begins or goes on with the end of a connection. Its time to end is counted
    /// from the first call.
    pub(super) fn close(&mut self, row: usize, close: &Close, then: AfterClose) {
        let connection = &mut self.connections[row];
        let begun = connection.closing().map(|closing| closing.deadline_ms);
        let deadline_ms = begun.unwrap_or(self.ms + CLOSE_TIMEOUT_MS);
        connection.close(close, Closing { deadline_ms, then });
    }

    /// The end of a connection: it is removed, as soon as none of the messages
    /// waits that its client sent before.
    pub(super) fn disconnect(&mut self, row: usize) {
        let (connection, id) = (&mut self.connections[row], self.cold[row].id);
        if self.held.bytes(id) == 0 {
            return self.remove(row);
        }
        self.lagging.remove(&(connection.cursor, id));
        self.reading.remove(&(connection.cursor, id));
        connection.finish(self.ms);
    }

    /// Reads a connection that was not read because its messages waited.
    pub(super) fn read_on(&mut self, row: usize) {
        if std::mem::take(&mut self.connections[row].unread) {
            self.readable(self.cold[row].id);
        }
    }

    pub(super) fn has_readable(&self) -> bool {
        self.readable.iter().any(|queue| !queue.is_empty())
    }

    pub(super) fn row(&mut self, id: u64) -> Option<&mut Connection<S>> {
        self.connections.get_mut(*self.rows.get(&id)?)
    }

    /// Drops a connection. Rows stay dense, and those that the sweep has visited
    /// stay before those that it has not.
    pub(super) fn remove(&mut self, mut row: usize) {
        if row < self.sweep_row {
            self.sweep_row -= 1;
            self.swap(row, self.sweep_row);
            row = self.sweep_row;
        }
        let last = self.connections.len() - 1;
        self.swap(row, last);
        let (connection, cold) = (self.connections.pop(), self.cold.pop());
        if let (Some(connection), Some(cold)) = (connection, cold) {
            self.rows.remove(&cold.id);
            self.held.remove(cold.id);
            self.lagging.remove(&(connection.cursor, cold.id));
            self.reading.remove(&(connection.cursor, cold.id));
        }
        self.shrink();
    }

    pub(super) fn swap(&mut self, a: usize, b: usize) {
        self.connections.swap(a, b);
        self.cold.swap(a, b);
        self.rows.insert(self.cold[a].id, a);
        self.rows.insert(self.cold[b].id, b);
    }

    /// Gives memory back when most of the connections have left.
    pub(super) fn shrink(&mut self) {
        const KEPT: usize = 1024;
        let len = self.connections.len();
        if self.connections.capacity() > KEPT && len < self.connections.capacity() / 4 {
            self.connections.shrink_to(len * 2);
            self.cold.shrink_to(len * 2);
            self.rows.shrink_to(len * 2);
            self.readable.iter_mut().for_each(|queue| queue.shrink_to(len * 2));
        }
    }
}

//! The connections of a shard, in dense rows. The table is generic over the stream, so that
//! tests can drive it without sockets.
//!
//! What happens to connections is in other files: [`turn`](super::turn) adopts them and runs
//! a turn, which [reads](super::read), [sweeps](super::sweep), writes to [slow](super::slow)
//! connections and runs [timers](super::timers); [`requests`](super::requests) is what
//! operators and moderators can ask for.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, ErrorKind};

use crate::chat::{Actor, ModAction, Now, Rules, Tim};
use crate::config::Limits;
use crate::feed::{Encoding, Pieces};
use crate::room::{Batch, Room};
use crate::server::client_log::{ClientEvent, ClientLog, CloseReason};
use crate::server::counters::Counters;
use crate::server::shard::cold_state::ColdState;
use crate::server::shard::connection::{Connection, FeedState, Readiness, Stream};
use crate::server::shard::early::Early;
use crate::server::shard::held::Held;
use crate::server::shard::outbox::Closing;
use crate::server::shard::post::Posts;
use crate::server::shard::tally::{AddressTraffic, Tally};
use crate::server::snapshot::DETACHED;
use crate::server::socket::Peer;
use crate::ws::close::{AfterClose, Close};

/// The most connections that one turn visits, so that a sweep does not delay senders.
pub(super) const ROWS_PER_TURN: usize = 256;
/// The time limit for the answer to a close frame.
const CLOSE_TIMEOUT_MS: u64 = 5_000;

/// What a turn of the event loop passes to the table.
pub struct Turn<'a> {
    /// The time.
    pub now: Now,
    /// A clock in microseconds that never steps back, for measuring.
    pub clock_us: &'a dyn Fn() -> u64,
    /// The time of day, for measuring how old a message is.
    pub time_of_day: &'a dyn Fn() -> Tim,
    /// The room, which gives messages their order.
    pub room: &'a Room,
    /// Which messages are accepted.
    pub rules: &'a Rules,
    /// The configured limits.
    pub limits: &'a Limits,
    /// The messages of this turn.
    pub batch: &'a mut Batch,
    /// The moderation actions that were requested in this turn.
    pub pending: &'a mut Vec<PendingAction>,
    /// The log of what happens to clients.
    pub client_log: &'a ClientLog,
}

/// A moderation action that a moderator has requested. The shard carries it out and sends
/// the result to the connection.
#[derive(Debug)]
pub struct PendingAction {
    /// The connection that requested it.
    pub id: u64,
    /// The action.
    pub action: ModAction,
    /// The moderator.
    pub actor: Actor,
}

/// How far a connection has come in the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedPosition {
    /// Its id.
    pub id: u64,
    /// Its cursor; `None` if it gets nothing more from the feed.
    pub cursor: Option<u64>,
    /// How it gets the feed.
    pub state: FeedState,
}

/// The connections of one shard.
pub struct Table<S> {
    /// The parts that each sweep reads.
    pub(super) connections: Vec<Connection<S>>,
    /// The other parts, in the same rows.
    pub(super) cold: Vec<ColdState>,
    /// The row of each id.
    pub(super) rows: HashMap<u64, usize>,
    /// Connections with something to read: those that are not proven, and those that are.
    pub(super) readable: [VecDeque<u64>; 2],
    pub(super) held: Held,
    /// Messages that were sent by POST. Their texts are held.
    pub(super) posts: Posts,
    /// Lagging connections, by their cursor.
    pub(super) lagging: BTreeSet<(u64, u64)>,
    /// Those of them that read, or did when they were last looked at.
    pub(super) reading: BTreeSet<(u64, u64)>,
    pub(super) early: Early,
    /// The early connections know the state of the room as it was told before this position.
    pub(super) early_told: u64,
    /// An event stream was removed: the events may not be needed any more.
    pub(crate) lost_event_stream: bool,
    /// The part of the feed that the sweep sends.
    pub(super) view: Pieces,
    /// The position up to which all connections of the sweep have everything.
    pub(super) swept: u64,
    /// The sweep has visited the rows before this one.
    pub(super) sweep_row: usize,
    /// The end of the view when the sweep started; `None` while there is no sweep.
    pub(super) sweep_end: Option<u64>,
    /// When the sweep started, by the clock in microseconds.
    pub(super) sweep_began_us: u64,
    /// The clock of pings, idle clients and deadlines. It stops while the shard stands still.
    pub(super) ms: u64,
    /// The time of the last [`Table::tick`].
    pub(super) ticked_ms: u64,
    /// When the last sweep that sent something ended, by the clock `ms`.
    pub(super) swept_ms: u64,
    /// When the timers run next.
    pub(super) timers_due_ms: u64,
    /// The next row whose timers run; `None` if none does.
    pub(super) timer_row: Option<usize>,
    /// New messages are ignored, because the room ends.
    pub(super) ignores_messages: bool,
    /// Connections that have the whole feed are closed with this reason.
    pub(super) close_reason: Option<Close>,
    /// The number of this shard in the room.
    pub(super) shard: usize,
    pub(super) counters: Counters,
    pub(super) addresses: AddressTraffic,
}

impl<S: Stream> Table<S> {
    /// An empty table for this shard of the room.
    pub fn new(shard: usize, room: &Room) -> Self {
        Self {
            connections: Vec::new(),
            cold: Vec::new(),
            rows: HashMap::new(),
            readable: Default::default(),
            held: Held::default(),
            posts: Posts::default(),
            lagging: BTreeSet::new(),
            reading: BTreeSet::new(),
            early: Early::default(),
            early_told: room.end(),
            lost_event_stream: false,
            view: Pieces::default(),
            swept: room.end(),
            sweep_row: 0,
            sweep_end: None,
            sweep_began_us: 0,
            ms: 0,
            ticked_ms: 0,
            swept_ms: 0,
            timers_due_ms: 0,
            timer_row: None,
            ignores_messages: false,
            close_reason: None,
            shard,
            counters: Counters::default(),
            addresses: AddressTraffic::default(),
        }
    }

    /// The number of connections.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The number of lagging connections.
    pub fn lagging(&self) -> usize {
        self.lagging.len()
    }

    /// The cursor, the id and the address of the connection that is furthest behind.
    pub fn slowest(&self) -> Option<(u64, u64, Peer)> {
        let &(cursor, id) = self.lagging.first()?;
        let cold = self.cold.get(*self.rows.get(&id)?)?;
        Some((cursor, id, cold.peer()))
    }

    /// The events so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where messages are counted.
    pub(super) fn tally(&mut self) -> Tally<'_> {
        Tally { counters: &mut self.counters, addresses: &mut self.addresses }
    }

    /// The position of each connection, row by row, for tests.
    pub fn positions(&self) -> impl Iterator<Item = FeedPosition> {
        self.connections.iter().zip(&self.cold).map(|(connection, cold)| FeedPosition {
            id: cold.id,
            cursor: (connection.cursor != DETACHED).then_some(connection.cursor),
            state: connection.state,
        })
    }

    /// The position up to which all connections of the sweep have everything, and whether a
    /// sweep is under way.
    pub fn swept(&self) -> (u64, bool) {
        (self.swept, self.sweep_end.is_some())
    }

    /// The client has closed its sending side. What it sent before is still read.
    pub fn ended(&mut self, id: u64) {
        if let Some(cold) = self.rows.get(&id).and_then(|row| self.cold.get_mut(*row)) {
            cold.ended = true;
        }
        self.readable(id);
    }

    /// The socket has something to read; the next turn reads it.
    pub fn readable(&mut self, id: u64) {
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.readiness != Readiness::Queued {
            connection.readiness = Readiness::Queued;
            let proven = connection.proven;
            self.readable[usize::from(proven)].push_back(id);
        }
    }

    pub(super) fn connection_mut(&mut self, id: u64) -> Option<&mut Connection<S>> {
        self.connections.get_mut(*self.rows.get(&id)?)
    }

    /// Adds a connection in the last row.
    pub(super) fn insert(&mut self, connection: Connection<S>, cold: ColdState) -> usize {
        let row = self.connections.len();
        self.rows.insert(cold.id, row);
        if connection.cursor != DETACHED {
            self.lagging.insert((connection.cursor, cold.id));
        }
        self.connections.push(connection);
        self.cold.push(cold);
        row
    }

    /// Logs that a connection is closed.
    pub(super) fn log_close(&self, row: usize, reason: CloseReason, turn: &Turn<'_>) {
        let cold = &self.cold[row];
        turn.client_log.note(ClientEvent::Closed(reason), cold.peer(), Some(cold.id), turn.now.ms);
    }

    /// Starts to close a connection, or changes what follows. The time limit counts from the
    /// first call.
    pub(super) fn close(&mut self, row: usize, close: &Close, then: AfterClose) {
        let connection = &mut self.connections[row];
        // The client of an event stream sends no close frame.
        let then = match (connection.encoding, then) {
            (Encoding::Events, AfterClose::AwaitClose) => AfterClose::AwaitEnd,
            (_, then) => then,
        };
        let first_ms = connection.closing().map(|closing| closing.deadline_ms);
        let deadline_ms = first_ms.unwrap_or(self.ms + CLOSE_TIMEOUT_MS);
        connection.close(close, Closing { deadline_ms, then });
    }

    /// Ends a connection. It is removed as soon as none of its messages is held.
    pub(super) fn disconnect(&mut self, row: usize) {
        let (connection, id) = (&mut self.connections[row], self.cold[row].id);
        if self.held.bytes(id) == 0 {
            return self.remove(row);
        }
        self.lagging.remove(&(connection.cursor, id));
        self.reading.remove(&(connection.cursor, id));
        connection.finish(self.ms);
    }

    /// Counts a connection that is lost with this error. If its client has acknowledged nothing
    /// for too long, the system reports a timeout, or why it did not reach the client.
    pub(super) fn count_loss(&mut self, row: usize, error: &io::Error) {
        use ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
        let is_idle = matches!(error.kind(), TimedOut | HostUnreachable | NetworkUnreachable);
        let is_stream = self.connections[row].encoding == Encoding::Events;
        self.counters.idle += u64::from(is_stream && is_idle);
    }

    /// Reads a connection whose reading was deferred.
    pub(super) fn read_deferred(&mut self, row: usize) {
        if self.connections[row].readiness == Readiness::Deferred {
            self.readable(self.cold[row].id);
        }
    }

    /// Removes a connection. Rows stay dense, and those that the sweep has visited stay
    /// before those that it has not.
    pub(super) fn remove(&mut self, mut row: usize) {
        if row < self.sweep_row {
            self.sweep_row -= 1;
            self.swap(row, self.sweep_row);
            row = self.sweep_row;
        }
        self.swap(row, self.connections.len() - 1);
        if let (Some(connection), Some(mut cold)) = (self.connections.pop(), self.cold.pop()) {
            // A client may connect, violate the protocol, and connect again.
            if let bytes @ 1.. = cold.take_uncounted() {
                let address = cold.peer().block();
                self.addresses.of(address, self.ticked_ms).add_received(bytes, self.ticked_ms);
            }
            self.rows.remove(&cold.id);
            self.held.remove(cold.id);
            self.early.remove(cold.id);
            self.lost_event_stream |= connection.encoding == Encoding::Events;
            self.lagging.remove(&(connection.cursor, cold.id));
            self.reading.remove(&(connection.cursor, cold.id));
        }
        self.shrink();
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.connections.swap(a, b);
        self.cold.swap(a, b);
        self.rows.insert(self.cold[a].id, a);
        self.rows.insert(self.cold[b].id, b);
    }

    /// Returns memory when most connections are gone.
    fn shrink(&mut self) {
        const CAPACITY_MIN: usize = 1024;
        let (len, capacity) = (self.connections.len(), self.connections.capacity());
        if capacity > CAPACITY_MIN && len < capacity / 4 {
            self.connections.shrink_to(len * 2);
            self.cold.shrink_to(len * 2);
            self.rows.shrink_to(len * 2);
            self.readable.iter_mut().for_each(|queue| queue.shrink_to(len * 2));
        }
    }
}

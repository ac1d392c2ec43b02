//! A shard's connections, densely packed, and all that happens to them. It is
//! generic over the stream, so that a simulation can drive it without a socket.
//!
//! The life of a connection: it is [adopted](Table::adopt), its bytes are
//! read into the batch of a [turn](Table::turn), the sweep sends it the feed; if
//! its socket would block it is lagging and served when [writable](Table::writable),
//! or closed when the tail passes its cursor. Pings and deadlines are looked
//! after slice by slice.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::ErrorKind;

use super::clients::{Client, ClientState, Slice};
use super::connection::{
    AfterClose, Arrival, Closing, Connection, DETACHED, Details, State, Stream, Wrote,
    messages_before,
};
use super::state::Row;
use crate::chat::{Batch, Refusal, Room, Rules, Tim, notice};
use crate::config::Limits;
use crate::feed::{Pieces, Span};
use crate::wire::close::{self, Close};
use crate::wire::frame::Opcode;
use crate::wire::{Event, Then};

/// How long the answer to a close frame is waited for.
const CLOSE_TIMEOUT_MS: u64 = 5_000;
/// Connections that one turn visits, so that a sweep never keeps senders waiting.
const ROWS_PER_TURN: usize = 256;
/// How often pings and deadlines are looked after.
const CARE_INTERVAL_MS: u64 = 500;
/// The most that one turn reads, from all sockets together.
const READ_BYTES_PER_TURN: usize = 256 * 1024;
/// How long a connection that took something while it was far behind counts as
/// one that reads. Within this time a client has to take about a third of its
/// send buffer, so a room can be slowed by a slow reader, but not stopped.
const READING_MS: u64 = 1_000;
/// How much a lagging connection is given at once.
const CATCH_UP_BYTES: usize = 256 * 1024;

/// The time, taken once in a turn.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds of a clock that never steps.
    pub ms: u64,
    /// The time of day.
    pub tim: Tim,
}

/// What a turn of the event loop hands to the table.
pub struct Turn<'a> {
    /// The time.
    pub now: Now,
    /// Where messages get their order.
    pub room: &'a Room,
    /// Who may speak, and how.
    pub rules: &'a Rules,
    /// The bounds that the operator set.
    pub limits: &'a Limits,
    /// What was sent in this turn.
    pub batch: &'a mut Batch,
}

/// What happened, counted since the table was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that were sent to the room.
    pub messages: u64,
    /// Messages that were written to a socket to their end.
    pub deliveries: u64,
    /// Bytes of the feed that were written.
    pub bytes_sent: u64,
    /// Messages that were not sent, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Notices that were not sent either, because there were too many.
    pub notices_dropped: u64,
    /// Connections closed because the tail passed their cursor.
    pub too_slow: u64,
    /// Connections closed because nothing came from them.
    pub idle: u64,
    /// Connections closed because they broke a rule of RFC 6455.
    pub violations: u64,
}

impl Tally {
    /// Every figure with a name that never changes.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let refused = Refusal::ALL.iter().map(|refusal| refusal.code()).zip(self.refused);
        let Self { messages, deliveries, bytes_sent, notices_dropped, .. } = *self;
        let Self { too_slow, idle, violations, .. } = *self;
        [
            ("messages", messages),
            ("deliveries", deliveries),
            ("bytes_sent", bytes_sent),
            ("notices_dropped", notices_dropped),
            ("too_slow", too_slow),
            ("idle", idle),
            ("violations", violations),
        ]
        .into_iter()
        .chain(refused)
    }

    /// Adds to the figure of this name; one that is not known is not counted.
    pub fn add(&mut self, name: &str, count: u64) {
        let figure = match name {
            "messages" => &mut self.messages,
            "deliveries" => &mut self.deliveries,
            "bytes_sent" => &mut self.bytes_sent,
            "notices_dropped" => &mut self.notices_dropped,
            "too_slow" => &mut self.too_slow,
            "idle" => &mut self.idle,
            "violations" => &mut self.violations,
            code => match Refusal::ALL.iter().position(|refusal| refusal.code() == code) {
                Some(at) => &mut self.refused[at],
                None => return,
            },
        };
        *figure += count;
    }
}

/// The connections of one shard.
pub struct Table<S> {
    /// What every sweep reads, one after the other; the same rows as `details`.
    connections: Vec<Connection<S>>,
    details: Vec<Details>,
    /// The row of an id.
    rows: HashMap<u64, usize>,
    /// Connections that have something to read.
    readable: VecDeque<u64>,
    /// Lagging connections by their cursor.
    lagging: BTreeSet<(u64, u64)>,
    /// Those of them that are far behind, and read all the same.
    reading: BTreeSet<(u64, u64)>,
    /// The pieces of the feed that the sweep is handing out.
    view: Pieces,
    /// The position up to which every connection of the sweep has everything.
    swept: u64,
    /// Where the sweep is: rows before this one have been visited.
    next: usize,
    /// The end of the view when the sweep began; none while there is nothing to do.
    goal: Option<u64>,
    /// When pings and deadlines are looked after next.
    care_due_ms: u64,
    /// The row that is looked after next; none while no round is under way.
    care: Option<usize>,
    /// Messages are no longer read; with a reason, whoever has everything is
    /// closed with it.
    farewell: Option<Option<Close>>,
    /// The number of this shard in the room.
    shard: usize,
    tally: Tally,
}

impl<S: Stream> Table<S> {
    /// An empty table for that shard of the room.
    pub fn new(shard: usize, room: &Room) -> Self {
        Self {
            connections: Vec::new(),
            details: Vec::new(),
            rows: HashMap::new(),
            readable: VecDeque::new(),
            lagging: BTreeSet::new(),
            reading: BTreeSet::new(),
            view: Pieces::default(),
            swept: room.end(),
            next: 0,
            goal: None,
            care_due_ms: 0,
            care: None,
            farewell: None,
            shard,
            tally: Tally::default(),
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
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Lists some of the connections in the rows before `before`, from the last
    /// to the first, while the feed ends at `end`.
    pub(super) fn list(&self, before: usize, end: u64) -> Slice {
        let before = before.min(self.connections.len());
        let start = before.saturating_sub(ROWS_PER_TURN);
        let rows = self.connections[start..before].iter().zip(&self.details[start..before]);
        let client = |(connection, details): (&Connection<S>, &Details)| Client {
            id: details.id,
            peer: details.peer,
            since_secs: details.since_secs,
            messages: details.messages,
            behind_bytes: end.saturating_sub(connection.cursor),
            state: match connection.state {
                State::Swept => ClientState::Swept,
                State::Lagging => ClientState::Lagging,
                State::Closing => ClientState::Closing,
            },
        };
        Slice { clients: rows.map(client).collect(), before: start }
    }

    /// The stream of a connection, if it is still there.
    pub fn stream(&mut self, id: u64) -> Option<&mut S> {
        let row = *self.rows.get(&id)?;
        Some(&mut self.connections[row].stream)
    }

    /// Takes a connection in, with the bytes that came behind its handshake. It
    /// may have missed something on the way here, so it begins as lagging.
    pub fn adopt(&mut self, stream: S, arrival: Arrival, received: &mut [u8], turn: &mut Turn<'_>) {
        let ping_interval_ms = turn.limits.ping_interval.as_millis() as u64;
        // Spread over the interval, so that a storm of connections does not
        // come back as a storm of pings.
        let phase_ms = arrival.id.wrapping_mul(0x9E37_79B9_7F4A_7C15) % ping_interval_ms.max(1);
        let row = self.connections.len();
        self.rows.insert(arrival.id, row);
        self.lagging.insert((arrival.cursor, arrival.id));
        self.connections.push(Connection::new(stream, arrival.cursor));
        self.details.push(Details {
            id: arrival.id,
            peer: arrival.peer,
            since_secs: arrival.since_secs,
            message_bytes_max: arrival.message_bytes_max,
            messages: 0,
            heard_ms: turn.now.ms,
            ping_due_ms: turn.now.ms + 1 + phase_ms,
            read_ms: 0,
            speaker: Default::default(),
        });
        if !received.is_empty() {
            self.take(row, received, turn);
        }
        self.serve(arrival.id, turn);
    }

    /// Takes a connection in that another process handed over.
    pub fn resume(&mut self, stream: S, row: &Row, turn: &mut Turn<'_>) {
        let at = self.connections.len();
        self.rows.insert(row.id, at);
        let connection = Connection::resume(stream, row, turn.now.ms);
        if connection.cursor != DETACHED {
            self.lagging.insert((connection.cursor, row.id));
        }
        self.connections.push(connection);
        self.details.push(Details::resume(row, turn.now.ms));
        self.serve(row.id, turn);
    }

    /// Gives every connection away, as it is at this moment.
    pub fn hand_over(&mut self, now: Now) -> Vec<(Row, S)> {
        let connections = std::mem::take(&mut self.connections).into_iter();
        let details = std::mem::take(&mut self.details);
        self.rows.clear();
        self.readable.clear();
        self.lagging.clear();
        self.reading.clear();
        (self.next, self.goal, self.care) = (0, None, None);
        connections.zip(details).map(|(c, details)| c.into_row(&details, now.ms)).collect()
    }

    /// The socket has something to read; the next turn will.
    pub fn readable(&mut self, id: u64) {
        let Some(connection) = self.row(id) else { return };
        if !connection.queued {
            connection.queued = true;
            self.readable.push_back(id);
        }
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, id: u64, turn: &mut Turn<'_>) {
        if self.row(id).is_some_and(|connection| connection.state != State::Swept) {
            self.serve(id, turn);
        }
    }

    /// One turn: reads what is readable if the gate is open and publishes it as
    /// one batch, takes the news, sweeps and looks after a slice of the
    /// connections. Gives back whether the other shards should be woken: there
    /// is news, or the gate may have opened.
    pub fn turn(&mut self, scratch: &mut [u8], turn: &mut Turn<'_>) -> bool {
        let room = turn.room;
        if !self.readable.is_empty() && room.is_open() {
            self.read(scratch, turn);
        }
        // Letters may have brought messages too.
        let mut wake = !turn.batch.is_empty();
        room.publish(turn.batch, turn.now.tim);
        if room.end() != self.known() {
            self.take_news(turn);
        }
        self.sweep(turn);
        if turn.now.ms >= self.care_due_ms {
            self.care_due_ms = turn.now.ms + CARE_INTERVAL_MS;
            self.care = Some(0);
        }
        self.look_after(turn);
        let reading = self.reading.first().map_or(u64::MAX, |first| first.0);
        wake |= room.progress(self.shard, self.swept, reading);
        wake
    }

    /// When the next turn is due if no event asks for it: 0 is at once, nothing
    /// is never.
    pub fn due_ms(&self, room: &Room) -> Option<u64> {
        let work = self.goal.is_some()
            || self.care.is_some()
            || room.end() != self.known()
            || (!self.readable.is_empty() && room.is_open_or_wait());
        match (work, self.connections.is_empty()) {
            (true, _) => Some(0),
            (false, false) => Some(self.care_due_ms),
            (false, true) => None,
        }
    }

    /// Reads what is readable, one read of each connection in turn; messages go
    /// into the batch.
    fn read(&mut self, scratch: &mut [u8], turn: &mut Turn<'_>) {
        let mut budget = READ_BYTES_PER_TURN;
        for _ in 0..self.readable.len() {
            let Some(id) = self.readable.pop_front() else { return };
            let Some(&row) = self.rows.get(&id) else { continue };
            self.connections[row].queued = false;
            match self.connections[row].stream.read(scratch) {
                Ok(0) => self.remove(row),
                Ok(read) => {
                    // A shorter read means drained: the next edge will tell.
                    let drained = read < scratch.len();
                    self.take(row, &mut scratch[..read], turn);
                    self.speak(id, turn);
                    if !drained {
                        self.readable(id);
                    }
                    budget = budget.saturating_sub(read);
                    if budget == 0 {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => self.readable(id),
                Err(_) => self.remove(row),
            }
        }
    }

    /// Takes the room's news, closes whoever lost its place, and begins a sweep
    /// if there is something to hand out.
    fn take_news(&mut self, turn: &mut Turn<'_>) {
        let floor = turn.room.news(self.shard, &mut self.view);
        self.pass(floor, turn);
        turn.room.needs(self.shard, floor);
        if self.goal.is_none() {
            self.begin_sweep();
        }
    }

    /// The position up to which this shard knows the feed.
    fn known(&self) -> u64 {
        self.view.end().unwrap_or(self.swept)
    }

    /// Visits the next connections and sends each all that it lacks
    /// in one write.
    fn sweep(&mut self, turn: &mut Turn<'_>) {
        let Some(goal) = self.goal else { return };
        let mut gone = Vec::new();
        let mut short = Vec::new();
        // Neighbours mostly have the same cursor, and so lack the same bytes.
        let (mut cursor, mut span) = (DETACHED, Span::default());
        let start = self.next;
        let end = self.connections.len().min(start + ROWS_PER_TURN);
        for (row, connection) in self.connections.iter_mut().enumerate().take(end).skip(start) {
            if connection.state != State::Swept {
                continue;
            }
            if connection.cursor != cursor {
                cursor = connection.cursor;
                span = self.view.span(cursor);
            }
            if span.bytes == 0 {
                continue;
            }
            match connection.write_span(&span) {
                Ok(written) if written == span.bytes => {
                    self.tally.deliveries += span.messages;
                    self.tally.bytes_sent += span.bytes as u64;
                }
                Ok(written) => {
                    let done = messages_before(&self.view, cursor + written as u64)
                        - messages_before(&self.view, cursor);
                    self.tally.deliveries += done;
                    self.tally.bytes_sent += written as u64;
                    connection.state = State::Lagging;
                    let id = self.details[row].id;
                    self.lagging.insert((connection.cursor, id));
                    short.push(id);
                }
                Err(_) => gone.push(self.details[row].id),
            }
        }
        self.next = end;
        for id in gone {
            self.remove_id(id);
        }
        // What would block is lagging, what only took less goes on.
        for id in short {
            self.serve(id, turn);
        }
        if self.farewell.as_ref().is_some_and(Option::is_some) {
            self.say_farewell(start..self.next, turn);
        }
        if self.next < self.connections.len() {
            return;
        }
        self.swept = goal;
        self.view.forget_before(goal);
        self.goal = None;
        self.begin_sweep();
    }

    /// Reads no more messages; the feed will end, and stay at its end.
    pub fn stop_reading(&mut self) {
        self.farewell = Some(None);
    }

    /// Closes every connection with this reason as soon as it has everything.
    pub fn close_all(&mut self, close: Close) {
        self.farewell = Some(Some(close));
        // Even if nothing is left to hand out, every connection is visited.
        self.next = 0;
        self.goal = Some(self.known());
    }

    /// Pings, idle connections and those that never answered a close frame,
    /// among the next connections of a round.
    fn look_after(&mut self, turn: &mut Turn<'_>) {
        let Some(start) = self.care else { return };
        let idle_ms = turn.limits.idle_timeout.as_millis() as u64;
        let interval_ms = turn.limits.ping_interval.as_millis() as u64;
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

    fn look_after_one(&mut self, id: u64, idle_ms: u64, turn: &mut Turn<'_>) {
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

    /// Closes the lagging connections whose cursor is before `floor`.
    fn pass(&mut self, floor: u64, turn: &mut Turn<'_>) {
        while let Some(&(cursor, id)) = self.lagging.first().filter(|first| first.0 < floor) {
            let Some(&row) = self.rows.get(&id) else { return };
            let pieces = turn.room.missed(cursor, 1);
            self.lose_place(row, &pieces, turn);
            self.serve(id, turn);
        }
    }

    /// The tail has passed a connection: it gets the rest of the frame that it
    /// has begun, which is in `pieces`, and a close frame.
    fn lose_place(&mut self, row: usize, pieces: &Pieces, turn: &mut Turn<'_>) {
        let (connection, id) = (&mut self.connections[row], self.details[row].id);
        self.reading.remove(&(connection.cursor, id));
        let behind = turn.room.messages() - messages_before(pieces, connection.cursor);
        self.lagging.remove(&(connection.cursor, id));
        connection.detach(pieces);
        if connection.closing().is_none() {
            self.tally.too_slow += 1;
            self.close(row, &Close::too_slow(behind), AfterClose::AwaitClose, turn.now);
        }
    }

    /// Hands the bytes that a connection sent to the rules.
    fn take(&mut self, row: usize, bytes: &mut [u8], turn: &mut Turn<'_>) {
        let (connection, details) = (&mut self.connections[row], &mut self.details[row]);
        let closing = connection.closing();
        if closing.is_some_and(|closing| closing.then == AfterClose::AwaitEnd) {
            return;
        }
        let deaf = self.farewell.is_some() || closing.is_some();
        let tally = &mut self.tally;
        let mut closed = None;
        let mut inbound = std::mem::take(&mut connection.inbound);
        let result = inbound.take(bytes, details.message_bytes_max as usize, |event| {
            match event {
                Event::Text(_) | Event::Binary if deaf => {}
                Event::Text(text) => {
                    match turn.rules.admit(text, &mut details.speaker, turn.now.tim) {
                        Ok(message) => {
                            turn.batch.push(|out| message.encode(out));
                            details.messages = details.messages.wrapping_add(1);
                            tally.messages += 1;
                        }
                        Err(refusal) => refuse(refusal, connection, details, turn.now, tally),
                    }
                }
                Event::Binary => refuse(Refusal::Binary, connection, details, turn.now, tally),
                Event::Ping(payload) => {
                    connection.say(Opcode::Pong, payload);
                }
                Event::Pong => {}
                Event::Close(code) => closed = Some(Close::answer(code)),
            }
            Then::Continue
        });
        match result {
            Ok(frames) => {
                connection.inbound = inbound;
                if frames > 0 {
                    details.heard_ms = turn.now.ms;
                }
                if let Some(answer) = closed {
                    self.close(row, &answer, AfterClose::Drop, turn.now);
                }
            }
            Err(violation) => {
                self.tally.violations += 1;
                self.close(row, &violation, AfterClose::AwaitEnd, turn.now);
            }
        }
    }

    /// Begins or goes on with the end of a connection.
    fn close(&mut self, row: usize, close: &Close, then: AfterClose, now: Now) {
        let deadline_ms = now.ms + CLOSE_TIMEOUT_MS;
        self.connections[row].close(close, Closing { deadline_ms, then });
    }

    /// Writes the own frames of a connection, unless its socket would block.
    fn speak(&mut self, id: u64, turn: &mut Turn<'_>) {
        let Some(&row) = self.rows.get(&id) else { return };
        let connection = &self.connections[row];
        let silent = !connection.has_to_say() && connection.closing().is_none();
        if !silent && connection.state != State::Lagging {
            self.serve(id, turn);
        }
    }

    /// Writes all that a connection outside the sweep lacks, until its socket
    /// would block; then it is lagging. Whoever has everything joins the sweep.
    fn serve(&mut self, id: u64, turn: &mut Turn<'_>) {
        while let Some(&row) = self.rows.get(&id) {
            let connection = &mut self.connections[row];
            let before = connection.cursor;
            let end = turn.room.end();
            // What is in the sweep is at a frame boundary, and speaks for itself.
            let outside = connection.state != State::Swept && before < end;
            let pieces = match outside {
                true => turn.room.missed(before, CATCH_UP_BYTES),
                false => Pieces::default(),
            };
            if outside && pieces.is_empty() {
                self.lose_place(row, &pieces, turn);
                continue;
            }
            let Ok((wrote, messages)) = connection.write(&pieces) else {
                return self.remove(row);
            };
            self.tally.deliveries += messages;
            self.tally.bytes_sent += connection.cursor - before;
            self.lagging.remove(&(before, id));
            self.reading.remove(&(before, id));
            if wrote == Wrote::Blocked {
                if connection.state == State::Swept {
                    connection.state = State::Lagging;
                }
                let (cursor, details) = (connection.cursor, &mut self.details[row]);
                if cursor != DETACHED {
                    self.lagging.insert((cursor, id));
                }
                if connection.state == State::Lagging {
                    if cursor > before && turn.room.is_far_behind(before) {
                        details.read_ms = turn.now.ms;
                    }
                    if details.read_ms + READING_MS > turn.now.ms {
                        self.reading.insert((cursor, id));
                    }
                }
                return;
            }
            match connection.closing() {
                Some(Closing { then: AfterClose::Drop, .. }) => return self.remove(row),
                Some(_) => return,
                None if connection.cursor < end && outside => {}
                None => {
                    connection.state = State::Swept;
                    match self.farewell.clone().flatten() {
                        Some(close) => self.close(row, &close, AfterClose::AwaitClose, turn.now),
                        None => return,
                    }
                }
            }
        }
    }

    /// Closes those of the rows just swept that have everything.
    fn say_farewell(&mut self, rows: std::ops::Range<usize>, turn: &mut Turn<'_>) {
        let done = |row: &usize| self.connections[*row].state == State::Swept;
        let ids: Vec<u64> = rows.filter(done).map(|row| self.details[row].id).collect();
        for id in ids {
            self.serve(id, turn);
        }
    }

    /// A sweep is due if the view holds something that not all have.
    fn begin_sweep(&mut self) {
        if self.known() > self.swept {
            self.next = 0;
            self.goal = Some(self.known());
        }
    }

    fn row(&mut self, id: u64) -> Option<&mut Connection<S>> {
        self.connections.get_mut(*self.rows.get(&id)?)
    }

    fn remove_id(&mut self, id: u64) {
        if let Some(&row) = self.rows.get(&id) {
            self.remove(row);
        }
    }

    /// Drops a connection. Rows stay dense, and those that the sweep has visited
    /// stay before those that it has not.
    fn remove(&mut self, mut row: usize) {
        if row < self.next {
            self.next -= 1;
            self.swap(row, self.next);
            row = self.next;
        }
        let last = self.connections.len() - 1;
        self.swap(row, last);
        let (connection, details) = (self.connections.pop(), self.details.pop());
        if let (Some(connection), Some(details)) = (connection, details) {
            self.rows.remove(&details.id);
            self.lagging.remove(&(connection.cursor, details.id));
            self.reading.remove(&(connection.cursor, details.id));
        }
        self.shrink();
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.connections.swap(a, b);
        self.details.swap(a, b);
        self.rows.insert(self.details[a].id, a);
        self.rows.insert(self.details[b].id, b);
    }

    /// Gives memory back when most of the connections have left.
    fn shrink(&mut self) {
        const KEPT: usize = 1024;
        let len = self.connections.len();
        if self.connections.capacity() > KEPT && len < self.connections.capacity() / 4 {
            self.connections.shrink_to(len * 2);
            self.details.shrink_to(len * 2);
            self.rows.shrink_to(len * 2);
            self.readable.shrink_to(len * 2);
        }
    }
}

/// Tells a sender why its message was not sent, if there is not too much to tell.
fn refuse<S: Stream>(
    refusal: Refusal,
    connection: &mut Connection<S>,
    details: &mut Details,
    now: Now,
    tally: &mut Tally,
) {
    tally.refused[refusal as usize] += 1;
    // Asked first, so that a flood of nonsense costs no text.
    let may = details.speaker.take_notice(now.ms);
    let mut text = Vec::new();
    if may {
        notice(refusal, now.tim, &mut text);
    }
    if !may || !connection.say(Opcode::Text, &text) {
        tally.notices_dropped += 1;
    }
}

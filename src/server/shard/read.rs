//! Reads what clients send, decodes it into events and handles them.

use std::io::ErrorKind;

use crate::chat::Refusal;
use crate::feed::Encoding;
use crate::server::client_log::CloseReason;
use crate::server::shard::cold_state::NEVER;
use crate::server::shard::connection::{Readiness, Stream};
use crate::server::shard::held::Held;
use crate::server::shard::sender::{HeldSender, Sender};
use crate::server::shard::table::{Table, Turn};
use crate::server::shard::tally::Tally;
use crate::ws::close::{AfterClose, Close};
use crate::ws::frame::{self, Opcode};
use crate::ws::{Event, Violation};

/// The most bytes that one turn reads from proven connections together.
const READ_BYTES_PER_TURN: usize = 256 * 1024;
/// The same for all other connections, so that neither kind delays the other.
const UNPROVEN_BYTES_PER_TURN: usize = 64 * 1024;
/// The most bytes of held messages that one turn handles; each message counts
/// [`PER_MESSAGE_BYTES`] more than its text.
const HELD_BYTES_PER_TURN: usize = 256 * 1024;
const PER_MESSAGE_BYTES: usize = 64;
/// The most bytes of one read while messages have to wait, and of one read of a connection
/// that is not proven.
const CAUTIOUS_READ_BYTES: usize = 4096;
/// A connection with so many bytes of held messages is not read.
const HELD_BYTES_MAX: usize = 8192;
/// How long a turn verifies tokens for each of the two kinds of connections. A
/// verification that has begun is finished.
const VERIFY_US_PER_TURN: u64 = 2_000;
/// What the verification of a token adds to the turn of its speaker: it can take as long
/// as the handling of so much text.
const TOKEN_PRICE_BYTES: u64 = 8 * 1024;

/// What a turn may still use. The first of two values is for connections that are not
/// proven, the second for those that are.
#[derive(Default)]
struct TurnBudget {
    /// Bytes to read.
    read_bytes: [usize; 2],
    /// Bytes of held messages.
    held_bytes: usize,
    /// Microseconds of verification.
    verify_us: [u64; 2],
    /// When the time was measured last.
    measured_us: u64,
    /// The position up to which the feed may grow.
    feed_limit: u64,
    /// Every message has to wait, because others wait for the gate.
    all_wait: bool,
}

impl TurnBudget {
    fn new(shard: usize, turn: &Turn<'_>) -> Self {
        let gate = turn.room.gate();
        Self {
            read_bytes: [UNPROVEN_BYTES_PER_TURN, READ_BYTES_PER_TURN],
            held_bytes: HELD_BYTES_PER_TURN,
            verify_us: [VERIFY_US_PER_TURN; 2],
            measured_us: (turn.clock_us)(),
            feed_limit: gate.limit(),
            all_wait: gate.others_wait(shard),
        }
    }

    /// Whether there is time left to verify tokens.
    fn verifies(&self, proven: bool) -> bool {
        self.verify_us[usize::from(proven)] > 0
    }

    /// Subtracts the time of a verification that has just ended.
    fn charge(&mut self, proven: bool, turn: &Turn<'_>) {
        let now_us = (turn.clock_us)();
        let left_us = &mut self.verify_us[usize::from(proven)];
        *left_us = left_us.saturating_sub(now_us.saturating_sub(self.measured_us));
        self.measured_us = now_us;
    }
}

impl<S: Stream> Table<S> {
    /// Handles held messages and reads from the sockets that are readable, once from each.
    /// Accepted messages go into the batch. Tells the gate which message waits for it.
    pub(crate) fn read(&mut self, buffer: &mut [u8], turn: &mut Turn<'_>) {
        let mut budget = TurnBudget::new(self.shard, turn);
        self.handle_held(&mut budget, turn);
        self.read_ready(true, &mut budget, buffer, turn);
        self.read_ready(false, &mut budget, buffer, turn);
        turn.room.gate().set_first_turn(self.shard, self.first_held(&budget).map(|(due, ..)| due));
    }

    /// The next held message: its turn, its connection and whether that is proven. A
    /// message whose token has to wait for verification does not delay others.
    fn first_held(&self, budget: &TurnBudget) -> Option<(u64, u64, bool)> {
        let first = |proven| {
            let (due, id) = self.held.first(proven).filter(|_| budget.verifies(proven))?;
            Some((due, id, proven))
        };
        [first(true), first(false)].into_iter().flatten().min_by_key(|(due, ..)| *due)
    }

    /// Handles held messages in the order of their turns until the gate closes or the
    /// budget is used up.
    fn handle_held(&mut self, budget: &mut TurnBudget, turn: &mut Turn<'_>) {
        let gate = turn.room.gate();
        let turn_limit = gate.turn_limit(self.shard);
        while let Some((due, id, proven)) = self.first_held(budget) {
            let Some((held, mut sender)) = self.held_sender(id) else {
                self.held.remove(id);
                continue;
            };
            if sender.owes_frames() {
                // They are handled when the notices before them were written.
                held.park(id);
                continue;
            }
            let (Some(text), Some(account)) = (held.peek(id), sender.account(turn)) else {
                held.remove(id);
                continue;
            };
            let bytes = text.len();
            let own = account.served().saturating_add(bytes as u64);
            if own > due {
                // Another connection of the same account was served.
                held.set_priority(id, proven, own, false);
                continue;
            }
            let may = budget.held_bytes > 0 && due <= turn_limit;
            if !may || !turn.room.reserve(turn.batch, bytes, budget.feed_limit) {
                budget.all_wait = true;
                return;
            }
            if !sender.claim() {
                // It was withdrawn. What is reserved for it is released with the batch.
                self.remove_post(id, turn);
                continue;
            }
            budget.held_bytes = budget.held_bytes.saturating_sub(bytes + PER_MESSAGE_BYTES);
            // The first message of each connection counts for the address, even if its
            // token has a `sub`. If not, new connections would always come first.
            if let Some(account) = sender.account(turn) {
                gate.serve(account, due, bytes, 0);
            }
            let verified = sender.handle(text, turn);
            if verified {
                budget.charge(proven, turn);
            }
            let price_bytes = if verified { TOKEN_PRICE_BYTES } else { 0 };
            held.pop(id);
            if let Some(account) = sender.account(turn) {
                gate.serve(account, due, bytes, price_bytes);
                if let Some(next) = held.peek(id) {
                    let due = account.served().saturating_add(next.len() as u64);
                    held.set_priority(id, sender.is_proven(), due, true);
                }
            }
            if self.posts.is_handled(id) {
                self.remove_post(id, turn);
            }
            if self.resume_reading(id, turn) {
                return;
            }
        }
    }

    /// Reads on from a connection that has fewer held messages now. Returns whether it has
    /// none only because it has to be read first: then the next turn has to serve it.
    fn resume_reading(&mut self, id: u64, turn: &mut Turn<'_>) -> bool {
        let (bytes, Some(&row)) = (self.held.bytes(id), self.rows.get(&id)) else { return false };
        let connection = &mut self.connections[row];
        if bytes == 0 && connection.is_finished() {
            self.remove(row);
            return false;
        }
        let reads_on = bytes < HELD_BYTES_MAX && connection.readiness == Readiness::Deferred;
        let has_more = connection.readiness == Readiness::Queued || reads_on;
        if reads_on {
            self.readable(id);
        }
        self.write_own_frames(id, turn);
        bytes == 0 && has_more
    }

    /// Reads from the connections that are proven, or from the others.
    fn read_ready(
        &mut self,
        proven: bool,
        budget: &mut TurnBudget,
        buffer: &mut [u8],
        turn: &mut Turn<'_>,
    ) {
        for _ in 0..self.readable[usize::from(proven)].len() {
            let Some(id) = self.readable[usize::from(proven)].pop_front() else { return };
            let Some(&row) = self.rows.get(&id) else { continue };
            let connection = &mut self.connections[row];
            connection.readiness = Readiness::Drained;
            if self.held.bytes(id) >= HELD_BYTES_MAX {
                connection.readiness = Readiness::Deferred;
                continue;
            }
            let is_free = proven && self.held.is_empty() && turn.room.gate().is_open();
            let most = if is_free { buffer.len() } else { buffer.len().min(CAUTIOUS_READ_BYTES) };
            match connection.stream.read(&mut buffer[..most]) {
                Ok(0) => self.disconnect(row),
                Ok(read) => {
                    // A short read means that the socket is empty, and epoll will report new
                    // bytes; but it reports nothing after the end of the stream.
                    let drained = read < most && !self.cold[row].ended;
                    self.receive(row, &mut buffer[..read], budget, turn);
                    self.write_own_frames(id, turn);
                    if !drained {
                        self.readable(id);
                    }
                    let left_bytes = &mut budget.read_bytes[usize::from(proven)];
                    *left_bytes = left_bytes.saturating_sub(read);
                    if *left_bytes == 0 {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => self.readable(id),
                Err(error) => {
                    self.count_loss(row, &error);
                    self.disconnect(row);
                }
            }
        }
    }

    /// Handles the bytes that arrived with the handshake; their messages wait for the
    /// next turn.
    pub(crate) fn receive_early(&mut self, row: usize, bytes: &mut [u8], turn: &mut Turn<'_>) {
        self.receive(row, bytes, &mut TurnBudget { all_wait: true, ..TurnBudget::default() }, turn);
    }

    /// Restores the messages that were held in the previous process.
    pub(crate) fn restore_held(&mut self, row: usize, mut frames: &[u8], turn: &mut Turn<'_>) {
        let cold = &mut self.cold[row];
        while let Some((text, rest)) = frame::split(frames) {
            let due = turn.room.gate().turn_of(cold.account(turn), text.len());
            self.held.push(cold.id, &String::from_utf8_lossy(text), (false, due));
            frames = rest;
        }
    }

    /// Handles bytes of a connection, and closes it if they say so.
    fn receive(
        &mut self,
        row: usize,
        bytes: &mut [u8],
        budget: &mut TurnBudget,
        turn: &mut Turn<'_>,
    ) {
        let cold = &mut self.cold[row];
        let counted_bytes = cold.add_received(bytes.len(), turn.now.ms);
        if counted_bytes > 0 {
            let address = cold.peer().block();
            self.addresses.of(address, turn.now.ms).add_received(counted_bytes, turn.now.ms);
        }
        // What follows the request for an event stream has no meaning.
        if self.connections[row].encoding == Encoding::Events {
            return;
        }
        match self.handle_frames(row, bytes, budget, turn) {
            Ok(None) => {}
            Ok(Some(answer)) => self.close(row, &answer, AfterClose::Drop),
            Err(violation) => {
                self.counters.violations += 1;
                self.log_close(row, CloseReason::Protocol, turn);
                self.close(row, &violation.close, AfterClose::AwaitEnd);
            }
        }
    }

    /// Handles the frames in `bytes`. A control frame is handled at once, whatever the
    /// gate says; a message only if no other message has to be handled first and the
    /// budget allows it. Returns the answer to the client's close frame.
    fn handle_frames(
        &mut self,
        row: usize,
        mut bytes: &mut [u8],
        budget: &mut TurnBudget,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Close>, Violation> {
        let closing = self.connections[row].closing();
        if closing.is_some_and(|closing| closing.then != AfterClose::AwaitClose) {
            // Nothing that follows a close frame or a violation has a meaning.
            return Ok(None);
        }
        let ignores_messages = self.ignores_messages || closing.is_some();
        let now_ms = self.ms;
        let (held, mut sender) = self.sender(row);
        let (id, max) = (sender.cold.id, sender.cold.message_bytes_max as usize);
        let mut waits = budget.all_wait || must_wait(held, id, sender.connection.proven);
        let mut decoder = std::mem::take(&mut sender.connection.decoder);
        while let Some(event) = decoder.next(&mut bytes, max)? {
            sender.cold.last_frame_ms = now_ms;
            sender.cold.pinged_ms = NEVER;
            match event {
                Event::Text(_) | Event::Binary(_) if ignores_messages => {}
                // A browser cannot send a ping. Its page sends an empty message instead
                // to test the connection; the notice is the answer.
                Event::Text("") => {
                    sender.tally.counters.probes += 1;
                    sender.notify(Refusal::BadJson.into(), turn.now);
                }
                Event::Text(text) => {
                    let proven = sender.connection.proven;
                    waits = waits
                        || sender.connection.owes_frames()
                        || !budget.verifies(proven)
                        || !turn.room.reserve(turn.batch, text.len(), budget.feed_limit);
                    if waits {
                        let account = sender.cold.account(turn);
                        let due = turn.room.gate().turn_of(account, text.len());
                        held.push(id, text, (proven, due));
                    } else if sender.handle(text, turn) {
                        budget.charge(proven, turn);
                    }
                }
                Event::Binary(_) => sender.refuse(Refusal::Binary.into(), turn),
                Event::Ping(payload) => {
                    sender.connection.queue_frame(Opcode::Pong, payload);
                }
                Event::Pong | Event::Fragment => {}
                Event::Close(code) => return Ok(Some(Close::answer(code))),
            }
        }
        sender.connection.decoder = decoder;
        Ok(None)
    }

    /// The sender of held messages, and all that are held.
    fn held_sender(&mut self, id: u64) -> Option<(&mut Held, HeldSender<'_, S>)> {
        if let Some(&row) = self.rows.get(&id) {
            let (held, sender) = self.sender(row);
            return Some((held, HeldSender::Connection(sender)));
        }
        self.posts.get_mut(id)?;
        let tally = Tally { counters: &mut self.counters, addresses: &mut self.addresses };
        Some((&mut self.held, HeldSender::Post(id, &mut self.posts, tally)))
    }

    /// The connection in a row as the sender of messages, and those that are held.
    pub(super) fn sender(&mut self, row: usize) -> (&mut Held, Sender<'_, S>) {
        let (connection, cold) = (&mut self.connections[row], &mut self.cold[row]);
        let tally = Tally { counters: &mut self.counters, addresses: &mut self.addresses };
        (&mut self.held, Sender { connection, cold, tally })
    }
}

/// Whether a message of this connection has to wait behind others.
fn must_wait(held: &Held, id: u64, proven: bool) -> bool {
    !held.is_empty() && (held.has(proven) || held.bytes(id) > 0)
}

//! What clients send: read, cut into events, handed to the rules.

use std::io::ErrorKind;

use crate::chat::notice;
use crate::chat::{Actor, Admission, ChatRequest, Now, Refusal, Refused};
use crate::room::Account;
use crate::server::counters::Counters;
use crate::server::shard::connection::{ColdState, Connection, NEVER, Stream};
use crate::server::shard::held::Held;
use crate::server::shard::table::{PendingAction, Table, Turn};
use crate::ws::close::{AfterClose, Close};
use crate::ws::frame::{self, Opcode};
use crate::ws::{Event, Then};

/// The most that one turn reads from connections that are proven, all together.
const READ_BYTES_PER_TURN: usize = 256 * 1024;
/// The same of all others; so neither keep the others waiting, however many.
const UNPROVEN_BYTES_PER_TURN: usize = 64 * 1024;
/// The most that one turn handles of messages that waited, with [`PER_MESSAGE_BYTES`]
/// for each.
const HELD_BYTES_PER_TURN: usize = 256 * 1024;
/// What a message is counted for in that, besides its text.
const PER_MESSAGE_BYTES: usize = 64;
/// The most that one read takes where messages have to wait, or of a connection
/// that is not proven.
const CAUTIOUS_READ_BYTES: usize = 4096;
/// A connection with so many bytes of messages that wait is not read.
const HELD_BYTES_MAX: usize = 8192;
/// How long a turn verifies tokens for each of the two kinds of connections. A
/// verification that has begun is finished.
const VERIFY_US_PER_TURN: u64 = 2_000;
/// What a token that is verified counts for in its speaker's share: it can be as
/// dear as that much text, however short it is.
const TOKEN_PRICE_BYTES: u64 = 8 * 1024;

/// What a turn may still spend; on connections that are not proven, and on those
/// that are.
struct Budget {
    /// Bytes to be read.
    read_bytes: [usize; 2],
    /// Bytes of messages that waited.
    held_bytes: usize,
    /// Microseconds of verification.
    verify_us: [u64; 2],
    /// When the clock was last looked at.
    lap_us: u64,
    /// The position up to which the feed may grow.
    feed_limit: u64,
    /// Others wait for the gate, so every message has to.
    all_wait: bool,
}

impl Budget {
    fn new(shard: usize, turn: &Turn<'_>) -> Self {
        let gate = turn.room.gate();
        Self {
            read_bytes: [UNPROVEN_BYTES_PER_TURN, READ_BYTES_PER_TURN],
            held_bytes: HELD_BYTES_PER_TURN,
            verify_us: [VERIFY_US_PER_TURN; 2],
            lap_us: (turn.clock_us)(),
            feed_limit: gate.limit(),
            all_wait: gate.others_wait(shard),
        }
    }

    /// For messages that wait in any case.
    const fn none() -> Self {
        Self {
            read_bytes: [0; 2],
            held_bytes: 0,
            verify_us: [0; 2],
            lap_us: 0,
            feed_limit: 0,
            all_wait: true,
        }
    }

    /// Whether tokens may still be verified.
    fn verifies(&self, proven: bool) -> bool {
        self.verify_us[usize::from(proven)] > 0
    }

    /// A token was verified.
    fn charge(&mut self, proven: bool, turn: &Turn<'_>) {
        let now_us = (turn.clock_us)();
        let left_us = &mut self.verify_us[usize::from(proven)];
        *left_us = left_us.saturating_sub(now_us.saturating_sub(self.lap_us));
        self.lap_us = now_us;
    }
}

impl ColdState {
    /// Who pays for what it sends next, as far as is known.
    fn payer(&mut self, turn: &Turn<'_>) -> &Account {
        let (from, pace) = (self.peer.block(), turn.rules.rate_limit());
        turn.room.account(&mut self.participant, from, pace, turn.now.ms)
    }
}

impl<S: Stream> Table<S> {
    /// Handles messages that had to wait and reads what is readable, one read of
    /// each connection in turn; what is to be sent goes into the batch. Tells the
    /// gate who waits for it.
    pub(crate) fn read(&mut self, scratch: &mut [u8], turn: &mut Turn<'_>) {
        let mut budget = Budget::new(self.shard, turn);
        self.handle_held(&mut budget, turn);
        self.read_some(true, &mut budget, scratch, turn);
        self.read_some(false, &mut budget, scratch, turn);
        turn.room.gate().waits(self.shard, self.first_held(&budget).map(|(due, ..)| due));
    }

    /// The next message that waits: its turn, its connection and whether that is
    /// proven. What waits to be verified keeps back nobody else.
    fn first_held(&self, budget: &Budget) -> Option<(u64, u64, bool)> {
        let first = |proven| {
            let (due, id) = self.held.first(proven).filter(|_| budget.verifies(proven))?;
            Some((due, id, proven))
        };
        [first(true), first(false)].into_iter().flatten().min_by_key(|(due, ..)| *due)
    }

    /// Handles messages that wait, in their turns, as far as the gate is open and
    /// the budget goes.
    fn handle_held(&mut self, budget: &mut Budget, turn: &mut Turn<'_>) {
        let turn_limit = turn.room.gate().turn_limit(self.shard);
        while let Some((due, id, proven)) = self.first_held(budget) {
            let (Some(&row), Some(text)) = (self.rows.get(&id), self.held.peek(id)) else {
                self.held.remove(id);
                continue;
            };
            let (connection, cold) = (&mut self.connections[row], &mut self.cold[row]);
            let bytes = text.len();
            let own = cold.payer(turn).served().saturating_add(bytes as u64);
            if own > due {
                // Another connection of the same speaker was served.
                self.held.move_to(id, proven, own, false);
                continue;
            }
            let may = budget.held_bytes > 0 && due <= turn_limit;
            if !may || !turn.room.reserve(turn.batch, bytes, budget.feed_limit) {
                budget.all_wait = true;
                return;
            }
            budget.held_bytes = budget.held_bytes.saturating_sub(bytes + PER_MESSAGE_BYTES);
            // An address pays for the first message of each connection, even if a
            // token shows whose it is: or new connections would come first for ever.
            turn.room.gate().serve(cold.payer(turn), due, bytes, 0);
            let verified = handle(text, connection, cold, &mut self.counters, turn);
            if verified {
                budget.charge(proven, turn);
            }
            let (payer, price) = (cold.payer(turn), if verified { TOKEN_PRICE_BYTES } else { 0 });
            turn.room.gate().serve(payer, due, bytes, price);
            self.held.pop(id);
            if let Some(next) = self.held.peek(id) {
                let due = payer.served().saturating_add(next.len() as u64);
                self.held.move_to(id, connection.proven, due, true);
            }
            if self.held_less(id, turn) {
                return;
            }
        }
    }

    /// Goes on with a connection of which fewer messages wait. Says whether none
    /// does only because it has to be read first: then it must not miss its turn.
    fn held_less(&mut self, id: u64, turn: &mut Turn<'_>) -> bool {
        let (bytes, Some(&row)) = (self.held.bytes(id), self.rows.get(&id)) else { return false };
        let connection = &mut self.connections[row];
        if bytes == 0 && connection.is_finished() {
            self.remove(row);
            return false;
        }
        let reads_on = bytes < HELD_BYTES_MAX && std::mem::take(&mut connection.unread);
        let has_more = connection.queued || reads_on;
        if reads_on {
            self.readable(id);
        }
        self.write_own_frames(id, turn);
        bytes == 0 && has_more
    }

    /// Reads from the connections that are proven, or from those that are not.
    fn read_some(
        &mut self,
        proven: bool,
        budget: &mut Budget,
        scratch: &mut [u8],
        turn: &mut Turn<'_>,
    ) {
        for _ in 0..self.readable[usize::from(proven)].len() {
            let Some(id) = self.readable[usize::from(proven)].pop_front() else { return };
            let Some(&row) = self.rows.get(&id) else { continue };
            let connection = &mut self.connections[row];
            connection.queued = false;
            if self.held.bytes(id) >= HELD_BYTES_MAX {
                connection.unread = true;
                continue;
            }
            let free = proven && self.held.is_empty() && turn.room.gate().is_open();
            let most = if free { scratch.len() } else { scratch.len().min(CAUTIOUS_READ_BYTES) };
            match connection.stream.read(&mut scratch[..most]) {
                Ok(0) => self.disconnect(row),
                Ok(read) => {
                    // A shorter read means drained, and the next edge will tell;
                    // but none comes behind the last.
                    let drained = read < most && !connection.ended;
                    self.take(row, &mut scratch[..read], budget, turn);
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
                Err(_) => self.disconnect(row),
            }
        }
    }

    /// Takes the bytes that came behind the handshake of a connection; its
    /// messages wait for the next turn.
    pub(crate) fn take_early(&mut self, row: usize, bytes: &mut [u8], turn: &mut Turn<'_>) {
        self.take(row, bytes, &mut Budget::none(), turn);
    }

    /// Takes the messages that waited in the process before this one.
    pub(crate) fn take_held(&mut self, row: usize, mut frames: &[u8], turn: &mut Turn<'_>) {
        let cold = &mut self.cold[row];
        while let Some((text, rest)) = frame::split(frames) {
            let due = turn.room.gate().turn_of(cold.payer(turn), text.len());
            self.held.push(cold.id, &String::from_utf8_lossy(text), (false, due));
            frames = rest;
        }
    }

    /// Takes bytes that a connection sent. Control frames are handled at once,
    /// whatever the gate says; a message is, if there is nothing before it that
    /// waits, and the budget allows it.
    fn take(&mut self, row: usize, bytes: &mut [u8], budget: &mut Budget, turn: &mut Turn<'_>) {
        let (connection, cold) = (&mut self.connections[row], &mut self.cold[row]);
        let closing = connection.closing();
        if closing.is_some_and(|closing| closing.then != AfterClose::AwaitClose) {
            // Nothing that follows a close frame, or a violation, has a meaning.
            return;
        }
        let deaf = self.farewell.is_some() || closing.is_some();
        let (counters, held) = (&mut self.counters, &mut self.held);
        let mut waits = budget.all_wait || must_wait(held, cold.id, connection.proven);
        let mut closed = None;
        let mut inbound = std::mem::take(&mut connection.inbound);
        let result = inbound.take(bytes, cold.message_bytes_max as usize, |event| {
            match event {
                Event::Text(_) | Event::Binary(_) if deaf => {}
                // A browser cannot ping, so this is how a page asks whether the
                // connection is still there: the notice is the answer.
                Event::Text("") => {
                    counters.probes += 1;
                    send_notice(Refusal::BadJson.into(), connection, cold, turn.now, counters);
                }
                Event::Text(text) => {
                    let proven = connection.proven;
                    waits = waits
                        || !budget.verifies(proven)
                        || !turn.room.reserve(turn.batch, text.len(), budget.feed_limit);
                    if waits {
                        let due = turn.room.gate().turn_of(cold.payer(turn), text.len());
                        held.push(cold.id, text, (proven, due));
                    } else if handle(text, connection, cold, counters, turn) {
                        budget.charge(proven, turn);
                    }
                }
                Event::Binary(_) => {
                    refuse(Refusal::Binary.into(), connection, cold, turn.now, counters);
                }
                Event::Ping(payload) => {
                    connection.queue_frame(Opcode::Pong, payload);
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
                    cold.last_frame_ms = self.ms;
                    cold.pinged_ms = NEVER;
                }
                if let Some(answer) = closed {
                    self.close(row, &answer, AfterClose::Drop);
                }
            }
            Err(violation) => {
                self.counters.violations += 1;
                self.close(row, &violation, AfterClose::AwaitEnd);
            }
        }
    }
}

/// Whether a message of this connection has to wait behind others.
fn must_wait(held: &Held, id: u64, proven: bool) -> bool {
    !held.is_empty() && (held.has(proven) || held.bytes(id) > 0)
}

/// Handles a message for which there is room in the feed. Gives back whether a
/// token had to be verified. A connection is proven while its messages are sent
/// without that, and no bad token came since.
fn handle<S: Stream>(
    text: &str,
    connection: &mut Connection<S>,
    cold: &mut ColdState,
    counters: &mut Counters,
    turn: &mut Turn<'_>,
) -> bool {
    let speaker = cold.participant.speaker_mut();
    let Admission { request, token_verified } = turn.rules.admit(text, speaker, turn.now.tim);
    let request = request.map_err(Refused::from).and_then(|request| {
        let (address, limit) = (cold.peer.block(), turn.rules.rate_limit());
        turn.room.check_now(&request, &mut cold.participant, address, limit, turn.now)?;
        Ok(request)
    });
    connection.proven =
        !token_verified && (connection.proven || matches!(request, Ok(ChatRequest::Say(_))));
    match request {
        Ok(ChatRequest::Say(message)) => {
            turn.batch.push(|out| message.encode(out));
            cold.messages = cold.messages.wrapping_add(1);
            counters.messages += 1;
        }
        Ok(ChatRequest::Moderate(act)) => {
            let by = Actor::Moderator {
                usr: cold.participant.speaker().name().to_owned(),
                sub: cold.participant.speaker().sub().map(str::to_owned),
            };
            turn.pending.push(PendingAction { id: cold.id, act, by });
        }
        Err(refused) => refuse(refused, connection, cold, turn.now, counters),
    }
    token_verified
}

/// A message is not sent.
fn refuse<S: Stream>(
    refused: Refused,
    connection: &mut Connection<S>,
    cold: &mut ColdState,
    now: Now,
    counters: &mut Counters,
) {
    counters.refused[refused.refusal as usize] += 1;
    send_notice(refused, connection, cold, now, counters);
}

/// Tells a sender why its message was not sent, if there is not too much to tell.
fn send_notice<S: Stream>(
    refused: Refused,
    connection: &mut Connection<S>,
    cold: &mut ColdState,
    now: Now,
    counters: &mut Counters,
) {
    // Asked first, so that a flood of nonsense costs no text.
    let may = cold.participant.speaker_mut().take_notice(now.ms);
    let mut text = Vec::new();
    if may {
        notice(refused, now.tim, &mut text);
    }
    if !may || !connection.queue_frame(Opcode::Text, &text) {
        counters.notices_dropped += 1;
    }
}

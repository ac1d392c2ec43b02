//! What clients send: read, cut into events, handed to the rules.

use std::io::ErrorKind;

use super::super::connection::{AfterClose, Connection, Details, Stream};
use super::{Now, Table, Tally, Turn};
use crate::chat::{Refusal, notice};
use crate::wire::close::Close;
use crate::wire::frame::Opcode;
use crate::wire::{Event, Then};

/// The most that one turn reads, from all sockets together.
const READ_BYTES_PER_TURN: usize = 256 * 1024;

impl<S: Stream> Table<S> {
    /// Reads what is readable, one read of each connection in turn; messages go
    /// into the batch.
    pub(super) fn read(&mut self, scratch: &mut [u8], turn: &mut Turn<'_>) {
        let mut budget = READ_BYTES_PER_TURN;
        for _ in 0..self.readable.len() {
            let Some(id) = self.readable.pop_front() else { return };
            let Some(&row) = self.rows.get(&id) else { continue };
            self.connections[row].queued = false;
            match self.connections[row].stream.read(scratch) {
                Ok(0) => self.remove(row),
                Ok(read) => {
                    // A shorter read means drained, and the next edge will tell;
                    // but none comes behind the last.
                    let drained = read < scratch.len() && !self.connections[row].ended;
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

    /// Hands the bytes that a connection sent to the rules.
    pub(super) fn take(&mut self, row: usize, bytes: &mut [u8], turn: &mut Turn<'_>) {
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

//! What clients send: read, cut into events, handed to the rules.

use std::io::ErrorKind;

use super::super::connection::{AfterClose, Connection, Details, Stream};
use super::{Asked, Table, Tally, Turn};
use crate::chat::{By, Now, Refusal, Refused, Wish, notice};
use crate::wire::close::Close;
use crate::wire::frame::Opcode;
use crate::wire::{Event, Then};

/// The most that one turn reads from connections that are proven, all together.
const READ_BYTES_PER_TURN: usize = 256 * 1024;
/// The same of all others; so neither keep the others waiting, however many.
const UNPROVEN_BYTES_PER_TURN: usize = 64 * 1024;
/// The most that one read takes of these: a few tokens at most, so that no turn
/// is long.
const UNPROVEN_READ_BYTES: usize = 1024;
/// What a token that is refused takes of what a turn reads: its signature can be
/// as dear to verify as that much text is to read, however short it is.
const TOKEN_COST_BYTES: usize = 8 * 1024;

impl<S: Stream> Table<S> {
    /// Reads what is readable, one read of each connection in turn; messages go
    /// into the batch.
    pub(super) fn read(&mut self, scratch: &mut [u8], turn: &mut Turn<'_>) {
        self.read_some(true, READ_BYTES_PER_TURN, scratch, turn);
        let most = scratch.len().min(UNPROVEN_READ_BYTES);
        self.read_some(false, UNPROVEN_BYTES_PER_TURN, &mut scratch[..most], turn);
    }

    /// Reads from the connections that are proven, or from those that are not.
    fn read_some(
        &mut self,
        proven: bool,
        mut budget: usize,
        scratch: &mut [u8],
        turn: &mut Turn<'_>,
    ) {
        for _ in 0..self.readable[usize::from(proven)].len() {
            let Some(id) = self.readable[usize::from(proven)].pop_front() else { return };
            let Some(&row) = self.rows.get(&id) else { continue };
            self.connections[row].queued = false;
            let early = self.take_early(id, scratch);
            let come = match early {
                Some(read) => Ok(read),
                None => self.connections[row].stream.read(scratch),
            };
            match come {
                Ok(0) => self.remove(row),
                Ok(read) => {
                    // A shorter read means drained, and the next edge will tell;
                    // but none comes behind the last.
                    let short = read < scratch.len() && early.is_none();
                    let drained = short && !self.connections[row].ended;
                    let tokens = self.take(row, &mut scratch[..read], turn);
                    self.speak(id, turn);
                    if !drained {
                        self.readable(id);
                    }
                    budget = budget.saturating_sub(read + tokens * TOKEN_COST_BYTES);
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

    /// Moves bytes that came behind the handshake of a connection to `scratch`;
    /// none if there are none left.
    fn take_early(&mut self, id: u64, scratch: &mut [u8]) -> Option<usize> {
        let early = self.early.get_mut(&id)?;
        let moved = early.len().min(scratch.len());
        scratch[..moved].copy_from_slice(&early[..moved]);
        early.drain(..moved);
        if early.is_empty() {
            self.early.remove(&id);
        }
        Some(moved)
    }

    /// Hears all that came behind handshakes, at once.
    pub fn hear_early(&mut self, turn: &mut Turn<'_>) {
        for (id, mut bytes) in std::mem::take(&mut self.early) {
            if let Some(&row) = self.rows.get(&id) {
                self.take(row, &mut bytes, turn);
            }
        }
    }

    /// As [`hear_bytes`](Self::hear_bytes); says how many tokens were refused,
    /// and remembers of the connection what that proves.
    fn take(&mut self, row: usize, bytes: &mut [u8], turn: &mut Turn<'_>) -> usize {
        let (tokens, messages) = (self.tally.refused_tokens(), self.tally.messages);
        self.hear_bytes(row, bytes, turn);
        let tokens = self.tally.refused_tokens() - tokens;
        let speaks = self.tally.messages > messages;
        let connection = &mut self.connections[row];
        connection.proven = tokens == 0 && (connection.proven || speaks);
        tokens as usize
    }

    /// Hands the bytes that a connection sent to the rules.
    fn hear_bytes(&mut self, row: usize, bytes: &mut [u8], turn: &mut Turn<'_>) {
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
                Event::Text(_) | Event::Binary(_) if deaf => {}
                // A browser cannot ping, so this is how a page asks whether the
                // connection is still there: the notice is the answer.
                Event::Text("") => {
                    tally.probes += 1;
                    tell(Refusal::BadJson.into(), connection, details, turn.now, tally);
                }
                Event::Text(text) => match hear(text, details, turn) {
                    Ok(Wish::Say(message)) => {
                        turn.batch.push(|out| message.encode(out));
                        details.messages = details.messages.wrapping_add(1);
                        tally.messages += 1;
                    }
                    Ok(Wish::Act(act)) => {
                        let by = By::Moderator {
                            usr: details.speaker.name().to_owned(),
                            sub: details.speaker.sub().map(str::to_owned),
                        };
                        turn.asked.push(Asked { id: details.id, act, by });
                    }
                    Err(refused) => refuse(refused, connection, details, turn.now, tally),
                },
                Event::Binary(_) => {
                    refuse(Refusal::Binary.into(), connection, details, turn.now, tally);
                }
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

/// What `text` wishes, if the rules allow it and the room hears it now.
fn hear<'t>(text: &'t str, details: &mut Details, turn: &Turn<'_>) -> Result<Wish<'t>, Refused> {
    let wish = turn.rules.admit(text, &mut details.speaker, turn.now.tim)?;
    let (from, pace) = (details.peer.block(), turn.rules.pace());
    turn.room.hears(&wish, &mut details.speaker, from, pace, turn.now)?;
    Ok(wish)
}

/// A message is not sent.
fn refuse<S: Stream>(
    refused: Refused,
    connection: &mut Connection<S>,
    details: &mut Details,
    now: Now,
    tally: &mut Tally,
) {
    tally.refused[refused.refusal as usize] += 1;
    tell(refused, connection, details, now, tally);
}

/// Tells a sender why its message was not sent, if there is not too much to tell.
fn tell<S: Stream>(
    refused: Refused,
    connection: &mut Connection<S>,
    details: &mut Details,
    now: Now,
    tally: &mut Tally,
) {
    // Asked first, so that a flood of nonsense costs no text.
    let may = details.speaker.take_notice(now.ms);
    let mut text = Vec::new();
    if may {
        notice(refused, now.tim, &mut text);
    }
    if !may || !connection.say(Opcode::Text, &text) {
        tally.notices_dropped += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};

    use super::*;
    use crate::chat::{Batch, Now, Room, Tim};
    use crate::config::{Config, Secret};
    use crate::net::{Arrival, Peer, Settings};
    use crate::wire::frame;

    const SECRET: &str = "a secret of thirty-two bytes, yes";

    /// Says the same over and over.
    struct Insistent {
        words: Vec<u8>,
        at: usize,
    }

    impl Read for Insistent {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            for byte in &mut *buffer {
                let Some(word) = self.words.get(self.at % self.words.len().max(1)) else {
                    return Err(ErrorKind::WouldBlock.into());
                };
                *byte = *word;
                self.at += 1;
            }
            Ok(buffer.len())
        }
    }

    impl Write for Insistent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Stream for Insistent {
        fn shutdown_write(&mut self) {}
    }

    /// A table in a room that takes a token, and a turn for what `act` does.
    fn with_table(act: impl FnOnce(&mut Table<Insistent>, &mut Turn<'_>)) {
        let mut config = Config::default();
        config.limits.messages_per_sec = 0;
        config.auth.secret = Some(Secret::new(SECRET).unwrap());
        let settings = Settings::new(&config);
        let room = Room::new(1, 1 << 20);
        let mut table = Table::new(0, &room);
        let mut batch = Batch::default();
        let now = Now { ms: 1, tim: Tim::from_nanos(1) };
        let (rules, limits) = (&settings.rules, &settings.limits);
        let asked = &mut Vec::new();
        let mut turn = Turn { now, room: &room, rules, limits, batch: &mut batch, asked };
        act(&mut table, &mut turn);
    }

    fn join(table: &mut Table<Insistent>, words: &[u8], early: Vec<u8>, turn: &mut Turn<'_>) {
        let id = table.len() as u64;
        let (cursor, peer, since_secs, message_bytes_max, counted) =
            (turn.room.end(), Peer::Unix, 0, 16_384, false);
        let arrival = Arrival { id, cursor, peer, since_secs, message_bytes_max, counted };
        table.adopt(Insistent { words: words.to_vec(), at: 0 }, arrival, early, turn);
        table.readable(id);
    }

    /// A message with a token that `secret` signs, as a client sends it.
    fn message(secret: &str) -> Vec<u8> {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        let header = jsonwebtoken::Header::default();
        let token = jsonwebtoken::encode(&header, &serde_json::json!({}), &key).unwrap();
        let text = serde_json::json!({ "usr": "ann", "msg": "hi", "jwt": token }).to_string();
        let mut out = Vec::new();
        frame::put(Opcode::Text, text.as_bytes(), &mut out);
        // As a client's: masked, with zeros.
        let payload = out.split_off(out.len() - text.len());
        out[1] |= 0x80;
        [out, vec![0; 4], payload].concat()
    }

    #[test]
    fn strangers_with_bad_tokens_keep_nobody_waiting() {
        with_table(|table, turn| {
            let mut scratch = vec![0; 65_536];
            join(table, &message(SECRET), Vec::new(), turn);
            table.turn(&mut scratch, turn);
            assert!(table.tally.messages > 0, "one that is heard");
            (0..50)
                .for_each(|_| join(table, &message("another"), message("early").repeat(50), turn));
            for _ in 0..20 {
                let (messages, tokens) = (table.tally.messages, table.tally.refused_tokens());
                table.turn(&mut scratch, turn);
                assert!(table.tally.messages > messages, "it is heard in every turn");
                let tokens = table.tally.refused_tokens() - tokens;
                let most = UNPROVEN_BYTES_PER_TURN / TOKEN_COST_BYTES;
                assert!((1..=most as u64 + 8).contains(&tokens), "{tokens} tokens in one turn");
            }
        });
    }

    #[test]
    fn what_came_early_is_heard_in_its_turns_or_before_a_handover() {
        with_table(|table, turn| {
            join(table, b"", message(SECRET).repeat(30), turn);
            assert_eq!(table.tally.messages, 0);
            let mut scratch = vec![0; 4096];
            for _ in 0..30 {
                table.turn(&mut scratch, turn);
            }
            assert_eq!(table.tally.messages, 30);
            join(table, b"", message(SECRET).repeat(30), turn);
            table.hear_early(turn);
            assert_eq!(table.tally.messages, 60);
            assert!(table.early.is_empty());
        });
    }
}

//! The receiving part of the loop: from bytes to the tracker.

use std::io::Write;

use super::super::connection::{Role, State, Stream, parse_response};
use super::super::part::{InvalidPart, Parsed, Part};
use super::super::{event, frame, message};
use super::{BenchError, Load};
use crate::ws::frame::put_client;

impl Load {
    /// Reads what a connection has received, up to its end if it `is_ended`.
    pub(super) fn read(&mut self, at: usize, is_ended: bool) -> Result<(), BenchError> {
        loop {
            let (end, is_full) = match self.connections[at].read(&mut self.read_buffer) {
                Ok(Some(read)) => read,
                Ok(None) => return Ok(()),
                Err(error) => return self.closed(at, &error.to_string()),
            };
            let mut begin = 0;
            if self.connections[at].state == State::Handshake {
                match parse_response(self.connections[at].kind, &self.read_buffer[..end]) {
                    Ok(Some(length)) => begin = length,
                    Ok(None) => {
                        self.connections[at].set_partial(&self.read_buffer[..end]);
                        continue;
                    }
                    Err(reason) => return self.closed(at, &reason),
                }
                self.opened(at)?;
            }
            if let Some(reason) = self.receive(at, begin, end)? {
                return self.closed(at, &reason);
            }
            if !is_full && !is_ended {
                return Ok(());
            }
        }
    }

    /// Handles the frames or events between `begin` and `end` of the buffer. Returns the reason
    /// if the connection is over.
    fn receive(
        &mut self,
        at: usize,
        mut begin: usize,
        end: usize,
    ) -> Result<Option<String>, BenchError> {
        let now_ns = self.now_ns();
        let Self { connections, read_buffer, tracker, counts, format, send_buffers, .. } = self;
        let connection = &mut connections[at];
        let bytes = &read_buffer[..end];
        let (parse, invalid): (fn(&[u8]) -> Parsed<'_>, _) = match connection.kind {
            Stream::WebSocket => (frame::parse, "sent an invalid frame"),
            Stream::Events => (event::parse, "sent an invalid event"),
        };
        loop {
            let part = match parse(&bytes[begin..]) {
                Ok(Some((part, length))) => {
                    begin += length;
                    part
                }
                Ok(None) => break,
                Err(InvalidPart) => return Ok(Some(invalid.into())),
            };
            match part {
                Part::Text(text) => match (format.id(text), &mut connection.role) {
                    (Some(id), Role::Listener(position)) => {
                        let Some(sent_ns) = tracker.receive(at, position, id) else { continue };
                        counts.deliveries += 1;
                        if sent_ns >= counts.measured_from_ns {
                            counts.latencies.saturating_record(now_ns.saturating_sub(sent_ns));
                        }
                    }
                    (Some(id), Role::Resuming(received)) => {
                        received.tim = message::tim(text).copied();
                        let before = received.position;
                        if tracker.receive(at, &mut received.position, id).is_some() {
                            counts.storm_deliveries += 1;
                            let is_complete = |position| position >= counts.resume_end;
                            let becomes = !is_complete(before) && is_complete(received.position);
                            counts.resumed += u64::from(becomes);
                        }
                    }
                    (Some(_), Role::Storm | Role::Slow) => counts.storm_deliveries += 1,
                    // Others may speak in the room, too.
                    (None, _) => {
                        if let Some(refusal) = message::refusal(text) {
                            return Err(BenchError::Server(refusal));
                        }
                    }
                },
                Part::Ping(payload) => {
                    let mut pong = Vec::new();
                    put_client(0x8a, payload, &mut pong);
                    match send_buffers.get_mut(at) {
                        // Never into a message that is sent in part.
                        Some(buffer) if !buffer.is_empty() => buffer.extend(pong),
                        _ => drop(connection.stream.write(&pong)),
                    }
                }
                Part::Ignored => {}
                Part::Close(code, reason) => {
                    return Ok(Some(format!("{code} {}", String::from_utf8_lossy(reason))));
                }
            }
        }
        connection.set_partial(&bytes[begin..]);
        Ok(None)
    }
}

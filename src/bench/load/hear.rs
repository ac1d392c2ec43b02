//! The listeners' side of the loop: bytes in, frames, the ledger.

use std::io::Write;

use super::super::client::{Role, State, answer};
use super::super::frame::{self, Frame};
use super::super::text;
use super::{Load, Stop, Tally};
use crate::ws::frame::put_client;

impl Load {
    /// Reads all that a connection has, to its end if `ended` says that there is one.
    pub(super) fn hear(&mut self, at: usize, ended: bool) -> Result<(), Stop> {
        loop {
            let (end, full) = match self.clients[at].read(&mut self.scratch) {
                Ok(Some(read)) => read,
                Ok(None) => return Ok(()),
                Err(error) => return self.over(at, &error.to_string()),
            };
            let mut begin = 0;
            if self.clients[at].state == State::Shaking {
                match answer(&self.scratch[..end]) {
                    Ok(Some(len)) => begin = len,
                    Ok(None) => {
                        self.clients[at].keep(&self.scratch[..end]);
                        continue;
                    }
                    Err(why) => return self.over(at, &why),
                }
                self.opened(at)?;
            }
            if let Some(why) = self.frames(at, begin, end)? {
                return self.over(at, &why);
            }
            if !full && !ended {
                return Ok(());
            }
        }
    }

    /// Takes the frames between `begin` and `end` of the scratch; the reason
    /// if the connection is over.
    fn frames(&mut self, at: usize, mut begin: usize, end: usize) -> Result<Option<String>, Stop> {
        let now_ns = self.now_ns();
        let Self { clients, scratch, ledger, tally, texts, outs, .. } = self;
        let client = &mut clients[at];
        let bytes = &scratch[..end];
        loop {
            let frame = match frame::first(&bytes[begin..]) {
                Ok(Some((frame, len))) => {
                    begin += len;
                    frame
                }
                Ok(None) => break,
                Err(frame::Broken) => return Ok(Some("sent a broken frame".into())),
            };
            match frame {
                Frame::Text(text) => {
                    match texts.mark(text) {
                        Some(mark) => match &mut client.role {
                            Role::Listener(place) => {
                                if let Some(sent_ns) = ledger.hear(at, place, mark) {
                                    tally.deliver(sent_ns, now_ns);
                                }
                            }
                            Role::HandshakeStream | Role::Slow => tally.overheard += 1,
                        },
                        // Others may speak in the room too; only a notice is for us.
                        None => {
                            if let Some(why) = text::refusal(text) {
                                return Err(Stop::Server(why));
                            }
                        }
                    }
                }
                Frame::Ping(payload) => {
                    let mut pong = Vec::new();
                    put_client(0x8a, payload, &mut pong);
                    match outs.get_mut(at) {
                        // Never into the middle of a message that is half written.
                        Some(out) if !out.is_empty() => out.extend(pong),
                        _ => drop(client.stream.write(&pong)),
                    }
                }
                Frame::Pong => {}
                Frame::Close(code, reason) => {
                    return Ok(Some(format!("{code} {}", String::from_utf8_lossy(reason))));
                }
            }
        }
        client.keep(&bytes[begin..]);
        Ok(None)
    }
}

impl Tally {
    /// Messages that reached anybody.
    pub(in super::super) fn heard(&self) -> u64 {
        self.deliveries + self.overheard
    }

    #[inline]
    fn deliver(&mut self, sent_ns: u64, now_ns: u64) {
        self.deliveries += 1;
        if self.watched.contains(&sent_ns) {
            self.latencies.saturating_record(now_ns.saturating_sub(sent_ns));
        }
    }
}

//! A table on streams in memory: what a client sends and gets, step by step.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use super::*;
use crate::chat::Tim;
use crate::config::Config;
use crate::feed::SLICES_MAX;
use crate::net::{Arrival, Peer, Settings};
use crate::wire::frame;

/// Both directions of a socket in memory.
#[derive(Default)]
pub(super) struct Pipe {
    pub to_server: VecDeque<u8>,
    pub from_server: Vec<u8>,
    /// How many bytes the socket takes before it would block.
    pub room: usize,
    /// The client has closed its side.
    pub ended: bool,
}

/// The server's end.
pub(super) struct Side(Rc<RefCell<Pipe>>);

impl Read for Side {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.to_server.is_empty() && !pipe.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.to_server.read(buffer)
    }
}

impl Write for Side {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        let taken = bytes.len().min(pipe.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.room -= taken;
        pipe.from_server.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        assert!(slices.len() <= SLICES_MAX, "the system takes no more");
        self.write(&slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Side {
    fn shutdown_write(&mut self) {}
}

/// A room with its tables, driven by hand.
pub(super) struct World {
    pub config: Config,
    pub settings: Settings,
    pub room: Room,
    pub tables: Vec<Table<Side>>,
    pub ms: u64,
    pub asked: Vec<Asked>,
    next_id: u64,
    scratch: Vec<u8>,
}

impl World {
    pub fn new(shards: usize, configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.limits.messages_per_sec = 0;
        configure(&mut config);
        let room = Room::new(shards, config.limits.feed_tail_bytes);
        Self {
            settings: Settings::new(&config),
            tables: (0..shards).map(|shard| Table::new(shard, &room)).collect(),
            room,
            config,
            ms: 1_000_000,
            asked: Vec::new(),
            next_id: 1,
            scratch: vec![0; 65_536],
        }
    }

    /// A connection of this peer, whose socket takes `room` bytes.
    pub fn join(&mut self, shard: usize, peer: Peer, room: usize) -> (u64, Rc<RefCell<Pipe>>) {
        let pipe = Rc::new(RefCell::new(Pipe { room, ..Pipe::default() }));
        let arrival = Arrival {
            id: self.next_id,
            cursor: self.room.end(),
            peer,
            since_secs: 0,
            message_bytes_max: self.config.limits.message_bytes_max as u32,
            counted: false,
        };
        self.next_id += 1;
        let (id, side) = (arrival.id, Side(Rc::clone(&pipe)));
        self.with(shard, |table, turn, _| table.adopt(side, arrival, Vec::new(), turn));
        (id, pipe)
    }

    pub fn with<T>(
        &mut self,
        shard: usize,
        act: impl FnOnce(&mut Table<Side>, &mut Turn<'_>, &mut [u8]) -> T,
    ) -> T {
        let mut batch = Batch::default();
        let mut turn = Turn {
            now: Now { ms: self.ms, tim: Tim::from_nanos(self.ms * 1_000_000) },
            room: &self.room,
            rules: &self.settings.rules,
            limits: &self.settings.limits,
            batch: &mut batch,
            asked: &mut self.asked,
        };
        act(&mut self.tables[shard], &mut turn, &mut self.scratch)
    }

    /// One turn of a shard.
    pub fn turn(&mut self, shard: usize) {
        self.with(shard, |table, turn, scratch| {
            table.turn(scratch, turn);
        });
    }

    /// Turns of a shard until it has nothing to do but wait.
    pub fn settle(&mut self, shard: usize) {
        for _ in 0..100_000 {
            self.turn(shard);
            if self.tables[shard].due_ms(&self.room) != Some(0) {
                return;
            }
        }
        panic!("shard {shard} is never done");
    }

    /// The client sends bytes, which its socket reports.
    pub fn send(&mut self, shard: usize, id: u64, pipe: &RefCell<Pipe>, bytes: &[u8]) {
        pipe.borrow_mut().to_server.extend(bytes);
        self.tables[shard].readable(id);
    }

    /// The client's socket takes so many bytes again.
    pub fn drain(&mut self, shard: usize, id: u64, pipe: &RefCell<Pipe>, bytes: usize) {
        pipe.borrow_mut().room = bytes;
        self.with(shard, |table, turn, _| table.writable(id, turn));
    }
}

/// A frame as a client sends it: final, masked with zeros.
pub(super) fn client_frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(opcode, payload, &mut out);
    let header = out.len() - payload.len();
    out[1] |= 0x80;
    out.splice(header..header, [0; 4]);
    out
}

/// A message of that text as a client sends it.
pub(super) fn says(usr: &str, msg: &str) -> Vec<u8> {
    let text = format!(r#"{{"usr":"{usr}","msg":"{msg}"}}"#);
    client_frame(Opcode::Text, text.as_bytes())
}

/// The payloads of the frames that a client got.
pub(super) fn payloads(pipe: &RefCell<Pipe>) -> Vec<Vec<u8>> {
    let pipe = pipe.borrow();
    let (mut rest, mut payloads) = (&pipe.from_server[..], Vec::new());
    while let Some((payload, behind)) = frame::split(rest) {
        payloads.push(payload.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty(), "a client gets whole frames");
    payloads
}

/// Another shard publishes these messages one by one while a shard stands still.
#[track_caller]
fn check_after_standstill(text_bytes: usize, messages: usize) {
    let mut world = World::new(2, |config| config.limits.feed_tail_bytes = 1 << 30);
    let (_, listener) = world.join(0, Peer::Unix, usize::MAX);
    let (slow_id, slow) = world.join(0, Peer::Unix, 100);
    let (speaker_id, speaker) = world.join(1, Peer::Unix, usize::MAX);
    world.settle(0);
    let text = "x".repeat(text_bytes);
    for number in 0..messages {
        world.send(1, speaker_id, &speaker, &says("ann", &format!("{number} {text}")));
        world.turn(1);
    }
    world.settle(1);
    world.settle(0);
    world.drain(0, slow_id, &slow, usize::MAX);
    world.settle(0);
    let expected = payloads(&speaker);
    assert_eq!(expected.len(), messages);
    for pipe in [&listener, &slow] {
        assert!(payloads(pipe) == expected, "{} of {messages}", payloads(pipe).len());
    }
    assert_eq!(world.tables[0].tally().deliveries, 2 * messages as u64);
}

#[test]
fn a_shard_that_stood_still_misses_nothing() {
    // Small pieces are merged; large ones are more than one write can take.
    check_after_standstill(10, 3_000);
    check_after_standstill(2_100, 3_000);
}

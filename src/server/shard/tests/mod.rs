//! A table on streams in memory: what a client sends and gets, step by step.

mod closing;
mod gate;
mod list;
mod outbox;
mod sweep;
mod timers;
mod tokens;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use super::table::*;
use crate::chat::{Now, Tim};
use crate::config::Config;
use crate::feed::SLICES_MAX;
use crate::room::{Batch, Room};
use crate::server::{
    ConnectionCounts, ConnectionPermit, ConnectionSnapshot, NewConnection, Peer, Settings, Stream,
};
use crate::ws::frame::{self, client_frame};

/// Both directions of a socket in memory.
#[derive(Default)]
pub(crate) struct Pipe {
    pub to_server: VecDeque<u8>,
    pub from_server: Vec<u8>,
    /// How many bytes the socket takes before it would block.
    pub room: usize,
    /// How many bytes the system lets it hold, if that is not what was asked for.
    pub send_buffer_bytes: Option<usize>,
    /// The client has closed its side.
    pub ended: bool,
}

/// The server's end.
pub(crate) struct Side(Rc<RefCell<Pipe>>);

impl Read for Side {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.to_server.is_empty() && !pipe.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        // A read that is short says that there is no more.
        pipe.to_server.make_contiguous();
        pipe.to_server.read(buffer)
    }
}

impl Write for Side {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        assert!(slices.len() <= SLICES_MAX, "the system takes no more");
        let mut pipe = self.0.borrow_mut();
        let mut taken = 0;
        for slice in slices {
            let more = slice.len().min(pipe.room);
            pipe.from_server.extend_from_slice(&slice[..more]);
            pipe.room -= more;
            taken += more;
        }
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Side {
    fn shutdown_write(&mut self) {}

    fn send_buffer_bytes(&self) -> Option<usize> {
        self.0.borrow().send_buffer_bytes
    }
}

/// A room with its tables, driven by hand.
pub(crate) struct World {
    pub config: Config,
    pub settings: Settings,
    pub room: Room,
    pub tables: Vec<Table<Side>>,
    pub ms: u64,
    pub pending: Vec<PendingAction>,
    /// What the clock shows; it goes on by this much at each look.
    pub clock_us: Cell<u64>,
    pub look_us: u64,
    counts: ConnectionCounts,
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
            pending: Vec::new(),
            clock_us: Cell::new(0),
            look_us: 0,
            counts: ConnectionCounts::new(shards),
            next_id: 1,
            scratch: vec![0; 16_384],
        }
    }

    /// A connection of this peer, whose socket takes `room` bytes.
    pub fn join(&mut self, shard: usize, peer: Peer, room: usize) -> (u64, Rc<RefCell<Pipe>>) {
        self.join_with(shard, peer, room, Vec::new())
    }

    /// … and which sent bytes behind its handshake.
    pub fn join_with(
        &mut self,
        shard: usize,
        peer: Peer,
        room: usize,
        early: Vec<u8>,
    ) -> (u64, Rc<RefCell<Pipe>>) {
        let cursor = self.room.end();
        self.adopt(shard, peer, cursor, room, early)
    }

    /// A connection that was let in when the feed ended there.
    pub fn join_at(&mut self, shard: usize, cursor: u64) -> (u64, Rc<RefCell<Pipe>>) {
        self.adopt(shard, Peer::Unix, cursor, usize::MAX, Vec::new())
    }

    fn adopt(
        &mut self,
        shard: usize,
        peer: Peer,
        cursor: u64,
        room: usize,
        early: Vec<u8>,
    ) -> (u64, Rc<RefCell<Pipe>>) {
        let pipe = Rc::new(RefCell::new(Pipe { room, ..Pipe::default() }));
        let arrival = NewConnection {
            id: self.next_id,
            cursor,
            permit: self.permit(peer),
            since_secs: 0,
            message_bytes_max: self.config.limits.message_bytes_max as u32,
        };
        self.next_id += 1;
        let (id, side) = (arrival.id, Side(Rc::clone(&pipe)));
        self.with(shard, |table, turn, _| table.adopt(side, arrival, early, turn));
        (id, pipe)
    }

    fn permit(&self, peer: Peer) -> ConnectionPermit {
        self.counts.admit(peer, None, 0).expect("there is no limit")
    }

    /// A speaker of its own says so much that the gate is shut.
    pub fn shut(&mut self, shard: usize) {
        let (id, pipe) = self.join(shard, Peer::Unix, usize::MAX);
        let flood = says("shut", &"x".repeat(1_000)).repeat(1_000);
        self.send(shard, id, &pipe, &flood);
        self.settle(shard);
        assert!(!self.room.gate().is_open());
        pipe.borrow_mut().to_server.clear();
        self.tables[shard].held.remove(id);
    }

    /// The connections of a shard go on in another table.
    pub fn restart(&mut self, shard: usize) {
        let now = Now { ms: self.ms, tim: Tim::default() };
        let rows = self.tables[shard].hand_over(now);
        self.tables[shard] = Table::new(shard, &self.room);
        for (row, side) in rows {
            let row =
                self.room.inspect(|log, _| ConnectionSnapshot::decode(&row.encode(), log).unwrap());
            let permit = self.permit(row.peer);
            self.with(shard, |table, turn, _| {
                table.tick(turn.now);
                table.resume(side, &row, permit, turn);
            });
        }
    }

    pub fn with<T>(
        &mut self,
        shard: usize,
        act: impl FnOnce(&mut Table<Side>, &mut Turn<'_>, &mut [u8]) -> T,
    ) -> T {
        let mut batch = Batch::default();
        let clock_us = || {
            self.clock_us.set(self.clock_us.get() + self.look_us);
            self.clock_us.get()
        };
        let mut turn = Turn {
            clock_us: &clock_us,
            now: Now { ms: self.ms, tim: Tim::from_nanos(self.ms * 1_000_000) },
            room: &self.room,
            rules: &self.settings.rules,
            limits: &self.settings.limits,
            batch: &mut batch,
            pending: &mut self.pending,
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

/// A message of that text as a client sends it.
pub(crate) fn says(usr: &str, msg: &str) -> Vec<u8> {
    let text = format!(r#"{{"usr":"{usr}","msg":"{msg}"}}"#);
    client_frame(0x81, text.as_bytes())
}

/// The payloads of the frames that a client got.
pub(crate) fn payloads(pipe: &RefCell<Pipe>) -> Vec<Vec<u8>> {
    let pipe = pipe.borrow();
    let (mut rest, mut payloads) = (&pipe.from_server[..], Vec::new());
    while let Some((payload, behind)) = frame::split(rest) {
        payloads.push(payload.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty(), "a client gets whole frames");
    payloads
}

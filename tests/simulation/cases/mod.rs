//! The tables of a room, driven step by step: what a client sends and gets.

mod closing;
mod gate;
mod list;
mod resume;
mod sweep;
mod timers;
mod tokens;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wschat::chat::{Now, Target, Tim, gap_notice};
use wschat::config::Config;
use wschat::feed::Encoding;
use wschat::room::{Batch, Room, Start};
use wschat::server::{
    ClientLog, ConnectionCounts, ConnectionSnapshot, FeedState, NewConnection, Peer, PendingAction,
    Settings, Table, Turn,
};
use wschat::ws::frame::{self, client_frame};

use super::pipe::{Pipe, Side, Traffic};

/// A client: its id, and its socket.
type Client = (u64, Rc<RefCell<Pipe>>);

/// The address of a client, one of many.
fn address(number: usize) -> Peer {
    Peer::Tcp(([127, 1, (number / 250) as u8, (number % 250) as u8 + 1], 9).into())
}

/// A room with a table for each shard.
struct Bench {
    config: Config,
    settings: Settings,
    room: Room,
    tables: Vec<Table<Side>>,
    ms: u64,
    pending: Vec<PendingAction>,
    /// The clock for measuring advances by this at each look.
    look_us: u64,
    clock_us: Cell<u64>,
    counts: ConnectionCounts,
    traffic: Rc<RefCell<Traffic>>,
    next_id: u64,
    read_buffer: Vec<u8>,
}

impl Bench {
    fn new(shards: usize, configure: impl FnOnce(&mut Config)) -> Self {
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
            look_us: 0,
            clock_us: Cell::new(0),
            counts: ConnectionCounts::new(shards),
            traffic: Rc::default(),
            next_id: 1,
            read_buffer: vec![0; 16_384],
        }
    }

    /// A room of one shard whose gate is shut, because a lagging client does not read; and
    /// that client.
    fn with_shut_gate() -> (Self, Client) {
        let mut bench = Self::new(1, |config| config.limits.feed_tail_bytes = 65_536);
        let lagging = bench.join(0, Peer::Unix, 0);
        let (id, pipe) = bench.join(0, Peer::Unix, usize::MAX);
        bench.send(0, id, &pipe, &message("shut", &"x".repeat(1_000)).repeat(1_000));
        bench.settle(0);
        assert!(!bench.room.gate().is_open());
        // Its held messages must not be served before those of the test.
        bench.kick(0, id);
        pipe.borrow_mut().to_server.clear();
        bench.end(0, id, &pipe);
        bench.settle(0);
        (bench, lagging)
    }

    /// A client joins whose socket takes so many bytes.
    fn join(&mut self, shard: usize, peer: Peer, capacity: usize) -> Client {
        self.join_with(shard, peer, capacity, self.room.end(), Vec::new())
    }

    /// The same; it was admitted when the feed ended at `cursor`, and has sent `received`
    /// after its handshake.
    fn join_with(
        &mut self,
        shard: usize,
        peer: Peer,
        capacity: usize,
        cursor: u64,
        received: Vec<u8>,
    ) -> Client {
        let (mut new, client) = self.admit(peer, Encoding::Frames, Start::Live, capacity);
        new.cursor = cursor;
        self.adopt(shard, new, &client, received);
        client
    }

    /// Admits a client, which is on its way to a shard then.
    fn admit(
        &mut self,
        peer: Peer,
        encoding: Encoding,
        start: Start,
        capacity: usize,
    ) -> (NewConnection, Client) {
        let now = self.tim();
        let point = self.room.start_point(start, self.config.limits.resume, now);
        let notice = point.gap.map(|gap| {
            let mut text = Vec::new();
            gap_notice(gap.after, gap.before, now, &mut text);
            text
        });
        let new = NewConnection {
            encoding,
            after: point.after,
            notice,
            id: self.next_id,
            cursor: point.cursor,
            permit: self.counts.admit(peer, encoding, None, 0).unwrap(),
            since_secs: 0,
            message_bytes_max: self.config.limits.message_bytes_max as u32,
        };
        self.next_id += 1;
        let id = new.id;
        (new, (id, Rc::new(RefCell::new(Pipe::new(capacity)))))
    }

    fn adopt(&mut self, shard: usize, new: NewConnection, client: &Client, received: Vec<u8>) {
        let (id, traffic) = (client.0, Rc::clone(&self.traffic));
        let side = Side { id, pipe: Rc::clone(&client.1), traffic };
        self.with(shard, |table, turn, _| table.adopt(side, new, received, turn));
    }

    /// The time of day.
    fn tim(&self) -> Tim {
        Tim::from_nanos(self.ms * 1_000_000)
    }

    /// The connections of a shard continue in another table.
    fn restart(&mut self, shard: usize) {
        let now = Now { ms: self.ms, tim: Tim::default() };
        let connections = self.tables[shard].hand_over(now);
        self.tables[shard] = Table::new(shard, &self.room);
        for (snapshot, side) in connections {
            let bytes = snapshot.encode();
            let snapshot =
                self.room.inspect(|log, _| ConnectionSnapshot::decode(&bytes, log).unwrap());
            let permit = self.counts.admit(snapshot.peer, snapshot.encoding, None, 0).unwrap();
            self.with(shard, |table, turn, _| {
                table.tick(turn.now);
                table.resume(side, &snapshot, permit, turn);
            });
        }
    }

    fn with<T>(
        &mut self,
        shard: usize,
        act: impl FnOnce(&mut Table<Side>, &mut Turn<'_>, &mut [u8]) -> T,
    ) -> T {
        let clock_us = || {
            self.clock_us.set(self.clock_us.get() + self.look_us);
            self.clock_us.get()
        };
        let now = Now { ms: self.ms, tim: self.tim() };
        let mut turn = Turn {
            clock_us: &clock_us,
            time_of_day: &|| now.tim,
            now,
            room: &self.room,
            rules: &self.settings.rules,
            limits: &self.settings.limits,
            batch: &mut Batch::default(),
            pending: &mut self.pending,
            client_log: &ClientLog::default(),
        };
        act(&mut self.tables[shard], &mut turn, &mut self.read_buffer)
    }

    fn turn(&mut self, shard: usize) {
        self.with(shard, |table, turn, buffer| {
            table.turn(buffer, turn);
        });
    }

    /// Turns until there is nothing to do but wait.
    fn settle(&mut self, shard: usize) {
        for _ in 0..100_000 {
            self.turn(shard);
            if self.tables[shard].due_ms(&self.room) != Some(0) {
                return;
            }
        }
        panic!("shard {shard} is never done");
    }

    /// For so many milliseconds, `each` acts at every step, and then all shards settle.
    fn run(&mut self, ms: u64, step_ms: u64, mut each: impl FnMut(&mut Self, u64)) {
        for at in (0..ms).step_by(step_ms as usize) {
            self.ms += step_ms;
            each(self, at);
            for _ in 0..2 {
                (0..self.tables.len()).for_each(|shard| self.settle(shard));
            }
        }
    }

    /// The client sends bytes, and its socket reports it.
    fn send(&mut self, shard: usize, id: u64, pipe: &RefCell<Pipe>, bytes: &[u8]) {
        pipe.borrow_mut().to_server.extend(bytes);
        self.tables[shard].readable(id);
    }

    /// The client's socket takes so many bytes again.
    fn drain(&mut self, shard: usize, id: u64, pipe: &RefCell<Pipe>, bytes: usize) {
        let mut drained = pipe.borrow_mut();
        (drained.waiting, drained.capacity) = (0, bytes);
        drop(drained);
        self.with(shard, |table, turn, _| table.writable(id, turn));
    }

    /// The client closes its sending side.
    fn end(&mut self, shard: usize, id: u64, pipe: &RefCell<Pipe>) {
        pipe.borrow_mut().client_ended = true;
        self.tables[shard].ended(id);
    }

    fn kick(&mut self, shard: usize, id: u64) {
        let target = Target::Connection(id);
        self.with(shard, |table, turn, _| {
            table.kick(|speaker, id, _| target.matches(speaker, id), usize::MAX, turn)
        });
    }

    fn is_connected(&self, shard: usize, id: u64) -> bool {
        self.tables[shard].positions().any(|position| position.id == id)
    }
}

/// A message as a client sends it.
fn message(usr: &str, msg: &str) -> Vec<u8> {
    let text = format!(r#"{{"usr":"{usr}","msg":"{msg}"}}"#);
    client_frame(0x81, text.as_bytes())
}

/// The frames that a client got: the first byte and the payload of each.
fn frames(pipe: &RefCell<Pipe>) -> Vec<(u8, Vec<u8>)> {
    let pipe = pipe.borrow();
    let (mut bytes, mut frames) = (&pipe.written[..], Vec::new());
    while let Some((payload, rest)) = frame::split(bytes) {
        frames.push((bytes[0], payload.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a client gets whole frames");
    frames
}

fn payloads(pipe: &RefCell<Pipe>) -> Vec<Vec<u8>> {
    frames(pipe).into_iter().map(|(_, payload)| payload).collect()
}

/// How many messages of this name a client got.
fn received(pipe: &RefCell<Pipe>, usr: &str) -> usize {
    let start = format!(r#"{{"usr":"{usr}""#);
    payloads(pipe).iter().filter(|payload| payload.starts_with(start.as_bytes())).count()
}

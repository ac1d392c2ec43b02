//! The room, the feed and the tables of connections in one thread, driven by a
//! seed: joins, leaves, partial writes, stalls, frames cut anywhere, hand-overs
//! to another process at every possible point. Every client must see what the room sent, in its order, without a gap or a repeat,
//! from its join to its close (invariants 3, 4 and 7).
//!
//! `SIMULATION_SEEDS=10000` runs more; `SIMULATION_SEED=17` runs one again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use fastrand::Rng;
use wschat::chat::{Batch, Now, Past, Room, Stamper, Tim};
use wschat::config::Config;
use wschat::feed::Pieces;
use wschat::net::{Arrival, Peer, Row, Settings, State, Stream, Table, Turn};

const TAIL_BYTES: usize = 4096;
const SHARDS: usize = 2;

/// Both directions of a simulated socket.
#[derive(Default)]
struct Pipe {
    to_server: VecDeque<u8>,
    from_server: Vec<u8>,
    /// How much the socket takes before it would block.
    room: usize,
    client_gone: bool,
    server_gone: bool,
}

struct Side(Rc<RefCell<Pipe>>);

impl Read for Side {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.to_server.is_empty() {
            return if pipe.client_gone { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
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

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Side {
    fn shutdown_write(&mut self) {}
}

impl Drop for Side {
    fn drop(&mut self) {
        self.0.borrow_mut().server_gone = true;
    }
}

struct Client {
    id: u64,
    shard: usize,
    pipe: Rc<RefCell<Pipe>>,
    joined_at: u64,
    /// Bytes of a frame that the client has not sent yet.
    unsent: Vec<u8>,
}

/// What a client got, its frames sorted.
#[derive(Default)]
struct Received {
    feed: Vec<u8>,
    own: usize,
    close: Option<u16>,
}

struct World {
    rng: Rng,
    room: Room,
    settings: Settings,
    tables: Vec<Table<Side>>,
    clients: Vec<Client>,
    /// All that the room ever sent, as a shard that is never late sees it.
    witness: Vec<u8>,
    view: Pieces,
    now: Now,
    next_id: u64,
    hand_overs: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = Config::default();
        config.limits.feed_tail_bytes = TAIL_BYTES;
        config.limits.messages_per_sec = 0;
        let room = Room::new(SHARDS + 1, TAIL_BYTES);
        Self {
            rng: Rng::with_seed(seed),
            tables: (0..SHARDS).map(|shard| Table::new(shard, &room)).collect(),
            room,
            settings: Settings::new(&config),
            clients: Vec::new(),
            witness: Vec::new(),
            view: Pieces::default(),
            now: Now { ms: 10_000, tim: Tim::from_nanos(1_700_000_000_000_000_000) },
            next_id: 1,
            hand_overs: 0,
        }
    }

    fn step(&mut self) {
        match self.rng.u8(..100) {
            0..8 => self.join(),
            8..40 => self.speak(),
            40..60 => self.drain(),
            60..62 => self.leave(),
            62 => self.hand_over(),
            _ => self.turn(self.rng.clone().usize(..SHARDS)),
        }
        let _ = self.rng.u8(..);
    }

    fn join(&mut self) {
        let room = if self.rng.u8(..4) == 0 { self.rng.usize(..200) } else { usize::MAX / 2 };
        let pipe = Rc::new(RefCell::new(Pipe { room, ..Pipe::default() }));
        let joined_at = self.room.end();
        let (id, shard) = (self.next_id, self.rng.usize(..SHARDS));
        self.next_id += 1;
        self.clients.push(Client { id, shard, pipe: pipe.clone(), joined_at, unsent: Vec::new() });
        // On the way from the door to the shard others go on.
        for _ in 0..self.rng.usize(..3) {
            self.turn(self.rng.clone().usize(..SHARDS));
            let _ = self.rng.u8(..);
        }
        let arrival = Arrival {
            id,
            cursor: joined_at,
            peer: Peer::Unix,
            since_secs: 0,
            message_bytes_max: 16_384,
            counted: false,
        };
        self.with_table(shard, |table, turn| table.adopt(Side(pipe), arrival, Vec::new(), turn));
    }

    fn speak(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.clients.len());
        let mut bytes = std::mem::take(&mut self.clients[index].unsent);
        if bytes.is_empty() {
            bytes = match self.rng.u8(..10) {
                0 => frame(0x89, b"are you there?"),
                1 => frame(0x81, b"not json"),
                2 => {
                    let text = message(&mut self.rng);
                    let cut = self.rng.usize(..text.len());
                    let (left, right) = text.as_bytes().split_at(cut);
                    [frame(0x01, left), frame(0x89, b"!"), frame(0x80, right)].concat()
                }
                _ => frame(0x81, message(&mut self.rng).as_bytes()),
            };
        }
        let cut = if self.rng.bool() { bytes.len() } else { self.rng.usize(..bytes.len()) + 1 };
        let client = &mut self.clients[index];
        client.unsent = bytes.split_off(cut);
        client.pipe.borrow_mut().to_server.extend(bytes);
        self.tables[client.shard].readable(client.id);
    }

    fn drain(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.clients.len());
        let more = self.rng.usize(1..400);
        let client = &self.clients[index];
        let (id, shard) = (client.id, client.shard);
        let mut pipe = client.pipe.borrow_mut();
        pipe.room = pipe.room.saturating_add(more).min(usize::MAX / 2);
        drop(pipe);
        self.with_table(shard, |table, turn| table.writable(id, turn));
    }

    fn leave(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let client = self.clients.swap_remove(self.rng.usize(..self.clients.len()));
        client.pipe.borrow_mut().client_gone = true;
        self.tables[client.shard].readable(client.id);
        self.check(&client, false);
    }

    fn turn(&mut self, shard: usize) {
        self.now.ms += self.rng.u64(..30);
        // The clock of a real machine steps back now and then.
        let step = self.rng.u64(..1000);
        self.now.tim = Tim::from_nanos(self.now.tim.nanos() + step - 300.min(step));
        self.with_table(shard, |table, turn| {
            table.turn(&mut [0; 64], turn);
        });
    }

    fn with_table(&mut self, shard: usize, act: impl FnOnce(&mut Table<Side>, &mut Turn<'_>)) {
        let mut batch = Batch::default();
        let mut turn = Turn {
            now: self.now,
            room: &self.room,
            rules: &self.settings.rules,
            limits: &self.settings.limits,
            batch: &mut batch,
            asked: &mut Vec::new(),
        };
        act(&mut self.tables[shard], &mut turn);
        self.room.publish(&mut batch, self.now.tim);
        let seen = self.witness.len() as u64;
        let floor = self.room.news(SHARDS, &mut self.view);
        for piece in self.view.since(seen) {
            self.witness.extend_from_slice(&piece.bytes);
        }
        let end = self.witness.len() as u64;
        self.view.forget_before(end);
        self.room.needs(SHARDS, floor);
        self.room.progress(SHARDS, end, u64::MAX);
    }

    /// Another process goes on with the room, from nothing but the bytes of the
    /// state and the sockets.
    fn hand_over(&mut self) {
        let mut state = State::default();
        let mut streams = Vec::new();
        for mut table in std::mem::take(&mut self.tables) {
            for (row, stream) in table.hand_over(self.now) {
                state.rows.push(row.encode());
                streams.push(stream);
            }
        }
        self.room.inspect(|log, last_tim| {
            state.set_log(log);
            state.last_tim = last_tim.nanos();
        });
        state.balances = self.room.balances(self.settings.rules.pace(), self.now.ms);
        let state = State::decode(&state.encode()).expect("it was just written");
        let log = state.log(TAIL_BYTES);
        let rows: Vec<_> = state.rows.iter().map(|row| Row::decode(row, &log)).collect();
        let stamper = Stamper::after(state.last_tim());
        let past = Past { log, stamper, ..Past::none(TAIL_BYTES) };
        self.room = Room::resume(SHARDS + 1, TAIL_BYTES, past);
        self.tables = (0..SHARDS).map(|shard| Table::new(shard, &self.room)).collect();
        self.view = Pieces::default();
        self.now.ms = self.rng.u64(10_000..11_000);
        for (row, stream) in rows.into_iter().zip(streams) {
            let row = row.expect("every row of ours makes sense");
            let shard = self.rng.usize(..SHARDS);
            if let Some(client) = self.clients.iter_mut().find(|client| client.id == row.id) {
                client.shard = shard;
            }
            self.with_table(shard, |table, turn| table.resume(stream, &row, turn));
            // Whatever waits in the new socket is reported at once.
            self.tables[shard].readable(row.id);
        }
        self.hand_overs += 1;
    }

    /// Lets every socket take everything and every shard finish its work.
    fn settle(&mut self) {
        for index in 0..self.clients.len() {
            let (id, shard) = (self.clients[index].id, self.clients[index].shard);
            self.clients[index].pipe.borrow_mut().room = usize::MAX / 2;
            self.tables[shard].readable(id);
            self.with_table(shard, |table, turn| table.writable(id, turn));
        }
        while (0..SHARDS).any(|shard| self.tables[shard].due_ms(&self.room) == Some(0)) {
            (0..SHARDS).for_each(|shard| self.turn(shard));
        }
    }

    fn check(&self, client: &Client, settled: bool) {
        let received = sort(&client.pipe.borrow().from_server);
        let (from, to) =
            (client.joined_at as usize, client.joined_at as usize + received.feed.len());
        assert_eq!(
            String::from_utf8_lossy(&received.feed),
            String::from_utf8_lossy(&self.witness[from..to.min(self.witness.len())]),
            "client {} joined at {from}",
            client.id,
        );
        match received.close {
            Some(code) => assert_eq!(code, 1013),
            None if settled => assert_eq!(to, self.witness.len(), "client {}", client.id),
            None => {}
        }
    }
}

/// Splits what the server sent into the feed and the connection's own frames.
/// A frame that is still to be completed counts as feed, as far as it came.
fn sort(mut bytes: &[u8]) -> Received {
    let mut received = Received::default();
    while let [first, length, ..] = bytes {
        let (header, length) = match (length, bytes) {
            (126, [_, _, a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            (126.., _) => break,
            (short, _) => (2, usize::from(*short)),
        };
        let Some(frame) = bytes.get(..header + length) else { break };
        bytes = &bytes[header + length..];
        let notice = frame.windows(6).any(|window| window == br#""err":"#);
        match first {
            0x81 if !notice => received.feed.extend_from_slice(frame),
            0x88 => received.close = Some(u16::from_be_bytes([frame[2], frame[3]])),
            0x81 | 0x89 | 0x8a => received.own += 1,
            other => panic!("no frame begins with {other:#x}"),
        }
        assert!(received.close.is_none() || bytes.is_empty(), "the close frame is the last");
    }
    received
}

fn message(rng: &mut Rng) -> String {
    let text: String = (0..rng.usize(..200)).map(|_| rng.alphanumeric()).collect();
    format!(r#"{{"usr":"u{}","msg":"{text}"}}"#, rng.u8(..10))
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    // A mask of zeros is a mask.
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// What happened: bytes sent, connections too slow, hand-overs.
fn run(seed: u64) -> [usize; 3] {
    let mut world = World::new(seed);
    for _ in 0..600 {
        world.step();
    }
    world.settle();
    for client in &world.clients {
        world.check(client, true);
    }
    assert!(world.room.feed_bytes() <= 3 * TAIL_BYTES as u64, "the tail is the bound");
    let slow = world.tables.iter().map(|table| table.tally().too_slow).sum::<u64>();
    [world.witness.len(), slow as usize, world.hand_overs]
}

#[test]
fn every_client_sees_the_room_without_gap_or_repeat() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("SIMULATION_SEED") {
        run(seed);
        return;
    }
    let mut happened = [0; 3];
    for seed in 0..number("SIMULATION_SEEDS").unwrap_or(400) {
        let result = std::panic::catch_unwind(|| run(seed));
        let run = result.unwrap_or_else(|panic| {
            eprintln!("again with SIMULATION_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        happened.iter_mut().zip(run).for_each(|(sum, count)| *sum += count);
    }
    // The simulation is worth nothing if nothing happens in it.
    let [bytes, slow, hand_overs] = happened;
    assert!(bytes > 1_000_000 && slow > 100 && hand_overs > 1000, "{happened:?}");
}

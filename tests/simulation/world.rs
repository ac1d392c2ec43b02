//! The room, its shards and its clients in one thread, with a virtual clock.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use wschat::chat::{Actor, AddressBlock, ModAction, Now, Presence, Target, Tim, gap_notice};
use wschat::config::{Config, Limits};
use wschat::room::{OrderState, RemoteOrder, Room, RoomState, Start};
use wschat::server::{ConnectionCounts, NewConnection, Peer, Settings};
use wschat::ws::close::Close;
use wschat::ws::frame::{self, Opcode};

use super::client::{Client, Kind, Reads, Sends, Step};
use super::pipe::{Pipe, Side, Traffic};
use super::sent_feed::{Received, SentFeed};
use super::shard::{Command, Shard};
use super::stream::{NoSenders, Stream};
use super::tail_file::TailFile;
use super::totals::Totals;

/// Where the clock of a process begins, like that of the daemon.
pub const CLOCK_START_MS: u64 = 7_200_000;

/// The parameters of a simulation.
#[derive(Clone)]
pub struct Plan {
    pub shards: usize,
    pub limits: Limits,
    /// How fast the machine reads and writes.
    pub bytes_per_us: u64,
    /// The size of a shard's read buffer.
    pub scratch_bytes: usize,
    /// This many of a thousand turns are followed by a pause of the shard.
    pub pauses: u32,
    /// The longest of these pauses.
    pub pause_ms_max: u64,
    /// Whether a stream orders the messages.
    pub is_cluster: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let limits = Config::default().limits;
        Self {
            shards: 2,
            limits,
            bytes_per_us: 1_000,
            scratch_bytes: 65_536,
            pauses: 0,
            pause_ms_max: 0,
            is_cluster: false,
        }
    }
}

impl Plan {
    /// A room that continues with this state.
    pub fn room(&self, shards: usize, mut state: RoomState) -> Room {
        let remote = self.is_cluster.then(|| Arc::new(NoSenders) as Arc<dyn RemoteOrder>);
        state.remote = remote;
        let room = Room::resume(shards, self.limits.feed_tail_bytes, state);
        room.set_order_state(OrderState::Ready);
        room
    }
}

/// The moderation that the room must enforce.
#[derive(Default)]
pub struct Decided {
    pub locked: bool,
    pub muted: BTreeSet<u64>,
    pub slow_ms: u64,
    /// When each speaker last sent a message, in microseconds.
    pub spoke_us: HashMap<AddressBlock, u64>,
}

pub struct World {
    pub rng: Rng,
    pub plan: Plan,
    pub room: Room,
    /// What orders the messages in a cluster.
    pub stream: Stream,
    /// What outlives a crash.
    pub tail_file: Arc<Mutex<TailFile>>,
    pub settings: Rc<Settings>,
    pub shards: Vec<Shard>,
    pub clients: BTreeMap<u64, Client>,
    pub sent_feed: SentFeed,
    pub traffic: Rc<RefCell<Traffic>>,
    pub decided: Decided,
    pub totals: Totals,
    pub now_us: u64,
    /// The error of the clock that tells the date.
    pub day_ms: u64,
    /// Every message with a greater `tim` is in the room, or was when the tail passed it.
    pub complete_since: Tim,
    /// The position from which on this process has the feed.
    pub recovered_from: u64,
    /// When this process began.
    pub started_us: u64,
    /// Clients send nothing more.
    pub is_quiet: bool,
    /// The room is closing.
    pub is_closing: bool,
    /// Sockets are being closed.
    pub is_restarting: bool,
    /// Presence was told.
    pub has_presence: bool,
    /// The connections that the tables have, or will get.
    pub counts: ConnectionCounts,
    next_id: u64,
    steps: BinaryHeap<Reverse<(u64, u64, u64, Step)>>,
    order: u64,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let room = plan.room(plan.shards, RoomState::new(plan.limits.feed_tail_bytes));
        let settings = Rc::new(settings(&plan.limits));
        let shard = |number| Shard::new(number, &room, settings.clone(), plan.scratch_bytes);
        let mut world = Self {
            rng: Rng::with_seed(seed),
            shards: (0..plan.shards).map(shard).collect(),
            room,
            stream: Stream::default(),
            tail_file: Arc::default(),
            settings,
            counts: ConnectionCounts::new(plan.shards),
            plan,
            clients: BTreeMap::new(),
            sent_feed: SentFeed::default(),
            traffic: Rc::default(),
            decided: Decided::default(),
            totals: Totals::default(),
            now_us: 0,
            day_ms: 0,
            complete_since: Tim::default(),
            recovered_from: 0,
            started_us: 0,
            is_quiet: false,
            is_closing: false,
            is_restarting: false,
            has_presence: false,
            next_id: 1,
            steps: BinaryHeap::new(),
            order: 0,
        };
        world.store_tail();
        world
    }

    /// The process stores the tail of its feed from now on.
    pub fn store_tail(&mut self) {
        let tail_bytes = self.plan.limits.feed_tail_bytes;
        let (file, store) = self.room.inspect(|log, _| TailFile::create(log, tail_bytes));
        self.tail_file = file;
        self.room.store_tail(store);
    }

    /// The time, as the process reads it.
    pub fn now(&self) -> Now {
        let nanos = 1_700_000_000_000_000_000 + self.now_us * 1000 + self.day_ms * 1_000_000;
        let ms = CLOCK_START_MS + (self.now_us - self.started_us) / 1000;
        Now { ms, tim: Tim::from_nanos(nanos) }
    }

    /// A client joins, and is on its way to a shard.
    pub fn join(&mut self, kind: Kind) -> u64 {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + self.next_id as u32);
        self.join_from(kind, address)
    }

    /// The same, from an address that others may have, too.
    pub fn join_from(&mut self, kind: Kind, address: Ipv4Addr) -> u64 {
        self.resume_from(kind, address, Start::Live)
    }

    /// The same, with the messages that it asks for.
    pub fn resume_from(&mut self, kind: Kind, address: Ipv4Addr, start: Start) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let now = self.now().tim;
        let point = self.room.start_point(start, self.plan.limits.resume, now);
        self.check_start(start, &point);
        self.totals.gaps += u64::from(point.gap.is_some());
        let cursor = point.cursor;
        let peer = Peer::tcp((address, 4711).into());
        let pipe = Rc::new(RefCell::new(Pipe::new(kind.socket_bytes)));
        let shard = self.rng.usize(..self.shards.len());
        let side = Side { id, pipe: pipe.clone(), traffic: self.traffic.clone() };
        let mut client = Client {
            id,
            kind,
            peer,
            pipe,
            shard,
            received: Received::new(kind.encoding, &point, self.now_us / 1000),
            taken: 0,
            unsent: Default::default(),
            takes_soon: false,
            delivers_soon: false,
            sent: 0,
            accepted: 0,
            sent_us: Default::default(),
            waited_us_max: 0,
            sent_close: false,
            saw_close: false,
            ended: false,
            leaving_since: None,
            is_detached: false,
            was_kicked: self.will_kick(peer.block()),
            was_slow: false,
            was_far_back: self.room.end() - cursor > self.plan.limits.feed_tail_bytes as u64 / 2,
            is_violator: false,
        };
        let early = match kind.sends {
            Sends::Anything { .. } if self.rng.bool() => {
                client.anything(&mut self.rng, self.now_us)
            }
            _ => Vec::new(),
        };
        let arrival = NewConnection {
            encoding: kind.encoding,
            after: point.after,
            notice: point.gap.map(|gap| {
                let mut text = Vec::new();
                gap_notice(gap.after, gap.before, now, &mut text);
                text
            }),
            id,
            cursor,
            permit: self.counts.admit(peer, kind.encoding, None, 0).expect("there is no limit"),
            since_secs: 0,
            message_bytes_max: self.plan.limits.message_bytes_max as u32,
        };
        self.clients.insert(id, client);
        self.totals.joined += 1;
        self.shards[shard].commands.push_back(Command::Adopt(side, arrival, early));
        self.report(id);
        let ms = match kind.sends {
            Sends::Nothing => return id,
            Sends::AllItMay { .. } => 0,
            Sends::Every { ms, .. } | Sends::Pings { ms } | Sends::Anything { ms } => ms,
        };
        let phase_us = self.rng.u64(..=ms * 1000);
        self.plan_step(phase_us, id, Step::Say);
        id
    }

    /// Plans another step for this client.
    pub fn plan_step(&mut self, in_us: u64, id: u64, step: Step) {
        self.order += 1;
        self.steps.push(Reverse((self.now_us + in_us, self.order, id, step)));
    }

    /// The poll of its shard reports the state of a socket, as epoll does when anything
    /// has changed.
    pub fn report(&mut self, id: u64) {
        let Some(client) = self.clients.get(&id) else { return };
        let pipe = client.pipe.borrow();
        let event = self.shards[client.shard].events.entry(id).or_default();
        event.readable |= pipe.is_readable();
        event.writable |= pipe.is_writable();
        event.ended |= pipe.client_ended;
    }

    /// Lets this time pass.
    pub fn run_for(&mut self, ms: u64) {
        let end_us = self.now_us + ms * 1000;
        loop {
            let step_us = self.steps.peek().map(|Reverse((us, ..))| *us);
            let shard_us =
                (0..self.shards.len()).filter_map(|shard| self.next_turn_us(shard)).min();
            let next_us = step_us.into_iter().chain(shard_us).min().unwrap_or(u64::MAX);
            if next_us > end_us {
                self.now_us = end_us;
                return;
            }
            self.now_us = self.now_us.max(next_us);
            while let Some(Reverse((us, ..))) = self.steps.peek()
                && *us <= self.now_us
                && let Some(Reverse((_, _, id, step))) = self.steps.pop()
            {
                self.step(id, step);
            }
            let first = self.rng.usize(..self.shards.len());
            for offset in 0..self.shards.len() {
                let shard = (first + offset) % self.shards.len();
                if self.next_turn_us(shard).is_some_and(|us| us <= self.now_us) {
                    self.turn(shard);
                }
            }
        }
    }

    /// When this shard turns, if it does.
    fn next_turn_us(&self, number: usize) -> Option<u64> {
        let shard = &self.shards[number];
        let has_news = shard.woken || !shard.commands.is_empty() || !shard.events.is_empty();
        let due =
            shard.due_ms.map(|due| self.started_us + due.saturating_sub(CLOCK_START_MS) * 1000);
        let wants_us = if has_news { Some(0) } else { due };
        wants_us.map(|us| us.max(shard.busy_until_us))
    }

    /// One turn of this shard.
    pub fn turn(&mut self, number: usize) {
        let now = self.now();
        let wakes = self.shards[number].turn(&self.room, now);
        if wakes {
            self.wake_others(number);
        }
        let moved = std::mem::take(&mut self.traffic.borrow_mut().moved);
        let mut busy_us = 10 + moved as u64 / self.plan.bytes_per_us;
        if self.rng.u32(..1000) < self.plan.pauses {
            busy_us += self.rng.u64(..=self.plan.pause_ms_max * 1000);
        }
        self.shards[number].busy_until_us = self.now_us + busy_us;
        self.look();
        self.check_shard(number);
    }

    pub fn wake_others(&mut self, number: usize) {
        for (other, shard) in self.shards.iter_mut().enumerate() {
            shard.woken |= other != number;
        }
    }

    /// A shard pauses for this time.
    pub fn pause(&mut self, shard: usize, ms: u64) {
        self.plan.pause_ms_max = self.plan.pause_ms_max.max(ms);
        self.shards[shard].busy_until_us = self.now_us + ms * 1000;
    }

    /// Sends a command to every shard.
    pub fn send_all(&mut self, command: impl Fn() -> Command) {
        self.shards.iter_mut().for_each(|shard| shard.commands.push_back(command()));
    }

    /// Other limits take effect.
    pub fn reload(&mut self, change: impl FnOnce(&mut Limits)) {
        change(&mut self.plan.limits);
        self.settings = Rc::new(settings(&self.plan.limits));
        let settings = self.settings.clone();
        self.send_all(|| Command::Apply(settings.clone()));
    }

    /// The listeners are told the state of the room, or some state.
    pub fn tell_presence(&mut self) {
        let (listeners, is_locked) = (self.rng.u64(..1_000), self.rng.bool());
        let notice = &"n".repeat(self.rng.usize(..90));
        self.room.tell_presence(&Presence { listeners, is_locked, notice, ..Presence::default() });
        self.has_presence = true;
        if self.plan.is_cluster {
            let (_, told) = self.room.newest_presence().unwrap_or_default();
            frame::put(Opcode::Text, &told, &mut self.stream.bytes);
        }
        self.shards.iter_mut().for_each(|shard| shard.woken = true);
        self.look();
    }

    /// An operator acts.
    pub fn decide(&mut self, act: &ModAction) {
        let now = self.now();
        let id = |target: &Target| match target {
            Target::Name(name) => name[1..].parse().expect("a client's name"),
            _ => panic!("only names are muted here"),
        };
        if self.room.decide(act, &Actor::operator(0), now.tim).is_err() {
            return;
        }
        match act {
            ModAction::Lock => self.decided.locked = true,
            ModAction::Unlock => self.decided.locked = false,
            ModAction::Mute { target, secs: None } => drop(self.decided.muted.insert(id(target))),
            ModAction::Unmute { target } => drop(self.decided.muted.remove(&id(target))),
            ModAction::Slow { secs } => self.decided.slow_ms = u64::from(secs.unwrap_or(0)) * 1000,
            _ => panic!("nothing that lasts"),
        }
    }

    /// An operator closes a connection, by its number or its address.
    pub fn kick(&mut self, id: u64) {
        let Some(client) = self.clients.get(&id) else { return };
        let block = client.peer.block();
        let target = match self.rng.bool() {
            true => Target::Connection(id),
            false => Target::Address(block),
        };
        for (other, client) in &mut self.clients {
            let is_there = matches!(target, Target::Address(_)) && client.peer.block() == block;
            client.was_kicked |= *other == id || is_there;
        }
        self.send_all(|| Command::Kick(target.clone(), usize::MAX));
    }

    /// A shard has not carried out yet that connections of this address are closed.
    fn will_kick(&self, address: AddressBlock) -> bool {
        let kicks = |command: &Command| matches!(command, Command::Kick(Target::Address(kicked), _) if *kicked == address);
        self.shards.iter().flat_map(|shard| &shard.commands).any(kicks)
    }

    /// The room closes, as at a stop.
    pub fn close(&mut self, close: &Close) {
        self.is_closing = true;
        self.send_all(|| Command::StopReading);
        // The pool waits until all shards have run this command.
        while self.shards.iter().any(|shard| !shard.commands.is_empty()) {
            self.run_for(1);
        }
        self.send_all(|| Command::CloseAll(close.clone()));
    }

    /// Every client stops sending and reads, and all work is done.
    pub fn settle(&mut self) {
        self.is_quiet = true;
        self.plan.pauses = 0;
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        for id in ids {
            if let Some(client) = self.clients.get_mut(&id) {
                client.was_slow |= !client.kind.reads_fast();
                client.kind.reads = Reads::Within(1);
                let mut pipe = client.pipe.borrow_mut();
                pipe.capacity = pipe.capacity.max(65_536);
                drop(pipe);
                self.plan_step(0, id, Step::Take);
            }
        }
        self.run_for(20_000 + 20 * self.plan.pause_ms_max);
        self.check_settled();
    }

    /// Looks at what was sent and written.
    pub fn look(&mut self) {
        for sent in self.sent_feed.catch_up(&self.room) {
            self.check_accepted(&sent);
        }
        let mut touched = std::mem::take(&mut self.traffic.borrow_mut().touched);
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            self.look_at(id);
        }
    }

    fn look_at(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut pipe = client.pipe.borrow_mut();
        let written = std::mem::take(&mut pipe.written);
        let (waiting, gone) = (pipe.waiting > 0, pipe.server_gone);
        drop(pipe);
        let had_close = client.received.close.is_some();
        client.received.take(&written, &self.sent_feed, self.now_us / 1000);
        if !had_close && client.received.close.is_some() {
            self.check_close(id);
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        if gone {
            client.received.check_end(&self.sent_feed);
            let client = self.clients.remove(&id).expect("it is there");
            return self.totals.gone(&client, &self.sent_feed);
        }
        if waiting && !client.takes_soon {
            client.takes_soon = true;
            let in_us = match client.kind.reads {
                Reads::Within(ms) => ms * 1000,
                Reads::Bytes(_) => 20_000,
                Reads::Bits => self.rng.u64(1..20_000),
                Reads::Never => u64::MAX / 2,
            };
            self.plan_step(in_us, id, Step::Take);
        }
        self.deliver_soon(id, 500);
    }

    /// What the client has sent is on its way.
    pub fn deliver_soon(&mut self, id: u64, in_us: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if !client.unsent.is_empty() && !client.delivers_soon {
            client.delivers_soon = true;
            self.plan_step(in_us, id, Step::Deliver);
        }
    }
}

/// The settings with these limits.
pub fn settings(limits: &Limits) -> Settings {
    Settings::new(&Config { limits: limits.clone(), ..Config::default() })
}

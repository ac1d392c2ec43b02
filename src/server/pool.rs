//! The hub: what the rest of the daemon sees of the shards.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mio::{Poll, Waker};
use tokio::sync::{mpsc, oneshot, watch};

use crate::chat::{AddressBlock, Moderation, Now, SECS_MAX, Target, Tim};
use crate::config::Limits;
use crate::mutex::lock;
use crate::room::{Room, RoomState};
use crate::server::admission::addresses::Addresses;
use crate::server::admission::epoll_watches::EpollWatches;
use crate::server::admission::rejection::{Rejection, RejectionCounts};
use crate::server::client_list::{ClientChunk, ClientRow, Page, PageSelection};
use crate::server::counters::Counters;
use crate::server::settings::Settings;
use crate::server::shard::connection::NewConnection;
use crate::server::shard::{Shard, WAKER};
use crate::server::snapshot::{ConnectionSnapshot, Snapshot};
use crate::server::socket::{Peer, Socket};
use crate::ws::close::Close;

/// Where the clock of the shards starts: what was handed over may have been long
/// before, at most for the slowest slow mode. Nothing has to wait for longer.
pub(crate) const CLOCK_START_MS: u64 = SECS_MAX as u64 * 1000;

/// A handle on the running shards; clones are cheap.
#[derive(Clone)]
pub struct ShardPool(Arc<Shared>);

/// What the shards and the hub have in common.
pub(crate) struct Shared {
    pub room: Arc<Room>,
    pub posts: Vec<Mailbox>,
    /// Seats that are taken: open WebSockets, and those on their way to a shard.
    seats: AtomicUsize,
    seats_peak: AtomicUsize,
    /// Where those are who have a seat, while that is bounded.
    pub addresses: Arc<Addresses>,
    /// Those who got none.
    pub rejected: RejectionCounts,
    pub watches: EpollWatches,
    pub next_id: AtomicU64,
    /// The number of the last question to the shards.
    pending: AtomicU64,
    history: Carryover,
    /// The clock that all shards have in common.
    started: Instant,
    /// Changes with every decision of moderation that lasts.
    pub decided: watch::Sender<()>,
    /// How often each act of moderation was done.
    acts: Mutex<BTreeMap<&'static str, u64>>,
}

/// Where a shard gets its letters, and where it reports.
pub(crate) struct Mailbox {
    letters: Mutex<Vec<ShardCommand>>,
    waker: Waker,
    /// The shard waits, or is about to: whoever has something for it wakes it.
    pub asleep: AtomicBool,
    /// How many connections the shard has, for the choice of the least loaded.
    load: AtomicUsize,
    /// The last question that the shard has seen.
    answered: AtomicU64,
    report: Mutex<(usize, Counters)>,
}

/// Dropped when what was asked for is done.
pub(crate) type Done = mpsc::Sender<()>;

/// The room is not whole without one of its shards: if one panics the process
/// ends, and systemd starts another.
struct Whole;

impl Drop for Whole {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// What the hub asks of a shard.
pub(crate) enum ShardCommand {
    /// Take this connection, with the bytes behind its handshake.
    Adopt { socket: Socket, arrival: NewConnection, received: Vec<u8>, seat: ConnectionPermit },
    /// From now on these settings are in force.
    Apply(Arc<Settings>, Done),
    /// Read no more messages.
    StopReading(Done),
    /// Close whoever has everything; done when all have left.
    CloseAll(Close, Done),
    /// Go on with this connection of another process.
    Resume { socket: Socket, row: ConnectionSnapshot, seat: ConnectionPermit },
    /// Hear and do all that has come, and then wait for what follows.
    Pause(Done),
    /// Give every connection away, as it is, and end.
    HandOver(mpsc::UnboundedSender<Vec<(ConnectionSnapshot, Socket)>>),
    /// Say that the shard turns, by letting go.
    Turn(Done),
    /// Close whom this means, among the rows before this one.
    Kick { target: Target, before: usize, counter: mpsc::UnboundedSender<usize> },
    /// List some of the connections in the rows before this one.
    List { before: usize, answer: oneshot::Sender<ClientChunk> },
}

/// A place in the room: it counts against `connections_max` and what its address
/// may have, and everything that is sent after it was taken reaches whoever
/// occupies it.
pub struct ConnectionPermit {
    shared: Arc<Shared>,
    cursor: u64,
    /// Where it is counted, if it is.
    counted: Option<AddressBlock>,
    occupied: bool,
}

/// The figures of the room, summed over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Open WebSockets.
    pub listeners: usize,
    /// The most that there ever were.
    pub listeners_peak: usize,
    /// Connections whose socket would block.
    pub lagging: usize,
    /// Bytes of the feed in memory.
    pub feed_bytes: u64,
    /// How often the room was handed over to another process.
    pub restarts_survived: u64,
    /// When the room was opened, in seconds since the Unix epoch.
    pub started_secs: u64,
    /// How often each act of moderation was done, by its verb.
    pub acts: BTreeMap<&'static str, u64>,
    /// The speakers whose budgets are known.
    pub speakers: usize,
    /// All that is only counted.
    pub counters: Counters,
}

/// What was before this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carryover {
    counters: Counters,
    listeners_peak: usize,
    next_id: u64,
    restarts_survived: u64,
    started_secs: u64,
}

impl Carryover {
    pub fn resume(state: &Snapshot) -> Self {
        let mut counters = Counters::default();
        state.counters.iter().for_each(|(name, count)| counters.add(name, *count));
        Self {
            counters,
            listeners_peak: state.listeners_peak as usize,
            next_id: state.next_id,
            restarts_survived: state.restarts_survived,
            started_secs: state.started_secs,
        }
    }
}

impl ShardPool {
    /// Starts `threads` shards, named `shard-0` and so on, for a new room in
    /// which this is decided.
    ///
    /// # Errors
    ///
    /// The system's, if a thread or its event queue cannot be made.
    pub fn start(
        threads: usize,
        settings: Arc<Settings>,
        moderation: Moderation,
    ) -> io::Result<Self> {
        let tail_bytes = settings.limits.feed_tail_bytes;
        let past = RoomState { moderation, ..RoomState::none(tail_bytes) };
        let room = Room::resume(threads.max(1), tail_bytes, past);
        let history =
            Carryover { started_secs: time_of_day().whole_secs(), ..Carryover::default() };
        let (hub, polls) = Self::prepare(threads, room, history)?;
        hub.spawn(polls, &settings)?;
        Ok(hub)
    }

    pub(crate) fn prepare(
        threads: usize,
        room: Room,
        history: Carryover,
    ) -> io::Result<(Self, Vec<Poll>)> {
        let (mut polls, mut posts) = (Vec::new(), Vec::new());
        for _ in 0..threads.max(1) {
            let poll = Poll::new()?;
            posts.push(Mailbox::new(Waker::new(poll.registry(), WAKER)?));
            polls.push(poll);
        }
        let shared = Shared {
            room: Arc::new(room),
            posts,
            seats: 0.into(),
            seats_peak: history.listeners_peak.into(),
            addresses: Arc::default(),
            rejected: RejectionCounts::default(),
            watches: EpollWatches::default(),
            next_id: history.next_id.into(),
            pending: 0.into(),
            history,
            started: Instant::now(),
            decided: watch::Sender::new(()),
            acts: Mutex::default(),
        };
        Ok((Self(Arc::new(shared)), polls))
    }

    pub(crate) fn spawn(&self, polls: Vec<Poll>, settings: &Arc<Settings>) -> io::Result<()> {
        for (number, poll) in polls.into_iter().enumerate() {
            let shard = Shard::new(number, self.0.clone(), settings.clone(), poll);
            thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                let _whole = Whole;
                if let Err(error) = shard.run() {
                    panic!("shard {number} cannot wait for events: {error}");
                }
            })?;
        }
        Ok(())
    }

    /// A seat for a connection of `peer` that is being let in. To be taken before
    /// the client is told that it is in.
    ///
    /// # Errors
    ///
    /// Which of `limits` leaves it none, or that the system does.
    pub fn seat(&self, peer: Peer, limits: &Limits) -> Result<ConnectionPermit, Rejection> {
        if self.watches().are_exhausted() {
            return Err(Rejection::System);
        }
        let (block, addresses) = (peer.block(), &self.0.addresses);
        let mut seat = self.any_seat(limits.connections_max).ok_or(Rejection::Full)?;
        let max = limits.connections_per_address_max;
        if max > 0 {
            seat.counted = addresses.enter(block, max).then_some(block);
            seat.counted.ok_or(Rejection::AddressFull)?;
        }
        // At last, so that only who gets in has used something up.
        let per_sec = limits.connects_per_address_per_sec;
        if per_sec > 0 && !addresses.may_connect(block, per_sec, self.0.now().ms * 1000) {
            return Err(Rejection::AddressRate);
        }
        Ok(seat)
    }

    /// The watches of this process.
    pub fn watches(&self) -> &EpollWatches {
        &self.0.watches
    }

    /// Counts a connection that ended at the door.
    pub fn bar(&self, why: Rejection) {
        self.0.rejected.add(why);
    }

    /// A seat for whomever, if fewer than `max` are taken.
    pub(crate) fn any_seat(&self, max: usize) -> Option<ConnectionPermit> {
        let shared = &self.0;
        let taken = shared
            .seats
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| {
                (taken < max).then_some(taken + 1)
            })
            .ok()?;
        shared.seats_peak.fetch_max(taken + 1, Ordering::Relaxed);
        let (shared, cursor) = (shared.clone(), shared.room.end());
        Some(ConnectionPermit { shared, cursor, counted: None, occupied: false })
    }

    /// Gives an upgraded connection to the least loaded shard, with the bytes
    /// that were read behind its handshake. [`Self::wake_adopters`] has to follow.
    pub fn adopt(
        &self,
        seat: ConnectionPermit,
        socket: Socket,
        peer: Peer,
        received: Bytes,
        message_bytes_max: usize,
    ) {
        let shared = &self.0;
        let arrival = NewConnection {
            id: shared.next_id.fetch_add(1, Ordering::Relaxed),
            cursor: seat.cursor,
            peer,
            since_secs: time_of_day().whole_secs(),
            message_bytes_max: u32::try_from(message_bytes_max).unwrap_or(u32::MAX),
            counted: seat.counted.is_some(),
        };
        let received = received.to_vec();
        if let Some(post) = self.least_loaded() {
            lock(&post.letters).push(ShardCommand::Adopt { socket, arrival, received, seat });
        }
    }

    /// Wakes the shards that connections were [given](Self::adopt) to. In a
    /// storm of them that is done once for many: a wake for each would cost
    /// more than the connection.
    pub fn wake_adopters(&self) {
        self.0.posts.iter().filter(|post| post.has_letters()).for_each(Mailbox::wake);
    }

    /// Whether some listener lacks a message that the room has.
    pub fn is_sweeping(&self) -> bool {
        self.0.room.gate().is_sweeping()
    }

    pub(crate) fn send_to_least_loaded(&self, letter: ShardCommand) {
        if let Some(post) = self.least_loaded() {
            post.send(letter);
        }
    }

    /// The shard that gets one more connection.
    fn least_loaded(&self) -> Option<&Mailbox> {
        let load = |post: &&Mailbox| post.load.load(Ordering::Relaxed);
        let post = self.0.posts.iter().min_by_key(load)?;
        post.load.fetch_add(1, Ordering::Relaxed);
        Some(post)
    }

    /// Puts new settings in force; when it returns every shard has them, so
    /// that a message sent from now on meets the new rules.
    pub async fn apply(&self, settings: Arc<Settings>) {
        if settings.limits.connects_per_address_per_sec == 0 {
            self.0.addresses.forget_rates();
        }
        self.ask(|done| ShardCommand::Apply(settings.clone(), done)).await;
    }

    /// Ends the room: nothing more is read, everybody gets what the feed still
    /// holds and is closed with this reason. Returns when all have left; the
    /// caller decides how long to wait.
    pub async fn close(&self, close: Close) {
        // Only when no shard reads any more the end of the feed is the end.
        self.ask(ShardCommand::StopReading).await;
        self.ask(|done| ShardCommand::CloseAll(close.clone(), done)).await;
    }

    /// Returns as soon as every shard has turned; never if one hangs.
    pub async fn turn(&self) {
        self.ask(ShardCommand::Turn).await;
    }

    /// How many clients there are, and those on `page`: whoever was there all the
    /// while is in its place. The room is gone through twice, to learn who they are
    /// and to fetch them, since a list of everybody could take as much memory as the
    /// room itself.
    pub async fn clients(&self, page: Page) -> (usize, Vec<ClientRow>) {
        let mut selection = PageSelection::new(page);
        let total = self.each_client(|client| selection.add(&client)).await;
        let mut places = selection.positions();
        let mut found = BTreeMap::new();
        self.each_client(|client| {
            // Whoever is seen twice is listed once.
            if let Some(place) = places.remove(&client.id) {
                found.insert(place, client);
            }
        })
        .await;
        (total, found.into_values().collect())
    }

    /// Shows everybody to `see`, some maybe twice, and gives back how many there are.
    /// The shards are asked one after the other, for a slice between two of their
    /// turns each time, so that the room does not wait for a long list.
    async fn each_client(&self, mut see: impl FnMut(ClientRow)) -> usize {
        let mut total = 0;
        for post in &self.0.posts {
            let mut before = usize::MAX;
            while before > 0 {
                let (answer, slice) = oneshot::channel();
                post.send(ShardCommand::List { before, answer });
                // A shard that is gone takes the process with it.
                let Ok(slice) = slice.await else { break };
                if before == usize::MAX {
                    total += slice.before + slice.clients.len();
                }
                slice.clients.into_iter().for_each(&mut see);
                before = slice.before;
            }
        }
        total
    }

    pub(crate) async fn ask(&self, letter: impl Fn(Done) -> ShardCommand) {
        let (done, mut all) = mpsc::channel(1);
        for post in &self.0.posts {
            post.send(letter(done.clone()));
        }
        drop(done);
        // Nothing is ever sent: the channel ends when every shard has let go.
        while all.recv().await.is_some() {}
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// The room, for readers of the feed that are no connection.
    pub fn room(&self) -> Arc<Room> {
        Arc::clone(&self.0.room)
    }

    /// Whether every shard has turned since the last call. Each call asks anew.
    pub fn answers(&self) -> bool {
        let pending = self.0.pending.fetch_add(1, Ordering::SeqCst);
        let all = self.0.posts.iter().all(|p| p.answered.load(Ordering::SeqCst) >= pending);
        self.0.wake_all();
        all
    }

    /// Open WebSockets, and those that are about to be.
    pub fn listeners(&self) -> usize {
        self.0.seats.load(Ordering::SeqCst)
    }

    /// The figures of the room.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            listeners: self.listeners(),
            listeners_peak: self.0.seats_peak.load(Ordering::Relaxed),
            feed_bytes: self.0.room.feed_bytes(),
            acts: lock(&self.0.acts).clone(),
            speakers: self.0.room.speakers(),
            restarts_survived: self.0.history.restarts_survived,
            started_secs: self.0.history.started_secs,
            counters: self.0.history.counters.clone(),
            ..Totals::default()
        };
        for post in &self.0.posts {
            let (lagging, counters) = &*lock(&post.report);
            totals.lagging += lagging;
            totals.counters.merge(counters);
        }
        for (why, count) in Rejection::ALL.into_iter().zip(self.0.rejected.get()) {
            totals.counters.add(why.name(), count);
        }
        totals
    }
}

impl Shared {
    /// The time: that of the shards, and that of the day.
    pub fn now(&self) -> Now {
        let ms = CLOCK_START_MS + self.started.elapsed().as_millis() as u64;
        Now { ms, tim: time_of_day() }
    }

    /// Microseconds since the room was opened here.
    pub fn elapsed_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// An act of moderation was done.
    pub fn acted(&self, verb: &'static str) {
        *lock(&self.acts).entry(verb).or_default() += 1;
    }

    /// Wakes every shard that waits.
    pub fn wake_all(&self) {
        self.posts.iter().for_each(Mailbox::wake);
    }

    /// The shard turns; see [`ShardPool::answers`].
    pub fn answer(&self, shard: usize) {
        let pending = self.pending.load(Ordering::SeqCst);
        self.posts[shard].answered.store(pending, Ordering::SeqCst);
    }

    /// Wakes the other shards that wait.
    pub fn wake_others(&self, shard: usize) {
        for (number, post) in self.posts.iter().enumerate() {
            if number != shard {
                post.wake();
            }
        }
    }

    /// So many connections are gone.
    pub fn leave(&self, connections: usize) {
        if connections > 0 {
            self.seats.fetch_sub(connections, Ordering::SeqCst);
        }
    }
}

impl Mailbox {
    fn new(waker: Waker) -> Self {
        Self {
            letters: Mutex::default(),
            waker,
            asleep: false.into(),
            load: 0.into(),
            answered: 0.into(),
            report: Mutex::default(),
        }
    }

    pub fn send(&self, letter: ShardCommand) {
        lock(&self.letters).push(letter);
        self.wake();
    }

    /// Wakes the shard if it waits.
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // It can only fail where the event queue is gone, and the shard with it.
            let _ = self.waker.wake();
        }
    }

    pub fn has_letters(&self) -> bool {
        !lock(&self.letters).is_empty()
    }

    pub fn take_letters(&self) -> Vec<ShardCommand> {
        std::mem::take(&mut lock(&self.letters))
    }

    pub fn report(&self, connections: usize, lagging: usize, counters: &Counters) {
        self.load.store(connections, Ordering::Relaxed);
        let mut report = lock(&self.report);
        report.0 = lagging;
        report.1.clone_from(counters);
    }
}

impl ConnectionPermit {
    /// The connection is in; the shard counts it from here on.
    pub(crate) fn occupy(mut self) {
        self.occupied = true;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if !self.occupied {
            self.shared.leave(1);
            self.counted.into_iter().for_each(|block| self.shared.addresses.leave(block));
        }
    }
}

/// The time of day; a clock before the epoch counts as the epoch.
fn time_of_day() -> Tim {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Tim::from_nanos(since.as_nanos() as u64)
}

//! The hub: what the rest of the daemon sees of the shards.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mio::{Poll, Waker};
use tokio::sync::mpsc;

use super::connection::Arrival;
use super::settings::Settings;
use super::shard::{Shard, WAKER};
use super::socket::{Peer, Socket};
use super::table::Tally;
use crate::chat::Room;
use crate::wire::close::Close;

/// A handle on the running shards; clones are cheap.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

/// What the shards and the hub have in common.
pub(super) struct Shared {
    pub room: Arc<Room>,
    pub posts: Vec<Post>,
    /// Seats that are taken: open WebSockets, and those on their way to a shard.
    seats: AtomicUsize,
    seats_peak: AtomicUsize,
    next_id: AtomicU64,
    /// The number of the last question to the shards.
    asked: AtomicU64,
}

/// Where a shard gets its letters, and where it reports.
pub(super) struct Post {
    letters: Mutex<Vec<Letter>>,
    waker: Waker,
    /// The shard waits, or is about to: whoever has something for it wakes it.
    pub asleep: AtomicBool,
    /// How many connections the shard has, for the choice of the least loaded.
    load: AtomicUsize,
    /// The last question that the shard has seen.
    answered: AtomicU64,
    report: Mutex<(usize, Tally)>,
}

/// Dropped when what was asked for is done.
pub(super) type Done = mpsc::Sender<()>;

/// What the hub asks of a shard.
pub(super) enum Letter {
    /// Take this connection, with the bytes behind its handshake.
    Adopt { socket: Socket, arrival: Arrival, received: Vec<u8>, seat: Seat },
    /// From now on these settings are in force.
    Apply(Arc<Settings>, Done),
    /// Read no more messages.
    StopReading(Done),
    /// Close whoever has everything; done when all have left.
    CloseAll(Close, Done),
}

/// A place in the room: it counts against `connections_max`, and everything
/// that is sent after it was taken reaches whoever occupies it.
pub struct Seat {
    shared: Arc<Shared>,
    cursor: u64,
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
    /// All that is only counted.
    pub tally: Tally,
}

impl Hub {
    /// Starts `threads` shards, named `shard-0` and so on.
    ///
    /// # Errors
    ///
    /// The system's, if a thread or its event queue cannot be made.
    pub fn start(threads: usize, settings: Arc<Settings>) -> io::Result<Self> {
        let threads = threads.max(1);
        let (mut polls, mut posts) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let poll = Poll::new()?;
            posts.push(Post::new(Waker::new(poll.registry(), WAKER)?));
            polls.push(poll);
        }
        let shared = Arc::new(Shared {
            room: Arc::new(Room::new(threads, settings.limits.feed_tail_bytes)),
            posts,
            seats: 0.into(),
            seats_peak: 0.into(),
            next_id: 1.into(),
            asked: 0.into(),
        });
        for (number, poll) in polls.into_iter().enumerate() {
            let shard = Shard::new(number, shared.clone(), settings.clone(), poll);
            thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                if let Err(error) = shard.run() {
                    tracing::error!(shard = number, %error, "a shard cannot wait for events");
                    // The room is not whole without it; systemd starts another.
                    std::process::abort();
                }
            })?;
        }
        Ok(Self(shared))
    }

    /// A seat for a connection that is being let in, if fewer than `max` are
    /// taken. To be taken before the client is told that it is in.
    pub fn seat(&self, max: usize) -> Option<Seat> {
        let shared = &self.0;
        let taken = shared
            .seats
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| {
                (taken < max).then_some(taken + 1)
            })
            .ok()?;
        shared.seats_peak.fetch_max(taken + 1, Ordering::Relaxed);
        Some(Seat { shared: shared.clone(), cursor: shared.room.end(), occupied: false })
    }

    /// Gives an upgraded connection to the least loaded shard, with the bytes
    /// that were read behind its handshake.
    pub fn adopt(
        &self,
        seat: Seat,
        socket: Socket,
        peer: Peer,
        received: Bytes,
        message_bytes_max: usize,
    ) {
        let shared = &self.0;
        let arrival = Arrival {
            id: shared.next_id.fetch_add(1, Ordering::Relaxed),
            cursor: seat.cursor,
            peer,
            since_secs: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            message_bytes_max: u32::try_from(message_bytes_max).unwrap_or(u32::MAX),
        };
        let received = received.to_vec();
        if let Some(post) = shared.posts.iter().min_by_key(|post| post.load.load(Ordering::Relaxed))
        {
            post.load.fetch_add(1, Ordering::Relaxed);
            post.send(Letter::Adopt { socket, arrival, received, seat });
        }
    }

    /// Puts new settings in force; when it returns every shard has them, so
    /// that a message sent from now on meets the new rules.
    pub async fn apply(&self, settings: Arc<Settings>) {
        self.ask(|done| Letter::Apply(settings.clone(), done)).await;
    }

    /// Ends the room: nothing more is read, everybody gets what the feed still
    /// holds and is closed with this reason. Returns when all have left; the
    /// caller decides how long to wait.
    pub async fn close(&self, close: Close) {
        // Only when no shard reads any more the end of the feed is the end.
        self.ask(Letter::StopReading).await;
        self.ask(|done| Letter::CloseAll(close.clone(), done)).await;
    }

    async fn ask(&self, letter: impl Fn(Done) -> Letter) {
        let (done, mut all) = mpsc::channel(1);
        for post in &self.0.posts {
            post.send(letter(done.clone()));
        }
        drop(done);
        // Nothing is ever sent: the channel ends when every shard has let go.
        while all.recv().await.is_some() {}
    }

    /// The room, for readers of the feed that are no connection.
    pub fn room(&self) -> Arc<Room> {
        Arc::clone(&self.0.room)
    }

    /// Whether every shard has turned since the last call. Each call asks anew.
    pub fn answers(&self) -> bool {
        let asked = self.0.asked.fetch_add(1, Ordering::SeqCst);
        let all = self.0.posts.iter().all(|p| p.answered.load(Ordering::SeqCst) >= asked);
        self.0.posts.iter().for_each(Post::wake);
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
            ..Totals::default()
        };
        for post in &self.0.posts {
            let (lagging, tally) = &*lock(&post.report);
            totals.lagging += lagging;
            tally.named().for_each(|(name, count)| totals.tally.add(name, count));
        }
        totals
    }
}

impl Shared {
    /// The shard turns; see [`Hub::answers`].
    pub fn answer(&self, shard: usize) {
        let asked = self.asked.load(Ordering::SeqCst);
        self.posts[shard].answered.store(asked, Ordering::SeqCst);
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

impl Post {
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

    fn send(&self, letter: Letter) {
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

    pub fn take_letters(&self) -> Vec<Letter> {
        std::mem::take(&mut lock(&self.letters))
    }

    pub fn report(&self, connections: usize, lagging: usize, tally: &Tally) {
        self.load.store(connections, Ordering::Relaxed);
        let mut report = lock(&self.report);
        report.0 = lagging;
        report.1.clone_from(tally);
    }
}

impl Seat {
    /// The connection is in; the shard counts it from here on.
    pub(super) fn occupy(mut self) {
        self.occupied = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.occupied {
            self.shared.leave(1);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

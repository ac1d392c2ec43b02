//! What the pool and its shards share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mio::Waker;
use tokio::sync::{Notify, watch};

use crate::chat::{Now, Refusal, SECS_MAX, Tim};
use crate::mutex::lock;
use crate::room::Room;
use crate::server::admission::connection_counts::ConnectionCounts;
use crate::server::admission::epoll_watches::EpollWatches;
use crate::server::admission::rejection::Rejection;
use crate::server::client_log::{ClientEvent, ClientLog};
use crate::server::counters::Counters;
use crate::server::presence::ToldToAll;
use crate::server::recently_kicked::RecentlyKicked;
use crate::server::settings::Settings;
use crate::server::shard::mailbox::Mailbox;
use crate::server::shard::tally::AddressTraffic;
use crate::server::snapshot::Snapshot;
use crate::server::socket::Peer;

/// The clock of the shards starts here, so that a message from before a handover has a time
/// on it too. The longest slow mode needs no more.
pub(crate) const CLOCK_START_MS: u64 = SECS_MAX as u64 * 1000;

/// The state that the pool and its shards share.
pub(crate) struct Shared {
    pub room: Arc<Room>,
    /// The newest settings. A shard uses them when it is told to.
    pub settings: watch::Sender<Arc<Settings>>,
    pub mailboxes: Vec<Mailbox>,
    pub connections: ConnectionCounts,
    pub watches: EpollWatches,
    /// The counters of earlier processes, and the rejections of this one.
    pub counters: Arc<Mutex<Counters>>,
    /// Connections and requests that were refused, by address.
    pub rejected: Mutex<AddressTraffic>,
    /// Messages by POST that did not reach a shard, by address.
    pub refused_posts: Mutex<AddressTraffic>,
    pub client_log: ClientLog,
    pub next_id: AtomicU64,
    /// The number of the newest health check.
    pub health_check: AtomicU64,
    pub restarts_survived: u64,
    /// How many crashes there were.
    pub crashes_survived: u64,
    pub started_secs: u64,
    clock: Instant,
    /// How many listen to the other machines of the room.
    pub listeners_elsewhere: AtomicU64,
    pub told_to_all: Mutex<ToldToAll>,
    /// Notified of each decision of moderation that has to be stored.
    pub moderation_changed: watch::Sender<()>,
    /// Notified when a room on several machines may be able to append messages.
    pub gate_opened: Notify,
    pub recently_kicked: Arc<RecentlyKicked>,
    /// Locked while the messages of a name are looked for.
    pub searching: Mutex<()>,
}

impl Shared {
    /// The room goes on as in `snapshot`, with a shard for each of `wakers`.
    pub fn new(
        room: Room,
        wakers: Vec<Waker>,
        settings: Arc<Settings>,
        snapshot: &Snapshot,
    ) -> Self {
        let connections = ConnectionCounts::new(wakers.len());
        connections.set_peak(snapshot.listeners_peak as usize);
        let mut counters = Counters::default();
        snapshot.counters.iter().for_each(|(name, count)| counters.add(name, *count));
        let client_log = ClientLog::default();
        client_log.set_proxies(&settings.trusted_proxies);
        Self {
            room: Arc::new(room),
            settings: watch::Sender::new(settings),
            mailboxes: wakers.into_iter().map(Mailbox::new).collect(),
            connections,
            watches: EpollWatches::default(),
            counters: Arc::new(Mutex::new(counters)),
            rejected: Mutex::default(),
            refused_posts: Mutex::default(),
            client_log,
            next_id: snapshot.next_id.into(),
            health_check: 0.into(),
            restarts_survived: snapshot.restarts_survived,
            crashes_survived: snapshot.crashes_survived,
            started_secs: snapshot.started_secs,
            clock: Instant::now(),
            listeners_elsewhere: 0.into(),
            told_to_all: Mutex::default(),
            moderation_changed: watch::Sender::new(()),
            gate_opened: Notify::new(),
            recently_kicked: Arc::default(),
            searching: Mutex::default(),
        }
    }

    /// The time of the shards' clock, and the time of day.
    pub fn now(&self) -> Now {
        Now { ms: self.now_ms(), tim: time_of_day() }
    }

    /// The time of the shards' clock.
    pub fn now_ms(&self) -> u64 {
        CLOCK_START_MS + self.clock.elapsed().as_millis() as u64
    }

    /// Microseconds since the pool was started.
    pub fn elapsed_us(&self) -> u64 {
        self.clock.elapsed().as_micros() as u64
    }

    /// Wakes every shard that waits, except the one with this number, and who waits for the
    /// gate to append messages.
    pub fn wake_all_but(&self, shard: Option<usize>) {
        if self.room.remote().is_some() {
            self.gate_opened.notify_one();
        }
        let others = self.mailboxes.iter().enumerate().filter(|(number, _)| Some(*number) != shard);
        others.for_each(|(_, mailbox)| mailbox.wake());
    }

    /// Notes that the shard responds to [health checks](crate::server::ShardPool::all_respond).
    pub fn respond(&self, shard: usize) {
        let newest = self.health_check.load(Ordering::SeqCst);
        self.mailboxes[shard].health_check.store(newest, Ordering::SeqCst);
    }

    /// Counts a connection that did not become a WebSocket.
    pub fn count_rejection(&self, rejection: Rejection) {
        lock(&self.counters).rejected[rejection as usize] += 1;
    }

    /// Counts a message that did not reach a shard.
    pub fn count_refusal(&self, refusal: Refusal) {
        lock(&self.counters).refused[refusal as usize] += 1;
    }

    /// Logs an event of a client without an open connection, and counts it for its address.
    pub fn note_client(&self, event: ClientEvent, peer: Peer) {
        let now_ms = self.now_ms();
        let (addresses, rate_limited) = match event {
            ClientEvent::Refused(refusal) => (&self.refused_posts, refusal == Refusal::RateLimited),
            _ => (&self.rejected, false),
        };
        lock(addresses).of(peer.block(), now_ms).add_refused(rate_limited, now_ms);
        self.client_log.note(event, peer, None, now_ms);
    }
}

/// The time of day; a clock before the Unix epoch counts as the epoch.
pub(crate) fn time_of_day() -> Tim {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Tim::from_nanos(since.as_nanos() as u64)
}

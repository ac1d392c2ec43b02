//! The shards as the rest of the daemon sees them: starts, stops and queries them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLockReadGuard};
use std::thread;

use mio::{Poll, Waker};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::chat::{
    ActDone, Actor, ModAction, ModActionError, Moderation, Stamper, Tim, gap_notice,
};
use crate::config::Limits;
use crate::feed::{Encoding, Log};
use crate::mutex::lock;
use crate::room::{Accounts, Gap, RemoteOrder, Room, RoomState, Start, StartPoint, TailStore};
use crate::server::admission::epoll_watches::EpollWatches;
use crate::server::admission::rejection::Rejection;
use crate::server::counters::Counters;
use crate::server::settings::Settings;
use crate::server::shard::cold_state::NewConnection;
use crate::server::shard::command::{Done, ShardCommand};
use crate::server::shard::{Shard, WAKER};
use crate::server::shared::{CLOCK_START_MS, Shared, time_of_day};
use crate::server::snapshot::{ConnectionSnapshot, Snapshot};
use crate::server::socket::{self, Peer, Socket};
use crate::ws::close::Close;

/// A handle on the running shards; clones are cheap.
#[derive(Clone)]
pub struct ShardPool(Arc<Shared>);

/// The state of the room in numbers, all shards together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Open WebSockets.
    pub listeners: usize,
    /// The most WebSockets that were ever open.
    pub listeners_peak: usize,
    /// Connections whose socket would block.
    pub lagging: usize,
    /// The connection that is furthest behind, if one is.
    pub slowest: Option<SlowestListener>,
    /// Bytes of the feed in memory.
    pub feed_bytes: u64,
    /// How many handovers there were.
    pub restarts_survived: u64,
    /// How many crashes there were.
    pub crashes_survived: u64,
    /// When the room was first opened, in seconds since the Unix epoch.
    pub started_secs: u64,
    /// Accounts in memory.
    pub speakers: usize,
    /// The counters.
    pub counters: Counters,
}

/// The listener that is furthest behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowestListener {
    /// Its id.
    pub id: u64,
    /// Its address.
    #[serde(with = "socket::peer_text")]
    pub address: Peer,
    /// Bytes of the feed that it lacks.
    pub behind_bytes: u64,
}

/// What shards do with the messages of clients.
enum Messages {
    /// They are ordered in this process, or there.
    Read(Option<Arc<dyn RemoteOrder>>),
    Ignore,
}

/// Ends the process if a shard panics, because the room needs all of them. The service
/// manager then starts another process.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

impl ShardPool {
    /// The state of a room of which nothing is known from an earlier process, with these
    /// decisions of moderation.
    pub fn new_room(moderation: Moderation) -> Snapshot {
        let now = time_of_day();
        Snapshot {
            started_secs: now.whole_secs(),
            moderation,
            complete_since: now.nanos(),
            ..Snapshot::default()
        }
    }

    /// Starts shards for a new room.
    #[cfg(test)]
    pub fn start_empty(threads: usize, settings: Arc<Settings>) -> io::Result<Self> {
        let room = Self::new_room(Moderation::default());
        Self::resume(threads, settings, &room, Vec::new(), |_| None, None)
    }

    /// Starts `threads` shards, named `shard-0` and so on, for the room in `snapshot` with the
    /// connections whose sockets arrived. `store_tail` gets the feed before anything is
    /// added to it, and returns where its messages are stored, if they are. `remote` orders
    /// the messages of a room on several machines.
    ///
    /// # Errors
    ///
    /// The system's, if it has no thread or no event queue left.
    pub fn resume(
        threads: usize,
        settings: Arc<Settings>,
        snapshot: &Snapshot,
        connections: Vec<(ConnectionSnapshot, Socket)>,
        store_tail: impl FnOnce(&Log) -> Option<Box<dyn TailStore>>,
        remote: Option<Arc<dyn RemoteOrder>>,
    ) -> io::Result<Self> {
        Self::open(threads, settings, snapshot, connections, store_tail, Messages::Read(remote))
    }

    /// As [`Self::resume`], but reads no messages: the room is only there to be
    /// [closed](Self::close).
    ///
    /// # Errors
    ///
    /// As [`Self::resume`].
    pub fn resume_to_close(
        threads: usize,
        settings: Arc<Settings>,
        snapshot: &Snapshot,
        connections: Vec<(ConnectionSnapshot, Socket)>,
    ) -> io::Result<Self> {
        Self::open(threads, settings, snapshot, connections, |_| None, Messages::Ignore)
    }

    fn open(
        threads: usize,
        settings: Arc<Settings>,
        snapshot: &Snapshot,
        connections: Vec<(ConnectionSnapshot, Socket)>,
        store_tail: impl FnOnce(&Log) -> Option<Box<dyn TailStore>>,
        messages: Messages,
    ) -> io::Result<Self> {
        let tail_bytes = settings.limits.feed_tail_bytes;
        let ignores_messages = matches!(messages, Messages::Ignore);
        let remote = match messages {
            Messages::Read(remote) => remote,
            Messages::Ignore => None,
        };
        let state = RoomState {
            log: snapshot.log(tail_bytes),
            stamper: Stamper::after(snapshot.last_tim()),
            moderation: snapshot.moderation.clone(),
            accounts: Accounts::resume(&snapshot.account_snapshots, CLOCK_START_MS),
            remote,
        };
        let tail_store = store_tail(&state.log);
        let room = Room::resume(threads.max(1), tail_bytes, state);
        if let Some(store) = tail_store {
            room.store_tail(store);
        }
        let (mut polls, mut wakers) = (Vec::new(), Vec::new());
        for _ in 0..threads.max(1) {
            let poll = Poll::new()?;
            wakers.push(Waker::new(poll.registry(), WAKER)?);
            polls.push(poll);
        }
        let shared = Arc::new(Shared::new(room, wakers, settings, snapshot));
        // The shards find these commands when they start: no message is sent before all
        // connections are in the room again.
        if ignores_messages {
            let (done, _) = mpsc::channel(1);
            for mailbox in &shared.mailboxes {
                mailbox.push(ShardCommand::StopReading(done.clone()));
            }
        }
        for (snapshot, socket) in connections {
            let (peer, encoding) = (snapshot.peer, snapshot.encoding);
            if let Ok(permit) = shared.connections.admit(peer, encoding, None, 0) {
                let mailbox = &shared.mailboxes[permit.shard()];
                mailbox.push(ShardCommand::Resume { socket, snapshot, permit });
            }
        }
        for (number, poll) in polls.into_iter().enumerate() {
            let shard = Shard::new(number, Arc::clone(&shared), poll);
            thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                let _abort_on_panic = AbortOnPanic;
                if let Err(error) = shard.run() {
                    panic!("shard {number} cannot wait for events: {error}");
                }
            })?;
        }
        Ok(Self(shared))
    }

    /// Admits a new connection of `peer`. Everything that is sent from now on reaches it, so
    /// this comes before the response to the client.
    ///
    /// # Errors
    ///
    /// Which of `limits` it exceeds, or that the system has no epoll watch left.
    pub fn admit(
        &self,
        peer: Peer,
        encoding: Encoding,
        start: Start,
        limits: &Limits,
    ) -> Result<NewConnection, Rejection> {
        if self.watches().are_exhausted() {
            return Err(Rejection::System);
        }
        let shared = &self.0;
        let permit = shared.connections.admit(peer, encoding, Some(limits), shared.elapsed_us())?;
        let now = time_of_day();
        let StartPoint { cursor, after, gap } = shared.room.start_point(start, limits.resume, now);
        let gap_notice = |gap: Gap| {
            let mut text = Vec::new();
            gap_notice(gap.after, gap.before, now, &mut text);
            text
        };
        Ok(NewConnection {
            permit,
            id: shared.next_id.fetch_add(1, Ordering::Relaxed),
            encoding,
            cursor,
            after,
            notice: gap.map(gap_notice),
            since_secs: time_of_day().whole_secs(),
            message_bytes_max: u32::try_from(limits.message_bytes_max).unwrap_or(u32::MAX),
        })
    }

    /// The epoll watches of this process.
    pub fn watches(&self) -> &EpollWatches {
        &self.0.watches
    }

    /// Gives an admitted connection to its shard, with the bytes that followed the request.
    /// The shard sees it at the next [`Self::wake_adopters`].
    pub fn adopt(&self, connection: NewConnection, socket: Socket, received: Vec<u8>) {
        let mailbox = &self.0.mailboxes[connection.permit.shard()];
        mailbox.push(ShardCommand::Adopt { socket, connection, received });
    }

    /// Wakes the shards that were [given](Self::adopt) connections. In a storm of connections
    /// one call serves many of them: a call for each would cost more than the connection.
    pub fn wake_adopters(&self) {
        let mailboxes = self.0.mailboxes.iter().filter(|mailbox| mailbox.has_commands());
        mailboxes.for_each(|mailbox| mailbox.wake());
    }

    /// Whether some listener was not sent all messages yet.
    pub fn is_sweeping(&self) -> bool {
        self.0.room.gate().is_sweeping()
    }

    /// The settings in force, now and after each reload.
    pub fn settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.0.settings.subscribe()
    }

    /// Puts new settings in force. When it returns, every shard uses them: they apply to each
    /// message that is sent from now on.
    pub async fn reload(&self, settings: Arc<Settings>) {
        if settings.limits.connects_per_address_per_sec == 0 {
            self.0.connections.forget_rates();
        }
        self.0.client_log.set_proxies(&settings.trusted_proxies);
        self.0.settings.send_replace(settings);
        self.run_on_all(ShardCommand::ReloadSettings).await;
    }

    /// Ends the room: reads no more messages, sends the rest of the feed, and closes all
    /// connections with this reason. Returns when all are gone; the caller sets a time limit.
    pub async fn close(&self, close: Close) {
        // The feed grows as long as a shard reads.
        self.run_on_all(ShardCommand::StopReading).await;
        self.run_on_all(|done| ShardCommand::CloseAll(close.clone(), done)).await;
    }

    /// Returns as soon as every shard has handled a command; never if one hangs.
    pub async fn barrier(&self) {
        self.run_on_all(ShardCommand::Barrier).await;
    }

    /// Sends a command to each shard, and waits until all have carried it out.
    pub(crate) async fn run_on_all(&self, command: impl Fn(Done) -> ShardCommand) {
        let (done, mut all) = mpsc::channel(1);
        for mailbox in &self.0.mailboxes {
            mailbox.send(command(done.clone()));
        }
        drop(done);
        // Nothing is ever sent: the channel ends when every shard has dropped its sender.
        while all.recv().await.is_some() {}
    }

    /// Carries out a moderation action. Returns how many connections it closed.
    ///
    /// # Errors
    ///
    /// Why it is not carried out; then nothing has changed.
    pub async fn moderate(
        &self,
        action: &ModAction,
        actor: &Actor,
    ) -> Result<ActDone, ModActionError> {
        let (sender, done) = oneshot::channel();
        // The caller may have stopped waiting.
        let reply = Box::new(|result| {
            let _ = sender.send(result);
        });
        self.0.moderate(action.clone(), actor.clone(), self.0.now(), reply);
        // What orders the messages answers each action, unless the process ends.
        done.await.unwrap_or(Err(ModActionError::Unknown))
    }

    /// The decisions in force. Until this is dropped, new decisions wait, and then all
    /// messages: copy it for anything that takes long.
    pub fn moderation(&self) -> RwLockReadGuard<'_, Moderation> {
        self.0.room.moderation()
    }

    /// Notified of each decision that has to be stored.
    pub fn decisions(&self) -> watch::Receiver<()> {
        self.0.moderation_changed.subscribe()
    }

    /// The time of day, by which decisions end.
    pub fn now(&self) -> Tim {
        self.0.now().tim
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// The room, for readers of the feed other than connections.
    pub fn room(&self) -> Arc<Room> {
        Arc::clone(&self.0.room)
    }

    /// Health check: whether every shard has taken a turn since the last call.
    pub fn all_respond(&self) -> bool {
        let last = self.0.health_check.fetch_add(1, Ordering::SeqCst);
        let seen = |mailbox: &AtomicU64| mailbox.load(Ordering::SeqCst) >= last;
        let all_respond = self.0.mailboxes.iter().all(|mailbox| seen(&mailbox.health_check));
        self.0.wake_all_but(None);
        all_respond
    }

    /// Open WebSockets, and admitted connections on their way to a shard.
    pub fn listeners(&self) -> usize {
        self.0.connections.open()
    }

    /// The state of the room in numbers.
    pub fn totals(&self) -> Totals {
        let shared = &self.0;
        let mut totals = Totals {
            listeners: shared.connections.open(),
            listeners_peak: shared.connections.peak(),
            lagging: 0,
            slowest: None,
            feed_bytes: shared.room.feed_bytes(),
            restarts_survived: shared.restarts_survived,
            crashes_survived: shared.crashes_survived,
            started_secs: shared.started_secs,
            speakers: shared.room.speakers(),
            counters: lock(&shared.counters).clone(),
        };
        let end = shared.room.end();
        for mailbox in &shared.mailboxes {
            let report = lock(&mailbox.report);
            totals.lagging += report.lagging;
            let slowest = report.slowest.map(|(cursor, id, address)| SlowestListener {
                id,
                address,
                behind_bytes: end.saturating_sub(cursor),
            });
            totals.slowest = [totals.slowest, slowest]
                .into_iter()
                .flatten()
                .filter(|it| it.behind_bytes > 0)
                .max_by_key(|it| it.behind_bytes);
            totals.counters.merge(&report.counters);
        }
        totals
    }
}

//! A node of a cluster: its tasks, from the start of the process to its end.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::driver::{Driver, OrderQueue, Requests};
use super::kicks::Kicks;
use super::nats::{self, PresenceTask};
use super::options::EngineOptions;
use super::room_moderation::RoomModeration;
use super::state::ClusterState;
use crate::room::RemoteOrder;
use crate::server::ShardPool;

/// A node that is not started yet, because it has no room yet.
pub struct ClusterNode {
    options: EngineOptions,
    queue: Arc<OrderQueue>,
    requests: Requests,
    state: Arc<ClusterState>,
}

/// A running node.
pub struct RunningNode {
    driver: Driver,
    /// Told when it is known whether messages can be ordered.
    decided: oneshot::Receiver<()>,
    /// Ends what this node tells the others.
    stop_presence: oneshot::Sender<()>,
    presence: JoinHandle<()>,
}

impl ClusterNode {
    /// A node of the cluster in `options`.
    pub fn new(options: EngineOptions) -> Self {
        let (queue, requests) = OrderQueue::new();
        // Its keys are random.
        let incarnation = RandomState::new().build_hasher().finish();
        let state = Arc::new(ClusterState::new(&options.stream, &options.node, incarnation));
        Self { options, queue, requests, state }
    }

    /// Looks whether the servers and the stream are as they have to be, for so long at most. What
    /// is found later keeps the node away from the stream, with the reason in its status.
    ///
    /// # Errors
    ///
    /// What is wrong with them, and what to do.
    pub async fn verify(&self, limit: Duration) -> Result<(), String> {
        timeout(limit, nats::verify(&self.options)).await.unwrap_or(Ok(()))
    }

    /// What orders the messages of its room.
    pub fn remote_order(&self) -> Arc<dyn RemoteOrder> {
        Arc::clone(&self.queue) as _
    }

    /// The cluster as this node sees it.
    pub fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state)
    }

    /// Starts the tasks on the runtime of the caller. `is_handed_over`: the previous process has
    /// handed over the room.
    pub fn start(self, pool: ShardPool, is_handed_over: bool) -> RunningNode {
        let Self { options, queue: _, requests, state } = self;
        let (name, stream) = (options.node.clone(), options.stream.clone());
        let mark = pool.room().stream_mark();
        let engine = nats::start(options, mark.map(|mark| mark.position));
        // The moderation of a room after a crash is that of a file, which may be older.
        let known = mark.map(|mark| mark.position).filter(|_| is_handed_over);
        let client = engine.client();
        let moderation = RoomModeration::start(pool.clone(), known, stream.clone(), client.clone());
        let (kicks, answers) = Kicks::new();
        let (mut kicked, room) = (kicks.learn(), pool.clone());
        tokio::spawn(async move {
            // It ends with the other tasks, which have `kicks`.
            while let Some(speaker) = kicked.recv().await {
                room.remember_kicked(speaker);
            }
        });
        let (kicks, listeners, told) = (Arc::new(kicks), pool.clone(), pool.clone());
        let presence = PresenceTask {
            stream,
            client,
            state: Arc::clone(&state),
            kicks: Arc::clone(&kicks),
            answers,
        };
        let (stop_presence, stopped) = oneshot::channel::<()>();
        let presence = tokio::spawn(presence.run(
            move || listeners.listeners() as u64,
            move |elsewhere| told.set_listeners_elsewhere(elsewhere),
            async move { drop(stopped.await) },
        ));
        let (driver, decided) =
            Driver::start(name, engine, requests, pool, state, moderation, kicks);
        RunningNode { driver, decided, stop_presence, presence }
    }
}

impl RunningNode {
    /// Waits a moment for what was said before, so that new listeners can resume. Those of the
    /// process before are served meanwhile.
    pub async fn ready(&mut self) {
        // The driver ends only if the process does.
        let _ = (&mut self.decided).await;
    }

    /// Ends the tasks, as soon as the outcome of each message is known or has been waited for
    /// long enough.
    pub async fn finish(self) {
        let Self { driver, decided: _, stop_presence, presence } = self;
        let _ = stop_presence.send(());
        // It ends soon, or has ended.
        let _ = presence.await;
        driver.finish().await;
    }
}

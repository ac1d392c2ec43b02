//! A node of a cluster: its tasks, from the start of the process to its end.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::driver::{Driver, OrderQueue, Requests};
use super::nats;
use super::options::EngineOptions;
use super::state::ClusterState;
use crate::room::RemoteOrder;
use crate::server::ShardPool;

/// How long the start waits for the engine.
const START_TIMEOUT: Duration = Duration::from_secs(3);

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

    /// What orders the messages of its room.
    pub fn remote_order(&self) -> Arc<dyn RemoteOrder> {
        Arc::clone(&self.queue) as _
    }

    /// The cluster as this node sees it.
    pub fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state)
    }

    /// Starts the tasks on the runtime of the caller. A room without listeners then waits a
    /// moment for what was said before, so that its first listener can resume.
    pub async fn start(self, pool: ShardPool) -> RunningNode {
        let Self { options, queue: _, requests, state } = self;
        let name = options.node.clone();
        let mark = pool.room().stream_mark();
        let engine = nats::start(options, mark.map(|mark| mark.position));
        let has_listeners = pool.listeners() > 0;
        let (driver, decided) = Driver::start(name, engine, requests, pool, state);
        if !has_listeners {
            // Without an answer in time the node starts without the engine.
            let _ = timeout(START_TIMEOUT, decided).await;
        }
        RunningNode { driver }
    }
}

impl RunningNode {
    /// Ends the tasks, as soon as the outcome of each message is known or has been waited for
    /// long enough.
    pub async fn finish(self) {
        self.driver.finish().await;
    }
}

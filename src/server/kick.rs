//! A kick, until all shards have carried it out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tracing::info;

use crate::chat::{Actor, Target};
use crate::mutex::lock;
use crate::room::{Closed, ClosedCounts};
use crate::server::counters::Counters;

/// A kick. Each shard drops it when its connections are closed; then it is logged, counted and
/// reported, and whether it has met anybody is known.
#[derive(Debug)]
pub struct Kick {
    /// Whose connections are closed.
    pub target: Target,
    actor: Actor,
    connections: AtomicU64,
    counters: Arc<Mutex<Counters>>,
    done: mpsc::UnboundedSender<Closed>,
}

impl Kick {
    /// The receiver gets the number of connections.
    pub fn new(
        target: Target,
        actor: Actor,
        counters: Arc<Mutex<Counters>>,
    ) -> (Self, ClosedCounts) {
        let (done, closed) = mpsc::unbounded_channel();
        (Self { target, actor, connections: 0.into(), counters, done }, closed)
    }

    /// Adds connections that are closed.
    pub fn add(&self, connections: u64) {
        self.connections.fetch_add(connections, Ordering::Relaxed);
    }
}

impl Drop for Kick {
    fn drop(&mut self) {
        let Self { target, actor, .. } = self;
        let connections = *self.connections.get_mut();
        let (by, whom) = (actor.to_string(), target.to_string());
        if connections == 0 {
            info!(
                asked = "kick",
                by, whom, "{actor} asked for kick, but {target} is not connected here"
            );
        } else {
            info!(
                act = "kick",
                by, whom, connections, "{actor} kicked {target}, connections: {connections}"
            );
            lock(&self.counters).add("kick", 1);
        }
        // The receiver may have stopped waiting.
        let _ = self.done.send(Closed { connections, silent_nodes: 0 });
    }
}

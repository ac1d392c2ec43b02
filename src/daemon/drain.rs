//! The end of the daemon: handing the room over, or closing every connection.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{error, info, warn};

use super::handover::{self, Inheritance};
use super::reload::Reloader;
use super::signals::Signals;
use crate::server::ShardPool;
use crate::ws::close::{Close, RESTART};

/// How much longer than `server.shutdown_timeout_secs` the whole stop may take; systemd is
/// told so.
pub const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Closes the room. Every client first gets what the feed has for it, until `limit` has
/// passed or a second signal arrives.
pub async fn drain(pool: &ShardPool, close: Close, limit: Duration, signals: &mut Signals) {
    // All three outcomes end the wait.
    let _ = signals.unless_shutdown(timeout(limit, pool.close(close))).await;
}

/// Hands the room over to the next process. If that fails, returns the room, to be closed.
pub async fn hand_over(reloader: &Reloader) -> Option<ShardPool> {
    let Reloader { pool, manager, .. } = reloader;
    let settings = pool.settings().borrow().clone();
    let (snapshot, sockets) = pool.hand_over(settings.rules.rate_limit()).await;
    let listeners = sockets.len();
    let Err(error) = handover::give(manager, &snapshot, &sockets) else {
        info!(listeners, "handed over the room, listeners: {listeners}");
        return None;
    };
    warn!(%error, "no descriptor store, so all connections are closed: {error}");
    let found = Inheritance::take_back(snapshot, sockets, settings.limits.feed_tail_bytes);
    handover::close_orphans(found.orphans, &RESTART);
    let (snapshot, connections) = found.room?;
    let shards = reloader.config.server.shards();
    ShardPool::resume_to_close(shards, settings, &snapshot, connections)
        .inspect_err(|error| {
            error!(%error, "cannot start shards, so all connections are lost: {error}");
        })
        .ok()
}

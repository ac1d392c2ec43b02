//! The watchdog of the service manager (`WatchdogSec=`).

use std::time::Duration;

use tokio::time::interval;
use tracing::error;

use super::notify::ServiceManager;
use crate::server::ShardPool;

/// Resets the watchdog, whose timeout is given, for as long as this is polled and every
/// shard answers.
pub async fn reset(manager: ServiceManager, pool: ShardPool, timeout: Duration) {
    // One late answer then does not let it expire.
    let mut tick = interval(timeout / 4);
    let mut is_silent = false;
    loop {
        tick.tick().await;
        let was_silent = std::mem::replace(&mut is_silent, !pool.all_respond());
        if !is_silent {
            manager.reset_watchdog();
        } else if !was_silent {
            error!("a shard does not answer");
        }
    }
}

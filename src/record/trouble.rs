//! When recording fails and when it goes on, told to the operator once each.

use std::path::Path;
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// The least time between two tales of trouble, so that a disk which is full
/// again and again does not fill the log as well.
const TOLD_INTERVAL: Duration = Duration::from_secs(10);

/// The trouble with the record, if there is any.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    now: Option<Trouble>,
    /// When the log last heard of one.
    told: Option<Instant>,
}

#[derive(Debug)]
struct Trouble {
    /// How many messages had been lost to the record before.
    dropped_before: u64,
    /// Whether the log knows of it.
    told: bool,
}

impl Troubles {
    /// Nothing can be written in `dir`, or not fast enough.
    pub fn begin(&mut self, dir: &Path, why: &str, dropped: u64) {
        if self.now.is_some() {
            return;
        }
        let told = self.told.is_none_or(|told| told.elapsed() >= TOLD_INTERVAL);
        self.now = Some(Trouble { dropped_before: dropped, told });
        if told {
            self.told = Some(Instant::now());
            let dir = dir.display();
            warn!(%dir, why, "cannot record messages in {dir}: {why}; listeners get them all the same");
        }
    }

    /// All that is left of the feed is written. Says whether that ended a
    /// trouble.
    pub fn end(&mut self, dropped: u64) -> bool {
        let Some(trouble) = self.now.take() else { return false };
        if trouble.told {
            let lost = dropped - trouble.dropped_before;
            info!(dropped = lost, "recording messages again; {lost} were not recorded");
        }
        true
    }
}

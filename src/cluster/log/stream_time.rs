//! What time it is in the stream, for the deadlines of records.

use super::clock::later;
use crate::chat::Tim;

/// An estimate of the time of the stream: what was last seen of it, and how long ago.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamTime {
    seen: Tim,
    at_ms: u64,
}

impl StreamTime {
    /// The time now.
    pub const fn estimate(self, now_ms: u64) -> Tim {
        later(self.seen, now_ms.saturating_sub(self.at_ms).saturating_mul(1_000_000))
    }

    /// The server says that it is `time`; `newest` is the greatest time in the log.
    pub fn reset(&mut self, time: Tim, newest: Tim, now_ms: u64) {
        *self = Self { seen: time.max(newest), at_ms: now_ms };
    }

    /// A record was read, up to which `newest` is the greatest time in the log. It can have
    /// been late, so the time is at least that.
    pub fn at_least(&mut self, newest: Tim, now_ms: u64) {
        if newest > self.estimate(now_ms) {
            *self = Self { seen: newest, at_ms: now_ms };
        }
    }

    /// A record of this node was stored at `time`, and was published at `published_ms`.
    pub fn at_most(&mut self, time: Tim, published_ms: u64, newest: Tim, now_ms: u64) {
        let most = Self { seen: time, at_ms: published_ms }.estimate(now_ms).max(newest);
        if most < self.estimate(now_ms) {
            *self = Self { seen: most, at_ms: now_ms };
        }
    }
}

//! What a client sends: so far, and per second lately.

use serde::{Deserialize, Serialize};

/// How long the intervals are that rates are measured over.
const INTERVAL_MS: u64 = 10_000;

/// What a client has sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficTotals {
    /// Messages that were sent to the room.
    pub messages: u64,
    /// Messages that were refused, for any reason.
    pub refused: u64,
    /// Those of them that were refused because the sender was too fast.
    pub rate_limited: u64,
    /// Bytes that were received, of all frames.
    pub received_bytes: u64,
}

/// What a client sends per second, on average over the last ten seconds, to a tenth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficRates {
    /// Messages that arrive, sent or refused.
    pub messages_per_sec: f64,
    /// Messages that are refused.
    pub refused_per_sec: f64,
    /// Bytes that are received.
    pub received_bytes_per_sec: f64,
}

/// Counts what a client sends. Times are those of a monotonic clock, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    totals: TrafficTotals,
    /// The number of the interval that `current` is of.
    interval: u64,
    current: Counts,
    previous: Counts,
}

/// What was counted in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    messages: u32,
    refused: u32,
    received_bytes: u64,
}

impl Traffic {
    /// Of a client that has sent nothing.
    pub const NONE: Self = Self {
        totals: TrafficTotals { messages: 0, refused: 0, rate_limited: 0, received_bytes: 0 },
        interval: 0,
        current: Counts { messages: 0, refused: 0, received_bytes: 0 },
        previous: Counts { messages: 0, refused: 0, received_bytes: 0 },
    };

    /// Continues with the totals of another process.
    pub fn resume(totals: TrafficTotals) -> Self {
        Self { totals, ..Self::NONE }
    }

    /// Counts a message that is sent to the room.
    pub fn add_message(&mut self, ms: u64) {
        self.totals.messages += 1;
        self.now(ms).messages += 1;
    }

    /// Counts a message that is refused, perhaps because the sender was too fast.
    pub fn add_refused(&mut self, rate_limited: bool, ms: u64) {
        self.totals.refused += 1;
        self.totals.rate_limited += u64::from(rate_limited);
        let counts = self.now(ms);
        counts.messages += 1;
        counts.refused += 1;
    }

    /// Counts bytes that are received.
    pub fn add_received(&mut self, bytes: u64, ms: u64) {
        self.totals.received_bytes += bytes;
        self.now(ms).received_bytes += bytes;
    }

    /// Adds what was counted in another process.
    pub fn add_totals(&mut self, totals: &TrafficTotals) {
        self.totals.merge(totals);
    }

    /// What was sent so far.
    pub const fn totals(&self) -> TrafficTotals {
        self.totals
    }

    /// The rates at `ms`: a part of the previous interval counts, so that they cover one
    /// interval in all.
    pub fn rates(&self, ms: u64) -> TrafficRates {
        let mut at = *self;
        at.advance(ms);
        let left = 1.0 - (ms % INTERVAL_MS) as f64 / INTERVAL_MS as f64;
        let secs = INTERVAL_MS as f64 / 1000.0;
        let rate = |current: f64, previous: f64| {
            ((current + previous * left) / secs * 10.0).round() / 10.0
        };
        let Self { current, previous, .. } = at;
        TrafficRates {
            messages_per_sec: rate(current.messages.into(), previous.messages.into()),
            refused_per_sec: rate(current.refused.into(), previous.refused.into()),
            received_bytes_per_sec: rate(
                current.received_bytes as f64,
                previous.received_bytes as f64,
            ),
        }
    }

    fn now(&mut self, ms: u64) -> &mut Counts {
        self.advance(ms);
        &mut self.current
    }

    /// Begins the interval that `ms` is in.
    fn advance(&mut self, ms: u64) {
        let interval = ms / INTERVAL_MS;
        self.previous = match interval.saturating_sub(self.interval) {
            0 => return,
            1 => self.current,
            _ => Counts::default(),
        };
        self.current = Counts::default();
        self.interval = interval;
    }
}

impl TrafficTotals {
    /// Adds those of another client.
    pub fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.refused += other.refused;
        self.rate_limited += other.rate_limited;
        self.received_bytes += other.received_bytes;
    }
}

impl TrafficRates {
    /// Adds those of another client.
    pub fn merge(&mut self, other: &Self) {
        self.messages_per_sec += other.messages_per_sec;
        self.refused_per_sec += other.refused_per_sec;
        self.received_bytes_per_sec += other.received_bytes_per_sec;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_rates() {
        let mut traffic = Traffic::NONE;
        for ms in [50_000, 50_000, 59_999] {
            traffic.add_message(ms);
        }
        traffic.add_refused(true, 59_999);
        traffic.add_refused(false, 59_999);
        traffic.add_received(1000, 59_999);
        let totals =
            TrafficTotals { messages: 3, refused: 2, rate_limited: 1, received_bytes: 1000 };
        assert_eq!(traffic.totals(), totals);
        for (ms, messages, refused, bytes) in [
            (59_999, 0.5, 0.2, 100.0),
            (60_000, 0.5, 0.2, 100.0),
            (65_000, 0.3, 0.1, 50.0),
            (70_000, 0.0, 0.0, 0.0),
            (990_000, 0.0, 0.0, 0.0),
        ] {
            let want = TrafficRates {
                messages_per_sec: messages,
                refused_per_sec: refused,
                received_bytes_per_sec: bytes,
            };
            assert_eq!(traffic.rates(ms), want, "{ms}");
        }
        traffic.add_message(61_000);
        assert_eq!(traffic.rates(61_000).messages_per_sec, 0.6, "5 of before and one");
        assert_eq!(Traffic::resume(totals).totals(), totals);
    }
}

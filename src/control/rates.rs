//! Rates: what was counted per second over the last few seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::server::Counters;

/// The rates of status and metrics are averages over ten seconds: how often the counters are
/// sampled, and how many samples are kept.
pub(super) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
pub(super) const SAMPLES_MAX: usize = 10;

/// The shortest time that a rate is measured over.
const TIME_MIN: Duration = Duration::from_secs(1);

/// Rates, rounded to a tenth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Messages published in the room.
    pub messages_per_sec: f64,
    /// Messages completely written to a socket.
    pub deliveries_per_sec: f64,
    /// Bytes of messages written to sockets.
    pub bytes_sent_per_sec: f64,
}

/// The newest samples of the counters.
#[derive(Debug)]
pub struct RateMeter {
    samples: VecDeque<(Instant, Counters)>,
    samples_max: usize,
}

impl RateMeter {
    /// Keeps this many samples; a rate is measured from the oldest one.
    pub fn new(samples_max: usize) -> Self {
        Self { samples: VecDeque::new(), samples_max }
    }

    /// Adds the values of the counters at `now`.
    pub fn sample(&mut self, now: Instant, counters: Counters) {
        if self.samples.len() == self.samples_max {
            self.samples.pop_front();
        }
        self.samples.push_back((now, counters));
    }

    /// The rates from the oldest sample to `now`.
    pub fn rates(&self, now: Instant, counters: &Counters) -> Rates {
        let Some((then, before)) = self.samples.front() else { return Rates::default() };
        let secs = now.saturating_duration_since(*then).max(TIME_MIN).as_secs_f64();
        let rate = |value: u64, before: u64| {
            (value.saturating_sub(before) as f64 / secs * 10.0).round() / 10.0
        };
        Rates {
            messages_per_sec: rate(counters.messages, before.messages),
            deliveries_per_sec: rate(counters.deliveries, before.deliveries),
            bytes_sent_per_sec: rate(counters.bytes_sent, before.bytes_sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_measured_over_the_samples() {
        let start = Instant::now();
        let at = |secs: u64| start + Duration::from_secs(secs);
        let counters = |n: u64| Counters {
            messages: n,
            deliveries: 10 * n,
            bytes_sent: 100 * n,
            ..Counters::default()
        };
        let mut meter = RateMeter::new(10);
        assert_eq!(meter.rates(at(0), &counters(7)), Rates::default(), "nothing to compare with");
        meter.sample(at(0), counters(0));
        assert_eq!(meter.rates(at(0), &counters(5)).messages_per_sec, 5.0, "at least a second");
        for second in 1..100 {
            meter.sample(at(second), counters(second * 3));
        }
        let want =
            Rates { messages_per_sec: 3.0, deliveries_per_sec: 30.0, bytes_sent_per_sec: 300.0 };
        assert_eq!(meter.rates(at(99), &counters(297)), want);
        assert_eq!(meter.rates(at(100), &counters(298)).messages_per_sec, 2.8);
    }
}

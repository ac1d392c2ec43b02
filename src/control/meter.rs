//! How fast the room is, over the last few seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples that are kept; at one a second, rates are those of ten seconds.
const SAMPLES_MAX: usize = 10;

/// How often a sample should be taken.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What is counted, and then how often in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts<T> {
    pub messages: T,
    pub deliveries: T,
    pub bytes_sent: T,
}

/// Counts of the last seconds.
#[derive(Debug, Default)]
pub struct Meter {
    samples: VecDeque<(Instant, Counts<u64>)>,
}

impl Meter {
    /// Remembers what was counted until `now`.
    pub fn sample(&mut self, now: Instant, counts: Counts<u64>) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((now, counts));
    }

    /// The rates from the oldest sample to `now`, rounded to a tenth.
    pub fn rates(&self, now: Instant, counts: Counts<u64>) -> Counts<f64> {
        let (then, before) = self.samples.front().copied().unwrap_or((now, counts));
        // Half a second of a burst would look like a rate, and be none.
        let secs = now.saturating_duration_since(then).max(INTERVAL).as_secs_f64();
        let rate = |now: u64, before: u64| {
            (now.saturating_sub(before) as f64 / secs * 10.0).round() / 10.0
        };
        Counts {
            messages: rate(counts.messages, before.messages),
            deliveries: rate(counts.deliveries, before.deliveries),
            bytes_sent: rate(counts.bytes_sent, before.bytes_sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_ten_seconds() {
        let start = Instant::now();
        let at = |secs: u64| start + Duration::from_secs(secs);
        let counts = |n: u64| Counts { messages: n, deliveries: 10 * n, bytes_sent: 100 * n };
        let mut meter = Meter::default();
        assert_eq!(meter.rates(at(0), counts(7)).messages, 0.0, "nothing to compare with");
        meter.sample(at(0), counts(0));
        assert_eq!(meter.rates(at(0), counts(5)).messages, 5.0, "as if it were a second");
        for second in 1..100 {
            meter.sample(at(second), counts(second * 3));
        }
        let rates = meter.rates(at(99), counts(297));
        assert_eq!(rates, Counts { messages: 3.0, deliveries: 30.0, bytes_sent: 300.0 });
        let rates = meter.rates(at(100), counts(298));
        assert_eq!(rates.messages, 2.8);
    }
}

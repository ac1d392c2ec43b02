//! A limit for log lines that a client or a lasting fault could repeat without end.

use std::time::{Duration, Instant};

/// Lets one log line pass in each interval.
#[derive(Debug)]
pub(crate) struct LogLimit {
    interval: Duration,
    last: Option<Instant>,
}

impl LogLimit {
    pub const fn new(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// Whether a line may be logged at `now`; if so, the next interval begins.
    pub fn allows(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= self.interval);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_each_interval() {
        let mut limit = LogLimit::new(Duration::from_secs(600));
        let start = Instant::now();
        let allowed = [0, 1, 599, 600, 601, 1_199, 1_200]
            .map(|secs| limit.allows(start + Duration::from_secs(secs)));
        assert_eq!(allowed, [true, false, false, true, false, false, true]);
    }
}

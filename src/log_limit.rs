//! A limit for log lines that a client or a lasting problem could repeat without end.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::mutex::lock;

/// Lets the log line of a problem pass once per interval, and that of its end after it.
#[derive(Debug)]
pub(crate) struct LogLimit {
    interval: Duration,
    /// When the problem was last logged, and whether its end is to be logged.
    last: Mutex<(Option<Instant>, bool)>,
}

impl LogLimit {
    pub const fn new(interval: Duration) -> Self {
        Self { interval, last: Mutex::new((None, false)) }
    }

    /// Whether a problem at `now` is to be logged.
    pub fn problem(&self, now: Instant) -> bool {
        let mut last = lock(&self.last);
        let is_due = last.0.is_none_or(|last| now.duration_since(last) >= self.interval);
        if is_due {
            *last = (Some(now), true);
        }
        is_due
    }

    /// Whether the end of the problem is to be logged: if it was logged itself.
    pub fn end(&self) -> bool {
        std::mem::take(&mut lock(&self.last).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_and_one_at_the_end() {
        let limit = LogLimit::new(Duration::from_secs(600));
        let start = Instant::now();
        assert!(!limit.end());
        let logged = [0, 1, 599, 600, 601, 1_199, 1_200]
            .map(|secs| limit.problem(start + Duration::from_secs(secs)));
        assert_eq!(logged, [true, false, false, true, false, false, true]);
        assert!(limit.end() && !limit.end());
        assert!(!limit.problem(start + Duration::from_secs(1_201)) && !limit.end());
    }
}

//! When the next message is due.

use std::time::Duration;

/// What makes senders speak.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// They do not.
    Silent,
    /// Always this many messages on the way.
    Window(usize),
    /// A message at fixed times, whatever became of the ones before.
    Rate {
        /// Between two messages.
        every_ns: u64,
        /// When the next one is due, by the run's clock.
        due_ns: u64,
        /// From then on there are none, by the run's clock.
        end_ns: u64,
    },
}

impl Pace {
    /// `rate` messages a second, from `now` for as long as `length`.
    pub fn rate(rate: f64, now_ns: u64, length: Duration) -> Self {
        let every_ns = (1e9 / rate).max(1.0) as u64;
        let end_ns = now_ns.saturating_add(length.as_nanos() as u64);
        Self::Rate { every_ns, due_ns: now_ns, end_ns }
    }

    /// Whether a message is due now.
    #[inline]
    pub fn is_due(&self, now_ns: u64, on_the_way: usize) -> bool {
        match self {
            Self::Silent => false,
            Self::Window(window) => on_the_way < *window,
            Self::Rate { due_ns, end_ns, .. } => *due_ns <= now_ns && due_ns < end_ns,
        }
    }

    /// The time to stamp the next message with, if one is due now.
    pub fn take(&mut self, now_ns: u64, on_the_way: usize) -> Option<u64> {
        if !self.is_due(now_ns, on_the_way) {
            return None;
        }
        match self {
            Self::Rate { every_ns, due_ns, .. } => {
                let due = *due_ns;
                *due_ns += *every_ns;
                Some(due)
            }
            _ => Some(now_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_messages_keep_the_time_they_were_due() {
        let mut pace = Pace::rate(10.0, 1_000, Duration::from_millis(250));
        assert_eq!(pace.take(999, 0), None);
        let late = 500_000_000;
        let due: Vec<u64> = std::iter::from_fn(|| pace.take(late, 0)).collect();
        assert_eq!(due, [1_000, 100_001_000, 200_001_000]);
    }

    #[test]
    fn a_window_opens_when_messages_have_arrived() {
        let mut pace = Pace::Window(2);
        assert_eq!(pace.take(7, 1), Some(7));
        assert_eq!(pace.take(7, 2), None);
    }
}

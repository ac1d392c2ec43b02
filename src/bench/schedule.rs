//! When the next message is due.

/// When senders send.
#[derive(Clone, Copy, Debug)]
pub enum Schedule {
    /// Never.
    Stopped,
    /// Whenever fewer messages than this are in flight.
    Window(usize),
    /// Every `interval_ns`, next at `due_ns` by the run's clock, however late earlier
    /// messages are.
    Rate { interval_ns: u64, due_ns: u64 },
}

impl Schedule {
    /// `rate` messages per second from `now_ns` on.
    pub fn rate(rate: f64, now_ns: u64) -> Self {
        Self::Rate { interval_ns: (1e9 / rate).max(1.0) as u64, due_ns: now_ns }
    }

    /// Whether a message is due now.
    #[inline]
    pub fn is_due(&self, now_ns: u64, in_flight: usize) -> bool {
        match self {
            Self::Stopped => false,
            Self::Window(window) => in_flight < *window,
            Self::Rate { due_ns, .. } => *due_ns <= now_ns,
        }
    }

    /// If a message is due, the time at which it should have been sent.
    pub fn take(&mut self, now_ns: u64, in_flight: usize) -> Option<u64> {
        self.is_due(now_ns, in_flight).then(|| match self {
            Self::Rate { interval_ns, due_ns } => {
                *due_ns += *interval_ns;
                *due_ns - *interval_ns
            }
            _ => now_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_fixed_times_or_when_the_window_has_space() {
        let mut schedule = Schedule::rate(10.0, 1_000);
        assert_eq!(schedule.take(999, 0), None);
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take(200_001_000, 0)).collect();
        assert_eq!(due, [1_000, 100_001_000, 200_001_000]);
        let mut schedule = Schedule::Window(2);
        assert_eq!((schedule.take(7, 1), schedule.take(7, 2)), (Some(7), None));
    }
}

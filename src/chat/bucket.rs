//! Bounds on what one connection may cause.

/// How many notices one connection gets: ten at once, then two a second.
///
/// The rest is silence, so that a client that sends nonsense cannot make the
/// server speak as fast as itself. Times are milliseconds of any clock that
/// does not step back.
///
/// # Examples
///
/// ```
/// use wschat::chat::NoticeBudget;
/// let mut budget = NoticeBudget::default();
/// assert_eq!((0..20).filter(|_| budget.take(1_000)).count(), 10);
/// assert!(budget.take(1_500));
/// assert!(!budget.take(1_501));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoticeBudget {
    /// When the budget will be whole again, in milliseconds.
    whole_at_ms: u64,
}

impl NoticeBudget {
    /// Notices that a connection gets at once.
    pub const BURST: u64 = 10;
    /// The time in which the budget grows by one notice.
    pub const INTERVAL_MS: u64 = 500;

    /// A budget that is whole again in `whole_in_ms` milliseconds.
    pub const fn resume(now_ms: u64, whole_in_ms: u64) -> Self {
        Self { whole_at_ms: now_ms.saturating_add(whole_in_ms) }
    }

    /// In how many milliseconds the budget is whole again.
    pub const fn whole_in_ms(self, now_ms: u64) -> u64 {
        self.whole_at_ms.saturating_sub(now_ms)
    }

    /// Takes one notice from the budget, if one is there.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let whole_at_ms = self.whole_at_ms.max(now_ms).saturating_add(Self::INTERVAL_MS);
        if whole_at_ms - now_ms > Self::BURST * Self::INTERVAL_MS {
            return false;
        }
        self.whole_at_ms = whole_at_ms;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_a_second_once_the_burst_is_used_up() {
        let mut budget = NoticeBudget::default();
        let given: Vec<u64> = (0..3_000).filter(|&now_ms| budget.take(now_ms)).collect();
        let burst: Vec<u64> = (0..10).collect();
        let later: Vec<u64> = (1..6).map(|n| n * 500).collect();
        assert_eq!(given, [burst, later].concat());
    }

    #[test]
    fn a_pause_restores_the_burst_and_no_more() {
        let mut budget = NoticeBudget::default();
        assert_eq!((0..20).filter(|_| budget.take(0)).count(), 10);
        assert_eq!((0..20).filter(|_| budget.take(1_000_000)).count(), 10);
    }

    proptest! {
        #[test]
        fn never_more_than_promised(steps in prop::collection::vec(0..400u64, 0..200)) {
            let mut budget = NoticeBudget::default();
            let (mut now_ms, mut given) = (0, 0);
            for step in steps {
                now_ms += step;
                given += u64::from(budget.take(now_ms));
                prop_assert!(given <= 10 + now_ms / 500);
            }
        }

        #[test]
        fn no_clock_reading_panics(times: Vec<u64>) {
            let mut budget = NoticeBudget::default();
            for now_ms in times {
                budget.take(now_ms);
            }
        }
    }
}

//! A token bucket: how often something may be done, with a pause saved up.

/// How a bucket fills: by one token in each interval, up to the burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Microseconds until there is one token more.
    pub interval_us: u64,
    /// The tokens that there are when it is whole.
    pub burst: u64,
}

impl Fill {
    /// So many tokens a second; none is taken for one.
    pub fn per_sec(per_sec: u32, burst: u64) -> Self {
        Self { interval_us: 1_000_000 / u64::from(per_sec.max(1)), burst }
    }

    /// Microseconds until an empty bucket is whole.
    pub const fn whole_in_us(self) -> u64 {
        self.interval_us.saturating_mul(self.burst)
    }
}

/// A bucket, whole at first: one number, however it fills (the generic cell rate
/// algorithm of ITU-T I.371). Times are microseconds of any clock that does not
/// step back.
///
/// # Examples
///
/// ```
/// use wschat::chat::{Bucket, Fill};
/// let fill = Fill::per_sec(2, 3);
/// let mut bucket = Bucket::default();
/// assert_eq!((0..9).filter(|_| bucket.take(0, fill).is_ok()).count(), 3);
/// assert_eq!(bucket.take(100_000, fill), Err(400_000));
/// assert!(bucket.take(500_000, fill).is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    whole_at_us: u64,
}

impl Bucket {
    /// A bucket that is whole again in `whole_in_us` microseconds.
    pub const fn resume(now_us: u64, whole_in_us: u64) -> Self {
        Self { whole_at_us: now_us.saturating_add(whole_in_us) }
    }

    /// In how many microseconds it is whole again.
    pub const fn whole_in_us(self, now_us: u64) -> u64 {
        self.whole_at_us.saturating_sub(now_us)
    }

    /// The microseconds until a token is there: none, if one is.
    pub fn wait_us(self, now_us: u64, fill: Fill) -> u64 {
        self.with_one_less(now_us, fill).saturating_sub(fill.whole_in_us())
    }

    /// Takes a token.
    ///
    /// # Errors
    ///
    /// The microseconds until there is one, at least 1; then nothing is taken.
    pub fn take(&mut self, now_us: u64, fill: Fill) -> Result<(), u64> {
        match self.wait_us(now_us, fill) {
            0 => {
                *self = Self::resume(now_us, self.with_one_less(now_us, fill));
                Ok(())
            }
            wait_us => Err(wait_us),
        }
    }

    /// When it would be whole if one were taken. It may have filled otherwise
    /// before, and owe more than it holds now: then it is empty, and no more
    /// than that.
    fn with_one_less(self, now_us: u64, fill: Fill) -> u64 {
        self.whole_in_us(now_us).min(fill.whole_in_us()).saturating_add(fill.interval_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILL: Fill = Fill { interval_us: 500, burst: 10 };

    #[test]
    fn one_in_each_interval_once_the_burst_is_used_up() {
        let mut bucket = Bucket::default();
        let given: Vec<u64> = (0..3_000).filter(|&now| bucket.take(now, FILL).is_ok()).collect();
        let burst: Vec<u64> = (0..10).collect();
        let later: Vec<u64> = (1..6).map(|n| n * 500).collect();
        assert_eq!(given, [burst, later].concat());
    }

    #[test]
    fn a_pause_restores_the_burst_and_no_more() {
        let mut bucket = Bucket::default();
        for now_us in [0, 1_000_000] {
            assert_eq!((0..20).filter(|_| bucket.take(now_us, FILL).is_ok()).count(), 10);
        }
    }

    #[test]
    fn a_smaller_bucket_owes_no_more_than_it_holds() {
        let mut bucket = Bucket::default();
        while bucket.take(0, FILL).is_ok() {}
        assert_eq!(bucket.take(0, Fill { burst: 2, ..FILL }), Err(500));
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let mut bucket = Bucket::default();
        (0..7).for_each(|_| bucket.take(100, FILL).unwrap());
        let mut other = Bucket::resume(9_000, bucket.whole_in_us(300));
        assert_eq!((0..20).filter(|_| other.take(9_000, FILL).is_ok()).count(), 3);
    }

    proptest! {
        #[test]
        fn never_more_than_promised(steps in prop::collection::vec(0..400u64, 0..200)) {
            let mut bucket = Bucket::default();
            let (mut now_us, mut given) = (0, 0);
            for step in steps {
                now_us += step;
                match bucket.take(now_us, FILL) {
                    Ok(()) => given += 1,
                    Err(wait_us) => {
                        prop_assert!(bucket.take(now_us + wait_us - 1, FILL).is_err());
                        prop_assert_eq!(bucket.wait_us(now_us + wait_us, FILL), 0);
                    }
                }
                prop_assert!(given <= FILL.burst + now_us / FILL.interval_us);
            }
        }

        #[test]
        fn no_clock_and_no_fill_panics(times: Vec<(u64, u64, u64)>) {
            let mut bucket = Bucket::default();
            for (now_us, interval_us, burst) in times {
                let _ = bucket.take(now_us, Fill { interval_us, burst });
            }
        }
    }
}

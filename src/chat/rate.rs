//! Rate limits: how often something may be done, and how fast a speaker may send.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::unicode::is_invisible;

/// How a [`Bucket`] refills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefillRate {
    /// Microseconds until there is one token more.
    pub interval_us: u64,
    /// The tokens in a full bucket.
    pub burst: u64,
}

impl RefillRate {
    /// This many tokens per second, at least one.
    pub fn per_sec(per_sec: u32, burst: u64) -> Self {
        Self { interval_us: 1_000_000 / u64::from(per_sec.max(1)), burst }
    }

    const fn full_in_us(self) -> u64 {
        self.interval_us.saturating_mul(self.burst)
    }
}

/// A token bucket, which is full at first. It is the generic cell rate algorithm of
/// ITU-T I.371, so it stores one number whatever its rate. Times are microseconds of a
/// monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at_us: u64,
}

impl Bucket {
    /// A full bucket.
    pub const FULL: Self = Self { full_at_us: 0 };

    /// A bucket that is full in `full_in_us` microseconds.
    pub const fn resume(now_us: u64, full_in_us: u64) -> Self {
        Self { full_at_us: now_us.saturating_add(full_in_us) }
    }

    /// The microseconds until it is full.
    pub const fn full_in_us(self, now_us: u64) -> u64 {
        self.full_at_us.saturating_sub(now_us)
    }

    /// The microseconds until there is a token; 0 if there is one.
    fn wait_us(self, now_us: u64, rate: RefillRate) -> u64 {
        self.full_in_us_after_take(now_us, rate).saturating_sub(rate.full_in_us())
    }

    /// Takes a token.
    ///
    /// # Errors
    ///
    /// The microseconds until there is a token, at least 1. Then nothing is taken.
    pub fn try_take(&mut self, now_us: u64, rate: RefillRate) -> Result<(), u64> {
        match self.wait_us(now_us, rate) {
            0 => {
                *self = Self::resume(now_us, self.full_in_us_after_take(now_us, rate));
                Ok(())
            }
            wait_us => Err(wait_us),
        }
    }

    /// The microseconds until it is full if a token is taken now. After a change to a
    /// smaller rate it can be less than empty; then it counts as empty.
    fn full_in_us_after_take(self, now_us: u64, rate: RefillRate) -> u64 {
        self.full_in_us(now_us).min(rate.full_in_us()).saturating_add(rate.interval_us)
    }
}

/// How fast a speaker may send. In every field 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Messages per second on average.
    pub per_sec: u32,
    /// Messages at once after a pause.
    pub burst: u32,
    /// Milliseconds between two messages.
    pub slow_ms: u64,
    /// Milliseconds between two messages with the same text, whatever is sent between.
    pub repeat_ms: u64,
}

impl RateLimit {
    fn refill(&self) -> RefillRate {
        RefillRate::per_sec(self.per_sec, self.burst.max(1).into())
    }
}

/// What a speaker has used of its [`RateLimit`]. Times are milliseconds of a monotonic
/// clock that all shards share.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    bucket: Bucket,
    /// The times of messages and the digests of their texts. The last one is the newest
    /// message; the others are texts that may not be repeated yet.
    sent: Vec<(u64, u64)>,
}

impl Usage {
    /// The maximum number of texts that are kept for comparison, 16 bytes each.
    const TEXTS_MAX: usize = 1024;

    /// The usage that [`full_in_us`](Self::full_in_us) and [`sent_ago`](Self::sent_ago)
    /// describe.
    pub fn resume(now_ms: u64, full_in_us: u64, sent_ago: &[(u64, u64)]) -> Self {
        let sent =
            sent_ago.iter().map(|(ago_ms, digest)| (now_ms.saturating_sub(*ago_ms), *digest));
        Self { bucket: Bucket::resume(now_us(now_ms), full_in_us), sent: sent.collect() }
    }

    /// The microseconds until the bucket is full.
    pub const fn full_in_us(&self, now_ms: u64) -> u64 {
        self.bucket.full_in_us(now_us(now_ms))
    }

    /// How many milliseconds ago messages were sent, with the digests of their texts;
    /// the newest is the last.
    pub fn sent_ago(&self, now_ms: u64) -> Vec<(u64, u64)> {
        self.sent.iter().map(|(ms, digest)| (now_ms.saturating_sub(*ms), *digest)).collect()
    }

    /// Whether it makes any difference under this limit.
    pub fn is_needed(&self, limit: &RateLimit, now_ms: u64) -> bool {
        let pause_ms = limit.slow_ms.max(limit.repeat_ms);
        self.full_in_us(now_ms) > 0
            || self.sent.last().is_some_and(|(ms, _)| ms.saturating_add(pause_ms) > now_ms)
    }

    /// Counts a message with this text.
    ///
    /// # Errors
    ///
    /// The milliseconds to wait, at least 1. Then the message is not counted.
    pub fn count_message(&mut self, limit: &RateLimit, text: &str, now_ms: u64) -> Result<(), u64> {
        let digest = if limit.repeat_ms > 0 { digest_of_visible(text) } else { 0 };
        // The turn of another shard may have begun a little later than this one.
        let left_ms = |pause_ms: u64, ms: u64| pause_ms.saturating_sub(now_ms.saturating_sub(ms));
        let slow_ms = self.sent.last().map_or(0, |(ms, _)| left_ms(limit.slow_ms, *ms));
        let same = self.sent.iter().rev().find(|(_, other)| *other == digest);
        let same_ms = same.map_or(0, |(ms, _)| left_ms(limit.repeat_ms, *ms));
        self.take(limit, slow_ms.max(same_ms), now_ms)?;
        self.sent.retain(|(ms, other)| *other != digest && left_ms(limit.repeat_ms, *ms) > 0);
        let too_many = (self.sent.len() + 1).saturating_sub(Self::TEXTS_MAX);
        self.sent.drain(..too_many);
        self.sent.push((now_ms, digest));
        Ok(())
    }

    /// Counts a command. It has no text, and moderators do not wait for slow mode.
    ///
    /// # Errors
    ///
    /// As [`count_message`](Self::count_message).
    pub fn count_command(&mut self, limit: &RateLimit, now_ms: u64) -> Result<(), u64> {
        self.take(limit, 0, now_ms)
    }

    /// Takes a token from the bucket unless there are `wait_ms` to wait.
    fn take(&mut self, limit: &RateLimit, wait_ms: u64, now_ms: u64) -> Result<(), u64> {
        let (now_us, rate) = (now_us(now_ms), limit.refill());
        let bucket_us = if limit.per_sec > 0 { self.bucket.wait_us(now_us, rate) } else { 0 };
        match wait_ms.max(bucket_us.div_ceil(1000)) {
            0 if limit.per_sec > 0 => self.bucket.try_take(now_us, rate),
            0 => Ok(()),
            wait_ms => Err(wait_ms),
        }
    }
}

const fn now_us(now_ms: u64) -> u64 {
    now_ms.saturating_mul(1000)
}

/// A digest of the visible characters of a text. Another build may compute another one;
/// then a repeated text is accepted once after an upgrade.
fn digest_of_visible(text: &str) -> u64 {
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    let mut hasher = DefaultHasher::new();
    visible.trim().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: RefillRate = RefillRate { interval_us: 500, burst: 10 };
    const LIMIT: RateLimit = RateLimit { per_sec: 20, burst: 60, slow_ms: 0, repeat_ms: 0 };
    const NONE: RateLimit = RateLimit { per_sec: 0, burst: 0, slow_ms: 0, repeat_ms: 0 };

    #[test]
    fn a_bucket_gives_a_burst_and_then_one_token_per_interval() {
        let mut bucket = Bucket::default();
        let given: Vec<u64> =
            (0..3_000).filter(|&now_us| bucket.try_take(now_us, RATE).is_ok()).collect();
        let later: Vec<u64> = (1..6).map(|n| n * 500).collect();
        assert_eq!(given, [(0..10).collect(), later].concat());
        let after_pause = (0..20).filter(|_| bucket.try_take(1_000_000, RATE).is_ok());
        assert_eq!(after_pause.count(), 10, "a pause restores the burst and no more");
    }

    #[test]
    fn a_bucket_with_a_smaller_burst_is_at_most_empty() {
        let mut bucket = Bucket::default();
        while bucket.try_take(0, RATE).is_ok() {}
        assert_eq!(bucket.try_take(0, RefillRate { burst: 2, ..RATE }), Err(500));
    }

    #[test]
    fn a_bucket_is_resumed() {
        let mut bucket = Bucket::default();
        (0..7).for_each(|_| bucket.try_take(100, RATE).unwrap());
        let mut other = Bucket::resume(9_000, bucket.full_in_us(300));
        assert_eq!((0..20).filter(|_| other.try_take(9_000, RATE).is_ok()).count(), 3);
    }

    /// Counts each message at its time and compares the results.
    #[track_caller]
    fn check(messages: &[(&RateLimit, &str, u64, Result<(), u64>)]) {
        let mut usage = Usage::default();
        for (limit, text, now_ms, want) in messages {
            assert_eq!(usage.count_message(limit, text, *now_ms), *want, "{text} at {now_ms}");
        }
    }

    #[test]
    fn zero_is_no_limit() {
        let mut usage = Usage::default();
        assert!((0..100_000).all(|_| usage.count_message(&NONE, "", 0).is_ok()));
        assert!(usage.count_message(&LIMIT, "", 0).is_ok(), "and uses nothing");
        // The clock of one shard can be a little behind that of another.
        check(&[(&NONE, "", 7, Ok(())), (&NONE, "", 5, Ok(()))]);
    }

    #[test]
    fn slow_mode_counts_from_the_last_message_that_was_sent() {
        let slow = &RateLimit { slow_ms: 10_000, ..NONE };
        check(&[
            (slow, "a", 5, Ok(())),
            (slow, "b", 6, Err(9_999)),
            (slow, "b", 10_004, Err(1)),
            (slow, "b", 10_005, Ok(())),
            (slow, "c", 10_005, Err(10_000)),
            (&NONE, "c", 10_005, Ok(())),
        ]);
    }

    #[test]
    fn repeated_texts() {
        let limit = &RateLimit { repeat_ms: 3_000, ..NONE };
        check(&[
            (limit, "buy", 0, Ok(())),
            (limit, " buy ", 1_000, Err(2_000)),
            (limit, "\u{feff} b\u{200b}uy\u{3164}", 1_000, Err(2_000)),
            (limit, "sell", 1_000, Ok(())),
            // Whatever is sent between.
            (limit, "buy", 1_000, Err(2_000)),
            (limit, "sell", 3_999, Err(1)),
            (limit, "buy", 3_000, Ok(())),
            (limit, "sell", 4_000, Ok(())),
            // Counted from the last time.
            (limit, "buy", 5_999, Err(1)),
        ]);
    }

    #[test]
    fn the_texts_that_are_kept_are_bounded() {
        let limit = RateLimit { repeat_ms: 3_000, ..NONE };
        let mut usage = Usage::default();
        for text in 0..5_000 {
            assert_eq!(usage.count_message(&limit, &text.to_string(), 0), Ok(()));
        }
        assert_eq!(usage.sent.len(), Usage::TEXTS_MAX);
        assert_eq!(usage.count_message(&limit, "3999", 0), Err(3_000));
        assert_eq!(usage.count_message(&limit, "new", 3_000), Ok(()));
        assert_eq!(usage.sent.len(), 1, "the others may be sent again");
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_and_the_wait_is_enough(
            per_sec in 1..1_000_u32,
            burst in 0..100_u32,
            steps in prop::collection::vec(0..300_u64, 1..200),
        ) {
            let limit = RateLimit { per_sec, burst, ..NONE };
            let mut usage = Usage::default();
            let (mut now_ms, mut sent) = (0, 0);
            for step in steps {
                now_ms += step;
                if let Err(wait_ms) = usage.count_message(&limit, "", now_ms) {
                    prop_assert!(usage.count_message(&limit, "", now_ms + wait_ms - 1).is_err());
                    now_ms += wait_ms;
                    prop_assert!(usage.count_message(&limit, "", now_ms).is_ok());
                }
                sent += 1;
                let most = u64::from(burst.max(1)) + now_ms * 1000 / limit.refill().interval_us;
                prop_assert!(sent <= most, "{sent} of {most}");
            }
        }

        #[test]
        fn no_numbers_panic(
            per_sec: u32, burst: u32, slow_ms: u64, repeat_ms: u64, times: Vec<u64>,
        ) {
            let limit = RateLimit { per_sec, burst, slow_ms, repeat_ms };
            let (mut usage, mut bucket) = (Usage::default(), Bucket::default());
            for now in times {
                let _ = usage.count_message(&limit, "", now);
                let again = Usage::resume(now, usage.full_in_us(now), &usage.sent_ago(now));
                again.is_needed(&limit, now);
                let _ = bucket.try_take(now, RefillRate { interval_us: slow_ms, burst: repeat_ms });
            }
        }
    }
}

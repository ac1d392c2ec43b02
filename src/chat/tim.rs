//! `tim`: when the room took a message, and so the message's id.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Timelike};
use serde::{Deserialize, Serialize};

/// A time in nanoseconds since the Unix epoch, written as RFC 3339 in UTC with
/// nine fractional digits: `2020-08-11T22:26:58.118678679Z`.
///
/// The texts have one length and one form, so they sort as the times do. The
/// last time that can be written is in the year 2554.
///
/// # Examples
///
/// ```
/// use wschat::chat::Tim;
/// let tim: Tim = "2020-08-11T22:26:58.118678679Z".parse().unwrap();
/// assert_eq!(tim.nanos(), 1_597_184_818_118_678_679);
/// assert_eq!(tim.to_string(), "2020-08-11T22:26:58.118678679Z");
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Tim(u64);

impl Tim {
    /// Bytes of every `tim` in a message, without the quotes.
    pub const LEN: usize = 30;

    /// The time that many nanoseconds after the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the Unix epoch, as tokens count them (RFC 7519, NumericDate).
    pub(super) fn secs(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Whole seconds since the Unix epoch.
    pub const fn whole_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Writes the text of this time.
    pub fn write(self, out: &mut [u8; Self::LEN]) {
        let nanos = i64::try_from(self.0 % 1_000_000_000).unwrap_or_default();
        let secs = i64::try_from(self.0 / 1_000_000_000).unwrap_or_default();
        // Every count of seconds that fits 64 bits of nanoseconds is a date.
        let date = DateTime::from_timestamp(secs, 0).unwrap_or_default();
        *out = *b"0000-00-00T00:00:00.000000000Z";
        digits(&mut out[0..4], date.year().unsigned_abs());
        digits(&mut out[5..7], date.month());
        digits(&mut out[8..10], date.day());
        digits(&mut out[11..13], date.hour());
        digits(&mut out[14..16], date.minute());
        digits(&mut out[17..19], date.second());
        digits(&mut out[20..29], nanos as u32);
    }
}

fn digits(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl fmt::Display for Tim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::LEN];
        self.write(&mut text);
        text.iter().try_for_each(|&byte| fmt::Write::write_char(out, byte.into()))
    }
}

/// The time, taken once in a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Milliseconds of a clock that never steps, the same for all shards.
    pub ms: u64,
    /// The time of day.
    pub tim: Tim,
}

/// The text is not a [`Tim`] as the room writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time like 2020-08-11T22:26:58.118678679Z")]
pub struct ParseTimError;

impl FromStr for Tim {
    type Err = ParseTimError;

    /// Takes only the form that [`Tim::write`] gives: a `tim` is an id, and an
    /// id has one spelling.
    fn from_str(text: &str) -> Result<Self, ParseTimError> {
        let date = DateTime::parse_from_rfc3339(text).map_err(|_| ParseTimError)?;
        let nanos = date.timestamp_nanos_opt().ok_or(ParseTimError)?;
        let tim = Self(nanos.try_into().map_err(|_| ParseTimError)?);
        let mut written = [0; Self::LEN];
        tim.write(&mut written);
        if written == text.as_bytes() { Ok(tim) } else { Err(ParseTimError) }
    }
}

impl TryFrom<String> for Tim {
    type Error = ParseTimError;

    fn try_from(text: String) -> Result<Self, ParseTimError> {
        text.parse()
    }
}

impl From<Tim> for String {
    fn from(tim: Tim) -> Self {
        tim.to_string()
    }
}

/// Gives every message of the room its `tim`: the clock's time, or a nanosecond
/// after the last one where the clock stands still or steps back.
///
/// # Examples
///
/// ```
/// use wschat::chat::{Stamper, Tim};
/// let mut stamper = Stamper::default();
/// assert_eq!(stamper.next(Tim::from_nanos(5)), Tim::from_nanos(5));
/// assert_eq!(stamper.next(Tim::from_nanos(4)), Tim::from_nanos(6));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamper {
    last: Tim,
}

impl Stamper {
    /// A stamper that goes on after `last`, the room's newest `tim`.
    pub const fn after(last: Tim) -> Self {
        Self { last }
    }

    /// The newest `tim` that was given; zero before the first.
    pub const fn last(&self) -> Tim {
        self.last
    }

    /// The next `tim`, later than every one before it; `now` is the clock's.
    pub fn next(&mut self, now: Tim) -> Tim {
        self.last = Tim(now.0.max(self.last.0.saturating_add(1)));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
            (951_782_399_999_999_999, "2000-02-28T23:59:59.999999999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
            (1_597_184_818_118_678_679, "2020-08-11T22:26:58.118678679Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(Tim::from_nanos(nanos).to_string(), text);
        }
    }

    #[test]
    fn only_one_spelling_is_read() {
        for text in [
            "",
            "2020-08-11T22:26:58Z",
            "2020-08-11T22:26:58.118678679+00:00",
            "2020-08-11T22:26:58.1186786790Z",
            "2020-08-11T22:26:58,118678679Z",
            "2020-08-11t22:26:58.118678679z",
            "2020-08-11 22:26:58.118678679Z",
            "2020-08-11T24:26:58.118678679Z",
            "2020-08-11T23:59:60.118678679Z",
            "2020-02-30T22:26:58.118678679Z",
            "1969-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            assert_eq!(text.parse::<Tim>(), Err(ParseTimError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(nanos in 0..=i64::MAX as u64) {
            let tim = Tim::from_nanos(nanos);
            prop_assert_eq!(tim.to_string().parse(), Ok(tim));
        }

        #[test]
        fn texts_sort_as_times(one: u64, other: u64) {
            let (one, other) = (Tim::from_nanos(one), Tim::from_nanos(other));
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
        }

        #[test]
        fn stamps_increase_whatever_the_clock_does(clock: Vec<u32>) {
            let mut stamper = Stamper::default();
            let mut last = stamper.last();
            for now in clock {
                let tim = stamper.next(Tim::from_nanos(now.into()));
                prop_assert!(tim > last && tim.nanos() >= now.into());
                last = tim;
            }
        }
    }
}

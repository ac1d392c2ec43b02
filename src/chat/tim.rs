//! `tim`: the time at which the room ordered a message, which is also its id.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Timelike};
use serde::{Deserialize, Serialize};

/// A time in nanoseconds since the Unix epoch, written as RFC 3339 in UTC with
/// nine fractional digits: `2020-08-11T22:26:58.118678679Z`.
///
/// All texts have the same length and form, so they sort like the times. The last
/// time is in the year 2554.
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
    /// The length of the text in bytes.
    pub const LEN: usize = 30;

    /// The time this many nanoseconds after the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the Unix epoch, as in a token (RFC 7519, NumericDate).
    pub(super) fn secs(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Whole seconds since the Unix epoch.
    pub const fn whole_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// The time at the end of an encoded message, or of several.
    pub fn stamped(text: &[u8]) -> Option<Self> {
        std::str::from_utf8(stamped_tim(text)?).ok()?.parse().ok()
    }

    /// Writes the text of this time.
    pub fn write(self, out: &mut [u8; Self::LEN]) {
        let nanos = i64::try_from(self.0 % 1_000_000_000).unwrap_or_default();
        let secs = i64::try_from(self.0 / 1_000_000_000).unwrap_or_default();
        // chrono has a date for each of these seconds.
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

/// The end of every encoded message, with a placeholder that [`stamp`] replaces.
pub(super) const TIM_PLACEHOLDER: &str = "\"tim\":\"0000-00-00T00:00:00.000000000Z\"}";

/// The quote and the brace behind the time in [`TIM_PLACEHOLDER`].
const AFTER_TIM_BYTES: usize = 2;

/// Writes `tim` over the placeholder at the end of an encoded message. A text that is
/// too short for a placeholder stays as it is.
pub fn stamp(text: &mut [u8], tim: Tim) {
    let end = text.len().checked_sub(AFTER_TIM_BYTES).and_then(|end| text.get_mut(..end));
    if let Some(place) = end.and_then(|text| text.last_chunk_mut()) {
        tim.write(place);
    }
}

/// Whether a text ends as an encoded message without a `tim`: with the placeholder for it.
pub fn is_unstamped(text: &[u8]) -> bool {
    text.ends_with(TIM_PLACEHOLDER.as_bytes())
}

/// The text of the `tim` at the end of an encoded message, or of several; `None` if it is too
/// short to have one.
pub fn stamped_tim(text: &[u8]) -> Option<&[u8; Tim::LEN]> {
    text.get(..text.len().checked_sub(AFTER_TIM_BYTES)?)?.last_chunk()
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

/// The current time, which a shard reads once per turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Milliseconds of a monotonic clock that all shards share.
    pub ms: u64,
    /// The time of the system clock.
    pub tim: Tim,
}

/// The text is not a [`Tim`] as the room writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time like 2020-08-11T22:26:58.118678679Z")]
pub struct ParseTimError;

impl FromStr for Tim {
    type Err = ParseTimError;

    /// Accepts only the form of [`Tim::write`], because an id has only one spelling.
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

/// Gives every message its `tim`: the time of the clock, or one nanosecond more than
/// the last `tim` if the clock stands still or steps back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamper {
    last: Tim,
}

impl Stamper {
    /// A stamper that continues after `last`, the newest `tim` of the room.
    pub const fn after(last: Tim) -> Self {
        Self { last }
    }

    /// The newest `tim`; zero before the first.
    pub const fn last(&self) -> Tim {
        self.last
    }

    /// The next `tim`, later than all before; `now` is the time of the clock.
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

//! The time after which a client wants the messages of the room.

use std::fmt;
use std::str::FromStr;

use chrono::{NaiveDate, NaiveTime};

use super::tim::{ParseTimError, Tim};

/// A time in UTC that a client has sent, in the form of a [`Tim`]. It may be any year of
/// RFC 3339, from 0000 to 9999.
///
/// # Examples
///
/// ```
/// use wschat::chat::Since;
/// let since: Since = "2020-08-11t22:26:58.5+00:00".parse().unwrap();
/// assert_eq!(since.to_string(), "2020-08-11T22:26:58.500000000Z");
/// assert_eq!(since.tim().nanos(), 1_597_184_818_500_000_000);
/// assert!("2020-08-11T22:26:58+02:00".parse::<Since>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    text: [u8; Tim::LEN],
    tim: Tim,
}

impl Since {
    /// The time, or the first or the last [`Tim`] if there is none that early or late.
    pub fn tim(&self) -> Tim {
        self.tim
    }
}

impl From<Tim> for Since {
    fn from(tim: Tim) -> Self {
        let mut text = [0; Tim::LEN];
        tim.write(&mut text);
        Self { text, tim }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.iter().try_for_each(|&byte| fmt::Write::write_char(out, byte.into()))
    }
}

impl FromStr for Since {
    type Err = ParseTimError;

    /// Reads RFC 3339 (section 5.6) with the offset `Z` or `+00:00`. Digits after the ninth
    /// of the fraction are ignored.
    fn from_str(text: &str) -> Result<Self, ParseTimError> {
        parse(text.as_bytes()).ok_or(ParseTimError)
    }
}

fn parse(text: &[u8]) -> Option<Since> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let form = b"0000-00-00T00:00:00";
    let has_form = date_time.iter().zip(form).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte.eq_ignore_ascii_case(form),
    });
    if !has_form {
        return None;
    }
    let (fraction, offset) = match rest.split_first()? {
        (b'.', rest) => rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()),
        _ => (&b"0"[..], rest),
    };
    if fraction.is_empty() || !matches!(offset, b"Z" | b"z" | b"+00:00") {
        return None;
    }
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    text.iter_mut().zip(date_time).for_each(|(place, byte)| *place = byte.to_ascii_uppercase());
    text.iter_mut().skip(20).take(9).zip(fraction).for_each(|(place, byte)| *place = *byte);
    let number = |from: usize, digits: usize| {
        let digits = text.iter().skip(from).take(digits);
        digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    let date = NaiveDate::from_ymd_opt(number(0, 4) as i32, number(5, 2), number(8, 2))?;
    let (hour, minute, second) = (number(11, 2), number(14, 2), number(17, 2));
    // A leap second ends a day; its time is the last nanosecond of the second before.
    let is_leap = (hour, minute, second) == (23, 59, 60);
    let (second, nanos) = if is_leap { (59, 999_999_999) } else { (second, number(20, 9)) };
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)?;
    let nanos = date.and_time(time).and_utc().timestamp_nanos_opt();
    let tim = match nanos.map(u64::try_from) {
        Some(Ok(nanos)) => Tim::from_nanos(nanos),
        _ if number(0, 4) < 1970 => Tim::from_nanos(0),
        _ => Tim::from_nanos(u64::MAX),
    };
    Some(Since { text, tim })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_time_in_utc_is_read() {
        for (text, want) in [
            ("2020-08-11T22:26:58Z", "2020-08-11T22:26:58.000000000Z"),
            ("2020-08-11t22:26:58z", "2020-08-11T22:26:58.000000000Z"),
            ("2020-08-11T22:26:58+00:00", "2020-08-11T22:26:58.000000000Z"),
            ("2020-08-11T22:26:58.1Z", "2020-08-11T22:26:58.100000000Z"),
            ("2020-08-11T22:26:58.123456789Z", "2020-08-11T22:26:58.123456789Z"),
            ("2020-08-11T22:26:58.1234567899999Z", "2020-08-11T22:26:58.123456789Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000000Z"),
            ("2016-12-31T23:59:60.5Z", "2016-12-31T23:59:60.500000000Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000000Z"),
            ("1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59.900000000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000000000Z"),
        ] {
            let since: Since = text.parse().unwrap();
            assert_eq!(since.to_string(), want);
            match want.parse() {
                Ok(tim) => assert_eq!((since.tim(), since), (tim, Since::from(tim))),
                Err(ParseTimError) => assert_eq!(
                    since.tim(),
                    match &want[..4] {
                        "2016" => "2016-12-31T23:59:59.999999999Z".parse().unwrap(),
                        "9999" => Tim::from_nanos(u64::MAX),
                        _ => Tim::default(),
                    }
                ),
            }
        }
    }

    #[test]
    fn nothing_else_is_read() {
        for text in [
            "",
            "now",
            "0",
            "2020-08-11",
            "2020-08-11T22:26Z",
            "2020-08-11T22:26:58",
            "2020-08-11T22:26:58.Z",
            "2020-08-11T22:26:58,5Z",
            "2020-08-11 22:26:58Z",
            "2020-08-11T22:26:58+02:00",
            "2020-08-11T22:26:58-00:00",
            "2020-08-11T22:26:58+0000",
            "2020-08-11T22:26:58 00:00",
            "2020-08-11T22:26:58ZZ",
            " 2020-08-11T22:26:58Z",
            "2020-08-11T22:26:58Z ",
            "2020-13-11T22:26:58Z",
            "2020-02-30T22:26:58Z",
            "2020-00-01T00:00:00Z",
            "2020-08-11T24:00:00Z",
            "2020-08-11T22:60:58Z",
            "2020-08-11T22:26:60Z",
            "2020-08-11T22:26:61Z",
            "+020-08-11T22:26:58Z",
            "20200811T222658Z",
            "2020-08-11T22:26:5\u{661}Z",
        ] {
            assert_eq!(text.parse::<Since>(), Err(ParseTimError), "{text:?}");
        }
    }
}

//! The local time zone: the one of the system, or the one in the variable `TZ`.

use std::sync::LazyLock;

use chrono::{DateTime, FixedOffset, Local, NaiveDateTime, Offset, TimeZone, Utc};

/// The rule for summer time if `TZ` has none (`CET-1CEST`). POSIX leaves it undefined;
/// C libraries use this one.
const DEFAULT_RULE: &str = ",M3.2.0,M11.1.0";

static LOCAL: LazyLock<Zone> = LazyLock::new(|| {
    let tz = std::env::var("TZ").unwrap_or_default();
    unknown_to_chrono(&tz).map_or(Zone::System, Zone::Rule)
});

/// A time zone.
#[derive(Debug)]
pub enum Zone {
    /// The local time of chrono.
    System,
    /// The value of a `TZ` that chrono does not understand and replaces by UTC.
    Rule(tz::TimeZone),
}

impl Zone {
    /// The time zone in which commands print times.
    pub fn local() -> &'static Self {
        &LOCAL
    }

    /// A time in this time zone.
    pub fn convert(&self, time: DateTime<Utc>) -> NaiveDateTime {
        let utc = time.naive_utc();
        utc.checked_add_offset(self.offset(time)).unwrap_or(utc)
    }

    /// How far this time zone is ahead of UTC at a time.
    pub fn offset(&self, time: DateTime<Utc>) -> FixedOffset {
        match self {
            Self::System => Local.offset_from_utc_datetime(&time.naive_utc()).fix(),
            Self::Rule(zone) => {
                let found = zone.find_local_time_type(time.timestamp()).ok();
                let offset = found.and_then(|found| FixedOffset::east_opt(found.ut_offset()));
                offset.unwrap_or_else(|| Utc.fix())
            }
        }
    }
}

/// Date, time and time zone: those of the local time zone.
pub fn local_time(time: DateTime<Utc>) -> String {
    let zone = Zone::local();
    format!("{} {}", zone.convert(time).format("%F %T"), name(zone.offset(time)))
}

/// A time zone as `date` reads it.
fn name(offset: FixedOffset) -> String {
    match offset.local_minus_utc() {
        0 => "UTC".to_owned(),
        _ => offset.to_string().replace(':', ""),
    }
}

/// The time zone of a `TZ` without a rule for its summer time, or with a colon at its
/// start, which C libraries ignore.
fn unknown_to_chrono(tz: &str) -> Option<tz::TimeZone> {
    if tz.is_empty() || tz::TimeZone::from_posix_tz(tz).is_ok() {
        return None;
    }
    let tz = tz.trim();
    let tz = tz.strip_prefix(':').unwrap_or(tz);
    let zone = tz::TimeZone::from_posix_tz(tz);
    zone.or_else(|_| tz::TimeZone::from_posix_tz(&format!("{tz}{DEFAULT_RULE}"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (secs, want) in [(0, "UTC"), (3600, "+0100"), (-12_600, "-0330"), (20_700, "+0545")] {
            assert_eq!(name(FixedOffset::east_opt(secs).unwrap()), want);
        }
    }

    #[test]
    fn time_zones_that_chrono_does_not_understand() {
        let check = |tz: &str, utc: &str, want: &str| {
            let zone = Zone::Rule(unknown_to_chrono(tz).expect(tz));
            let time = zone.convert(utc.parse().unwrap());
            assert_eq!(time.format("%H:%M").to_string(), want, "{tz}");
        };
        check("CET-1CEST", "2026-07-25T17:20:00Z", "19:20");
        check("CET-1CEST", "2026-01-25T17:20:00Z", "18:20");
        check("CET-1CEST", "2026-03-08T00:59:59Z", "01:59");
        check("CET-1CEST", "2026-03-08T01:00:00Z", "03:00");
        check(":CET-1CEST", "2026-07-25T17:20:00Z", "19:20");
        check(":<+03>-3", "2026-07-25T17:20:00Z", "20:20");
        check(" CET-1CEST ", "2026-11-01T00:00:00Z", "01:00");
        check("AAA+3:30BBB+2", "2026-07-25T17:20:00Z", "15:20");
        check("<-03>3<-02>", "2026-07-25T17:20:00Z", "15:20");
        for tz in ["", "UTC", "EST5", "<+02>-2", "CET-1CEST,M3.5.0,M10.5.0/3", "Nonsense", ":x"] {
            assert!(unknown_to_chrono(tz).is_none(), "{tz}");
        }
    }
}

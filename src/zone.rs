//! The time zone of whoever reads: the system's, or that of the variable `TZ`.

use std::sync::LazyLock;

use chrono::{FixedOffset, Local, MappedLocalTime, NaiveDate, NaiveDateTime, Offset, TimeZone};

/// When summer time begins and ends where `TZ` says that there is one, but not when
/// (`CET-1CEST`): POSIX leaves that open, and every C library has this.
const RULE: &str = ",M3.2.0,M11.1.0";

static HERE: LazyLock<Zone> = LazyLock::new(|| {
    let tz = std::env::var("TZ").unwrap_or_default();
    without_rule(&tz).map_or(Zone::System, Zone::Rule)
});

/// A time zone, as [`here`] gives it.
#[derive(Clone, Debug)]
pub enum Zone {
    /// As chrono finds it.
    System,
    /// One that chrono takes for UTC.
    Rule(tz::TimeZone),
}

/// The time zone in which people read times here.
///
/// # Examples
///
/// ```
/// let time = chrono::Utc::now().with_timezone(wschat::zone::here());
/// assert_eq!(time.format("%H:%M").to_string().len(), 5);
/// ```
pub fn here() -> &'static Zone {
    &HERE
}

/// The zone that `tz` means, if it has summer time without a rule for it, or begins
/// with the colon that C libraries ignore.
fn without_rule(tz: &str) -> Option<tz::TimeZone> {
    if tz.is_empty() || tz::TimeZone::from_posix_tz(tz).is_ok() {
        return None;
    }
    let tz = tz.trim();
    let bare = tz.strip_prefix(':').unwrap_or(tz);
    let zone = tz::TimeZone::from_posix_tz(bare);
    zone.or_else(|_| tz::TimeZone::from_posix_tz(&format!("{bare}{RULE}"))).ok()
}

impl TimeZone for Zone {
    type Offset = FixedOffset;

    fn from_offset(_: &FixedOffset) -> Self {
        HERE.clone()
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<FixedOffset> {
        self.offset_from_local_datetime(&local.and_time(Default::default()))
    }

    /// The offset at that time of UTC: close enough, for nobody here asks for it.
    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
        MappedLocalTime::Single(self.offset_from_utc_datetime(local))
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> FixedOffset {
        self.offset_from_utc_datetime(&utc.and_time(Default::default()))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
        let zone = match self {
            Self::System => return Local.offset_from_utc_datetime(utc).fix(),
            Self::Rule(zone) => zone,
        };
        let found = zone.find_local_time_type(utc.and_utc().timestamp());
        let offset = found.ok().and_then(|found| FixedOffset::east_opt(found.ut_offset()));
        offset.unwrap_or_else(|| chrono::Utc.fix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summer_time_without_a_rule_has_the_one_of_every_c_library() {
        let at = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let check = |tz: &str, utc: &str, want: &str| {
            let zone = Zone::Rule(without_rule(tz).expect(tz));
            assert_eq!(at(utc).with_timezone(&zone).format("%H:%M").to_string(), want, "{tz}");
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
        for known in ["", "UTC", "EST5", "<+02>-2", "CET-1CEST,M3.5.0,M10.5.0/3", "Nonsense", ":x"]
        {
            assert!(without_rule(known).is_none(), "{known}");
        }
    }
}

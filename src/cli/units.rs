//! Numbers, sizes, rates and durations, as people read and write them.

use chrono::TimeDelta;
use indicatif::HumanCount;

/// The units of sizes: each is 1024 of the one before.
const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// A number of bytes in the largest unit that fits.
pub fn bytes(count: f64) -> String {
    if count < 1024.0 {
        return format!("{count:.0} B");
    }
    let power = ((count.log2() / 10.0) as usize).min(UNITS.len());
    format!("{:.1} {}", count / 1024_f64.powi(power as i32), UNITS[power - 1])
}

/// Reads a number of bytes: `4096`, `64K`, `1M`, `1.5 MiB`. A unit is 1024 of the one before,
/// however it is written.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let invalid = || "not a size like 4096, 64K, 1M or 1.5GiB".to_owned();
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_uppercase();
    let power = match unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit) {
        "" if !unit.starts_with('I') => 0,
        prefix => UNITS
            .iter()
            .position(|unit| unit.strip_suffix("iB") == Some(prefix))
            .map(|at| at + 1)
            .ok_or_else(invalid)?,
    };
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let count = (number * 1024_f64.powi(power as i32)).ceil();
    if count < u64::MAX as f64 { Ok(count as u64) } else { Err("too large".to_owned()) }
}

/// A rate, with one decimal place if it is small.
pub fn rate(per_sec: f64) -> String {
    match per_sec < 10.0 && per_sec.fract() != 0.0 {
        true => format!("{per_sec:.1}"),
        false => HumanCount(per_sec.round() as u64).to_string(),
    }
}

/// A duration in its two largest units.
pub fn elapsed(time: TimeDelta) -> String {
    let secs = time.num_seconds().max(0);
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times() {
        let check = |got: String, want| assert_eq!(got, want);
        check(rate(0.0), "0");
        check(rate(9.9), "9.9");
        check(rate(10.4), "10");
        check(bytes(1023.0), "1023 B");
        check(bytes(1024.0), "1.0 KiB");
        check(bytes(f64::from(1 << 20) * 2048.0), "2.0 GiB");
        check(bytes(2.0_f64.powi(60)), "1024.0 PiB");
        check(elapsed(TimeDelta::seconds(-5)), "0 s");
        check(elapsed(TimeDelta::seconds(61)), "1 min 1 s");
        check(elapsed(TimeDelta::seconds(90_000)), "1 d 1 h");
    }

    #[test]
    fn sizes_in_all_forms() {
        for (text, want) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("64k", 64 << 10),
            ("64 KiB", 64 << 10),
            ("1M", 1 << 20),
            ("1MB", 1 << 20),
            ("1mib", 1 << 20),
            ("1.5GiB", 3 << 29),
            (" 2T ", 2 << 40),
            ("0.1", 1),
            (".5K", 512),
        ] {
            assert_eq!(parse_bytes(text), Ok(want), "{text}");
        }
        for bad in ["", "M", "-1", "1X", "1iB", "1 M M", "1,5M", "1e3", "1.2.3M", ".", "1KK", "∞"]
        {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_bytes("99999999P"), Err("too large".to_owned()));
        // What is shown can be typed.
        for count in [0_u64, 1023, 1024, 3 << 29] {
            assert_eq!(parse_bytes(&bytes(count as f64)), Ok(count));
        }
    }
}

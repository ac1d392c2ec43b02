//! Prints results of commands on standard output.

use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;

use chrono::{DateTime, FixedOffset, Utc};
use serde::Serialize;

use super::failure::{CommandResult, Exit, Failure};
use crate::zone::Zone;

/// Prints a text. A closed pipe is not an error: `wschat clients | head`.
pub fn print(text: &str) -> CommandResult {
    print_while_open(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a text and returns whether standard output is still open.
pub fn print_while_open(text: &str) -> Result<bool, Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::OsError, "standard output", error)),
    }
}

/// An answer of the daemon as a line of JSON.
pub fn json_line(answer: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(answer);
    Ok(json.map_err(|error| Failure::new(Exit::Unavailable, "answer", error))? + "\n")
}

/// Date, time and time zone: those of the local time zone.
pub fn local_time(time: DateTime<Utc>) -> String {
    let zone = Zone::local();
    format!("{} {}", zone.convert(time).format("%F %T"), zone_name(zone.offset(time)))
}

/// A time zone as `date` reads it.
fn zone_name(offset: FixedOffset) -> String {
    match offset.local_minus_utc() {
        0 => "UTC".to_owned(),
        _ => offset.to_string().replace(':', ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_zones() {
        for (secs, want) in [(0, "UTC"), (3600, "+0100"), (-12_600, "-0330"), (20_700, "+0545")] {
            assert_eq!(zone_name(FixedOffset::east_opt(secs).unwrap()), want);
        }
    }
}

//! `wschat status`: how the room is.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;

use super::ask::print;
use super::{ControlArgs, Exit, Failure, Outcome};
use crate::control::{Call, CallError, RecordStatus, Request, Status};
use crate::zone;

/// What init scripts exit with for a service that is not running.
const NOT_RUNNING: u8 = 3;
/// How often `--watch` looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The options of `status`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The exit code is 0 if the daemon is running, 3 if it is not. Rates are those of
the last ten seconds.")]
pub struct StatusArgs {
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Look every second, until it is interrupted
    #[arg(long)]
    pub watch: bool,
    /// Which daemon.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// Prints the status, once or again and again.
///
/// # Errors
///
/// No answer, although the daemon is running; standard output that cannot be
/// written.
pub fn run(args: &StatusArgs) -> Outcome {
    if args.watch {
        return watch(args);
    }
    match args.control.ask(&Request::Status {}) {
        Ok(status) => {
            print(&show(&status, args.json)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ CallError::NotRunning) => {
            eprintln!("{}", args.control.failure(error));
            Ok(ExitCode::from(NOT_RUNNING))
        }
        Err(error) => Err(args.control.failure(error)),
    }
}

/// Redraws until nobody reads on. A daemon that is gone may come back.
fn watch(args: &StatusArgs) -> Outcome {
    let redraws = stdout().is_terminal() && !args.json;
    let mut call = None;
    loop {
        let text = match ask(&mut call, &args.control) {
            Ok(status) => show(&status, args.json)?,
            Err(CallError::NotRunning | CallError::Broken(_)) if args.json => String::new(),
            Err(CallError::NotRunning | CallError::Broken(_)) => "wschat is not running\n".into(),
            Err(error) => return Err(args.control.failure(error)),
        };
        if !print(&if redraws { redraw(&text) } else { text })? {
            return Ok(ExitCode::SUCCESS);
        }
        sleep(WATCH_INTERVAL);
    }
}

/// Asks over a connection that is kept until it breaks.
fn ask(call: &mut Option<Call>, control: &ControlArgs) -> Result<Status, CallError> {
    let mut open = match call.take() {
        Some(open) => open,
        None => Call::open(&control.control)?,
    };
    let status = open.ask(&Request::Status {})?;
    *call = Some(open);
    Ok(status)
}

/// `text` in the place of what the terminal shows, without a flicker.
fn redraw(text: &str) -> String {
    let lines = text.replace('\n', "\x1b[K\n");
    format!("\x1b[H{lines}\x1b[J")
}

fn show(status: &Status, json: bool) -> Result<String, Failure> {
    if !json {
        return Ok(words(status, Utc::now()));
    }
    let line = serde_json::to_string(status);
    Ok(line.map_err(|error| Failure::new(Exit::Unavailable, "answer", error))? + "\n")
}

/// For people.
fn words(status: &Status, now: DateTime<Utc>) -> String {
    let local = |at: DateTime<Utc>| at.with_timezone(zone::here()).format("%F %T").to_string();
    let mut lines = vec![
        format!(
            "wschat {}, running since {} ({})",
            status.version,
            local(status.started),
            elapsed(now - status.started)
        ),
        String::new(),
        format!(
            "listeners    {} now, {} at most, {} lagging",
            grouped(status.listeners as u64),
            grouped(status.listeners_peak as u64),
            grouped(status.lagging as u64)
        ),
        format!("messages     {}, {}/s", grouped(status.messages), rate(status.messages_per_sec)),
        format!(
            "deliveries   {}, {}/s",
            grouped(status.deliveries),
            rate(status.deliveries_per_sec)
        ),
        format!(
            "sent         {}, {}/s",
            bytes(status.bytes_sent as f64),
            bytes(status.bytes_sent_per_sec)
        ),
        format!("refused      {}", by_reason(&status.refused)),
        format!("turned away  {}", by_reason(&status.refused_connections)),
        format!(
            "closed       {} too slow, {} kicked",
            grouped(status.closed_too_slow),
            grouped(status.kicked)
        ),
        format!("speaking     {}", speaking(status)),
        format!("feed         {}", bytes(status.feed_bytes as f64)),
        format!(
            "config       generation {}, loaded {}",
            status.config_generation,
            local(status.config_loaded)
        ),
    ];
    let record = &status.record;
    if let Some(rejected) = &status.config_rejected {
        lines.push(format!("             rejected {}: {}", local(rejected.at), rejected.why));
    }
    if *record != RecordStatus::default() {
        let (recorded, dropped) = (grouped(record.recorded), grouped(record.dropped));
        lines.push(format!("record       {recorded} written, {dropped} lost"));
    }
    if let Some(why) = &record.failing {
        lines.push(format!("             failing: {why}"));
    }
    lines.push(format!("restarts     {} survived", grouped(status.restarts_survived)));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// How many there are in all, and of which kinds.
fn by_reason(counts: &BTreeMap<String, u64>) -> String {
    let some = counts.iter().filter(|(_, count)| **count > 0);
    let some: Vec<_> = some.map(|(why, count)| format!("{why} {}", grouped(*count))).collect();
    match some.is_empty() {
        true => "0".to_owned(),
        false => format!("{}: {}", grouped(counts.values().sum()), some.join(", ")),
    }
}

/// Who may speak, and how fast.
fn speaking(status: &Status) -> String {
    let mut words = match (status.locked, status.keys) {
        (true, _) => "moderators only".to_owned(),
        (false, 0) => "everybody".to_owned(),
        (false, 1) => "with a token, 1 key".to_owned(),
        (false, keys) => format!("with a token, {keys} keys"),
    };
    if status.revocations > 0 {
        words += &format!(", {} revoked", grouped(status.revocations as u64));
    }
    if status.mutes > 0 {
        words += &format!(", {} muted", grouped(status.mutes as u64));
    }
    if status.slow_mode_secs > 0 {
        words += &format!(", one message in {} s", grouped(status.slow_mode_secs));
    }
    if status.messages_per_sec_max > 0 {
        words += &format!(", {}/s at most", grouped(status.messages_per_sec_max.into()));
    }
    words
}

/// A number with a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, with a tenth only where it says something.
fn rate(per_sec: f64) -> String {
    if per_sec < 10.0 && per_sec.fract() != 0.0 {
        format!("{per_sec:.1}")
    } else {
        grouped(per_sec.round() as u64)
    }
}

/// Bytes in the unit that fits.
fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024.0 {
        return format!("{count:.0} B");
    }
    let mut scaled = count / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = larger;
    }
    format!("{scaled:.1} {unit}")
}

/// A time in its two largest units.
fn elapsed(time: TimeDelta) -> String {
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
    use crate::control::Rejected;

    #[test]
    fn words_that_operators_like() {
        let at = |secs: i64| DateTime::from_timestamp(1_700_000_000 + secs, 0).unwrap();
        let refused = [("bad-json", 2), ("binary", 0), ("jwt-invalid", 12_000)];
        let mut status = Status {
            version: "0.3.0".into(),
            started: at(0),
            listeners: 412,
            listeners_peak: 1033,
            messages: 120_334,
            deliveries: 45_344_221,
            bytes_sent: 4 << 30,
            messages_per_sec: 0.3,
            deliveries_per_sec: 14_420.0,
            bytes_sent_per_sec: 1_500_000.0,
            refused: refused.into_iter().map(|(code, n)| (code.to_owned(), n)).collect(),
            refused_connections: [("full".to_owned(), 1), ("late".to_owned(), 0)].into(),
            lagging: 3,
            closed_too_slow: 2,
            feed_bytes: 100,
            config_generation: 3,
            config_loaded: at(60),
            config_rejected: None,
            record: RecordStatus::default(),
            restarts_survived: 2,
            keys: 2,
            revocations: 1,
            mutes: 3,
            locked: false,
            slow_mode_secs: 30,
            messages_per_sec_max: 20,
            kicked: 4,
        };
        let local = |at: DateTime<Utc>| at.with_timezone(zone::here()).format("%F %T").to_string();
        let want = format!(
            "wschat 0.3.0, running since {} (1 h 1 min)

listeners    412 now, 1,033 at most, 3 lagging
messages     120,334, 0.3/s
deliveries   45,344,221, 14,420/s
sent         4.0 GiB, 1.4 MiB/s
refused      12,002: bad-json 2, jwt-invalid 12,000
turned away  1: full 1
closed       2 too slow, 4 kicked
speaking     with a token, 2 keys, 1 revoked, 3 muted, one message in 30 s, 20/s at most
feed         100 B
config       generation 3, loaded {}
restarts     2 survived
",
            local(at(0)),
            local(at(60))
        );
        assert_eq!(words(&status, at(3665)), want);

        let why = "wschat.toml:1:1: x: unknown key".to_owned();
        status.config_rejected = Some(Rejected { at: at(90), why });
        status.refused.clear();
        let failing = Some("No space left on device (os error 28)".to_owned());
        status.record = RecordStatus { recorded: 1000, dropped: 2, failing };
        let text = words(&status, at(59));
        assert!(text.contains("\nrefused      0\n"), "{text}");
        assert!(text.contains(": wschat.toml:1:1: x: unknown key\n"), "{text}");
        let record = "\nrecord       1,000 written, 2 lost\n             failing: No space left";
        assert!(text.contains(record), "{text}");
    }

    #[test]
    fn numbers_and_times() {
        let check = |got: String, want| assert_eq!(got, want);
        check(grouped(0), "0");
        check(grouped(999), "999");
        check(grouped(1000), "1,000");
        check(grouped(1_234_567), "1,234,567");
        check(rate(0.0), "0");
        check(rate(9.9), "9.9");
        check(rate(10.4), "10");
        check(bytes(1023.0), "1023 B");
        check(bytes(1024.0), "1.0 KiB");
        check(bytes(f64::from(1 << 20) * 2048.0), "2.0 GiB");
        check(elapsed(TimeDelta::seconds(-5)), "0 s");
        check(elapsed(TimeDelta::seconds(61)), "1 min 1 s");
        check(elapsed(TimeDelta::seconds(90_000)), "1 d 1 h");
    }
}

//! The line that `systemctl status` shows (`STATUS=`).

use std::time::{Duration, Instant};

use chrono::{DateTime, Local, Utc};
use tokio::sync::watch;
use tokio::time::sleep;

use super::notify::ServiceManager;
use crate::control::{ConfigStatus, RateMeter, RejectedConfig};
use crate::server::ShardPool;

/// The shortest time between two lines.
const INTERVAL: Duration = Duration::from_secs(2);
/// Characters of a line at most.
const CHARS_MAX: usize = 500;

/// Keeps the status line current for as long as this is polled.
pub async fn update(
    manager: ServiceManager,
    pool: ShardPool,
    config: watch::Receiver<ConfigStatus>,
) {
    let mut line = StatusLine::default();
    let mut meter = RateMeter::new(1);
    loop {
        let (now, totals) = (Instant::now(), pool.totals());
        let messages_per_sec = meter.rates(now, &totals.counters).messages_per_sec;
        line.send(&manager, &text(totals.listeners, messages_per_sec, &config.borrow()), now);
        meter.sample(now, totals.counters);
        sleep(INTERVAL).await;
    }
}

/// What was sent last, and when.
#[derive(Default)]
struct StatusLine {
    sent: Option<(Instant, String)>,
}

impl StatusLine {
    /// Sends `line` unless it is the same or the last one was sent too recently.
    fn send(&mut self, manager: &ServiceManager, line: &str, now: Instant) {
        let is_sent = self.next(line, now).is_none_or(|line| manager.send_status(line));
        if !is_sent {
            // Then the same line is sent again.
            self.sent = None;
        }
    }

    fn next(&mut self, line: &str, now: Instant) -> Option<&str> {
        let line = one_line(line);
        let skip = self.sent.as_ref().is_some_and(|(at, sent)| {
            *sent == line || now.saturating_duration_since(*at) < INTERVAL
        });
        if skip { None } else { Some(&self.sent.insert((now, line)).1) }
    }
}

fn text(listeners: usize, messages_per_sec: f64, config: &ConfigStatus) -> String {
    let plural = if listeners == 1 { "" } else { "s" };
    let time = |at: DateTime<Utc>| at.with_timezone(&Local).format("%H:%M:%S").to_string();
    let loaded = time(config.loaded);
    let line = format!(
        "{listeners} listener{plural}, {:.0} messages/s, configuration loaded {loaded}",
        messages_per_sec.round()
    );
    match &config.rejected {
        None => line,
        Some(RejectedConfig { at, why }) => format!("{line}, rejected {}: {why}", time(*at)),
    }
}

/// Replaces control characters: a newline would begin another assignment, and a terminal
/// obeys escape sequences.
fn one_line(text: &str) -> String {
    text.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    #[test]
    fn the_text_of_the_line() {
        let at = |secs| Local.with_ymd_and_hms(2026, 1, 2, 10, 41, secs).unwrap().to_utc();
        let mut config = ConfigStatus { generation: 1, loaded: at(7), rejected: None };
        let want = "412 listeners, 36 messages/s, configuration loaded 10:41:07";
        assert_eq!(text(412, 35.5, &config), want);
        let why = "wschat.toml:1:1: x: unknown key".to_owned();
        config.rejected = Some(RejectedConfig { at: at(30), why });
        assert_eq!(
            text(1, 0.0, &config),
            "1 listener, 0 messages/s, configuration loaded 10:41:07, \
             rejected 10:41:30: wschat.toml:1:1: x: unknown key"
        );
    }

    #[test]
    fn a_line_is_sent_if_it_is_new_and_not_too_soon() {
        let mut status = StatusLine::default();
        let start = Instant::now();
        for (millis, line, want) in [
            (0, "a", Some("a")),
            (1000, "b", None),
            (2000, "a", None),
            (2500, "b", Some("b")),
            (4400, "c", None),
            (4500, "c", Some("c")),
            (60_000, "c", None),
        ] {
            let now = start + Duration::from_millis(millis);
            assert_eq!(status.next(line, now), want, "{millis} {line}");
        }
    }

    #[test]
    fn a_line_that_was_not_sent_is_sent_again() {
        let mut status = StatusLine::default();
        let manager = ServiceManager::new(Some("/nonexistent".into()));
        status.send(&manager, "a", Instant::now());
        assert_eq!(status.next("a", Instant::now()), Some("a"));
    }

    #[test]
    fn a_line_is_one_assignment() {
        assert_eq!(one_line("a\nSTOPPING=1\r\u{1b}[31m"), "a STOPPING=1  [31m");
        assert_eq!(one_line(&"ä".repeat(1000)).chars().count(), CHARS_MAX);
    }
}

//! The line that `systemctl status` shows, and the watchdog's food.

use std::time::{Duration, Instant};

use chrono::{DateTime, Local, Utc};
use tokio::sync::watch;
use tokio::time::{interval, sleep};
use tracing::error;

use super::notify::{Manager, StatusLine};
use crate::control::{Configured, Rejected};
use crate::server::ShardPool;

/// Keeps the status line true, for as long as this is polled.
pub async fn show(manager: Manager, hub: ShardPool, configured: watch::Receiver<Configured>) {
    let mut line = StatusLine::default();
    let (mut then, mut messages_then) = (Instant::now(), hub.totals().counters.messages);
    loop {
        let (now, totals) = (Instant::now(), hub.totals());
        let messages = totals.counters.messages.saturating_sub(messages_then);
        let text = text(totals.listeners, per_sec(messages, now - then), &configured.borrow());
        line.show(&manager, &text, now);
        (then, messages_then) = (now, totals.counters.messages);
        sleep(StatusLine::INTERVAL).await;
    }
}

/// Feeds the watchdog, which wants it every `interval`, for as long as this is
/// polled and every shard answers.
pub async fn feed_watchdog(manager: Manager, hub: ShardPool, every: Duration) {
    // Often enough that one late answer does not starve it.
    let mut tick = interval(every / 4);
    let mut silent = false;
    loop {
        tick.tick().await;
        if hub.all_respond() {
            manager.watchdog();
            silent = false;
        } else if !std::mem::replace(&mut silent, true) {
            error!("a shard does not answer");
        }
    }
}

/// Messages in a second, rounded.
fn per_sec(messages: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    messages.saturating_mul(1000).saturating_add(millis / 2) / millis
}

fn text(listeners: usize, messages_per_sec: u64, configured: &Configured) -> String {
    let plural = if listeners == 1 { "" } else { "s" };
    let time = |at: DateTime<Utc>| at.with_timezone(&Local).format("%H:%M:%S").to_string();
    let loaded = time(configured.loaded);
    let line = format!(
        "{listeners} listener{plural}, {messages_per_sec} messages/s, configuration loaded {loaded}"
    );
    match &configured.rejected {
        None => line,
        Some(Rejected { at, why }) => format!("{line}, rejected {}: {why}", time(*at)),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    #[test]
    fn a_line_that_an_operator_likes_to_read() {
        let at = |secs| Local.with_ymd_and_hms(2026, 1, 2, 10, 41, secs).unwrap().to_utc();
        let mut configured = Configured { generation: 1, loaded: at(7), rejected: None };
        assert_eq!(
            text(412, 35, &configured),
            "412 listeners, 35 messages/s, configuration loaded 10:41:07"
        );
        let why = "wschat.toml:1:1: x: unknown key".to_owned();
        configured.rejected = Some(Rejected { at: at(30), why });
        assert_eq!(
            text(1, 0, &configured),
            "1 listener, 0 messages/s, configuration loaded 10:41:07, \
             rejected 10:41:30: wschat.toml:1:1: x: unknown key"
        );
    }

    #[test]
    fn messages_in_a_second() {
        for (messages, millis, want) in
            [(0, 2000, 0), (70, 2000, 35), (71, 2000, 36), (1, 2000, 1), (5, 0, 5000)]
        {
            assert_eq!(per_sec(messages, Duration::from_millis(millis)), want);
        }
    }
}

//! The line that `systemctl status` shows (`STATUS=`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::sleep;

use super::notify::ServiceManager;
use crate::cluster::ClusterState;
use crate::control::{ConfigStatus, RateMeter};
use crate::record::Recorder;
use crate::server::ShardPool;
use crate::zone::local_time;

/// How often the line may change.
const INTERVAL: Duration = Duration::from_secs(2);
/// Characters of a line at most.
const CHARS_MAX: usize = 500;

/// Keeps the status line current for as long as this is polled.
pub async fn update(
    manager: ServiceManager,
    pool: ShardPool,
    mut config: watch::Receiver<ConfigStatus>,
    cluster: Option<Arc<ClusterState>>,
    recorder: Arc<Recorder>,
) {
    let mut sent = None;
    let mut meter = RateMeter::new(1);
    loop {
        let (now, totals) = (Instant::now(), pool.totals());
        let messages_per_sec = meter.rates(now, &totals.counters).messages_per_sec;
        meter.sample(now, totals.counters);
        let away = cluster.as_ref().and_then(|cluster| cluster.away_since());
        let not_recorded = recorder.stats().failing;
        let text = text(
            totals.listeners,
            messages_per_sec,
            &config.borrow_and_update(),
            away,
            not_recorded,
        );
        let line = one_line(&text);
        send(&manager, line, &mut sent);
        // The result of a reload is shown at once.
        tokio::select! {
            () = sleep(INTERVAL) => {}
            Ok(()) = config.changed() => {}
        }
    }
}

/// Sends `line` unless it is the one that was `sent` last.
fn send(manager: &ServiceManager, line: String, sent: &mut Option<String>) {
    if sent.as_ref() != Some(&line) {
        *sent = manager.send_status(&line).then_some(line);
    }
}

/// `away` is since when and why no message can be sent, `not_recorded` why none is recorded.
/// What is wrong comes first.
fn text(
    listeners: usize,
    messages_per_sec: f64,
    config: &ConfigStatus,
    away: Option<(DateTime<Utc>, String)>,
    not_recorded: Option<String>,
) -> String {
    let plural = if listeners == 1 { "" } else { "s" };
    let loaded = local_time(config.loaded);
    let away = away.map_or_else(String::new, |(since, why)| {
        format!("no messages can be sent since {}: {why}; ", local_time(since))
    });
    let no_key = config.no_key.as_ref().map_or_else(String::new, |why| format!("no key: {why}; "));
    let listen = config.listen_problem.as_ref().map_or_else(String::new, |why| format!("{why}; "));
    let rejected = config.rejected.as_ref().map_or_else(String::new, |rejected| {
        format!("configuration rejected {}: {rejected}; ", local_time(rejected.at))
    });
    let unsaved = config.moderation_unsaved.as_ref();
    let unsaved =
        unsaved.map_or_else(String::new, |why| format!("mutes and lock are not saved: {why}; "));
    let not_recorded =
        not_recorded.map_or_else(String::new, |why| format!("messages are not recorded: {why}; "));
    format!(
        "{no_key}{listen}{away}{unsaved}{not_recorded}{rejected}{listeners} listener{plural}, {:.0} messages/s, configuration loaded {loaded}",
        messages_per_sec.round()
    )
}

/// Replaces control characters: a newline would begin another assignment, and a terminal
/// obeys escape sequences.
fn one_line(text: &str) -> String {
    text.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RejectedConfig;

    #[test]
    fn the_text_of_the_line() {
        let at = |secs: i64| DateTime::from_timestamp(1_700_000_000 + secs, 0).unwrap();
        let mut config = ConfigStatus {
            generation: 1,
            loaded: at(7),
            rejected: None,
            no_key: None,
            listen_problem: None,
            moderation_unsaved: None,
        };
        let loaded = local_time(at(7));
        let want = format!("412 listeners, 36 messages/s, configuration loaded {loaded}");
        assert_eq!(text(412, 35.5, &config, None, None), want);
        let away = Some((at(9), "no server answers".to_owned()));
        let since = local_time(at(9));
        let want = format!("no messages can be sent since {since}: no server answers; {want}");
        assert_eq!(text(412, 35.5, &config, away, None), want);
        let full = Some("No space left on device".to_owned());
        assert!(
            text(1, 0.0, &config, None, full)
                .starts_with("messages are not recorded: No space left on device; 1 listener, ")
        );
        let why = "wschat.toml:1:1: x: unknown key".to_owned();
        config.rejected = Some(RejectedConfig { at: at(30), why, others: 0 });
        assert_eq!(
            text(1, 0.0, &config, None, None),
            format!(
                "configuration rejected {}: wschat.toml:1:1: x: unknown key; \
                 1 listener, 0 messages/s, configuration loaded {loaded}",
                local_time(at(30))
            )
        );
        config.rejected = None;
        config.listen_problem = Some("restart wschat.socket".to_owned());
        assert!(
            text(1, 0.0, &config, None, None).starts_with("restart wschat.socket; 1 listener, ")
        );
        config.listen_problem = None;
        config.moderation_unsaved = Some("No space left on device".to_owned());
        assert!(
            text(1, 0.0, &config, None, None)
                .starts_with("mutes and lock are not saved: No space left on device; 1 listener, ")
        );
        config.moderation_unsaved = None;
        config.no_key = Some("wschat: auth.required: nobody can send".to_owned());
        let line = text(1, 0.0, &config, None, None);
        assert!(line.starts_with("no key: wschat: auth.required: nobody can send; 1 listener,"));
    }

    #[test]
    fn a_line_that_was_not_sent_is_sent_again() {
        let mut sent = None;
        for (socket, want) in [(Some("/nonexistent".into()), None), (None, Some("a"))] {
            send(&ServiceManager::new(socket), "a".to_owned(), &mut sent);
            assert_eq!(sent.as_deref(), want);
        }
    }

    #[test]
    fn a_line_is_one_assignment() {
        assert_eq!(one_line("a\nSTOPPING=1\r\u{1b}[31m"), "a STOPPING=1  [31m");
        assert_eq!(one_line(&"ä".repeat(1000)).chars().count(), CHARS_MAX);
    }
}

//! What the service manager is told (sd_notify(3)).

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::warn;

/// What ending takes beside the clients' time.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// Messages can flow.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] has to follow.
pub fn reloading() {
    // One datagram: systemd takes the time for that of this very reload.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// The service is on its way out, which may take as long as `patience`.
pub fn stopping(patience: Duration) {
    let usec = u32::try_from((patience + STOP_SLACK).as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(usec)]);
}

/// The process is well, for the watchdog.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often the watchdog wants to hear of us, if there is one.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The one line that `systemctl status` shows.
#[derive(Debug, Default)]
pub struct StatusLine {
    sent: Option<(Instant, String)>,
}

impl StatusLine {
    /// The least time between two lines.
    pub const INTERVAL: Duration = Duration::from_secs(2);

    /// Sends `line` if it says something new and the last one was sent long
    /// enough ago; to be called again if not.
    pub fn show(&mut self, line: &str, now: Instant) {
        if let Some(line) = self.next(line, now) {
            send(&[NotifyState::Status(line)]);
        }
    }

    fn next(&mut self, line: &str, now: Instant) -> Option<&str> {
        let line = one_line(line);
        let nothing_new = self.sent.as_ref().is_some_and(|(at, sent)| {
            *sent == line || now.saturating_duration_since(*at) < Self::INTERVAL
        });
        if nothing_new { None } else { Some(&self.sent.insert((now, line)).1) }
    }
}

/// A newline would begin another assignment, so there is none; nor anything
/// else that a terminal might obey, nor more than a line can show.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 500;
    text.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Without a service manager this does nothing.
fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify the service manager: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(
                status.next(line, start + Duration::from_millis(millis)),
                want,
                "{millis} {line}"
            );
        }
    }

    #[test]
    fn a_line_is_one_assignment() {
        assert_eq!(one_line("a\nSTOPPING=1\r\u{1b}[31m"), "a STOPPING=1  [31m");
        assert_eq!(one_line(&"ä".repeat(1000)).chars().count(), 500);
    }
}

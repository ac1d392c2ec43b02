//! Connections to a room, one after the other: each one asks for the messages that were
//! sent after the last one ended.

use std::time::Duration;

use aws_lc_rs::rand;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::connection::{ConnectionError, RoomConnection};
use super::message::{Incoming, IncomingKind};
use super::room_url::RoomUrl;
use crate::chat::{Since, Tim};

/// The delay before the first new attempt.
const DELAY_MIN: Duration = Duration::from_millis(500);
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// The delays start again after a connection that lasted this long,
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// or this long, if the server closed it with 1013 because it was too slow.
const KEPT_UP_AFTER: Duration = Duration::from_secs(60);

/// Where the next connection continues, and when.
pub struct Resume {
    url: RoomUrl,
    /// The `tim` of the last message. Before the first one, the time of joining.
    since: Option<Since>,
    /// `since` when the connection was opened.
    requested: Option<Since>,
    /// No message has arrived since the last gap notice.
    in_gap: bool,
    /// Consecutive connections that failed or did not last.
    failures: u32,
    /// When the connection opened.
    opened: Option<Instant>,
}

impl Resume {
    /// The first connection gets the messages after `since`.
    pub fn new(url: RoomUrl, since: Option<Since>) -> Self {
        Self { url, since, requested: None, in_gap: false, failures: 0, opened: None }
    }

    /// Opens a connection.
    pub async fn open(&mut self) -> Result<RoomConnection, ConnectionError> {
        let joining = position(Utc::now());
        self.requested = self.since;
        self.opened = None;
        let connection = match self.since.map(|since| self.url.with_since(&since)) {
            Some(Ok(url)) => RoomConnection::open(&url).await?,
            Some(Err(error)) => return Err(ConnectionError::new(error.to_string())),
            None => RoomConnection::open(&self.url).await?,
        };
        self.opened = Some(Instant::now());
        self.since = self.since.or(joining);
        Ok(connection)
    }

    /// Remembers the place of a message that arrived. Returns whether to show it: not if
    /// it is the one after which the connection continues, or another notice of a gap.
    pub fn advance(&mut self, message: &Incoming) -> bool {
        match message.kind {
            // Their times are not places in the order of the room.
            IncomingKind::Notice { .. } | IncomingKind::Ack | IncomingKind::Presence => true,
            // Until a message follows, it is the same gap.
            IncomingKind::Gap => !std::mem::replace(&mut self.in_gap, true),
            IncomingKind::User | IncomingKind::Server | IncomingKind::Retraction => {
                self.in_gap = false;
                let Some(tim) = message.tim.and_then(position) else { return true };
                self.since = Some(tim);
                self.requested != Some(tim)
            }
        }
    }

    /// How long to wait before the next connection, after this error.
    pub fn delay(&mut self, error: &ConnectionError) -> Duration {
        let lasting = if error.is_too_slow { KEPT_UP_AFTER } else { STABLE_AFTER };
        if self.opened.take().is_some_and(|opened| opened.elapsed() >= lasting) {
            self.failures = 0;
        }
        let mut random = [0; 2];
        // Without random bytes the delay is the shortest one.
        let _ = rand::fill(&mut random);
        let delay = delay(self.failures, u16::from_ne_bytes(random));
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

/// The time in the form of a `tim`; `None` if it is before 1970 or after 2262.
fn position(time: DateTime<Utc>) -> Option<Since> {
    let nanos = time.timestamp_nanos_opt()?.try_into().ok()?;
    Some(Tim::from_nanos(nanos).into())
}

/// The delay after `failures`. It doubles up to [`DELAY_MAX`]. `random`, from the whole
/// range, shortens it by up to half, so that the clients of a room do not all reconnect
/// at the same time.
fn delay(failures: u32, random: u16) -> Duration {
    let full = DELAY_MIN.saturating_mul(2_u32.saturating_pow(failures)).min(DELAY_MAX);
    full / 2 + full / 2 * u32::from(random) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMS: [&str; 3] = [
        "2020-08-11T22:26:58.118678679Z",
        "2020-08-11T22:26:58.118678680Z",
        "2020-08-11T22:26:59.000000000Z",
    ];

    fn resume() -> Resume {
        Resume::new("ws://room.example".parse().unwrap(), None)
    }

    #[test]
    fn only_messages_of_the_room_are_remembered() {
        let mut resume = resume();
        let mut check = |usr: &str, field: &str, tim: &str, want: Option<&str>| {
            let json = format!(r#"{{"usr":"{usr}","msg":"x",{field}"tim":"{tim}"}}"#);
            assert!(resume.advance(&Incoming::parse(&json).unwrap()), "{json}");
            assert_eq!(resume.since.map(|since| since.to_string()).as_deref(), want, "{json}");
        };
        check("wschat", r#""err":"muted","#, TIMS[2], None);
        check("wschat", r#""err":"gap","#, TIMS[2], None);
        check("wschat", r#""ack":"mute","#, TIMS[2], None);
        check("eva", "", TIMS[0], Some(TIMS[0]));
        check("wschat", "", TIMS[1], Some(TIMS[1]));
        check("wschat", r#""ack":"mute","#, TIMS[2], Some(TIMS[1]));
        let retraction = format!(r#""retract":"{}","#, TIMS[0]);
        check("wschat", &retraction, TIMS[2], Some(TIMS[2]));
        // A server whose clock was set back; then a message without a place.
        check("eva", r#""ack":"mute","#, TIMS[0], Some(TIMS[0]));
        check("eva", "", "now", Some(TIMS[0]));
    }

    #[test]
    fn a_message_or_a_gap_is_shown_once() {
        let mut resume = resume();
        let mut shown = |message: &str| {
            let gap = r#"{"usr":"wschat","msg":"x","err":"gap","tim":"2020-08-11T22:27:00Z"}"#;
            let json = format!(r#"{{"usr":"eva","msg":"x","tim":"{message}"}}"#);
            let json = if message == "gap" { gap } else { &json };
            if message == "cut" {
                resume.requested = resume.since;
                return true;
            }
            resume.advance(&Incoming::parse(json).unwrap())
        };
        for (message, want) in [
            (TIMS[0], true),
            ("cut", true),
            ("gap", true),
            ("cut", true),
            ("gap", false),
            (TIMS[0], false),
            (TIMS[1], true),
            ("cut", true),
            ("gap", true),
            (TIMS[2], true),
        ] {
            assert_eq!(shown(message), want, "{message}");
        }
    }

    #[test]
    fn after_1013_the_delay_grows_until_the_client_has_kept_up() {
        let mut resume = resume();
        let lost = ConnectionError::new("reset");
        let too_slow = ConnectionError { is_too_slow: true, ..lost.clone() };
        let mut after = |error: &ConnectionError, secs| {
            let lasted = Duration::from_secs(secs);
            resume.opened = Some(Instant::now().checked_sub(lasted).unwrap());
            resume.delay(error);
            resume.failures
        };
        assert_eq!(after(&lost, 1), 1);
        assert_eq!(after(&lost, 1), 2);
        assert_eq!(after(&lost, 5), 1);
        for failures in 2..20 {
            assert_eq!(after(&too_slow, 30), failures);
        }
        assert_eq!(after(&too_slow, 60), 1);
    }

    proptest! {
        #[test]
        fn delays_are_bounded_and_grow(failures in any::<u32>(), random in any::<u16>()) {
            let now = delay(failures, random);
            prop_assert!(now >= DELAY_MIN / 2 && now <= DELAY_MAX);
            prop_assert!(delay(failures.saturating_add(1), random) >= now);
            prop_assert_eq!(delay(0, u16::MAX), DELAY_MIN);
        }
    }
}

//! A connection that is opened again whenever it is lost.

use std::time::Duration;

use aws_lc_rs::rand;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use crate::client::connection::{ConnectionError, RoomConnection};
use crate::client::room_url::RoomUrl;

/// The delay before the first new attempt.
const DELAY_MIN: Duration = Duration::from_millis(500);
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// The delays start again after a connection that lasted this long.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// What the user interface wants from the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionCommand {
    /// Send a message; dropped if there is no connection.
    Send(String),
    /// Connect now instead of waiting.
    Reconnect,
}

/// What the connection tells the user interface.
pub enum ConnectionEvent {
    State(ConnectionState),
    /// A text message.
    Received(String),
}

pub enum ConnectionState {
    Connecting,
    Connected,
    /// Why there is no connection, and the time of the next attempt.
    Lost(ConnectionError, Instant),
}

/// Connects again and again until the user interface ends.
pub async fn run(
    url: RoomUrl,
    mut commands: Receiver<ConnectionCommand>,
    events: Sender<ConnectionEvent>,
) {
    use ConnectionState::*;
    let mut attempts = 0;
    while events.send(ConnectionEvent::State(Connecting)).await.is_ok() {
        let error = match RoomConnection::open(&url).await {
            Ok(connection) => {
                let connected = Instant::now();
                let Some(error) = exchange(connection, &mut commands, &events).await else {
                    return;
                };
                if connected.elapsed() >= STABLE_AFTER {
                    attempts = 0;
                }
                error
            }
            Err(error) => error,
        };
        let mut random = [0; 2];
        // Without random bytes the delay is the shortest one.
        let _ = rand::fill(&mut random);
        let next = Instant::now() + delay(attempts, u16::from_ne_bytes(random));
        attempts = attempts.saturating_add(1);
        let sent = events.send(ConnectionEvent::State(Lost(error, next))).await;
        if sent.is_err() || !wait(next, &mut commands).await {
            return;
        }
    }
}

/// Transfers messages until the connection ends and returns why. Returns `None` if
/// the user interface has ended.
async fn exchange(
    mut connection: RoomConnection,
    commands: &mut Receiver<ConnectionCommand>,
    events: &Sender<ConnectionEvent>,
) -> Option<ConnectionError> {
    events.send(ConnectionEvent::State(ConnectionState::Connected)).await.ok()?;
    loop {
        tokio::select! {
            text = connection.next() => match text {
                Ok(text) => events.send(ConnectionEvent::Received(text)).await.ok()?,
                Err(error) => return Some(error),
            },
            command = commands.recv() => match command {
                Some(ConnectionCommand::Send(text)) => {
                    if let Err(error) = connection.send(text).await {
                        return Some(error);
                    }
                }
                Some(ConnectionCommand::Reconnect) => {}
                None => {
                    connection.close().await;
                    return None;
                }
            },
        }
    }
}

/// Waits until the given time or until [`ConnectionCommand::Reconnect`]. Returns
/// `false` if the user interface has ended.
async fn wait(until: Instant, commands: &mut Receiver<ConnectionCommand>) -> bool {
    loop {
        match timeout_at(until, commands.recv()).await {
            Err(_) | Ok(Some(ConnectionCommand::Reconnect)) => return true,
            // It was sent before the user interface received `Lost`, which makes it
            // report the message as possibly not sent.
            Ok(Some(ConnectionCommand::Send(_))) => {}
            Ok(None) => return false,
        }
    }
}

/// The delay after `attempts` failed attempts. It doubles up to [`DELAY_MAX`].
/// `random`, from the whole range, shortens it by up to half, so that the clients
/// of a room do not all reconnect at the same time.
fn delay(attempts: u32, random: u16) -> Duration {
    let full = DELAY_MIN.saturating_mul(2_u32.saturating_pow(attempts)).min(DELAY_MAX);
    full / 2 + full / 2 * u32::from(random) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_are_bounded_and_grow(attempts in any::<u32>(), random in any::<u16>()) {
            let now = delay(attempts, random);
            prop_assert!(now >= DELAY_MIN / 2 && now <= DELAY_MAX);
            prop_assert!(delay(attempts.saturating_add(1), random) >= now);
            prop_assert_eq!(delay(0, u16::MAX), DELAY_MIN);
        }
    }
}

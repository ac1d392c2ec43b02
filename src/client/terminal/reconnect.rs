//! A connection that is opened again whenever it is lost.

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use crate::client::connection::{ConnectionError, RoomConnection};
use crate::client::message::Incoming;
use crate::client::resume::Resume;

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
    Received(Incoming),
}

pub enum ConnectionState {
    Connecting,
    Connected,
    /// Why there is no connection, and the time of the next attempt. Without a time, only the
    /// user connects again.
    Lost(ConnectionError, Option<Instant>),
}

/// Connects until the user interface ends; only once unless `reconnects` is true. Returns
/// why the last connection ended, if it was not because of the user interface.
pub async fn run(
    mut resume: Resume,
    reconnects: bool,
    mut commands: Receiver<ConnectionCommand>,
    events: Sender<ConnectionEvent>,
) -> Option<ConnectionError> {
    use ConnectionState::*;
    loop {
        events.send(ConnectionEvent::State(Connecting)).await.ok()?;
        let error = match resume.open().await {
            Ok(connection) => exchange(connection, &mut resume, &mut commands, &events).await?,
            Err(error) => error,
        };
        let delay = resume.delay(&error);
        let next = (!error.is_kick).then(|| Instant::now() + delay);
        let lost = ConnectionEvent::State(Lost(error.clone(), next));
        events.send(lost).await.ok()?;
        if !reconnects {
            return Some(error);
        }
        wait(next, &mut commands).await?;
    }
}

/// Transfers messages until the connection ends and returns why. Returns `None` if
/// the user interface has ended.
async fn exchange(
    mut connection: RoomConnection,
    resume: &mut Resume,
    commands: &mut Receiver<ConnectionCommand>,
    events: &Sender<ConnectionEvent>,
) -> Option<ConnectionError> {
    events.send(ConnectionEvent::State(ConnectionState::Connected)).await.ok()?;
    loop {
        tokio::select! {
            text = connection.next() => match text {
                Ok(text) => {
                    if let Some(message) = Incoming::parse(&text).filter(|new| resume.advance(new)) {
                        events.send(ConnectionEvent::Received(message)).await.ok()?;
                    }
                }
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

/// Waits until the given time, if there is one, or until [`ConnectionCommand::Reconnect`].
/// Returns `None` if the user interface has ended.
async fn wait(until: Option<Instant>, commands: &mut Receiver<ConnectionCommand>) -> Option<()> {
    loop {
        let command = match until {
            Some(until) => timeout_at(until, commands.recv()).await.ok(),
            None => Some(commands.recv().await),
        };
        match command {
            None | Some(Some(ConnectionCommand::Reconnect)) => return Some(()),
            // It was sent before the user interface received `Lost`, which makes it
            // report the message as possibly not sent.
            Some(Some(ConnectionCommand::Send(_))) => {}
            Some(None) => return None,
        }
    }
}

//! NATS: everything that waits for it. Nothing here knows the room.
//!
//! | file | what |
//! | --- | --- |
//! | `connect.rs` | a connection to a server, which lives once |
//! | `api.rs` | requests to JetStream |
//! | `stream.rs` | pure: what a server and a stream have to be like |
//! | `verify.rs` | whether a server and the stream are as the room needs them |
//! | `consumer.rs` | reading, and what is missing |
//! | `delivery.rs` | pure: what a consumer sends |
//! | `publisher.rs` | publishing, and what became of it |
//! | `init.rs` | creates the stream and the key-value bucket |
//! | `moderation_store.rs` | what lasts of the moderation, in the key-value bucket |
//! | `act_scan.rs` | moderation actions that the bucket does not have |
//! | `moderation_keeper.rs` | keeps the bucket and what a node knows in step |
//! | `presence.rs` | which nodes there are, and what a kick has met |

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod act_scan;
mod api;
mod connect;
mod consumer;
mod delivery;
mod init;
mod moderation_keeper;
mod moderation_store;
mod presence;
mod publisher;
mod stream;
mod verify;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use self::connect::Link;
use self::consumer::{Consumer, Reader};
use self::publisher::Publisher;
use super::engine::{AwayReason, EngineEvent, Publish};
use super::options::EngineOptions;
use crate::feed::Position;

pub use self::init::{InitOptions, InitOutcome, InitReport, init};
pub use self::moderation_keeper::{KeeperEvent, ModerationKeeper};
pub use self::moderation_store::{History, ModerationStore, StoreError, Written};
pub use self::presence::PresenceTask;
pub use self::stream::stream_bytes_min;

/// How many publishes wait at most.
pub const PUBLISHES_MAX: usize = 256;

/// How many events wait at most. Then the engine reads no more, and the server stops to send.
pub const EVENTS_MAX: usize = 256;

/// How long to wait before the servers are tried again: at first, and at most.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// How long a connection has to last until the next one is tried soon.
const LASTING: Duration = Duration::from_secs(10);

/// The engine of a running node. It ends when this is dropped.
#[derive(Debug)]
pub struct Engine {
    publishes: mpsc::Sender<Publish>,
    /// Apart from the other events, because a reader that pauses has to know them too.
    acknowledgements: mpsc::Receiver<EngineEvent>,
    events: mpsc::Receiver<EngineEvent>,
    client: watch::Receiver<Option<Client>>,
    task: JoinHandle<()>,
}

/// Starts the engine on the runtime of the caller. It reads from behind `last`; without it, it
/// reads as much of the stream as the tail of a feed needs.
pub fn start(options: EngineOptions, last: Option<Position>) -> Engine {
    let (publishes, queue) = mpsc::channel(PUBLISHES_MAX);
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let (acknowledge, acknowledgements) = mpsc::channel(EVENTS_MAX);
    let (client_sender, client) = watch::channel(None);
    let mut hasher = DefaultHasher::new();
    options.node.as_str().hash(&mut hasher);
    let session = Session {
        publisher: Publisher::new(options.stream.to_string(), queue, acknowledge),
        reader: Reader::new(sender.clone(), last),
        // Nodes start at different servers.
        turn: usize::try_from(hasher.finish() >> 1).unwrap_or_default(),
        options: Arc::new(options),
        events: sender,
        client: client_sender,
    };
    Engine { publishes, acknowledgements, events, client, task: tokio::spawn(session.run()) }
}

impl Engine {
    /// Publishes a record. It does not wait.
    ///
    /// # Errors
    ///
    /// The record, if [`PUBLISHES_MAX`] others wait.
    pub fn publish(&self, publish: Publish) -> Result<(), Publish> {
        self.publishes.try_send(publish).map_err(|error| match error {
            mpsc::error::TrySendError::Full(publish)
            | mpsc::error::TrySendError::Closed(publish) => publish,
        })
    }

    /// The next event; `None` when the engine has ended. While a reader `pauses`, there are only
    /// acknowledgements, and the server stops to send after some time.
    pub async fn next_event(&mut self, pauses: bool) -> Option<EngineEvent> {
        tokio::select! {
            event = self.acknowledgements.recv() => event,
            event = self.events.recv(), if !pauses => event,
        }
    }

    /// The next event, if there is one.
    pub fn try_next_event(&mut self) -> Option<EngineEvent> {
        self.events.try_recv().or_else(|_| self.acknowledgements.try_recv()).ok()
    }

    /// The client of the present connection, for what is not in the stream; `None` while the
    /// stream cannot be used. Nobody keeps it for longer.
    pub fn client(&self) -> watch::Receiver<Option<Client>> {
        self.client.clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tries each server once, and looks whether it and the stream are as they have to be. Servers
/// that cannot be reached are looked at when they are.
///
/// # Errors
///
/// What is wrong with the first of them, and what to do, if none can be used.
pub async fn verify(options: &EngineOptions) -> Result<(), String> {
    let mut reasons = Vec::new();
    for server in &options.servers {
        let verified =
            async { verify::verify(&Link::connect(options, server).await?, options).await };
        match verified.await {
            Ok(_) => return Ok(()),
            Err(reason) => reasons.push((reasons.len(), reason)),
        }
    }
    match summary(reasons) {
        AwayReason::Unusable(why) => Err(why),
        AwayReason::Unreachable(_) | AwayReason::Reading(_) => Ok(()),
    }
}

/// The task of the engine.
struct Session {
    options: Arc<EngineOptions>,
    events: mpsc::Sender<EngineEvent>,
    client: watch::Sender<Option<Client>>,
    reader: Reader,
    publisher: Publisher,
    /// The server that is tried next.
    turn: usize,
}

impl Session {
    async fn run(mut self) {
        let [delay_min, delay_max] = RETRY_DELAYS;
        let mut delay = delay_min;
        let mut told = None;
        while !self.events.is_closed() {
            let reason = match self.connect_to_any().await {
                Ok((link, consumer)) => {
                    let start = Instant::now();
                    let reason = self.use_link(link, consumer).await;
                    told = None;
                    if start.elapsed() >= LASTING {
                        delay = delay_min;
                    }
                    reason
                }
                Err(reason) => reason,
            };
            if told.as_ref() != Some(&reason) {
                let _ = self.events.send(EngineEvent::Away(reason.clone())).await;
                told = Some(reason);
            }
            tokio::select! {
                () = sleep(delay) => {}
                () = self.publisher.refuse() => {}
            }
            delay = (delay * 2).min(delay_max);
        }
    }

    /// Tries each server once.
    async fn connect_to_any(&mut self) -> Result<(Link, Consumer), AwayReason> {
        let mut reasons = Vec::new();
        for _ in 0..self.options.servers.len() {
            let index = self.turn % self.options.servers.len();
            self.turn = self.turn.wrapping_add(1);
            let opened = tokio::select! {
                opened = open(&mut self.reader, &self.options, index) => opened,
                () = self.publisher.refuse() => break,
            };
            match opened {
                Ok(opened) => return Ok(opened),
                Err(reason) => reasons.push((index, reason)),
            }
        }
        Err(summary(reasons))
    }

    /// Reads and publishes until the connection is of no use.
    async fn use_link(&mut self, link: Link, consumer: Consumer) -> AwayReason {
        let created = consumer.connection.newest.created;
        let connected = EngineEvent::Connected(consumer.connection.clone());
        if self.events.send(connected).await.is_err() {
            return summary(Vec::new());
        }
        self.client.send_replace(Some(link.client.clone()));
        let reason = tokio::select! {
            reason = self.reader.read(&link, &self.options, consumer) => reason,
            reason = self.publisher.publish(&link) => reason,
            reason = consumer::watch(&link, &self.options, created) => reason,
            reason = link.lost() => reason,
        };
        self.client.send_replace(None);
        reason
    }
}

async fn open(
    reader: &mut Reader,
    options: &EngineOptions,
    index: usize,
) -> Result<(Link, Consumer), AwayReason> {
    let Some(server) = options.servers.get(index) else { return Err(summary(Vec::new())) };
    let link = Link::connect(options, server).await?;
    let consumer = reader.open(&link, options).await?;
    Ok((link, consumer))
}

/// One reason for all servers, the same as long as nothing changes: the first that somebody has
/// to act on, or all.
fn summary(mut reasons: Vec<(usize, AwayReason)>) -> AwayReason {
    reasons.sort_by_key(|(index, _)| *index);
    let is_unusable = |(_, reason): &&(usize, _)| matches!(reason, AwayReason::Unusable(_));
    if let Some((_, reason)) = reasons.iter().find(is_unusable) {
        return reason.clone();
    }
    let texts: Vec<_> = reasons.iter().map(|(_, reason)| reason.to_string()).collect();
    AwayReason::Unreachable(texts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_for_all_servers_does_not_depend_on_the_first_one_tried() {
        let unreachable = |text: &str| AwayReason::Unreachable(text.to_owned());
        let unusable = |text: &str| AwayReason::Unusable(text.to_owned());
        let all = unreachable("a; b");
        assert_eq!(summary(vec![(0, unreachable("a")), (1, unreachable("b"))]), all);
        assert_eq!(summary(vec![(1, unreachable("b")), (0, unreachable("a"))]), all);
        let mixed = vec![(2, unusable("c")), (0, unreachable("a")), (1, unusable("b"))];
        assert_eq!(summary(mixed), unusable("b"));
    }
}

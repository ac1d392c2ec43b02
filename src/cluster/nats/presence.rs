//! Tells the other nodes that this one is there, and what a kick has met here, and reads what
//! they tell. By the core of NATS, without a stream: what is lost is told again, or missed.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use crate::cluster::kick_answers::KickAnswer;
use crate::cluster::kicks::Kicks;
use crate::cluster::names::StreamName;
use crate::cluster::presence_table::{Presence, TELL_INTERVAL};
use crate::cluster::state::ClusterState;

/// How long a message may take to the connection, or to the server.
const SEND_TIMEOUT: Duration = Duration::from_millis(500);

/// What this node and the others tell each other.
pub struct PresenceTask {
    /// Where the names of the subjects come from.
    pub stream: StreamName,
    /// The connection; `None` until there is one.
    pub client: watch::Receiver<Option<Client>>,
    /// Gets what the others tell.
    pub state: Arc<ClusterState>,
    /// Gets the answers of the others.
    pub kicks: Arc<Kicks>,
    /// The answers of this node.
    pub answers: mpsc::Receiver<KickAnswer>,
}

impl PresenceTask {
    /// Runs until `stop` is ready; then it tells the others that this node stops. `listeners`
    /// is asked for their number, and `elsewhere` is told the number of those of the others.
    pub async fn run(
        mut self,
        listeners: impl Fn() -> u64,
        elsewhere: impl Fn(u64),
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        let mut tick = interval(TELL_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        let mut subscriptions = self.subscribe().await;
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = tick.tick() => {
                    number += 1;
                    self.tell(number, listeners(), false).await;
                    log_twins(self.state.twins_changed());
                    // Who has told nothing for long is gone.
                    elsewhere(self.state.listeners_elsewhere());
                }
                Some(answer) = self.answers.recv() => {
                    self.publish(self.stream.kick_subject(), &answer).await;
                }
                Ok(()) = self.client.changed() => {
                    subscriptions = self.subscribe().await;
                    tick.reset_immediately();
                }
                (is_presence, message) = next(&mut subscriptions) => match message {
                    Some(message) if is_presence => {
                        // Who is new does not wait to hear of this node.
                        if self.state.read_presence(&message) {
                            tick.reset_immediately();
                        }
                        elsewhere(self.state.listeners_elsewhere());
                    }
                    Some(message) if self.kicks.read(&message) => {}
                    Some(_) => self.state.count_bad_presence(),
                    // The connection is closed for good; another one follows.
                    None => subscriptions = None,
                },
            }
        }
        self.tell(number + 1, 0, true).await;
    }

    /// Notes and tells that this node is there, or that it stops.
    async fn tell(&self, number: u64, listeners: u64, stops: bool) {
        let process = self.state.process().clone();
        let presence = Presence { process, number, listeners, stops };
        self.state.note_presence(presence.clone());
        self.publish(self.stream.presence_subject(), &presence).await;
    }

    /// Publishes, unless there is no connection: it would be sent much later.
    async fn publish(&self, subject: String, message: &impl Serialize) {
        let client = self.client.borrow().clone();
        let Some(client) = client.filter(|it| it.connection_state() == State::Connected) else {
            return;
        };
        let message = Bytes::from(serde_json::to_vec(message).unwrap_or_default());
        let sent = timeout(SEND_TIMEOUT, async {
            client.publish(subject, message).await.map_err(|error| error.to_string())?;
            client.flush().await.map_err(|error| error.to_string())
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error, "a message to the other nodes was not sent: {error}"),
            Err(_) => debug!("a message to the other nodes was not sent in time"),
        }
    }

    /// Subscribes to both subjects.
    async fn subscribe(&mut self) -> Option<[Subscriber; 2]> {
        let client = self.client.borrow_and_update().clone()?;
        let subscribe = async {
            let presence = client.subscribe(self.stream.presence_subject()).await?;
            let kicks = client.subscribe(self.stream.kick_subject()).await?;
            Ok::<_, async_nats::SubscribeError>([presence, kicks])
        };
        match timeout(SEND_TIMEOUT, subscribe).await {
            Ok(Ok(subscriptions)) => Some(subscriptions),
            Ok(Err(error)) => {
                warn!(%error, "what other nodes tell cannot be read: {error}");
                None
            }
            Err(_) => {
                warn!("what other nodes tell cannot be read: the connection does not answer");
                None
            }
        }
    }
}

/// The next message, and whether it is about presence.
async fn next(subscriptions: &mut Option<[Subscriber; 2]>) -> (bool, Option<Bytes>) {
    match subscriptions {
        Some([presence, kicks]) => tokio::select! {
            message = presence.next() => (true, message.map(|message| message.payload)),
            message = kicks.next() => (false, message.map(|message| message.payload)),
        },
        None => std::future::pending().await,
    }
}

fn log_twins((new, over): (Vec<String>, Vec<String>)) {
    for node in new {
        warn!(
            node,
            "more than one node has the name {node}; give each its own name in cluster.node"
        );
    }
    for node in over {
        info!(node, "only one node has the name {node} again");
    }
}

//! Keeps the key-value bucket and what a node knows of the moderation in step.

use std::time::Duration;

use async_nats::{Client, jetstream};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::moderation_store::{ModerationStore, StoreError, Written};
use crate::chat::Moderation;
use crate::cluster::names::StreamName;
use crate::cluster::stored_moderation::StoredModeration;

/// How often a node checks whether what it knows is stored.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait before the bucket is tried again that could not be read at the start.
const RETRY: Duration = Duration::from_secs(1);

/// What a keeper tells; none of it may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperEvent {
    /// The bucket was read, for the first time of this process: its values, oldest first.
    Read(Vec<StoredModeration>),
    /// The bucket has this value, which counts further than what the node knows.
    Found(StoredModeration),
    /// It could not be read at the start, for this reason; it will be tried again.
    Failed(String),
}

/// Every node has one, so that no action is lost with the node that has published it.
pub struct ModerationKeeper {
    /// Where the name of the bucket comes from.
    pub room: StreamName,
    /// The connection; `None` until there is one.
    pub client: watch::Receiver<Option<Client>>,
    /// The moderation of the room before the bucket was read, for a bucket without a value.
    pub local: Moderation,
    /// What the node knows, up to its newest moderation action; `None` if there was none.
    pub newest: watch::Receiver<Option<StoredModeration>>,
    /// Gets what the bucket has.
    pub events: mpsc::Sender<KeeperEvent>,
}

impl ModerationKeeper {
    /// Runs until nobody wants its events any more.
    pub async fn run(mut self) {
        let mut tick = interval(CHECK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_read, mut failing, mut told) = (false, None, None);
        loop {
            tokio::select! {
                () = self.events.closed() => return,
                Ok(()) = self.client.changed() => {}
                Ok(()) = self.newest.changed() => {}
                _ = tick.tick() => {}
            }
            let Some(store) = self.store() else { continue };
            let result = match is_read {
                false => self.read(&store).await,
                true => self.check(&store).await,
            };
            // Without a connection nothing else can be expected.
            if self.client.borrow().is_none() {
                continue;
            }
            match result {
                Ok(event) => {
                    is_read = true;
                    if failing.take().is_some() {
                        info!("moderation is in the key-value bucket again");
                    }
                    if let Some(event) = event.filter(|event| told.as_ref() != Some(event)) {
                        told = Some(event.clone());
                        // Nobody may want it any more.
                        let _ = self.events.send(event).await;
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    if failing.as_ref() != Some(&why) {
                        warn!(error = why, "moderation is not shared with other nodes: {why}");
                        if !is_read {
                            let _ = self.events.send(KeeperEvent::Failed(why.clone())).await;
                        }
                        failing = Some(why);
                    }
                    if !is_read {
                        tick.reset_after(RETRY);
                    }
                }
            }
        }
    }

    fn store(&mut self) -> Option<ModerationStore> {
        let client = self.client.borrow_and_update().clone()?;
        Some(ModerationStore::new(jetstream::new(client), self.room.clone()))
    }

    async fn read(&self, store: &ModerationStore) -> Result<Option<KeeperEvent>, StoreError> {
        let mut values = store.history().await?;
        if values.is_empty() && self.local != Moderation::default() {
            // All nodes go on with the same moderation: that of the first one that has some.
            store.copy(self.local.clone()).await?;
            values = store.history().await?;
        }
        Ok(Some(KeeperEvent::Read(values)))
    }

    /// Stores what the node knows, and returns what it does not know.
    async fn check(&mut self, store: &ModerationStore) -> Result<Option<KeeperEvent>, StoreError> {
        let known = self.newest.borrow_and_update().clone();
        let stored = match &known {
            Some(known) => match store.write(known).await? {
                Written::Kept(stored) if stored.position != known.position => Some(stored),
                _ => None,
            },
            None => store.read().await?,
        };
        Ok(stored.map(KeeperEvent::Found))
    }
}

//! Keeps the key-value bucket and what a node knows of the moderation in step.

use std::time::Duration;

use async_nats::{Client, jetstream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::act_scan::{ActScan, Replay};
use super::api::{ApiError, StreamInfo};
use super::consumer::first_sequence;
use super::moderation_store::{History, ModerationStore, StoreError, Written};
use crate::chat::Moderation;
use crate::cluster::engine::AwayReason;
use crate::cluster::moderation_sync::{FoundModeration, moderation_at};
use crate::cluster::names::StreamName;
use crate::cluster::stored_moderation::StoredModeration;
use crate::feed::Position;

/// How often a node checks whether what it knows is stored.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait before the bucket is tried again that could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// After this time with a connection, other nodes have stored what they know.
const DOUBT_TIME: Duration = Duration::from_secs(10);
/// After so many scans in vain, records are read singly.
const VAIN_MAX: u32 = 2;

/// What a keeper tells; none of it may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperEvent {
    /// The moderation at the wanted place.
    Read {
        /// The number of the request.
        number: u64,
        /// The place.
        place: Position,
        /// What is in force there.
        found: FoundModeration,
    },
    /// It cannot be found out, for this reason; it will be tried again.
    Failed {
        /// The number of the request.
        number: u64,
        /// Why.
        why: AwayReason,
    },
    /// The bucket has this value, which counts further than what the node knows.
    Found(StoredModeration),
    /// After actions may have been lost: other nodes have had the time to store what they know.
    NobodyKnowsMore,
}

/// Every node has one, so that no action is lost with the node that has published it.
pub struct ModerationKeeper {
    /// The name of the stream, from which that of the bucket comes.
    pub room: StreamName,
    /// The connection; `None` until there is one.
    pub client: watch::Receiver<Option<Client>>,
    /// The moderation of the room before the bucket was read, for a bucket without a value.
    pub local: Moderation,
    /// The number of the newest request, and the place at which somebody wants to know the
    /// moderation, if somebody does.
    pub wanted: watch::Receiver<(u64, Option<Position>)>,
    /// What the node knows, up to its newest moderation action; `None` if there was none.
    pub newest: watch::Receiver<Option<StoredModeration>>,
    /// Gets what the bucket has.
    pub events: mpsc::Sender<KeeperEvent>,
}

/// What a keeper remembers.
#[derive(Default)]
struct Memory {
    /// The last request that was answered.
    answered: u64,
    /// The last value that was told.
    told: Option<StoredModeration>,
    /// Why it fails.
    failing: Option<String>,
    /// How many scans of the stream have failed.
    vain: u32,
    /// When other nodes have stored what this one may lack.
    doubt_until: Option<Instant>,
}

impl ModerationKeeper {
    /// Runs until nobody wants its events any more.
    pub async fn run(mut self) {
        let mut tick = interval(CHECK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut memory = Memory::default();
        loop {
            tokio::select! {
                () = self.events.closed() => return,
                Ok(()) = self.client.changed() => {
                    // The others may have just come back, too.
                    if memory.doubt_until.is_some() {
                        memory.doubt_until = Some(Instant::now() + DOUBT_TIME);
                    }
                }
                Ok(()) = self.wanted.changed() => {}
                Ok(()) = self.newest.changed() => {}
                _ = tick.tick() => {}
            }
            let Some(client) = self.client.borrow_and_update().clone() else { continue };
            let (number, place) = *self.wanted.borrow_and_update();
            let wanted = place.filter(|_| number != memory.answered);
            let result = match wanted {
                Some(place) => self.read(&client, number, place, &mut memory).await,
                None => self.check(&client, &mut memory).await,
            };
            // Without a connection nothing else can be expected.
            if result.is_err() && self.client.borrow().is_none() {
                continue;
            }
            match result {
                Ok(()) if memory.failing.take().is_some() => {
                    info!("moderation is in the key-value bucket again");
                }
                Ok(()) => {}
                Err(error) if wanted.is_some() => {
                    let why = match error {
                        StoreError::Engine(..) | StoreError::Stream(..) => {
                            AwayReason::Unreachable(error.to_string())
                        }
                        _ => AwayReason::Unusable(error.to_string()),
                    };
                    let _ = self.events.send(KeeperEvent::Failed { number, why }).await;
                    tick.reset_after(RETRY);
                }
                Err(error) => {
                    let why = error.to_string();
                    if memory.failing.as_ref() != Some(&why) {
                        warn!(error = why, "moderation is not shared with other nodes: {why}");
                        memory.failing = Some(why);
                    }
                }
            }
        }
    }

    fn store(&self, client: &Client) -> ModerationStore {
        ModerationStore::new(jetstream::new(client.clone()), self.room.clone())
    }

    /// Finds out the moderation at `place`, and tells it.
    async fn read(
        &self,
        client: &Client,
        number: u64,
        place: Position,
        memory: &mut Memory,
    ) -> Result<(), StoreError> {
        let store = self.store(client);
        let is_before = |value: &StoredModeration| {
            value.position.created != place.created || value.position <= place
        };
        let mut history = store.history(is_before).await?;
        if history.values.is_empty() && self.local != Moderation::default() {
            // All nodes go on with the same moderation: that of the first one that has some.
            store.copy(self.local.clone()).await?;
            history = store.history(is_before).await?;
        }
        let History { mut values, is_whole } = history;
        if is_whole {
            // Before the first action nothing was in force.
            values.insert(0, StoredModeration::default());
        }
        // Asked after the bucket, so that no value counts further.
        let info = StreamInfo::get(client, self.room.as_str()).await;
        let info = info.map_err(|error| self.unread(&error))?;
        // A stream that was made anew meanwhile has nothing of this one.
        let is_there = info.created == place.created;
        let newest = if is_there { info.state.last_seq } else { u64::MAX };
        let known = self.newest.borrow().clone();
        let (start, later) = moderation_at(place, newest, values, known);
        let mut start = start.unwrap_or_else(|| StoredModeration {
            moderation: self.local.clone(),
            ..StoredModeration::default()
        });
        let (mut lacks_behind, mut is_news) = (None, false);
        if start.position.created != place.created || start.position < place {
            let from = start.position;
            let read = if from.created == place.created { from.sequence } else { 0 };
            let oldest = if is_there { first_sequence(info.state) } else { place.sequence + 1 };
            if oldest.min(place.sequence + 1) > read + 1 {
                lacks_behind = Some(Position { sequence: read, ..place });
            }
            let sequences = oldest.max(read + 1)..=place.sequence;
            let stream = self.room.as_str();
            let scan = ActScan { client, stream, created: place.created, sequences };
            let Replay { moderation, acts, .. } =
                self.replay(&scan, start.moderation, memory).await?;
            start = StoredModeration { position: place, moderation };
            is_news = acts > 0;
        }
        memory.doubt_until = lacks_behind.map(|_| Instant::now() + DOUBT_TIME);
        memory.answered = number;
        let found = FoundModeration { start, later, lacks_behind, is_news };
        // Nobody may want it any more.
        let _ = self.events.send(KeeperEvent::Read { number, place, found }).await;
        Ok(())
    }

    async fn replay(
        &self,
        scan: &ActScan<'_>,
        moderation: Moderation,
        memory: &mut Memory,
    ) -> Result<Replay, StoreError> {
        // The client may fail before this ends.
        memory.vain += 1;
        let replay = match memory.vain <= VAIN_MAX {
            true => scan.replay(moderation).await,
            false => scan.replay_singly(moderation).await,
        };
        let replay = replay.map_err(|error| self.unread(&error))?;
        memory.vain = 0;
        Ok(replay)
    }

    /// Stores what the node knows, and tells what it does not know.
    async fn check(&mut self, client: &Client, memory: &mut Memory) -> Result<(), StoreError> {
        let store = self.store(client);
        let known = self.newest.borrow_and_update().clone();
        let stored = match &known {
            Some(known) => match store.write(known).await? {
                Written::Kept(stored) if stored.position != known.position => Some(stored),
                _ => None,
            },
            None => store.read().await?,
        };
        if let Some(value) = stored.filter(|value| memory.told.as_ref() != Some(value)) {
            memory.told = Some(value.clone());
            // Nobody may want it any more.
            let _ = self.events.send(KeeperEvent::Found(value)).await;
        }
        if memory.doubt_until.is_some_and(|until| Instant::now() >= until) {
            memory.doubt_until = None;
            let _ = self.events.send(KeeperEvent::NobodyKnowsMore).await;
        }
        Ok(())
    }

    fn unread(&self, error: &ApiError) -> StoreError {
        StoreError::Stream(self.room.to_string(), error.to_string())
    }
}

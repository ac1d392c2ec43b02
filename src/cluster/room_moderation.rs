//! The moderation of the room, in step with the log and with the key-value bucket.

use async_nats::Client;
use tokio::sync::{mpsc, watch};

use super::engine::Connection;
use super::moderation_sync::ModerationSync;
use super::names::StreamName;
use super::nats::{KeeperEvent, ModerationKeeper};
use super::stored_moderation::{StoredModeration, can_be_stored};
use crate::chat::{ModAction, Moderation};
use crate::feed::Position;
use crate::server::ShardPool;

/// Events of the keeper that wait at most.
const EVENTS_MAX: usize = 4;

/// What the driver does with moderation.
pub(super) struct RoomModeration {
    pool: ShardPool,
    sync: ModerationSync,
    /// Whether the bucket was read.
    is_read: bool,
    /// The longest message of the servers, in bytes.
    max_payload: usize,
    newest: watch::Sender<Option<StoredModeration>>,
    events: mpsc::Receiver<KeeperEvent>,
}

impl RoomModeration {
    /// Starts a keeper for the bucket of `room`. The moderation of a room that the previous
    /// process has handed over is that of all records up to `known`.
    pub fn start(
        pool: ShardPool,
        known: Option<Position>,
        room: StreamName,
        client: watch::Receiver<Option<Client>>,
    ) -> Self {
        let local = pool.moderation().clone();
        let stored = known.map(|position| StoredModeration { position, moderation: local.clone() });
        let newest = watch::Sender::new(stored);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let known_there = newest.subscribe();
        let keeper = ModerationKeeper { room, client, local, newest: known_there, events: sender };
        tokio::spawn(keeper.run());
        let sync = ModerationSync::new(known);
        Self { pool, sync, is_read: false, max_payload: usize::MAX, newest, events }
    }

    /// Whether records may be read: the moderation in force is known.
    pub const fn is_ready(&self) -> bool {
        self.is_read || !self.sync.is_provisional()
    }

    /// What the keeper tells; `None` if it has ended, with the connection.
    pub async fn next_event(&mut self) -> Option<KeeperEvent> {
        self.events.recv().await
    }

    /// Takes what the keeper tells, where the log is read up to `position`; without one nothing
    /// of it was read.
    ///
    /// # Errors
    ///
    /// Why the bucket cannot be read; it is tried again.
    pub fn handle(&mut self, event: KeeperEvent, position: Option<Position>) -> Result<(), String> {
        match event {
            KeeperEvent::Read(values) => {
                self.is_read = true;
                self.sync.found(values);
            }
            KeeperEvent::Found(value) => self.sync.found(vec![value]),
            KeeperEvent::Failed(why) => return Err(why),
        }
        if let Some(position) = position {
            self.read_up_to(position);
        }
        Ok(())
    }

    /// The node reads the stream of this connection from here on.
    pub fn connected(&mut self, connection: &Connection) {
        self.max_payload = connection.max_payload;
        let sequence = connection.from_sequence.saturating_sub(1);
        self.read_up_to(Position { created: connection.newest.created, sequence });
    }

    /// All records up to `position` were read.
    pub fn read_up_to(&mut self, position: Position) {
        if let Some(moderation) = self.sync.read_up_to(position) {
            self.pool.adopt_moderation(moderation);
            self.tell();
        }
    }

    /// Whether what lasts of an action at `position` is not in force yet.
    pub fn is_new(&self, position: Position) -> bool {
        self.sync.is_new(position)
    }

    /// Notes that what lasts of an action at `position` is in force.
    pub fn carried_out(&mut self, position: Position) {
        self.sync.carried_out(position);
        self.tell();
    }

    /// Whether the bucket has a place for what lasts of an action.
    pub fn has_place(&self, action: &ModAction) -> bool {
        !matches!(action, ModAction::Mute { .. })
            || can_be_stored(&self.pool.moderation(), self.max_payload)
    }

    /// Tells the keeper what is in force now.
    fn tell(&self) {
        if let Some(position) = self.sync.known() {
            let moderation: Moderation = self.pool.moderation().clone();
            self.newest.send_replace(Some(StoredModeration { position, moderation }));
        }
    }
}

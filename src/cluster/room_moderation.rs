//! The moderation of the room, in step with the log and with the key-value bucket.

use async_nats::Client;
use tokio::sync::{mpsc, watch};

use super::engine::{AwayReason, Connection};
use super::moderation_sync::{FoundModeration, ModerationSync, PlacedAct};
use super::names::StreamName;
use super::nats::{KeeperEvent, ModerationKeeper};
use super::stored_moderation::{StoredModeration, can_be_stored};
use crate::chat::{ModAction, Moderation};
use crate::feed::Position;
use crate::server::ShardPool;

/// Events of the keeper that wait at most.
const EVENTS_MAX: usize = 4;
/// After so many records the bucket is told that nothing has changed. That bounds what a node
/// that starts has to read again.
const RECORDS_PER_VALUE: u64 = 10_000;

/// What the driver does with moderation.
pub(super) struct RoomModeration {
    pool: ShardPool,
    sync: ModerationSync,
    /// The place at which the keeper looks for the moderation, with the number of the request.
    wanted: watch::Sender<(u64, Option<Position>)>,
    /// The longest message of the servers, in bytes.
    max_payload: usize,
    newest: watch::Sender<Option<StoredModeration>>,
    events: mpsc::Receiver<KeeperEvent>,
}

/// What follows from an event of the keeper.
pub(super) enum Progress {
    /// The moderation at the wanted place is in force. Which one was in force up to the place
    /// here, if there is one, nobody knows.
    Known(Option<Position>),
    /// The moderation cannot be found out now.
    Failed(AwayReason),
    Nothing,
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
        let (newest, wanted) = (watch::Sender::new(stored), watch::Sender::new((0, None)));
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (known_there, wanted_there) = (newest.subscribe(), wanted.subscribe());
        let keeper = ModerationKeeper {
            room,
            client,
            local,
            wanted: wanted_there,
            newest: known_there,
            events: sender,
        };
        tokio::spawn(keeper.run());
        let sync = ModerationSync::new(known);
        Self { pool, sync, wanted, max_payload: usize::MAX, newest, events }
    }

    /// What the keeper tells; `None` if it has ended, with the connection.
    pub async fn next_event(&mut self) -> Option<KeeperEvent> {
        self.events.recv().await
    }

    /// Takes what the keeper tells, where the log is read up to `position`; without one nothing
    /// of it was read.
    pub fn handle(&mut self, event: KeeperEvent, position: Option<Position>) -> Progress {
        match event {
            KeeperEvent::Read { number, place, found } => {
                let is_wanted = *self.wanted.borrow() == (number, Some(place));
                return if is_wanted { self.begin(found, place) } else { Progress::Nothing };
            }
            KeeperEvent::Failed { number, why } => {
                let is_wanted = matches!(*self.wanted.borrow(), (n, Some(_)) if n == number);
                return if is_wanted { Progress::Failed(why) } else { Progress::Nothing };
            }
            KeeperEvent::Found(value) => self.sync.found(vec![value]),
            KeeperEvent::NobodyKnowsMore => {
                self.sync.end_doubt();
                self.tell();
            }
        }
        if let Some(position) = position {
            self.adopt_up_to(position);
        }
        Progress::Nothing
    }

    /// The node reads the stream of this connection from here on. Returns whether it has to wait
    /// until the moderation there is known.
    pub fn connected(&mut self, connection: &Connection) -> bool {
        self.max_payload = connection.max_payload;
        let sequence = connection.from_sequence.saturating_sub(1);
        let is_known = self.sync.is_known();
        if !is_known {
            self.look_for(Position { created: connection.newest.created, sequence });
        }
        !is_known
    }

    /// Lets the keeper look for the moderation at a place of the log, behind which the node goes
    /// on.
    pub fn look_for(&self, place: Position) {
        self.wanted.send_modify(|wanted| *wanted = (wanted.0 + 1, Some(place)));
    }

    /// All records up to `position` were read.
    pub fn read_up_to(&mut self, position: Position) {
        self.adopt_up_to(position);
        let is_due = |known: Position| {
            let part = |position: Position| position.sequence / RECORDS_PER_VALUE;
            known.created == position.created && part(known) < part(position)
        };
        if self.sync.certain().is_some_and(is_due) {
            self.sync.advance(position);
            self.tell();
        }
    }

    /// Whether what lasts of an action at `position` is not in force yet.
    pub fn is_new(&self, position: Position) -> bool {
        self.sync.is_new(position)
    }

    /// Notes that what lasts of an action is in force.
    pub fn carried_out(&mut self, act: PlacedAct) {
        self.sync.carried_out(act);
        self.tell();
    }

    /// Whether the bucket has a place for what lasts of an action.
    pub fn has_place(&self, action: &ModAction) -> bool {
        !matches!(action, ModAction::Mute { .. })
            || can_be_stored(&self.pool.moderation(), self.max_payload)
    }

    fn begin(&mut self, found: FoundModeration, place: Position) -> Progress {
        self.wanted.send_modify(|wanted| wanted.1 = None);
        let start = found.start.clone();
        let is_later = start.position.created == place.created && start.position > place;
        let is_news = found.is_news;
        self.sync.begin(found);
        self.adopt(start.moderation);
        if is_news {
            self.tell();
        }
        Progress::Known(is_later.then_some(start.position))
    }

    fn adopt_up_to(&mut self, position: Position) {
        if let Some(moderation) = self.sync.read_up_to(position) {
            self.adopt(moderation);
            self.tell();
        }
    }

    fn adopt(&self, moderation: Moderation) {
        if *self.pool.moderation() != moderation {
            self.pool.adopt_moderation(moderation);
        }
    }

    /// Tells the keeper what is in force now, unless something may be missing.
    fn tell(&self) {
        if let Some(position) = self.sync.certain() {
            let moderation: Moderation = self.pool.moderation().clone();
            self.newest.send_replace(Some(StoredModeration { position, moderation }));
        }
    }
}

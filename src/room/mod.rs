//! The room: who may speak now, the order of messages, and how far the feed may grow.
//!
//! Every shard encodes the messages of its connections into a [`Batch`] without a lock.
//! [`Room::publish`] stamps the batch and appends it to the feed. Then every shard
//! [fetches](Room::fetch) what is new and sends it to its connections.
//!
//! | file | what |
//! | --- | --- |
//! | `sequencer.rs` | the order of messages and the feed |
//! | `batch.rs` | the messages of one turn of a shard |
//! | `remote.rs` | the seam to a log that orders the messages of several machines |
//! | `gate.rs` | how far the feed may grow, who is served first, and what must be retained |
//! | `accounts.rs` | the accounts of speakers |
//! | `participant.rs` | a connection as the room knows it |
//! | `start.rs` | where a new listener starts, and whether messages are missing |
//! | `traffic.rs` | what a client sends, in figures |

#![deny(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod batch;
mod gate;
mod participant;
mod remote;
mod sequencer;
mod start;
#[cfg(test)]
mod tests;
mod traffic;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::Thread;

use bytes::Bytes;

use crate::chat::{Actor, AddressBlock, ChatRequest, ModAction, ModActionError, Moderation, Now};
use crate::chat::{Presence, RateLimit, Refusal, Refused, Retracted, Stamper, Tim};
use crate::feed::{EncodedMessages, Log, Pieces, StreamMark};
use crate::ws::frame;
pub use accounts::{Account, AccountKey, AccountSnapshot, Accounts};
pub use batch::{Batch, MessageSender};
pub use gate::{Gate, OrderState};
pub use participant::Participant;
pub use remote::{ActReply, Outcome, RemoteOrder, Submission, Ticket};
use sequencer::Sequencer;
pub use sequencer::TailStore;
pub use start::{Gap, Start, StartPoint};
pub use traffic::{Traffic, TrafficRates, TrafficTotals};

/// The state that all shards share.
#[derive(Debug)]
pub struct Room {
    sequencer: Sequencer,
    gate: Gate,
    /// The end of the feed and its number of messages when this process started.
    start: (u64, u64),
    moderation: RwLock<Moderation>,
    accounts: Accounts,
    /// What orders the messages, if this room is on several machines.
    remote: Option<Arc<dyn RemoteOrder>>,
}

/// What a room continues with.
#[derive(Debug)]
pub struct RoomState {
    /// The feed.
    pub log: Log,
    /// The source of `tim`, which knows the newest one.
    pub stamper: Stamper,
    /// The decisions of moderators and operators.
    pub moderation: Moderation,
    /// The accounts of the speakers.
    pub accounts: Accounts,
    /// What orders the messages, if the room is on several machines.
    pub remote: Option<Arc<dyn RemoteOrder>>,
}

impl RoomState {
    /// The state of a new room.
    pub fn new(feed_tail_bytes: usize) -> Self {
        Self {
            log: Log::new(feed_tail_bytes),
            stamper: Stamper::default(),
            moderation: Moderation::default(),
            accounts: Accounts::default(),
            remote: None,
        }
    }
}

impl Room {
    /// An empty room for so many shards; the feed keeps the newest `feed_tail_bytes` bytes.
    pub fn new(shards: usize, feed_tail_bytes: usize) -> Self {
        Self::resume(shards, feed_tail_bytes, RoomState::new(feed_tail_bytes))
    }

    /// A room that continues with this state.
    pub fn resume(shards: usize, feed_tail_bytes: usize, state: RoomState) -> Self {
        let RoomState { log, stamper, moderation, accounts, remote } = state;
        let (end, first) = (log.end(), log.pieces().start().unwrap_or(log.end()));
        let gate = Gate::new(shards, first, end, feed_tail_bytes);
        if remote.is_some() {
            // Messages wait until it is known whether they can be ordered.
            gate.set_order_state(OrderState::Full);
        }
        Self {
            gate,
            start: (end, log.messages()),
            sequencer: Sequencer::new(log, stamper),
            moderation: RwLock::new(moderation),
            accounts,
            remote,
        }
    }

    /// What orders the messages, if the room is on several machines.
    pub fn remote(&self) -> Option<&Arc<dyn RemoteOrder>> {
        self.remote.as_ref()
    }

    /// An empty batch of this shard.
    pub fn batch(&self, shard: usize) -> Batch {
        Batch::new(shard, self.remote.is_some())
    }

    /// Stores all messages from now on in `store`, before listeners get them. It has those that
    /// are in the feed.
    pub fn store_tail(&self, store: Box<dyn TailStore>) {
        self.sequencer.store_tail(store);
    }

    /// Checks what depends on the state of the room: whether messages can be ordered, whether
    /// the room is locked, and whether the speaker is muted or too fast. Counts the request if
    /// it may be carried out.
    ///
    /// # Errors
    ///
    /// The first of [`Refusal::Unavailable`], [`Refusal::Locked`], [`Refusal::Muted`] and
    /// [`Refusal::RateLimited`] that applies.
    pub fn check_now(
        &self,
        request: &ChatRequest<'_>,
        participant: &mut Participant,
        address: AddressBlock,
        limit: &RateLimit,
        now: Now,
    ) -> Result<(), Refused> {
        if self.gate.is_away() {
            return Err(Refused::unavailable());
        }
        let moderation = self.moderation();
        let limit = moderation.rate_limit(limit);
        let find = |key: &AccountKey| self.accounts.account(key, now.ms, &limit);
        let counted = match request {
            ChatRequest::Say(message) => {
                let speaker = participant.speaker().id(message.usr(), address);
                moderation.check(&speaker, now.tim)?;
                let slow_ms = if speaker.is_moderator { 0 } else { limit.slow_ms };
                let own_limit = RateLimit { slow_ms, ..limit };
                let account = participant.account(address, find);
                account.usage().count_message(&own_limit, message.msg(), now.ms)
            }
            // Moderators can act even if the room is locked or they are muted.
            ChatRequest::Moderate(_) => {
                participant.account(address, find).usage().count_command(&limit, now.ms)
            }
        };
        counted.map_err(|wait_ms| Refused {
            refusal: Refusal::RateLimited,
            wait_secs: Some(wait_ms.div_ceil(1000)),
        })?;
        if let ChatRequest::Say(message) = request {
            participant.speaker_mut().name_sent(message.usr());
        }
        Ok(())
    }

    /// Carries out what lasts of a moderation action: mutes, the lock, slow mode. Returns whether
    /// that changes anything; see [`Moderation::apply`].
    ///
    /// # Errors
    ///
    /// Why the action is not valid; then nothing has changed.
    pub fn decide(&self, act: &ModAction, by: &Actor, now: Tim) -> Result<bool, ModActionError> {
        // Nodes of a cluster must agree, and keep different numbers of messages.
        let is_alone = self.remote.is_none();
        if let ModAction::Retract(Retracted::Tim(tim)) = act
            && self.inspect(|log, last| *tim > last || is_alone && log.never_had(*tim))
        {
            return Err(ModActionError::NoMessage);
        }
        let mut moderation = self.moderation.write().unwrap_or_else(PoisonError::into_inner);
        moderation.apply(act, by, now)
    }

    /// Replaces the decisions of moderators and operators.
    pub fn set_moderation(&self, moderation: Moderation) {
        *self.moderation.write().unwrap_or_else(PoisonError::into_inner) = moderation;
    }

    /// The decisions of moderators and operators.
    pub fn moderation(&self) -> RwLockReadGuard<'_, Moderation> {
        // An action is applied as a whole, so a panic cannot leave half of one.
        self.moderation.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account of a connection, as far as it is known before its next message is
    /// read.
    pub fn account<'a>(
        &self,
        participant: &'a mut Participant,
        address: AddressBlock,
        limit: &RateLimit,
        now_ms: u64,
    ) -> &'a Account {
        participant.account(address, |key| {
            self.accounts.account(key, now_ms, &self.moderation().rate_limit(limit))
        })
    }

    /// Says whether messages can be given their order from now on. The caller wakes all
    /// shards.
    pub fn set_order_state(&self, state: OrderState) {
        self.gate.set_order_state(state);
    }

    /// Releases bytes that are reserved for messages whose outcome is known.
    pub fn release(&self, reserved: u64) {
        self.gate.release(reserved);
    }

    /// The number of accounts.
    pub fn speakers(&self) -> usize {
        self.accounts.count()
    }

    /// The accounts for a handover.
    pub fn account_snapshots(&self, limit: &RateLimit, now_ms: u64) -> Vec<AccountSnapshot> {
        self.accounts.snapshots(now_ms, &self.moderation().rate_limit(limit))
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Reserves space in the feed for a message with a text of this length, if the feed may
    /// grow up to about `limit`. Returns whether there is space; if not, the message has to
    /// wait.
    pub fn reserve(&self, batch: &mut Batch, text_bytes: usize, limit: u64) -> bool {
        let reserved = self.gate.reserve(text_bytes, limit);
        batch.reserve(reserved.unwrap_or(0));
        reserved.is_some()
    }

    /// Gives the messages of the batch their order and their `tim`, appends them to the
    /// feed and empties the batch. In a room on several machines, the messages are on their
    /// way then, and the outcome of each is told later.
    pub fn publish(&self, batch: &mut Batch, now: Tim) {
        let reserved = batch.take_reserved();
        if batch.is_empty() {
            return self.gate.release(reserved);
        }
        match &self.remote {
            Some(remote) => remote.submit(batch.take_submissions(reserved)),
            None => {
                self.sequencer.publish(batch.messages_mut(), now, |end| {
                    self.gate.advance(end);
                    self.gate.release(reserved);
                });
                batch.settle();
            }
        }
    }

    /// Appends messages that have their `tim` to the feed, and notes how far the stream that
    /// orders them was read with them. Without messages only that is noted.
    pub fn append_ordered(&self, messages: &EncodedMessages, stream_mark: StreamMark) {
        self.sequencer.append_ordered(messages, stream_mark, |end| self.gate.advance(end));
    }

    /// Tells all listeners the state of the room, at this place between the messages. The gate
    /// does not count it: it is short, and seldom told.
    pub fn tell_presence(&self, presence: &Presence<'_>) {
        let mut frame = Vec::new();
        frame::put_text_with(|out| presence.write(out), &mut frame);
        self.sequencer.append_presence(&frame, |end| self.gate.advance(end));
    }

    /// The text with which the listeners were told the state of the room last, and a position of
    /// the feed behind it.
    pub fn newest_presence(&self) -> Option<(u64, Bytes)> {
        self.inspect(|log, _| log.newest_presence())
    }

    /// Whether the feed cannot forget what is told before a message follows.
    pub fn is_stuck(&self) -> bool {
        self.inspect(|log, _| log.is_stuck())
    }

    /// In a room without any message yet: since when those of the stream that follow are
    /// complete. Returns whether it is such a room; if not, nothing changes.
    pub fn start_at(&self, complete_since: Tim) -> bool {
        self.sequencer.start_at(complete_since)
    }

    /// Notes that messages up to this time are missing in the feed, for those who resume.
    pub fn lack_until(&self, tim: Tim) {
        self.sequencer.lack_until(tim);
    }

    /// How far the stream that orders the messages was read.
    pub fn stream_mark(&self) -> Option<StreamMark> {
        self.inspect(|log, _| log.stream_mark())
    }

    /// The end of the feed and its number of messages when this process started. After a
    /// handover, the previous process has handled what is before it.
    pub fn start(&self) -> (u64, u64) {
        self.start
    }

    /// The end of the feed: a listener that joins now gets every byte behind it.
    pub fn end(&self) -> u64 {
        self.gate.end()
    }

    /// Adds what `shard` does not have yet to its view. Returns the position at which the
    /// tail starts: the shard has to close the listeners whose cursor is before it, and
    /// then call [`Gate::retain_from`].
    pub fn fetch(&self, shard: usize, view: &mut Pieces) -> u64 {
        self.sequencer.fetch(view, self.gate.swept(shard), self.gate.retained_from())
    }

    /// The pieces from `cursor` on, up to about `bytes_max` bytes; none if the tail has
    /// passed the cursor.
    pub fn read_from(&self, cursor: u64, bytes_max: usize) -> Pieces {
        let pieces = self.sequencer.read_from_or_later(cursor, bytes_max);
        let is_passed = pieces.start().is_some_and(|start| start > cursor);
        if is_passed { Pieces::default() } else { pieces }
    }

    /// As [`read_from`](Self::read_from), but starts with the oldest piece if the tail has
    /// passed the cursor: for a reader that accepts a gap and that the gate does not wait
    /// for.
    pub fn read_from_or_later(&self, cursor: u64, bytes_max: usize) -> Pieces {
        self.sequencer.read_from_or_later(cursor, bytes_max)
    }

    /// Whether the feed goes on behind `cursor`. If it does not, the next append unparks
    /// `reader` once.
    pub fn has_news_or_wake(&self, cursor: u64, reader: &Thread) -> bool {
        self.sequencer.has_news_or_wake(cursor, reader)
    }

    /// Forgets the events of all messages, because no listener needs them.
    pub fn forget_events(&self) {
        self.sequencer.forget_events();
    }

    /// Shows the feed and the newest `tim`, while nothing can be appended.
    pub fn inspect<T>(&self, look: impl FnOnce(&Log, Tim) -> T) -> T {
        self.sequencer.inspect(look)
    }

    /// The newest `tim`.
    pub fn last_tim(&self) -> Tim {
        self.inspect(|_, last| last)
    }

    /// Whether there was no message with this `tim`, which is not later than the newest one.
    pub fn never_had(&self, tim: Tim) -> bool {
        self.inspect(|log, last| tim <= last && log.never_had(tim))
    }

    /// How many of these messages are in memory.
    pub fn count_held(&self, tims: &[Tim]) -> u64 {
        self.inspect(|log, _| tims.iter().filter(|tim| log.has(**tim)).count() as u64)
    }

    /// The position of the first message with a greater `tim`, or the end of the feed. `None`
    /// if the tail has passed that message.
    pub fn position_after(&self, tim: Tim) -> Option<u64> {
        self.inspect(|log, _| (log.complete_since() <= tim).then(|| log.position_after(tim)))
    }

    /// The bytes of the feed that are in memory.
    pub fn feed_bytes(&self) -> u64 {
        self.inspect(|log, _| log.held_bytes())
    }

    /// The number of messages behind `cursor` that are in memory.
    pub fn messages_behind(&self, cursor: u64) -> u64 {
        self.inspect(|log, _| log.messages() - log.pieces().messages_before(cursor))
    }
}

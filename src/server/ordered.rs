//! What a log that orders the messages of several machines does with the room and its shards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::chat::{ActDone, Actor, ModAction, ModActionError, Moderation, Target, Tim};
use crate::feed::{EncodedMessages, StreamMark};
use crate::room::{ActReply, OrderState, Outcome, Ticket};
use crate::server::pool::ShardPool;
use crate::server::recently_kicked::KickedSpeaker;
use crate::server::shard::command::ShardCommand;

impl ShardPool {
    /// Returns as soon as the gate lets the feed grow.
    pub async fn may_append(&self) {
        let shared = self.shared();
        while !shared.room.gate().may_append_or_wait() {
            shared.gate_opened.notified().await;
        }
    }

    /// Appends messages that have their `tim`, and wakes the shards; without messages, only
    /// notes how far the stream was read.
    pub fn append_ordered(&self, messages: &EncodedMessages, mark: StreamMark) {
        let shared = self.shared();
        shared.room.append_ordered(messages, mark);
        if !messages.is_empty() {
            shared.wake_all_but(None);
        }
    }

    /// Says whether messages can be ordered from now on.
    pub fn set_order_state(&self, state: OrderState) {
        self.shared().room.set_order_state(state);
        self.shared().wake_all_but(None);
    }

    /// Tells the senders of messages what became of these. The shards are woken once for all:
    /// each turn of a shard costs much more than an outcome.
    pub fn settle(&self, outcomes: impl IntoIterator<Item = (Ticket, Outcome)>) {
        let shared = self.shared();
        for (ticket, outcome) in outcomes {
            shared.room.release(ticket.reserved);
            shared.mailboxes[ticket.shard].push(ShardCommand::Settle(ticket.id, outcome));
        }
        shared.wake_all_but(None);
    }

    /// Closes connections of this machine; `reply` is told how many.
    pub fn kick(&self, target: Target, actor: Actor, reply: ActReply) {
        self.shared().kick(target, actor, reply);
    }

    /// Tells, when it is called, some of those whom a kick of `target` has met from now on.
    pub fn kicked_from_now(&self, target: Target) -> impl FnOnce() -> Vec<KickedSpeaker> + use<> {
        let shared = Arc::clone(self.shared());
        let since_ms = shared.now_ms();
        move || shared.recently_kicked.since(&target, since_ms)
    }

    /// Remembers somebody whom another machine has kicked.
    pub fn remember_kicked(&self, speaker: KickedSpeaker) {
        let shared = self.shared();
        let next_id = shared.next_id.load(Ordering::SeqCst);
        shared.recently_kicked.note(speaker, next_id, shared.now_ms());
    }

    /// Carries out a moderation action, which is not a kick, at its place among the messages, but
    /// for the message that announces it.
    ///
    /// # Errors
    ///
    /// Why it is not carried out; then nothing has changed.
    pub fn carry_out(
        &self,
        action: &ModAction,
        actor: &Actor,
        tim: Tim,
    ) -> Result<ActDone, ModActionError> {
        self.shared().carry_out(action, actor, tim)
    }

    /// Puts other decisions of moderation in force, which other machines know.
    pub fn adopt_moderation(&self, moderation: Moderation) {
        self.shared().room.set_moderation(moderation);
        self.shared().moderation_changed.send_replace(());
    }

    /// As [`carry_out`](Self::carry_out), for an action that others have carried out before
    /// this room was opened: what lasts of it counts.
    ///
    /// # Errors
    ///
    /// Why it was not carried out.
    pub fn replay(
        &self,
        action: &ModAction,
        actor: &Actor,
        tim: Tim,
    ) -> Result<(), ModActionError> {
        self.shared().room.decide(action, actor, tim)?;
        self.shared().moderation_changed.send_replace(());
        Ok(())
    }
}

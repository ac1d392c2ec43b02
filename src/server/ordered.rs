//! What a log that orders the messages of several machines does with the room and its shards.

use crate::chat::{Actor, ModAction, ModActionError, stamp};
use crate::feed::{EncodedMessages, StreamMark};
use crate::room::{ClosedCounts, OrderState, Outcome, Ticket};
use crate::server::moderate::announced;
use crate::server::pool::ShardPool;
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

    /// Tells the sender of a message what became of it.
    pub fn settle(&self, ticket: Ticket, outcome: Outcome) {
        let shared = self.shared();
        shared.room.release(ticket.reserved);
        shared.mailboxes[ticket.shard].send(ShardCommand::Settle(ticket.id, outcome));
    }

    /// Carries out a moderation action at its place among the messages, and sends its message
    /// to every client if it has one.
    ///
    /// # Errors
    ///
    /// Why it is not carried out; then nothing has changed.
    pub fn carry_out(
        &self,
        action: &ModAction,
        actor: &Actor,
        mark: StreamMark,
    ) -> Result<ClosedCounts, ModActionError> {
        let done = self.shared().carry_out(action, actor, mark.tim);
        let mut messages = EncodedMessages::default();
        if let Some(text) = announced(action).filter(|_| done.is_ok()) {
            messages.push(|out| out.extend_from_slice(&text));
            messages.stamp(|text| stamp(text, mark.tim));
        }
        self.append_ordered(&messages, mark);
        done
    }
}

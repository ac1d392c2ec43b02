//! What a node reads, on its way into the feed of the room: many records at a time, gaps at
//! their place, and of the backlog what nobody here has.

use bytes::Bytes;

use crate::chat::{ActDone, Actor, ModAction, ModActionError, Target, Tim};
use crate::chat::{announced, gap_notice, stamp};
use crate::feed::{EncodedMessages, StreamMark};
use crate::room::{ActReply, Outcome, Ticket};
use crate::server::ShardPool;

/// So many bytes go into the feed at once: shards send them while the next records are read, and
/// no large buffer is needed.
const FLUSH_BYTES: usize = 32 * 1024;

/// The end of the feed.
pub(super) struct RoomFeed {
    pool: ShardPool,
    /// What is not in the feed yet.
    messages: EncodedMessages,
    /// How far the stream was read with that.
    mark: Option<StreamMark>,
    /// Who listens here has all messages up to this time that it has to get, so the backlog
    /// starts behind it.
    has_until: Option<Tim>,
    /// The `tim` of the last message before the room has joined the cluster, until a later one
    /// follows. The clock of the stream can be behind: what others say until they know this
    /// `tim` was said before the room has joined.
    joined_after: Option<Tim>,
    /// The `tim` of the last message that others have said before that and nobody here has.
    lacks_until: Option<Tim>,
    /// Who listens here is not told yet that messages are missing.
    owes_gap: bool,
    /// What senders are told after the next messages are in the feed.
    outcomes: Vec<(Ticket, Outcome)>,
}

impl RoomFeed {
    pub fn new(pool: ShardPool) -> Self {
        let (messages, mark) = (EncodedMessages::default(), None);
        let (has_until, joined_after, lacks_until, owes_gap) = (None, None, None, false);
        let outcomes = Vec::new();
        Self { pool, messages, mark, has_until, joined_after, lacks_until, owes_gap, outcomes }
    }

    /// The backlog follows, which is complete from this time on. A room in which nothing has
    /// happened takes all of it. Otherwise the room goes on behind what it has; if the backlog
    /// starts later, messages are missing, unless it is the whole stream.
    pub fn complete_since(&mut self, tim: Tim, is_whole: bool) {
        let room = self.pool.room();
        if self.pool.listeners() == 0 && room.start_at(tim) {
            return;
        }
        let (last, complete_since) = room.inspect(|log, last| (last, log.complete_since()));
        let has_until = last.max(complete_since);
        (self.has_until, self.joined_after) = (Some(has_until), Some(last));
        if !is_whole {
            // What was said before that can have been said to others only.
            room.lack_until(tim.min(has_until));
        }
        if tim > has_until && !is_whole {
            self.gap(Some(has_until), None);
        }
    }

    /// Messages with their `tim`.
    pub fn append(&mut self, messages: &[Bytes], mark: StreamMark, is_backlog: bool) {
        for text in messages {
            let has_until = if is_backlog { self.has_until } else { self.joined_after };
            let tim = Tim::stamped(text).unwrap_or_default();
            if has_until.is_some_and(|until| tim <= until) {
                self.leave_out(text, tim);
                continue;
            }
            if std::mem::take(&mut self.owes_gap) {
                let last = self.pool.room().last_tim();
                self.gap(Some(last), Some(tim).filter(|tim| tim.nanos() > last.nanos() + 1));
            }
            self.messages.push(|out| out.extend_from_slice(text));
            self.joined_after = None;
        }
        self.mark = Some(mark);
        if self.messages.bytes().len() >= FLUSH_BYTES {
            self.flush();
        }
    }

    /// Others have said this before the room has joined. It is missing here, unless the room was
    /// in the cluster then.
    fn leave_out(&mut self, text: &[u8], tim: Tim) {
        if !self.pool.room().inspect(|log, _| log.contains(text)) {
            (self.lacks_until, self.owes_gap) = (self.lacks_until.max(Some(tim)), true);
        }
    }

    /// Carries out a moderation action at its place. Of an action in the backlog only what
    /// lasts matters, and its message. `is_new`: what lasts of it is not in force yet.
    pub fn act(
        &mut self,
        action: &ModAction,
        actor: &Actor,
        mark: StreamMark,
        is_backlog: bool,
        is_new: bool,
    ) -> Result<ActDone, ModActionError> {
        // What is said before must not be judged by what follows.
        self.flush();
        let in_force = || ActDone::changed(true);
        let done = if action.is_lasting() && !is_new {
            Ok(in_force())
        } else if is_backlog {
            self.pool.replay(action, actor, mark.tim).map(|()| in_force())
        } else {
            self.pool.carry_out(action, actor, mark.tim)
        };
        let text = announced(action).filter(|_| done.is_ok()).map(|mut text| {
            stamp(&mut text, mark.tim);
            Bytes::from(text)
        });
        self.append(text.as_slice(), mark, is_backlog);
        done
    }

    /// Closes the connections of this node that a kick meets; `reply` is told how many.
    pub fn kick(&mut self, target: Target, actor: Actor, mark: StreamMark, reply: ActReply) {
        self.flush();
        self.pool.kick(target, actor, reply);
        self.append(&[], mark, false);
    }

    /// Messages are missing here: a notice at this place tells all who read over it.
    pub fn gap(&mut self, after: Option<Tim>, before: Option<Tim>) {
        self.flush();
        let room = self.pool.room();
        // A process that has ended right behind the notice has told of this gap.
        if !self.messages.is_empty() || room.inspect(|log, _| log.ends_with_gap()) {
            return;
        }
        let tim = after.unwrap_or_default().max(room.last_tim()).nanos() + 1;
        let after = after.map(Into::into);
        self.messages.push(|out| gap_notice(after, before, Tim::from_nanos(tim), out));
        // Before the first record there is no mark; then the notice goes with that record.
        self.mark = room.stream_mark();
    }

    /// Tells the sender of a message what became of it, at the next [`flush`](Self::flush).
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        self.outcomes.push((ticket, outcome));
    }

    /// Appends what was read since the last call, and tells the senders.
    pub fn flush(&mut self) {
        if let Some(tim) = self.lacks_until.take() {
            self.pool.room().lack_until(tim);
        }
        if let Some(mark) = self.mark.take() {
            self.pool.append_ordered(&self.messages, mark);
            self.messages.clear();
        }
        if !self.outcomes.is_empty() {
            self.pool.settle(self.outcomes.drain(..));
        }
    }
}

#[cfg(test)]
mod tests;

//! How messages that were sent by POST come into a table, and leave it.

use crate::chat::{Refused, Tim};
use crate::room::Outcome;
use crate::server::shard::connection::Stream;
use crate::server::shard::post::{Post, PostAnswer, answer};
use crate::server::shard::table::{Table, Turn};

impl<S: Stream> Table<S> {
    /// Handles a message as soon as the gate and the verification of tokens allow it. Those of
    /// one address are handled one after the other: only the first of them is held, so that
    /// the order of what is held need not be changed for each.
    pub(crate) fn add_post(&mut self, post: Post, turn: &Turn<'_>) {
        if self.ignores_messages {
            return post.refuse(turn.now.tim);
        }
        let next = self.posts.add(post);
        self.hold_post(next, turn);
    }

    /// Removes a message that was handled or withdrawn; the next one of its address follows.
    pub fn remove_post(&mut self, id: u64, turn: &Turn<'_>) {
        self.held.remove(id);
        let next = self.posts.remove(id);
        self.hold_post(next, turn);
    }

    /// Answers every message that is not handled that it cannot be handled now.
    pub fn refuse_posts(&mut self, now: Tim) {
        self.posts.refuse_all(now).into_iter().for_each(|id| self.held.remove(id));
    }

    /// Counts what became of a message that is in the feed, or will not be, and tells its
    /// sender. The sender of a message in the feed has it from there, unless it came by POST.
    pub fn settle(&mut self, id: u64, outcome: Outcome, turn: &mut Turn<'_>) {
        let now = turn.now;
        if let Some((peer, sender)) = self.posts.take_handled(id) {
            let mut tally = self.tally();
            let with = match outcome {
                Outcome::Sent(text) => {
                    tally.sent(peer.block(), now.ms);
                    PostAnswer { refused: None, text: text.into() }
                }
                Outcome::Refused(refused) => {
                    tally.refused_post(refused, peer, turn.client_log, now)
                }
            };
            return answer(sender, with);
        }
        let Some(&row) = self.rows.get(&id) else {
            self.counters.messages += u64::from(matches!(outcome, Outcome::Sent(_)));
            return;
        };
        let (_, mut sender) = self.sender(row);
        match outcome {
            Outcome::Sent(_) => sender.count_sent(now),
            Outcome::Refused(refused) => {
                sender.refuse(refused, turn);
                self.write_own_frames(id, turn);
            }
        }
    }

    /// Sends the result of a moderation action to the connection that has requested it, or
    /// as the answer to the POST.
    pub fn send_result(
        &mut self,
        id: u64,
        refused: Option<Refused>,
        text: Vec<u8>,
        turn: &mut Turn<'_>,
    ) {
        match self.posts.take_handled(id) {
            Some((_, sender)) => answer(sender, PostAnswer { refused, text }),
            None => self.send_notice(id, &text, turn),
        }
    }

    fn hold_post(&mut self, next: Option<u64>, turn: &Turn<'_>) {
        let Some((id, post)) = next.and_then(|id| Some((id, self.posts.get_mut(id)?))) else {
            return;
        };
        let text = post.text.take().unwrap_or_default();
        let due = turn.room.gate().turn_of(post.account(turn), text.len());
        self.held.push(id, &text, (false, due));
    }
}

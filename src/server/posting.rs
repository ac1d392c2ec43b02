//! Messages that were sent by POST, on their way to a shard.

use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::chat::{Refusal, Refused};
use crate::config::Limits;
use crate::server::admission::rejection::Rejection;
use crate::server::client_log::ClientEvent;
use crate::server::pool::ShardPool;
use crate::server::shard::command::ShardCommand;
use crate::server::shard::post::{Post, PostAnswer, PostClaim};
use crate::server::socket::Peer;

/// A message that a shard handles, or will. It is withdrawn if this is dropped before.
pub(crate) struct PendingAnswer {
    shards: ShardPool,
    shard: usize,
    id: u64,
    claim: PostClaim,
    answer: oneshot::Receiver<PostAnswer>,
}

impl ShardPool {
    /// Gives a message of `peer` to a shard. `bearer` is the token that came with it.
    pub(crate) fn post(&self, peer: Peer, text: String, bearer: Option<String>) -> PendingAnswer {
        let shared = self.shared();
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let shard = id as usize % shared.mailboxes.len();
        let claim = PostClaim::default();
        let (sender, answer) = oneshot::channel();
        let post = Post { id, peer, text, bearer, claim: claim.clone(), answer: sender };
        shared.mailboxes[shard].send(ShardCommand::Post(post));
        PendingAnswer { shards: self.clone(), shard, id, claim, answer }
    }

    /// Counts a POST of `peer` as a connection that its address opens.
    ///
    /// # Errors
    ///
    /// That the address is too fast; counts that as a rejection.
    pub(crate) fn check_post_rate(&self, peer: Peer, limits: &Limits) -> Result<(), Rejection> {
        let shared = self.shared();
        let checked = shared.connections.check_rate(peer, limits, shared.elapsed_us());
        checked.inspect_err(|rejection| shared.count_rejection(*rejection))
    }

    /// The answer to a message of `peer` that does not reach a shard. Counts and logs it.
    pub(crate) fn refuse_post(&self, refused: Refused, peer: Peer) -> PostAnswer {
        self.shared().count_refusal(refused.refusal);
        self.shared().note_client(ClientEvent::Refused(refused.refusal), peer);
        PostAnswer::refused(refused, self.now())
    }

    /// As [`refuse_post`](Self::refuse_post), for a message that cannot be handled now.
    pub(crate) fn post_unavailable(&self) -> PostAnswer {
        self.shared().count_refusal(Refusal::Unavailable);
        PostAnswer::unavailable(self.now())
    }
}

impl PendingAnswer {
    /// The answer of the shard, as soon as there is one.
    pub async fn wait(&mut self) -> PostAnswer {
        let answer = (&mut self.answer).await;
        // A shard answers each message, unless it ends; then so does the process.
        let answer = answer.unwrap_or_else(|_| PostAnswer::unavailable(self.shards.now()));
        if let Some(Refused { refusal: Refusal::Unavailable, .. }) = answer.refused {
            self.shards.shared().count_refusal(Refusal::Unavailable);
        }
        answer
    }

    /// Withdraws the message, unless the shard handles it already.
    pub async fn withdraw(mut self) -> PostAnswer {
        if self.remove() { self.shards.post_unavailable() } else { self.wait().await }
    }

    /// Removes the message from the shard. Returns whether it was not handled yet.
    fn remove(&self) -> bool {
        let may_withdraw = self.claim.take();
        if may_withdraw {
            let mailbox = &self.shards.shared().mailboxes[self.shard];
            mailbox.send(ShardCommand::RemovePost(self.id));
        }
        may_withdraw
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.remove();
    }
}

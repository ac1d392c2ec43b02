//! A message that was sent by POST: a message of a client without a connection in the table.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use crate::chat::{AddressBlock, Refused, Tim, notice};
use crate::room::Participant;
use crate::server::socket::Peer;

/// A message for a shard.
pub(crate) struct Post {
    /// Its id, of the same kind as those of connections.
    pub id: u64,
    /// The address of the client.
    pub peer: Peer,
    pub text: String,
    /// The token that came with it.
    pub bearer: Option<String>,
    pub claim: PostClaim,
    /// Gets the answer; the receiver is gone if the client has given up.
    pub answer: oneshot::Sender<PostAnswer>,
}

/// The answer to a message.
pub(crate) struct PostAnswer {
    /// Why it was not sent, or the command not carried out.
    pub refused: Option<Refused>,
    /// The message as everybody gets it, or the notice to its sender.
    pub text: Vec<u8>,
}

/// The right to decide about a message: the shard takes it to handle the message, the HTTP
/// server to withdraw it. Only one of them gets it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PostClaim(Arc<AtomicBool>);

/// The messages of a shard that are not answered.
#[derive(Default)]
pub(super) struct Posts {
    pending: HashMap<u64, PendingPost>,
    /// The messages of each address.
    lines: BTreeSet<(AddressBlock, u64)>,
    /// Those that were handled, and whose outcome is not known yet.
    handled: HashMap<u64, (Peer, oneshot::Sender<PostAnswer>)>,
}

/// A message that is not answered.
pub(super) struct PendingPost {
    pub peer: Peer,
    /// `None` from when it is held, as the first message of its address.
    pub text: Option<String>,
    pub participant: Participant,
    pub bearer: Option<String>,
    pub claim: PostClaim,
    /// `None` if it is answered, or is in the batch.
    pub answer: Option<oneshot::Sender<PostAnswer>>,
}

impl PostAnswer {
    /// The message is not sent.
    pub fn refused(refused: Refused, now: Tim) -> Self {
        let mut text = Vec::new();
        notice(refused, now, &mut text);
        Self { refused: Some(refused), text }
    }

    /// The message cannot be handled now.
    pub fn unavailable(now: Tim) -> Self {
        Self::refused(Refused::unavailable(), now)
    }
}

impl Post {
    /// Answers that the message cannot be handled now.
    pub fn refuse(self, now: Tim) {
        if self.claim.take() {
            answer(self.answer, PostAnswer::unavailable(now));
        }
    }
}

impl PendingPost {
    /// Answers the message.
    pub fn answer(&mut self, with: PostAnswer) {
        if let Some(sender) = self.answer.take() {
            answer(sender, with);
        }
    }
}

impl PostClaim {
    /// Takes the right. Returns whether nobody had it.
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

impl Posts {
    /// Adds a message. Returns its id if it is the first one of its address, and has to be
    /// held.
    pub fn add(&mut self, post: Post) -> Option<u64> {
        let Post { id, peer, text, bearer, claim, answer } = post;
        let is_first = self.first_of(peer.block()).is_none();
        self.lines.insert((peer.block(), id));
        let (text, answer, participant) = (Some(text), Some(answer), Participant::default());
        let pending = PendingPost { peer, text, participant, bearer, claim, answer };
        self.pending.insert(id, pending);
        is_first.then_some(id)
    }

    pub fn get_mut(&mut self, id: u64) -> Option<&mut PendingPost> {
        self.pending.get_mut(&id)
    }

    /// Whether a message is answered, or will be when the batch is published.
    pub fn is_handled(&self, id: u64) -> bool {
        self.pending.get(&id).is_some_and(|post| post.answer.is_none())
    }

    /// Removes a message. If it was held, returns the next one of its address, which has to
    /// be held now.
    pub fn remove(&mut self, id: u64) -> Option<u64> {
        let post = self.pending.remove(&id)?;
        let address = post.peer.block();
        self.lines.remove(&(address, id));
        if post.text.is_none() { self.first_of(address) } else { None }
    }

    fn first_of(&self, address: AddressBlock) -> Option<u64> {
        self.lines.range((address, 0)..=(address, u64::MAX)).next().map(|(_, id)| *id)
    }

    /// Removes all messages, and answers those that are not withdrawn that they cannot be
    /// handled now. Returns their ids.
    pub fn refuse_all(&mut self, now: Tim) -> Vec<u64> {
        let refuse = |(id, post): (u64, PendingPost)| {
            if let Some(sender) = post.answer.filter(|_| post.claim.take()) {
                answer(sender, PostAnswer::unavailable(now));
            }
            id
        };
        self.lines.clear();
        self.pending.drain().map(refuse).collect()
    }

    /// The message was handled: it is answered when its outcome is known.
    pub fn await_outcome(&mut self, id: u64) {
        let post = self.pending.get_mut(&id);
        let handled = post.and_then(|post| Some((post.peer, post.answer.take()?)));
        self.handled.extend(handled.map(|handled| (id, handled)));
    }

    /// Whose message was handled, if it came by POST, and where its answer goes.
    pub fn take_handled(&mut self, id: u64) -> Option<(Peer, oneshot::Sender<PostAnswer>)> {
        self.handled.remove(&id)
    }
}

pub(super) fn answer(sender: oneshot::Sender<PostAnswer>, with: PostAnswer) {
    // The client may have disconnected.
    let _ = sender.send(with);
}

//! Retracts all messages of a name: finds them in memory, then does a moderation action for them.

use std::sync::{Arc, Mutex};

use tracing::info;

use crate::chat::{ActDone, Actor, ModAction, ModActionError, Retracted, TIMS_MAX, messages_of};
use crate::mutex::lock;
use crate::room::ActReply;
use crate::server::shared::Shared;
use crate::worker::on_thread;

impl Shared {
    /// Retracts the messages of `name` that this machine has in memory. They are read on a thread
    /// of its own: there can be many.
    pub fn retract_all(self: &Arc<Self>, name: String, actor: Actor, reply: ActReply) {
        let tally = Arc::new(Tally::new(reply));
        let (shared, kept) = (Arc::clone(self), Arc::clone(&tally));
        let search = move || shared.find_and_retract(name, &actor, &kept);
        if on_thread("retract", search).is_err() {
            tally.add(Err(ModActionError::Unavailable));
        }
    }

    fn find_and_retract(self: &Arc<Self>, name: String, actor: &Actor, tally: &Arc<Tally>) {
        let tims = {
            // One search at a time: each needs a processor.
            let _searching = lock(&self.searching);
            let feed = self.room.read_from_or_later(0, usize::MAX);
            messages_of(&name, feed.texts())
        };
        if tims.is_empty() {
            let (by, whom) = (actor.to_string(), format!("{name:?}"));
            info!(
                asked = "retract",
                by, whom, "{actor} asked for retract, but there is no message of {whom}"
            );
            return tally.add(Ok(ActDone::met(0)));
        }
        let parts = tims.chunks(TIMS_MAX);
        tally.expect(parts.len());
        for tims in parts {
            let found = Retracted::Found { name: name.clone(), tims: tims.to_vec() };
            let part = Arc::clone(tally);
            let reply = Box::new(move |result| part.add(result));
            self.moderate(ModAction::Retract(found), actor.clone(), self.now(), reply);
        }
    }
}

/// The results of the parts of one action.
struct Tally(Mutex<Parts>);

struct Parts {
    /// How many have no result yet.
    left: usize,
    total: Result<ActDone, ModActionError>,
    reply: Option<ActReply>,
}

impl Tally {
    fn new(reply: ActReply) -> Self {
        Self(Mutex::new(Parts { left: 1, total: Ok(ActDone::met(0)), reply: Some(reply) }))
    }

    /// There are so many parts.
    fn expect(&self, parts: usize) {
        lock(&self.0).left = parts;
    }

    /// Adds the result of a part. The last one makes the reply; one that fails makes all fail.
    fn add(&self, result: Result<ActDone, ModActionError>) {
        let mut parts = lock(&self.0);
        let total = std::mem::replace(&mut parts.total, Ok(ActDone::met(0)));
        parts.total = total.and_then(|sum| {
            let met = sum.met.unwrap_or(0) + result?.met.unwrap_or(0);
            Ok(ActDone::met(met))
        });
        parts.left = parts.left.saturating_sub(1);
        if parts.left > 0 {
            return;
        }
        let (total, reply) = (parts.total, parts.reply.take());
        drop(parts);
        if let Some(reply) = reply {
            reply(total);
        }
    }
}

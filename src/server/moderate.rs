//! Acts of moderation: one way for moderators, who ask in the room, and for
//! operators, who ask at the control socket.

use std::sync::RwLockReadGuard;

use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::chat::{
    Actor, ModAction, ModActionError, Moderation, Now, Tim, announcement, retraction,
};
use crate::room::Batch;
use crate::server::pool::{ShardCommand, ShardPool, Shared};

/// An act that was done.
#[derive(Debug)]
pub(crate) struct Done {
    /// How many connections each shard has closed, as they come to it.
    kicked: mpsc::UnboundedReceiver<usize>,
}

impl Shared {
    /// Does `act`, and writes down who did what to whom. What it changes for
    /// connections the shards do at their next turns.
    ///
    /// # Errors
    ///
    /// Why it is not done; then nothing has changed.
    pub fn moderate(&self, act: &ModAction, by: &Actor, now: Now) -> Result<Done, ModActionError> {
        self.room.decide(act, by, now.tim)?;
        let (verb, whom) = (act.verb(), act.target().map(ToString::to_string));
        info!(act = verb, by = by.to_string(), whom, secs = act.secs(), "{by} {act}");
        let (counter, kicked) = mpsc::unbounded_channel();
        match act {
            ModAction::Kick { target } => {
                for post in &self.posts {
                    let (target, counter) = (target.clone(), counter.clone());
                    post.send(ShardCommand::Kick { target, before: usize::MAX, counter });
                }
            }
            ModAction::Retract { tim } => self.announce(now, |out| retraction(*tim, out)),
            ModAction::Say { text: words } => self.announce(now, |out| announcement(words, out)),
            ModAction::Mute { .. }
            | ModAction::Unmute { .. }
            | ModAction::Lock
            | ModAction::Unlock
            | ModAction::Slow { .. } => {
                self.decided.send_replace(());
            }
        }
        self.acted(verb);
        Ok(Done { kicked })
    }

    /// Sends the server's own message to everybody.
    fn announce(&self, now: Now, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = Batch::default();
        batch.push(encode);
        self.room.publish(&mut batch, now.tim);
        self.wake_all();
    }
}

impl ShardPool {
    /// Does `act`. Gives back how many connections it closed.
    ///
    /// # Errors
    ///
    /// Why it is not done; then nothing has changed.
    pub async fn moderate(&self, act: &ModAction, by: &Actor) -> Result<usize, ModActionError> {
        let mut done = self.shared().moderate(act, by, self.shared().now())?;
        let mut kicked = 0;
        while let Some(more) = done.kicked.recv().await {
            kicked += more;
        }
        Ok(kicked)
    }

    /// What is decided now. Whoever wants to decide waits until this is dropped,
    /// and then those who speak wait too: a copy is better for anything long.
    pub fn moderation(&self) -> RwLockReadGuard<'_, Moderation> {
        self.shared().room.moderation()
    }

    /// The time by which decisions end.
    pub fn now(&self) -> Tim {
        self.shared().now().tim
    }

    /// Changes with every decision that lasts.
    pub fn decisions(&self) -> watch::Receiver<()> {
        self.shared().decided.subscribe()
    }
}

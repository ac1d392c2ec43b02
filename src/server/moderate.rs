//! Carries out moderation actions, of moderators in the room and of operators at the
//! control socket alike.

use tokio::sync::mpsc;
use tracing::info;

use crate::chat::{Actor, ModAction, ModActionError, Now, announcement, retraction};
use crate::mutex::lock;
use crate::room::Batch;
use crate::server::shard::command::ShardCommand;
use crate::server::shared::Shared;

impl Shared {
    /// Carries out `action`, logs it and counts it. The shards close connections at their
    /// next turns, and report the numbers to the receiver.
    ///
    /// # Errors
    ///
    /// Why it is not carried out; then nothing has changed.
    pub fn moderate(
        &self,
        action: &ModAction,
        actor: &Actor,
        now: Now,
    ) -> Result<mpsc::UnboundedReceiver<usize>, ModActionError> {
        self.room.decide(action, actor, now.tim)?;
        let (verb, whom) = (action.verb(), action.target().map(ToString::to_string));
        info!(act = verb, by = actor.to_string(), whom, secs = action.secs(), "{actor} {action}");
        let (closed, numbers) = mpsc::unbounded_channel();
        match action {
            ModAction::Kick { target } => {
                for mailbox in &self.mailboxes {
                    let (target, closed) = (target.clone(), closed.clone());
                    mailbox.send(ShardCommand::Kick { target, before: usize::MAX, closed });
                }
            }
            ModAction::Retract { tim } => self.announce(now, |out| retraction(*tim, out)),
            ModAction::Say { text } => self.announce(now, |out| announcement(text, out)),
            ModAction::Mute { .. }
            | ModAction::Unmute { .. }
            | ModAction::Lock
            | ModAction::Unlock
            | ModAction::Slow { .. } => {
                self.moderation_changed.send_replace(());
            }
        }
        *lock(&self.actions).entry(verb).or_default() += 1;
        Ok(numbers)
    }

    /// Sends a message of the server to every client.
    fn announce(&self, now: Now, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = Batch::default();
        batch.push(encode);
        self.room.publish(&mut batch, now.tim);
        self.wake_all_but(None);
    }
}

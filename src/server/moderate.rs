//! Carries out moderation actions, of moderators in the room and of operators at the
//! control socket alike.

use tokio::sync::mpsc;
use tracing::info;

use crate::chat::{Actor, ModAction, ModActionError, Now, Target, Tim, announced};
use crate::mutex::lock;
use crate::room::{ActReply, Batch, ClosedCounts};
use crate::server::shard::command::ShardCommand;
use crate::server::shared::Shared;

impl Shared {
    /// Carries out an action at once or, in a room on several machines, at its place among the
    /// messages. An action for a single connection concerns this machine alone.
    pub fn moderate(&self, action: ModAction, actor: Actor, now: Now, reply: ActReply) {
        let is_local = matches!(action, ModAction::Kick { target: Target::Connection(_) });
        if let Some(remote) = self.room.remote().filter(|_| !is_local) {
            return remote.submit_act(action, actor, reply);
        }
        let done = self.carry_out(&action, &actor, now.tim);
        if let Some(text) = announced(&action).filter(|_| done.is_ok()) {
            let mut batch = Batch::default();
            batch.push_own(|out| out.extend_from_slice(&text));
            self.room.publish(&mut batch, now.tim);
            self.wake_all_but(None);
        }
        reply(done);
    }

    /// Carries out `action` but for the message that announces it, logs it and counts it. The shards
    /// close connections at their next turns, and report the numbers to the receiver.
    ///
    /// # Errors
    ///
    /// Why it is not carried out; then nothing has changed.
    pub fn carry_out(
        &self,
        action: &ModAction,
        actor: &Actor,
        now: Tim,
    ) -> Result<ClosedCounts, ModActionError> {
        self.room.decide(action, actor, now)?;
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
            ModAction::Retract { .. } | ModAction::Say { .. } => {}
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
}

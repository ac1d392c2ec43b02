//! Carries out moderation actions, of moderators in the room and of operators at the
//! control socket alike.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::info;

use crate::chat::{Actor, ModAction, ModActionError, Now, Target, Tim, announced};
use crate::mutex::lock;
use crate::room::{ActDone, ActReply, Batch};
use crate::server::kick::Kick;
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

    /// Carries out `action` but for the message that announces it. Logs it, and counts it if it
    /// changes anything. The shards close connections at their next turns.
    ///
    /// # Errors
    ///
    /// Why it is not carried out; then nothing has changed.
    pub fn carry_out(
        &self,
        action: &ModAction,
        actor: &Actor,
        now: Tim,
    ) -> Result<ActDone, ModActionError> {
        let changed = self.room.decide(action, actor, now)?;
        if let ModAction::Kick { target } = action {
            let counters = Arc::clone(&self.counters);
            let (kick, closed) = Kick::new(target.clone(), actor.clone(), counters);
            let kick = Arc::new(kick);
            for mailbox in &self.mailboxes {
                let kick = Arc::clone(&kick);
                mailbox.send(ShardCommand::Kick { kick, before: usize::MAX });
            }
            return Ok(ActDone { changed, closed });
        }
        let (verb, by) = (action.verb(), actor.to_string());
        if changed {
            let whom = action.target().map(ToString::to_string);
            info!(act = verb, by, whom, secs = action.secs(), "{actor} {action}");
            lock(&self.counters).add(verb, 1);
        } else {
            info!(asked = verb, by, "{actor} asked for {verb}, but {}", action.unchanged());
        }
        if changed && action.is_lasting() {
            self.moderation_changed.send_replace(());
        }
        Ok(ActDone { changed, closed: mpsc::unbounded_channel().1 })
    }
}

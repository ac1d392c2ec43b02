//! Carries out moderation actions, of moderators in the room and of operators at the
//! control socket alike.

use std::sync::Arc;

use tracing::info;

use crate::chat::{
    ActDone, Actor, ModAction, ModActionError, Now, Retracted, Target, Tim, announced,
};
use crate::mutex::lock;
use crate::room::{ActReply, Batch};
use crate::server::kick::Kick;
use crate::server::shard::command::ShardCommand;
use crate::server::shared::Shared;

impl Shared {
    /// Carries out an action at once or, in a room on several machines, at its place among the
    /// messages. An action for a single connection concerns this machine alone.
    pub fn moderate(self: &Arc<Self>, action: ModAction, actor: Actor, now: Now, reply: ActReply) {
        if let ModAction::Retract(Retracted::Name(name)) = action {
            return self.retract_all(name, actor, reply);
        }
        let is_local = matches!(action, ModAction::Kick { target: Target::Connection(_) });
        if let Some(remote) = self.room.remote().filter(|_| !is_local) {
            if let ModAction::Retract(Retracted::Tim(tim)) = action
                && self.room.never_had(tim)
            {
                return reply(Err(ModActionError::NoMessage));
            }
            return remote.submit_act(action, actor, reply);
        }
        if let ModAction::Kick { target } = action {
            return self.kick(target, actor, reply);
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

    /// Closes connections of this machine. The shards do that at their next turns; then the
    /// kick is logged, counted and answered.
    pub fn kick(&self, target: Target, actor: Actor, reply: ActReply) {
        let open_at = |address| self.connections.open_at(address);
        let returned = self.recently_kicked.of(&target, open_at, self.now_ms());
        let memory = (Arc::clone(&self.recently_kicked), returned);
        let kick = Arc::new(Kick::new(target, actor, memory, Arc::clone(&self.counters), reply));
        for mailbox in &self.mailboxes {
            let kick = Arc::clone(&kick);
            mailbox.send(ShardCommand::Kick { kick, before: usize::MAX });
        }
    }

    /// Carries out `action`, which is not a kick, but for the message that announces it. Logs it,
    /// and counts it if it changes anything.
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
        let (verb, by) = (action.verb(), actor.to_string());
        let changed = self.room.decide(action, actor, now).inspect_err(|error| {
            let whom = action.whom();
            let of = whom.as_ref().map_or_else(String::new, |whom| format!(" of {whom}"));
            info!(asked = verb, by, whom, "{actor} asked for {verb}{of}, but {error}");
        })?;
        let mut done = ActDone::changed(changed);
        if let ModAction::Retract(messages) = action {
            done.met = Some(match messages {
                Retracted::Found { tims, .. } => tims.len() as u64,
                Retracted::Tim(_) | Retracted::Name(_) => self.room.count_held(messages.tims()),
            });
        }
        if changed {
            let (whom, secs) = (action.whom(), action.secs());
            let numbers = done.numbers(action);
            info!(act = verb, by, whom, secs, "{actor} {action}{numbers}");
            lock(&self.counters).add(verb, 1);
        } else {
            info!(asked = verb, by, "{actor} asked for {verb}, but {}", action.unchanged());
        }
        if changed && action.is_lasting() {
            self.moderation_changed.send_replace(());
        }
        Ok(done)
    }
}

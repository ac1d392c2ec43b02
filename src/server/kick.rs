//! A kick, until all shards have carried it out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::info;

use crate::chat::{ActDone, Actor, SpeakerId, Target};
use crate::mutex::lock;
use crate::room::ActReply;
use crate::server::counters::Counters;
use crate::server::recently_kicked::{KickedSpeaker, RecentlyKicked, Returned};

/// A kick. Each shard drops it when its connections are closed; then it is logged, counted and
/// reported, and whether it has met anybody is known.
pub struct Kick {
    target: Target,
    actor: Actor,
    /// Who was kicked before under this name, and may be back.
    returned: Returned,
    recently_kicked: Arc<RecentlyKicked>,
    counters: Arc<Mutex<Counters>>,
    connections: AtomicU64,
    reply: Mutex<Option<ActReply>>,
}

impl Kick {
    /// A kick, also of those who have returned; `reply` is told the number of connections.
    pub fn new(
        target: Target,
        actor: Actor,
        (recently_kicked, returned): (Arc<RecentlyKicked>, Returned),
        counters: Arc<Mutex<Counters>>,
        reply: ActReply,
    ) -> Self {
        let (connections, reply) = (0.into(), Mutex::new(Some(reply)));
        Self { target, actor, returned, recently_kicked, counters, connections, reply }
    }

    /// Whether it closes a connection. One from which nothing was sent is also closed if it was
    /// opened after a kick, by somebody who was kicked under this name.
    pub fn meets(&self, speaker: &SpeakerId<'_>, connection_id: u64, has_sent: bool) -> bool {
        self.target.matches(speaker, connection_id)
            || !has_sent && self.returned.get(speaker, connection_id).is_some()
    }

    /// Notes a connection that is closed at the time `now_ms`. Connections that are opened from
    /// now on have the id `next_id` or a greater one.
    pub fn add(&self, speaker: &SpeakerId<'_>, connection_id: u64, next_id: u64, now_ms: u64) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let earlier = self.returned.get(speaker, connection_id).cloned();
        if let Some(kicked) = KickedSpeaker::new(speaker).or(earlier) {
            self.recently_kicked.note(kicked, next_id, now_ms);
        }
    }
}

impl Drop for Kick {
    fn drop(&mut self) {
        let Self { target, actor, .. } = self;
        let connections = *self.connections.get_mut();
        let (by, whom) = (actor.to_string(), target.to_string());
        if connections == 0 {
            info!(
                asked = "kick",
                by, whom, "{actor} asked for kick, but {target} is not connected here"
            );
        } else {
            info!(
                act = "kick",
                by, whom, connections, "{actor} kicked {target}, connections: {connections}"
            );
            lock(&self.counters).add("kick", 1);
        }
        if let Some(reply) = lock(&self.reply).take() {
            reply(Ok(ActDone::met(connections)));
        }
    }
}

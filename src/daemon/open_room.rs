//! Opens the room: continues that of the previous process, if it has left something in
//! systemd's descriptor store.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use tracing::{info, warn};

use super::activation::Stored;
use super::handover::tail_memfd::{TailMemfd, recover};
use super::handover::{self, Inheritance, fd_store};
use super::notify::ServiceManager;
use crate::chat::Moderation;
use crate::config::Config;
use crate::feed::{Log, RecoveredTail, RoomHistory};
use crate::room::{RemoteOrder, TailStore};
use crate::server::{Settings, ShardPool};
use crate::ws::close::RESTART;

/// What the previous process has left in the store.
pub struct Left {
    found: Inheritance,
    stored: Stored,
}

impl Left {
    /// Receives it.
    pub fn receive(stored: Stored, feed_tail_bytes: usize) -> Self {
        let found = match stored.handover.is_empty() {
            true => Inheritance::default(),
            false => Inheritance::receive(stored.handover.values(), feed_tail_bytes),
        };
        Self { found, stored }
    }

    /// Whether a token was needed in the room that is handed over, if that is known.
    pub fn needed_token(&self) -> Option<bool> {
        self.found.room.as_ref()?.0.needed_token
    }
}

/// Resumes the room that the previous process handed over. After a crash there is none; then
/// continues with the messages that this process has stored, or else opens a new room, with
/// the decisions of the moderation file. `remote` orders the messages of a room on several
/// machines. Also returns how many listeners were taken over, if it is the room of the previous
/// process.
pub fn open_room(
    manager: &ServiceManager,
    config: &Config,
    settings: &Arc<Settings>,
    left: Left,
    moderation: Moderation,
    remote: Option<Arc<dyn RemoteOrder>>,
) -> io::Result<(ShardPool, Option<usize>)> {
    let tail_bytes = settings.limits.feed_tail_bytes;
    let Left { found, stored: Stored { handover, tails, .. } } = left;
    for problem in &found.problems {
        warn!("{problem}");
    }
    if !found.orphans.is_empty() {
        warn!("closed connections that cannot be resumed: {}", found.orphans.len());
        handover::close_orphans(found.orphans, &RESTART);
    }
    let old_tails: Vec<u32> = tails.keys().copied().collect();
    let is_resumed = found.room.is_some();
    let (mut snapshot, connections) = found.room.unwrap_or_else(|| {
        let mut snapshot = ShardPool::new_room(moderation);
        let has_crashed = !tails.is_empty();
        if let Some(tail) = recovered(recover(tails.into_values())) {
            snapshot.set_tail(tail);
        }
        snapshot.crashes_survived += u64::from(has_crashed);
        (snapshot, Vec::new())
    });
    if remote.is_none() {
        // What this process orders itself is not in the stream, so its feed is at no place there.
        snapshot.stream_mark = None;
    }
    let taken_over = is_resumed.then_some(connections.len());
    let history = snapshot.history();
    let store = |log: &Log| store_tail(manager, log, tail_bytes, history, &old_tails);
    let (shards, settings) = (config.server.shards(), Arc::clone(settings));
    let pool = ShardPool::resume(shards, settings, &snapshot, connections, store, remote)?;
    fd_store::remove(manager, fd_store::NAME, handover.keys().copied());
    Ok((pool, taken_over))
}

/// Logs what is recovered after a crash.
fn recovered(tail: io::Result<Option<RecoveredTail>>) -> Option<RecoveredTail> {
    let tail = tail.unwrap_or_else(|error| {
        warn!(%error, "cannot recover the messages of the previous process: {error}");
        None
    })?;
    let messages: u64 = tail.records.iter().map(|(messages, _)| u64::from(*messages)).sum();
    info!(messages, "recovered messages of the previous process: {messages}");
    if tail.lacks_newest {
        warn!("the newest messages of the previous process were damaged and are lost");
    }
    Some(tail)
}

/// Lets systemd keep the tail of the feed, in place of those of earlier processes. `None` if
/// there is no descriptor store.
fn store_tail(
    manager: &ServiceManager,
    log: &Log,
    tail_bytes: usize,
    history: RoomHistory,
    old: &[u32],
) -> Option<Box<dyn TailStore>> {
    let create = || {
        let memfd = TailMemfd::create(log, tail_bytes, history)?;
        // The old one must stay until systemd has the new one.
        let number = (0..).find(|number| !old.contains(number)).unwrap_or_default();
        fd_store::store_one(manager, fd_store::TAIL_NAME, number, memfd.as_fd())?;
        Ok::<_, io::Error>(memfd)
    };
    let created = fd_store::exists(manager).then(create);
    fd_store::remove(manager, fd_store::TAIL_NAME, old.iter().copied());
    match created? {
        Ok(memfd) => Some(Box::new(memfd)),
        Err(error) => {
            warn!(%error, "messages will not outlive a crash: {error}");
            None
        }
    }
}

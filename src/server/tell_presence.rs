//! Tells the listeners the state of the room: each when it joins, and all when it changes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::chat::Presence;
use crate::feed::{Encoding, PRESENCE_EVENT};
use crate::mutex::lock;
use crate::server::pool::ShardPool;
use crate::server::presence::{COUNT_INTERVAL_MS, PresenceSchedule, ToldToAll};
use crate::server::settings::Settings;
use crate::server::shared::Shared;
use crate::sse;
use crate::ws::frame;

impl ShardPool {
    /// Appends what a new listener is told, which counts itself: a frame or an event. Nothing if
    /// these settings say so.
    pub(crate) fn put_presence(&self, encoding: Encoding, settings: &Settings, out: &mut Vec<u8>) {
        if !settings.room.presence {
            return;
        }
        let shared = self.shared();
        let presence = shared.presence(settings);
        let write = |out: &mut Vec<u8>| {
            let start = out.len();
            presence.write(out);
            let mut told = lock(&shared.told_to_all);
            if !told.differs && out.get(start..) != Some(told.text.as_slice()) {
                told.differs = true;
                shared.connections.changed().notify_one();
            }
        };
        match encoding {
            Encoding::Frames => frame::put_text_with(write, out),
            Encoding::Events => sse::put_named_with(PRESENCE_EVENT, write, out),
        }
    }

    /// Tells all listeners what has changed, for as long as this is polled. Where nobody listens
    /// or nothing changes, it waits.
    pub async fn tell_presence(self) {
        let shared = self.shared();
        let mut settings = shared.settings.subscribe();
        let mut decisions = shared.moderation_changed.subscribe();
        let newest = shared.room.newest_presence().map(|(_, text)| text.to_vec());
        let is_known = newest.is_some();
        let mut schedule = PresenceSchedule::new(newest, shared.now_ms());
        if shared.connections.open() == 0 && !is_known {
            // What nobody knows need not be told: who comes is told at once.
            schedule.tell(&shared.presence(&settings.borrow()), shared.now_ms());
        }
        loop {
            decisions.mark_unchanged();
            let current = settings.borrow_and_update().clone();
            let is_told = current.room.presence;
            let due_in_ms = shared.tell_if_due(&mut schedule, &current);
            let count_changed = async {
                match due_in_ms {
                    // More changes of the number do not matter until then, but with far fewer
                    // listeners it is due sooner.
                    Some(ms) => sleep(Duration::from_millis(ms.min(COUNT_INTERVAL_MS))).await,
                    None if is_told => shared.connections.changed().notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = settings.changed() => {}
                Ok(()) = decisions.changed() => {}
                () = count_changed => {}
            }
        }
    }

    /// So many listen to the other machines of the room.
    pub fn set_listeners_elsewhere(&self, listeners: u64) {
        let shared = self.shared();
        if shared.listeners_elsewhere.swap(listeners, Ordering::Relaxed) != listeners {
            shared.connections.changed().notify_one();
        }
    }
}

impl Shared {
    /// The state of the room under these settings.
    fn presence<'a>(&self, settings: &'a Settings) -> Presence<'a> {
        let moderation = self.room.moderation();
        let elsewhere = self.listeners_elsewhere.load(Ordering::Relaxed);
        Presence {
            listeners: elsewhere.saturating_add(self.connections.open() as u64),
            is_locked: moderation.is_locked(),
            slow_secs: moderation.rate_limit(settings.rules.rate_limit()).slow_ms / 1_000,
            needs_token: settings.rules.needs_token(),
            title: settings.room.title.as_deref().unwrap_or_default(),
            notice: settings.room.notice.as_deref().unwrap_or_default(),
        }
    }

    /// Tells the listeners what they have to be told now. Returns in how many milliseconds they
    /// have to be told something; `None` if not before something changes.
    fn tell_if_due(&self, schedule: &mut PresenceSchedule, settings: &Settings) -> Option<u64> {
        if !settings.room.presence {
            schedule.forget();
            return None;
        }
        if self.connections.open() == 0 {
            return None;
        }
        let (presence, now_ms) = (self.presence(settings), self.now_ms());
        let differs = lock(&self.told_to_all).differs;
        let due_in_ms = schedule.due_in_ms(&presence, differs, now_ms);
        if due_in_ms != Some(0) {
            return due_in_ms;
        }
        if self.room.is_stuck() {
            return Some(COUNT_INTERVAL_MS);
        }
        let mut text = Vec::new();
        presence.write(&mut text);
        // Before it is in the feed: who joins behind it can be told something else.
        *lock(&self.told_to_all) = ToldToAll { text, differs: false };
        self.room.tell_presence(&presence);
        self.wake_all_but(None);
        schedule.tell(&presence, now_ms);
        None
    }
}

//! A room that leaves one process and goes on in the next, without its sockets'
//! way there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use crate::chat::{RateLimit, Stamper};
use crate::room::{Accounts, Room, RoomState};
use crate::server::pool::{CLOCK_START_MS, Carryover, ShardCommand, ShardPool};
use crate::server::settings::Settings;
use crate::server::snapshot::{ConnectionSnapshot, Snapshot};
use crate::server::socket::Socket;

impl ShardPool {
    /// Goes on where another process stopped: with the room of `state`, and
    /// the connections whose sockets arrived.
    ///
    /// # Errors
    ///
    /// As [`ShardPool::start`].
    pub fn resume(
        threads: usize,
        settings: Arc<Settings>,
        state: &Snapshot,
        connections: Vec<(ConnectionSnapshot, Socket)>,
    ) -> io::Result<Self> {
        Self::resume_with(threads, settings, state, connections, true)
    }

    /// As [`ShardPool::resume`], but no more messages are read: the room is only there
    /// to be [closed](ShardPool::close).
    ///
    /// # Errors
    ///
    /// As [`ShardPool::start`].
    pub fn resume_to_close(
        threads: usize,
        settings: Arc<Settings>,
        state: &Snapshot,
        connections: Vec<(ConnectionSnapshot, Socket)>,
    ) -> io::Result<Self> {
        Self::resume_with(threads, settings, state, connections, false)
    }

    fn resume_with(
        threads: usize,
        settings: Arc<Settings>,
        state: &Snapshot,
        connections: Vec<(ConnectionSnapshot, Socket)>,
        reads: bool,
    ) -> io::Result<Self> {
        let tail_bytes = settings.limits.feed_tail_bytes;
        let past = RoomState {
            log: state.log(tail_bytes),
            stamper: Stamper::after(state.last_tim()),
            moderation: state.moderation.clone(),
            accounts: Accounts::resume(&state.account_snapshots, CLOCK_START_MS),
        };
        let room = Room::resume(threads.max(1), tail_bytes, past);
        let (hub, polls) = Self::prepare(threads, room, Carryover::resume(state))?;
        // The letters lie there before the shards begin: nobody speaks before
        // all who were in the room are in it again.
        if !reads {
            let (done, _) = mpsc::channel(1);
            let posts = hub.shared().posts.iter();
            posts.for_each(|post| post.send(ShardCommand::StopReading(done.clone())));
        }
        for (row, socket) in connections {
            if let Some(seat) = hub.any_seat(usize::MAX) {
                hub.send_to_least_loaded(ShardCommand::Resume { socket, row, seat });
            }
        }
        hub.spawn(polls, &settings)?;
        Ok(hub)
    }

    /// Stops every shard where it is, and gives away the room and all sockets,
    /// each with whether a close frame can follow what its client has.
    pub async fn hand_over(&self, pace: &RateLimit) -> (Snapshot, Vec<(Socket, bool)>) {
        // What was asked for with the last bytes is done by all shards before
        // the first of them gives its connections away.
        self.ask(ShardCommand::Pause).await;
        let (to, mut from) = mpsc::unbounded_channel();
        for post in &self.shared().posts {
            post.send(ShardCommand::HandOver(to.clone()));
        }
        drop(to);
        let mut connections = Vec::new();
        while let Some(more) = from.recv().await {
            connections.extend(more);
        }
        let totals = self.totals();
        let counters = totals.counters.all().into_iter();
        let mut state = Snapshot {
            next_id: self.shared().next_id.load(Ordering::Relaxed),
            listeners_peak: totals.listeners_peak as u64,
            restarts_survived: totals.restarts_survived + 1,
            started_secs: totals.started_secs,
            counters: counters.map(|it| (it.name.to_owned(), it.value)).collect(),
            moderation: self.moderation().clone(),
            account_snapshots: self.shared().room.account_snapshots(pace, self.shared().now().ms),
            ..Snapshot::default()
        };
        let sockets = self.shared().room.inspect(|log, last_tim| {
            state.last_tim = last_tim.nanos();
            state.set_log(log);
            let take = |(row, socket): (ConnectionSnapshot, Socket)| {
                state.rows.push(row.encode());
                (socket, row.takes_close(log))
            };
            connections.into_iter().map(take).collect()
        });
        (state, sockets)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::chat::{Actor, ModAction, SECS_MAX, Secret};
    use crate::config::Config;
    use crate::room::{AccountKey, AccountSnapshot};
    use crate::server::Peer;
    use crate::ws::frame::client_frame;

    const SECRET: &str = "a secret of thirty-two bytes, yes";

    /// A message with a moderator's token, as a client sends it.
    fn message(mut fields: serde_json::Value) -> Vec<u8> {
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let claims = json!({ "sub": fields["usr"], "mod": true });
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        fields["jwt"] = token.into();
        client_frame(0x81, fields.to_string().as_bytes())
    }

    #[tokio::test]
    async fn what_moderators_ask_with_the_last_bytes_is_done_and_acknowledged() {
        const LISTENERS: usize = 1200;
        let mut config = Config::default();
        config.auth.secret = Some(Secret::new(SECRET).unwrap());
        config.auth.moderator_claim = Some("mod".into());
        config.limits.messages_per_sec = 0;
        let settings = Arc::new(Settings::new(&config));
        let hub = ShardPool::start(2, Arc::clone(&settings), Default::default()).unwrap();
        let mut ends = Vec::new();
        let mut join = |received: Vec<u8>| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.set_nonblocking(true).unwrap();
            ends.push(theirs);
            let seat = hub.seat(Peer::Unix, &settings.limits).unwrap();
            hub.adopt(seat, Socket::Unix(ours), Peer::Unix, Bytes::from(received), 16_384);
        };
        // In the first rows of either shard, which a kick comes to last.
        for name in ["bob", "eve"] {
            join(message(json!({ "usr": name, "msg": "hi" })));
        }
        (2..LISTENERS).for_each(|_| join(Vec::new()));
        hub.wake_adopters();
        while hub.totals().counters.messages < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Nobody wakes a shard: what is asked for lies in a letter when the end comes.
        let asks = [json!({ "mute": "bob" }), json!({ "kick": "bob" }), json!({ "kick": "eve" })];
        let asks = asks.map(|cmd| message(json!({ "usr": "ann", "cmd": cmd })));
        join(asks.concat());

        let (state, sockets) = hub.hand_over(settings.rules.rate_limit()).await;
        assert_eq!(sockets.len(), LISTENERS + 1);
        assert_eq!(state.moderation.mutes(hub.now()).count(), 1);
        let log = state.log(65_536);
        let rows: Vec<_> =
            state.rows.iter().map(|row| ConnectionSnapshot::decode(row, &log).unwrap()).collect();
        let mut closing: Vec<_> = rows.iter().filter(|row| row.closing.is_some()).collect();
        closing.sort_by_key(|row| row.id);
        assert_eq!(closing.iter().map(|row| row.id).collect::<Vec<_>>(), [0, 1]);
        // A close frame of theirs is sent: another must not follow.
        for (row, (_, takes_close)) in rows.iter().zip(&sockets) {
            assert_eq!(*takes_close, row.closing.is_none(), "{row:?}");
        }
        // The asking one was told, and so is everybody else whom it concerns.
        let mut told = vec![0; 65_536];
        let bytes = ends[LISTENERS].read(&mut told).unwrap();
        let told = String::from_utf8_lossy(&told[..bytes]);
        for act in ["muted", "kicked"] {
            assert!(told.contains(act), "{told}");
        }
    }

    #[tokio::test]
    async fn who_spoke_long_ago_waits_as_long_as_before() {
        const DAY_MS: u64 = 86_400_000;
        let settings = Arc::new(Settings::new(&Config::default()));
        let key = AccountKey::Sub("ann".into());
        let balance = AccountSnapshot { key, full_in_us: 0, sent_ago: vec![(300 * DAY_MS, 7)] };
        let mut state = Snapshot { account_snapshots: vec![balance], ..Snapshot::default() };
        let slow = ModAction::Slow { secs: Some(SECS_MAX) };
        state.moderation.apply(&slow, &Actor::Operator { uid: 0 }, Default::default()).unwrap();
        for _ in 0..2 {
            let hub = ShardPool::resume(1, Arc::clone(&settings), &state, Vec::new()).unwrap();
            state = hub.hand_over(settings.rules.rate_limit()).await.0;
            let said: Vec<_> =
                state.account_snapshots.iter().flat_map(|one| one.sent_ago.clone()).collect();
            let [(ago_ms, 7)] = said[..] else { panic!("{said:?}") };
            assert!((300 * DAY_MS..301 * DAY_MS).contains(&ago_ms), "{ago_ms}");
        }
    }
}

//! Takes the room out of the shards for the next process.

use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use crate::chat::RateLimit;
use crate::server::pool::ShardPool;
use crate::server::shard::command::ShardCommand;
use crate::server::snapshot::{ConnectionSnapshot, Snapshot};
use crate::server::socket::Socket;

impl ShardPool {
    /// Ends every shard, and returns the room with all sockets. The flag of a socket says
    /// whether a close frame can follow what its client has.
    pub async fn hand_over(&self, pace: &RateLimit) -> (Snapshot, Vec<(Socket, bool)>) {
        // Moderation actions that arrived with the last bytes are carried out on all shards
        // before the first of them gives its connections away.
        self.run_on_all(ShardCommand::Pause).await;
        let shared = self.shared();
        let (successor, mut connections) = mpsc::unbounded_channel();
        for mailbox in &shared.mailboxes {
            mailbox.send(ShardCommand::HandOver(successor.clone()));
        }
        drop(successor);
        let mut all = Vec::new();
        while let Some(more) = connections.recv().await {
            all.extend(more);
        }
        let totals = self.totals();
        let mut snapshot = Snapshot {
            next_id: shared.next_id.load(Ordering::Relaxed),
            listeners_peak: totals.listeners_peak as u64,
            restarts_survived: totals.restarts_survived + 1,
            crashes_survived: totals.crashes_survived,
            needed_token: Some(self.settings().borrow().rules.needs_token()),
            started_secs: totals.started_secs,
            counters: totals.counters.stored(),
            account_snapshots: shared.room.account_snapshots(pace, shared.now().ms),
            ..Snapshot::default()
        };
        let sockets = shared.room.inspect(|log, last_tim| {
            snapshot.last_tim = last_tim.nanos();
            snapshot.set_log(log);
            let take = |(connection, socket): (ConnectionSnapshot, Socket)| {
                snapshot.rows.push(connection.encode());
                (socket, connection.takes_close(log))
            };
            all.into_iter().map(take).collect()
        });
        // Not before the place in the stream was noted: an action of the stream may be carried
        // out twice, but has to be carried out.
        snapshot.moderation = self.moderation().clone();
        (snapshot, sockets)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::chat::{Actor, ModAction, SECS_MAX, Secret, TokenKey};
    use crate::config::Config;
    use crate::feed::Encoding;
    use crate::room::{AccountKey, AccountSnapshot, Start};
    use crate::server::settings::Settings;
    use crate::server::socket::Peer;
    use crate::ws::frame::client_frame;
    use jsonwebtoken::Algorithm;

    const SECRET: &str = "a secret of thirty-two bytes, yes";

    /// A message with a moderator's token, as a client sends it.
    fn message(mut fields: serde_json::Value) -> Vec<u8> {
        let key = TokenKey::secret(None, Algorithm::HS256, SECRET.as_bytes()).unwrap();
        fields["jwt"] = key.sign(&json!({ "sub": fields["usr"], "mod": true })).into();
        client_frame(0x81, fields.to_string().as_bytes())
    }

    #[tokio::test]
    async fn actions_in_the_last_bytes_are_carried_out_and_acknowledged() {
        const LISTENERS: usize = 1200;
        let mut config = Config::default();
        config.auth.secret = Some(Secret::new(SECRET).unwrap());
        config.auth.moderator_claim = Some("mod".into());
        config.limits.messages_per_sec = 0;
        let settings = Arc::new(Settings::new(&config));
        let pool = ShardPool::start_empty(2, Arc::clone(&settings)).unwrap();
        let mut clients = Vec::new();
        let mut join = |received: Vec<u8>| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.set_nonblocking(true).unwrap();
            clients.push(theirs);
            let connection =
                pool.admit(Peer::Unix, Encoding::Frames, Start::Live, &settings.limits).unwrap();
            pool.adopt(connection, ours.into(), received);
        };
        // They are in the first row of each shard: a kick reaches these rows last.
        for name in ["bob", "eve"] {
            join(message(json!({ "usr": name, "msg": "hi" })));
        }
        (2..LISTENERS).for_each(|_| join(Vec::new()));
        pool.wake_adopters();
        while pool.totals().counters.messages < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // No shard is woken: these commands are in a mailbox when the handover starts.
        let commands =
            [json!({ "mute": "bob" }), json!({ "kick": "bob" }), json!({ "kick": "eve" })];
        let messages = commands.map(|cmd| message(json!({ "usr": "ann", "cmd": cmd })));
        join(messages.concat());

        let (mut snapshot, mut sockets) = pool.hand_over(settings.rules.rate_limit()).await;
        assert_eq!(pool.listeners(), 0);
        let rows = loop {
            assert_eq!(sockets.len(), LISTENERS + 1);
            let log = snapshot.log(65_536);
            let decode = |row: &Vec<u8>| ConnectionSnapshot::decode(row, &log).unwrap();
            let rows: Vec<_> = snapshot.rows.iter().map(decode).collect();
            if rows.iter().all(|row| row.held.is_empty()) {
                break rows;
            }
            // On a busy machine the time to verify tokens was over: the next process does it.
            let connections = rows.into_iter().zip(sockets).map(|(row, (it, _))| (row, it));
            let (connections, settings) = (connections.collect(), Arc::clone(&settings));
            let pool =
                ShardPool::resume(2, settings, &snapshot, connections, |_| None, None).unwrap();
            (snapshot, sockets) = pool.hand_over(&RateLimit::default()).await;
        };
        assert_eq!(snapshot.moderation.mutes(pool.now()).count(), 1);
        let closing = rows.iter().filter(|row| row.closing.is_some());
        let mut closing: Vec<_> = closing.map(|row| row.id).collect();
        closing.sort_unstable();
        assert_eq!(closing, [0, 1]);
        // A close frame was sent to these two: no second one may follow.
        for (row, (_, takes_close)) in rows.iter().zip(&sockets) {
            assert_eq!(*takes_close, row.closing.is_none(), "{row:?}");
        }
        let mut received = vec![0; 65_536];
        let bytes = clients[LISTENERS].read(&mut received).unwrap();
        let received = String::from_utf8_lossy(&received[..bytes]);
        let results =
            ["done: muted", "done: kicked"].map(|result| received.matches(result).count());
        assert_eq!(results, [1, 2], "{received}");
    }

    #[tokio::test]
    async fn slow_mode_counts_from_a_message_before_the_handover() {
        const DAY_MS: u64 = 86_400_000;
        let settings = Arc::new(Settings::new(&Config::default()));
        let key = AccountKey::Sub("ann".into());
        let account = AccountSnapshot { key, full_in_us: 0, sent_ago: vec![(300 * DAY_MS, 7)] };
        let mut snapshot = Snapshot { account_snapshots: vec![account], ..Snapshot::default() };
        let slow = ModAction::Slow { secs: Some(SECS_MAX) };
        let operator = Actor::operator(0);
        snapshot.moderation.apply(&slow, &operator, Default::default()).unwrap();
        for _ in 0..2 {
            let pool =
                ShardPool::resume(1, Arc::clone(&settings), &snapshot, Vec::new(), |_| None, None)
                    .unwrap();
            snapshot = pool.hand_over(settings.rules.rate_limit()).await.0;
            let accounts = snapshot.account_snapshots.iter();
            let said: Vec<_> = accounts.flat_map(|account| account.sent_ago.clone()).collect();
            let [(ago_ms, 7)] = said[..] else { panic!("{said:?}") };
            assert!((300 * DAY_MS..301 * DAY_MS).contains(&ago_ms), "{ago_ms}");
        }
    }
}

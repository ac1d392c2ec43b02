//! What must be true, whatever happens.

use wschat::server::FeedState;

use super::client::{Answers, Says};
use super::shard::Letter;
use super::totals::Totals;
use super::witness::Said;
use super::world::World;

/// How long a connection may be closing: the time for the answer, and until
/// somebody looks at the clock.
const CLOSING_MS_MAX: u64 = 5_000 + 1_000;
/// How many bytes of own frames one client may cost, and the rest of a frame.
const OUTBOX_BYTES_MAX: usize = 4096 + 1024;

impl World {
    /// The room has sent this.
    pub fn heard(&mut self, said: &Said) {
        self.totals.said += 1;
        let Some(client) = self.clients.get_mut(&said.client) else {
            panic!("client {} is gone and yet speaks", said.client)
        };
        assert!(
            said.number > client.heard,
            "client {} said {} after {}",
            said.client,
            said.number,
            client.heard
        );
        client.heard = said.number;
        while let Some(&(number, at_us)) = client.sent_us.front()
            && number <= said.number
        {
            client.waited_us_max = client.waited_us_max.max(self.now_us - at_us);
            client.sent_us.pop_front();
        }
        let decided = &mut self.decided;
        assert!(!decided.locked, "the room is locked");
        assert!(!decided.muted.contains(&said.client), "client {} is muted", said.client);
        let before_us = decided.spoke_us.insert(client.peer.block(), self.now_us);
        if let Some(before_us) = before_us {
            let since_ms = (self.now_us - before_us).div_ceil(1000);
            assert!(
                since_ms + 1 >= decided.slow_ms,
                "client {} speaks after {since_ms} ms, in slow mode of {} ms",
                said.client,
                decided.slow_ms
            );
        }
    }

    /// A close frame was written to this client.
    pub fn check_close(&self, id: u64) {
        let client = &self.clients[&id];
        let Some((code, reason, _)) = &client.received.close else { return };
        let kind = &client.kind;
        let is_right = match (code, reason.as_str()) {
            (1013, reason) => {
                let behind = reason
                    .strip_prefix("too slow: ")
                    .and_then(|rest| rest.strip_suffix(" messages behind"))
                    .and_then(|behind| behind.parse::<u64>().ok());
                // It was so far behind when it lost its place, maybe in the middle
                // of a message.
                let had = self.witness.messages_before(client.received.position);
                let read_from = self.witness.ends.len() as u64 - had;
                let is_possible =
                    behind.is_some_and(|behind| (1..=read_from + 1).contains(&behind));
                assert!(is_possible, "client {id} lacks {read_from} and is told {reason:?}");
                // A tail that is shorter than a socket's buffer is soon over.
                !kind.reads_fast() || self.plan.limits.feed_tail_bytes < kind.socket_bytes
            }
            (1008, "idle") => !self.is_honest(id),
            (1008, "kicked") => client.was_kicked,
            (1001, "server stopped") => self.is_closing,
            (1012, "server restarts") => self.is_restarting,
            (1001, "") => client.sent_close,
            _ => client.is_violator,
        };
        assert!(is_right, "client {id}, {kind:?}, is closed with {code} {reason:?}");
    }

    /// Whether this client answers every ping in time, or speaks all the time.
    fn is_honest(&self, id: u64) -> bool {
        let kind = self.clients[&id].kind;
        let limits = &self.plan.limits;
        let left_ms = (limits.idle_timeout.saturating_sub(limits.ping_interval)).as_millis() as u64;
        let answers = matches!(kind.answers, Answers::After(ms) if ms + 2_000 < left_ms);
        let speaks = match kind.says {
            Says::Every { ms, .. } | Says::Pings { ms } | Says::Anything { ms } => ms < left_ms,
            Says::AllItMay { .. } => true,
            Says::Nothing => false,
        };
        (answers || (speaks && !self.is_quiet)) && kind.reads_fast()
    }

    /// The state of one shard's table fits what its clients got.
    pub fn check_shard(&mut self, number: usize) {
        let adopted: usize = self.shards.iter().map(|shard| shard.table.len()).sum();
        let on_the_way = self.shards.iter().flat_map(|shard| &shard.letters);
        let on_the_way = on_the_way
            .filter(|letter| matches!(letter, Letter::Adopt(..) | Letter::Resume(..)))
            .count();
        assert_eq!(self.counts.open(), adopted + on_the_way, "every connection is counted once");
        let table = &self.shards[number].table;
        let (swept, is_sweeping) = table.swept();
        let now_ms = self.now_us / 1000;
        let mut count = 0;
        for position in table.positions() {
            count += 1;
            let Some(client) = self.clients.get_mut(&position.id) else {
                panic!("connection {} has no client", position.id)
            };
            let received = &client.received;
            match position.cursor {
                Some(cursor) => assert!(
                    received.is_at(cursor, &self.witness),
                    "client {} is at {cursor} for the table ({:?}), and has whole frames up to \
                     {} and {} bytes behind",
                    position.id,
                    position.state,
                    received.position,
                    received.begun.len(),
                ),
                None => {
                    assert_eq!(position.state, FeedState::Closing);
                    client.is_detached = true;
                }
            }
            if position.state == FeedState::Swept {
                let cursor = position.cursor.expect("whoever is swept has a place");
                assert!(cursor >= swept, "client {} is swept, but at {cursor}", position.id);
                assert!(is_sweeping || cursor == swept, "client {} is ahead", position.id);
            }
            if position.state == FeedState::Closing {
                let since_ms = *client.leaving_since.get_or_insert(now_ms);
                let late_ms = now_ms - since_ms;
                assert!(
                    late_ms <= CLOSING_MS_MAX + 2 * self.plan.pause_ms_max,
                    "client {}, {:?}, is closing since {late_ms} ms",
                    position.id,
                    client.kind,
                );
            }
        }
        assert_eq!(count, table.len());
        assert!(table.lagging() <= count);
        let tail_bytes = self.plan.limits.feed_tail_bytes as u64;
        // The gate closes at a part of the tail; what is read in one turn follows.
        let turns_bytes = 2 * self.shards.len() as u64 * 512 * 1024;
        assert!(self.room.feed_bytes() <= 2 * tail_bytes + turns_bytes, "the tail is the bound");
    }

    /// All work is done: who is still there has everything, and nothing is due.
    pub fn check_settled(&self) {
        for client in self.clients.values() {
            let (received, end) = (&client.received, self.witness.end());
            assert_eq!(received.position, end, "client {} has everything", client.id);
            assert!(received.begun.is_empty(), "client {} has whole frames", client.id);
        }
        if self.refused() == 0 && self.totals.hand_overs == 0 {
            for client in self.clients.values() {
                assert_eq!(client.said, client.heard, "client {} is heard", client.id);
            }
        }
        assert!(!self.room.gate().is_sweeping(), "every sweep is over");
        assert!(self.room.gate().is_open(), "the gate is open");
        for shard in &self.shards {
            let lagging = shard.table.positions().filter(|p| p.state != FeedState::Swept);
            assert_eq!(lagging.count(), 0, "everybody is in the sweep");
        }
    }

    /// How many messages the room did not send.
    fn refused(&self) -> u64 {
        self.shards.iter().flat_map(|shard| shard.table.counters().refused).sum()
    }

    /// The counts of both sides fit. Gives back what happened.
    pub fn finish(mut self) -> Totals {
        for shard in &self.shards {
            self.totals.keep(shard.table.counters());
        }
        let mut totals = std::mem::take(&mut self.totals);
        let there: usize = self.shards.iter().map(|shard| shard.table.len()).sum();
        let waiting = self.clients.len() - there;
        let on_the_way: usize = self.shards.iter().map(|shard| shard.letters.len()).sum();
        assert!(waiting <= on_the_way, "{waiting} clients are in no table");
        assert_eq!(totals.joined, totals.gone + self.clients.len() as u64);
        self.clients.values().for_each(|client| totals.add(client, &self.witness));
        let counters = &totals.counters;
        assert_eq!(counters.messages, totals.said, "messages taken are messages sent");
        assert_eq!(self.room.inspect(|log, _| log.messages()), self.witness.ends.len() as u64);
        // The rest of a frame in which somebody lost its place is not counted.
        let uncounted = totals.messages - counters.deliveries;
        assert!(uncounted <= totals.detached, "{uncounted} deliveries are not counted");
        assert!(
            counters.bytes_sent <= totals.feed_bytes + totals.unclear_bytes,
            "bytes of the feed"
        );
        let uncounted = totals.feed_bytes.saturating_sub(counters.bytes_sent);
        let rest_bytes_max = (self.plan.limits.message_bytes_max + 100) as u64;
        assert!(uncounted <= totals.detached * rest_bytes_max, "{uncounted} bytes");
        assert!(counters.too_slow >= totals.too_slow, "lost places are counted");
        totals
    }

    /// What one row costs the next process.
    pub fn check_row(&self, row: &wschat::server::ConnectionSnapshot) {
        let rest = self.plan.limits.message_bytes_max + 200;
        assert!(row.outbox.len() <= OUTBOX_BYTES_MAX + rest, "an outbox of {}", row.outbox.len());
    }
}

//! What must always be true.

use wschat::chat::Tim;
use wschat::feed::Encoding;
use wschat::room::{Gap, Start, StartPoint};
use wschat::server::FeedState;

use super::client::{Answers, Sends};
use super::sent_feed::{Received, SentMessage};
use super::shard::Command;
use super::totals::Totals;
use super::world::World;

/// How long a connection may be closing: the time for the reply, and until the next check
/// of the clock.
const CLOSING_MS_MAX: u64 = 5_000 + 1_000;
/// The most bytes of own frames for one client, and the rest of a frame.
const OUTBOX_BYTES_MAX: usize = 4096 + 1024;

impl World {
    /// The room has accepted this message.
    pub fn check_accepted(&mut self, sent: &SentMessage) {
        self.totals.sent += 1;
        let Some(client) = self.clients.get_mut(&sent.client) else {
            panic!("client {} is gone and yet speaks", sent.client)
        };
        assert!(
            sent.number > client.accepted,
            "client {} sent {} after {}",
            sent.client,
            sent.number,
            client.accepted
        );
        client.accepted = sent.number;
        while let Some(&(number, at_us)) = client.sent_us.front()
            && number <= sent.number
        {
            client.waited_us_max = client.waited_us_max.max(self.now_us - at_us);
            client.sent_us.pop_front();
        }
        let decided = &mut self.decided;
        assert!(!decided.locked, "the room is locked");
        assert!(!decided.muted.contains(&sent.client), "client {} is muted", sent.client);
        let before_us = decided.spoke_us.insert(client.peer.block(), self.now_us);
        if let Some(before_us) = before_us {
            let since_ms = (self.now_us - before_us).div_ceil(1000);
            assert!(
                since_ms + 1 >= decided.slow_ms,
                "client {} speaks after {since_ms} ms, in slow mode of {} ms",
                sent.client,
                decided.slow_ms
            );
        }
    }

    /// A new listener starts at the first message that it may have, with a notice if it has
    /// asked for an earlier one.
    pub fn check_start(&self, start: Start, point: &StartPoint) {
        let Start::After(since) = start else { return };
        let (feed, now) = (&self.sent_feed, self.now().tim);
        let last = feed.tims.last().copied().unwrap_or_default().max(self.complete_since);
        if since.tim() > last {
            let ahead_nanos = if self.plan.is_cluster { 60_000_000_000 } else { 1_000_000_000 };
            let is_far = since.tim().nanos() > last.max(now).nanos() + ahead_nanos;
            let after = (!is_far).then_some(since.tim());
            assert_eq!(*point, StartPoint { cursor: feed.end(), after, gap: None });
            return;
        }
        let resume = self.plan.limits.resume;
        let oldest = Tim::from_nanos(now.nanos().saturating_sub(resume.as_nanos() as u64));
        let tail_start = self.room.inspect(|log, _| log.tail_start());
        let is_there = |index: &usize| {
            feed.start_of(*index) >= tail_start.max(self.recovered_from)
                && feed.tims[*index] > oldest
                && !resume.is_zero()
        };
        let wanted = feed.first_after(since.tim());
        let first = (wanted..feed.tims.len()).find(is_there).unwrap_or(feed.tims.len());
        let is_known = since.tim() >= self.complete_since;
        let gap = (first > wanted || !is_known)
            .then(|| Gap { after: Some(since), before: feed.tims.get(first).copied() });
        // Presence that the tail still has comes before the first message of the tail.
        let is_tail = first > wanted && (tail_start..feed.start_of(first)).contains(&point.cursor);
        let is_presence = is_tail && feed.messages_before(point.cursor) == first as u64;
        let cursor = if is_presence { point.cursor } else { feed.start_of(first) };
        assert_eq!(*point, StartPoint { cursor, after: None, gap });
    }

    /// This client has received a close frame.
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
                // It was this far behind when it lost its place, perhaps in the middle of
                // a message.
                let had = self.sent_feed.messages_before(client.received.position);
                let read_from = self.sent_feed.ends.len() as u64 - had;
                let least = u64::from(!self.has_presence);
                let is_possible =
                    behind.is_some_and(|behind| (least..=read_from + 1).contains(&behind));
                assert!(is_possible, "client {id} lacks {read_from} and is told {reason:?}");
                // A tail shorter than the socket's buffer is soon exceeded.
                let is_short = self.plan.limits.feed_tail_bytes < kind.socket_bytes;
                !kind.reads_fast() || client.was_slow || client.was_far_back || is_short
            }
            (1008, "idle") => kind.encoding == Encoding::Frames && !self.is_honest(id),
            (1008, "kicked") => client.was_kicked,
            (1001, "server stopped") => self.is_closing && self.has_all(&client.received),
            (1012, "server restarts") => self.is_restarting,
            (1001, "") => client.sent_close,
            _ => client.is_violator,
        };
        assert!(is_right, "client {id}, {kind:?}, is closed with {code} {reason:?}");
    }

    /// Whether this client answers every ping in time, or sends all the time.
    fn is_honest(&self, id: u64) -> bool {
        let kind = self.clients[&id].kind;
        let limits = &self.plan.limits;
        let left_ms = (limits.idle_timeout.saturating_sub(limits.ping_interval)).as_millis() as u64;
        let answers = matches!(kind.answers, Answers::After(ms) if ms + 2_000 < left_ms);
        let speaks = match kind.sends {
            Sends::Every { ms, .. } | Sends::Pings { ms } | Sends::Anything { ms } => ms < left_ms,
            Sends::AllItMay { .. } => true,
            Sends::Nothing => false,
        };
        (answers || (speaks && !self.is_quiet)) && kind.reads_fast()
    }

    /// Checks that the state of a shard's table agrees with what its clients received.
    pub fn check_shard(&mut self, number: usize) {
        let adopted: usize = self.shards.iter().map(|shard| shard.table.len()).sum();
        let on_the_way = self.shards.iter().flat_map(|shard| &shard.commands);
        let on_the_way = on_the_way
            .filter(|command| matches!(command, Command::Adopt(..) | Command::Resume(..)))
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
            if position.state == FeedState::Early {
                continue;
            }
            let is_started = position.state != FeedState::Closing;
            if let Some(cursor) = position.cursor.filter(|_| is_started) {
                client.received.start_at(cursor, &self.sent_feed);
            }
            let received = &client.received;
            match position.cursor {
                // It was early, and gets no message any more.
                Some(_) if !is_started && received.after.is_some() => {}
                Some(cursor) => assert!(
                    received.is_at(cursor, &self.sent_feed),
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
                let cursor = position.cursor.expect("a swept connection has a cursor");
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
        // The gate closes at a part of the tail; what one turn reads follows.
        let turns_bytes = 2 * self.shards.len() as u64 * 512 * 1024;
        assert!(self.room.feed_bytes() <= 2 * tail_bytes + turns_bytes, "the tail is the bound");
    }

    /// Checks that all work is done: every client has received everything.
    pub fn check_settled(&self) {
        for client in self.clients.values() {
            let received = &client.received;
            assert!(self.has_all(received), "client {} has everything", client.id);
            assert!(received.has_notice(), "client {} knows what is missing", client.id);
            assert!(received.begun.is_empty(), "client {} has whole frames", client.id);
        }
        if self.refused() == 0 && self.totals.hand_overs == 0 {
            for client in self.clients.values() {
                assert_eq!(client.sent, client.accepted, "client {} is accepted", client.id);
            }
        }
        assert!(!self.room.gate().is_sweeping(), "every sweep is over");
        assert!(self.room.gate().is_open(), "the gate is open");
        for shard in &self.shards {
            let is_done = |state| matches!(state, FeedState::Swept | FeedState::Early);
            let lagging = shard.table.positions().filter(|p| !is_done(p.state));
            assert_eq!(lagging.count(), 0, "every connection is in the sweep");
        }
    }

    /// Whether a client has all messages that it may have.
    fn has_all(&self, received: &Received) -> bool {
        match received.after {
            Some(after) => self.sent_feed.tims.last().is_none_or(|last| *last <= after),
            None => received.position == self.sent_feed.end(),
        }
    }

    /// How many messages the room rejected.
    fn refused(&self) -> u64 {
        self.shards.iter().flat_map(|shard| shard.table.counters().refused).sum()
    }

    /// Checks that the counts of both sides agree. Returns what happened.
    pub fn finish(mut self) -> Totals {
        for shard in &self.shards {
            self.totals.keep(shard.table.counters());
        }
        let mut totals = std::mem::take(&mut self.totals);
        let there: usize = self.shards.iter().map(|shard| shard.table.len()).sum();
        let waiting = self.clients.len() - there;
        let on_the_way: usize = self.shards.iter().map(|shard| shard.commands.len()).sum();
        assert!(waiting <= on_the_way, "{waiting} clients are in no table");
        assert_eq!(totals.joined, totals.gone + self.clients.len() as u64);
        self.clients.values().for_each(|client| totals.add(client, &self.sent_feed));
        let counters = &totals.counters;
        assert_eq!(counters.messages, totals.sent, "messages taken are messages sent");
        assert_eq!(self.room.inspect(|log, _| log.messages()), self.sent_feed.ends.len() as u64);
        // The rest of the frame in which a client lost its place is not counted.
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

    /// Checks the size of a row of the snapshot.
    pub fn check_row(&self, row: &wschat::server::ConnectionSnapshot) {
        let rest = self.plan.limits.message_bytes_max + 200;
        assert!(row.outbox.len() <= OUTBOX_BYTES_MAX + rest, "an outbox of {}", row.outbox.len());
    }
}

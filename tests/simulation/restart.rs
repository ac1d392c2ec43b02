//! Handovers: another process continues with the bytes of the state and the sockets
//! alone, or it cannot.

use std::io::Write;

use wschat::chat::Stamper;
use wschat::feed::Log;
use wschat::room::{Accounts, RoomState};
use wschat::server::{ConnectionCounts, ConnectionSnapshot, Snapshot};
use wschat::ws::{close, frame};

use super::pipe::Side;
use super::shard::{Command, Shard};
use super::tail_file::Left;
use super::world::{CLOCK_START_MS, World};

/// How a handover ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeds.
    Whole,
    /// The next process hands over again before anything is written.
    Twice,
    /// Some rows are invalid, and some sockets are missing.
    WithLosses,
    /// It is not stored: the old process takes it back, and closes the connections.
    NotKept,
    /// The next process cannot read the state.
    NotUnderstood,
}

/// A room that was handed over.
struct Given {
    state: Vec<u8>,
    /// Each socket, and whether a close frame may follow what its client has received.
    sockets: Vec<(Side, bool)>,
}

impl World {
    pub fn hand_over(&mut self, outcome: Outcome) {
        self.totals.hand_overs += 1;
        let given = self.give();
        match outcome {
            Outcome::Whole => self.resume(given, false, true),
            Outcome::WithLosses => self.resume(given, true, true),
            Outcome::Twice => {
                self.resume(given, false, true);
                let given = self.give();
                self.resume(given, false, true);
            }
            Outcome::NotKept => {
                self.resume(given, false, false);
                self.is_restarting = true;
                self.close(&close::RESTART);
                return;
            }
            Outcome::NotUnderstood => {
                assert!(Snapshot::decode(&given.state[1..]).is_err());
                self.dismiss(given.sockets);
            }
        }
        self.look();
    }

    /// The process crashes: every connection is lost. The next one continues with what is left.
    pub fn crash(&mut self, left: Left) {
        self.look();
        self.shards.iter().for_each(|shard| self.totals.keep(shard.table.counters()));
        self.shards.clear();
        self.look();
        assert!(self.clients.is_empty(), "every socket is closed");
        let tail_bytes = self.plan.limits.feed_tail_bytes;
        let recovered = self.tail_file.lock().unwrap().recover(left);
        let (log, last_tim) = match recovered {
            Some(tail) => {
                if tail.lacks_newest {
                    self.complete_since = tail.complete_since;
                }
                let mut state = Snapshot::default();
                state.set_tail(tail);
                (state.log(tail_bytes), state.last_tim())
            }
            None => {
                self.step_ahead_of_the_feed();
                self.complete_since = self.now().tim;
                let (end, messages) = self.room.inspect(|log, _| (log.end(), log.messages()));
                (Log::resume(tail_bytes, end, messages, self.complete_since), self.complete_since)
            }
        };
        self.sent_feed.recover(&log);
        self.recovered_from = log.pieces().start().unwrap_or(log.end());
        let state =
            RoomState { log, stamper: Stamper::after(last_tim), ..RoomState::new(tail_bytes) };
        self.started_us = self.now_us;
        self.room = self.plan.room(self.plan.shards, state);
        self.store_tail();
        self.cut_stream();
        self.counts = ConnectionCounts::new(self.plan.shards);
        let (settings, scratch_bytes) = (self.settings.clone(), self.plan.scratch_bytes);
        let shard = |number| Shard::new(number, &self.room, settings.clone(), scratch_bytes);
        self.shards = (0..self.plan.shards).map(shard).collect();
    }

    /// The clock is not behind the `tim` of any message: a process that knows nothing would take
    /// such a `tim` for a time that is ahead of its clock, and report no gap.
    fn step_ahead_of_the_feed(&mut self) {
        let last = self.sent_feed.tims.last().copied().unwrap_or_default();
        if let Some(behind) = last.nanos().checked_sub(self.now().tim.nanos()) {
            self.day_ms += behind / 1_000_000 + 1;
        }
    }

    /// The old process hands everything over, as the pool does.
    fn give(&mut self) -> Given {
        let (mut rows, mut streams) = (Vec::new(), Vec::new());
        let now = self.now();
        for number in 0..self.shards.len() {
            for (row, stream) in self.shards[number].hand_over(&self.room, now) {
                self.check_row(&row);
                rows.push(row);
                streams.push(stream);
            }
            self.totals.keep(self.shards[number].table.counters());
        }
        self.shards.clear();
        self.look();
        let mut state = Snapshot {
            account_snapshots: self
                .room
                .account_snapshots(self.settings.rules.rate_limit(), now.ms),
            moderation: self.room.moderation().clone(),
            ..Snapshot::default()
        };
        let whole = self.room.inspect(|log, last_tim| {
            state.set_log(log);
            state.last_tim = last_tim.nanos();
            rows.iter().map(|row| row.takes_close(log)).collect::<Vec<_>>()
        });
        state.rows = rows.iter().map(ConnectionSnapshot::encode).collect();
        Given { state: state.encode(), sockets: streams.into_iter().zip(whole).collect() }
    }

    /// The new process takes it, or the old one takes it back to close it, and then reads
    /// no more messages.
    fn resume(&mut self, given: Given, with_losses: bool, reads: bool) {
        let state = Snapshot::decode(&given.state).expect("it was just written");
        let tail_bytes = self.plan.limits.feed_tail_bytes;
        let log = state.log(tail_bytes);
        let sockets = self.pair_up(&state, &log, given.sockets, with_losses);
        let past = RoomState {
            remote: None,
            log,
            stamper: Stamper::after(state.last_tim()),
            moderation: state.moderation.clone(),
            accounts: Accounts::resume(&state.account_snapshots, CLOCK_START_MS),
        };
        self.started_us = self.now_us;
        let shards = if self.rng.bool() { self.plan.shards } else { self.rng.usize(1..4) };
        self.room = self.plan.room(shards, past);
        self.store_tail();
        self.counts = ConnectionCounts::new(shards);
        let (settings, scratch_bytes) = (self.settings.clone(), self.plan.scratch_bytes);
        let shard = |number| Shard::new(number, &self.room, settings.clone(), scratch_bytes);
        self.shards = (0..shards).map(shard).collect();
        if !reads {
            self.send_all(|| Command::StopReading);
        }
        for (row, side) in sockets {
            let (id, shard) = (row.id, self.rng.usize(..shards));
            let permit =
                self.counts.admit(row.peer, row.encoding, None, 0).expect("there is no limit");
            let resume = Command::Resume(side, Box::new(row), permit);
            self.shards[shard].commands.push_back(resume);
            if let Some(client) = self.clients.get_mut(&id) {
                client.shard = shard;
            }
            self.report(id);
        }
        // What is old enough is forgotten.
        let (now_us, slow_us) = (self.now_us, self.decided.slow_ms * 1000);
        self.decided.spoke_us.retain(|_, us| now_us - *us < slow_us);
    }

    /// Pairs rows and sockets; those without a partner are closed.
    fn pair_up(
        &mut self,
        state: &Snapshot,
        log: &Log,
        sockets: Vec<(Side, bool)>,
        with_losses: bool,
    ) -> Vec<(ConnectionSnapshot, Side)> {
        let (mut pairs, mut orphans) = (Vec::new(), Vec::new());
        for (bytes, (side, whole)) in state.rows.iter().zip(sockets) {
            let lost = with_losses && self.rng.u8(..8) == 0;
            if lost && self.rng.bool() {
                self.totals.dismissed += 1;
                continue;
            }
            let bytes = if lost { &b"rubbish"[..] } else { bytes };
            match ConnectionSnapshot::decode(bytes, log) {
                Some(row) => pairs.push((row, side)),
                None => {
                    assert!(lost, "every row of ours makes sense: client {}", side.id);
                    orphans.push((side, whole));
                }
            }
        }
        self.dismiss(orphans);
        pairs
    }

    /// Closes sockets of which nothing is known.
    fn dismiss(&mut self, sockets: Vec<(Side, bool)>) {
        let mut bytes = Vec::new();
        frame::put_close(&close::RESTART, &mut bytes);
        self.is_restarting = true;
        self.totals.dismissed += sockets.len() as u64;
        for (mut side, whole) in sockets {
            if whole {
                // A socket that takes nothing has a client that reads nothing.
                let _ = side.write(&bytes);
            }
        }
        self.look();
        self.is_restarting = false;
    }
}

//! The gate: how far the feed may grow ahead of its listeners, which messages are served
//! first, and what the feed has to retain.
//!
//! All values are atomics: shards read them in each turn without a lock.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};

use super::accounts::Account;

/// The gate closes when the feed is this part of its tail ahead of the slowest
/// sweep: far enough for batches to grow, and far from the end of the tail.
const SWEEP_PART: u64 = 4;
/// The gate also closes when the feed is this part of its tail ahead of a lagging listener
/// that reads: only a listener that does not read loses its place.
const READING_PART: u64 = 2;
/// How many bytes a shard may be ahead of the others in serving speakers.
const AHEAD_BYTES: u64 = 8192;
/// The most that the encoded form of a message is longer than its text: the header of the
/// frame and `tim`.
const STAMP_BYTES: u64 = 64;

const FULL: u8 = OrderState::Full as u8;
const AWAY: u8 = OrderState::Away as u8;

/// The progress of the feed and of all shards.
#[derive(Debug)]
pub struct Gate {
    /// The end of the feed.
    end: AtomicU64,
    /// The bytes of messages that are accepted and not in the feed yet.
    reserved: AtomicU64,
    /// The bytes that every speaker with waiting messages has been served, or could have.
    served: AtomicU64,
    /// A shard has waiting messages and wants to be woken.
    is_awaited: AtomicBool,
    /// The reader of a stream has messages for the feed and wants to be woken.
    reader_waits: AtomicBool,
    /// An [`OrderState`].
    order: AtomicU8,
    tail_bytes: u64,
    shards: Box<[Progress]>,
}

/// Whether messages can be given their order. In a room on one machine they always can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OrderState {
    /// They can.
    Ready,
    /// Not now, because too many are on their way; messages wait.
    Full,
    /// They cannot; messages are refused.
    Away,
}

/// The progress of one shard.
#[derive(Debug)]
struct Progress {
    /// Every connection in its sweep has all bytes before this position.
    swept: AtomicU64,
    /// The oldest cursor of its lagging connections that read.
    reading: AtomicU64,
    /// Its lagging connections need no byte before this position.
    retain_from: AtomicU64,
    /// The turn of its first waiting message; the maximum if there is none.
    first_turn: AtomicU64,
}

impl Gate {
    /// The gate of a feed from `start` to `end`.
    pub(super) fn new(shards: usize, start: u64, end: u64, tail_bytes: usize) -> Self {
        let progress = || Progress {
            swept: end.into(),
            reading: u64::MAX.into(),
            retain_from: start.into(),
            first_turn: u64::MAX.into(),
        };
        Self {
            end: end.into(),
            reserved: 0.into(),
            served: 0.into(),
            is_awaited: false.into(),
            reader_waits: false.into(),
            order: (OrderState::Ready as u8).into(),
            tail_bytes: tail_bytes as u64,
            shards: (0..shards).map(|_| progress()).collect(),
        }
    }

    /// The end of the feed.
    pub(super) fn end(&self) -> u64 {
        self.end.load(SeqCst)
    }

    /// Sets the end of the feed.
    pub(super) fn advance(&self, end: u64) {
        self.end.store(end, SeqCst);
    }

    /// Reserves the bytes of a message with a text of this length, if the feed may grow up
    /// to about `limit`. Returns how many.
    pub(super) fn reserve(&self, text_bytes: usize, limit: u64) -> Option<u64> {
        match self.order.load(SeqCst) {
            AWAY => return Some(0),
            FULL => return None,
            _ => {}
        }
        let bytes = text_bytes as u64 + STAMP_BYTES;
        let add = |reserved: u64| {
            (self.end().saturating_add(reserved) < limit).then_some(reserved + bytes)
        };
        self.reserved.fetch_update(SeqCst, SeqCst, add).ok().map(|_| bytes)
    }

    /// Releases reserved bytes: they are in the feed, or will not be.
    pub(super) fn release(&self, bytes: u64) {
        if bytes > 0 {
            self.reserved.fetch_sub(bytes, SeqCst);
        }
    }

    /// The position up to which the feed may grow.
    pub fn limit(&self) -> u64 {
        let limit = |shard: &Progress| {
            let swept = shard.swept.load(SeqCst).saturating_add(self.tail_bytes / SWEEP_PART);
            swept.min(shard.reading.load(SeqCst).saturating_add(self.tail_bytes / READING_PART))
        };
        self.shards.iter().map(limit).min().unwrap_or(u64::MAX)
    }

    /// Whether messages may be handled.
    pub fn is_open(&self) -> bool {
        match self.order.load(SeqCst) {
            AWAY => true,
            FULL => false,
            _ => self.end() + self.reserved.load(SeqCst) < self.limit(),
        }
    }

    /// Whether messages cannot be given their order, and are refused.
    pub(super) fn is_away(&self) -> bool {
        self.order.load(SeqCst) == AWAY
    }

    /// Says whether messages can be given their order from now on. The caller wakes all
    /// shards.
    pub(super) fn set_order_state(&self, state: OrderState) {
        self.order.store(state as u8, SeqCst);
    }

    /// Whether messages that have their order may be appended. If not, a later
    /// [`report_progress`](Self::report_progress) returns `true` when they may.
    pub fn may_append_or_wait(&self) -> bool {
        let may_append = || self.end() < self.limit();
        if may_append() {
            return true;
        }
        self.reader_waits.store(true, SeqCst);
        // The gate may have opened before the store.
        may_append()
    }

    /// Whether a shard has not sent the whole feed to its connections yet.
    pub fn is_sweeping(&self) -> bool {
        let end = self.end();
        self.shards.iter().any(|shard| shard.swept.load(SeqCst) < end)
    }

    /// Every connection in the sweep of `shard` has all bytes before `swept`, and its
    /// lagging connections that read have all before `reading`. Returns whether the gate is
    /// open now and another shard or the reader of a stream waits for it, which have to be woken.
    pub fn report_progress(&self, shard: usize, swept: u64, reading: u64) -> bool {
        self.shards[shard].swept.store(swept, SeqCst);
        self.shards[shard].reading.store(reading, SeqCst);
        let reader_may_append = self.reader_waits.load(SeqCst)
            && self.end() < self.limit()
            && self.reader_waits.swap(false, SeqCst);
        let is_awaited =
            self.is_awaited.load(SeqCst) && self.is_open() && self.is_awaited.swap(false, SeqCst);
        reader_may_append || is_awaited
    }

    /// The lagging connections of `shard` need no byte before `position`.
    pub fn retain_from(&self, shard: usize, position: u64) {
        self.shards[shard].retain_from.store(position, SeqCst);
    }

    /// The position from which the feed has to be retained: for lagging connections, and
    /// for what a shard has not fetched yet.
    pub(super) fn retained_from(&self) -> u64 {
        let from = |shard: &Progress| shard.retain_from.load(SeqCst).min(shard.swept.load(SeqCst));
        self.shards.iter().map(from).min().unwrap_or(u64::MAX)
    }

    /// Every connection in the sweep of `shard` has all bytes before this position.
    pub(super) fn swept(&self, shard: usize) -> u64 {
        self.shards[shard].swept.load(SeqCst)
    }

    /// The turn of a message with a text of this length that has to wait. A turn is the
    /// number of bytes that its speaker will have been served then, as in weighted fair
    /// queueing: the speaker that was served less comes first, however many connections and
    /// messages the others have. A sender gains nothing by a pause.
    pub fn turn_of(&self, account: &Account, text_bytes: usize) -> u64 {
        let start = account.served().max(self.served.load(SeqCst));
        start.saturating_add(text_bytes as u64)
    }

    /// Counts a message as served in its turn, with an additional price.
    pub fn serve(&self, account: &Account, turn: u64, text_bytes: usize, price_bytes: u64) {
        self.served.fetch_max(turn.saturating_sub(text_bytes as u64), SeqCst);
        account.advance(turn.saturating_add(price_bytes));
    }

    /// Sets the turn of the first waiting message of `shard`, if there is one.
    pub fn set_first_turn(&self, shard: usize, turn: Option<u64>) {
        self.shards[shard].first_turn.store(turn.unwrap_or(u64::MAX), SeqCst);
    }

    /// Whether messages wait at another shard.
    pub fn others_wait(&self, shard: usize) -> bool {
        self.first_turn_of_others(shard) != u64::MAX
    }

    /// The last turn that `shard` may serve now: no shard gets far ahead of the others, so
    /// speakers share the gate wherever they are connected.
    pub fn turn_limit(&self, shard: usize) -> u64 {
        self.first_turn_of_others(shard).saturating_add(AHEAD_BYTES)
    }

    fn first_turn_of_others(&self, shard: usize) -> u64 {
        let others = self.shards.iter().enumerate().filter(|(number, _)| *number != shard);
        others.map(|(_, other)| other.first_turn.load(SeqCst)).min().unwrap_or(u64::MAX)
    }

    /// Whether `shard` may serve a message with this turn. If not, a later
    /// [`report_progress`](Self::report_progress) wakes it.
    pub fn is_due_or_wait(&self, shard: usize, turn: u64) -> bool {
        let is_due = || self.is_open() && turn <= self.turn_limit(shard);
        if is_due() {
            return true;
        }
        self.is_awaited.store(true, SeqCst);
        // The gate may have opened before the store.
        is_due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::RateLimit;
    use crate::room::accounts::{AccountKey, Accounts};

    #[test]
    fn the_gate_closes_before_the_tail_passes_a_listener_that_reads() {
        let gate = Gate::new(2, 0, 0, 1_000);
        assert_eq!(gate.limit(), 250);
        for (swept, reading, limit) in
            [(400, u64::MAX, 250), (400, 50, 250), (0, 50, 250), (900, 50, 250)]
        {
            gate.report_progress(0, swept, reading);
            assert_eq!(gate.limit(), limit, "the other shard has swept nothing");
        }
        gate.report_progress(1, 900, u64::MAX);
        assert_eq!(gate.limit(), 550, "500 ahead of a listener that reads");
        gate.report_progress(0, 900, 800);
        assert_eq!(gate.limit(), 1_150, "250 ahead of the sweeps");
    }

    #[test]
    fn reserved_bytes_count_until_they_are_released() {
        let gate = Gate::new(1, 0, 0, 1_000);
        let reserved: Vec<u64> = (0..9).filter_map(|_| gate.reserve(100, gate.limit())).collect();
        assert_eq!(reserved.len(), 2, "one message over the limit at the most");
        assert!(!gate.is_open());
        gate.release(reserved[0]);
        assert!(gate.is_open());
        gate.advance(250);
        assert!(!gate.is_open());
        gate.release(reserved[1]);
        assert!(!gate.is_open());
        gate.report_progress(0, 250, u64::MAX);
        assert!(gate.is_open());
    }

    #[test]
    fn speakers_share_by_bytes() {
        let gate = Gate::new(1, 0, 0, 1_000);
        let accounts = Accounts::default();
        let account =
            |name: &str| accounts.account(&AccountKey::Sub(name.into()), 0, &RateLimit::default());
        let (ann, bob) = (account("ann"), account("bob"));
        let (speakers, bytes) = ([&ann, &bob], [100, 1_000]);
        let mut sent = [0, 0];
        let mut turns = [0, 1].map(|who| gate.turn_of(speakers[who], bytes[who]));
        for _ in 0..1_000 {
            let who = usize::from(turns[1] < turns[0]);
            gate.serve(speakers[who], turns[who], bytes[who], 0);
            sent[who] += bytes[who];
            turns[who] = gate.turn_of(speakers[who], bytes[who]);
        }
        assert!(sent[0].abs_diff(sent[1]) <= 1_000, "{sent:?}");
        let late = gate.turn_of(&account("cem"), 100);
        assert!(late + 1_000 >= gate.turn_of(&ann, 100), "a late speaker has saved nothing");
        assert!(late < gate.turn_of(&bob, 1_000), "and does not wait for long messages of others");
    }

    #[test]
    fn a_shard_waits_for_the_speakers_of_the_others() {
        let gate = Gate::new(2, 0, 0, 1_000);
        assert!(gate.is_due_or_wait(0, 1_000_000));
        gate.set_first_turn(1, Some(10_000));
        assert!(!gate.is_due_or_wait(0, 1_000_000));
        assert!(gate.is_due_or_wait(1, 10_000));
        assert!(gate.report_progress(1, 0, u64::MAX), "shard 0 waits");
        gate.set_first_turn(1, None);
        assert!(gate.is_due_or_wait(0, 1_000_000));
    }
}

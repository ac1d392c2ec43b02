//! The gate: how far the feed may run ahead of its readers, and whose messages
//! come first when not all may be sent.
//!
//! Everything here is an atomic: shards ask on each turn, without a lock.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::accounts::Account;

/// The gate closes when the feed is this part of its tail ahead of the slowest
/// sweep: far enough for batches to grow, and far from the tail's end.
const SWEEP_PART: u64 = 4;
/// It also closes when the feed is this part of its tail ahead of a listener
/// that cannot keep up and yet reads: only who does not read loses its place.
const READING_PART: u64 = 2;
/// How many bytes a shard may be ahead of the others in serving speakers.
const AHEAD_BYTES: u64 = 8192;
/// What the stored form of a message is longer than its text, at most: a frame
/// header and `tim`.
const STAMP_BYTES: u64 = 64;

/// How far the feed and each shard have come.
#[derive(Debug)]
pub struct Gate {
    /// The end of the feed.
    end: AtomicU64,
    /// Bytes of messages that are accepted and not in the feed yet.
    reserved: AtomicU64,
    /// What every speaker with messages that wait has been served, or could have.
    served: AtomicU64,
    /// A shard has messages that wait, and wants to be woken.
    waiting: AtomicBool,
    tail_bytes: u64,
    shards: Box<[Progress]>,
}

/// How far one shard has come.
#[derive(Debug)]
struct Progress {
    /// Every connection in its sweep has all the bytes before this position.
    swept: AtomicU64,
    /// The oldest cursor of its lagging connections that read.
    reading: AtomicU64,
    /// None of its lagging connections needs a byte before this position.
    needed: AtomicU64,
    /// The turn of the first of its messages that wait; the maximum if none does.
    first: AtomicU64,
}

impl Gate {
    /// The gate of a feed that begins at `start` and ends at `end`.
    pub(crate) fn new(shards: usize, start: u64, end: u64, tail_bytes: usize) -> Self {
        let progress = || Progress {
            swept: end.into(),
            reading: u64::MAX.into(),
            needed: start.into(),
            first: u64::MAX.into(),
        };
        Self {
            end: end.into(),
            reserved: 0.into(),
            served: 0.into(),
            waiting: false.into(),
            tail_bytes: tail_bytes as u64,
            shards: (0..shards).map(|_| progress()).collect(),
        }
    }

    /// The end of the feed.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::SeqCst)
    }

    /// The feed ends here now, and holds what was [reserved](Self::reserve).
    pub(crate) fn advance(&self, end: u64) {
        self.end.store(end, Ordering::SeqCst);
    }

    /// These bytes are in the feed, or will not be.
    pub(crate) fn release(&self, bytes: u64) {
        if bytes > 0 {
            self.reserved.fetch_sub(bytes, Ordering::SeqCst);
        }
    }

    /// The position up to which messages may be sent: not too far ahead of any
    /// sweep, nor of a listener that reads.
    pub fn limit(&self) -> u64 {
        let of = |progress: &Progress| {
            let reading = progress.reading.load(Ordering::SeqCst);
            let swept = progress.swept().saturating_add(self.tail_bytes / SWEEP_PART);
            swept.min(reading.saturating_add(self.tail_bytes / READING_PART))
        };
        self.shards.iter().map(of).min().unwrap_or(u64::MAX)
    }

    /// Whether a message with a text of that length may be sent, if the feed may
    /// grow up to about `limit`; then its bytes are reserved, and given back.
    pub(crate) fn reserve(&self, text_bytes: usize, limit: u64) -> Option<u64> {
        let bytes = text_bytes as u64 + STAMP_BYTES;
        let fits = |reserved: u64| {
            (self.end().saturating_add(reserved) < limit).then_some(reserved + bytes)
        };
        self.reserved.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).ok()?;
        Some(bytes)
    }

    /// Whether messages may be sent.
    pub fn is_open(&self) -> bool {
        self.end() + self.reserved.load(Ordering::SeqCst) < self.limit()
    }

    /// Whether some shard has not handed out all that there is.
    pub fn is_sweeping(&self) -> bool {
        let end = self.end();
        self.shards.iter().any(|progress| progress.swept() < end)
    }

    /// Every connection in the sweep of `shard` has all before `swept`, and of
    /// its lagging connections that read none is before `reading`. Gives back
    /// whether a shard waits for the gate and it has opened.
    pub fn progress(&self, shard: usize, swept: u64, reading: u64) -> bool {
        self.shards[shard].swept.store(swept, Ordering::SeqCst);
        self.shards[shard].reading.store(reading, Ordering::SeqCst);
        self.waiting.load(Ordering::SeqCst)
            && self.is_open()
            && self.waiting.swap(false, Ordering::SeqCst)
    }

    /// No lagging connection of `shard` needs a byte before `position`.
    pub fn needs(&self, shard: usize, position: u64) {
        self.shards[shard].needed.store(position, Ordering::SeqCst);
    }

    /// The position up to which every connection in the sweep of `shard` has all.
    pub(crate) fn swept(&self, shard: usize) -> u64 {
        self.shards[shard].swept()
    }

    /// The position from which on some shard may still read the feed: for its
    /// lagging connections, and for the news that it has not taken yet.
    pub(crate) fn keeps_from(&self) -> u64 {
        let keeps =
            |progress: &Progress| progress.needed.load(Ordering::SeqCst).min(progress.swept());
        self.shards.iter().map(keeps).min().unwrap_or(u64::MAX)
    }

    /// The turn of a message of that length that this speaker sends now and that has
    /// to wait. Turns are counted in the bytes that each speaker will have been served
    /// then, as in weighted fair queueing: who was served less comes first, however
    /// many connections and messages the others have; a pause earns nothing.
    pub fn turn_of(&self, speaker: &Account, text_bytes: usize) -> u64 {
        let begin = speaker.served().max(self.served.load(Ordering::SeqCst));
        begin.saturating_add(text_bytes as u64)
    }

    /// A message of that length is served in this turn, at an additional price.
    pub fn serve(&self, speaker: &Account, turn: u64, text_bytes: usize, price_bytes: u64) {
        self.served.fetch_max(turn.saturating_sub(text_bytes as u64), Ordering::SeqCst);
        speaker.advance(turn.saturating_add(price_bytes));
    }

    /// The first of the messages that wait at `shard` has this turn; none waits
    /// without one.
    pub fn waits(&self, shard: usize, first: Option<u64>) {
        self.shards[shard].first.store(first.unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Whether messages wait at another shard than this one.
    pub fn others_wait(&self, shard: usize) -> bool {
        self.first_of_others(shard) != u64::MAX
    }

    /// The newest turn that `shard` may serve now: no shard gets far ahead of the
    /// others, so that speakers share the gate wherever they are connected.
    pub fn turn_limit(&self, shard: usize) -> u64 {
        self.first_of_others(shard).saturating_add(AHEAD_BYTES)
    }

    fn first_of_others(&self, shard: usize) -> u64 {
        let others = self.shards.iter().enumerate().filter(|(number, _)| *number != shard);
        others.map(|(_, other)| other.first.load(Ordering::SeqCst)).min().unwrap_or(u64::MAX)
    }

    /// Whether `shard` may serve a message that waits for this turn; if not,
    /// somebody's [`Gate::progress`] will say when to ask again.
    pub fn is_due_or_wait(&self, shard: usize, turn: u64) -> bool {
        let is_due = || self.is_open() && turn <= self.turn_limit(shard);
        if is_due() {
            return true;
        }
        self.waiting.store(true, Ordering::SeqCst);
        // It may have opened between the question and the store.
        is_due()
    }
}

impl Progress {
    fn swept(&self) -> u64 {
        self.swept.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::RateLimit;
    use crate::room::accounts::{AccountKey, Accounts};

    #[test]
    fn it_closes_before_the_tail_can_pass_who_reads() {
        let gate = Gate::new(2, 0, 0, 1_000);
        assert_eq!(gate.limit(), 250);
        for (swept, reading, limit) in
            [(400, u64::MAX, 250), (400, 50, 250), (0, 50, 250), (900, 50, 250)]
        {
            gate.progress(0, swept, reading);
            assert_eq!(gate.limit(), limit, "the other shard has swept nothing");
        }
        gate.progress(1, 900, u64::MAX);
        assert_eq!(gate.limit(), 550, "500 ahead of a listener that reads");
        gate.progress(0, 900, 800);
        assert_eq!(gate.limit(), 1_150, "250 ahead of the sweeps");
    }

    #[test]
    fn what_is_reserved_counts_until_it_is_sent_or_not() {
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
        gate.progress(0, 250, u64::MAX);
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
        assert!(late + 1_000 >= gate.turn_of(&ann, 100), "who comes late has saved nothing");
        assert!(late < gate.turn_of(&bob, 1_000), "and waits for nobody's long message");
    }

    #[test]
    fn a_shard_waits_for_the_speakers_of_the_others() {
        let gate = Gate::new(2, 0, 0, 1_000);
        assert!(gate.is_due_or_wait(0, 1_000_000));
        gate.waits(1, Some(10_000));
        assert!(!gate.is_due_or_wait(0, 1_000_000));
        assert!(gate.is_due_or_wait(1, 10_000));
        assert!(gate.progress(1, 0, u64::MAX), "shard 0 wants to know");
        gate.waits(1, None);
        assert!(gate.is_due_or_wait(0, 1_000_000));
    }
}

//! Counts of both sides.

use wschat::feed::Encoding;
use wschat::server::Counters;

use super::client::Client;
use super::seeds::Sum;
use super::sent_feed::SentFeed;

/// What happened to all clients, as the clients see it, and what the tables of former
/// processes have counted.
#[derive(Debug, Default)]
pub struct Totals {
    pub joined: u64,
    pub gone: u64,
    /// Messages that arrived completely.
    pub messages: u64,
    /// Bytes of the feed that arrived.
    pub feed_bytes: u64,
    /// Bytes that belong to the feed or to the beginning of a notice.
    pub unclear_bytes: u64,
    /// Clients that lost their place.
    pub detached: u64,
    pub too_slow: u64,
    pub hand_overs: u64,
    /// Clients that were lost in a failed handover.
    pub dismissed: u64,
    /// Listeners that started behind a gap.
    pub gaps: u64,
    pub sent: u64,
    pub counters: Counters,
}

impl Totals {
    pub fn gone(&mut self, client: &Client, sent_feed: &SentFeed) {
        self.gone += 1;
        self.add(client, sent_feed);
    }

    pub fn add(&mut self, client: &Client, sent_feed: &SentFeed) {
        let received = &client.received;
        self.messages += received.messages;
        self.feed_bytes += received.feed_bytes;
        let begun = received.begun.len() as u64;
        if client.kind.encoding == Encoding::Events {
            self.unclear_bytes += begun;
            self.detached += u64::from(client.is_detached);
            let close = received.close.as_ref();
            self.too_slow += u64::from(close.is_some_and(|(code, ..)| *code == 1013));
            return;
        }
        match (
            received.is_at(received.position + begun, sent_feed),
            received.is_at(received.position, sent_feed),
        ) {
            (true, true) => self.unclear_bytes += begun,
            (true, false) => self.feed_bytes += begun,
            (false, _) => {}
        }
        self.detached += u64::from(client.is_detached);
        let close = received.close.as_ref();
        self.too_slow += u64::from(close.is_some_and(|(code, ..)| *code == 1013));
    }

    pub fn keep(&mut self, counters: &Counters) {
        self.counters.merge(counters);
    }
}

impl Sum for Totals {
    fn sum(&mut self, other: &Self) {
        self.joined += other.joined;
        self.gone += other.gone;
        self.messages += other.messages;
        self.feed_bytes += other.feed_bytes;
        self.unclear_bytes += other.unclear_bytes;
        self.detached += other.detached;
        self.too_slow += other.too_slow;
        self.hand_overs += other.hand_overs;
        self.dismissed += other.dismissed;
        self.gaps += other.gaps;
        self.sent += other.sent;
        self.keep(&other.counters);
    }
}

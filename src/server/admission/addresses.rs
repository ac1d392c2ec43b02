//! How many connections each address has open, and how fast it opens them.
//!
//! While a limit is not configured, nothing is stored for it.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::chat::{AddressBlock, Bucket, RefillRate};
use crate::mutex::lock;

/// An address may open the connections of so many seconds at once: all clients of an office
/// come back together when its router restarts.
const BURST_SECS: u64 = 5;
/// An address without a new connection is forgotten after this time, or twice that.
const FORGET_AFTER_US: u64 = BURST_SECS * 1_000_000;
/// The most addresses whose rate is stored. A client with more addresses than this is not
/// slowed by a limit for each of them anyway.
const RATES_MAX: usize = 100_000;
/// A map of this capacity is not shrunk.
const CAPACITY_MIN: usize = 1024;

/// The open connections and the connection rate of each address.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    open: Mutex<HashMap<AddressBlock, u32>>,
    rates: Mutex<ConnectRates>,
}

#[derive(Debug, Default)]
struct ConnectRates {
    buckets: HashMap<AddressBlock, Bucket>,
    /// When addresses with a full bucket are next forgotten.
    forget_at_us: u64,
}

impl Addresses {
    /// Counts another connection from `block`, if it has fewer than `max`. Returns whether it
    /// was counted.
    pub fn enter(&self, block: AddressBlock, max: usize) -> bool {
        let mut open = lock(&self.open);
        let count = open.get(&block).copied().unwrap_or_default();
        let may_enter = (count as usize) < max;
        if may_enter {
            open.insert(block, count.saturating_add(1));
        }
        may_enter
    }

    /// Counts a connection from `block` that is already open.
    pub fn count(&self, block: AddressBlock) {
        self.enter(block, usize::MAX);
    }

    /// Removes a counted connection from `block`.
    pub fn leave(&self, block: AddressBlock) {
        let mut open = lock(&self.open);
        match open.get_mut(&block) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&block)),
        }
        shrink(&mut open);
    }

    /// Whether `block` may open a connection at `now_us`, if it may open `per_sec` of them per
    /// second and [`BURST_SECS`] times as many at once. A refused connection is not counted.
    pub fn may_connect(&self, block: AddressBlock, per_sec: u32, now_us: u64) -> bool {
        let mut rates = lock(&self.rates);
        rates.forget_full(now_us);
        let mut bucket = rates.buckets.get(&block).copied().unwrap_or_default();
        let refill = RefillRate::per_sec(per_sec, u64::from(per_sec) * BURST_SECS);
        let may_connect = bucket.try_take(now_us, refill).is_ok();
        if may_connect && (rates.buckets.len() < RATES_MAX || rates.buckets.contains_key(&block)) {
            rates.buckets.insert(block, bucket);
        }
        may_connect
    }

    /// Forgets all rates, since their limit is no longer configured.
    pub fn forget_rates(&self) {
        *lock(&self.rates) = ConnectRates::default();
    }
}

impl ConnectRates {
    /// Forgets the addresses whose bucket is full.
    fn forget_full(&mut self, now_us: u64) {
        if now_us < self.forget_at_us {
            return;
        }
        self.forget_at_us = now_us.saturating_add(FORGET_AFTER_US);
        self.buckets.retain(|_, bucket| bucket.full_in_us(now_us) > 0);
        shrink(&mut self.buckets);
    }
}

fn shrink<V>(map: &mut HashMap<AddressBlock, V>) {
    if map.capacity() > CAPACITY_MIN && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn block(number: u32) -> AddressBlock {
        IpAddr::from(number.to_be_bytes()).into()
    }

    #[test]
    fn connections_are_counted_and_forgotten() {
        let addresses = Addresses::default();
        let (ann, bob) = (block(1), block(2));
        assert!(addresses.enter(ann, 2) && addresses.enter(ann, 2) && addresses.enter(bob, 2));
        assert!(!addresses.enter(ann, 2));
        addresses.leave(ann);
        assert!(addresses.enter(ann, 2));
        // Connections from before the limit can exceed it.
        addresses.count(bob);
        addresses.count(bob);
        addresses.leave(bob);
        assert!(!addresses.enter(bob, 2));
        [ann, ann, bob, bob].into_iter().for_each(|block| addresses.leave(block));
        assert!(lock(&addresses.open).is_empty());
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let addresses = Addresses::default();
        let (ann, bob) = (block(1), block(2));
        let admitted = |block, ms: u64, tries: u32| {
            (0..tries).filter(|_| addresses.may_connect(block, 2, ms * 1000)).count()
        };
        assert_eq!(admitted(ann, 0, 100), 10);
        assert_eq!(admitted(bob, 0, 1), 1, "each address has its own rate");
        for (ms, want) in [(499, 0), (500, 1), (2_500, 4), (60_000, 10)] {
            assert_eq!(admitted(ann, ms, 100), want, "{ms}");
        }
        assert_eq!(lock(&addresses.rates).buckets.len(), 1, "bob is forgotten");
        addresses.forget_rates();
        assert_eq!(admitted(ann, 60_000, 100), 10);
    }

    #[test]
    fn the_memory_is_bounded() {
        let addresses = Addresses::default();
        for number in 0..RATES_MAX as u32 + 10 {
            assert!(addresses.may_connect(block(number), 1, 0));
            addresses.count(block(number));
        }
        assert_eq!(lock(&addresses.rates).buckets.len(), RATES_MAX);
        assert!(addresses.may_connect(block(0), 1, 2 * FORGET_AFTER_US));
        let capacity = lock(&addresses.rates).buckets.capacity();
        (0..RATES_MAX as u32 + 10).for_each(|number| addresses.leave(block(number)));
        assert!(capacity.max(lock(&addresses.open).capacity()) < 2 * CAPACITY_MIN, "{capacity}");
    }
}

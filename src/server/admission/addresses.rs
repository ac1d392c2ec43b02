//! How many connections each address has open, and how fast it opens them.
//!
//! While there is no limit for the rate, no rates are stored.

use std::collections::HashMap;

use crate::chat::{AddressBlock, Bucket, RefillRate};
use crate::config::Limits;
use crate::server::admission::rejection::Rejection;

/// An address may open the connections of so many seconds at once: all clients of an office
/// reconnect together when its router restarts.
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
    open: HashMap<AddressBlock, u32>,
    rates: ConnectRates,
}

#[derive(Debug, Default)]
struct ConnectRates {
    buckets: HashMap<AddressBlock, Bucket>,
    /// When addresses with a full bucket are next forgotten.
    forget_at_us: u64,
}

impl Addresses {
    /// Whether another connection from `block` is within `limits` at `now_us`. A rejected one
    /// uses up nothing of the rate.
    ///
    /// # Errors
    ///
    /// Which limit it exceeds.
    pub fn check(
        &mut self,
        block: AddressBlock,
        limits: &Limits,
        now_us: u64,
    ) -> Result<(), Rejection> {
        let max = limits.connections_per_address_max;
        if max > 0 && self.open(block) as usize >= max {
            return Err(Rejection::AddressFull);
        }
        self.check_rate(block, limits, now_us)
    }

    /// As [`check`](Self::check), for a request that opens no WebSocket: only its rate is
    /// limited.
    ///
    /// # Errors
    ///
    /// That it is too fast.
    pub fn check_rate(
        &mut self,
        block: AddressBlock,
        limits: &Limits,
        now_us: u64,
    ) -> Result<(), Rejection> {
        let per_sec = limits.connects_per_address_per_sec;
        if per_sec > 0 && !self.rates.may_connect(block, per_sec, now_us) {
            return Err(Rejection::AddressRate);
        }
        Ok(())
    }

    /// How many connections from `block` are open.
    pub fn open(&self, block: AddressBlock) -> u32 {
        self.open.get(&block).copied().unwrap_or_default()
    }

    /// Counts another connection from `block`.
    pub fn enter(&mut self, block: AddressBlock) {
        let open = self.open.entry(block).or_default();
        *open = open.saturating_add(1);
    }

    /// Removes a connection from `block`.
    pub fn leave(&mut self, block: AddressBlock) {
        match self.open.get_mut(&block) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(self.open.remove(&block)),
        }
        shrink(&mut self.open);
    }

    /// Forgets all rates, since their limit is no longer configured.
    pub fn forget_rates(&mut self) {
        self.rates = ConnectRates::default();
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl ConnectRates {
    /// Whether `block` may open a connection at `now_us`, if it may open `per_sec` of them per
    /// second and [`BURST_SECS`] times as many at once.
    fn may_connect(&mut self, block: AddressBlock, per_sec: u32, now_us: u64) -> bool {
        self.forget_full(now_us);
        let mut bucket = self.buckets.get(&block).copied().unwrap_or_default();
        let refill = RefillRate::per_sec(per_sec, u64::from(per_sec) * BURST_SECS);
        let may_connect = bucket.try_take(now_us, refill).is_ok();
        if may_connect && (self.buckets.len() < RATES_MAX || self.buckets.contains_key(&block)) {
            self.buckets.insert(block, bucket);
        }
        may_connect
    }

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
    fn a_burst_and_then_the_rate() {
        let mut rates = ConnectRates::default();
        let mut admitted = |number, ms: u64, tries: u32| {
            (0..tries).filter(|_| rates.may_connect(block(number), 2, ms * 1000)).count()
        };
        assert_eq!(admitted(1, 0, 100), 10);
        assert_eq!(admitted(2, 0, 1), 1, "each address has its own rate");
        for (ms, want) in [(499, 0), (500, 1), (2_500, 4), (60_000, 10)] {
            assert_eq!(admitted(1, ms, 100), want, "{ms}");
        }
        assert_eq!(rates.buckets.len(), 1, "the other address is forgotten");
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut addresses = Addresses::default();
        for number in 0..RATES_MAX as u32 + 10 {
            assert!(addresses.rates.may_connect(block(number), 1, 0));
            addresses.enter(block(number));
        }
        assert_eq!(addresses.rates.buckets.len(), RATES_MAX);
        assert!(addresses.rates.may_connect(block(0), 1, 2 * FORGET_AFTER_US));
        (0..RATES_MAX as u32 + 10).for_each(|number| addresses.leave(block(number)));
        let capacity = addresses.rates.buckets.capacity().max(addresses.open.capacity());
        assert!(capacity < 2 * CAPACITY_MIN, "{capacity}");
    }
}

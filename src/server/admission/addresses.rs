//! How many connections each address has open, and how fast it opens them.
//!
//! Nothing is kept of an address while no bound asks for it.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::chat::{AddressBlock, Bucket, Fill};
use crate::server::lock;

/// So many seconds' worth of connections may an address open at once: everybody
/// in an office comes back together after a restart of its router.
const BURST_SECS: u64 = 5;
/// An address that comes no more is forgotten after so long, or twice that.
const FORGET_AFTER_US: u64 = BURST_SECS * 1_000_000;
/// Addresses whose pace is remembered, at most. Whoever has more than that of
/// his own is not slowed by counting each of them.
const PACED_MAX: usize = 100_000;
/// A map this small keeps its memory.
const KEPT: usize = 1024;

/// What is known of every address.
#[derive(Debug, Default)]
pub struct Addresses {
    /// Open connections, those only that are counted.
    open: Mutex<HashMap<AddressBlock, u32>>,
    pace: Mutex<ConnectRates>,
}

#[derive(Debug, Default)]
struct ConnectRates {
    budgets: HashMap<AddressBlock, Bucket>,
    /// When those whose budget is whole are forgotten next.
    forget_at_us: u64,
}

impl Addresses {
    /// Counts one more connection from `block`, if it has fewer than `max`.
    pub fn enter(&self, block: AddressBlock, max: usize) -> bool {
        let mut open = lock(&self.open);
        let there = open.get(&block).copied().unwrap_or_default();
        let may = (there as usize) < max;
        if may {
            open.insert(block, there.saturating_add(1));
        }
        may
    }

    /// Counts a connection from `block` that is open already.
    pub fn count(&self, block: AddressBlock) {
        self.enter(block, usize::MAX);
    }

    /// A connection from `block` that was counted is gone, or counts no more.
    pub fn leave(&self, block: AddressBlock) {
        let mut open = lock(&self.open);
        match open.get_mut(&block) {
            Some(there) if *there > 1 => *there -= 1,
            _ => drop(open.remove(&block)),
        }
        shrink(&mut open);
    }

    /// Whether `block` may open a connection now, by a clock of microseconds, if
    /// it may open `per_sec` of them in a second, and [`BURST_SECS`] times as
    /// many at once. One that it may not open costs it nothing.
    pub fn may_connect(&self, block: AddressBlock, per_sec: u32, now_us: u64) -> bool {
        let mut pace = lock(&self.pace);
        pace.forget_whole(now_us);
        let mut budget = pace.budgets.get(&block).copied().unwrap_or_default();
        let fill = Fill::per_sec(per_sec, u64::from(per_sec) * BURST_SECS);
        let may = budget.take(now_us, fill).is_ok();
        if may && (pace.budgets.len() < PACED_MAX || pace.budgets.contains_key(&block)) {
            pace.budgets.insert(block, budget);
        }
        may
    }

    /// No pace matters any more.
    pub fn forget_pace(&self) {
        *lock(&self.pace) = ConnectRates::default();
    }
}

impl ConnectRates {
    /// Forgets those whose budget is whole, so that nobody is kept for more than
    /// twice the time in which a budget becomes whole while others come.
    fn forget_whole(&mut self, now_us: u64) {
        if now_us < self.forget_at_us {
            return;
        }
        self.forget_at_us = now_us.saturating_add(FORGET_AFTER_US);
        self.budgets.retain(|_, budget| budget.whole_in_us(now_us) > 0);
        shrink(&mut self.budgets);
    }
}

fn shrink<V>(map: &mut HashMap<AddressBlock, V>) {
    if map.capacity() > KEPT && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn block(text: &str) -> AddressBlock {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn connections_are_counted_and_forgotten() {
        let addresses = Addresses::default();
        let (ann, bob) = (block("192.0.2.7"), block("192.0.2.8"));
        assert!(addresses.enter(ann, 2) && addresses.enter(ann, 2) && addresses.enter(bob, 2));
        assert!(!addresses.enter(ann, 2));
        addresses.leave(ann);
        assert!(addresses.enter(ann, 2));
        // Who was there before the bound is counted beyond it.
        addresses.count(bob);
        addresses.count(bob);
        addresses.leave(bob);
        assert!(!addresses.enter(bob, 2));
        (0..2).for_each(|_| addresses.leave(ann));
        (0..2).for_each(|_| addresses.leave(bob));
        assert!(lock(&addresses.open).is_empty());
    }

    #[test]
    fn a_burst_and_then_so_many_in_a_second() {
        let addresses = Addresses::default();
        let (ann, bob) = (block("192.0.2.7"), block("192.0.2.8"));
        let let_in = |who, ms: u64, tries: u32| {
            (0..tries).filter(|_| addresses.may_connect(who, 2, ms * 1000)).count()
        };
        assert_eq!(let_in(ann, 0, 100), 10);
        assert_eq!(let_in(bob, 0, 1), 1, "another one is not concerned");
        assert_eq!(let_in(ann, 499, 100), 0);
        assert_eq!(let_in(ann, 500, 100), 1);
        assert_eq!(let_in(ann, 2_500, 100), 4);
        assert_eq!(let_in(ann, 60_000, 100), 10);
        assert_eq!(lock(&addresses.pace).budgets.len(), 1, "bob is forgotten");
        addresses.forget_pace();
        assert_eq!(let_in(ann, 60_000, 100), 10);
    }

    #[test]
    fn the_memory_is_bounded() {
        let addresses = Addresses::default();
        let one = |n: u32| AddressBlock::from(IpAddr::from(n.to_be_bytes()));
        for n in 0..PACED_MAX as u32 + 10 {
            assert!(addresses.may_connect(one(n), 1, 0));
            addresses.count(one(n));
        }
        assert_eq!(lock(&addresses.pace).budgets.len(), PACED_MAX);
        assert!(addresses.may_connect(one(0), 1, 2 * FORGET_AFTER_US));
        let kept = lock(&addresses.pace).budgets.capacity();
        (0..PACED_MAX as u32 + 10).for_each(|n| addresses.leave(one(n)));
        assert!(kept.max(lock(&addresses.open).capacity()) < 2 * KEPT, "{kept}");
    }
}

//! Clients that send as much as the limits allow, and listeners with a long round trip.

use super::super::client::{Kind, LISTENER, Reads, Sends};
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

/// Six addresses send their burst at once; every client empties its socket once per round
/// trip.
fn a_burst(seed: u64) -> Totals {
    let bytes_per_us = [200, 1_000, 5_000][(seed / 4 % 3) as usize];
    let shards = 1 + (seed % 4) as usize;
    let mut world = World::new(seed, Plan { shards, bytes_per_us, ..Plan::default() });
    // A client that reads quickly might hold the gate for the others.
    let quickest_ms = world.rng.u64(1..300);
    for _ in 0..6 {
        let reads = Reads::Within(world.rng.u64(quickest_ms..=300));
        world.join(Kind { reads, ..LISTENER });
    }
    for _ in 0..6 {
        let reads = Reads::Within(world.rng.u64(quickest_ms..=300));
        world.join(Kind { reads, sends: Sends::AllItMay { bytes: 16_000 }, ..LISTENER });
    }
    // The burst, and then the long-term rate.
    world.run_for(15_000);
    world.settle();
    assert_eq!(world.totals.gone, 0);
    world.finish()
}

#[test]
fn a_burst_within_the_limits_closes_no_reader() {
    each_seed(12, a_burst, |totals| totals.sent >= 12 * 360);
}

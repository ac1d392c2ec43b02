//! A room on several machines: publishes that are lost, late or held for long, a stream that
//! stops, whose clock is set back, that discards records or is made anew, and nodes that crash.

use super::super::cluster::{ClusterTotals, ClusterWorld};
use super::super::seeds::each_seed;

fn trouble(seed: u64) -> ClusterTotals {
    let mut world = ClusterWorld::new(seed, 1 + (seed % 4) as usize);
    let trouble = [0, 5, 20, 100][world.rng.usize(..4)];
    world.run(20_000, trouble);
    world.run(5_000, 0);
    world.finish()
}

#[test]
fn every_node_sends_the_same_and_every_sender_is_told_the_truth() {
    each_seed(100, trouble, |totals| {
        totals.sent > 10_000
            && totals.unavailable > 1_000
            && totals.unknown > 10
            && totals.locked > 100
            && totals.holes > 100
            && totals.gaps > 100
            && totals.streams > 10
            && totals.shortened > 10
            && totals.steps > 10
            && totals.late_records > 100
    });
}

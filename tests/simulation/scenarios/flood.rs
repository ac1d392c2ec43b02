//! Speakers that send as much as the limits allow.

use super::super::client::{Kind, LISTENER, Reads, Says};
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

/// Six addresses send their burst at once; everybody reads, at a distance.
fn a_burst(seed: u64) -> Totals {
    let bytes_per_us = [200, 1_000, 5_000][(seed / 4 % 3) as usize];
    let shards = world_shards(seed);
    let mut world = World::new(seed, Plan { shards, bytes_per_us, ..Plan::default() });
    // Whoever reads quickly might hold the gate for the others.
    let quickest_ms = world.rng.u64(1..300);
    for _ in 0..6 {
        let reads = Reads::Within(world.rng.u64(quickest_ms..=300));
        world.join(Kind { reads, ..LISTENER });
    }
    for _ in 0..6 {
        let reads = Reads::Within(world.rng.u64(quickest_ms..=300));
        world.join(Kind { reads, says: Says::AllItMay { bytes: 16_000 }, ..LISTENER });
    }
    world.run_for(5_000);
    world.settle();
    assert_eq!(world.totals.gone, 0);
    world.finish()
}

fn world_shards(seed: u64) -> usize {
    1 + (seed % 4) as usize
}

/// One listener is slow, and many speak as much as they may, while a few honest
/// ones say something now and then. A sixteenth of the real bounds.
fn a_slow_reader_and_many_speakers(seed: u64) -> Totals {
    let mut plan = Plan { shards: world_shards(seed), ..Plan::default() };
    plan.limits.feed_tail_bytes /= 16;
    let mut world = World::new(seed, plan);
    world.join(Kind { reads: Reads::Bytes(70_000 / 16), socket_bytes: 4_096, ..LISTENER });
    let honest: Vec<u64> = (0..4)
        .map(|_| world.join(Kind { says: Says::Every { ms: 5_000, bytes: 100 }, ..LISTENER }))
        .collect();
    let quiet: Vec<u64> = (0..4).map(|_| world.join(LISTENER)).collect();
    world.join(Kind { says: Says::AllItMay { bytes: 1_000 }, ..LISTENER });
    world.run_for(5_000);
    for _ in 0..12 {
        world.join(Kind { says: Says::AllItMay { bytes: 1_000 }, ..LISTENER });
    }
    world.run_for(150_000);
    for id in honest.iter().chain(&quiet) {
        assert!(world.clients.contains_key(id), "client {id} is there");
    }
    for id in &honest {
        let client = &world.clients[id];
        let waited_us = client.sent_us.front().map_or(0, |(_, at_us)| world.now_us - at_us);
        let waited_ms = waited_us.max(client.waited_us_max) / 1000;
        assert!(waited_ms < HEARD_MS_MAX, "client {id} waited {waited_ms} ms");
    }
    world.settle();
    world.finish()
}

/// How long an honest speaker waits at most in a flood.
const HEARD_MS_MAX: u64 = 10_000;

#[test]
#[ignore = "a burst closes listeners that read"]
fn a_burst_within_the_limits_closes_nobody_who_reads() {
    let totals = each_seed(12, a_burst);
    assert!(totals.said >= 12 * 360, "{totals:?}");
}

#[test]
#[ignore = "a slow reader holds the gate"]
fn honest_speakers_are_heard_in_a_flood() {
    let totals = each_seed(4, a_slow_reader_and_many_speakers);
    assert!(totals.said >= 1_000, "{totals:?}");
}

//! Many small messages between two sweeps of a shard.

use std::time::Duration;

use super::super::client::{Kind, LISTENER, Reads, Sends};
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

/// A shard pauses while another publishes thousands of messages, one by one.
fn a_shard_stands_still(seed: u64) -> Totals {
    let mut plan = Plan { shards: 3, ..Plan::default() };
    plan.limits.messages_per_sec = 0;
    plan.limits.ping_interval = Duration::from_secs(5);
    let mut world = World::new(seed, plan);
    for _ in 0..6 {
        // With the buffers of the client's kernel, a socket takes much.
        let socket_bytes = world.rng.usize(65_536..1_048_576);
        world.join(Kind { socket_bytes, ..LISTENER });
    }
    for _ in 0..2 {
        let reads = Reads::Within(world.rng.u64(50..300));
        world.join(Kind { reads, ..LISTENER });
        world.join(Kind { reads: Reads::Bits, socket_bytes: 300, ..LISTENER });
    }
    for _ in 0..10 {
        let sends = Sends::Every { ms: 1, bytes: world.rng.usize(40..120) };
        world.join(Kind { sends, ..LISTENER });
    }
    for _ in 0..world.rng.u32(2..5) {
        let shard = world.rng.usize(..3);
        let ms = world.rng.u64(1..1_500);
        world.pause(shard, ms);
        world.run_for(ms / 2);
    }
    world.settle();
    world.finish()
}

#[test]
fn no_message_is_missed_between_many_pieces() {
    each_seed(8, a_shard_stands_still, |totals| totals.sent > 1_000);
}

//! A slow listener holds the gate while many clients send as much as they may: honest
//! clients notice little.

use super::super::client::{Kind, LISTENER, Reads, Sends, Step};
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

/// The longest time until an honest client's message is accepted.
const HEARD_MS_MAX: u64 = 10_000;
/// The longest time until a client that leaves is gone.
const LEAVING_MS_MAX: u64 = 3_000;
const ROUNDS: u64 = 15;

/// A sixteenth of the real limits.
fn a_slow_reader_and_many_speakers(seed: u64) -> Totals {
    let mut plan = Plan { shards: 1 + (seed % 4) as usize, ..Plan::default() };
    plan.limits.feed_tail_bytes /= 16;
    let mut world = World::new(seed, plan);
    world.join(Kind { reads: Reads::Bytes(70_000 / 16), socket_bytes: 4_096, ..LISTENER });
    let mut join = |sends: Sends| world.join(Kind { sends, ..LISTENER });
    let honest = [(); 4].map(|()| join(Sends::Every { ms: 5_000, bytes: 100 }));
    let pinging = [(); 2].map(|()| join(Sends::Pings { ms: 1_000 }));
    let quiet = [(); 4].map(|()| join(Sends::Nothing));
    join(Sends::AllItMay { bytes: 1_000 });
    // Now the slow listener is half a tail behind.
    world.run_for(5_000);
    for _ in 0..12 {
        world.join(Kind { sends: Sends::AllItMay { bytes: 1_000 }, ..LISTENER });
    }
    for _ in 0..ROUNDS {
        some_come_and_go(&mut world);
    }
    for id in honest.iter().chain(&pinging).chain(&quiet) {
        assert!(world.clients.contains_key(id), "client {id} is there");
    }
    for id in &honest {
        let client = &world.clients[id];
        let waited_us = client.sent_us.front().map_or(0, |(_, at_us)| world.now_us - at_us);
        let waited_ms = waited_us.max(client.waited_us_max) / 1000;
        assert!(waited_ms < HEARD_MS_MAX, "client {id} waited {waited_ms} ms");
    }
    for id in &pinging {
        let pongs = world.clients[id].received.pongs;
        assert!(pongs >= ROUNDS * 10 - 5, "client {id} got {pongs} pongs");
    }
    world.settle();
    world.finish()
}

/// A client that leaves is soon gone, even if the gate is closed.
fn some_come_and_go(world: &mut World) {
    let leaving = [Step::Close, Step::End, Step::Reset, Step::Break].map(|step| {
        let sends = if world.rng.bool() { Sends::Nothing } else { Sends::Pings { ms: 300 } };
        (world.join(Kind { sends, ..LISTENER }), step)
    });
    world.run_for(5_000);
    for (id, step) in &leaving {
        world.plan_step(0, *id, step.clone());
    }
    world.run_for(LEAVING_MS_MAX);
    for (id, step) in &leaving {
        assert!(!world.clients.contains_key(id), "client {id} has left: {step:?}");
    }
    world.run_for(10_000 - 5_000 - LEAVING_MS_MAX);
}

#[test]
fn honest_clients_notice_little_of_a_flood() {
    each_seed(4, a_slow_reader_and_many_speakers, |totals| totals.sent >= 1_000);
}

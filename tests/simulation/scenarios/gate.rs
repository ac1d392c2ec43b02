//! The gate while a slow listener holds it and many speak as much as they may:
//! those who mean well notice little.

use super::super::client::{Kind, LISTENER, Reads, Says, Step};
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

/// How long an honest speaker waits at most until it is heard.
const HEARD_MS_MAX: u64 = 10_000;
/// How long whoever leaves is still there at most.
const LEAVING_MS_MAX: u64 = 3_000;
const ROUNDS: u64 = 15;

/// A sixteenth of the real bounds.
fn a_slow_reader_and_many_speakers(seed: u64) -> Totals {
    let mut plan = Plan { shards: 1 + (seed % 4) as usize, ..Plan::default() };
    plan.limits.feed_tail_bytes /= 16;
    let mut world = World::new(seed, plan);
    world.join(Kind { reads: Reads::Bytes(70_000 / 16), socket_bytes: 4_096, ..LISTENER });
    let mut join = |says: Says| world.join(Kind { says, ..LISTENER });
    let honest = [(); 4].map(|()| join(Says::Every { ms: 5_000, bytes: 100 }));
    let pinging = [(); 2].map(|()| join(Says::Pings { ms: 1_000 }));
    let quiet = [(); 4].map(|()| join(Says::Nothing));
    join(Says::AllItMay { bytes: 1_000 });
    // Now the slow one is half a tail behind.
    world.run_for(5_000);
    for _ in 0..12 {
        world.join(Kind { says: Says::AllItMay { bytes: 1_000 }, ..LISTENER });
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

/// Whoever leaves has left soon, whatever the gate says.
fn some_come_and_go(world: &mut World) {
    let leaving = [Step::Close, Step::End, Step::Reset, Step::Break].map(|step| {
        let says = if world.rng.bool() { Says::Nothing } else { Says::Pings { ms: 300 } };
        (world.join(Kind { says, ..LISTENER }), step)
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
    each_seed(4, a_slow_reader_and_many_speakers, |totals| totals.said >= 1_000);
}

//! Hours of silence: pings, idle connections, and reloads that change both.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::client::{Answers, Kind, LISTENER, Sends};
use super::super::restart::Outcome;
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

fn quiet_people(world: &mut World, count: u32) {
    for _ in 0..count {
        let answers = match world.rng.u8(..10) {
            0 => Answers::Never,
            1 => Answers::After(world.rng.u64(..120_000)),
            _ => Answers::After(world.rng.u64(..300)),
        };
        let sends = match world.rng.u8(..10) {
            0 => Sends::Every { ms: world.rng.u64(5_000..20_000), bytes: 100 },
            1 => Sends::Pings { ms: world.rng.u64(5_000..20_000) },
            _ => Sends::Nothing,
        };
        world.join(Kind { answers, sends, ..LISTENER });
    }
}

/// Clients that answer pings stay; the others are closed.
fn silence_and_reloads(seed: u64) -> Totals {
    let mut world = World::new(seed, Plan { shards: 2, ..Plan::default() });
    quiet_people(&mut world, 60);
    for _ in 0..world.rng.u32(1..4) {
        let ms = world.rng.u64(..100_000);
        world.run_for(ms);
        let ping = Duration::from_millis(world.rng.u64(2_000..60_000));
        let idle = ping + Duration::from_millis(world.rng.u64(3_000..60_000));
        if world.rng.bool() {
            world.hand_over(Outcome::Whole);
        }
        world.reload(|limits| {
            limits.ping_interval = ping;
            limits.idle_timeout = idle;
        });
    }
    world.run_for(130_000);
    for client in world.clients.values() {
        let silent = client.kind.answers == Answers::Never && client.kind.sends == Sends::Nothing;
        assert!(!silent, "client {} never answers and is there", client.id);
    }
    world.finish()
}

/// After a reload with a shorter interval, the pings are spread over it.
fn a_shorter_ping_interval(seed: u64) -> Totals {
    let mut world = World::new(seed, Plan { shards: 2, ..Plan::default() });
    for _ in 0..300 {
        world.join(LISTENER);
    }
    let ms = world.rng.u64(30_000..60_000);
    world.run_for(ms);
    world.reload(|limits| limits.ping_interval = Duration::from_secs(5));
    let pings = |world: &World| -> u64 {
        world.clients.values().map(|client| client.received.pings_count).sum()
    };
    let mut each_half_second = BTreeMap::new();
    let mut before = pings(&world);
    for half_second in 0..24 {
        world.run_for(500);
        let now = pings(&world);
        each_half_second.insert(half_second, now - before);
        before = now;
    }
    let most = each_half_second.values().max().copied().unwrap_or_default();
    assert!(most <= 300 / 4, "pings of each half second: {each_half_second:?}");
    let first: u64 = each_half_second.values().take(12).sum();
    assert!(first >= 290, "every client is pinged within the interval: {each_half_second:?}");
    world.finish()
}

#[test]
fn only_clients_that_do_not_answer_pings_are_idle() {
    each_seed(40, silence_and_reloads, |totals| totals.counters.idle > 10);
}

#[test]
fn a_reload_spreads_the_pings() {
    each_seed(10, a_shorter_ping_interval, |totals| totals.joined >= 3_000);
}

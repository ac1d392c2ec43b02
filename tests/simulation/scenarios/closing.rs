//! Connections that end: by a kick, by a stop, by themselves.

use wschat::ws::close;

use super::super::client::{Answers, Closes, Kind, Reads, Says, Step};
use super::super::restart::Way;
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

/// The time within which whoever is closed is gone: the time for the answer to
/// the close frame, and until somebody looks at the clock.
const GONE_MS: u64 = 6_000;

fn anybody(world: &mut World) -> Kind {
    let reads = match world.rng.u8(..3) {
        0 => Reads::Never,
        1 => Reads::Bits,
        _ => Reads::Within(world.rng.u64(1..300)),
    };
    let closes = match world.rng.u8(..3) {
        0 => Closes::Never,
        1 => Closes::AgainAndAgain,
        _ => Closes::Properly,
    };
    let says = match world.rng.u8(..3) {
        0 => Says::Nothing,
        1 => Says::Pings { ms: world.rng.u64(10..1_000) },
        _ => Says::Every { ms: world.rng.u64(10..1_000), bytes: 100 },
    };
    // So little that it is full soon.
    let socket_bytes = if reads == Reads::Never { 1_000 } else { 65_536 };
    Kind { reads, closes, says, answers: Answers::After(10), socket_bytes }
}

fn people(world: &mut World, count: u32) -> Vec<u64> {
    (0..count)
        .map(|_| {
            let kind = anybody(world);
            world.join(kind)
        })
        .collect()
}

fn whoever_is_kicked(seed: u64) -> Totals {
    let mut world = World::new(seed, Plan::default());
    let ids = people(&mut world, 20);
    world.run_for(1_000);
    for id in &ids[..10] {
        if world.clients[id].kind.closes == Closes::AgainAndAgain {
            world.plan_step(0, *id, Step::Close);
        }
        world.kick(*id);
        let pause = world.rng.u64(..300);
        world.run_for(pause);
        if world.rng.u8(..10) == 0 {
            world.hand_over(Way::Whole);
        }
    }
    world.run_for(GONE_MS);
    for id in &ids {
        let kicked = ids[..10].contains(id);
        assert_eq!(world.clients.contains_key(id), !kicked, "client {id}");
    }
    world.finish()
}

fn a_stop(seed: u64) -> Totals {
    let mut world = World::new(seed, Plan { shards: 3, ..Plan::default() });
    people(&mut world, 20);
    let ms = world.rng.u64(..2_000);
    world.run_for(ms);
    world.close(&close::GOING_AWAY);
    world.run_for(500);
    let said = world.totals.said;
    world.run_for(GONE_MS);
    assert_eq!(said, world.totals.said, "nothing is said after the end");
    // Who does not read what the feed still holds has the time that the daemon gives.
    for client in world.clients.values() {
        assert!(!matches!(client.kind.reads, Reads::Within(_)), "client {} is there", client.id);
    }
    world.finish()
}

#[test]
fn whoever_is_kicked_is_gone_in_time_whatever_it_sends() {
    each_seed(40, whoever_is_kicked, |totals| totals.counters.kicked > 0);
}

#[test]
fn a_stop_closes_everybody_who_has_everything() {
    each_seed(40, a_stop, |totals| totals.gone > totals.joined / 2);
}

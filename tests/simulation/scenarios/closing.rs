//! Connections that end: by a kick, by a stop, or by themselves.

use wschat::ws::close;

use super::super::client::{Answers, Closes, Kind, LISTENER, Reads, Sends, Step};
use super::super::restart::Outcome;
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

/// How long a closed connection may exist: the time for the reply to the close frame, and
/// until the next check of the clock.
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
    let sends = match world.rng.u8(..3) {
        0 => Sends::Nothing,
        1 => Sends::Pings { ms: world.rng.u64(10..1_000) },
        _ => Sends::Every { ms: world.rng.u64(10..1_000), bytes: 100 },
    };
    // So small that it is soon full.
    let socket_bytes = if reads == Reads::Never { 1_000 } else { 65_536 };
    let kind = Kind { reads, closes, sends, answers: Answers::After(10), socket_bytes, ..LISTENER };
    if world.rng.u8(..4) == 0 { kind.of_events() } else { kind }
}

fn people(world: &mut World, count: u32) -> Vec<u64> {
    (0..count)
        .map(|_| {
            let kind = anybody(world);
            world.join(kind)
        })
        .collect()
}

fn kicked_clients(seed: u64) -> Totals {
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
            world.hand_over(Outcome::Whole);
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
    let sent = world.totals.sent;
    world.run_for(GONE_MS);
    assert_eq!(sent, world.totals.sent, "nothing is sent after the end");
    // A client that does not read the rest of the feed has the time that the daemon
    // allows.
    for client in world.clients.values() {
        assert!(!matches!(client.kind.reads, Reads::Within(_)), "client {} is there", client.id);
    }
    world.finish()
}

#[test]
fn kicked_clients_are_gone_in_time() {
    each_seed(40, kicked_clients, |totals| totals.counters.kicked > 0);
}

#[test]
fn a_stop_closes_every_client() {
    each_seed(40, a_stop, |totals| totals.gone > totals.joined / 2);
}

//! More connections than one turn visits, which come and go during a sweep.

use wschat::ws::close;

use super::super::client::{Kind, LISTENER, Reads, Sends, Step};
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

fn coming_and_going(seed: u64) -> Totals {
    let mut plan = Plan { shards: 1 + (seed % 2) as usize, ..Plan::default() };
    plan.limits.feed_tail_bytes = 262_144;
    let mut world = World::new(seed, plan);
    (0..600).for_each(|_| anybody(&mut world));
    for _ in 0..100 {
        for _ in 0..world.rng.u32(..8) {
            anybody(&mut world);
            let ids: Vec<u64> = world.clients.keys().copied().collect();
            let id = *world.rng.choice(&ids).expect("a client");
            match world.rng.u8(..4) {
                0 => world.kick(id),
                1 => world.plan_step(0, id, Step::Reset),
                2 => world.plan_step(0, id, Step::Close),
                _ => world.plan_step(0, id, Step::End),
            }
        }
        let ms = world.rng.u64(..20);
        world.run_for(ms);
    }
    if world.rng.bool() {
        world.settle();
    } else {
        world.close(&close::GOING_AWAY);
        world.run_for(10_000);
        assert_eq!(world.clients.len(), 0, "every client has left");
    }
    world.finish()
}

fn anybody(world: &mut World) {
    let (sends, reads) = match world.rng.u8(..50) {
        0 => (Sends::Every { ms: 20, bytes: 100 }, Reads::Within(1)),
        1 => (Sends::Nothing, Reads::Bits),
        2 => (Sends::Anything { ms: 100 }, Reads::Within(1)),
        _ => (Sends::Nothing, Reads::Within(world.rng.u64(..20))),
    };
    world.join(Kind { sends, reads, ..LISTENER });
}

#[test]
fn a_sweep_reaches_every_connection() {
    each_seed(6, coming_and_going, |totals| totals.sent > 100 && totals.gone > 1_000);
}

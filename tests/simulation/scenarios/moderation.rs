//! Mutes, locks and slow mode are enforced at every moment and over handovers.

use wschat::chat::{ModAction, Target};

use super::super::client::{Client, Kind, LISTENER, Sends};
use super::super::restart::Outcome;
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

/// Operators act at random; `World::check_accepted` sees whether the room obeys.
fn decisions(seed: u64) -> Totals {
    let mut plan = Plan { shards: 3, pauses: 5, pause_ms_max: 50, ..Plan::default() };
    // So that no message is rejected for another reason.
    plan.limits.messages_per_sec = 0;
    let mut world = World::new(seed, plan);
    let ids: Vec<u64> = (0..8)
        .map(|_| {
            let sends = Sends::Every { ms: world.rng.u64(50..1_000), bytes: 100 };
            world.join(Kind { sends, ..LISTENER })
        })
        .collect();
    for _ in 0..40 {
        let name = || Target::Name(Client::name(ids[seed as usize % ids.len()]));
        match world.rng.u8(..10) {
            0 => world.decide(&ModAction::Mute { target: name(), secs: None }),
            1 => world.decide(&ModAction::Unmute { target: name() }),
            2 => world.decide(&ModAction::Lock),
            3 | 4 => world.decide(&ModAction::Unlock),
            5 | 6 => {
                let secs = world.rng.u32(..10);
                world.decide(&ModAction::Slow { secs: Some(secs) });
            }
            7 => world.decide(&ModAction::Slow { secs: None }),
            8 => world.hand_over(Outcome::Whole),
            _ => world.hand_over(Outcome::Twice),
        }
        let ms = world.rng.u64(..2_000);
        world.run_for(ms);
    }
    // A client that may speak again is accepted.
    world.decide(&ModAction::Unlock);
    world.decide(&ModAction::Slow { secs: Some(0) });
    let accepted: Vec<u64> = ids.iter().map(|id| world.clients[id].accepted).collect();
    world.run_for(10_000);
    for (id, accepted) in ids.iter().zip(accepted) {
        let client = &world.clients[id];
        let muted = world.decided.muted.contains(id);
        assert_eq!(client.accepted == accepted, muted, "client {id} was accepted");
    }
    world.settle();
    world.finish()
}

#[test]
fn moderation_is_enforced_over_handovers() {
    each_seed(40, decisions, |totals| {
        totals.counters.all().iter().any(|it| it.name == "muted" && it.value > 100)
    });
}

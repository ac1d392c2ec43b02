//! Mutes, locks and the slow mode, obeyed at every moment and over hand-overs.

use wschat::chat::{ModAction, Target};

use super::super::client::{Client, Kind, LISTENER, Says};
use super::super::restart::Way;
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};

/// Operators decide at random; `World::heard` sees whether the room obeys.
fn decisions(seed: u64) -> Totals {
    let mut plan = Plan { shards: 3, pauses: 5, pause_ms_max: 50, ..Plan::default() };
    // So that nobody is refused for anything else.
    plan.limits.messages_per_sec = 0;
    let mut world = World::new(seed, plan);
    let ids: Vec<u64> = (0..8)
        .map(|_| {
            let says = Says::Every { ms: world.rng.u64(50..1_000), bytes: 100 };
            world.join(Kind { says, ..LISTENER })
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
            8 => world.hand_over(Way::Whole),
            _ => world.hand_over(Way::Twice),
        }
        let ms = world.rng.u64(..2_000);
        world.run_for(ms);
    }
    // Whoever may speak again is heard.
    world.decide(&ModAction::Unlock);
    world.decide(&ModAction::Slow { secs: Some(0) });
    let heard: Vec<u64> = ids.iter().map(|id| world.clients[id].heard).collect();
    world.run_for(10_000);
    for (id, heard) in ids.iter().zip(heard) {
        let client = &world.clients[id];
        let muted = world.decided.muted.contains(id);
        assert_eq!(client.heard == heard, muted, "client {id} was heard");
    }
    world.settle();
    world.finish()
}

#[test]
fn what_is_decided_is_obeyed_over_hand_overs() {
    each_seed(40, decisions, |totals| {
        totals.counters.all().iter().any(|it| it.name == "muted" && it.value > 100)
    });
}

//! Everything at once, at random, with a short tail.

use super::super::client::{Answers, Client, Closes, Kind, LISTENER, Reads, Sends, Step};
use super::super::restart::Outcome;
use super::super::seeds::each_seed;
use super::super::totals::Totals;
use super::super::world::{Plan, World};
use wschat::chat::{ModAction, Target};

fn random_events(seed: u64) -> Totals {
    let mut plan = Plan { shards: 2, scratch_bytes: 64, pauses: 20, ..Plan::default() };
    plan.pause_ms_max = 40;
    plan.limits.feed_tail_bytes = 4096;
    plan.limits.message_bytes_max = 1024;
    plan.limits.messages_per_sec = 0;
    let mut world = World::new(seed, plan);
    plan_shards(&mut world);
    for _ in 0..world.rng.u32(100..200) {
        event(&mut world);
        let ms = world.rng.u64(..30);
        world.run_for(ms);
    }
    match world.rng.u8(..4) {
        0 => {
            world.hand_over(Outcome::NotUnderstood);
            assert!(world.clients.is_empty());
        }
        1 => {
            world.hand_over(Outcome::NotKept);
            world.run_for(4_000);
            let answers = |client: &&Client| {
                let kind = client.kind;
                kind.reads_fast() && kind.closes == Closes::Properly
            };
            assert_eq!(world.clients.values().filter(answers).count(), 0, "who answers is gone");
        }
        _ => world.settle(),
    }
    world.finish()
}

fn plan_shards(world: &mut World) {
    for _ in 0..4 {
        let kind = anybody(world);
        world.join(kind);
    }
}

fn event(world: &mut World) {
    let ids: Vec<u64> = world.clients.keys().copied().collect();
    let someone = world.rng.choice(&ids).copied();
    match (world.rng.u8(..100), someone) {
        (0..15, _) => {
            let kind = anybody(world);
            world.join(kind);
        }
        (15..20, Some(id)) => world.plan_step(0, id, Step::Close),
        (20..25, Some(id)) => world.plan_step(0, id, Step::End),
        (25..28, Some(id)) => world.kick(id),
        (28..31, Some(id)) => {
            let target = Target::Name(Client::name(id));
            world.decide(&ModAction::Mute { target, secs: None });
        }
        (31..34, Some(id)) => {
            world.decide(&ModAction::Unmute { target: Target::Name(Client::name(id)) })
        }
        (34, _) => world.decide(&ModAction::Lock),
        (35..38, _) => world.decide(&ModAction::Unlock),
        (40..44, _) => world.hand_over(Outcome::Whole),
        (44, _) => world.hand_over(Outcome::Twice),
        (45, _) => world.hand_over(Outcome::WithLosses),
        (39, _) => {
            let secs = world.rng.u32(..2);
            world.decide(&ModAction::Slow { secs: Some(secs) });
        }
        (38, Some(id)) => world.plan_step(0, id, Step::Reset),
        (50, Some(id)) => world.plan_step(0, id, Step::Break),
        // A real machine's clock steps back now and then.
        (51, _) => world.day_ms = world.rng.u64(..10_000),
        (46..50, _) => {
            let (shard, ms) = (world.rng.usize(..world.shards.len()), world.rng.u64(..40));
            world.pause(shard, ms);
        }
        (52..60, _) => world.tell_presence(),
        _ => {}
    }
}

fn anybody(world: &mut World) -> Kind {
    let rng = &mut world.rng;
    let reads = match rng.u8(..10) {
        0 => Reads::Never,
        1..4 => Reads::Bits,
        4 => Reads::Bytes(rng.usize(100..100_000)),
        5 => Reads::Within(rng.u64(1..300)),
        _ => Reads::Within(1),
    };
    let sends = match rng.u8(..10) {
        0..3 => Sends::Nothing,
        3 => Sends::Pings { ms: rng.u64(1..100) },
        4..6 => Sends::Every { ms: rng.u64(1..100), bytes: rng.usize(30..300) },
        _ => Sends::Anything { ms: rng.u64(1..100) },
    };
    let closes = match rng.u8(..6) {
        0 => Closes::Never,
        1 => Closes::AgainAndAgain,
        _ => Closes::Properly,
    };
    let answers = if rng.u8(..4) == 0 { Answers::Never } else { Answers::After(rng.u64(..200)) };
    let socket_bytes = if rng.bool() { rng.usize(1..500) } else { 65_536 };
    let kind = Kind { reads, answers, sends, closes, socket_bytes, ..LISTENER };
    if rng.u8(..4) == 0 { kind.of_events() } else { kind }
}

#[test]
fn every_client_receives_the_feed_without_gap_or_repeat() {
    each_seed(400, random_events, |totals| {
        totals.sent > 1_000 && totals.too_slow > 10 && totals.hand_overs > 100
    });
}

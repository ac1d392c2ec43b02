//! Pings and idle connections, whatever a reload or a standstill does to time.

use super::*;
use std::time::Duration;

fn set(world: &mut World, ping_secs: u64, idle_secs: u64) {
    world.config.limits.ping_interval = Duration::from_secs(ping_secs);
    world.config.limits.idle_timeout = Duration::from_secs(idle_secs);
    world.settings = Settings::new(&world.config);
    world.tables[0].run_timers_soon();
}

/// Answers the pings that came since the last call, and says how many did.
fn answer(world: &mut World, id: u64, pipe: &RefCell<Pipe>) -> usize {
    let got = std::mem::take(&mut pipe.borrow_mut().from_server);
    let (mut rest, mut pings) = (&got[..], 0);
    while let Some((_, behind)) = frame::split(rest) {
        assert_ne!(rest[0], 0x88, "it answers every ping, and is closed");
        pings += usize::from(rest[0] == 0x89);
        rest = behind;
    }
    if pings > 0 {
        world.send(0, id, pipe, &client_frame(0x8a, b""));
    }
    pings
}

#[test]
fn a_reload_to_shorter_times_closes_nobody_and_comes_as_no_storm() {
    const CLIENTS: usize = 300;
    let mut world = World::new(1, |_| {});
    set(&mut world, 3_000, 7_000);
    let clients: Vec<_> = (0..CLIENTS).map(|_| world.join(0, Peer::Unix, usize::MAX)).collect();
    let mut most = 0;
    for second in 0..1_500 {
        if second == 1_000 {
            set(&mut world, 20, 60);
        }
        world.ms += 1_000;
        world.settle(0);
        let answered = clients.iter().map(|(id, pipe)| answer(&mut world, *id, pipe));
        let pings = answered.sum::<usize>();
        if second >= 1_000 {
            most = most.max(pings);
        }
    }
    assert_eq!((world.tables[0].len(), world.tables[0].counters().idle), (CLIENTS, 0));
    assert!(most <= 3 * CLIENTS / 20, "{most} pings in one second");
    // Who does not answer leaves as soon as ever.
    world.ms += 61_000;
    for _ in 0..130 {
        world.ms += 500;
        world.settle(0);
    }
    let left = world.tables[0].connections.iter().filter(|c| c.closing().is_none()).count();
    assert_eq!(left, 0);
}

#[test]
fn a_shard_that_stood_still_calls_nobody_idle() {
    let mut world = World::new(1, |_| {});
    let (id, pipe) = world.join(0, Peer::Unix, usize::MAX);
    for standstill_ms in [59_000, 61_000, 600_000] {
        // A ping is on its way, and the client answers it; nobody reads.
        for _ in 0..70 {
            world.ms += 500;
            world.settle(0);
            answer(&mut world, id, &pipe);
        }
        world.ms += standstill_ms;
        for _ in 0..4 {
            // What is in the socket is reported a little later.
            world.ms += 10;
            world.with(0, |table, turn, _| table.turn(&mut [], turn));
        }
        assert_eq!(world.tables[0].counters().idle, 0, "{standstill_ms}");
        answer(&mut world, id, &pipe);
    }
}

#[test]
fn what_waits_unread_is_a_sign_of_life() {
    let mut world = World::new(1, |_| {});
    let (_, slow) = world.join(0, Peer::Unix, usize::MAX);
    let (id, pipe) = world.join(0, Peer::Unix, usize::MAX);
    // More than may wait, before the pong.
    world.tables[0].held.push(id, &"x".repeat(5_000), (true, u64::MAX));
    for _ in 0..300 {
        world.send(0, id, &pipe, &client_frame(0x8a, b""));
        world.ms += 500;
        world.turn(0);
    }
    assert_eq!(world.tables[0].counters().idle, 1, "the other one alone");
    drop(slow);
}

#[test]
fn every_row_is_looked_after_however_often_a_round_begins() {
    let mut world = World::new(1, |_| {});
    let rows = 3 * ROWS_PER_TURN;
    let clients: Vec<_> = (0..rows).map(|_| world.join(0, Peer::Unix, usize::MAX)).collect();
    for _ in 0..2_000 {
        world.ms += 20;
        // A reload; a long round that the next one would follow is as bad.
        world.tables[0].run_timers_soon();
        world.turn(0);
    }
    let pinged = clients.iter().filter(|(_, pipe)| !pipe.borrow().from_server.is_empty());
    assert_eq!(pinged.count(), rows);
}

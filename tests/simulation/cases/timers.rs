//! Pings and idle connections, whatever a reload or a standstill does to time.

use std::time::Duration;

use super::*;

fn set(bench: &mut Bench, ping_secs: u64, idle_secs: u64) {
    bench.config.limits.ping_interval = Duration::from_secs(ping_secs);
    bench.config.limits.idle_timeout = Duration::from_secs(idle_secs);
    bench.settings = Settings::new(&bench.config);
    bench.tables[0].run_timers_soon(&bench.settings.limits);
}

/// Answers the pings since the last call, and returns how many there were.
fn answer(bench: &mut Bench, id: u64, pipe: &RefCell<Pipe>) -> usize {
    let frames = frames(pipe);
    pipe.borrow_mut().written.clear();
    assert!(frames.iter().all(|(first, _)| *first != 0x88), "a client that answers is closed");
    let pings = frames.iter().filter(|(first, _)| *first == 0x89).count();
    if pings > 0 {
        bench.send(0, id, pipe, &client_frame(0x8a, b""));
    }
    pings
}

#[test]
fn a_reload_to_shorter_times_closes_no_client_and_causes_no_storm() {
    const CLIENTS: usize = 300;
    let mut bench = Bench::new(1, |_| {});
    set(&mut bench, 3_000, 7_000);
    let clients: Vec<_> = (0..CLIENTS).map(|_| bench.join(0, Peer::Unix, usize::MAX)).collect();
    let mut most = 0;
    for second in 0..1_500 {
        if second == 1_000 {
            set(&mut bench, 20, 60);
        }
        bench.ms += 1_000;
        bench.settle(0);
        let pings: usize = clients.iter().map(|(id, pipe)| answer(&mut bench, *id, pipe)).sum();
        if second >= 1_000 {
            most = most.max(pings);
        }
    }
    assert_eq!((bench.tables[0].len(), bench.tables[0].counters().idle), (CLIENTS, 0));
    assert!(most <= 3 * CLIENTS / 20, "{most} pings in one second");
    // Clients that do not answer are closed as soon as ever.
    bench.ms += 61_000;
    for _ in 0..130 {
        bench.ms += 500;
        bench.settle(0);
    }
    assert!(bench.tables[0].positions().all(|position| position.state == FeedState::Closing));
}

#[test]
fn no_client_is_idle_because_its_shard_stood_still() {
    let mut bench = Bench::new(1, |_| {});
    let (id, pipe) = bench.join(0, Peer::Unix, usize::MAX);
    for standstill_ms in [59_000, 61_000, 600_000] {
        for _ in 0..70 {
            bench.ms += 500;
            bench.settle(0);
            answer(&mut bench, id, &pipe);
        }
        bench.ms += standstill_ms;
        for _ in 0..4 {
            // The sockets are reported a little later.
            bench.ms += 10;
            bench.with(0, |table, turn, _| table.turn(&mut [], turn));
        }
        assert_eq!(bench.tables[0].counters().idle, 0, "{standstill_ms}");
        answer(&mut bench, id, &pipe);
    }
}

#[test]
fn unread_bytes_are_a_sign_of_life() {
    // The gate stays shut, because another shard stands still.
    let mut bench = Bench::new(2, |config| config.limits.feed_tail_bytes = 65_536);
    let (id, pipe) = bench.join(0, Peer::Unix, usize::MAX);
    bench.send(0, id, &pipe, &message("ann", &"x".repeat(1_000)).repeat(100));
    let (_silent, _silent_pipe) = bench.join(0, Peer::Unix, usize::MAX);
    for _ in 0..300 {
        bench.send(0, id, &pipe, &client_frame(0x8a, b""));
        bench.ms += 500;
        bench.turn(0);
    }
    assert!(!pipe.borrow().to_server.is_empty(), "so many messages are held");
    assert_eq!(bench.tables[0].counters().idle, 1, "the silent one");
}

#[test]
fn the_timers_of_every_row_run_however_often_a_round_starts() {
    let mut bench = Bench::new(1, |_| {});
    // More than a turn visits.
    let clients: Vec<_> = (0..800).map(|_| bench.join(0, Peer::Unix, usize::MAX)).collect();
    for _ in 0..2_000 {
        bench.ms += 20;
        // A reload; a long round that the next one follows at once is as bad.
        bench.tables[0].run_timers_soon(&bench.settings.limits);
        bench.turn(0);
    }
    let pinged = clients.iter().filter(|(_, pipe)| !pipe.borrow().written.is_empty());
    assert_eq!(pinged.count(), clients.len());
}

#[test]
fn an_early_event_stream_is_not_silent_while_others_get_messages() {
    let mut bench = Bench::new(1, |_| {});
    let (id, pipe) = bench.join(0, Peer::Unix, usize::MAX);
    let (mut new, client) = bench.admit(address(1), Encoding::Events, Start::Live, usize::MAX);
    // The clock was set back while it was on its way.
    new.after = Some(Tim::from_nanos((bench.ms + 3_600_000) * 1_000_000));
    bench.adopt(0, new, &client, Vec::new());
    client.1.borrow_mut().written.clear();
    bench.run(40_000, 1_000, |bench, _| bench.send(0, id, &pipe, &message("ann", "hi")));
    let written = client.1.borrow().written.clone();
    assert_eq!(written, b":\n\n".repeat(2), "a comment every 15 s");
}

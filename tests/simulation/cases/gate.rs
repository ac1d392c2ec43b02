//! The gate stops messages alone, for a bounded time, and shares what may be sent.

use super::*;

#[test]
fn control_frames_are_answered_while_it_is_shut() {
    let (mut bench, _lagging) = Bench::with_shut_gate();
    let (id, pipe) = bench.join(0, address(1), usize::MAX);
    let sent = [message("ann", "one"), client_frame(0x89, b"two"), client_frame(0x81, b"")];
    bench.send(0, id, &pipe, &sent.concat());
    bench.turn(0);
    let got = payloads(&pipe);
    assert_eq!(got[0], b"two", "a pong");
    assert!(String::from_utf8_lossy(&got[1]).contains("bad-json"), "the answer to an empty text");
    assert_eq!(got.len(), 2, "the message waits");
}

#[test]
fn the_held_messages_of_a_connection_are_bounded() {
    let (mut bench, _lagging) = Bench::with_shut_gate();
    let (id, pipe) = bench.join(0, address(1), usize::MAX);
    let flood = message("eve", &"x".repeat(90)).repeat(10_000);
    bench.send(0, id, &pipe, &flood);
    for _ in 0..100 {
        bench.turn(0);
    }
    assert!(pipe.borrow().to_server.len() > flood.len() - 16_384, "the rest is not read");
    assert_ne!(bench.tables[0].due_ms(&bench.room), Some(0), "nothing is to be done");
}

/// Two honest clients send a message each second, beside 110 connections that flood and a
/// listener that takes `slow_bytes` every 50 ms. Returns how long this went on until the
/// listener was too slow, at most half a minute.
fn honest_clients_beside(slow_bytes: usize) -> u64 {
    const FLOODERS: usize = 110;
    let mut bench = Bench::new(2, |_| {});
    let (slow, slow_pipe) = bench.join(0, address(1_000), 2 << 20);
    let honest = [0, 1].map(|shard| (shard, bench.join(shard, address(1_001 + shard), usize::MAX)));
    // Half of the flood comes from one address, on many connections.
    let from = |number| if number % 2 == 0 { address(0) } else { address(number) };
    let flooders: Vec<_> =
        (0..FLOODERS).map(|n| (n % 2, bench.join(n % 2, from(n), usize::MAX))).collect();
    let long = message("eve", &"x".repeat(15_000)).repeat(10);
    let (mut sent, mut got, mut lasted_ms) = (0, [0, 0], 0);
    bench.run(30_000, 50, |bench, at| {
        if bench.tables[0].counters().too_slow > 0 {
            return;
        }
        lasted_ms = at;
        for (shard, (id, pipe)) in &flooders {
            pipe.borrow_mut().written.clear();
            if pipe.borrow().to_server.is_empty() {
                bench.send(*shard, *id, pipe, &long);
            }
        }
        bench.drain(0, slow, &slow_pipe, slow_bytes);
        slow_pipe.borrow_mut().written.clear();
        for (shard, (id, pipe)) in &honest {
            got[*shard] += received(pipe, "ann");
            pipe.borrow_mut().written.clear();
            if at % 1_000 == 0 {
                // Each gets the messages of both, up to those of a second ago.
                assert_eq!(got[*shard], 2 * sent, "at {at} ms");
                bench.send(*shard, *id, pipe, &message("ann", "hello"));
            }
        }
        sent += usize::from(at % 1_000 == 0);
    });
    assert_eq!(bench.tables[0].counters().idle + bench.tables[1].counters().idle, 0);
    lasted_ms
}

#[test]
fn honest_clients_are_not_delayed_by_a_slow_reader_and_floods() {
    let ms = honest_clients_beside(3_500);
    assert!((1_000..8_000).contains(&ms), "70 KB/s is too slow, after {ms} ms");
    let ms = honest_clients_beside(7_000);
    assert_eq!(ms, 29_950, "140 KB/s is not");
}

#[test]
fn accounts_share_the_gate_by_bytes() {
    for flooding in [1, 60] {
        let mut bench = Bench::new(2, |_| {});
        // It takes as much as it must to hold the gate for ever.
        let (slow, slow_pipe) = bench.join(0, address(1_000), 1 << 20);
        let join = |number: usize| (number % 2, bench.join(number % 2, address(0), usize::MAX));
        let eves: Vec<_> = (0..flooding).map(join).collect();
        let (ann, ann_pipe) = bench.join(1, address(1), usize::MAX);
        let mut bytes = [0, 0];
        bench.run(20_000, 50, |bench, at| {
            for (shard, (id, pipe)) in &eves {
                if pipe.borrow().to_server.is_empty() {
                    bench.send(*shard, *id, pipe, &message("eve", &"x".repeat(9_000)).repeat(9));
                }
                pipe.borrow_mut().written.clear();
            }
            if ann_pipe.borrow().to_server.is_empty() {
                bench.send(1, ann, &ann_pipe, &message("ann", &"x".repeat(400)).repeat(40));
            }
            bench.drain(0, slow, &slow_pipe, 20_000);
            slow_pipe.borrow_mut().written.clear();
            if at > 5_000 {
                for payload in payloads(&ann_pipe) {
                    bytes[usize::from(payload.starts_with(br#"{"usr":"ann""#))] += payload.len();
                }
            }
            ann_pipe.borrow_mut().written.clear();
        });
        assert_eq!(bench.tables[0].counters().too_slow, 0);
        let share = bytes[1] * 100 / (bytes[0] + bytes[1]);
        assert!((40..=60).contains(&share), "{share} % beside {flooding} connections");
    }
}

#[test]
fn a_burst_closes_no_listener_that_empties_a_buffer_per_round_trip() {
    for (configured_bytes, buffer_bytes, round_trip_ms, shards, tail) in [
        (65_536, 65_536, 50, 1, 4 << 20),
        (65_536, 65_536, 300, 2, 4 << 20),
        (262_144, 262_144, 300, 4, 4 << 20),
        (65_536, 65_536, 300, 16, 65_536),
        (65_536, 65_536, 50, 16, 65_536),
        // The system allows less than was configured, or a reload asks for more.
        (16 << 20, 212_992, 300, 2, 4 << 20),
        (16 << 20, 65_536, 300, 2, 65_536),
    ] {
        let mut bench = Bench::new(shards, |config| {
            config.limits.send_buffer_bytes = configured_bytes;
            config.limits.feed_tail_bytes = tail;
        });
        let join = |n| {
            let encoding = [Encoding::Frames, Encoding::Events][n / 10];
            let (new, client) = bench.admit(address(100 + n), encoding, Start::Live, buffer_bytes);
            bench.adopt(n % shards, new, &client, Vec::new());
            (n % shards, client)
        };
        let listeners: Vec<_> = (0..20).map(join).collect();
        for (_, (_, pipe)) in &listeners {
            pipe.borrow_mut().send_buffer_bytes = Some(buffer_bytes);
        }
        // Six addresses send 60 messages of 16 KiB each.
        for number in 0..6 {
            let shard = number % shards;
            let (id, pipe) = bench.join(shard, address(number), usize::MAX);
            bench.send(shard, id, &pipe, &message("ann", &"x".repeat(16_000)).repeat(60));
        }
        bench.run(60_000, 10, |bench, at| {
            if at % round_trip_ms == 0 {
                for (shard, (id, pipe)) in &listeners {
                    bench.drain(*shard, *id, pipe, buffer_bytes);
                }
            }
        });
        let case = format!("{round_trip_ms} ms, {shards} shards, tail {tail}");
        for (_, (_, pipe)) in &listeners[..10] {
            assert_eq!(received(pipe, "ann"), 360, "{case}");
        }
        let positions = bench.tables.iter().flat_map(Table::positions);
        let complete = positions.filter(|position| position.cursor == Some(bench.room.end()));
        assert_eq!(complete.count(), 26, "{case}");
    }
}

#[test]
fn one_turn_handles_a_bounded_part_of_the_held_messages() {
    const CLIENTS: usize = 1_000;
    let mut bench = Bench::new(1, |config| config.limits.feed_tail_bytes = 64 << 20);
    let (slow, slow_pipe) = bench.join(0, Peer::Unix, 0);
    let (flooder, flooder_pipe) = bench.join(0, Peer::Unix, usize::MAX);
    let flood = message("eve", &"x".repeat(16_000)).repeat(3_000);
    bench.send(0, flooder, &flooder_pipe, &flood);
    bench.settle(0);
    assert!(!bench.room.gate().is_open());
    let nonsense = client_frame(0x81, b"{}").repeat(1_000);
    for number in 0..CLIENTS {
        let (id, pipe) = bench.join(0, address(number), usize::MAX);
        bench.send(0, id, &pipe, &nonsense);
    }
    bench.settle(0);
    let refused = |bench: &Bench| bench.tables[0].counters().refused.iter().sum::<u64>();
    bench.drain(0, slow, &slow_pipe, usize::MAX);
    let mut before = refused(&bench);
    let (all, mut most) = (before + CLIENTS as u64 * 1_000, 0);
    while before < all {
        bench.turn(0);
        most = most.max(refused(&bench) - before);
        before = refused(&bench);
    }
    assert!(most < 50_000, "{most} messages in one turn");
}

#[test]
fn one_listener_holds_it_for_a_bounded_time() {
    // Less than half a buffer per round trip is too little.
    for (bytes, encoding) in [
        (0, Encoding::Frames),
        (1, Encoding::Frames),
        (1_000, Encoding::Events),
        (4_000, Encoding::Frames),
        (4_000, Encoding::Events),
    ] {
        let mut bench = Bench::new(1, |_| {});
        let (new, client) = bench.admit(address(1), encoding, Start::Live, 1 << 16);
        bench.adopt(0, new, &client, Vec::new());
        let (slow, slow_pipe) = client;
        let (ann, ann_pipe) = bench.join(0, address(2), usize::MAX);
        bench.send(0, ann, &ann_pipe, &message("ann", &"x".repeat(10_000)).repeat(1_000));
        let mut shut_ms = 0;
        bench.run(20_000, 100, |bench, _| {
            shut_ms += if bench.room.gate().is_open() { 0 } else { 100 };
            bench.drain(0, slow, &slow_pipe, bytes);
        });
        assert_eq!(bench.tables[0].counters().too_slow, 1, "{bytes} bytes in 100 ms");
        assert!(shut_ms <= 3_000, "{bytes} bytes in 100 ms: shut for {shut_ms} ms");
        assert_eq!(received(&ann_pipe, "ann"), 1_000);
    }
}

//! Connections end within a bounded time, and not before their messages are handled.

use super::*;

/// The code of the close frame that a client got, if it got one.
fn close_code(pipe: &RefCell<Pipe>) -> Option<u16> {
    let codes = frames(pipe).into_iter().filter(|(first, _)| *first == 0x88);
    let codes: Vec<_> = codes.map(|(_, code)| u16::from_be_bytes([code[0], code[1]])).collect();
    assert!(codes.len() <= 1, "one close frame is enough");
    codes.first().copied()
}

/// Closes a connection, or all as at the end of the room.
fn close(bench: &mut Bench, id: u64, kicked: bool) {
    if kicked {
        bench.kick(0, id);
    } else {
        bench.tables[0].stop_reading();
    }
}

#[test]
fn a_client_cannot_delay_its_end() {
    for kicked in [true, false] {
        let mut bench = Bench::new(1, |_| {});
        // The close frame does not fit, so the client decides when it is sent.
        let (id, pipe) = bench.join(0, Peer::Unix, 0);
        if kicked {
            bench.kick(0, id);
        }
        for _ in 0..20 {
            bench.send(0, id, &pipe, &client_frame(0x88, b"\x03\xe8"));
            bench.ms += 500;
            bench.settle(0);
        }
        assert!(bench.tables[0].is_empty(), "kicked: {kicked}");
    }
}

#[test]
fn a_client_is_read_to_its_close_frame() {
    // So many messages that not all are held: no event tells of the rest in the socket.
    for (text_bytes, messages) in [(1_000, 30), (90, 1_000)] {
        for kicked in [true, false] {
            let (mut bench, _lagging) = Bench::with_shut_gate();
            let (id, pipe) = bench.join(0, address(1), usize::MAX);
            let mut sent = message("bob", &"x".repeat(text_bytes)).repeat(messages);
            sent.extend(client_frame(0x88, b"\x03\xe8"));
            bench.send(0, id, &pipe, &sent);
            bench.settle(0);
            assert!(!pipe.borrow().to_server.is_empty());
            close(&mut bench, id, kicked);
            bench.settle(0);
            assert!(!bench.is_connected(0, id), "kicked: {kicked}");
        }
    }
}

#[test]
fn a_held_message_is_sent_after_its_client_is_gone() {
    for resets in [true, false] {
        let (mut bench, (lagging, lagging_pipe)) = Bench::with_shut_gate();
        let (id, pipe) = bench.join(0, address(1), usize::MAX);
        let mut sent = message("bob", "bye");
        if !resets {
            sent.extend(client_frame(0x88, b"\x03\xe8"));
        }
        bench.send(0, id, &pipe, &sent);
        if resets {
            bench.end(0, id, &pipe);
        }
        bench.settle(0);
        if !resets {
            assert_eq!(close_code(&pipe), Some(1000), "a close frame is answered at once");
        }
        bench.drain(0, lagging, &lagging_pipe, usize::MAX);
        bench.settle(0);
        let last = payloads(&lagging_pipe).pop().unwrap();
        assert!(String::from_utf8_lossy(&last).contains(r#""msg":"bye""#), "resets: {resets}");
        assert!(!bench.is_connected(0, id));
    }
}

#[test]
fn a_held_message_is_dropped_when_its_client_is_kicked() {
    let (mut bench, (lagging, lagging_pipe)) = Bench::with_shut_gate();
    let (id, pipe) = bench.join(0, address(1), usize::MAX);
    bench.send(0, id, &pipe, &message("bob", "the reason for the kick"));
    bench.turn(0);
    bench.kick(0, id);
    bench.drain(0, lagging, &lagging_pipe, usize::MAX);
    bench.settle(0);
    assert_eq!(received(&lagging_pipe, "bob"), 0);
    assert!(received(&lagging_pipe, "shut") > 0);
}

#[test]
fn the_reason_counts_only_messages_since_the_admission() {
    let mut bench = Bench::new(2, |config| config.limits.feed_tail_bytes = 65_536);
    let (ann, ann_pipe) = bench.join(0, Peer::Unix, usize::MAX);
    let send = |bench: &mut Bench, times| {
        for _ in 0..times {
            bench.send(0, ann, &ann_pipe, &message("ann", &"x".repeat(10_000)));
            bench.settle(0);
            bench.settle(1);
        }
    };
    send(&mut bench, 100);
    // The tail passes it between its admission and its adoption.
    let cursor = bench.room.end();
    send(&mut bench, 20);
    let (_, pipe) = bench.join_with(1, Peer::Unix, usize::MAX, cursor, Vec::new());
    let last = payloads(&pipe).pop().unwrap();
    let reason = String::from_utf8(last[2..].to_vec()).unwrap();
    let behind = reason.strip_prefix("too slow: ").and_then(|r| r.strip_suffix(" messages behind"));
    assert!((1..=20).contains(&behind.unwrap().parse().unwrap()), "{reason}");
}

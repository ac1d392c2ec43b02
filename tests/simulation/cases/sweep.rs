//! Each listener gets every message, in order.

use super::*;

/// A shard stands still while another one publishes these messages one by one.
#[track_caller]
fn check_after_standstill(text_bytes: usize, messages: usize) {
    let mut bench = Bench::new(2, |config| config.limits.feed_tail_bytes = 1 << 30);
    let (_, listener) = bench.join(0, Peer::Unix, usize::MAX);
    let (slow_id, slow) = bench.join(0, Peer::Unix, 100);
    let (speaker_id, speaker) = bench.join(1, Peer::Unix, usize::MAX);
    bench.settle(0);
    let text = "x".repeat(text_bytes);
    for number in 0..messages {
        bench.send(1, speaker_id, &speaker, &message("ann", &format!("{number} {text}")));
        bench.turn(1);
    }
    bench.settle(1);
    bench.settle(0);
    bench.drain(0, slow_id, &slow, usize::MAX);
    bench.settle(0);
    let expected = payloads(&speaker);
    assert_eq!(expected.len(), messages);
    for pipe in [&listener, &slow] {
        assert!(payloads(pipe) == expected, "{} of {messages}", payloads(pipe).len());
    }
    assert_eq!(bench.tables[0].counters().deliveries, 2 * messages as u64);
}

#[test]
fn a_shard_that_stood_still_misses_nothing() {
    // Small pieces are merged; large ones are more than one write can take.
    check_after_standstill(10, 3_000);
    check_after_standstill(2_100, 3_000);
}

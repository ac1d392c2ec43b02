//! Whoever listens gets every message, in its order.

use super::*;

/// Another shard publishes these messages one by one while a shard stands still.
#[track_caller]
fn check_after_standstill(text_bytes: usize, messages: usize) {
    let mut world = World::new(2, |config| config.limits.feed_tail_bytes = 1 << 30);
    let (_, listener) = world.join(0, Peer::Unix, usize::MAX);
    let (slow_id, slow) = world.join(0, Peer::Unix, 100);
    let (speaker_id, speaker) = world.join(1, Peer::Unix, usize::MAX);
    world.settle(0);
    let text = "x".repeat(text_bytes);
    for number in 0..messages {
        world.send(1, speaker_id, &speaker, &says("ann", &format!("{number} {text}")));
        world.turn(1);
    }
    world.settle(1);
    world.settle(0);
    world.drain(0, slow_id, &slow, usize::MAX);
    world.settle(0);
    let expected = payloads(&speaker);
    assert_eq!(expected.len(), messages);
    for pipe in [&listener, &slow] {
        assert!(payloads(pipe) == expected, "{} of {messages}", payloads(pipe).len());
    }
    assert_eq!(world.tables[0].counters().deliveries, 2 * messages as u64);
}

#[test]
fn a_shard_that_stood_still_misses_nothing() {
    // Small pieces are merged; large ones are more than one write can take.
    check_after_standstill(10, 3_000);
    check_after_standstill(2_100, 3_000);
}

//! Verifying tokens takes a bounded part of a turn, whatever clients send.

use jsonwebtoken::Algorithm;
use wschat::chat::{Secret, TokenKey};

use super::*;

const SECRET: &str = "a secret of thirty-two bytes, yes";

/// A bench where each look at the clock takes so long.
fn bench(look_us: u64) -> Bench {
    let mut bench = Bench::new(1, |config| {
        config.auth.secret = Some(Secret::new(SECRET).unwrap());
    });
    bench.look_us = look_us;
    bench
}

/// A message as a client sends it, with a token for `sub` that `secret` signs.
fn signed(secret: &str, sub: &str, msg: &str) -> Vec<u8> {
    let key = TokenKey::secret(None, Algorithm::HS256, secret.as_bytes()).unwrap();
    let token = key.sign(&serde_json::json!({ "sub": sub })).unwrap();
    let text = serde_json::json!({ "usr": sub, "msg": msg, "jwt": token }).to_string();
    client_frame(0x81, text.as_bytes())
}

/// Messages that were sent to the room.
fn sent(bench: &Bench) -> u64 {
    bench.tables[0].counters().messages
}

/// Messages that were sent or refused.
fn handled(bench: &Bench) -> u64 {
    sent(bench) + bench.tables[0].counters().refused.iter().sum::<u64>()
}

#[test]
fn bad_tokens_of_one_read_take_several_turns() {
    // Each verification takes 300 µs, as with ES384.
    let mut bench = bench(300);
    let (id, pipe) = bench.join(0, Peer::Unix, usize::MAX);
    bench.send(0, id, &pipe, &signed(SECRET, "ann", "hi").repeat(2));
    bench.settle(0);
    assert_eq!(sent(&bench), 2, "the connection is proven");
    bench.send(0, id, &pipe, &signed("another", "ann", "hi").repeat(390));
    let mut before = handled(&bench);
    while before < 392 {
        bench.turn(0);
        let now = handled(&bench);
        assert!((1..=2 * 7).contains(&(now - before)), "{} in one turn", now - before);
        before = now;
    }
}

#[test]
fn alternating_good_tokens_take_several_turns() {
    let mut bench = bench(300);
    let (id, pipe) = bench.join(0, Peer::Unix, usize::MAX);
    let (other, other_pipe) = bench.join(0, address(1), usize::MAX);
    bench.send(0, other, &other_pipe, &signed(SECRET, "bob", "hi").repeat(2));
    bench.settle(0);
    let both = [signed(SECRET, "ann", "hi"), signed(SECRET, "eve", "hi")].concat();
    bench.send(0, id, &pipe, &both.repeat(100));
    let mut before = sent(&bench);
    for turn in 0..10 {
        // A client that repeats its token is served in every turn.
        bench.send(0, other, &other_pipe, &signed(SECRET, "bob", "hi"));
        bench.turn(0);
        let more = sent(&bench) - before;
        assert!((2..=8 + 7).contains(&more), "{more} messages in one turn");
        before += more;
        assert_eq!(received(&other_pipe, "bob"), 2 + turn + 1);
    }
    bench.settle(0);
    assert_eq!(sent(&bench), 2 + 10 + 200, "none is lost");
}

#[test]
fn bad_tokens_of_many_delay_no_other_client() {
    let mut bench = bench(300);
    let attackers: Vec<_> = (0..50).map(|_| bench.join(0, Peer::Unix, usize::MAX)).collect();
    let (known, known_pipe) = bench.join(0, address(1), usize::MAX);
    bench.send(0, known, &known_pipe, &signed(SECRET, "ann", "hi").repeat(2));
    bench.settle(0);
    let bad = signed("another", "eve", "hi").repeat(50);
    for (id, pipe) in &attackers {
        bench.send(0, *id, pipe, &bad);
    }
    for turn in 0..20 {
        let (handled_before, sent_before) = (handled(&bench), sent(&bench));
        bench.send(0, known, &known_pipe, &signed(SECRET, "ann", "hi"));
        bench.turn(0);
        assert!(sent(&bench) > sent_before, "turn {turn}");
        assert!(handled(&bench) - handled_before <= 1 + 2 * 7);
    }
    // The first message of a new client is verified before the hundreds that are held.
    let (bob, bob_pipe) = bench.join(0, address(2), usize::MAX);
    bench.send(0, bob, &bob_pipe, &signed(SECRET, "bob", "hi"));
    let before = sent(&bench);
    let turns = (0..100).take_while(|_| {
        bench.turn(0);
        sent(&bench) == before
    });
    assert!(turns.count() < 20);
}

#[test]
fn early_messages_take_several_turns_and_are_handed_over() {
    let mut bench = bench(300);
    let early = signed(SECRET, "ann", "hi").repeat(30);
    let end = bench.room.end();
    let (_, pipe) = bench.join_with(0, Peer::Unix, usize::MAX, end, early.clone());
    assert_eq!(sent(&bench), 0);
    bench.settle(0);
    assert_eq!((sent(&bench), payloads(&pipe).len()), (30, 30));

    let end = bench.room.end();
    let (_, pipe) = bench.join_with(0, Peer::Unix, usize::MAX, end, early);
    bench.restart(0);
    bench.settle(0);
    assert_eq!(payloads(&pipe).len(), 30, "the connection continues");
}

#[test]
fn a_new_connection_for_each_message_gets_no_larger_share() {
    let mut bench = bench(0);
    // It takes as much as it must to hold the gate for ever.
    let (slow, slow_pipe) = bench.join(0, address(9), 1 << 20);
    let (ann, ann_pipe) = bench.join(0, address(2), usize::MAX);
    let long = "x".repeat(4_000);
    let (of_ann, of_eve) = (signed(SECRET, "ann", &long), signed(SECRET, "eve", &long));
    let mut eves: Vec<_> = (0..30).map(|_| bench.join(0, address(3), usize::MAX)).collect();
    let mut bytes = [0, 0];
    bench.run(20_000, 50, |bench, at| {
        if ann_pipe.borrow().to_server.is_empty() {
            bench.send(0, ann, &ann_pipe, &of_ann.repeat(4));
        }
        // A client ends as soon as its message is sent, and another one comes: until then
        // the connection with the held message stays.
        for (id, pipe) in &mut eves {
            if pipe.borrow().client_ended && bench.is_connected(0, *id) {
                continue;
            }
            (*id, *pipe) = bench.join(0, address(3), usize::MAX);
            bench.send(0, *id, pipe, &of_eve);
            bench.end(0, *id, pipe);
        }
        bench.drain(0, slow, &slow_pipe, 20_000);
        slow_pipe.borrow_mut().written.clear();
        bench.settle(0);
        for payload in payloads(&ann_pipe) {
            let of = usize::from(payload.starts_with(br#"{"usr":"ann""#));
            bytes[of] += if at > 5_000 { payload.len() } else { 0 };
        }
        ann_pipe.borrow_mut().written.clear();
    });
    let share = bytes[1] * 100 / (bytes[0] + bytes[1]);
    assert!(share >= 40, "{share} %");
}

//! Verifying tokens takes a bounded part of a turn, whatever clients show.

use super::*;
use crate::chat::{Secret, TokenKey};
use jsonwebtoken::Algorithm;

const SECRET: &str = "a secret of thirty-two bytes, yes";

fn world(look_us: u64) -> World {
    let mut world = World::new(1, |config| {
        config.auth.secret = Some(Secret::new(SECRET).unwrap());
    });
    world.look_us = look_us;
    world
}

/// A token for `sub` that is signed with `secret`.
fn token(secret: &str, sub: &str) -> String {
    let key = TokenKey::secret(None, Algorithm::HS256, secret.as_bytes()).unwrap();
    key.sign(&serde_json::json!({ "sub": sub })).unwrap()
}

/// A message with such a token, as a client sends it.
fn message(secret: &str, sub: &str) -> Vec<u8> {
    let jwt = token(secret, sub);
    let text = serde_json::json!({ "usr": "ann", "msg": "hi", "jwt": jwt }).to_string();
    client_frame(0x81, text.as_bytes())
}

/// Tokens that were verified, or refused after that.
fn handled(world: &World) -> u64 {
    let counters = world.tables[0].counters();
    counters.messages + counters.refused.iter().sum::<u64>()
}

#[test]
fn one_read_full_of_bad_tokens_takes_several_turns() {
    // Each verification takes 300 µs, as with ES384.
    let mut world = world(300);
    let (id, pipe) = world.join(0, Peer::Unix, usize::MAX);
    world.send(0, id, &pipe, &message(SECRET, "ann").repeat(2));
    world.settle(0);
    assert_eq!(world.tables[0].counters().messages, 2, "it is proven");
    world.send(0, id, &pipe, &message("another", "ann").repeat(390));
    let mut before = handled(&world);
    while before < 392 {
        world.turn(0);
        let now = handled(&world);
        assert!((1..=2 * 7).contains(&(now - before)), "{} in one turn", now - before);
        before = now;
    }
}

#[test]
fn two_good_tokens_in_turn_are_paid_for() {
    let mut world = world(300);
    let (id, pipe) = world.join(0, Peer::Unix, usize::MAX);
    let (other, other_pipe) = world.join(0, Peer::Tcp(([127, 0, 0, 2], 9).into()), usize::MAX);
    world.send(0, other, &other_pipe, &message(SECRET, "bob").repeat(2));
    world.settle(0);
    let both = [message(SECRET, "ann"), message(SECRET, "eve")].concat();
    world.send(0, id, &pipe, &both.repeat(100));
    let mut sent = world.tables[0].counters().messages;
    for _ in 0..10 {
        // Who shows the same token as before is served in every turn.
        world.send(0, other, &other_pipe, &message(SECRET, "bob"));
        world.turn(0);
        let more = world.tables[0].counters().messages - sent;
        assert!((2..=8 + 7).contains(&more), "{more} messages in one turn");
        sent += more;
        assert_eq!(world.tables[0].held.bytes(other), 0);
    }
    world.settle(0);
    assert_eq!(world.tables[0].counters().messages, 2 + 10 + 200, "none is lost");
}

#[test]
fn strangers_with_bad_tokens_keep_nobody_waiting() {
    let mut world = world(300);
    let attackers: Vec<_> = (0..50).map(|_| world.join(0, Peer::Unix, usize::MAX)).collect();
    let ann = Peer::Tcp(([127, 0, 0, 2], 9).into());
    let (known, known_pipe) = world.join(0, ann, usize::MAX);
    world.send(0, known, &known_pipe, &message(SECRET, "ann").repeat(2));
    world.settle(0);
    let bad = message("another", "eve").repeat(50);
    for (id, pipe) in &attackers {
        world.send(0, *id, pipe, &bad);
    }
    for turn in 0..20 {
        let before = handled(&world);
        let said = world.tables[0].counters().messages;
        world.send(0, known, &known_pipe, &message(SECRET, "ann"));
        world.turn(0);
        assert!(world.tables[0].counters().messages > said, "turn {turn}");
        assert!(handled(&world) - before <= 1 + 2 * 7);
    }
    // A newcomer's first message is verified before the hundreds that are there.
    let (bob, bob_pipe) = world.join(0, Peer::Tcp(([127, 0, 0, 3], 9).into()), usize::MAX);
    world.send(0, bob, &bob_pipe, &message(SECRET, "bob"));
    let said = world.tables[0].counters().messages;
    let turns = (0..100).take_while(|_| {
        world.turn(0);
        world.tables[0].counters().messages == said
    });
    assert!(turns.count() < 20);
}

#[test]
fn what_came_early_is_handled_in_its_turns_and_kept_in_a_handover() {
    let mut world = world(300);
    let early = message(SECRET, "ann").repeat(30);
    let (_, pipe) = world.join_with(0, Peer::Unix, usize::MAX, early.clone());
    assert_eq!(world.tables[0].counters().messages, 0);
    world.settle(0);
    assert_eq!((world.tables[0].counters().messages, payloads(&pipe).len()), (30, 30));

    let (id, pipe) = world.join_with(0, Peer::Unix, usize::MAX, early);
    world.restart(0);
    world.settle(0);
    assert_eq!(payloads(&pipe).len(), 30, "connection {id} goes on");
}

/// A message of 4,000 bytes with a token, as a client sends it.
fn long_message(sub: &str) -> Vec<u8> {
    let jwt = token(SECRET, sub);
    let text = serde_json::json!({ "usr": sub, "msg": "x".repeat(4_000), "jwt": jwt });
    client_frame(0x81, text.to_string().as_bytes())
}

#[test]
fn whoever_comes_anew_for_each_message_gets_no_more() {
    let mut world = world(0);
    let address = |n: u8| Peer::Tcp(([127, 0, 0, n], 9).into());
    // It takes as much as it must to hold the gate for ever.
    let (slow, slow_pipe) = world.join(0, address(9), 1 << 20);
    let (ann, ann_pipe) = world.join(0, address(2), usize::MAX);
    let (of_ann, of_eve) = (long_message("ann"), long_message("eve"));
    let mut eves: Vec<_> = (0..30).map(|_| world.join(0, address(3), usize::MAX)).collect();
    let mut bytes = [0, 0];
    for step in 0..400 {
        world.ms += 50;
        if ann_pipe.borrow().to_server.is_empty() {
            world.send(0, ann, &ann_pipe, &of_ann.repeat(4));
        }
        // Whoever was heard leaves, and another comes.
        for (id, pipe) in &mut eves {
            if world.tables[0].held.bytes(*id) == 0 && pipe.borrow().to_server.is_empty() {
                pipe.borrow_mut().ended = true;
                world.tables[0].ended(*id);
                (*id, *pipe) = world.join(0, address(3), usize::MAX);
                world.send(0, *id, pipe, &of_eve);
            }
        }
        world.drain(0, slow, &slow_pipe, 20_000);
        slow_pipe.borrow_mut().from_server.clear();
        world.settle(0);
        for payload in payloads(&ann_pipe) {
            let said = usize::from(payload.starts_with(br#"{"usr":"ann""#));
            bytes[said] += if step > 100 { payload.len() } else { 0 };
        }
        ann_pipe.borrow_mut().from_server.clear();
    }
    let share = bytes[1] * 100 / (bytes[0] + bytes[1]);
    assert!(share >= 40, "{share} %");
}

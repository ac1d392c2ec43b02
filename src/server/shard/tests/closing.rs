//! How connections end: in a bounded time, and not before what was sent is heard.

use super::*;
use crate::chat::Target;

/// The close code that a client got last, if it got one.
fn close_code(pipe: &RefCell<Pipe>) -> Option<u16> {
    let pipe = pipe.borrow();
    let (mut rest, mut code) = (&pipe.from_server[..], None);
    while let Some((payload, behind)) = frame::split(rest) {
        if rest[0] == 0x88 {
            assert_eq!(code, None, "one close frame is enough");
            code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        }
        rest = behind;
    }
    code
}

#[test]
fn a_client_cannot_put_off_its_end() {
    for kicked in [true, false] {
        let mut world = World::new(1, |_| {});
        // The close frame does not fit, so the client decides when it is sent.
        let (id, pipe) = world.join(0, Peer::Unix, 0);
        if kicked {
            world.with(0, |table, turn, _| table.kick(&Target::Connection(id), usize::MAX, turn));
        }
        for _ in 0..20 {
            world.send(0, id, &pipe, &client_frame(0x88, b"\x03\xe8"));
            world.ms += 500;
            world.settle(0);
        }
        assert!(world.tables[0].is_empty(), "kicked: {kicked}");
    }
}

#[test]
fn a_client_whose_messages_wait_can_answer_its_end() {
    for kicked in [true, false] {
        let mut world = World::new(1, |config| config.limits.feed_tail_bytes = 65_536);
        let _slow = world.join(0, Peer::Unix, 0);
        world.shut(0);
        let (id, pipe) = world.join(0, Peer::Tcp(([127, 0, 0, 2], 9).into()), usize::MAX);
        // So many wait that what follows is not read, and no event will tell of it.
        let mut bytes = says("bob", &"x".repeat(1_000)).repeat(30);
        bytes.extend(client_frame(0x88, b"\x03\xe8"));
        world.send(0, id, &pipe, &bytes);
        world.settle(0);
        assert!(!pipe.borrow().to_server.is_empty());
        if kicked {
            world.with(0, |table, turn, _| table.kick(&Target::Connection(id), usize::MAX, turn));
        } else {
            world.tables[0].stop_reading();
        }
        world.settle(0);
        assert!(!world.tables[0].rows.contains_key(&id), "kicked: {kicked}");
    }
}

#[test]
fn what_was_sent_before_the_end_is_heard_though_it_has_to_wait() {
    for resets in [true, false] {
        let mut world = World::new(1, |config| config.limits.feed_tail_bytes = 65_536);
        let (slow, slow_pipe) = world.join(0, Peer::Unix, 0);
        world.shut(0);
        let (id, pipe) = world.join(0, Peer::Tcp(([127, 0, 0, 2], 9).into()), usize::MAX);
        let mut bytes = says("bob", "bye");
        if !resets {
            bytes.extend(client_frame(0x88, b"\x03\xe8"));
        }
        world.send(0, id, &pipe, &bytes);
        if resets {
            pipe.borrow_mut().ended = true;
            world.tables[0].ended(id);
        }
        world.settle(0);
        if !resets {
            assert_eq!(close_code(&pipe), Some(1000), "a close frame is answered at once");
        }
        world.drain(0, slow, &slow_pipe, usize::MAX);
        world.settle(0);
        let last = payloads(&slow_pipe).pop().unwrap();
        assert!(String::from_utf8_lossy(&last).contains(r#""msg":"bye""#), "resets: {resets}");
        assert!(!world.tables[0].rows.contains_key(&id), "it is gone");
    }
}

#[test]
fn who_is_kicked_is_not_heard_any_more() {
    let mut world = World::new(1, |config| config.limits.feed_tail_bytes = 65_536);
    let (slow, slow_pipe) = world.join(0, Peer::Unix, 0);
    world.shut(0);
    let (id, pipe) = world.join(0, Peer::Tcp(([127, 0, 0, 2], 9).into()), usize::MAX);
    world.send(0, id, &pipe, &says("bob", "what he is kicked for"));
    world.turn(0);
    world.with(0, |table, turn, _| table.kick(&Target::Connection(id), usize::MAX, turn));
    world.drain(0, slow, &slow_pipe, usize::MAX);
    world.settle(0);
    let last = payloads(&slow_pipe).pop().unwrap();
    assert!(!String::from_utf8_lossy(&last).contains("kicked for"));
}

#[test]
fn a_newcomer_is_told_of_no_more_than_it_missed() {
    let mut world = World::new(2, |config| config.limits.feed_tail_bytes = 65_536);
    let (ann, ann_pipe) = world.join(0, Peer::Unix, usize::MAX);
    let say = |world: &mut World, times| {
        for _ in 0..times {
            world.send(0, ann, &ann_pipe, &says("ann", &"x".repeat(10_000)));
            world.settle(0);
            world.settle(1);
        }
    };
    say(&mut world, 100);
    // It is let in now, and comes to its shard when the tail has passed it.
    let cursor = world.room.end();
    say(&mut world, 20);
    let (_, pipe) = world.join_at(1, cursor);
    let last = payloads(&pipe).pop().unwrap();
    let reason = String::from_utf8(last[2..].to_vec()).unwrap();
    let behind = reason.strip_prefix("too slow: ").and_then(|r| r.strip_suffix(" messages behind"));
    assert!((1..=20).contains(&behind.unwrap().parse().unwrap()), "{reason}");
}

#[test]
fn who_is_not_heard_any_more_is_read_to_its_end() {
    for kicked in [true, false] {
        let mut world = World::new(1, |config| config.limits.feed_tail_bytes = 65_536);
        let _slow = world.join(0, Peer::Unix, 0);
        world.shut(0);
        let (id, pipe) = world.join(0, Peer::Tcp(([127, 0, 0, 2], 9).into()), usize::MAX);
        let mut sent = says("bob", &"x".repeat(90)).repeat(1_000);
        sent.extend(client_frame(0x88, b"\x03\xe8"));
        world.send(0, id, &pipe, &sent);
        world.settle(0);
        assert!(!pipe.borrow().to_server.is_empty(), "not all may wait");
        // No event tells of what is in the socket already.
        world.with(0, |table, turn, _| match kicked {
            true => {
                table.kick(&Target::Connection(id), usize::MAX, turn);
            }
            false => table.stop_reading(),
        });
        world.settle(0);
        assert!(!world.tables[0].rows.contains_key(&id), "kicked: {kicked}");
    }
}

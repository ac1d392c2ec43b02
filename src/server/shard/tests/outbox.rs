//! Own frames go out at frame boundaries of the feed, also across a handover.

use super::*;
use crate::feed::Log;
use crate::server::shard::cold_state::ColdState;
use crate::server::shard::connection::Connection;
use crate::server::shard::outbox::Closing;
use crate::ws::close::{AfterClose, Close};
use crate::ws::frame::Opcode;

/// The number of close frames in `bytes`; `None` if they end in the middle of a frame.
fn close_frames(mut bytes: &[u8]) -> Option<usize> {
    let mut frames = 0;
    while let Some((_, rest)) = frame::split(bytes) {
        frames += usize::from(bytes[0] == 0x88);
        bytes = rest;
    }
    bytes.is_empty().then_some(frames)
}

/// Hands a connection over. Returns whether the snapshot says that a close frame can follow.
fn hand_over(connection: Connection<Side>, log: &Log) -> (Connection<Side>, bool) {
    let permit = ConnectionCounts::new(1).admit(Peer::Unix, None, 0).unwrap();
    let new = NewConnection { id: 7, cursor: 0, permit, since_secs: 0, message_bytes_max: 1024 };
    let (snapshot, stream) = connection.into_snapshot(&ColdState::new(new, 0), Vec::new(), 0, 0);
    let snapshot = ConnectionSnapshot::decode(&snapshot.encode(), log).unwrap();
    (Connection::resume(stream, &snapshot, 0), snapshot.takes_close(log))
}

#[test]
fn a_snapshot_tells_whether_a_close_frame_can_follow() {
    let mut log = Log::new(1 << 16);
    for text in [&b"one"[..], b"two and three", b"four"] {
        let mut bytes = Vec::new();
        frame::put(Opcode::Text, text, &mut bytes);
        log.append(&bytes, 1);
    }
    // The socket takes so many bytes before and after the first handover.
    let check = |pongs: usize, closes: bool, is_passed: bool, takes: [usize; 3]| {
        let case = format!("{pongs} {closes} {is_passed} {takes:?}");
        let pipe = Rc::new(RefCell::new(Pipe::default()));
        let can_close = || close_frames(&pipe.borrow().from_server) == Some(0);
        let write = |connection: &mut Connection<Side>, room| {
            pipe.borrow_mut().room = room;
            connection.write(log.pieces()).unwrap();
        };
        let mut connection = Connection::new(Side(Rc::clone(&pipe)), 0);
        write(&mut connection, takes[0]);
        (0..pongs).for_each(|_| assert!(connection.queue_frame(Opcode::Pong, b"pong")));
        if is_passed {
            connection.detach(log.pieces());
        }
        if closes || is_passed {
            let closing = Closing { deadline_ms: 9, then: AfterClose::AwaitClose };
            connection.close(&Close::too_slow(1), closing);
        }
        write(&mut connection, takes[1]);
        let (mut connection, says) = hand_over(connection, &log);
        assert_eq!(says, can_close(), "{case}");

        write(&mut connection, takes[2]);
        let (mut connection, says) = hand_over(connection, &log);
        assert!(can_close() || !says, "{case}");

        write(&mut connection, usize::MAX);
        let want = usize::from(closes || is_passed);
        assert_eq!(close_frames(&pipe.borrow().from_server), Some(want), "{case}");
    };
    for pongs in 0..3 {
        for (closes, is_passed) in [(false, false), (true, false), (false, true)] {
            for first in 0..=log.end() as usize {
                for second in 0..60 {
                    for third in (0..25).step_by(6) {
                        check(pongs, closes, is_passed, [first, second, third]);
                    }
                }
            }
        }
    }
}

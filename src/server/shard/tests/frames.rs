//! Own frames go out at frame boundaries of the feed, also across handovers.

use std::io::{self, ErrorKind, Read, Write};

use crate::feed::{Encoding, Log};
use crate::server::admission::connection_counts::ConnectionCounts;
use crate::server::shard::cold_state::{ColdState, NewConnection};
use crate::server::shard::connection::{Connection, Stream};
use crate::server::shard::outbox::Closing;
use crate::server::snapshot::ConnectionSnapshot;
use crate::server::socket::Peer;
use crate::ws::close::{AfterClose, Close};
use crate::ws::frame::{self, Opcode};

/// Takes as many bytes as it has room for.
#[derive(Default)]
struct BoundedStream {
    room: usize,
    written: Vec<u8>,
}

impl Read for BoundedStream {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Write for BoundedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.written.extend_from_slice(&bytes[..taken]);
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for BoundedStream {
    fn shutdown_write(&mut self) {}
}

/// The number of close frames in `bytes`; `None` if they end in the middle of a frame.
fn close_frames(mut bytes: &[u8]) -> Option<usize> {
    let mut frames = 0;
    while let Some((_, rest)) = frame::split(bytes) {
        frames += usize::from(bytes[0] == 0x88);
        bytes = rest;
    }
    bytes.is_empty().then_some(frames)
}

/// Lets the socket take so many bytes. Returns whether a close frame can follow them.
fn write(connection: &mut Connection<BoundedStream>, room: usize, log: &Log) -> bool {
    connection.stream.room = room;
    connection.write(log.pieces()).unwrap();
    close_frames(&connection.stream.written) == Some(0)
}

/// Hands a connection over. Returns whether its snapshot says that a close frame can follow.
fn hand_over(
    connection: Connection<BoundedStream>,
    log: &Log,
) -> (Connection<BoundedStream>, bool) {
    let encoding = connection.encoding;
    let permit = ConnectionCounts::new(1).admit(Peer::Unix, encoding, None, 0).unwrap();
    let new = NewConnection {
        id: 7,
        encoding,
        cursor: 0,
        after: None,
        notice: None,
        permit,
        since_secs: 0,
        message_bytes_max: 1024,
    };
    let (snapshot, stream) = connection.into_snapshot(&ColdState::new(new, 0), Vec::new(), 0, 0);
    assert!(snapshot.outbox.len() <= 4_200, "an outbox of {} bytes", snapshot.outbox.len());
    let snapshot = ConnectionSnapshot::decode(&snapshot.encode(), log).unwrap();
    (Connection::resume(stream, &snapshot, 0), snapshot.takes_close(log))
}

#[test]
fn handovers_do_not_extend_the_outbox() {
    let log = Log::new(1 << 16);
    let mut connection = Connection::new(BoundedStream::default(), Encoding::Frames, 0);
    for _ in 0..9 {
        while connection.queue_frame(Opcode::Pong, &[b'x'; 100]) {}
        // The client has a part of a frame, so all that is left counts as its rest.
        write(&mut connection, 1, &log);
        connection = hand_over(connection, &log).0;
    }
}

#[test]
fn a_snapshot_tells_whether_a_close_frame_can_follow() {
    let mut log = Log::new(1 << 16);
    for text in [&b"one"[..], b"two and three", b"four"] {
        let mut bytes = Vec::new();
        frame::put(Opcode::Text, text, &mut bytes);
        log.append(&bytes, 1);
    }
    let check = |pongs: usize, closes: bool, is_passed: bool, takes: [usize; 3]| {
        let case = format!("{pongs} {closes} {is_passed} {takes:?}");
        let mut connection = Connection::new(BoundedStream::default(), Encoding::Frames, 0);
        write(&mut connection, takes[0], &log);
        (0..pongs).for_each(|_| assert!(connection.queue_frame(Opcode::Pong, b"pong")));
        if is_passed {
            connection.detach(log.pieces());
        }
        if closes || is_passed {
            let closing = Closing { deadline_ms: 9, then: AfterClose::AwaitClose };
            connection.close(&Close::too_slow(1), closing);
        }
        let can_follow = write(&mut connection, takes[1], &log);
        let (mut connection, says) = hand_over(connection, &log);
        assert_eq!(says, can_follow, "{case}");

        let can_follow = write(&mut connection, takes[2], &log);
        let (mut connection, says) = hand_over(connection, &log);
        assert!(can_follow || !says, "{case}");

        write(&mut connection, usize::MAX, &log);
        let want = usize::from(closes || is_passed);
        assert_eq!(close_frames(&connection.stream.written), Some(want), "{case}");
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

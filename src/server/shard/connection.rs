//! One open WebSocket: a stream, a cursor, and what is begun on either side.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

use serde::{Deserialize, Serialize};

use crate::chat::{Bucket, Speaker};
use crate::feed::{Pieces, Slices};
use crate::room::Participant;
use crate::server::admission::connection_counts::ConnectionPermit;
use crate::server::snapshot::{ConnectionSnapshot, DETACHED};
use crate::server::socket::Peer;
use crate::ws::Decoder;
use crate::ws::close::{AfterClose, Close};
use crate::ws::frame::{self, Opcode};

/// The most bytes of own frames that wait for a client which does not read;
/// what would be more is not sent.
const OUTBOX_BYTES_MAX: usize = 4096;

/// A time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// What a connection needs of its socket; a simulation has its own.
pub trait Stream: Read + Write {
    /// Says that nothing more will be written (a TCP FIN).
    fn shutdown_write(&mut self);

    /// How many bytes it may hold for a client that does not read, if that is known:
    /// the system may allow less than it was asked for.
    fn send_buffer_bytes(&self) -> Option<usize> {
        None
    }
}

/// What is known of a connection when it is given to a shard.
pub struct NewConnection {
    /// Its id, never used twice while the room is there.
    pub id: u64,
    /// The feed's end when the door let it in.
    pub cursor: u64,
    /// Counts it.
    pub permit: ConnectionPermit,
    /// When it joined, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// The longest message that it may send, in bytes.
    pub message_bytes_max: u32,
}

/// What every sweep touches; all else is in [`ColdState`].
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub stream: S,
    /// The position in the feed up to which all was sent.
    pub cursor: u64,
    pub decoder: Decoder,
    pub outbox: Option<Box<Outbox>>,
    pub state: FeedState,
    /// Its id stands in the table's queue of readable connections.
    pub queued: bool,
    /// It has something to read, and is read when fewer of its messages wait.
    pub unread: bool,
    /// Its end has come: it is read until there is nothing more.
    pub ended: bool,
    /// A message of it was sent to the room without a token that had to be
    /// verified, and none had to be since.
    pub proven: bool,
}

/// How a connection gets the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedState {
    /// Each sweep writes to it.
    Swept,
    /// Its socket would block; it is written to when the socket is writable again.
    Lagging,
    /// It gets the rest of a frame, the outbox, and nothing more.
    Closing,
}

impl fmt::Display for FeedState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Swept => "swept",
            Self::Lagging => "lagging",
            Self::Closing => "closing",
        })
    }
}

/// What is rarely read. Times are the table's, which stand still while the shard
/// does.
pub(crate) struct ColdState {
    pub id: u64,
    pub permit: ConnectionPermit,
    pub since_secs: u64,
    pub message_bytes_max: u32,
    /// How many messages of it were sent to the room.
    pub messages: u32,
    /// When the last whole frame came.
    pub last_frame_ms: u64,
    pub ping_due_ms: u64,
    /// The first ping that nothing followed, or [`NEVER`].
    pub pinged_ms: u64,
    /// While it is lagging: how long it counts as one that reads.
    pub reads_until_ms: u64,
    pub participant: Participant,
}

impl ColdState {
    /// The address of the client.
    pub fn peer(&self) -> Peer {
        self.permit.peer()
    }

    /// What stays the same when a connection goes on in another process.
    pub fn resume(
        row: &ConnectionSnapshot,
        permit: ConnectionPermit,
        ms: u64,
        now_ms: u64,
    ) -> Self {
        Self {
            id: row.id,
            permit,
            since_secs: row.since_secs,
            message_bytes_max: row.message_bytes_max,
            messages: row.messages,
            last_frame_ms: ms.saturating_sub(row.last_frame_ago_ms),
            ping_due_ms: ms.saturating_add(row.ping_in_ms),
            pinged_ms: NEVER,
            reads_until_ms: 0,
            participant: match (row.notices_whole_in_ms, row.name.as_str()) {
                (0, "") => Participant::default(),
                (whole_in_ms, name) => {
                    let notices = Bucket::resume(now_ms * 1000, whole_in_ms.saturating_mul(1000));
                    Participant::resume(Speaker::resume(notices, name.to_owned(), row.messages > 0))
                }
            },
        }
    }
}

/// A connection's own frames that wait for a frame boundary or for room in the
/// socket, and how far its end has come. Only there when there is something.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// How many bytes at the beginning are the rest of a frame whose beginning
    /// the client has; whole frames follow.
    rest: usize,
    pub close: Option<Closing>,
}

/// A close frame of ours is in the outbox or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// When the connection is dropped whatever the client does.
    pub deadline_ms: u64,
    pub then: AfterClose,
}

/// How far a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// All that there was.
    All,
    /// The socket would block.
    Blocked,
}

impl<S: Stream> Connection<S> {
    pub fn new(stream: S, cursor: u64) -> Self {
        let (decoder, outbox) = (Decoder::default(), None);
        Self {
            stream,
            cursor,
            decoder,
            outbox,
            state: FeedState::Lagging,
            queued: false,
            unread: false,
            ended: false,
            proven: false,
        }
    }

    /// A connection that goes on where `row` says; its socket may block.
    pub fn resume(stream: S, row: &ConnectionSnapshot, ms: u64) -> Self {
        let mut connection = Self::new(stream, row.cursor);
        if let Some(partial) = &row.partial {
            connection.decoder = Decoder::resume(partial.clone());
        }
        let closing = |(left_ms, then)| Closing { deadline_ms: ms.saturating_add(left_ms), then };
        let close = row.closing.map(closing);
        if close.is_some() {
            connection.state = FeedState::Closing;
        }
        if close.is_some() || !row.outbox.is_empty() {
            connection.outbox = Some(Box::new(Outbox::resume(row, close)));
        }
        connection
    }

    /// What the next process has to know, and the stream. `held` are the messages
    /// of it that wait, `ms` is the table's time.
    pub fn into_snapshot(
        self,
        cold: &ColdState,
        held: Vec<u8>,
        ms: u64,
        now_ms: u64,
    ) -> (ConnectionSnapshot, S) {
        let outbox = self.outbox.unwrap_or_default();
        let closing = |close: Closing| (close.deadline_ms.saturating_sub(ms), close.then);
        // Whoever has a close frame is waited for by no tail.
        let is_closed = outbox.close.is_some() && !outbox.is_pending();
        let row = ConnectionSnapshot {
            id: cold.id,
            cursor: if is_closed { DETACHED } else { self.cursor },
            peer: cold.peer(),
            since_secs: cold.since_secs,
            message_bytes_max: cold.message_bytes_max,
            messages: cold.messages,
            last_frame_ago_ms: ms.saturating_sub(cold.last_frame_ms),
            ping_in_ms: cold.ping_due_ms.saturating_sub(ms),
            held,
            partial: self.decoder.into_state(),
            outbox: outbox.bytes.get(outbox.sent..).unwrap_or_default().to_vec(),
            outbox_begun: outbox.is_begun(),
            closing: outbox.close.map(closing),
            notices_whole_in_ms: cold.participant.speaker().notices().full_in_us(now_ms * 1000)
                / 1000,
            name: cold.participant.speaker().name().to_owned(),
        };
        (row, self.stream)
    }

    /// Writes the own frames, at a frame boundary, and then what `pieces` hold
    /// behind the cursor. Gives back how many messages were completed.
    ///
    /// # Errors
    ///
    /// The socket's: the connection is gone.
    pub fn write(&mut self, pieces: &Pieces) -> io::Result<(Wrote, u64)> {
        let before = pieces.messages_before(self.cursor);
        let wrote = self.write_in_turn(pieces)?;
        Ok((wrote, pieces.messages_before(self.cursor).saturating_sub(before)))
    }

    fn write_in_turn(&mut self, pieces: &Pieces) -> io::Result<Wrote> {
        loop {
            if self.outbox.as_ref().is_some_and(|outbox| outbox.is_pending()) {
                let rest = rest_of_frame(pieces, self.cursor);
                if !rest.is_empty() {
                    match write_once(&mut self.stream, &[IoSlice::new(rest)])? {
                        0 => return Ok(Wrote::Blocked),
                        written => self.cursor += written as u64,
                    }
                } else if self.write_outbox()? == Wrote::Blocked {
                    return Ok(Wrote::Blocked);
                }
            } else if self.state == FeedState::Closing {
                return Ok(Wrote::All);
            } else {
                let slices = pieces.slices_from(self.cursor);
                if slices.bytes == 0 {
                    return Ok(Wrote::All);
                }
                if self.write_slices(&slices)? == 0 {
                    return Ok(Wrote::Blocked);
                }
            }
        }
    }

    /// One write of all that `slices` holds, the sweep's inner step. Gives back
    /// how much of it the socket took: 0 if it would block.
    #[inline]
    pub fn write_slices(&mut self, slices: &Slices<'_>) -> io::Result<usize> {
        let written = write_once(&mut self.stream, &slices.slices)?;
        self.cursor += written as u64;
        Ok(written)
    }

    /// One write of what the outbox holds.
    fn write_outbox(&mut self) -> io::Result<Wrote> {
        let Some(outbox) = &mut self.outbox else { return Ok(Wrote::All) };
        let rest = outbox.bytes.get(outbox.sent..).unwrap_or_default();
        let written = write_once(&mut self.stream, &[IoSlice::new(rest)])?;
        outbox.sent += written;
        if outbox.is_pending() {
            return Ok(if written == 0 { Wrote::Blocked } else { Wrote::All });
        }
        match outbox.close {
            None => self.outbox = None,
            Some(close) => {
                outbox.bytes = Vec::new();
                (outbox.sent, outbox.rest) = (0, 0);
                if close.then == AfterClose::AwaitEnd {
                    self.stream.shutdown_write();
                }
            }
        }
        Ok(Wrote::All)
    }

    /// Puts a pong, a ping or a notice into the outbox, if it has room.
    pub fn queue_frame(&mut self, opcode: Opcode, payload: &[u8]) -> bool {
        if self.state == FeedState::Closing {
            return false;
        }
        let outbox = self.outbox.get_or_insert_default();
        let fits = outbox.bytes.len() + payload.len() <= OUTBOX_BYTES_MAX;
        if fits {
            frame::put(opcode, payload, &mut outbox.bytes);
        }
        fits
    }

    /// Puts the close frame into the outbox: the last thing that is sent. A
    /// second call only changes what follows.
    pub fn close(&mut self, close: &Close, closing: Closing) {
        let outbox = self.outbox.get_or_insert_default();
        if self.state != FeedState::Closing {
            self.state = FeedState::Closing;
            frame::put_close(close, &mut outbox.bytes);
        }
        outbox.close = Some(closing);
    }

    /// Takes the rest of a begun frame out of the feed into the outbox, because
    /// the tail is about to pass it.
    pub fn detach(&mut self, pieces: &Pieces) {
        let rest = rest_of_frame(pieces, self.cursor);
        if !rest.is_empty() {
            let outbox = self.outbox.get_or_insert_default();
            assert!(!outbox.is_begun(), "an own frame is only begun at a frame boundary");
            outbox.bytes.splice(..outbox.sent, rest.iter().copied());
            (outbox.sent, outbox.rest) = (0, rest.len());
        }
        self.cursor = DETACHED;
    }

    /// The client is gone, or both close frames are there: nothing is sent or
    /// expected any more.
    pub fn finish(&mut self, ms: u64) {
        let close = Some(Closing { deadline_ms: ms, then: AfterClose::Drop });
        self.outbox = Some(Box::new(Outbox { close, ..Outbox::default() }));
        self.state = FeedState::Closing;
        self.cursor = DETACHED;
    }

    /// Whether it is [finished](Self::finish).
    pub fn is_finished(&self) -> bool {
        let drops = |closing: Closing| closing.then == AfterClose::Drop;
        !self.has_own_frames() && self.closing().is_some_and(drops)
    }

    /// How the connection ends, if it does.
    pub fn closing(&self) -> Option<Closing> {
        self.outbox.as_ref()?.close
    }

    /// Whether own frames wait.
    pub fn has_own_frames(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.is_pending())
    }
}

impl Outbox {
    /// The outbox of `row`. A row does not say how long the rest of a begun frame
    /// is, so all its bytes count as that.
    fn resume(row: &ConnectionSnapshot, close: Option<Closing>) -> Self {
        let rest = if row.has_whole_outbox() { 0 } else { row.outbox.len() };
        Self { bytes: row.outbox.clone(), sent: 0, rest, close }
    }

    fn is_pending(&self) -> bool {
        self.sent < self.bytes.len()
    }

    /// Whether the client has a part of the frame that is to be sent next.
    fn is_begun(&self) -> bool {
        match self.sent.checked_sub(self.rest) {
            _ if !self.is_pending() => false,
            None => true,
            Some(sent) => frame::frame_end(&self.bytes[self.rest..], sent) != sent,
        }
    }
}

/// One write of something; a socket that would block took 0 bytes. A plain
/// `send(2)` is cheaper than `writev(2)`, so a single slice gets one.
#[inline]
fn write_once<S: Write>(stream: &mut S, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        let result = match slices {
            [one] => stream.write(one),
            many => stream.write_vectored(many),
        };
        return match result {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(written) => Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

/// What is left of the frame in which the cursor is; nothing at a boundary.
fn rest_of_frame(pieces: &Pieces, cursor: u64) -> &[u8] {
    let Some(piece) = pieces.at(cursor) else { return &[] };
    let offset = (cursor - piece.start) as usize;
    &piece.bytes[offset..frame::frame_end(&piece.bytes, offset)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Log;
    use crate::server::admission::connection_counts::ConnectionCounts;

    /// Takes as many bytes as there is room for.
    #[derive(Default)]
    struct Narrow {
        room: usize,
        got: Vec<u8>,
    }

    impl Read for Narrow {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match bytes.len().min(self.room) {
                0 => Err(ErrorKind::WouldBlock.into()),
                taken => {
                    self.room -= taken;
                    self.got.extend_from_slice(&bytes[..taken]);
                    Ok(taken)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Stream for Narrow {
        fn shutdown_write(&mut self) {}
    }

    /// How many close frames `bytes` hold; none if they end in the middle of a
    /// frame.
    fn closes(mut bytes: &[u8]) -> Option<usize> {
        let mut closes = 0;
        while let Some((_, behind)) = frame::split(bytes) {
            closes += usize::from(bytes[0] == 0x88);
            bytes = behind;
        }
        bytes.is_empty().then_some(closes)
    }

    /// What happens to a connection between its writes.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        says: usize,
        closes: bool,
        loses_place: bool,
    }

    fn cold() -> ColdState {
        ColdState {
            id: 7,
            permit: ConnectionCounts::new(1).admit(Peer::Unix, None, 0).expect("no limit"),
            since_secs: 0,
            message_bytes_max: 1024,
            messages: 0,
            last_frame_ms: 0,
            ping_due_ms: 0,
            pinged_ms: NEVER,
            reads_until_ms: 0,
            participant: Participant::default(),
        }
    }

    /// Hands a connection over, and says whether a close frame can follow.
    fn hand_over(connection: Connection<Narrow>, log: &Log) -> (Connection<Narrow>, bool) {
        let (row, stream) = connection.into_snapshot(&cold(), Vec::new(), 0, 0);
        let row = ConnectionSnapshot::decode(&row.encode(), log).expect("it was just written");
        (Connection::resume(stream, &row, 0), row.takes_close(log))
    }

    #[test]
    fn whether_a_close_frame_can_follow_is_known_in_every_handover() {
        let mut log = Log::new(1 << 16);
        for text in [&b"one"[..], b"two and three", b"four"] {
            let mut bytes = Vec::new();
            frame::put(Opcode::Text, text, &mut bytes);
            log.append(&bytes, 1);
        }
        let check = |case: Case, first: usize, second: usize, third: usize| {
            let stream = Narrow { room: first, got: Vec::new() };
            let mut connection = Connection::new(stream, 0);
            connection.write(log.pieces()).unwrap();
            for _ in 0..case.says {
                assert!(connection.queue_frame(Opcode::Pong, b"pong"));
            }
            if case.loses_place {
                connection.detach(log.pieces());
            }
            if case.closes || case.loses_place {
                let closing = Closing { deadline_ms: 9, then: AfterClose::AwaitClose };
                connection.close(&Close::too_slow(1), closing);
            }
            connection.stream.room = second;
            connection.write(log.pieces()).unwrap();
            let can = closes(&connection.stream.got) == Some(0);
            let (mut connection, says) = hand_over(connection, &log);
            assert_eq!(says, can, "{case:?} {first} {second}");

            connection.stream.room = third;
            connection.write(log.pieces()).unwrap();
            let can = closes(&connection.stream.got) == Some(0);
            let (mut connection, says) = hand_over(connection, &log);
            assert!(can || !says, "{case:?} {first} {second} {third}");

            connection.stream.room = usize::MAX;
            connection.write(log.pieces()).unwrap();
            let want = usize::from(case.closes || case.loses_place);
            assert_eq!(closes(&connection.stream.got), Some(want), "{case:?} {first} {second}");
        };
        for says in 0..3 {
            for (closes, loses_place) in [(false, false), (true, false), (false, true)] {
                let case = Case { says, closes, loses_place };
                for first in 0..=log.end() as usize {
                    for second in 0..60 {
                        (0..25).step_by(6).for_each(|third| check(case, first, second, third));
                    }
                }
            }
        }
    }
}

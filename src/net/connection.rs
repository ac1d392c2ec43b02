//! One open WebSocket: a stream, a cursor, and what is begun on either side.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use serde::{Deserialize, Serialize};

use super::socket::Peer;
use super::state::Row;
use crate::chat::{Bucket, Speaker};
use crate::feed::{Pieces, Span};
use crate::wire::Inbound;
use crate::wire::close::Close;
use crate::wire::frame::{self, Opcode};

/// The most bytes of own frames that wait for a client which does not read;
/// what would be more is not sent.
const OUTBOX_BYTES_MAX: usize = 4096;

/// The cursor of a connection that gets nothing more from the feed.
pub(super) const DETACHED: u64 = u64::MAX;

/// What a connection needs of its socket; a simulation has its own.
pub trait Stream: Read + Write {
    /// Says that nothing more will be written (a TCP FIN).
    fn shutdown_write(&mut self);
}

/// What is known of a connection when it is given to a shard.
#[derive(Debug)]
pub struct Arrival {
    /// Its id, never used twice while the room is there.
    pub id: u64,
    /// The feed's end when the door let it in.
    pub cursor: u64,
    /// Who it is.
    pub peer: Peer,
    /// When it joined, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// The longest message that it may send, in bytes.
    pub message_bytes_max: u32,
    /// Whether it is counted among the connections of its address.
    pub counted: bool,
}

/// What every sweep touches; all else is in [`Details`].
#[derive(Debug)]
pub(super) struct Connection<S> {
    pub stream: S,
    /// The position in the feed up to which all was sent.
    pub cursor: u64,
    pub inbound: Inbound,
    pub outbox: Option<Box<Outbox>>,
    pub state: State,
    /// Its id stands in the table's queue of readable connections.
    pub queued: bool,
    /// Its end has come: it is read until there is nothing more.
    pub ended: bool,
    /// It is counted among the connections of its address.
    pub counted: bool,
    /// A message of it was sent to the room, and no bad token came since.
    pub proven: bool,
}

/// Who feeds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The sweep does.
    Swept,
    /// Its socket would block; it is served when it becomes writable.
    Lagging,
    /// It gets the rest of a begun frame, its outbox, and no more.
    Closing,
}

/// What is rarely read.
pub(super) struct Details {
    pub id: u64,
    pub peer: Peer,
    pub since_secs: u64,
    pub message_bytes_max: u32,
    /// How many messages of it were sent to the room.
    pub messages: u32,
    /// When the last whole frame came.
    pub heard_ms: u64,
    pub ping_due_ms: u64,
    /// When it last took something while it was far behind.
    pub read_ms: u64,
    pub speaker: Speaker,
}

impl Details {
    /// What stays the same when a connection goes on in another process.
    pub fn resume(row: &Row, now_ms: u64) -> Self {
        Self {
            id: row.id,
            peer: row.peer,
            since_secs: row.since_secs,
            message_bytes_max: row.message_bytes_max,
            messages: row.messages,
            heard_ms: now_ms.saturating_sub(row.heard_ago_ms),
            ping_due_ms: now_ms + row.ping_in_ms,
            read_ms: 0,
            speaker: match (row.notices_whole_in_ms, row.name.as_str()) {
                (0, "") => Speaker::default(),
                (whole_in_ms, name) => {
                    let notices = Bucket::resume(now_ms * 1000, whole_in_ms.saturating_mul(1000));
                    Speaker::resume(notices, name.to_owned())
                }
            },
        }
    }
}

/// A connection's own frames that wait for a frame boundary or for room in the
/// socket, and how far its end has come. Only there when there is something.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    pub close: Option<Closing>,
}

/// A close frame of ours is in the outbox or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// When the connection is dropped whatever the client does.
    pub deadline_ms: u64,
    pub then: AfterClose,
}

/// What follows when a close frame of ours is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterClose {
    /// The client asked for it: both frames are there, the server ends the
    /// stream first (RFC 6455, section 7.1.1).
    Drop,
    /// The client's close frame is waited for.
    AwaitClose,
    /// What the client sends has no meaning any more: only its end is awaited.
    AwaitEnd,
}

/// How far a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// All that there was.
    All,
    /// The socket would block.
    Blocked,
}

impl<S: Stream> Connection<S> {
    pub fn new(stream: S, cursor: u64) -> Self {
        let (inbound, outbox) = (Inbound::default(), None);
        Self {
            stream,
            cursor,
            inbound,
            outbox,
            state: State::Lagging,
            queued: false,
            ended: false,
            counted: false,
            proven: false,
        }
    }

    /// A connection that goes on where `row` says; its socket may block.
    pub fn resume(stream: S, row: &Row, now_ms: u64) -> Self {
        let mut connection = Self::new(stream, row.cursor);
        if let Some(partial) = &row.partial {
            connection.inbound = Inbound::resume(partial.clone());
        }
        let closing = |(left_ms, then)| Closing { deadline_ms: now_ms + left_ms, then };
        let close = row.closing.map(closing);
        if close.is_some() {
            connection.state = State::Closing;
        }
        if close.is_some() || !row.outbox.is_empty() {
            let outbox = Outbox { bytes: row.outbox.clone(), sent: 0, close };
            connection.outbox = Some(Box::new(outbox));
        }
        connection
    }

    /// What the next process has to know, and the stream.
    pub fn into_row(self, details: &Details, now_ms: u64) -> (Row, S) {
        let outbox = self.outbox.unwrap_or_default();
        let closing = |close: Closing| (close.deadline_ms.saturating_sub(now_ms), close.then);
        let row = Row {
            id: details.id,
            cursor: self.cursor,
            peer: details.peer,
            since_secs: details.since_secs,
            message_bytes_max: details.message_bytes_max,
            messages: details.messages,
            heard_ago_ms: now_ms.saturating_sub(details.heard_ms),
            ping_in_ms: details.ping_due_ms.saturating_sub(now_ms),
            partial: self.inbound.into_partial(),
            outbox: outbox.bytes.get(outbox.sent..).unwrap_or_default().to_vec(),
            outbox_begun: outbox.sent > 0,
            closing: outbox.close.map(closing),
            notices_whole_in_ms: details.speaker.notices().whole_in_us(now_ms * 1000) / 1000,
            name: details.speaker.name().to_owned(),
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
        let before = messages_before(pieces, self.cursor);
        let wrote = self.write_in_turn(pieces)?;
        Ok((wrote, messages_before(pieces, self.cursor).saturating_sub(before)))
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
            } else if self.state == State::Closing {
                return Ok(Wrote::All);
            } else {
                let span = pieces.span(self.cursor);
                if span.bytes == 0 {
                    return Ok(Wrote::All);
                }
                if self.write_span(&span)? == 0 {
                    return Ok(Wrote::Blocked);
                }
            }
        }
    }

    /// One write of all that `span` holds, the sweep's inner step. Gives back
    /// how much of it the socket took: 0 if it would block.
    #[inline]
    pub fn write_span(&mut self, span: &Span<'_>) -> io::Result<usize> {
        let written = write_once(&mut self.stream, &span.slices)?;
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
                outbox.sent = 0;
                if close.then == AfterClose::AwaitEnd {
                    self.stream.shutdown_write();
                }
            }
        }
        Ok(Wrote::All)
    }

    /// Puts a pong, a ping or a notice into the outbox, if it has room.
    pub fn say(&mut self, opcode: Opcode, payload: &[u8]) -> bool {
        if self.state == State::Closing {
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
        if self.state != State::Closing {
            self.state = State::Closing;
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
            assert_eq!(outbox.sent, 0, "an own frame is only begun at a frame boundary");
            outbox.bytes.splice(0..0, rest.iter().copied());
        }
        self.cursor = DETACHED;
    }

    /// How the connection ends, if it does.
    pub fn closing(&self) -> Option<Closing> {
        self.outbox.as_ref()?.close
    }

    /// Whether own frames wait.
    pub fn has_to_say(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.is_pending())
    }
}

impl Outbox {
    fn is_pending(&self) -> bool {
        self.sent < self.bytes.len()
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
    &piece.bytes[offset..frame::place(&piece.bytes, offset).frame_end]
}

/// How many messages of the feed end at or before the cursor.
pub(super) fn messages_before(pieces: &Pieces, cursor: u64) -> u64 {
    match pieces.at(cursor) {
        Some(piece) => {
            let offset = (cursor - piece.start) as usize;
            piece.messages_before + frame::place(&piece.bytes, offset).frames_before
        }
        // The cursor is behind the last piece, or nobody asks.
        None => pieces.iter().next_back().map_or(0, |p| p.messages_before + u64::from(p.messages)),
    }
}

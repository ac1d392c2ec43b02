//! One listener, a WebSocket or an event stream: its stream, its cursor, and what is incomplete in either direction.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::feed::{Encoding, Pieces, Progress, Slices};
use crate::server::shard::cold_state::ColdState;
use crate::server::shard::outbox::{Closing, Outbox};
use crate::server::snapshot::{ConnectionSnapshot, DETACHED};
use crate::ws::Decoder;
use crate::ws::close::{AfterClose, Close};
use crate::ws::frame::Opcode;

/// The socket of a connection; tests have their own.
pub trait Stream: Read + Write {
    /// Closes the sending side (a TCP FIN).
    fn shutdown_write(&mut self);

    /// The size of the send buffer in bytes, if it is known: the system may allow less than
    /// was configured.
    fn send_buffer_bytes(&self) -> Option<usize> {
        None
    }

    /// Lets the system close the connection if its peer acknowledges nothing for so long.
    fn set_user_timeout(&self, _timeout: Duration) {}
}

/// The part of a connection that every sweep reads; all else is in [`ColdState`].
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub stream: S,
    /// The position in the feed up to which everything was sent.
    pub cursor: u64,
    pub decoder: Decoder,
    outbox: Option<Box<Outbox>>,
    pub state: FeedState,
    pub readiness: Readiness,
    pub encoding: Encoding,
    /// A message of it was sent to the room without a token that had to be verified, and no
    /// token had to be since.
    pub proven: bool,
}

/// How a connection gets the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FeedState {
    /// Each sweep writes to it.
    Swept,
    /// Its socket would block; it is written to when the socket is writable again.
    Lagging,
    /// It gets the feed from the first message after its time on, which is not there yet.
    Early,
    /// It gets the rest of a frame, the outbox, and nothing more.
    Closing,
}

impl fmt::Display for FeedState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Swept => "swept",
            Self::Lagging => "lagging",
            Self::Early => "early",
            Self::Closing => "closing",
        })
    }
}

/// Whether there is something to read from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Nothing until the next event.
    Drained,
    /// There may be, and its id is in the table's queue.
    Queued,
    /// There may be, but it is not read until fewer of its messages are held.
    Deferred,
}

/// The result of writing to a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteResult {
    /// The socket would block.
    pub is_blocked: bool,
    /// How many messages of the feed are complete now.
    pub messages: u64,
    /// How many bytes of the feed were written.
    pub feed_bytes: usize,
    /// How many bytes of the outbox were written.
    pub own_bytes: usize,
}

impl<S: Stream> Connection<S> {
    pub fn new(stream: S, encoding: Encoding, cursor: u64) -> Self {
        Self {
            stream,
            cursor,
            decoder: Decoder::default(),
            outbox: None,
            state: FeedState::Lagging,
            readiness: Readiness::Drained,
            encoding,
            proven: false,
        }
    }

    /// Continues a connection of another process; its socket may block. `ms` is the table's
    /// clock.
    pub fn resume(stream: S, snapshot: &ConnectionSnapshot, ms: u64) -> Self {
        let mut connection = Self::new(stream, snapshot.encoding, snapshot.cursor);
        if let Some(partial) = &snapshot.partial {
            connection.decoder = Decoder::resume(partial.clone());
        }
        let closing = snapshot
            .closing
            .map(|(left_ms, then)| Closing { deadline_ms: ms.saturating_add(left_ms), then });
        if closing.is_some() {
            connection.state = FeedState::Closing;
        }
        if closing.is_some() || !snapshot.outbox.is_empty() || snapshot.event_bytes > 0 {
            connection.outbox = Some(Box::new(Outbox::resume(snapshot, closing)));
        }
        connection
    }

    /// What the next process has to know, and the stream. `held` are the held messages, `ms`
    /// is the table's clock and `now_ms` that of the shards.
    pub fn into_snapshot(
        self,
        cold: &ColdState,
        held: Vec<u8>,
        ms: u64,
        now_ms: u64,
    ) -> (ConnectionSnapshot, S) {
        let outbox = self.outbox.unwrap_or_default();
        let left = |closing: Closing| (closing.deadline_ms.saturating_sub(ms), closing.then);
        // A client that got its close frame needs nothing more of the feed.
        let has_close = outbox.closing.is_some() && !outbox.is_pending();
        let (speaker, totals) = (cold.participant.speaker(), cold.totals());
        let snapshot = ConnectionSnapshot {
            id: cold.id,
            cursor: if has_close { DETACHED } else { self.cursor },
            peer: cold.peer(),
            since_secs: cold.since_secs.into(),
            message_bytes_max: cold.message_bytes_max,
            messages: u32::try_from(totals.messages).unwrap_or(u32::MAX),
            last_frame_ago_ms: ms.saturating_sub(cold.last_frame_ms),
            ping_in_ms: cold.ping_due_ms.saturating_sub(ms),
            held,
            partial: self.decoder.into_state(),
            outbox: outbox.all_pending(),
            outbox_begun: outbox.is_mid_frame(),
            closing: outbox.closing.map(left),
            notices_whole_in_ms: speaker.notices().full_in_us(now_ms * 1000) / 1000,
            name: speaker.name().to_owned(),
            encoding: self.encoding,
            event_bytes: outbox.event_bytes as u32,
            after_tim: 0,
            refused: totals.refused,
            rate_limited: totals.rate_limited,
            received_bytes: totals.received_bytes,
        };
        (snapshot, self.stream)
    }

    /// Writes the outbox, between two messages of the feed, and then what `pieces` hold after
    /// the cursor.
    ///
    /// # Errors
    ///
    /// The socket's: the connection is gone.
    pub fn write(&mut self, pieces: &Pieces) -> io::Result<WriteResult> {
        let before = pieces.messages_before(self.cursor);
        let mut result = WriteResult::default();
        result.is_blocked = self.write_in_order(pieces, &mut result)?;
        result.messages = pieces.messages_before(self.cursor).saturating_sub(before);
        Ok(result)
    }

    /// Returns whether the socket would block.
    fn write_in_order(&mut self, pieces: &Pieces, result: &mut WriteResult) -> io::Result<bool> {
        loop {
            let written = if self.has_pending_frames() {
                match &pieces.rest_of_message(self.encoding, self.progress())[..] {
                    [] => {
                        let written = self.write_outbox()?;
                        result.own_bytes += written;
                        written
                    }
                    rest => {
                        let written = write_once(&mut self.stream, &[IoSlice::new(rest)])?;
                        self.advance(pieces, written);
                        result.feed_bytes += written;
                        written
                    }
                }
            } else if self.state == FeedState::Closing {
                return Ok(false);
            } else {
                let slices = pieces.slices(self.encoding, self.progress());
                if slices.bytes == 0 {
                    return Ok(false);
                }
                let written = self.write_slices(&slices, pieces)?;
                result.feed_bytes += written;
                written
            };
            if written == 0 {
                return Ok(true);
            }
        }
    }

    /// Writes `slices` of `pieces` once: the inner step of a sweep. Returns how many bytes the
    /// socket took, 0 if it would block.
    #[inline]
    pub fn write_slices(&mut self, slices: &Slices<'_>, pieces: &Pieces) -> io::Result<usize> {
        let written = write_once(&mut self.stream, &slices.slices)?;
        if written == slices.bytes {
            self.set_progress(Progress { cursor: slices.end, event_bytes: 0 });
        } else {
            self.advance(pieces, written);
        }
        Ok(written)
    }

    fn advance(&mut self, pieces: &Pieces, written: usize) {
        self.set_progress(pieces.advance(self.encoding, self.progress(), written));
    }

    /// How far it has come in the feed.
    pub fn progress(&self) -> Progress {
        let event_bytes = self.outbox.as_ref().map_or(0, |outbox| outbox.event_bytes);
        Progress { cursor: self.cursor, event_bytes }
    }

    fn set_progress(&mut self, progress: Progress) {
        self.cursor = progress.cursor;
        if progress.event_bytes > 0 {
            self.outbox_mut().event_bytes = progress.event_bytes;
        } else if let Some(outbox) = &mut self.outbox {
            outbox.event_bytes = 0;
            if !outbox.is_pending() && outbox.closing.is_none() {
                self.outbox = None;
            }
        }
    }

    fn outbox_mut(&mut self) -> &mut Outbox {
        let encoding = self.encoding;
        self.outbox.get_or_insert_with(|| Box::new(Outbox::empty(encoding, None)))
    }

    /// Writes the outbox once.
    fn write_outbox(&mut self) -> io::Result<usize> {
        let Some(outbox) = &mut self.outbox else { return Ok(0) };
        let written = write_once(&mut self.stream, &[IoSlice::new(outbox.pending())])?;
        outbox.advance(written);
        if !outbox.is_pending() {
            match outbox.closing {
                None => self.outbox = None,
                Some(closing) if closing.then == AfterClose::AwaitEnd => {
                    self.stream.shutdown_write();
                }
                Some(_) => {}
            }
        }
        Ok(written)
    }

    /// Puts a pong, a ping or a notice into the outbox, if there is room for it.
    pub fn queue_frame(&mut self, opcode: Opcode, payload: &[u8]) -> bool {
        self.state != FeedState::Closing && self.outbox_mut().push(opcode, payload)
    }

    /// Puts a text into the outbox, however long that is.
    pub fn queue_answer(&mut self, text: &[u8]) {
        if self.state != FeedState::Closing {
            self.outbox_mut().push_always(Opcode::Text, text);
        }
    }

    /// Whether its own frames should be written before more are added.
    pub fn owes_frames(&self) -> bool {
        self.outbox.as_deref().is_some_and(Outbox::is_long)
    }

    /// Puts the close frame into the outbox: the last frame that is sent. Another call only
    /// changes what follows.
    pub fn close(&mut self, close: &Close, closing: Closing) {
        if self.state != FeedState::Closing {
            self.state = FeedState::Closing;
            self.outbox_mut().push_close(close);
        }
        self.outbox_mut().closing = Some(closing);
    }

    /// Moves the rest of a partly written frame from the feed into the outbox, because the
    /// tail is about to pass it.
    pub fn detach(&mut self, pieces: &Pieces) {
        let rest = pieces.rest_of_message(self.encoding, self.progress());
        if !rest.is_empty() {
            self.outbox_mut().push_rest(rest);
        }
        self.set_progress(Progress { cursor: DETACHED, event_bytes: 0 });
    }

    /// Sends and expects nothing more: the client is gone, or both close frames were sent.
    pub fn finish(&mut self, ms: u64) {
        let closing = Some(Closing { deadline_ms: ms, then: AfterClose::Drop });
        self.outbox = Some(Box::new(Outbox::empty(self.encoding, closing)));
        self.state = FeedState::Closing;
        self.cursor = DETACHED;
    }

    /// Whether it is [finished](Self::finish).
    pub fn is_finished(&self) -> bool {
        let drops = |closing: Closing| closing.then == AfterClose::Drop;
        !self.has_pending_frames() && self.closing().is_some_and(drops)
    }

    /// How the connection ends, if it is closing.
    pub fn closing(&self) -> Option<Closing> {
        self.outbox.as_ref()?.closing
    }

    /// Whether the outbox has something to write.
    pub fn has_pending_frames(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.is_pending())
    }
}

/// Writes once; returns 0 if the socket would block. `send(2)` is cheaper than `sendmsg(2)`,
/// so a single slice is not written as a vector.
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

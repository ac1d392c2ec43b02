//! What a snapshot holds, and whether it is valid.

use serde::{Deserialize, Serialize};

use crate::chat::{Moderation, Tim};
use crate::feed::{Encoding, Log, Piece, Progress, RecoveredTail, RoomHistory, StreamMark};
use crate::room::{AccountSnapshot, TrafficTotals};
use crate::server::socket::Peer;
use crate::sse;
use crate::ws::DecoderState;
use crate::ws::close::AfterClose;
use crate::ws::frame;

/// The cursor of a connection that gets nothing more from the feed.
pub(crate) const DETACHED: u64 = u64::MAX;

/// No room gets this far in ten thousand years.
const POSITION_MAX: u64 = 1 << 62;

/// The whole room, without the sockets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The newest `tim`, in nanoseconds since the Unix epoch.
    pub last_tim: u64,
    /// The position in the feed at which its tail starts.
    pub tail_start: u64,
    /// How many messages were sent before the tail.
    pub messages_before: u64,
    /// The tail: whole frames, with the number of messages in them.
    pub tail: Vec<(u32, Vec<u8>)>,
    /// The id of the next connection.
    pub next_id: u64,
    /// The most listeners that there ever were.
    pub listeners_peak: u64,
    /// How many handovers there were.
    pub restarts_survived: u64,
    /// When the room was first opened, in seconds since the Unix epoch.
    pub started_secs: u64,
    /// The counters of all shards together, by name.
    pub counters: Vec<(String, u64)>,
    /// The decisions of moderators and operators.
    pub moderation: Moderation,
    /// How much of its budget each speaker has used.
    pub account_snapshots: Vec<AccountSnapshot>,
    /// A [`ConnectionSnapshot`] for each socket, in the order of the sockets.
    pub rows: Vec<Vec<u8>>,
    /// Every message with a greater `tim`, in nanoseconds since the Unix epoch, is in the tail.
    pub complete_since: u64,
    /// How far the stream of a cluster was read with all messages up to the end of the tail;
    /// `None` without a cluster.
    pub stream_mark: Option<StreamMark>,
    /// How many crashes there were.
    pub crashes_survived: u64,
    /// Whether a token was needed to send messages; `None` if that is not known.
    pub needed_token: Option<bool>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionSnapshot {
    /// Its id.
    pub id: u64,
    /// Its position in the feed; `u64::MAX` if it gets nothing more from the feed.
    pub cursor: u64,
    /// The address of the client.
    pub peer: Peer,
    /// When it joined, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// The longest message that it may send, in bytes.
    pub message_bytes_max: u32,
    /// How many of its messages were sent to the room.
    pub messages: u32,
    /// The time since its last frame.
    pub last_frame_ago_ms: u64,
    /// The time until its next ping.
    pub ping_in_ms: u64,
    /// Messages that were read and not handled yet, each as a text frame. They still
    /// have their tokens.
    pub held: Vec<u8>,
    /// The part of a message or frame that was read so far.
    pub partial: Option<DecoderState>,
    /// What is to be written besides the feed: own frames, after the rest of a frame
    /// that was partly written.
    pub outbox: Vec<u8>,
    /// Whether the outbox starts with such a rest, of a frame of the feed or an own one.
    pub outbox_begun: bool,
    /// If it is closing: the time that is left in ms, and what follows.
    pub closing: Option<(u64, AfterClose)>,
    /// The budget of its notices, as a [`Bucket`](crate::chat::Bucket) counts it:
    /// milliseconds until it is full.
    pub notices_whole_in_ms: u64,
    /// The name in its last message; empty if it sent none.
    pub name: String,
    /// The encoding that it gets.
    pub encoding: Encoding,
    /// How many bytes it has of the event at its cursor.
    pub event_bytes: u32,
    /// It gets messages with a greater `tim` only, in nanoseconds since the Unix epoch.
    pub after_tim: u64,
    /// How many of its messages were refused,
    pub refused: u64,
    /// and how many of those because it was too fast.
    pub rate_limited: u64,
    /// How many bytes it has sent.
    pub received_bytes: u64,
}

impl Snapshot {
    /// Whether a feed can be made of it: its pieces are whole frames, and its
    /// positions and numbers leave room to go on.
    pub(super) fn is_valid(&self) -> bool {
        let numbers = [self.tail_start, self.messages_before, self.next_id];
        numbers.iter().all(|n| *n <= POSITION_MAX)
            && self.tail.iter().all(|(_, bytes)| !bytes.is_empty() && are_whole(bytes))
    }

    /// Continues with the tail of a process that crashed.
    pub fn set_tail(&mut self, tail: RecoveredTail) {
        self.last_tim = tail.last_tim.nanos();
        self.tail_start = tail.start;
        self.messages_before = tail.messages_before;
        self.complete_since = tail.complete_since.nanos();
        self.tail = tail.records;
        self.stream_mark = tail.stream_mark;
        self.restarts_survived = tail.history.restarts;
        self.crashes_survived = tail.history.crashes;
    }

    /// What the room has survived.
    pub fn history(&self) -> RoomHistory {
        RoomHistory { restarts: self.restarts_survived, crashes: self.crashes_survived }
    }

    /// Stores the tail of `log`.
    pub fn set_log(&mut self, log: &Log) {
        let oldest = log.pieces().iter().next();
        self.tail_start = oldest.map_or(log.end(), |piece| piece.start);
        self.messages_before = oldest.map_or(log.messages(), |piece| piece.messages_before);
        self.complete_since = log.complete_since().nanos();
        self.stream_mark = log.stream_mark();
        let copy = |piece: &Piece| (piece.messages, piece.bytes.to_vec());
        self.tail = log.pieces().iter().map(copy).collect();
    }

    /// The feed, which continues where the stored one ended.
    pub fn log(&self, feed_tail_bytes: usize) -> Log {
        let complete_since = Tim::from_nanos(self.complete_since);
        let (start, messages) = (self.tail_start, self.messages_before);
        let mut log = Log::resume(feed_tail_bytes, start, messages, complete_since);
        for (messages, bytes) in &self.tail {
            log.append(bytes, *messages);
        }
        log.find_presence();
        log.set_stream_mark(self.stream_mark);
        log
    }

    /// The newest `tim` of the room.
    pub fn last_tim(&self) -> Tim {
        Tim::from_nanos(self.last_tim)
    }
}

impl ConnectionSnapshot {
    /// Whether it fits a room whose feed is `log`.
    pub(super) fn is_valid(&self, log: &Log) -> bool {
        let start = log.pieces().start().unwrap_or(log.end());
        let in_feed = (start..=log.end()).contains(&self.cursor);
        let is_detached = self.cursor == DETACHED && self.closing.is_some();
        let in_order = match self.outbox_begun {
            // An own frame is only started at a frame boundary of the feed.
            true => self.is_at_frame_boundary(log),
            false => self.are_whole(&self.outbox),
        };
        ((in_feed && in_order && self.has_event(log)) || is_detached) && are_whole(&self.held)
    }

    /// Whether the part of an event that it has is part of the event at its cursor.
    fn has_event(&self, log: &Log) -> bool {
        match (self.encoding, self.event_bytes) {
            (Encoding::Frames, bytes) => bytes == 0,
            (Encoding::Events, 0) => self.is_at_frame_boundary(log),
            (Encoding::Events, bytes) => {
                let at = Progress { cursor: self.cursor, event_bytes: bytes as usize };
                let rest = log.pieces().rest_of_message(Encoding::Events, at);
                self.is_at_frame_boundary(log) && !rest.is_empty()
            }
        }
    }

    /// What it has sent.
    pub fn totals(&self) -> TrafficTotals {
        TrafficTotals {
            messages: self.messages.into(),
            refused: self.refused,
            rate_limited: self.rate_limited,
            received_bytes: self.received_bytes,
        }
    }

    /// Whether a close frame can follow what the client has: whole frames only, and
    /// no close frame.
    pub fn takes_close(&self, log: &Log) -> bool {
        let is_closed = self.closing.is_some() && self.outbox.is_empty();
        self.encoding == Encoding::Frames
            && !is_closed
            && !self.outbox_begun
            && self.is_at_frame_boundary(log)
    }

    /// Whether the outbox holds whole frames only. The outbox of a detached connection
    /// may start with the rest of a frame; older versions do not tell.
    pub(crate) fn has_whole_outbox(&self) -> bool {
        let is_unknown = self.cursor == DETACHED && !self.outbox.is_empty();
        !self.outbox_begun && !is_unknown && self.are_whole(&self.outbox)
    }

    /// Whether `bytes` are whole frames or events of this connection, or none.
    fn are_whole(&self, bytes: &[u8]) -> bool {
        match self.encoding {
            Encoding::Frames => are_whole(bytes),
            Encoding::Events => sse::event_end(bytes, bytes.len()).is_some(),
        }
    }

    /// Whether the cursor is at a frame boundary of the feed. A position outside the
    /// feed is none, except for its end.
    fn is_at_frame_boundary(&self, log: &Log) -> bool {
        let is_boundary = |piece: &Piece| {
            let offset = (self.cursor - piece.start) as usize;
            frame::frame_end(&piece.bytes, offset) == offset
        };
        let is_end = [log.end(), DETACHED].contains(&self.cursor);
        is_end || log.pieces().at(self.cursor).is_some_and(is_boundary)
    }
}

/// Whether `bytes` are whole frames of a server, or none.
fn are_whole(mut bytes: &[u8]) -> bool {
    while let Some((_, rest)) = frame::split(bytes) {
        bytes = rest;
    }
    bytes.is_empty()
}

//! A run of adjacent pieces of the feed, from which listeners get what follows their
//! cursor.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::encoding::{self, Encoding};
use crate::chat::{Tim, is_gap_notice};
use crate::sse;
use crate::ws::frame;

/// The most slices of one vectored write (`IOV_MAX` of Linux).
pub const SLICES_MAX: usize = 1024;

/// Whole frames that were appended together. The bytes are shared: a clone increments a
/// reference count.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The position of the first byte.
    pub start: u64,
    /// The number of messages before this piece.
    pub messages_before: u64,
    /// The number of messages in this piece.
    pub messages: u32,
    /// The `tim` of the last message up to its end; zero if that was never in memory.
    pub last_tim: Tim,
    /// The frames.
    pub bytes: Bytes,
    /// The events, as soon as a listener has needed them. All clones have the same.
    pub(super) events: Arc<OnceLock<Bytes>>,
}

impl Piece {
    /// The position behind the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The frames of its messages, without the state of the room.
    pub fn message_frames(&self) -> Cow<'_, [u8]> {
        encoding::only_messages(&self.bytes)
    }

    /// The events of its texts; made by the first call.
    fn events(&self) -> &Bytes {
        self.events.get_or_init(|| encoding::events(&self.bytes).into())
    }

    /// Its texts in this encoding.
    fn encoded(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::Frames => &self.bytes,
            Encoding::Events => self.events(),
        }
    }

    /// Where a listener is in its bytes of this encoding.
    fn offset(&self, encoding: Encoding, at: Progress) -> usize {
        let offset = at.cursor.saturating_sub(self.start) as usize;
        if encoding == Encoding::Frames {
            return offset;
        }
        let before = encoding::texts(&self.bytes).take_while(|span| span.frame_end <= offset);
        before.last().map_or(0, |span| span.event_end) + at.event_bytes
    }
}

/// How far a listener has come: a position in the feed, and if it gets events, how many bytes
/// it has of the event there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The position; at a frame boundary if the listener gets events.
    pub cursor: u64,
    /// The bytes of the event at the cursor.
    pub event_bytes: usize,
}

/// What follows a cursor, as far as one vectored write can send it.
#[derive(Debug, Default)]
pub struct Slices<'a> {
    /// At most [`SLICES_MAX`] slices.
    pub slices: Vec<IoSlice<'a>>,
    /// The sum of their lengths.
    pub bytes: usize,
    /// The position behind them.
    pub end: u64,
}

/// Adjacent pieces, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Pieces(VecDeque<Piece>);

impl Pieces {
    /// Adds the piece that follows the last one.
    pub fn push(&mut self, piece: Piece) {
        if let Some(last) = self.0.back() {
            assert_eq!(last.end(), piece.start, "pieces of the feed are adjacent");
        }
        self.0.push_back(piece);
    }

    /// The position of the oldest byte, if there is one.
    pub fn start(&self) -> Option<u64> {
        self.0.front().map(|piece| piece.start)
    }

    /// The position behind the newest byte, if there is one.
    pub fn end(&self) -> Option<u64> {
        self.0.back().map(Piece::end)
    }

    /// Whether there is no piece.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pieces, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Piece> {
        self.0.iter()
    }

    /// Replaces the last `count` pieces by one with the same bytes, or all if there are less.
    pub(super) fn merge_last(&mut self, count: usize) {
        let parts = self.0.split_off(self.0.len().saturating_sub(count));
        let Some(first) = parts.front() else { return };
        let (start, messages_before) = (first.start, first.messages_before);
        let last_tim = parts.back().map_or(first.last_tim, |last| last.last_tim);
        let events = Arc::<OnceLock<_>>::default();
        if parts.iter().all(|piece| piece.events.get().is_some()) {
            let parts: Vec<&[u8]> = parts.iter().map(|piece| &piece.events()[..]).collect();
            // It was created empty just now.
            let _ = events.set(parts.concat().into());
        }
        let messages = parts.iter().map(|piece| piece.messages).sum();
        let mut bytes = BytesMut::with_capacity(parts.iter().map(|piece| piece.bytes.len()).sum());
        parts.iter().for_each(|piece| bytes.extend_from_slice(&piece.bytes));
        let bytes = bytes.freeze();
        self.push(Piece { start, messages_before, messages, last_tim, bytes, events });
    }

    /// Adds what follows this run in `log`, or what follows `start` if this run is empty.
    /// Pieces that the log has merged replace their parts here.
    ///
    /// # Panics
    ///
    /// If the log no longer holds the byte that follows this run.
    pub fn follow(&mut self, log: &Self, start: u64) {
        let have = self.end().unwrap_or(start);
        // Starts with the piece that contains the last byte of this run: that piece may
        // have been merged.
        for piece in log.since(have.saturating_sub(1)) {
            while self.0.back().is_some_and(|last| last.start >= piece.start) {
                self.0.pop_back();
            }
            if self.is_empty() && piece.end() > start || self.end() == Some(piece.start) {
                self.0.push_back(piece.clone());
            }
        }
        let holds = |position| self.start().is_none_or(|first| first <= position);
        assert!(holds(have), "the feed retains what a shard has not fetched");
    }

    /// Forgets the events, which are made again if a listener needs them.
    pub(super) fn forget_events(&mut self) {
        self.0.iter_mut().for_each(|piece| piece.events = Arc::default());
    }

    /// Forgets the pieces that end at or before `position`.
    pub fn forget_before(&mut self, position: u64) {
        while self.0.front().is_some_and(|piece| piece.end() <= position) {
            self.0.pop_front();
        }
        // The memory of many pieces must not stay in use after a burst.
        if self.0.capacity() > 64 && self.0.len() * 4 < self.0.capacity() {
            self.0.shrink_to(self.0.len() * 2);
        }
    }

    /// The piece that contains the byte at `position`.
    pub fn at(&self, position: u64) -> Option<&Piece> {
        self.since(position).next().filter(|piece| piece.start <= position)
    }

    /// The pieces with bytes at or behind `position`, oldest first.
    pub fn since(&self, position: u64) -> impl Iterator<Item = &Piece> {
        let first = self.0.partition_point(|piece| piece.end() <= position);
        self.0.range(first..)
    }

    /// The number of messages of the feed that end at or before `cursor`. For a cursor
    /// before the first piece: the number before that piece.
    pub fn messages_before(&self, cursor: u64) -> u64 {
        match self.since(cursor).next() {
            Some(piece) => {
                let offset = cursor.saturating_sub(piece.start) as usize;
                piece.messages_before + encoding::messages_before(&piece.bytes, offset)
            }
            None => self.0.back().map_or(0, |last| last.messages_before + u64::from(last.messages)),
        }
    }

    /// The position of the first message whose `tim` is greater than `after`, and its `tim`;
    /// `None` if there is none.
    pub fn first_after(&self, after: Tim) -> Option<(u64, Tim)> {
        let (position, text) = self.first_text_after(after)?;
        Some((position, Tim::stamped(text)?))
    }

    /// The same with the text of the message.
    fn first_text_after(&self, after: Tim) -> Option<(u64, &[u8])> {
        let first = self.0.partition_point(|piece| piece.last_tim <= after);
        // The message of its `last_tim` may be forgotten, if it has presence only.
        self.0.range(first..).find_map(|piece| {
            let (offset, text) = encoding::first_after(&piece.bytes, after)?;
            Some((piece.start + offset as u64, text))
        })
    }

    /// The text of each message, oldest first.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().flat_map(|piece| encoding::messages(&piece.bytes).map(|span| span.text))
    }

    /// The text of the message with this `tim`.
    pub(super) fn text_of(&self, tim: Tim) -> Option<&[u8]> {
        let before = Tim::from_nanos(tim.nanos().checked_sub(1)?);
        let (_, text) = self.first_text_after(before)?;
        (Tim::stamped(text) == Some(tim)).then_some(text)
    }

    /// Where the notice of a gap starts that is the last message before `position`, and its
    /// `tim`; `None` if another message is.
    pub(super) fn gap_before(&self, position: u64) -> Option<(u64, Tim)> {
        let pieces = self.0.range(..self.0.partition_point(|piece| piece.start < position));
        let last = |piece: &'_ Piece| {
            let end = (position - piece.start) as usize;
            let before = encoding::messages(&piece.bytes).take_while(|it| it.frame_end <= end);
            let last = before.last()?;
            let tim = is_gap_notice(last.text).then(|| Tim::stamped(last.text)).flatten();
            Some(tim.map(|tim| (piece.start + last.frame_start as u64, tim)))
        };
        pieces.rev().find_map(last)?
    }

    /// The first frame boundary at or behind `position`.
    pub fn boundary_from(&self, position: u64) -> u64 {
        match self.since(position).next() {
            Some(piece) if piece.start < position => {
                let offset = (position - piece.start) as usize;
                piece.start + frame::frame_end(&piece.bytes, offset) as u64
            }
            Some(piece) => piece.start,
            None => position,
        }
    }

    /// The `tim` of the first message at or behind this frame boundary, if there is one.
    pub fn tim_from(&self, position: u64) -> Option<Tim> {
        self.since(position).find_map(|piece| {
            let offset = position.saturating_sub(piece.start) as usize;
            encoding::messages(piece.bytes.get(offset..)?)
                .next()
                .map(|message| Tim::stamped(message.text))
        })?
    }

    /// The rest of the message that a listener has received in part; nothing at a boundary.
    pub fn rest_of_message(&self, encoding: Encoding, at: Progress) -> Bytes {
        let Some(piece) = self.at(at.cursor) else { return Bytes::new() };
        // Events are not made for a listener that has nothing of one.
        if encoding == Encoding::Events && at.event_bytes == 0 {
            return Bytes::new();
        }
        let (bytes, start) = (piece.encoded(encoding), piece.offset(encoding, at));
        let end = match encoding {
            Encoding::Frames => frame::frame_end(bytes, start),
            Encoding::Events => sse::event_end(bytes, start).unwrap_or(start),
        };
        bytes.slice_ref(bytes.get(start..end).unwrap_or_default())
    }

    /// What follows in this encoding, as far as one write can send it.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::feed::{Encoding, Log, Progress};
    /// let mut log = Log::new(65_536);
    /// log.append(b"first", 1);
    /// log.append(b"second", 1);
    /// let from = Progress { cursor: 3, event_bytes: 0 };
    /// let slices = log.pieces().slices(Encoding::Frames, from);
    /// assert_eq!(slices.bytes, 8);
    /// assert_eq!(&*slices.slices[0], b"st");
    /// ```
    ///
    /// # Panics
    ///
    /// If the byte at the cursor is no longer in memory.
    pub fn slices(&self, encoding: Encoding, from: Progress) -> Slices<'_> {
        let mut slices = Slices { end: from.cursor, ..Slices::default() };
        for piece in self.since(from.cursor).take(SLICES_MAX) {
            assert!(piece.start <= slices.end, "the byte at the cursor is in memory");
            // Only the first piece begins before the cursor.
            let skip = match slices.end == from.cursor {
                true => piece.offset(encoding, from),
                false => 0,
            };
            let slice = piece.encoded(encoding).get(skip..).unwrap_or_default();
            slices.slices.push(IoSlice::new(slice));
            slices.bytes += slice.len();
            slices.end = piece.end();
        }
        slices
    }

    /// How far a listener has come that has received `written` more bytes.
    pub fn advance(&self, encoding: Encoding, from: Progress, written: usize) -> Progress {
        if encoding == Encoding::Frames {
            return Progress { cursor: from.cursor + written as u64, event_bytes: 0 };
        }
        let mut left = from.event_bytes + written;
        let mut cursor = from.cursor;
        for piece in self.since(from.cursor) {
            let offset = cursor.saturating_sub(piece.start) as usize;
            for span in encoding::texts(&piece.bytes).filter(|span| span.frame_end > offset) {
                let bytes = span.event_end - span.event_start;
                if left < bytes {
                    return Progress { cursor, event_bytes: left };
                }
                left -= bytes;
                cursor = piece.start + span.frame_end as u64;
            }
        }
        Progress { cursor, event_bytes: left }
    }
}

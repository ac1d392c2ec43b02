//! A run of adjacent pieces of the feed, from which listeners get what follows their
//! cursor.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Bytes, BytesMut};

use super::encoding;

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
    /// The frames.
    pub bytes: Bytes,
}

impl Piece {
    /// The position behind the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// What follows a cursor, as far as one vectored write can send it.
#[derive(Debug, Default)]
pub struct Slices<'a> {
    /// At most [`SLICES_MAX`] slices.
    pub slices: Vec<IoSlice<'a>>,
    /// The sum of their lengths.
    pub bytes: usize,
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
        let messages = parts.iter().map(|piece| piece.messages).sum();
        let mut bytes = BytesMut::with_capacity(parts.iter().map(|piece| piece.bytes.len()).sum());
        parts.iter().for_each(|piece| bytes.extend_from_slice(&piece.bytes));
        self.push(Piece { start, messages_before, messages, bytes: bytes.freeze() });
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

    /// What follows `cursor`, as far as one write can send it.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::feed::Log;
    /// let mut log = Log::new(65_536);
    /// log.append(b"first", 1);
    /// log.append(b"second", 1);
    /// let slices = log.pieces().slices_from(3);
    /// assert_eq!(slices.bytes, 8);
    /// assert_eq!(&*slices.slices[0], b"st");
    /// ```
    ///
    /// # Panics
    ///
    /// If the byte at `cursor` is no longer in memory.
    pub fn slices_from(&self, cursor: u64) -> Slices<'_> {
        let mut slices = Slices::default();
        let mut end = cursor;
        for piece in self.since(cursor).take(SLICES_MAX) {
            assert!(piece.start <= end, "the byte at the cursor is in memory");
            #[expect(clippy::indexing_slicing, reason = "`since` gives pieces that end behind it")]
            let slice = &piece.bytes[(end - piece.start) as usize..];
            slices.slices.push(IoSlice::new(slice));
            slices.bytes += slice.len();
            end = piece.end();
        }
        slices
    }
}

//! A run of adjacent pieces of the feed, and the question that every listener
//! asks of it: what comes after my cursor?

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// The most slices that one vectored write takes (`IOV_MAX` of Linux).
pub const SLICES_MAX: usize = 1024;

/// Whole frames that were appended together: a handle on shared bytes, so a
/// clone costs a reference count and never a copy.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The position of the first byte.
    pub start: u64,
    /// How many messages the feed held before this piece.
    pub messages_before: u64,
    /// How many messages the piece holds.
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

/// What lies between a cursor and the end of a run, ready for one write.
#[derive(Debug, Default)]
pub struct Span<'a> {
    /// The bytes, in order, at most [`SLICES_MAX`] slices.
    pub slices: Vec<IoSlice<'a>>,
    /// Their length together.
    pub bytes: usize,
    /// How many messages end in them.
    pub messages: u64,
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

    /// The position of the oldest byte, if there is any.
    pub fn start(&self) -> Option<u64> {
        self.0.front().map(|piece| piece.start)
    }

    /// The position behind the newest byte, if there is any.
    pub fn end(&self) -> Option<u64> {
        self.0.back().map(Piece::end)
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The pieces, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Piece> {
        self.0.iter()
    }

    /// Forgets the pieces that end at or before `position`.
    pub fn forget_before(&mut self, position: u64) {
        while self.0.front().is_some_and(|piece| piece.end() <= position) {
            self.0.pop_front();
        }
        // A burst of small pieces must not keep its room for ever.
        if self.0.capacity() > 64 && self.0.len() * 4 < self.0.capacity() {
            self.0.shrink_to(self.0.len() * 2);
        }
    }

    /// The piece that holds the byte at `position`.
    pub fn at(&self, position: u64) -> Option<&Piece> {
        self.since(position).next().filter(|piece| piece.start <= position)
    }

    /// The pieces that hold bytes at or behind `position`, oldest first.
    pub fn since(&self, position: u64) -> impl Iterator<Item = &Piece> {
        let first = self.0.partition_point(|piece| piece.end() <= position);
        self.0.range(first..)
    }

    /// All that a listener at `cursor` lacks, as far as one write can take it.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::feed::Log;
    /// let mut log = Log::new(65_536);
    /// log.append(b"first", 1);
    /// log.append(b"second", 1);
    /// let span = log.pieces().span(3);
    /// assert_eq!((span.bytes, span.messages), (8, 2));
    /// assert_eq!(&*span.slices[0], b"st");
    /// ```
    pub fn span(&self, cursor: u64) -> Span<'_> {
        let mut span = Span::default();
        for piece in self.since(cursor).take(SLICES_MAX) {
            let from = cursor.saturating_sub(piece.start) as usize;
            let slice = &piece.bytes[from..];
            span.slices.push(IoSlice::new(slice));
            span.bytes += slice.len();
            span.messages += u64::from(piece.messages);
        }
        span
    }
}

//! The log itself: appending, and forgetting what fell out of the tail.

use bytes::BytesMut;

use super::{Piece, Pieces};

/// How much memory is asked for at once; pieces are slices of such a page.
const PAGE_BYTES: usize = 64 * 1024;

/// The append-only log of frames with its tail.
#[derive(Debug)]
pub struct Log {
    pieces: Pieces,
    /// What is left of the newest page.
    page: BytesMut,
    end: u64,
    messages: u64,
    tail_bytes: u64,
}

impl Log {
    /// An empty log that keeps the newest `tail_bytes` bytes.
    pub fn new(tail_bytes: usize) -> Self {
        Self::resume(tail_bytes, 0, 0)
    }

    /// A log that goes on at the position `start`, after `messages` messages.
    pub fn resume(tail_bytes: usize, start: u64, messages: u64) -> Self {
        Self {
            pieces: Pieces::default(),
            page: BytesMut::new(),
            end: start,
            messages,
            tail_bytes: tail_bytes as u64,
        }
    }

    /// Appends `frames`, whole frames that carry `messages` messages.
    pub fn append(&mut self, frames: &[u8], messages: u32) {
        if frames.is_empty() {
            return;
        }
        if self.page.capacity() < frames.len() {
            self.page = BytesMut::with_capacity(frames.len().max(PAGE_BYTES));
        }
        self.page.extend_from_slice(frames);
        let bytes = self.page.split().freeze();
        let piece = Piece { start: self.end, messages_before: self.messages, messages, bytes };
        self.end = piece.end();
        self.messages += u64::from(messages);
        self.pieces.push(piece);
    }

    /// What is held, oldest first.
    pub fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// The position behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many messages were appended since the first.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The position at which the tail begins by its size: a cursor before it
    /// has lost its place.
    pub fn floor(&self) -> u64 {
        self.end.saturating_sub(self.tail_bytes)
    }

    /// How many bytes are held.
    pub fn held_bytes(&self) -> u64 {
        self.end - self.pieces.start().unwrap_or(self.end)
    }

    /// Forgets what is older than the tail, but nothing at or behind `needed`:
    /// a shard that has not yet looked after its lagging connections there
    /// still reads it.
    pub fn forget(&mut self, needed: u64) {
        self.pieces.forget_before(self.floor().min(needed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_from(log: &Log, cursor: u64) -> Vec<u8> {
        log.pieces().span(cursor).slices.iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn pieces_share_a_page_and_keep_its_bytes() {
        let mut log = Log::new(1 << 20);
        log.append(b"one", 1);
        log.append(b"two", 1);
        let ends: Vec<_> = log.pieces().iter().map(|p| p.bytes.as_ptr_range()).collect();
        assert_eq!(ends[0].end, ends[1].start, "the second piece follows in the same page");
        assert_eq!(bytes_from(&log, 0), b"onetwo");
    }

    #[test]
    fn a_reader_that_still_needs_the_tail_keeps_it() {
        let mut log = Log::new(10);
        for _ in 0..10 {
            log.append(b"12345", 1);
        }
        log.forget(7);
        assert_eq!(log.pieces().start(), Some(5));
        log.forget(u64::MAX);
        assert_eq!((log.pieces().start(), log.held_bytes()), (Some(40), 10));
    }

    proptest! {
        #[test]
        fn any_cursor_reads_what_was_appended(
            appends in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..60),
            at in any::<prop::sample::Index>(),
            tail in 1usize..4000,
        ) {
            let all: Vec<u8> = appends.concat();
            let mut log = Log::new(tail);
            for frames in &appends {
                log.append(frames, 1);
                log.forget(u64::MAX);
                let largest = appends.iter().map(Vec::len).max().unwrap_or(0);
                prop_assert!(log.held_bytes() < (tail + largest) as u64);
            }
            prop_assert_eq!(log.end(), all.len() as u64);
            let first = log.pieces().start().unwrap_or(log.end());
            let cursor = first + at.index((log.end() - first + 1) as usize) as u64;
            prop_assert_eq!(bytes_from(&log, cursor), &all[cursor as usize..]);
        }
    }
}

//! Writes a tail file.

use std::collections::VecDeque;

use super::format::{Mark, Place, RECORD_HEADER_BYTES, RING_START, put_record};
use crate::chat::Tim;
use crate::ws::frame;

/// A longer batch is split into several records, at frame boundaries.
const RECORD_BYTES: usize = 64 * 1024;
/// Old records are forgotten in parts of this fraction of the ring.
const PARTS: u64 = 32;

/// Writes a tail file. Every function gets `write`, which stores bytes at an offset of the
/// file. After an error of `write` the file and the writer are not valid.
#[derive(Debug)]
pub struct TailFileWriter {
    ring_bytes: u64,
    mark: Mark,
    /// Places up to which the records can be forgotten, oldest first.
    places: VecDeque<Place>,
    /// The bytes of a record or of the mark, kept for their memory.
    buffer: Vec<u8>,
}

impl TailFileWriter {
    /// The size of a file that always holds the newest `tail_bytes` bytes of the feed: records
    /// of the smallest messages are a fifth longer than the messages, and what is forgotten
    /// together may contain a message of a quarter of the tail.
    pub fn file_bytes(tail_bytes: usize) -> usize {
        RING_START + tail_bytes + tail_bytes / 2 + RECORD_BYTES
    }

    /// Starts a file of `file_bytes` bytes, for a feed that continues at `position` after
    /// `messages` messages. What was sent up to `complete_since` may be missing.
    ///
    /// # Errors
    ///
    /// That of `write`.
    pub fn new<E>(
        file_bytes: usize,
        (position, messages): (u64, u64),
        complete_since: Tim,
        write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let start = Place { offset: 0, position, messages, tim: complete_since };
        let mut writer = Self {
            ring_bytes: file_bytes.saturating_sub(RING_START) as u64,
            mark: Mark { first: start, newest: 0, end: start },
            places: VecDeque::new(),
            buffer: Vec::new(),
        };
        writer.write_mark(write)?;
        Ok(writer)
    }

    /// Appends `frames`, the frames of `messages` messages. When this returns, they are in the
    /// file.
    ///
    /// # Errors
    ///
    /// That of `write`.
    pub fn append<E>(
        &mut self,
        frames: &[u8],
        messages: u32,
        last_tim: Tim,
        mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut rest, mut left) = (frames, messages);
        while let (record, messages) = first_record(rest, left)
            && !record.is_empty()
        {
            rest = rest.get(record.len()..).unwrap_or_default();
            left = left.saturating_sub(messages);
            let tim = if rest.is_empty() { Some(last_tim) } else { Tim::stamped(record) };
            self.append_record(record, messages, tim, &mut write)?;
        }
        self.write_mark(write)
    }

    fn append_record<E>(
        &mut self,
        frames: &[u8],
        messages: u32,
        last_tim: Option<Tim>,
        mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = (RECORD_HEADER_BYTES + frames.len()) as u64;
        self.make_room(bytes, &mut write)?;
        let Place { offset, position, messages: before, tim } = self.mark.end;
        let mut end = Place {
            offset: offset + bytes,
            position: position + frames.len() as u64,
            messages: before + u64::from(messages),
            // A message that is missing may be later than the recovered ones.
            tim: last_tim.unwrap_or(tim).max(tim),
        };
        if bytes <= self.ring_bytes {
            put_record(offset, messages, frames, &mut self.buffer);
            self.write_ring(offset, &mut write)?;
        } else {
            // A message longer than the file. Nothing before it is in the file any more.
            end.offset = offset;
            self.mark.first = end;
        }
        self.mark.newest = offset;
        self.mark.end = end;
        let part_start = self.places.back().unwrap_or(&self.mark.first).offset;
        if end.offset - part_start >= self.ring_bytes / PARTS {
            self.places.push_back(end);
        }
        Ok(())
    }

    /// Forgets the oldest records until there is space for `bytes` more bytes, or none is left.
    fn make_room<E>(
        &mut self,
        bytes: u64,
        write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Mark { first, end, .. } = self.mark;
        while end.offset + bytes - self.mark.first.offset > self.ring_bytes
            && self.mark.first != end
        {
            self.mark.first = self.places.pop_front().unwrap_or(end);
        }
        self.mark.newest = self.mark.newest.max(self.mark.first.offset);
        if self.mark.first == first { Ok(()) } else { self.write_mark(write) }
    }

    /// Writes the buffer to this offset of the ring.
    fn write_ring<E>(
        &self,
        offset: u64,
        mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = offset % self.ring_bytes;
        let before_wrap = (self.ring_bytes - start) as usize;
        let (left, right) =
            self.buffer.split_at_checked(before_wrap).unwrap_or((&self.buffer, &[]));
        write(RING_START as u64 + start, left)?;
        if right.is_empty() { Ok(()) } else { write(RING_START as u64, right) }
    }

    fn write_mark<E>(
        &mut self,
        mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.mark.put(&mut self.buffer);
        self.buffer.shrink_to(2 * RECORD_BYTES);
        write(0, &self.buffer)
    }
}

/// The part of `frames` that becomes the first record, and how many of the `messages` it has.
fn first_record(frames: &[u8], messages: u32) -> (&[u8], u32) {
    if frames.len() <= RECORD_BYTES {
        return (frames, messages);
    }
    let (mut record, mut count): (&[u8], _) = (&[], 0);
    while let Some((_, rest)) = frames.get(record.len()..).and_then(frame::split) {
        let longer = frames.get(..frames.len() - rest.len()).unwrap_or_default();
        if count > 0 && longer.len() > RECORD_BYTES {
            break;
        }
        (record, count) = (longer, count + 1);
    }
    (record, count)
}

//! Writes a tail file.

use std::collections::VecDeque;

use super::format::{Mark, Place, RECORD_HEADER_BYTES, RING_START, put_record};
use crate::chat::{Tim, is_gap_notice};
use crate::feed::StreamMark;
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
    /// Whether the newest message is the notice of a gap.
    ends_with_gap: bool,
    /// Messages up to this time are missing.
    lacks_until: Tim,
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
            mark: Mark { first: start, newest: 0, end: start, stream_mark: None },
            places: VecDeque::new(),
            ends_with_gap: false,
            lacks_until: Tim::default(),
            buffer: Vec::new(),
        };
        writer.write_mark(write)?;
        Ok(writer)
    }

    /// Appends `frames`, the frames of `messages` messages. In a cluster the stream was read up
    /// to `stream_mark` with them. When this returns, all of it is in the file; if the process
    /// ends before, nothing of it is.
    ///
    /// # Errors
    ///
    /// That of `write`.
    pub fn append<E>(
        &mut self,
        frames: &[u8],
        messages: u32,
        last_tim: Tim,
        stream_mark: Option<StreamMark>,
        mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (lost, lost_messages) = self.too_long(frames);
        let (mut rest, mut left) = (frames.get(lost.len()..).unwrap_or_default(), messages);
        self.make_room(if lost.is_empty() { record_bytes(rest) } else { u64::MAX }, &mut write)?;
        let mut end = self.mark.end;
        if !lost.is_empty() {
            end = behind(end, lost, lost_messages, Tim::stamped(lost));
            left = left.saturating_sub(lost_messages);
            (self.mark.first, self.mark.newest) = (end, end.offset);
            self.ends_with_gap = ends_with_gap(lost);
        }
        if self.ends_with_gap && self.mark.first == end {
            // The notice is forgotten: what was sent up to the next message is missing.
            end.tim = end.tim.max(before_first(rest).unwrap_or_default());
            self.mark.first = end;
        }
        while let (record, count) = first_record(rest, left)
            && !record.is_empty()
        {
            rest = rest.get(record.len()..).unwrap_or_default();
            left = left.saturating_sub(count);
            put_record(end.offset, count, record, &mut self.buffer);
            self.write_ring(end.offset, &mut write)?;
            self.mark.newest = end.offset;
            let tim = if rest.is_empty() { Some(last_tim) } else { Tim::stamped(record) };
            end = behind(end, record, count, tim);
            end.offset += self.buffer.len() as u64;
            let part_start = self.places.back().unwrap_or(&self.mark.first).offset;
            self.ends_with_gap = ends_with_gap(record);
            // The notice of a gap is forgotten only with what follows it.
            if end.offset - part_start >= self.ring_bytes / PARTS && !self.ends_with_gap {
                self.places.push_back(end);
            }
        }
        self.mark.end = end;
        self.mark.stream_mark = stream_mark;
        self.write_mark(write)
    }

    /// If there was no message yet: what was sent up to `complete_since` may be missing.
    ///
    /// # Errors
    ///
    /// That of `write`.
    pub fn start_at<E>(
        &mut self,
        complete_since: Tim,
        write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.mark.end.position > 0 {
            return Ok(());
        }
        (self.mark.first.tim, self.mark.end.tim) = (complete_since, complete_since);
        self.write_mark(write)
    }

    /// Notes that messages up to this time are missing.
    ///
    /// # Errors
    ///
    /// That of `write`.
    pub fn lack_until<E>(
        &mut self,
        tim: Tim,
        write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.lacks_until = self.lacks_until.max(tim);
        self.write_mark(write)
    }

    /// Notes that the stream of the cluster was read up to `stream_mark`, without messages.
    ///
    /// # Errors
    ///
    /// That of `write`.
    pub fn advance<E>(
        &mut self,
        stream_mark: StreamMark,
        write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.mark.stream_mark = Some(stream_mark);
        self.write_mark(write)
    }

    /// The first messages of `frames` that must be lost so that the others fit into the ring,
    /// and their number.
    fn too_long<'a>(&self, frames: &'a [u8]) -> (&'a [u8], u32) {
        let (mut rest, mut lost) = (frames, 0);
        while record_bytes(rest) > self.ring_bytes
            && let Some((_, behind)) = frame::split(rest)
        {
            (rest, lost) = (behind, lost + 1);
        }
        (frames.get(..frames.len() - rest.len()).unwrap_or_default(), lost)
    }

    /// Forgets the oldest records until there is space for `bytes` more bytes, or none is left.
    /// They are overwritten only after that, so the file stays valid.
    fn make_room<E>(
        &mut self,
        bytes: u64,
        write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Mark { first, end, .. } = self.mark;
        while (end.offset - self.mark.first.offset).saturating_add(bytes) > self.ring_bytes
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
        self.mark.first.tim = self.mark.first.tim.max(self.lacks_until);
        self.mark.put(&mut self.buffer);
        self.buffer.shrink_to(2 * RECORD_BYTES);
        write(0, &self.buffer)
    }
}

/// The most bytes that the records of these frames have: two adjacent ones have more than
/// [`RECORD_BYTES`] together.
fn record_bytes(frames: &[u8]) -> u64 {
    let records = 2 * (frames.len() / RECORD_BYTES) + 1;
    (records * RECORD_HEADER_BYTES + frames.len()) as u64
}

/// Whether the last of these frames is the notice of a gap.
fn ends_with_gap(mut frames: &[u8]) -> bool {
    let mut is_gap = false;
    while let Some((text, rest)) = frame::split(frames) {
        (is_gap, frames) = (is_gap_notice(text), rest);
    }
    is_gap
}

/// The last time before the first of these messages.
fn before_first(frames: &[u8]) -> Option<Tim> {
    let (text, _) = frame::split(frames)?;
    Some(Tim::from_nanos(Tim::stamped(text)?.nanos().saturating_sub(1)))
}

/// The place behind these messages, at the same offset.
fn behind(place: Place, frames: &[u8], messages: u32, last_tim: Option<Tim>) -> Place {
    Place {
        position: place.position + frames.len() as u64,
        messages: place.messages + u64::from(messages),
        // A message that is missing may be later than the recovered ones.
        tim: last_tim.unwrap_or(place.tim).max(place.tim),
        ..place
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

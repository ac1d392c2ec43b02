//! The mark and the records of a tail file as bytes.

use crc32fast::Hasher;

use crate::chat::Tim;
use crate::feed::{Position, StreamMark};
use crate::ws::frame::{self, Opcode};

/// Where the ring starts: the mark has a page of its own.
pub const RING_START: usize = 4096;
/// Where the history of the room is, behind the mark.
const HISTORY_START: usize = 2048;
const HISTORY_MAGIC: [u8; 8] = *b"wschatH\x01";
const HISTORY_BYTES: usize = HISTORY_MAGIC.len() + 2 * size_of::<u64>() + size_of::<u32>();

/// What the length of a record exceeds that of its frames by.
pub const RECORD_HEADER_BYTES: usize = 3 * size_of::<u32>();

/// The format, without its version.
const MAGIC: [u8; 7] = *b"wschatT";
/// The version that is written. Version 1 has no place in a stream.
pub const VERSION: u8 = 2;
/// The numbers of a mark without a place in a stream, and with one.
const NUMBERS: usize = 9;
const STREAM_NUMBERS: usize = 5;
/// The length of a mark: the magic bytes, the version, the numbers and the checksum.
pub const MARK_BYTES: usize = mark_bytes(NUMBERS + STREAM_NUMBERS);
/// No feed gets this far in ten thousand years.
const NUMBER_MAX: u64 = 1 << 62;

/// What the room has survived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomHistory {
    /// Restarts.
    pub restarts: u64,
    /// Crashes.
    pub crashes: u64,
}

impl RoomHistory {
    /// Where it is in the file, and its bytes.
    pub fn encode(&self) -> (u64, Vec<u8>) {
        let mut out = HISTORY_MAGIC.to_vec();
        out.extend_from_slice(&self.restarts.to_le_bytes());
        out.extend_from_slice(&self.crashes.to_le_bytes());
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        (HISTORY_START as u64, out)
    }

    /// What is in `file`. Older versions write none; then, or if it is damaged, nothing is known.
    pub fn decode(file: &[u8]) -> Option<Self> {
        let bytes = file.get(HISTORY_START..HISTORY_START + HISTORY_BYTES)?;
        let (body, checksum) = bytes.split_last_chunk()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let (restarts, crashes) = body.strip_prefix(&HISTORY_MAGIC)?.split_first_chunk()?;
        let number = |bytes: [u8; 8]| u64::from_le_bytes(bytes).min(NUMBER_MAX);
        let crashes = number(*crashes.first_chunk()?);
        Some(Self { restarts: number(*restarts), crashes })
    }
}

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The offset in the ring.
    pub offset: u64,
    /// The position in the feed.
    pub position: u64,
    /// The number of messages before this place.
    pub messages: u64,
    /// The `tim` of the last message before this place.
    pub tim: Tim,
}

/// What is valid in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where the oldest record starts.
    pub first: Place,
    /// The offset of the newest record.
    pub newest: u64,
    /// Where the newest record ends.
    pub end: Place,
    /// How far the stream of a cluster was read with all that is valid; `None` without a
    /// cluster.
    pub stream_mark: Option<StreamMark>,
}

impl Mark {
    /// Encodes a mark into `out`.
    pub fn put(&self, out: &mut Vec<u8>) {
        let of = |place: &Place| [place.offset, place.position, place.messages, place.tim.nanos()];
        let stream = self.stream_mark.map_or([0; STREAM_NUMBERS], |mark| {
            let StreamMark { position, tim, newest } = mark;
            [1, position.created, position.sequence, tim.nanos(), newest.nanos()]
        });
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        let numbers = [&of(&self.first)[..], &of(&self.end), &[self.newest], &stream];
        for number in numbers.into_iter().flatten() {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32fast::hash(out);
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    /// The mark at the start of `file`, if it is valid for a ring of this size.
    pub fn decode(file: &[u8], ring_bytes: u64) -> Option<Self> {
        let bytes = match file.strip_prefix(&MAGIC)?.first()? {
            1 => mark_bytes(NUMBERS),
            &VERSION => MARK_BYTES,
            _ => return None,
        };
        let (body, checksum) = file.get(..bytes)?.split_last_chunk()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let (numbers, _) = body.get(MAGIC.len() + 1..)?.as_chunks();
        let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut next = || numbers.next().filter(|number| *number <= NUMBER_MAX);
        let mut place = || {
            let (offset, position, messages) = (next()?, next()?, next()?);
            Some(Place { offset, position, messages, tim: Tim::from_nanos(next()?) })
        };
        let (first, end) = (place()?, place()?);
        let newest = next()?;
        let is_valid = [first.offset, newest, end.offset].is_sorted()
            && end.offset - first.offset <= ring_bytes;
        let has_stream_mark = next().is_some_and(|number| number > 0);
        let stream_mark = if has_stream_mark {
            let position = Position { created: next()?, sequence: next()? };
            let (tim, newest) = (Tim::from_nanos(next()?), Tim::from_nanos(next()?));
            Some(StreamMark { position, tim, newest })
        } else {
            None
        };
        is_valid.then_some(Self { first, newest, end, stream_mark })
    }
}

/// The length of a mark with so many numbers.
const fn mark_bytes(numbers: usize) -> usize {
    MAGIC.len() + size_of_val(&VERSION) + numbers * size_of::<u64>() + size_of::<u32>()
}

/// Encodes a record for this offset into `out`.
pub fn put_record(offset: u64, messages: u32, frames: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&(frames.len() as u32).to_le_bytes());
    out.extend_from_slice(&messages.to_le_bytes());
    out.extend_from_slice(&record_checksum(offset, messages, frames).to_le_bytes());
    out.extend_from_slice(frames);
}

/// The number of messages and the frames of the record at the start of `bytes`, and what
/// follows; `None` if it is not valid at this offset.
pub fn split_record(offset: u64, bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (numbers, rest) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>()?;
    let (numbers, _) = numbers.as_chunks();
    let [length, messages, checksum] = *numbers else { return None };
    let [length, messages, checksum] = [length, messages, checksum].map(u32::from_le_bytes);
    let (frames, behind) = rest.split_at_checked(length as usize)?;
    let is_valid = record_checksum(offset, messages, frames) == checksum
        && text_frames(frames) == Some(messages)
        && messages > 0;
    is_valid.then_some((messages, frames, behind))
}

fn record_checksum(offset: u64, messages: u32, frames: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(&messages.to_le_bytes());
    hasher.update(frames);
    hasher.finalize()
}

/// The number of frames, if `bytes` are whole text frames.
fn text_frames(mut bytes: &[u8]) -> Option<u32> {
    const FIRST_BYTE: u8 = 0x80 | Opcode::Text as u8;
    let mut count = 0;
    while !bytes.is_empty() {
        let (_, rest) = frame::split(bytes).filter(|_| bytes.first() == Some(&FIRST_BYTE))?;
        (bytes, count) = (rest, count + 1);
    }
    Some(count)
}

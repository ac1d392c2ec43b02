//! Reads a tail file.

use super::format::{Mark, RING_START, RoomHistory, split_record};
use crate::chat::Tim;
use crate::feed::StreamMark;

/// The content of a tail file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredTail {
    /// The position in the feed of the first byte.
    pub start: u64,
    /// The number of messages before it.
    pub messages_before: u64,
    /// Every message with a greater `tim` is here.
    pub complete_since: Tim,
    /// The newest `tim` of the feed.
    pub last_tim: Tim,
    /// How far the stream of the cluster was read; `None` if there was no cluster.
    pub stream_mark: Option<StreamMark>,
    /// Whole frames, with the number of messages in them, oldest first.
    pub records: Vec<(u32, Vec<u8>)>,
    /// The newest record was damaged and is not here.
    pub lacks_newest: bool,
    /// What the room had survived.
    pub history: RoomHistory,
}

/// Why a tail file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TailFileError {
    /// The mark is not valid: another version of wschat wrote it, or it is damaged.
    #[error("not a tail file of this version of wschat, or damaged")]
    Mark,
    /// A record before the newest one is damaged.
    #[error("a record before the newest one is damaged")]
    Record,
}

impl RecoveredTail {
    /// Decodes a tail file. Drops the newest record if it is damaged.
    ///
    /// # Errors
    ///
    /// What else is damaged.
    pub fn decode(mut file: Vec<u8>) -> Result<Self, TailFileError> {
        let ring_bytes = file.len().saturating_sub(RING_START);
        let mark = Mark::decode(&file, ring_bytes as u64).ok_or(TailFileError::Mark)?;
        let Mark { first, newest, end, stream_mark } = mark;
        let history = RoomHistory::decode(&file).unwrap_or_default();
        // After this the ring begins with the oldest record.
        let ring = file.get_mut(RING_START..).unwrap_or_default();
        let oldest = first.offset.checked_rem(ring_bytes as u64).unwrap_or_default();
        ring.rotate_left(oldest as usize);

        let mut tail = Self {
            start: first.position,
            messages_before: first.messages,
            complete_since: first.tim,
            last_tim: end.tim,
            stream_mark,
            history,
            ..Self::default()
        };
        let (mut at, mut rest) = (first, &*ring);
        while at.offset < end.offset {
            let Some((messages, frames, behind)) = split_record(at.offset, rest) else { break };
            tail.records.push((messages, frames.to_vec()));
            at.offset += (rest.len() - behind.len()) as u64;
            at.position += frames.len() as u64;
            at.messages += u64::from(messages);
            rest = behind;
        }
        at.tim = end.tim;
        tail.lacks_newest = at.offset == newest && newest < end.offset;
        if tail.lacks_newest {
            // Listeners may have received its messages.
            tail.complete_since = end.tim;
        } else if at != end {
            return Err(TailFileError::Record);
        }
        Ok(tail)
    }
}

//! The encoding of messages in the feed: each message is one WebSocket text frame, which
//! is encoded once for all listeners.
//!
//! A second encoding, for example server-sent events, belongs here. It needs a buffer in
//! [`EncodedMessages`] that `push` and `stamp` fill too, and a [`Log`](super::Log) of its
//! own, because positions in the feed are byte offsets.

use crate::ws::frame::{self, Opcode};

/// Encoded messages that have no `tim` yet, in the order in which they will be sent.
#[derive(Debug, Default)]
pub struct EncodedMessages {
    frames: Vec<u8>,
    /// Where each message ends in `frames`.
    ends: Vec<usize>,
    /// The text of the newest message, kept for its memory.
    text: Vec<u8>,
}

impl EncodedMessages {
    /// Encodes the message whose text `write` appends.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.text.clear();
        write(&mut self.text);
        frame::put(Opcode::Text, &self.text, &mut self.frames);
        self.ends.push(self.frames.len());
    }

    /// Gives every message its `tim`: `stamp` gets the bytes that end with its text.
    pub fn stamp(&mut self, mut stamp: impl FnMut(&mut [u8])) {
        for &end in &self.ends {
            stamp(self.frames.get_mut(..end).unwrap_or_default());
        }
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all messages.
    pub fn bytes(&self) -> &[u8] {
        &self.frames
    }

    /// Removes all messages, and the memory that a normal batch does not need.
    pub fn clear(&mut self) {
        const KEPT_BYTES: usize = 64 * 1024;
        self.frames.clear();
        self.frames.shrink_to(KEPT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_BYTES / size_of::<usize>());
        self.text.shrink_to(KEPT_BYTES);
    }
}

/// The number of messages in `bytes` that end at or before `offset`.
pub(super) fn messages_before(bytes: &[u8], offset: usize) -> u64 {
    frame::frames_before(bytes, offset)
}

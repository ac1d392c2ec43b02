//! The encodings of messages in the feed. Each message is one WebSocket text frame, and
//! positions in the feed count the bytes of these frames. It also is one server-sent event,
//! which is made from the frame when the first listener of that kind needs it. Either is
//! encoded once for all listeners.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chat::{Tim, is_gap_notice, stamped_tim};
use crate::sse;
use crate::ws::frame::{self, Opcode};

/// The encoding that a listener gets. Its text is the name of the transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// WebSocket frames.
    #[default]
    #[serde(rename = "ws")]
    Frames,
    /// Server-sent events.
    #[serde(rename = "sse")]
    Events,
}

impl fmt::Display for Encoding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Frames => "ws",
            Self::Events => "sse",
        })
    }
}

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

    /// The size of the message that was encoded last.
    pub fn newest_bytes(&self) -> usize {
        self.text.len()
    }

    /// Gives every message its `tim`: `stamp` gets the bytes that end with its text.
    pub fn stamp(&mut self, mut stamp: impl FnMut(&mut [u8])) {
        for &end in &self.ends {
            stamp(self.frames.get_mut(..end).unwrap_or_default());
        }
    }

    /// The text of the message with this number, from 0 on.
    pub fn text(&self, number: usize) -> Option<&[u8]> {
        let start = number.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let frame = self.frames.get(start?..*self.ends.get(number)?)?;
        frame::split(frame).map(|(text, _)| text)
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

/// A message in a run of frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageSpan<'a> {
    pub text: &'a [u8],
    /// Where its frame starts in the run.
    pub frame_start: usize,
    /// Where its frame ends in the run.
    pub frame_end: usize,
    /// Where its event starts and ends in the events of the run.
    pub event_start: usize,
    pub event_end: usize,
}

/// The messages of `frames`, in order.
pub(super) fn messages(frames: &[u8]) -> impl Iterator<Item = MessageSpan<'_>> {
    let (mut rest, mut event_end) = (frames, 0);
    std::iter::from_fn(move || {
        let (text, behind) = frame::split(rest)?;
        let frame_start = frames.len() - rest.len();
        rest = behind;
        let event_start = event_end;
        event_end += match is_gap_notice(text) {
            true => sse::data_bytes(text.len()),
            false => sse::event_bytes(Tim::LEN, text.len()),
        };
        let frame_end = frames.len() - rest.len();
        Some(MessageSpan { text, frame_start, frame_end, event_start, event_end })
    })
}

/// The events of the messages in `frames`. The id of each is its `tim`; the notice of a gap has
/// none, because nobody resumes behind it.
pub(super) fn events(frames: &[u8]) -> Vec<u8> {
    let bytes = messages(frames).last().map_or(0, |message| message.event_end);
    let mut events = Vec::with_capacity(bytes);
    for message in messages(frames) {
        if is_gap_notice(message.text) {
            sse::put_data(message.text, &mut events);
            continue;
        }
        // The feed has no message without a `tim`.
        let id = stamped_tim(message.text).unwrap_or(&[b'0'; Tim::LEN]);
        sse::put_event(id, message.text, &mut events);
    }
    events
}

/// The number of messages in `frames` that end at or before `offset`.
pub(super) fn messages_before(frames: &[u8], offset: usize) -> u64 {
    frame::frames_before(frames, offset)
}

/// The offset in `frames` of the first message whose `tim` is greater than `after`, and its
/// text; `None` if there is no such message.
pub(super) fn first_after(frames: &[u8], after: Tim) -> Option<(usize, &[u8])> {
    let mut bound = [0; Tim::LEN];
    after.write(&mut bound);
    let is_later =
        |message: &MessageSpan| stamped_tim(message.text).is_some_and(|tim| *tim > bound);
    messages(frames).find(is_later).map(|message| (message.frame_start, message.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::gap_notice;
    use proptest::prelude::*;

    const MESSAGE: &str = "{\"usr\":\"a\",\"msg\":\"b\",\"x\":[1,\r\n2],\
        \"tim\":\"2020-08-11T22:26:58.118678679Z\"}";

    #[test]
    fn an_event_has_the_text_of_the_frame_without_line_breaks() {
        let mut encoded = EncodedMessages::default();
        encoded.push(|out| out.extend_from_slice(MESSAGE.as_bytes()));
        let text = MESSAGE.replace("\r\n", "  ");
        let want = format!("id: 2020-08-11T22:26:58.118678679Z\ndata: {text}\n\n");
        assert_eq!(String::from_utf8(events(encoded.bytes())).unwrap(), want);
    }

    #[test]
    fn nobody_resumes_behind_the_notice_of_a_gap() {
        let mut encoded = EncodedMessages::default();
        encoded.push(|out| gap_notice(None, None, Tim::from_nanos(1), out));
        encoded.push(|out| out.extend_from_slice(MESSAGE.as_bytes()));
        let events = String::from_utf8(events(encoded.bytes())).unwrap();
        assert!(
            events.starts_with("data: {\"usr\":\"wschat\",\"msg\":\"some messages are missing\"")
        );
        assert_eq!(events.matches("id: ").count(), 1);
        let spans: Vec<_> = messages(encoded.bytes()).collect();
        assert_eq!(spans[1].event_start, spans[0].event_end);
        assert!(events[spans[1].event_start..].starts_with("id: 2020"));
        assert_eq!(spans[1].event_end, events.len());
    }

    proptest! {
        #[test]
        fn spans_are_those_of_the_bytes(
            texts in prop::collection::vec("[a-z\n]{0,300}[a-z]{32}", 0..9),
        ) {
            let mut encoded = EncodedMessages::default();
            texts.iter().for_each(|text| encoded.push(|out| out.extend_from_slice(text.as_bytes())));
            let (frames, events) = (encoded.bytes(), events(encoded.bytes()));
            let spans: Vec<_> = messages(frames).collect();
            prop_assert_eq!(spans.len(), texts.len());
            prop_assert_eq!(spans.last().map_or(0, |span| span.event_end), events.len());
            for (span, text) in spans.iter().zip(&texts) {
                prop_assert_eq!(span.text, text.as_bytes());
                prop_assert_eq!(frame::frame_end(frames, span.frame_end - 1), span.frame_end);
                let event = &events[span.event_start..span.event_end];
                prop_assert_eq!(sse::event_end(event, 1), Some(event.len()));
            }
        }
    }
}

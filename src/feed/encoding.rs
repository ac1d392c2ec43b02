//! The encodings of messages in the feed. Each message is one WebSocket text frame, and
//! positions in the feed count the bytes of these frames. It also is one server-sent event,
//! which is made from the frame when the first listener of that kind needs it. Either is
//! encoded once for all listeners.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chat::{Tim, is_gap_notice, is_presence, stamped_tim};
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

/// The name of the events that tell the state of the room.
pub const PRESENCE_EVENT: &str = "room";

/// A text in a run of frames: a message, or the state of the room.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextSpan<'a> {
    pub text: &'a [u8],
    /// Where its frame starts in the run.
    pub frame_start: usize,
    /// Where its frame ends in the run.
    pub frame_end: usize,
    /// Where its event starts and ends in the events of the run.
    pub event_start: usize,
    pub event_end: usize,
}

impl TextSpan<'_> {
    /// Whether it is a message.
    pub fn is_message(&self) -> bool {
        !is_presence(self.text)
    }
}

/// The texts of `frames`, in order.
pub(super) fn texts(frames: &[u8]) -> impl Iterator<Item = TextSpan<'_>> {
    let (mut rest, mut event_end) = (frames, 0);
    std::iter::from_fn(move || {
        let (text, behind) = frame::split(rest)?;
        let frame_start = frames.len() - rest.len();
        rest = behind;
        let event_start = event_end;
        event_end += if is_presence(text) {
            sse::named_bytes(PRESENCE_EVENT.len(), text.len())
        } else if is_gap_notice(text) {
            sse::data_bytes(text.len())
        } else {
            sse::event_bytes(Tim::LEN, text.len())
        };
        let frame_end = frames.len() - rest.len();
        Some(TextSpan { text, frame_start, frame_end, event_start, event_end })
    })
}

/// The messages of `frames`, in order.
pub(super) fn messages(frames: &[u8]) -> impl Iterator<Item = TextSpan<'_>> {
    texts(frames).filter(TextSpan::is_message)
}

/// The events of the texts in `frames`. The id of a message is its `tim`; the notice of a gap
/// and the state of the room have none, because nobody resumes behind them.
pub(super) fn events(frames: &[u8]) -> Vec<u8> {
    let bytes = texts(frames).last().map_or(0, |span| span.event_end);
    let mut events = Vec::with_capacity(bytes);
    for TextSpan { text, .. } in texts(frames) {
        if is_presence(text) {
            sse::put_named_with(PRESENCE_EVENT, |out| out.extend_from_slice(text), &mut events);
        } else if is_gap_notice(text) {
            sse::put_data(text, &mut events);
        } else {
            // The feed has no message without a `tim`.
            let id = stamped_tim(text).unwrap_or(&[b'0'; Tim::LEN]);
            sse::put_event(id, text, &mut events);
        }
    }
    events
}

/// The number of messages in `frames` that end at or before `offset`.
pub(super) fn messages_before(frames: &[u8], offset: usize) -> u64 {
    let ended = texts(frames).take_while(|span| span.frame_end <= offset);
    ended.filter(TextSpan::is_message).count() as u64
}

/// The `tim` of the last message in `frames`.
pub(super) fn last_tim(frames: &[u8]) -> Option<Tim> {
    // Nearly always the last text is a message.
    Tim::stamped(frames).or_else(|| Tim::stamped(messages(frames).last()?.text))
}

/// The frames of the messages in `frames`, without the state of the room.
pub(super) fn only_messages(frames: &[u8]) -> Cow<'_, [u8]> {
    if texts(frames).all(|span| span.is_message()) {
        return frames.into();
    }
    let frame = |span: TextSpan<'_>| frames.get(span.frame_start..span.frame_end);
    messages(frames).filter_map(frame).collect::<Vec<_>>().concat().into()
}

/// The newest text in `frames` that tells the state of the room.
pub(super) fn newest_presence(frames: &[u8]) -> Option<&[u8]> {
    texts(frames).filter(|span| !span.is_message()).last().map(|span| span.text)
}

/// The offset in `frames` of the first message whose `tim` is greater than `after`, and its
/// text; `None` if there is no such message.
pub(super) fn first_after(frames: &[u8], after: Tim) -> Option<(usize, &[u8])> {
    let mut bound = [0; Tim::LEN];
    after.write(&mut bound);
    let is_later = |message: &TextSpan| stamped_tim(message.text).is_some_and(|tim| *tim > bound);
    messages(frames).find(is_later).map(|message| (message.frame_start, message.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Presence, gap_notice};
    use proptest::prelude::*;
    use std::io::Write;

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

    #[test]
    fn presence_is_no_message() {
        let tim = |secs: u64| Tim::from_nanos(secs * 1_000_000_000);
        let (mut frames, mut ends) = (Vec::new(), Vec::new());
        for secs in [0, 1, 0, 2, 0] {
            let message = |out: &mut Vec<u8>| write!(out, r#"{{"tim":"{}"}}"#, tim(secs)).unwrap();
            let presence = |out: &mut Vec<u8>| Presence::default().write(out);
            match secs {
                0 => frame::put_text_with(presence, &mut frames),
                _ => frame::put_text_with(message, &mut frames),
            }
            ends.push(frames.len());
        }
        let before: Vec<_> = ends.iter().map(|end| messages_before(&frames, *end)).collect();
        assert_eq!(before, [0, 1, 1, 2, 2]);
        assert_eq!((last_tim(&frames), last_tim(&frames[..ends[0]])), (Some(tim(2)), None));
        assert_eq!(first_after(&frames, tim(0)).unwrap().0, ends[0]);
        assert_eq!(first_after(&frames, tim(1)).unwrap().0, ends[2]);
        assert_eq!(first_after(&frames, tim(2)), None);
        assert!(is_presence(newest_presence(&frames).unwrap()));
        let kept = [&frames[ends[0]..ends[1]], &frames[ends[2]..ends[3]]].concat();
        assert_eq!(only_messages(&frames), kept);
        assert!(matches!(only_messages(&kept), Cow::Borrowed(_)));
        assert_eq!(newest_presence(&kept), None);
        let events = String::from_utf8(events(&frames)).unwrap();
        let events: Vec<_> = events.split_inclusive("\n\n").collect();
        assert!(events[0].starts_with("event: room\ndata: {\"usr\":\"wschat\",\"msg\":\"0 list"));
        assert!(events[1].starts_with("id: 1970-01-01T00:00:01.000000000Z\ndata: "));
        let lengths = texts(&frames).map(|span| span.event_end - span.event_start);
        assert!(lengths.eq(events.iter().map(|event| event.len())));
    }

    proptest! {
        #[test]
        fn spans_are_those_of_the_bytes(
            texts in prop::collection::vec("[a-z\n]{0,300}[a-z]{32}", 0..9),
        ) {
            let mut encoded = EncodedMessages::default();
            texts.iter().for_each(|text| encoded.push(|out| out.extend_from_slice(text.as_bytes())));
            let (frames, events) = (encoded.bytes(), events(encoded.bytes()));
            let spans: Vec<_> = super::texts(frames).collect();
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

//! What a client sent, cut into events (RFC 6455, sections 5 and 8.1).
//!
//! An idle connection has no buffer: a frame that arrived whole is unmasked
//! where it lies and handed out as a borrowed slice. Only what is begun and not
//! finished is kept, in a [`Partial`].

#![expect(
    clippy::indexing_slicing,
    reason = "every index is checked against the lengths of both slices"
)]

use std::io::Cursor;

use serde::{Deserialize, Serialize};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::ws::close::{self, Close};
use crate::ws::frame::CONTROL_BYTES_MAX;

/// The longest header of a client's frame: length 127 and a mask.
const HEADER_BYTES_MAX: usize = 14;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message, valid UTF-8.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping with its payload, to be answered by a pong with the same.
    Ping(&'a [u8]),
    /// A pong, asked for or not.
    Pong,
    /// A close frame with its status code, if it has one. The last event.
    Close(Option<u16>),
}

/// Whether the reader wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More events, please.
    Continue,
    /// The rest of the bytes is of no interest.
    Stop,
}

/// The client broke a rule: the close frame that tells it so (section 7.1.7).
pub type Violation = Close;

/// What of a client's stream is begun and not finished. It is all that has to
/// be kept of a connection's inbound side at a handover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// The bytes of a frame of which the end is still to come, as they came.
    pub frame: Vec<u8>,
    /// The fragments of a message so far.
    pub message: Option<Fragments>,
}

/// The payload of a fragmented message so far, unmasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragments {
    /// Whether it is a text message; else it is a binary one.
    pub text: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The inbound side of one connection: 8 bytes while nothing is begun.
#[derive(Debug, Default)]
pub struct Inbound(Option<Box<Partial>>);

impl Inbound {
    /// Goes on where another one stopped.
    pub fn resume(partial: Partial) -> Self {
        let mut inbound = Self(Some(Box::new(partial)));
        inbound.release();
        inbound
    }

    /// What is begun and not finished.
    pub fn partial(&self) -> Option<&Partial> {
        self.0.as_deref()
    }

    /// What is begun and not finished, taken along.
    pub fn into_partial(self) -> Option<Partial> {
        self.0.map(|partial| *partial)
    }

    /// Takes the next bytes of the stream, unmasks them in place and hands out
    /// the events that they complete. Gives back how many frames ended in them.
    ///
    /// # Errors
    ///
    /// The close frame to send if the client broke a rule of RFC 6455 or sent a
    /// message of more than `message_bytes_max` bytes; nothing that follows in
    /// the stream has a meaning.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::ws::{Event, Inbound, Then};
    /// let mut inbound = Inbound::default();
    /// // RFC 6455, section 5.7: a single-frame masked text message.
    /// let mut bytes = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    /// let frames = inbound.take(&mut bytes, 16_384, |event| {
    ///     assert_eq!(event, Event::Text("Hello"));
    ///     Then::Continue
    /// });
    /// assert_eq!(frames, Ok(1));
    /// ```
    pub fn take(
        &mut self,
        mut bytes: &mut [u8],
        message_bytes_max: usize,
        mut on: impl FnMut(Event<'_>) -> Then,
    ) -> Result<usize, Violation> {
        let mut frames = 0;
        while !bytes.is_empty() {
            let (used, then) = match &mut self.0 {
                Some(partial) if !partial.frame.is_empty() => {
                    Self::complete(partial, bytes, message_bytes_max, &mut frames, &mut on)?
                }
                _ => match Frame::cut(bytes, self.begun(), message_bytes_max)? {
                    Some(frame) => {
                        let used = frame.end;
                        frames += 1;
                        (used, frame.handle(&mut self.0, bytes, &mut on)?)
                    }
                    None => {
                        self.0.get_or_insert_default().frame.extend_from_slice(bytes);
                        (bytes.len(), Then::Continue)
                    }
                },
            };
            if then == Then::Stop {
                self.0 = None;
                return Ok(frames);
            }
            bytes = &mut bytes[used..];
        }
        self.release();
        Ok(frames)
    }

    /// Adds bytes to the frame that is begun, no more than it lacks.
    fn complete(
        partial: &mut Box<Partial>,
        bytes: &[u8],
        message_bytes_max: usize,
        frames: &mut usize,
        on: &mut impl FnMut(Event<'_>) -> Then,
    ) -> Result<(usize, Then), Violation> {
        let had = partial.frame.len();
        // First only the header: how much more is wanted stands in it.
        let head_end = HEADER_BYTES_MAX.max(had).min(had + bytes.len());
        let mut head = [0; HEADER_BYTES_MAX];
        let known = had.min(HEADER_BYTES_MAX);
        head[..known].copy_from_slice(&partial.frame[..known]);
        if head_end > had {
            head[had..head_end].copy_from_slice(&bytes[..head_end - had]);
        }
        let begun = partial.message.as_ref().map(|message| message.bytes.len());
        let head = &head[..head_end.min(HEADER_BYTES_MAX)];
        let Some((header, length)) = Frame::header(head, begun, message_bytes_max)? else {
            partial.frame.extend_from_slice(bytes);
            return Ok((bytes.len(), Then::Continue));
        };
        let end = header.len(length as u64) + length;
        let used = (end - had).min(bytes.len());
        partial.frame.extend_from_slice(&bytes[..used]);
        if partial.frame.len() < end {
            return Ok((used, Then::Continue));
        }
        *frames += 1;
        let mut whole = std::mem::take(&mut partial.frame);
        let frame = Frame { header, start: end - length, end };
        let mut kept = Some(std::mem::take(partial));
        let then = frame.handle(&mut kept, &mut whole, on)?;
        **partial = *kept.unwrap_or_default();
        Ok((used, then))
    }

    /// The length of the fragments so far, if a message is begun.
    fn begun(&self) -> Option<usize> {
        Some(self.0.as_ref()?.message.as_ref()?.bytes.len())
    }

    /// Gives the memory back when nothing is begun.
    fn release(&mut self) {
        if self.0.as_ref().is_some_and(|p| p.frame.is_empty() && p.message.is_none()) {
            self.0 = None;
        }
    }
}

/// A whole frame within a run of bytes.
struct Frame {
    header: FrameHeader,
    /// Where the payload starts.
    start: usize,
    /// Where the payload, and so the frame, ends.
    end: usize,
}

impl Frame {
    /// The first frame of `bytes`, if it is there whole.
    fn cut(bytes: &[u8], begun: Option<usize>, max: usize) -> Result<Option<Self>, Violation> {
        let Some((header, length)) = Self::header(bytes, begun, max)? else { return Ok(None) };
        let start = header.len(length as u64);
        let end = start + length;
        Ok((bytes.len() >= end).then_some(Self { header, start, end }))
    }

    /// The header that `bytes` begin with and the length of the payload, both
    /// checked before a byte of the payload is waited for.
    fn header(
        bytes: &[u8],
        begun: Option<usize>,
        max: usize,
    ) -> Result<Option<(FrameHeader, usize)>, Violation> {
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor)
            .map_err(|_| close::protocol_error("reserved opcode"))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        if cursor.position() != header.len(length) as u64 {
            return Err(close::protocol_error("length is not minimal"));
        }
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(close::protocol_error("reserved bit set"));
        }
        if header.mask.is_none() {
            return Err(close::protocol_error("frame is not masked"));
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final => {
                return Err(close::protocol_error("fragmented control frame"));
            }
            OpCode::Control(_) if length > CONTROL_BYTES_MAX as u64 => {
                return Err(close::protocol_error("control frame over 125 bytes"));
            }
            OpCode::Data(Data::Continue) if begun.is_none() => {
                return Err(close::protocol_error("continuation of nothing"));
            }
            OpCode::Data(Data::Text | Data::Binary) if begun.is_some() => {
                return Err(close::protocol_error("message within a message"));
            }
            _ => {}
        }
        let room = max.saturating_sub(begun.unwrap_or(0));
        match usize::try_from(length) {
            Ok(length) if length <= room || matches!(header.opcode, OpCode::Control(_)) => {
                Ok(Some((header, length)))
            }
            _ => Err(close::TOO_BIG),
        }
    }

    /// Unmasks the frame and hands out its event.
    fn handle(
        self,
        kept: &mut Option<Box<Partial>>,
        bytes: &mut [u8],
        on: &mut impl FnMut(Event<'_>) -> Then,
    ) -> Result<Then, Violation> {
        let payload = &mut bytes[self.start..self.end];
        if let Some(mask) = self.header.mask {
            unmask(payload, mask);
        }
        match self.header.opcode {
            OpCode::Control(Control::Ping) => Ok(on(Event::Ping(payload))),
            OpCode::Control(Control::Pong) => Ok(on(Event::Pong)),
            OpCode::Control(_) => {
                let code = close_code(payload)?;
                on(Event::Close(code));
                Ok(Then::Stop)
            }
            OpCode::Data(Data::Continue) => {
                let Some(partial) = kept else { return Ok(Then::Continue) };
                let Some(message) = &mut partial.message else { return Ok(Then::Continue) };
                message.bytes.extend_from_slice(payload);
                if !self.header.is_final {
                    return Ok(Then::Continue);
                }
                match partial.message.take() {
                    Some(message) => deliver(message.text, &message.bytes, on),
                    None => Ok(Then::Continue),
                }
            }
            OpCode::Data(kind) => {
                let text = kind == Data::Text;
                if self.header.is_final {
                    return deliver(text, payload, on);
                }
                let bytes = payload.to_vec();
                kept.get_or_insert_default().message = Some(Fragments { text, bytes });
                Ok(Then::Continue)
            }
        }
    }
}

fn deliver(
    text: bool,
    payload: &[u8],
    on: &mut impl FnMut(Event<'_>) -> Then,
) -> Result<Then, Violation> {
    if !text {
        return Ok(on(Event::Binary(payload)));
    }
    match std::str::from_utf8(payload) {
        Ok(text) => Ok(on(Event::Text(text))),
        Err(_) => Err(close::NOT_UTF8),
    }
}

/// The status code of a close frame's payload (section 5.5.1).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(close::protocol_error("close frame of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !close::is_sendable(code) {
                return Err(close::protocol_error("reserved close code"));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(close::NOT_UTF8);
            }
            Ok(Some(code))
        }
    }
}

/// Section 5.3; whole words first, because messages are unmasked at line rate.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frame::client_frame;
    use proptest::prelude::*;

    const MAX: usize = 1000;

    /// Feeds `parts` one after the other; what came out, in words.
    fn events(parts: &[&[u8]]) -> Vec<String> {
        let mut inbound = Inbound::default();
        let mut seen = Vec::new();
        for part in parts {
            let mut bytes = part.to_vec();
            let result = inbound.take(&mut bytes, MAX, |event| {
                seen.push(match event {
                    Event::Text(text) => format!("text {text}"),
                    Event::Binary(bytes) => format!("binary {bytes:?}"),
                    Event::Ping(payload) => format!("ping {payload:?}"),
                    Event::Pong => "pong".into(),
                    Event::Close(code) => format!("close {code:?}"),
                });
                Then::Continue
            });
            // A hand-over at this very point must change nothing.
            if let Some(partial) = inbound.partial() {
                inbound = Inbound::resume(partial.clone());
            }
            if let Err(close) = result {
                seen.push(format!("{} {}", close.code, close.reason));
                break;
            }
            if seen.last().is_some_and(|last| last.starts_with("close")) {
                break;
            }
        }
        seen
    }

    #[track_caller]
    fn check(bytes: &[u8], want: &[&str]) {
        assert_eq!(events(&[bytes]), want, "in one piece");
        for cut in 1..bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(events(&[left, right]), want, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(events(&single), want, "byte by byte");
    }

    #[test]
    fn every_cut_gives_the_same_events() {
        check(&client_frame(0x81, b"Hello"), &["text Hello"]);
        check(&client_frame(0x81, b""), &["text "]);
        check(&client_frame(0x82, b"\xff"), &["binary [255]"]);
        check(&[client_frame(0x02, b"a"), client_frame(0x80, b"b")].concat(), &["binary [97, 98]"]);
        let fragmented = [
            client_frame(0x01, "gr\u{fc}".as_bytes()),
            client_frame(0x89, b"!"),
            client_frame(0x00, b""),
            client_frame(0x80, "\u{df}e".as_bytes()),
            client_frame(0x8a, b""),
            client_frame(0x81, b"next"),
            client_frame(0x88, b"\x03\xe8bye"),
            client_frame(0x81, b"after the close"),
        ];
        check(
            &fragmented.concat(),
            &["ping [33]", "text gr\u{fc}\u{df}e", "pong", "text next", "close Some(1000)"],
        );
        let half = [client_frame(0x01, b"\xc3"), client_frame(0x80, b"\xa4")];
        check(&half.concat(), &["text \u{e4}"]);
        let long = "x".repeat(MAX);
        check(&client_frame(0x81, long.as_bytes()), &[&format!("text {long}")]);
        check(&client_frame(0x88, b""), &["close None"]);
    }

    #[test]
    fn every_broken_rule_has_its_close_code() {
        let too_long = [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
        let fragments = [client_frame(0x01, &[b'x'; 600]), client_frame(0x80, &[b'x'; 401])];
        for (bytes, want) in [
            (client_frame(0x81, &[b'x'; MAX + 1]), "1009 message too big"),
            (client_frame(0x82, &[b'x'; MAX + 1]), "1009 message too big"),
            (too_long.to_vec(), "1009 message too big"),
            (fragments.concat(), "1009 message too big"),
            (client_frame(0x81, b"\xff"), "1007 text is not UTF-8"),
            (client_frame(0x88, b"\x03\xe8\xff"), "1007 text is not UTF-8"),
            (client_frame(0xc1, b""), "1002 reserved bit set"),
            (client_frame(0x83, b""), "1002 reserved opcode"),
            (client_frame(0x8b, b""), "1002 reserved opcode"),
            (b"\x81\x05Hello".to_vec(), "1002 frame is not masked"),
            (b"\x81\xfe\x00\x01\x01\x02\x03\x04x".to_vec(), "1002 length is not minimal"),
            (client_frame(0x09, b""), "1002 fragmented control frame"),
            (client_frame(0x89, &[0; 126]), "1002 control frame over 125 bytes"),
            (client_frame(0x80, b"x"), "1002 continuation of nothing"),
            (
                [client_frame(0x01, b"x"), client_frame(0x81, b"y")].concat(),
                "1002 message within a message",
            ),
            (client_frame(0x88, b"\x03"), "1002 close frame of one byte"),
            (client_frame(0x88, b"\x03\xed"), "1002 reserved close code"),
            (client_frame(0x88, b"\x00\x00"), "1002 reserved close code"),
        ] {
            check(&bytes, &[want]);
        }
    }

    #[test]
    fn nothing_is_kept_between_messages_and_no_declared_length_is_reserved() {
        let mut inbound = Inbound::default();
        let whole = client_frame(0x81, &[b'x'; 900]);
        inbound.take(&mut whole[..10].to_vec(), MAX, |_| Then::Continue).unwrap();
        assert!(inbound.partial().unwrap().frame.capacity() < 100);
        inbound.take(&mut whole[10..].to_vec(), MAX, |_| Then::Continue).unwrap();
        assert_eq!(inbound.partial(), None);
        assert_eq!(size_of::<Inbound>(), 8);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(events(&parts), events(&[&bytes]));
        }

        #[test]
        fn unmasking_twice_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..40), mask: [u8; 4]) {
            let mut twice = bytes.clone();
            unmask(&mut twice, mask);
            unmask(&mut twice, mask);
            prop_assert_eq!(twice, bytes);
        }
    }
}

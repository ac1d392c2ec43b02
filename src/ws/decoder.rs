//! Decodes what a client sends into events (RFC 6455, sections 5 and 8.1).
//!
//! A complete frame is unmasked in place, and its event borrows the caller's buffer. Only
//! an incomplete frame or message is copied, so an idle connection has no buffer.

use serde::{Deserialize, Serialize};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::ws::close::{self, Violation};
use crate::ws::header::{HEADER_BYTES_MAX, Header};

/// What one whole frame of a client means.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The last frame of a text message: the whole message, valid UTF-8.
    Text(&'a str),
    /// The last frame of a binary message: the whole message.
    Binary(&'a [u8]),
    /// A frame of a message that is not its last.
    Fragment,
    /// A ping with its payload, to be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong, solicited or not.
    Pong,
    /// A close frame with its status code, if it has one. No event follows it.
    Close(Option<u16>),
}

/// The incomplete part of a client's stream: all that a handover has to keep of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoderState {
    /// The bytes of an incomplete frame, still masked.
    pub frame: Vec<u8>,
    /// The fragments of an incomplete message.
    pub message: Option<PartialMessage>,
}

/// The payload of an incomplete message, unmasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialMessage {
    /// Whether it is a text message; if not, it is a binary one.
    pub text: bool,
    /// The payload so far.
    pub bytes: Vec<u8>,
}

/// The receiving side of one connection. It takes 8 bytes while no frame and no message
/// is incomplete.
#[derive(Debug, Default)]
pub struct Decoder(Option<Box<Buffers>>);

#[derive(Debug, Default)]
struct Buffers {
    state: DecoderState,
    /// The last event borrowed `state.frame`: it is complete, the next call drops it.
    frame_is_done: bool,
    /// The same of `state.message`.
    message_is_done: bool,
}

impl Decoder {
    /// Continues where another decoder stopped.
    pub fn resume(state: DecoderState) -> Self {
        let mut decoder = Self(Some(Box::new(Buffers { state, ..Buffers::default() })));
        decoder.release();
        decoder
    }

    /// The incomplete part of the stream, if there is any.
    pub fn into_state(mut self) -> Option<DecoderState> {
        self.release();
        self.0.map(|buffers| buffers.state)
    }

    /// Decodes the next frame of `bytes`, which come next in the stream, and removes it
    /// from them. Returns `None` when all bytes are used and more are needed.
    ///
    /// # Errors
    ///
    /// The [`Violation`] of the client. After it, as after [`Event::Close`], the decoder
    /// has no further use.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::ws::{Decoder, Event};
    /// let mut decoder = Decoder::default();
    /// // RFC 6455, section 5.7: a single-frame masked text message.
    /// let mut bytes = &mut b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_owned()[..];
    /// while let Some(event) = decoder.next(&mut bytes, 16_384).unwrap() {
    ///     assert_eq!(event, Event::Text("Hello"));
    /// }
    /// ```
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &mut &'b mut [u8],
        message_bytes_max: usize,
    ) -> Result<Option<Event<'a>>, Violation> {
        self.release();
        let is_partial = self.0.as_ref().is_some_and(|buffers| !buffers.state.frame.is_empty());
        let event = if is_partial {
            let buffers = self.0.get_or_insert_default();
            let Some(header) = buffers.complete_frame(bytes, message_bytes_max)? else {
                return Ok(None);
            };
            buffers.event(&header, None)
        } else if bytes.is_empty() {
            return Ok(None);
        } else {
            let partial_bytes = self.0.as_ref().and_then(|buffers| buffers.partial_bytes());
            match Header::parse(bytes, partial_bytes, message_bytes_max)? {
                Some(header) if header.frame_bytes <= bytes.len() => {
                    let frame = take_front(bytes, header.frame_bytes);
                    if header.is_fragment() {
                        self.0.get_or_insert_default().event(&header, Some(frame))
                    } else {
                        event(&header, frame)
                    }
                }
                _ => {
                    let frame = &mut self.0.get_or_insert_default().state.frame;
                    frame.extend_from_slice(&*std::mem::take(bytes));
                    return Ok(None);
                }
            }
        }?;
        if let Event::Close(_) = event {
            *bytes = &mut [];
        }
        Ok(Some(event))
    }

    /// Drops what the last event borrowed, and frees the buffers if they are empty.
    fn release(&mut self) {
        let Some(buffers) = &mut self.0 else { return };
        if std::mem::take(&mut buffers.frame_is_done) {
            buffers.state.frame = Vec::new();
        }
        if std::mem::take(&mut buffers.message_is_done) {
            buffers.state.message = None;
        }
        if buffers.state == DecoderState::default() {
            self.0 = None;
        }
    }
}

impl Buffers {
    /// The length of the incomplete message, if there is one.
    fn partial_bytes(&self) -> Option<usize> {
        Some(self.state.message.as_ref()?.bytes.len())
    }

    /// Moves what the incomplete frame lacks out of `bytes`. Returns its header if it is
    /// complete.
    fn complete_frame(
        &mut self,
        bytes: &mut &mut [u8],
        message_bytes_max: usize,
    ) -> Result<Option<Header>, Violation> {
        let partial_bytes = self.partial_bytes();
        let frame = &mut self.state.frame;
        let had = frame.len();
        // The header says how much is missing; its end may be in `bytes`.
        frame.extend(bytes.iter().take(HEADER_BYTES_MAX));
        let header = Header::parse(frame, partial_bytes, message_bytes_max)?;
        frame.truncate(had);
        let missing = header.as_ref().map_or(usize::MAX, |header| header.frame_bytes);
        let missing = missing.saturating_sub(had).min(bytes.len());
        frame.extend_from_slice(take_front(bytes, missing));
        Ok(header.filter(|header| frame.len() >= header.frame_bytes))
    }

    /// The event of the frame `in_place`, or else of the one in the buffers.
    fn event<'a>(
        &'a mut self,
        header: &Header,
        in_place: Option<&'a mut [u8]>,
    ) -> Result<Event<'a>, Violation> {
        self.frame_is_done = in_place.is_none();
        let DecoderState { frame, message } = &mut self.state;
        let frame = in_place.unwrap_or(frame);
        if !header.is_fragment() {
            return event(header, frame);
        }
        let text = header.opcode == OpCode::Data(Data::Text);
        let message = message.get_or_insert(PartialMessage { text, bytes: Vec::new() });
        message.bytes.extend_from_slice(header.unmask(frame));
        self.message_is_done = header.is_final;
        if header.is_final {
            message_event(message.text, &message.bytes)
        } else {
            Ok(Event::Fragment)
        }
    }
}

/// The event of a frame that is a whole message or a control frame.
fn event<'a>(header: &Header, frame: &'a mut [u8]) -> Result<Event<'a>, Violation> {
    let payload = header.unmask(frame);
    match header.opcode {
        OpCode::Control(Control::Ping) => Ok(Event::Ping(payload)),
        OpCode::Control(Control::Pong) => Ok(Event::Pong),
        OpCode::Control(_) => close_code(payload).map(Event::Close),
        OpCode::Data(kind) => message_event(kind == Data::Text, payload),
    }
}

fn message_event(text: bool, payload: &[u8]) -> Result<Event<'_>, Violation> {
    if !text {
        return Ok(Event::Binary(payload));
    }
    let text = std::str::from_utf8(payload);
    text.map(Event::Text).map_err(|_| Violation { close: close::NOT_UTF8 })
}

/// The status code in the payload of a close frame (section 5.5.1).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(Violation::protocol("close frame of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !close::is_sendable(code) {
                return Err(Violation::protocol("reserved close code"));
            }
            match std::str::from_utf8(reason) {
                Ok(_) => Ok(Some(code)),
                Err(_) => Err(Violation { close: close::NOT_UTF8 }),
            }
        }
    }
}

/// Splits the first `count` bytes off.
fn take_front<'b>(bytes: &mut &'b mut [u8], count: usize) -> &'b mut [u8] {
    bytes.split_off_mut(..count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frame::client_frame;
    use proptest::prelude::*;

    const MAX: usize = 1000;

    /// Decodes `parts` one after the other; the events and the violation as text.
    fn events(parts: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for part in parts {
            let (mut bytes, mut is_last) = (part.to_vec(), false);
            let mut bytes = &mut bytes[..];
            while !is_last {
                match decoder.next(&mut bytes, MAX) {
                    Ok(None) => break,
                    Ok(Some(Event::Fragment)) => {}
                    Ok(Some(event)) => {
                        is_last = matches!(event, Event::Close(_));
                        seen.push(format!("{event:?}"));
                    }
                    Err(Violation { close }) => {
                        is_last = true;
                        seen.push(format!("{} {}", close.code, close.reason));
                    }
                }
            }
            if is_last {
                break;
            }
            // A handover at this point must change nothing.
            decoder = decoder.into_state().map(Decoder::resume).unwrap_or_default();
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
        check(&client_frame(0x81, b"Hello"), &[r#"Text("Hello")"#]);
        check(&client_frame(0x81, b""), &[r#"Text("")"#]);
        check(&client_frame(0x82, b"\xff"), &["Binary([255])"]);
        check(
            &[client_frame(0x02, b"a"), client_frame(0x80, b"b")].concat(),
            &["Binary([97, 98])"],
        );
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
            &[
                "Ping([33])",
                "Text(\"gr\u{fc}\u{df}e\")",
                "Pong",
                r#"Text("next")"#,
                "Close(Some(1000))",
            ],
        );
        let half = [client_frame(0x01, b"\xc3"), client_frame(0x80, b"\xa4")];
        check(&half.concat(), &["Text(\"\u{e4}\")"]);
        let long = "x".repeat(MAX);
        check(&client_frame(0x81, long.as_bytes()), &[&format!("Text({long:?})")]);
        check(&client_frame(0x88, b""), &["Close(None)"]);
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
        let mut decoder = Decoder::default();
        let mut whole = client_frame(0x81, &[b'x'; 900]);
        let (mut start, mut rest) = whole.split_at_mut(10);
        assert_eq!(decoder.next(&mut start, MAX), Ok(None));
        assert!(decoder.0.as_ref().unwrap().state.frame.capacity() < 100);
        assert!(matches!(decoder.next(&mut rest, MAX), Ok(Some(Event::Text(_)))));
        assert_eq!(decoder.next(&mut rest, MAX), Ok(None));
        assert!(decoder.0.is_none());
        assert_eq!(size_of::<Decoder>(), 8);
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
    }
}

//! The header of a client's frame and the rules for it (RFC 6455, sections 5.2 to 5.5).

use std::io::Cursor;

use tungstenite::protocol::frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::ws::close::{self, Violation};
use crate::ws::frame::CONTROL_BYTES_MAX;

/// The longest header of a client's frame: a 64-bit length and a masking key.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// A header that breaks no rule.
pub(super) struct Header {
    pub opcode: OpCode,
    pub is_final: bool,
    mask: [u8; 4],
    header_bytes: usize,
    /// The length of the frame, header included.
    pub frame_bytes: usize,
}

impl Header {
    /// Parses the header at the start of `bytes`; none if it is incomplete. Its rules
    /// are checked before any byte of the payload arrives. `partial_bytes` is the
    /// length of the message so far if one is incomplete.
    pub fn parse(
        bytes: &[u8],
        partial_bytes: Option<usize>,
        message_bytes_max: usize,
    ) -> Result<Option<Self>, Violation> {
        let mut cursor = Cursor::new(bytes);
        let parsed = frame::FrameHeader::parse(&mut cursor)
            .map_err(|_| Violation::protocol("reserved opcode"))?;
        let Some((header, payload_bytes)) = parsed else { return Ok(None) };
        let header_bytes = header.len(payload_bytes);
        let rule = match (header.mask, header.opcode) {
            _ if cursor.position() != header_bytes as u64 => "length is not minimal",
            _ if header.rsv1 || header.rsv2 || header.rsv3 => "reserved bit set",
            (None, _) => "frame is not masked",
            (_, OpCode::Control(_)) if !header.is_final => "fragmented control frame",
            (_, OpCode::Control(_)) if payload_bytes > CONTROL_BYTES_MAX as u64 => {
                "control frame over 125 bytes"
            }
            (_, OpCode::Data(Data::Continue)) if partial_bytes.is_none() => {
                "continuation of nothing"
            }
            (_, OpCode::Data(Data::Text | Data::Binary)) if partial_bytes.is_some() => {
                "message within a message"
            }
            (Some(mask), opcode) => {
                let free_bytes = match opcode {
                    OpCode::Control(_) => CONTROL_BYTES_MAX,
                    _ => message_bytes_max.saturating_sub(partial_bytes.unwrap_or(0)),
                };
                let payload_bytes = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
                if payload_bytes > free_bytes {
                    return Err(Violation { close: close::TOO_BIG });
                }
                let frame_bytes = header_bytes + payload_bytes;
                let is_final = header.is_final;
                return Ok(Some(Self { opcode, is_final, mask, header_bytes, frame_bytes }));
            }
        };
        Err(Violation::protocol(rule))
    }

    /// Whether the frame is not a whole message by itself (section 5.4).
    pub fn is_fragment(&self) -> bool {
        !self.is_final || self.opcode == OpCode::Data(Data::Continue)
    }

    /// Unmasks the payload of a whole frame in place and returns it.
    pub fn unmask<'f>(&self, frame: &'f mut [u8]) -> &'f [u8] {
        let payload = frame.get_mut(self.header_bytes..self.frame_bytes).unwrap_or_default();
        unmask(payload, self.mask);
        payload
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

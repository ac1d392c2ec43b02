//! Encodes frames of a server and, for `wschat bench` and the tests, of a client, and
//! splits frames of a server (RFC 6455, section 5.2).

use crate::ws::close::{Close, NO_STATUS};

/// The opcodes of the frames that a server of the room sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A text message.
    Text = 0x1,
    /// A binary message.
    Binary = 0x2,
    /// The start or the answer of the closing handshake.
    Close = 0x8,
    /// A ping.
    Ping = 0x9,
    /// The answer to a ping.
    Pong = 0xA,
}

/// The longest payload of a control frame (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Appends a header without a masking key. `mask_bit` is 0x80 or 0.
fn put_header(first: u8, mask_bit: u8, payload_bytes: usize, out: &mut Vec<u8>) {
    out.push(first);
    if payload_bytes < 126 {
        out.push(mask_bit | payload_bytes as u8);
    } else if let Ok(short) = u16::try_from(payload_bytes) {
        out.push(mask_bit | 126);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
    }
}

/// Appends a whole frame.
///
/// # Examples
///
/// ```
/// use wschat::ws::frame::{put, Opcode};
/// let mut out = Vec::new();
/// put(Opcode::Text, b"Hello", &mut out);
/// assert_eq!(out, b"\x81\x05Hello"); // RFC 6455, section 5.7
/// ```
pub fn put(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    put_header(0x80 | opcode as u8, 0, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a whole text frame whose payload `write` appends, without a buffer for it.
///
/// # Examples
///
/// ```
/// use wschat::ws::frame::put_text_with;
/// let mut out = b"before".to_vec();
/// put_text_with(|out| out.extend_from_slice(b"Hello"), &mut out);
/// assert_eq!(out, b"before\x81\x05Hello");
/// ```
pub fn put_text_with(write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let start = out.len();
    write(out);
    let payload_end = out.len();
    put_header(0x80 | Opcode::Text as u8, 0, payload_end - start, out);
    // The header goes to the front.
    let header_bytes = out.len() - payload_end;
    out.get_mut(start..).unwrap_or_default().rotate_right(header_bytes);
}

/// Appends a close frame; the reason is cut to what a control frame can hold.
pub fn put_close(close: &Close, out: &mut Vec<u8>) {
    if close.code == NO_STATUS {
        return put(Opcode::Close, b"", out);
    }
    let mut payload = close.code.to_be_bytes().to_vec();
    let is_boundary = |end: &usize| close.reason.is_char_boundary(*end);
    let end = (0..=CONTROL_BYTES_MAX - 2).rev().find(is_boundary).unwrap_or(0);
    payload.extend(close.reason.bytes().take(end));
    put(Opcode::Close, &payload, out);
}

/// The masking key of [`put_client`].
///
/// RFC 6455 wants it unpredictable to protect proxies from scripts in browsers;
/// no script chooses the payloads here.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Appends a frame as a client sends it: masked, with `first` as its first byte
/// (the FIN bit, the reserved bits and the opcode).
pub fn put_client(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    put_header(first, 0x80, payload.len(), out);
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A frame as [`put_client`] appends it.
///
/// # Examples
///
/// ```
/// use wschat::ws::frame::client_frame;
/// // RFC 6455, section 5.7
/// assert_eq!(client_frame(0x81, b"Hello"), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
/// ```
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_client(first, payload, &mut out);
    out
}

/// The end of the frame of `frames` (whole server frames) that `offset` is in; the offset
/// itself if it is at a frame boundary.
pub fn frame_end(frames: &[u8], offset: usize) -> usize {
    let end = boundaries(frames).find(|end| *end >= offset);
    assert!(end.is_some(), "the feed and the outbox hold whole frames");
    end.unwrap_or(offset)
}

/// The start of the first frame, and the end of each whole frame.
fn boundaries(frames: &[u8]) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(0), |start| {
        let (_, rest) = split(frames.get(*start..)?)?;
        Some(frames.len() - rest.len())
    })
}

/// The payload of the first frame of `frames` (server frames), and the frames behind it;
/// `None` if the first frame is incomplete.
///
/// # Examples
///
/// ```
/// use wschat::ws::frame::split;
/// assert_eq!(split(b"\x81\x02Hi\x81\x00"), Some((&b"Hi"[..], &b"\x81\x00"[..])));
/// assert_eq!(split(b""), None);
/// ```
pub fn split(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header_bytes, payload_bytes) = match frames {
        [_, 126, rest @ ..] => (4, u16::from_be_bytes(*rest.first_chunk()?).into()),
        [_, 127, rest @ ..] => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        [_, short @ ..=125, ..] => (2, (*short).into()),
        _ => return None,
    };
    let (_, rest) = frames.split_at_checked(header_bytes)?;
    rest.split_at_checked(usize::try_from(payload_bytes).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_written_in_place_has_the_same_frame() {
        for bytes in [0, 1, 125, 126, 65_535, 65_536] {
            let (payload, mut want, mut out) = (vec![b'x'; bytes], vec![7, 8], vec![7, 8]);
            put(Opcode::Text, &payload, &mut want);
            put_text_with(|out| out.extend_from_slice(&payload), &mut out);
            assert_eq!(out, want);
        }
    }

    #[test]
    fn every_frame_is_found_and_split_off() {
        let mut frames = Vec::new();
        let mut ends = vec![0];
        let payloads = [0, 1, 125, 126, 300, 65_535, 65_536].map(|bytes| vec![b'x'; bytes]);
        for payload in &payloads {
            put(Opcode::Text, payload, &mut frames);
            ends.push(frames.len());
        }
        for offset in 0..=frames.len() {
            let end = ends[ends.partition_point(|end| *end < offset)];
            assert_eq!(frame_end(&frames, offset), end, "at {offset}");
        }
        let mut rest = &frames[..];
        for payload in &payloads {
            let (got, behind) = split(rest).unwrap();
            assert!(got == payload, "{} bytes instead of {}", got.len(), payload.len());
            rest = behind;
        }
        assert_eq!(split(rest), None);
    }

    #[test]
    fn close_frames_hold_at_most_125_bytes() {
        let mut out = Vec::new();
        put_close(&Close { code: 1008, reason: "ä".repeat(100).into() }, &mut out);
        assert!(out.len() <= 2 + CONTROL_BYTES_MAX);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
        out.clear();
        put_close(&Close::answer(None), &mut out);
        assert_eq!(out, [0x88, 0]);
    }
}

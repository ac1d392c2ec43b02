//! The frames of RFC 6455 that a client of the room meets, with as little work as possible.

/// Longest payload that is waited for, in bytes; more is a broken server.
const PAYLOAD_MAX: u64 = 4 << 20;

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message or a notice.
    Text(&'a [u8]),
    /// Wants a pong with the same payload.
    Ping(&'a [u8]),
    /// Answers a ping, which this client never sends.
    Pong,
    /// The last frame: the close code (1005 if none) and the reason.
    Close(u16, &'a [u8]),
}

/// The bytes are not what a server may send here.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

/// The first frame in `bytes` and its length; `None` if it is not whole yet.
///
/// # Errors
///
/// [`Broken`] for a masked, binary, fragmented, compressed or unknown frame:
/// the room has none of them.
#[inline]
pub fn first(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Broken> {
    let [b0, b1, rest @ ..] = bytes else { return Ok(None) };
    let (header, len) = match (b1, rest) {
        (0..=125, _) => (2, u64::from(*b1)),
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
        }
        (126 | 127, _) => return Ok(None),
        _ => return Err(Broken),
    };
    if len > PAYLOAD_MAX {
        return Err(Broken);
    }
    let end = header + len as usize;
    let Some(payload) = bytes.get(header..end) else { return Ok(None) };
    let frame = match b0 {
        0x81 => Frame::Text(payload),
        0x88 => match payload {
            [a, b, reason @ ..] => Frame::Close(u16::from_be_bytes([*a, *b]), reason),
            _ => Frame::Close(1005, &[]),
        },
        0x89 => Frame::Ping(payload),
        0x8a => Frame::Pong,
        _ => return Err(Broken),
    };
    Ok(Some((frame, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        for (bytes, want) in [
            (&b""[..], Ok(None)),
            (b"\x81", Ok(None)),
            (b"\x81\x02a", Ok(None)),
            (b"\x81\x02abc", Ok(Some((Frame::Text(b"ab"), 4)))),
            (b"\x81\x7e\x00", Ok(None)),
            (b"\x81\x7e\x00\x01a", Ok(Some((Frame::Text(b"a"), 5)))),
            (b"\x81\x7f\0\0\0\0\0\0\0\x01a", Ok(Some((Frame::Text(b"a"), 11)))),
            (b"\x81\x7f\xff\0\0\0\0\0\0\x01a", Err(Broken)),
            (b"\x89\x01p", Ok(Some((Frame::Ping(b"p"), 3)))),
            (b"\x8a\x00", Ok(Some((Frame::Pong, 2)))),
            (b"\x88\x00", Ok(Some((Frame::Close(1005, b""), 2)))),
            (b"\x88\x03\x03\xf5x", Ok(Some((Frame::Close(1013, b"x"), 5)))),
            (b"\x82\x00", Err(Broken)),
            (b"\x01\x00", Err(Broken)),
            (b"\xc1\x00", Err(Broken)),
            (b"\x81\x81aaaaa", Err(Broken)),
        ] {
            assert_eq!(first(bytes), want, "{bytes:x?}");
        }
    }
}

//! The frames that a server of the room sends (RFC 6455), parsed as cheaply as possible.

/// A longer payload is an error of the server, in bytes.
const PAYLOAD_MAX: u64 = 4 << 20;

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message or a notice.
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// The close code (1005 if there is none) and the reason.
    Close(u16, &'a [u8]),
}

/// A masked, binary, fragmented, compressed or unknown frame: the room sends none.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidFrame;

/// The first frame in `bytes` and its length; `None` if it is incomplete.
#[inline]
pub fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, InvalidFrame> {
    let [b0, b1, rest @ ..] = bytes else { return Ok(None) };
    let (header, len) = match (b1, rest) {
        (0..=125, _) => (2, u64::from(*b1)),
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
        }
        (126 | 127, _) => return Ok(None),
        _ => return Err(InvalidFrame),
    };
    if len > PAYLOAD_MAX {
        return Err(InvalidFrame);
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
        _ => return Err(InvalidFrame),
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
            (b"\x81\x7f\xff\0\0\0\0\0\0\x01a", Err(InvalidFrame)),
            (b"\x89\x01p", Ok(Some((Frame::Ping(b"p"), 3)))),
            (b"\x8a\x00", Ok(Some((Frame::Pong, 2)))),
            (b"\x88\x00", Ok(Some((Frame::Close(1005, b""), 2)))),
            (b"\x88\x03\x03\xf5x", Ok(Some((Frame::Close(1013, b"x"), 5)))),
            (b"\x82\x00", Err(InvalidFrame)),
            (b"\x01\x00", Err(InvalidFrame)),
            (b"\xc1\x00", Err(InvalidFrame)),
            (b"\x81\x81aaaaa", Err(InvalidFrame)),
        ] {
            assert_eq!(parse(bytes), want, "{bytes:x?}");
        }
    }
}

//! The frames that a server of the room sends (RFC 6455), parsed as cheaply as possible.

use super::part::{BYTES_MAX, InvalidPart, Parsed, Part};

/// The first frame in `bytes` and its length; `None` if it is incomplete.
///
/// # Errors
///
/// A masked, binary, fragmented, compressed or unknown frame: the room sends none.
#[inline]
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let [b0, b1, rest @ ..] = bytes else { return Ok(None) };
    let (header, len) = match (b1, rest) {
        (0..=125, _) => (2, u64::from(*b1)),
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
        }
        (126 | 127, _) => return Ok(None),
        _ => return Err(InvalidPart),
    };
    if len > BYTES_MAX as u64 {
        return Err(InvalidPart);
    }
    let end = header + len as usize;
    let Some(payload) = bytes.get(header..end) else { return Ok(None) };
    let part = match b0 {
        0x81 => Part::Text(payload),
        0x88 => match payload {
            [a, b, reason @ ..] => Part::Close(u16::from_be_bytes([*a, *b]), reason),
            _ => Part::Close(1005, &[]),
        },
        0x89 => Part::Ping(payload),
        0x8a => Part::Ignored,
        _ => return Err(InvalidPart),
    };
    Ok(Some((part, end)))
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
            (b"\x81\x02abc", Ok(Some((Part::Text(b"ab"), 4)))),
            (b"\x81\x7e\x00", Ok(None)),
            (b"\x81\x7e\x00\x01a", Ok(Some((Part::Text(b"a"), 5)))),
            (b"\x81\x7f\0\0\0\0\0\0\0\x01a", Ok(Some((Part::Text(b"a"), 11)))),
            (b"\x81\x7f\xff\0\0\0\0\0\0\x01a", Err(InvalidPart)),
            (b"\x89\x01p", Ok(Some((Part::Ping(b"p"), 3)))),
            (b"\x8a\x00", Ok(Some((Part::Ignored, 2)))),
            (b"\x88\x00", Ok(Some((Part::Close(1005, b""), 2)))),
            (b"\x88\x03\x03\xf5x", Ok(Some((Part::Close(1013, b"x"), 5)))),
            (b"\x82\x00", Err(InvalidPart)),
            (b"\x01\x00", Err(InvalidPart)),
            (b"\xc1\x00", Err(InvalidPart)),
            (b"\x81\x81aaaaa", Err(InvalidPart)),
        ] {
            assert_eq!(parse(bytes), want, "{bytes:x?}");
        }
    }
}

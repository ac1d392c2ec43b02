//! The server-sent events of a room (WHATWG HTML, section 9.2), parsed as cheaply as possible.

use super::message;
use super::part::{BYTES_MAX, InvalidPart, Parsed, Part};

/// The first event or comment in `bytes` and its length; `None` if it is incomplete.
///
/// # Errors
///
/// A field that the room does not send, an id that is not the `tim` of the message, or a
/// message without an id.
#[inline]
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(end) = bytes.windows(2).position(|window| window == b"\n\n") else {
        return if bytes.len() > BYTES_MAX { Err(InvalidPart) } else { Ok(None) };
    };
    let lines = &bytes[..end];
    let (id, rest) = match lines.strip_prefix(b"id: ") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or(InvalidPart)?;
            (Some(&rest[..end]), &rest[end + 1..])
        }
        None => (None, lines),
    };
    if lines.strip_prefix(b"event: room\ndata: ").is_some_and(|text| !text.contains(&b'\n')) {
        return Ok(Some((Part::Ignored, end + 2)));
    }
    let part = match (id, rest.strip_prefix(b"data: ")) {
        (_, Some(text)) if text.contains(&b'\n') => return Err(InvalidPart),
        (Some(id), Some(text)) if message::tim(text).is_some_and(|tim| tim == id) => {
            Part::Text(text)
        }
        (None, Some(text)) if message::refusal(text).is_some() => Part::Text(text),
        (None, None) if rest.starts_with(b":") || rest.starts_with(b"retry: ") => Part::Ignored,
        _ => return Err(InvalidPart),
    };
    Ok(Some((part, end + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        const TEXT: &str = r#"{"usr":"a","tim":"2020-08-11T22:26:58.118678679Z"}"#;
        let event = |id: &str, data: &str| format!("id: {id}\ndata: {data}\n\n");
        let good = event("2020-08-11T22:26:58.118678679Z", TEXT);
        let notice = r#"{"usr":"wschat","msg":"some messages are missing","err":"gap"}"#;
        let unnamed = format!("data: {notice}\n\n");
        let text = |text: &'static str| Part::Text(text.as_bytes());
        for (stream, want) in [
            ("", Ok(None)),
            ("retry: 3000\n", Ok(None)),
            ("retry: 3000\n\n:", Ok(Some((Part::Ignored, 13)))),
            (":\n\n", Ok(Some((Part::Ignored, 3)))),
            (&*good, Ok(Some((text(TEXT), good.len())))),
            (&good[..good.len() - 1], Ok(None)),
            (&unnamed, Ok(Some((text(notice), unnamed.len())))),
            ("data: {}\n\n", Err(InvalidPart)),
            (&event("2020-08-11T22:26:58.118678670Z", TEXT), Err(InvalidPart)),
            (&event("1", "{}"), Err(InvalidPart)),
            ("id: 1\n\n", Err(InvalidPart)),
            ("data: {}\ndata: {}\n\n", Err(InvalidPart)),
            ("event: a\ndata: {}\n\n", Err(InvalidPart)),
            ("event: room\ndata: {}\n\n", Ok(Some((Part::Ignored, 22)))),
            ("event: room\ndata: {}\ndata: {}\n\n", Err(InvalidPart)),
            ("\n\n", Err(InvalidPart)),
        ] {
            assert_eq!(parse(stream.as_bytes()), want, "{stream}");
        }
    }
}

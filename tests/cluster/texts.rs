//! The texts in the bytes of a WebSocket of the server.

/// The texts of all complete frames.
///
/// # Panics
///
/// There is another frame than a text.
pub fn texts_of(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((first, payload, rest)) = frame(bytes) {
        let text = String::from_utf8_lossy(payload).into_owned();
        assert_eq!(first, 0x81, "not a text, after {:?}: {text:?}", texts.last());
        texts.push(text);
        bytes = rest;
    }
    texts
}

/// The first byte and the payload of the first frame, and what follows; `None` if it is not
/// complete.
pub fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (first, bytes) = bytes.split_first()?;
    let (length, bytes) = match bytes {
        [length @ ..=125, rest @ ..] => (usize::from(*length), rest),
        [126, a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
        [127, rest @ ..] => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length) as usize, rest)
        }
        _ => return None,
    };
    let (payload, rest) = bytes.split_at_checked(length)?;
    Some((*first, payload, rest))
}

/// The text of a message, as it stands in the JSON of senders of these tests.
pub fn msg_field(msg: &str) -> String {
    format!("\"msg\":\"{msg}\"")
}

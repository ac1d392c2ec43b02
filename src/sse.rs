//! Server-sent events (WHATWG HTML, section 9.2): the bytes of an event stream. Pure: no
//! socket, no clock, no lock.
//!
//! Every event and every comment of the room ends with an empty line and contains no other
//! one, so the boundaries of a stream can be found in its bytes.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

/// The first bytes of a stream: milliseconds after which a client connects again.
pub const RETRY: &str = "retry: 3000\n\n";

const EVENT: &[u8] = b"event: ";
const ID: &[u8] = b"id: ";
const DATA: &[u8] = b"data: ";
/// An event ends with an empty line.
const END: &[u8] = b"\n\n";

/// Appends an event with this id and this data. A line break in `data` becomes a space: a
/// JSON text has one only between two of its tokens.
///
/// # Examples
///
/// ```
/// let mut out = Vec::new();
/// wschat::sse::put_event(b"7", b"[1,\r\n2]", &mut out);
/// assert_eq!(out, b"id: 7\ndata: [1,  2]\n\n");
/// ```
pub fn put_event(id: &[u8], data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(ID);
    out.extend_from_slice(id);
    out.push(b'\n');
    put_data(data, out);
}

/// As [`put_event`], but without an id: a client does not resume at this event.
pub fn put_data(data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(DATA);
    put_line(data, out);
    out.extend_from_slice(END);
}

/// As [`put_data`], but with a name: clients that do not know it ignore the event. `write`
/// appends the data, which has no line break.
///
/// # Examples
///
/// ```
/// let mut out = Vec::new();
/// wschat::sse::put_named_with("room", |out| out.extend_from_slice(b"[1]"), &mut out);
/// assert_eq!(out, b"event: room\ndata: [1]\n\n");
/// ```
pub fn put_named_with(name: &str, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    for part in [EVENT, name.as_bytes(), b"\n", DATA] {
        out.extend_from_slice(part);
    }
    write(out);
    out.extend_from_slice(END);
}

/// Appends a comment, which clients ignore.
pub fn put_comment(text: &str, out: &mut Vec<u8>) {
    out.push(b':');
    put_line(text.as_bytes(), out);
    out.extend_from_slice(END);
}

/// The length of an event with an id and data of these lengths.
pub const fn event_bytes(id_bytes: usize, text_bytes: usize) -> usize {
    ID.len() + id_bytes + 1 + data_bytes(text_bytes)
}

/// The length of an event without an id, with data of this length.
pub const fn data_bytes(text_bytes: usize) -> usize {
    DATA.len() + text_bytes + END.len()
}

/// The length of an event with a name and data of these lengths.
pub const fn named_bytes(name_bytes: usize, text_bytes: usize) -> usize {
    EVENT.len() + name_bytes + 1 + data_bytes(text_bytes)
}

fn put_line(text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(text);
    for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\r' | b'\n')) {
        *byte = b' ';
    }
}

/// The end of the event or comment of `stream` that `offset` is in; the offset itself if it
/// is at a boundary. `None` if that event is incomplete.
///
/// # Examples
///
/// ```
/// use wschat::sse::event_end;
/// let stream = b":\n\ndata: 1\n\n:";
/// assert_eq!([0, 1, 2, 3, 4].map(|at| event_end(stream, at).unwrap()), [0, 3, 3, 3, 12]);
/// assert_eq!([12, 13].map(|at| event_end(stream, at)), [Some(12), None]);
/// ```
pub fn event_end(stream: &[u8], offset: usize) -> Option<usize> {
    if offset == 0 || stream.get(..offset)?.ends_with(END) {
        return Some(offset);
    }
    // The offset may be between the two line breaks.
    let from = offset - 1;
    let found = stream.get(from..)?.windows(END.len()).position(|bytes| bytes == END)?;
    Some(from + found + END.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn boundaries_are_found_from_every_offset(
            events in prop::collection::vec(("[a-z:\r\n]{0,9}", 0..3), 1..9)
        ) {
            let (mut stream, mut ends) = (Vec::new(), vec![0]);
            for (text, kind) in &events {
                match kind {
                    0 => put_event(b"1", text.as_bytes(), &mut stream),
                    1 => put_data(text.as_bytes(), &mut stream),
                    _ => put_comment(text, &mut stream),
                }
                ends.push(stream.len());
            }
            for offset in 0..=stream.len() {
                let end = ends[ends.partition_point(|end| *end < offset)];
                prop_assert_eq!(event_end(&stream, offset), Some(end), "at {}", offset);
            }
            let mut event = Vec::new();
            put_event(b"123", events[0].0.as_bytes(), &mut event);
            prop_assert_eq!(event.len(), event_bytes(3, events[0].0.len()));
        }
    }
}
